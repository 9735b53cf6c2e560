/* Packing of 16-bit elements for the instructions that multiply pairs along k: panels of pairs, and
 * the rows of A as the tiles of AMX hold them.
 *
 * A pair is one element of 32 bits here. Pairs of 16 columns for 16 steps are a square of registers
 * whose transpose is the same for operands that are contiguous along k. */
#include <immintrin.h>

#include "kernels/gemm/gemm.h"

#define LANES      16 /* pairs of a register */
#define TILE_STEPS 32 /* steps of k of a tile */

CR_INLINE __mmask16 first_lanes(int64_t count)
{
    return count >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << CR_MAX(count, 0)) - 1);
}

CR_INLINE __mmask32 first_elements(int64_t count)
{
    return count >= TILE_STEPS ? 0xffffffffu : (1u << CR_MAX(count, 0)) - 1;
}

CR_INLINE void transpose(__m512i row[LANES])
{
    __m512i t[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
    }
    /* Lane l of row[4 * i + j] now holds column 4 * l + j of rows 4 * i to 4 * i + 3. */
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4) {
        row[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        row[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        row[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        row[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* A 4 x 4 transpose of lanes of 128 bits, for each j. */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(row[j], row[4 + j], 0x44);
        __m512i b = _mm512_shuffle_i32x4(row[j], row[4 + j], 0xee);
        __m512i c = _mm512_shuffle_i32x4(row[8 + j], row[12 + j], 0x44);
        __m512i d = _mm512_shuffle_i32x4(row[8 + j], row[12 + j], 0xee);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[8 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        row[i] = t[i];
}

/* Pairs of up to 16 columns of two steps of k whose columns are contiguous; `next` may be NULL. */
CR_INLINE __m512i pairs_of(const uint16_t *step, const uint16_t *next, __mmask16 mask)
{
    __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, step));
    if (!next)
        return low;
    __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, next));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* Up to 16 pairs of each of up to 16 rows that are contiguous along k, turned: register q holds
 * pair q of every row. */
CR_INLINE void turned_pairs(const uint16_t *data, int64_t stride, int64_t count, int64_t steps,
                            __m512i row[LANES])
{
    __mmask32 mask = first_elements(steps);
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        row[l] = _mm512_maskz_loadu_epi16(mask, data + CR_MIN(l, count - 1) * stride);
    transpose(row);
}

/* The same of 16 columns, all there. */
CR_INLINE __m512i whole_pairs(const uint16_t *step, const uint16_t *next)
{
    __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)step));
    __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)next));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/* A whole panel of 32 columns that are contiguous; returns how many steps of k are done. */
static int64_t pack_whole(const uint16_t *data, int64_t k_stride, int64_t k_count, uint32_t *panel)
{
    int64_t p = 0;
    for (; p + 2 <= k_count; p += 2, data += 2 * k_stride, panel += 2 * LANES) {
        _mm512_storeu_si512(panel, whole_pairs(data, data + k_stride));
        _mm512_storeu_si512(panel + LANES, whole_pairs(data + LANES, data + k_stride + LANES));
    }
    return p;
}

static void pack_turned(const uint16_t *data, int64_t stride, int64_t count, int64_t width,
                        int64_t k_count, uint32_t *panel)
{
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(width - i);
        for (int64_t p = 0; p < k_count; p += TILE_STEPS) {
            __m512i row[LANES];
            int64_t steps = CR_MIN(k_count - p, TILE_STEPS);
            uint32_t *to = panel + p / 2 * width + i;
            turned_pairs(data + i * stride + p, stride, count - i, steps, row);
            if (CR_LIKELY(steps == TILE_STEPS)) {
#pragma GCC unroll 16
                for (int q = 0; q < LANES; q++)
                    _mm512_mask_storeu_epi32(to + q * width, mask, row[q]);
                continue;
            }
            for (int q = 0; q < (steps + 1) / 2; q++)
                _mm512_mask_storeu_epi32(to + q * width, mask, row[q]);
        }
    }
}

void cr_gemm_pack_pairs(const void *data, int64_t stride, int64_t k_stride, int64_t count,
                        int64_t width, int64_t k_count, void *panel)
{
    const uint16_t *from = data;
    uint32_t *to = panel;
    if (k_stride == 1 && stride != 1) {
        pack_turned(from, stride, count, width, k_count, to);
        return;
    }
    int64_t done = 0;
    if (stride == 1 && count == 2 * LANES && width == 2 * LANES) {
        done = pack_whole(from, k_stride, k_count, to);
        from += done * k_stride;
        to += done / 2 * width;
    }
    for (int64_t p = done; p < k_count; p += 2, from += 2 * k_stride, to += width) {
        const uint16_t *next = p + 1 < k_count ? from + k_stride : NULL;
        if (stride == 1)
            for (int64_t i = 0; i < count; i += LANES)
                _mm512_mask_storeu_epi32(
                    to + i, first_lanes(width - i),
                    pairs_of(from + i, next ? next + i : NULL, first_lanes(count - i)));
        else
            for (int64_t i = 0; i < count; i++)
                to[i] = from[i * stride] | (next ? (uint32_t)next[i * stride] << 16 : 0);
    }
}

/* ---- rows of A: for each 32 steps of k, 32 elements of each row ---- */

/* Rows contiguous along k. */
static void copy_rows(const uint16_t *data, int64_t stride, int64_t count, int64_t width,
                      int64_t k_count, uint16_t *panel)
{
    for (int64_t i = 0; i < count; i++) {
        const uint16_t *from = data + i * stride;
        uint16_t *to = panel + i * TILE_STEPS;
        int64_t p = 0;
        for (; p + TILE_STEPS <= k_count; p += TILE_STEPS, to += width * TILE_STEPS)
            _mm512_store_si512(to, _mm512_loadu_si512(from + p));
        if (p < k_count)
            _mm512_store_si512(to, _mm512_maskz_loadu_epi16(first_elements(k_count - p), from + p));
    }
}

CR_INLINE void store_turned(__m512i row[LANES], uint16_t *to)
{
    transpose(row);
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        _mm512_store_si512(to + l * TILE_STEPS, row[l]);
}

/* Steps of k whose rows are contiguous. */
static void turn_columns(const uint16_t *data, int64_t k_stride, int64_t count, int64_t width,
                         int64_t k_count, uint16_t *panel)
{
    for (int64_t p = 0; p < k_count; p += TILE_STEPS, panel += width * TILE_STEPS)
        for (int64_t i = 0; i < count; i += LANES) {
            __m512i row[LANES];
            __mmask16 mask = first_lanes(count - i);
            if (CR_LIKELY(p + TILE_STEPS <= k_count && i + LANES <= count)) {
#pragma GCC unroll 16
                for (int q = 0; q < LANES; q++) {
                    const uint16_t *from = data + (p + 2 * q) * k_stride + i;
                    row[q] = whole_pairs(from, from + k_stride);
                }
                store_turned(row, panel + i * TILE_STEPS);
                continue;
            }
            for (int q = 0; q < LANES; q++) {
                int64_t at = p + 2 * q;
                const uint16_t *from = data + at * k_stride + i;
                row[q] = at < k_count
                             ? pairs_of(from, at + 1 < k_count ? from + k_stride : NULL, mask)
                             : _mm512_setzero_si512();
            }
            store_turned(row, panel + i * TILE_STEPS);
        }
}

void cr_gemm_pack_tile_rows(const void *data, int64_t stride, int64_t k_stride, int64_t count,
                            int64_t width, int64_t k_count, void *panel)
{
    const uint16_t *from = data;
    uint16_t *to = panel;
    if (k_stride == 1) {
        copy_rows(from, stride, count, width, k_count, to);
        return;
    }
    if (stride == 1) {
        turn_columns(from, k_stride, count, width, k_count, to);
        return;
    }
    for (int64_t p = 0; p < CR_ROUND_UP(k_count, TILE_STEPS); p++)
        for (int64_t i = 0; i < count; i++)
            to[(p / TILE_STEPS * width + i) * TILE_STEPS + p % TILE_STEPS] =
                p < k_count ? from[i * stride + p * k_stride] : 0;
}

void cr_gemm_turn_tile_rows(const void *pairs, int64_t width, int64_t k_count, void *panel)
{
    const uint32_t *from = pairs;
    uint16_t *to = panel;
    for (int64_t p = 0; p < k_count; p += TILE_STEPS, to += width * TILE_STEPS)
        for (int64_t i = 0; i < width; i += LANES) {
            __m512i row[LANES];
            for (int q = 0; q < LANES; q++) {
                bool inside = p + 2 * q < k_count;
                row[q] = inside ? _mm512_loadu_si512(from + ((p / 2) + q) * width + i)
                                : _mm512_setzero_si512();
            }
            store_turned(row, to + i * TILE_STEPS);
        }
}
