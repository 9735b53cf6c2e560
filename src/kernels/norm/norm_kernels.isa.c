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

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

#define REAL    float
#define INTEGER int32_t
#define TYPE    f32
#define EXP(x)  fast_exp(x)
#define LOG(x)  fast_log(x)
#include "kernels/reduce/row_sums.inc"

#include "kernels/norm/batch_norm.inc"
#include "kernels/norm/batch_norm_columns.inc"
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
#include "kernels/norm/softmax.inc"

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
        .softmax = softmax_##type, .softmax_backward = softmax_backward_##type,                    \
        .cross_entropy = cross_entropy_##type, .layer_norm = layer_norm_##type,                    \
        .layer_norm_backward = layer_norm_backward_##type,                                         \
        .layer_norm_join = layer_norm_join_##type, .group_norm = group_norm_##type,                \
        .group_norm_backward = group_norm_backward_##type,                                         \
        .group_norm_join = group_norm_join_##type,                                                 \
        .cross_entropy_backward = cross_entropy_backward_##type,                                   \
    }

extern const struct norm_kernels CR_ISA_NAME(norm_kernels)[NORM_TYPE_COUNT];
const struct norm_kernels CR_ISA_NAME(norm_kernels)[NORM_TYPE_COUNT] = {
    [NORM_F32] = TABLE(f32),
    [NORM_F64] = TABLE(f64),
};
