/* The product of bfloat16 matrices by AVX512-BF16: as the product of floats of AVX-512, where the
 * elements are pairs along k, of 32 bits, and a multiplication adds both products of a pair.
 * Whatever is not the product itself is that of AVX-512. */
#include <immintrin.h>
#include <string.h>

#include "kernels/gemm/gemm.h"

#define LANES     16
#define TILE_ROWS 14

CR_INLINE __m512bh as_pairs(__m512i bits)
{
    return (__m512bh)bits;
}

CR_INLINE void multiply(int rows, int vectors, int64_t k_count, const int32_t *a, int64_t a_step,
                        const int32_t *b, int64_t b_step, float *c, int64_t c_stride,
                        bool accumulate)
{
    __m512 sum[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[i][j] =
                accumulate ? _mm512_loadu_ps(c + i * c_stride + j * LANES) : _mm512_setzero_ps();
    for (int64_t p = 0; p < k_count; p += 2, a += a_step, b += b_step) {
        __m512bh right[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            right[j] = as_pairs(_mm512_loadu_si512(b + j * LANES));
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            __m512bh left = as_pairs(_mm512_set1_epi32(a[i]));
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            _mm512_storeu_ps(c + i * c_stride + j * LANES, sum[i][j]);
}

/* One function for each number of rows. */
#define TILE_OF(rows)                                                                              \
    static void tile##rows(int64_t k_count, const int32_t *a, int64_t a_step, const int32_t *b,    \
                           int64_t b_step, int64_t width, float *c, int64_t c_stride,              \
                           bool accumulate)                                                        \
    {                                                                                              \
        if (width > LANES)                                                                         \
            multiply(rows, 2, k_count, a, a_step, b, b_step, c, c_stride, accumulate);             \
        else                                                                                       \
            multiply(rows, 1, k_count, a, a_step, b, b_step, c, c_stride, accumulate);             \
    }
TILE_OF(1)
TILE_OF(2)
TILE_OF(3)
TILE_OF(4)
TILE_OF(5)
TILE_OF(6)
TILE_OF(7)
TILE_OF(8)
TILE_OF(9)
TILE_OF(10)
TILE_OF(11)
TILE_OF(12)
TILE_OF(13)
TILE_OF(14)

static void tile(int64_t k_count, const void *a, int64_t a_step, const void *b, int64_t b_step,
                 int rows, int64_t width, void *c, int64_t c_stride, bool accumulate)
{
    static void (*const tiles[])(int64_t, const int32_t *, int64_t, const int32_t *, int64_t,
                                 int64_t, float *, int64_t, bool) = {
        tile1, tile2, tile3,  tile4,  tile5,  tile6,  tile7,
        tile8, tile9, tile10, tile11, tile12, tile13, tile14,
    };
    tiles[rows - 1](k_count, a, a_step, b, b_step, width, c, c_stride, accumulate);
}

const cr_gemm_kernels cr_gemm_pairs_avx512_bf16 = {
    .element = sizeof(uint16_t),
    .panel_element = sizeof(uint16_t),
    .sum_element = sizeof(float),
    .k_unit = 2,
    .row_unit = 1,
    .pairs = true,
    .task_macs = 6 << 20,
    .tile_rows = TILE_ROWS,
    .tile_columns = 2 * LANES,
    .lanes = LANES,
    .tile = tile,
    .finish = cr_gemm_finish_pairs,
    .add = cr_gemm_add_pairs,
    .pack = cr_gemm_pack_pairs,
    .narrow = cr_gemm_narrow_pairs,
    .dot = cr_gemm_dot_pairs,
    .axpy = cr_gemm_axpy_pairs,
};
