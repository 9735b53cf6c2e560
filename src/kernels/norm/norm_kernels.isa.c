/* The kernels that normalise, for one instruction set: the templates for each element type. */
#include <math.h>

#include "kernels/elementwise/fastmath.h"
#include "kernels/norm/norm.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* ---- bfloat16, as it is read into vectors of float32 and written from them ---- */

typedef uint16_t half_lanes __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint16_t half_loose
    __attribute__((vector_size(VECTOR_BYTES / 2), aligned(sizeof(uint16_t)), may_alias));
typedef uint32_t wide_bits __attribute__((vector_size(VECTOR_BYTES)));
typedef float wide_lanes __attribute__((vector_size(VECTOR_BYTES)));

CR_INLINE wide_lanes bf16_load(const uint16_t *from)
{
    half_lanes bits = *(const half_loose *)(const void *)from;
    return (wide_lanes)(__builtin_convertvector(bits, wide_bits) << 16);
}

/* As bf16_from_float: to the nearest even, NaN stays NaN. */
CR_INLINE void bf16_store(uint16_t *to, wide_lanes value)
{
    wide_bits bits = (wide_bits)value;
    wide_bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    wide_bits is_nan = (wide_bits)(value != value);
    rounded = (rounded & ~is_nan) | (((bits >> 16) | 0x40u) & is_nan);
    *(half_loose *)(void *)to = __builtin_convertvector(rounded, half_lanes);
}

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

/* The function over numbers that are stored as they are computed. */
#define PLAIN(name) NAME(name)

#define REAL    float
#define INTEGER int32_t
#define TYPE    f32
#define EXP(x)  fast_exp(x)
#define LOG(x)  fast_log(x)
#include "kernels/reduce/row_sums.inc"

#include "kernels/norm/batch_norm.inc"
#include "kernels/norm/batch_norm_columns.inc"
#include "kernels/norm/exponentials.inc"
#include "kernels/norm/softmax.inc"

#include "kernels/norm/cross_entropy.inc"
#include "kernels/norm/layer_norm.inc"

#include "kernels/norm/group_norm.inc"

#include "kernels/norm/norm_end.inc"

#define REAL    double
#define INTEGER int64_t
#define TYPE    f64
#define EXP(x)  exp(x)
#define LOG(x)  log(x)
#include "kernels/reduce/row_sums.inc"

#include "kernels/norm/batch_norm.inc"
#include "kernels/norm/batch_norm_columns.inc"
#include "kernels/norm/exponentials.inc"
#include "kernels/norm/softmax.inc"

#include "kernels/norm/cross_entropy.inc"
#include "kernels/norm/layer_norm.inc"

#include "kernels/norm/group_norm.inc"

#include "kernels/norm/norm_end.inc"

#undef PLAIN
#define PLAIN(name)      name##_f32
#define REAL             float
#define INTEGER          int32_t
#define TYPE             bf16
#define ELEMENT          uint16_t
#define LOAD(from)       bf16_load(from)
#define STORE(to, value) bf16_store(to, value)
#define GET(x, i)        bf16_to_float((x)[i])
#define PUT(x, i, value) ((x)[i] = bf16_from_float(value))
#define EXP(x)           fast_exp(x)
#define LOG(x)           fast_log(x)
#include "kernels/reduce/row_sums.inc"

#include "kernels/norm/batch_norm.inc"
#include "kernels/norm/batch_norm_columns.inc"
#include "kernels/norm/exponentials.inc"

#include "kernels/norm/cross_entropy.inc"
#include "kernels/norm/layer_norm.inc"

#include "kernels/norm/group_norm.inc"

#include "kernels/norm/norm_end.inc"

#define TABLE(type)                                                                                \
    {                                                                                              \
        .batch_norm_columns = batch_norm_columns_##type,                                           \
        .batch_norm_fixed = batch_norm_fixed_##type,                                               \
        .batch_norm_planes = batch_norm_planes_##type,                                             \
        .batch_norm_columns_backward = batch_norm_columns_backward_##type,                         \
        .batch_norm = batch_norm_##type, .batch_norm_backward = batch_norm_backward_##type,        \
        .cross_entropy = cross_entropy_##type, .layer_norm = layer_norm_##type,                    \
        .layer_norm_backward = layer_norm_backward_##type,                                         \
        .layer_norm_join = layer_norm_join_##type, .group_norm = group_norm_##type,                \
        .group_norm_backward = group_norm_backward_##type,                                         \
        .group_norm_join = group_norm_join_##type,                                                 \
        .cross_entropy_backward = cross_entropy_backward_##type, SOFTMAX_##type                    \
    }
#define SOFTMAX_f32  .softmax = softmax_f32, .softmax_backward = softmax_backward_f32,
#define SOFTMAX_f64  .softmax = softmax_f64, .softmax_backward = softmax_backward_f64,
#define SOFTMAX_bf16 /* computed in float32 */

extern const struct norm_kernels CR_ISA_NAME(norm_kernels)[NORM_TYPE_COUNT];
const struct norm_kernels CR_ISA_NAME(norm_kernels)[NORM_TYPE_COUNT] = {
    [NORM_F32] = TABLE(f32),
    [NORM_F64] = TABLE(f64),
    [NORM_BF16] = TABLE(bf16),
};
