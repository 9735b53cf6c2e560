/* The kernels of the matrix product for one instruction set: the template for each element type
 * with the tile that suits the registers. A tile must leave two registers for B and one for the
 * broadcast of A, and be large enough that the adders, not the loads, are the limit. Floats of 16
 * bits are widened when they are packed. */
#include <math.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(CR_TARGET_NEON)
#include <arm_neon.h>
#endif

#include "kernels/elementwise/fastmath.h"
#include "kernels/gemm/gemm.h"
#include "tensor/tensor.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define VECTOR_LOG   6
#define ROWS         14
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define VECTOR_LOG   5
#define ROWS         6
#elif defined(CR_TARGET_NEON)
#define VECTOR_BYTES 16
#define VECTOR_LOG   4
#define ROWS         12
#else
#define VECTOR_BYTES 16
#define VECTOR_LOG   4
#define ROWS         4
#endif

#if defined(__AVX512F__)
CR_INLINE __mmask16 first_f32(int64_t count)
{
    return (__mmask16)((1u << count) - 1);
}

CR_INLINE __mmask8 first_f64(int64_t count)
{
    return (__mmask8)((1u << count) - 1);
}
#endif

#define REAL       float
#define SIGMOID(x) fast_sigmoid(x)
#define TANH(x)    fast_tanh(x)
#define ERF(x)     fast_erf(x)
#define LANES_LOG  (VECTOR_LOG - 2)
#define TYPE       f32
#if defined(__AVX512F__)
#define COPY_FEW(from, count, to)                                                                  \
    _mm512_mask_storeu_ps(to, first_f32(count), _mm512_maskz_loadu_ps(first_f32(count), from))
#endif
#define TILE_ROWS    ROWS
#define TILE_VECTORS 2
#include "kernels/gemm/gemm_tile.inc"

#define REAL       double
#define SIGMOID(x) (1 / (1 + exp(-(x))))
#define TANH(x)    tanh(x)
#define ERF(x)     erf(x)
#define LANES_LOG  (VECTOR_LOG - 3)
#define TYPE       f64
#if defined(__AVX512F__)
#define COPY_FEW(from, count, to)                                                                  \
    _mm512_mask_storeu_pd(to, first_f64(count), _mm512_maskz_loadu_pd(first_f64(count), from))
#endif
#define TILE_ROWS    ROWS
#define TILE_VECTORS 2
#include "kernels/gemm/gemm_tile.inc"

/* ---- bfloat16 and float16 ---- */

typedef uint16_t half_vector __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint32_t bits_vector __attribute__((vector_size(VECTOR_BYTES)));

CR_INLINE vector_f32 widen_bf16_vector(const uint16_t *from)
{
    half_vector half;
    memcpy(&half, from, sizeof(half));
    return (vector_f32)(__builtin_convertvector(half, bits_vector) << 16);
}

/* The even elements, then the odd ones. */
CR_INLINE void widen_bf16_two(const uint16_t *from, vector_f32 *even, vector_f32 *odd)
{
    bits_vector pairs;
    memcpy(&pairs, from, sizeof(pairs));
    *even = (vector_f32)(pairs << 16);
    *odd = (vector_f32)(pairs & 0xffff0000);
}

/* As bf16_from_float does. */
CR_INLINE void narrow_bf16_vector(uint16_t *to, vector_f32 value)
{
    bits_vector bits = (bits_vector)value;
    bits_vector rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    bits_vector is_nan = (bits_vector)((bits & 0x7fffffff) > 0x7f800000);
    rounded = (is_nan & (bits >> 16 | 0x40)) | (~is_nan & rounded);
    half_vector half = __builtin_convertvector(rounded, half_vector);
    memcpy(to, &half, sizeof(half));
}

CR_INLINE vector_f32 widen_f16_vector(const uint16_t *from)
{
#if defined(__AVX512F__)
    return (vector_f32)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)from));
#elif defined(__AVX2__)
    return (vector_f32)_mm256_cvtph_ps(_mm_loadu_si128((const void *)from));
#elif defined(CR_TARGET_NEON)
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
    vector_f32 value;
    for (int i = 0; i < VECTOR_BYTES / 4; i++)
        value[i] = f16_to_float(from[i]);
    return value;
#endif
}

CR_INLINE void widen_f16_two(const uint16_t *from, vector_f32 *first, vector_f32 *second)
{
    *first = widen_f16_vector(from);
    *second = widen_f16_vector(from + VECTOR_BYTES / 4);
}

CR_INLINE void narrow_f16_vector(uint16_t *to, vector_f32 value)
{
#if defined(__AVX512F__)
    _mm256_storeu_si256((void *)to, _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    _mm_storeu_si128((void *)to, _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(CR_TARGET_NEON)
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(value)));
#else
    for (int i = 0; i < VECTOR_BYTES / 4; i++)
        to[i] = f16_from_float(value[i]);
#endif
}

#define TYPE          bf16
#define WIDEN         bf16_to_float
#define NARROW        bf16_from_float
#define WIDEN_VECTOR  widen_bf16_vector
#define WIDEN_TWO     widen_bf16_two
#define NARROW_VECTOR narrow_bf16_vector
#include "kernels/gemm/gemm_half.inc"

#define TYPE          f16
#define WIDEN         f16_to_float
#define NARROW        f16_from_float
#define WIDEN_VECTOR  widen_f16_vector
#define WIDEN_TWO     widen_f16_two
#define NARROW_VECTOR narrow_f16_vector
#include "kernels/gemm/gemm_half.inc"

/* Elsewhere rows of A are packed. */
#if defined(__AVX2__)
#define TILE_IN_PLACE(type) tile_in_place_##type
#else
#define TILE_IN_PLACE(type) NULL
#endif

#define TABLE(real, type)                                                                          \
    {                                                                                              \
        .element = sizeof(real), .panel_element = sizeof(real), .sum_element = sizeof(real),       \
        .k_unit = 1, .row_unit = 1, .task_macs = 3 << 20, .tile_rows = ROWS,                       \
        .tile_columns = 2 * VECTOR_BYTES / (int)sizeof(real),                                      \
        .lanes = VECTOR_BYTES / (int)sizeof(real), .tile = tile_##type,                            \
        .tile_in_place = TILE_IN_PLACE(type), .tile_blocked = tile_blocked_##type,                 \
        .turn = turn_##type, .finish = finish_##type, .add = add_##type, .pack = pack_##type,      \
        .dot = dot_##type, .axpy = axpy_##type,                                                    \
    }

#define HALF_TABLE(type)                                                                           \
    {                                                                                              \
        .element = sizeof(uint16_t), .panel_element = sizeof(float), .sum_element = sizeof(float), \
        .k_unit = 1, .row_unit = 1, .task_macs = 3 << 20, .tile_rows = ROWS,                       \
        .tile_columns = 2 * VECTOR_BYTES / (int)sizeof(float),                                     \
        .lanes = VECTOR_BYTES / (int)sizeof(float), .tile = tile_f32,                              \
        .tile_blocked = tile_blocked_f32, .finish = finish_##type, .add = add_f32,                 \
        .pack = pack_##type, .dot = dot_##type, .axpy = axpy_##type,                               \
    }

const cr_gemm_kernels CR_ISA_NAME(cr_gemm_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = TABLE(float, f32),
    [CR_GEMM_F64] = TABLE(double, f64),
    [CR_GEMM_BF16] = HALF_TABLE(bf16),
    [CR_GEMM_F16] = HALF_TABLE(f16),
};
