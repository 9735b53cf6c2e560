/* Convolution by pairs of channels: the tile by AVX512-BF16, and the rows of pairs that it and that
 * of AMX read. */
#include <immintrin.h>
#include <string.h>

#include "kernels/conv/conv.h"

#define LANES 16
#define ROWS  14
#define PAIRS (CR_PAIR_BLOCK / 2)

/* ---- the tile ---- */

CR_INLINE void multiply(int rows, int vectors, const cr_pair_tile *t)
{
    __m512 sum[ROWS][2];
    const int32_t *a = (const void *)t->weight;
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t block = 0; block < t->blocks; block++)
        for (int64_t tap = 0; tap < t->taps; tap++) {
            const uint32_t *b = t->image + block * PAIRS * t->plane + t->tap[tap];
            for (int p = 0; p < PAIRS; p++, a += rows, b += t->plane) {
                __m512bh right[2];
#pragma GCC unroll 2
                for (int j = 0; j < vectors; j++)
                    right[j] = (__m512bh)_mm512_loadu_si512(b + j * LANES);
#pragma GCC unroll 14
                for (int i = 0; i < rows; i++) {
                    __m512bh left = (__m512bh)_mm512_set1_epi32(a[i]);
#pragma GCC unroll 2
                    for (int j = 0; j < vectors; j++)
                        sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
                }
            }
        }
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            _mm512_storeu_ps(t->sums + i * CR_PAIR_COLUMNS + j * LANES, sum[i][j]);
}

/* One function for each number of rows. */
#define TILE_OF(rows)                                                                              \
    static void tile##rows(const cr_pair_tile *t)                                                  \
    {                                                                                              \
        if (t->columns > LANES)                                                                    \
            multiply(rows, 2, t);                                                                  \
        else                                                                                       \
            multiply(rows, 1, t);                                                                  \
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

static void pair_tile(const cr_pair_tile *t)
{
    static void (*const tiles[])(const cr_pair_tile *) = {
        tile1, tile2, tile3,  tile4,  tile5,  tile6,  tile7,
        tile8, tile9, tile10, tile11, tile12, tile13, tile14,
    };
    tiles[t->rows - 1](t);
}

/* ---- the tile of a gradient of weights ---- */

CR_INLINE void sum_points(int rows, const cr_pair_sum *s)
{
    __m512 sum[ROWS][2];
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++)
            sum[i][j] = s->accumulate ? _mm512_loadu_ps(s->sums + i * s->sum_stride + j * LANES)
                                      : _mm512_setzero_ps();
    for (int64_t image = 0; image < s->images; image++) {
        const uint16_t *a = s->left + image * s->left_image;
        const uint16_t *b = s->right + image * s->right_image;
        for (int64_t p = 0; p < s->steps * LANES; p++, a += 2, b += 2 * CR_PAIR_COLUMNS) {
            __m512bh right[2] = { (__m512bh)_mm512_loadu_si512(b),
                                  (__m512bh)_mm512_loadu_si512(b + 2 * LANES) };
#pragma GCC unroll 14
            for (int i = 0; i < rows; i++) {
                int32_t pair;
                memcpy(&pair, a + i * s->left_plane, sizeof(pair));
                __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], left, right[0]);
                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], left, right[1]);
            }
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++)
            _mm512_storeu_ps(s->sums + i * s->sum_stride + j * LANES, sum[i][j]);
}

#define SUM_OF(rows)                                                                               \
    static void sum##rows(const cr_pair_sum *s)                                                    \
    {                                                                                              \
        sum_points(rows, s);                                                                       \
    }
SUM_OF(1)
SUM_OF(2)
SUM_OF(3)
SUM_OF(4)
SUM_OF(5)
SUM_OF(6)
SUM_OF(7)
SUM_OF(8)
SUM_OF(9)
SUM_OF(10)
SUM_OF(11)
SUM_OF(12)
SUM_OF(13)
SUM_OF(14)

static void pair_sum(const cr_pair_sum *s)
{
    static void (*const sums[])(const cr_pair_sum *) = {
        sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sum10, sum11, sum12, sum13, sum14,
    };
    sums[s->rows - 1](s);
}

/* ---- rows of pairs ---- */

CR_INLINE __mmask32 first_elements(int64_t count)
{
    return count >= 32 ? 0xffffffffu : (1u << CR_MAX(count, 0)) - 1;
}

CR_INLINE __m512i some(const uint16_t *from, int64_t count)
{
    if (!from)
        return _mm512_setzero_si512();
    return _mm512_maskz_loadu_epi16(first_elements(count), from);
}

/* All elements: low halves of the even channel, high halves of the odd. */
static void each(const uint16_t *even, const uint16_t *odd, int64_t count, uint32_t *to)
{
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = (__mmask16)first_elements(CR_MIN(count - i, LANES));
        __m256i low = _mm256_maskz_loadu_epi16(mask, even + i);
        __m256i high = odd ? _mm256_maskz_loadu_epi16(mask, odd + i) : _mm256_setzero_si256();
        __m512i pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                        _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
        _mm512_mask_storeu_epi32(to + i, mask, pairs);
    }
}

/* Every other one, so that low halves of 32 bits are wanted of both. */
static void every_other(const uint16_t *even, const uint16_t *odd, int64_t elements, int64_t count,
                        uint32_t *to)
{
    __m512i halves = _mm512_set1_epi32(0xffff);
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = (__mmask16)first_elements(CR_MIN(count - i, LANES));
        __m512i low = some(even + 2 * i, elements - 2 * i);
        __m512i high = some(odd ? odd + 2 * i : NULL, elements - 2 * i);
        __m512i pairs = _mm512_or_si512(_mm512_and_si512(low, halves), _mm512_slli_epi32(high, 16));
        _mm512_mask_storeu_epi32(to + i, mask, pairs);
    }
}

void cr_pair_row(const uint16_t *even, const uint16_t *odd, int64_t count, int64_t step,
                 int64_t first, int64_t width, uint32_t *to)
{
    int64_t wanted = count > first && even ? CR_DIV_UP(count - first, step) : 0;
    if (wanted && step == 1)
        each(even + first, odd ? odd + first : NULL, wanted, to);
    else if (wanted && step == 2)
        every_other(even + first, odd ? odd + first : NULL, count - first, wanted, to);
    else
        for (int64_t i = 0; i < wanted; i++)
            to[i] = even[first + i * step] | (odd ? (uint32_t)odd[first + i * step] << 16 : 0);
    for (int64_t i = wanted; i < width; i++)
        to[i] = 0;
}

const cr_pair_kernels cr_pair_kernels_avx512_bf16 = {
    .tile = pair_tile,
    .sum = pair_sum,
    .row = cr_pair_row,
};
