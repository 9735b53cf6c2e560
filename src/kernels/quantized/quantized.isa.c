/* Sums of products of bytes for one instruction set. The compiler is told not to contract products
 * and sums of floats (src/CMakeLists.txt), so that all sets round alike. */
#include <math.h>
#include <string.h>

#include "kernels/quantized/quantized.h"

#if defined(CR_TARGET_AVX512) || defined(CR_TARGET_AVX2)
#include <immintrin.h>
#endif

#define ROWS    QUANTIZED_ROWS
#define COLUMNS QUANTIZED_COLUMNS
#define GROUP   QUANTIZED_GROUP

/* The next `count` bytes of a row, at most four of them, as one word, on little-endian machines;
 * the rest are zero. */
CR_INLINE int32_t word_at(const uint8_t *row, int64_t count)
{
    int32_t word = 0;
    if (count >= GROUP)
        memcpy(&word, row, GROUP);
    else
        word = row[0] | (count > 1 ? row[1] << 8 : 0) | (count > 2 ? row[2] << 16 : 0);
    return word;
}

/* ---- tiles ---- */

#if defined(CR_TARGET_AVX512)
#define VNNI __attribute__((target("avx512vnni")))

/* The products of one group. */
#define ADD_GROUP(count)                                                                           \
    do {                                                                                           \
        __m512i left = _mm512_loadu_si512(weights), right = _mm512_loadu_si512(weights + 64);      \
        _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)                                    \
        {                                                                                          \
            __m512i x = _mm512_set1_epi32(word_at(rows[r] + i, count));                            \
            sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], x, left);                                   \
            sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], x, right);                                  \
        }                                                                                          \
        weights += GROUP * COLUMNS;                                                                \
    } while (0)

/* One loop without, and one with a last group of fewer channels: in one function they would not
 * keep the sums in registers. */
#define TILE_VNNI(name, has_rest)                                                                  \
    VNNI static void name(int64_t taps, int64_t channels, const uint8_t *const *rows,              \
                          const int8_t *weights, int32_t *sums)                                    \
    {                                                                                              \
        __m512i sum[ROWS][2];                                                                      \
        _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++) sum[r][0] = sum[r][1] =            \
            _mm512_setzero_si512();                                                                \
        for (int64_t t = 0; t < taps; t++, rows += ROWS) {                                         \
            int64_t i = 0;                                                                         \
            for (; i + GROUP <= channels; i += GROUP)                                              \
                ADD_GROUP(GROUP);                                                                  \
            if (has_rest)                                                                          \
                ADD_GROUP(channels - i);                                                           \
        }                                                                                          \
        _Pragma("GCC unroll 12") for (int r = 0; r < ROWS; r++)                                    \
        {                                                                                          \
            _mm512_storeu_si512(sums + r * COLUMNS, sum[r][0]);                                    \
            _mm512_storeu_si512(sums + r * COLUMNS + 16, sum[r][1]);                               \
        }                                                                                          \
    }

TILE_VNNI(tile_groups, false)
TILE_VNNI(tile_rest, true)

static void tile_vnni(int64_t taps, int64_t channels, const uint8_t *const *rows,
                      const int8_t *weights, int32_t *sums)
{
    if (channels % GROUP == 0)
        tile_groups(taps, channels, rows, weights, sums);
    else
        tile_rest(taps, channels, rows, weights, sums);
}
#endif

#if defined(CR_TARGET_AVX512) || defined(CR_TARGET_AVX2)
#define BAND 4 /* rows at a time, of 8 columns */

/* Adds the products of one group: pairs of them, exactly, as words of 16 bits. */
CR_INLINE void add_group(__m256i sum[BAND][2], const uint8_t *const *rows, int64_t i, int64_t count,
                         const int8_t *weights)
{
    __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weights));
    __m256i high =
        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(weights + 16)));
    for (int r = 0; r < BAND; r++) {
        __m128i bytes = _mm_cvtsi32_si128(word_at(rows[r] + i, count));
        __m256i x = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(bytes));
        sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, low));
        sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, high));
    }
}

CR_INLINE void tile_part(int64_t taps, int64_t channels, const uint8_t *const *rows,
                         const int8_t *weights, int32_t *sums)
{
    __m256i sum[BAND][2];
    for (int r = 0; r < BAND; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (int64_t t = 0; t < taps; t++, rows += ROWS) {
        int64_t i = 0;
        for (; i + GROUP <= channels; i += GROUP, weights += GROUP * COLUMNS)
            add_group(sum, rows, i, GROUP, weights);
        if (i == channels)
            continue;
        add_group(sum, rows, i, channels - i, weights);
        weights += GROUP * COLUMNS;
    }
    for (int r = 0; r < BAND; r++) {
        __m256i pairs = _mm256_hadd_epi32(sum[r][0], sum[r][1]);
        _mm256_storeu_si256((__m256i *)(void *)(sums + r * COLUMNS),
                            _mm256_permute4x64_epi64(pairs, 0xd8));
    }
}

static void tile(int64_t taps, int64_t channels, const uint8_t *const *rows, const int8_t *weights,
                 int32_t *sums)
{
    for (int row = 0; row < ROWS; row += BAND) {
        for (int column = 0; column < COLUMNS; column += 8)
            tile_part(taps, channels, rows + row, weights + column * GROUP,
                      sums + row * COLUMNS + column);
    }
}
#else
static void tile(int64_t taps, int64_t channels, const uint8_t *const *rows, const int8_t *weights,
                 int32_t *sums)
{
    memset(sums, 0, (size_t)(ROWS * COLUMNS) * sizeof *sums);
    for (int64_t t = 0; t < taps; t++, rows += ROWS) {
        for (int64_t i = 0; i < channels; i += GROUP, weights += GROUP * COLUMNS) {
            int64_t count = CR_MIN(channels - i, (int64_t)GROUP);
            for (int r = 0; r < ROWS; r++) {
                int32_t x[GROUP] = { 0 };
                for (int64_t g = 0; g < count; g++)
                    x[g] = rows[r][i + g];
                for (int c = 0; c < COLUMNS; c++)
                    sums[r * COLUMNS + c] +=
                        x[0] * weights[c * GROUP] + x[1] * weights[c * GROUP + 1] +
                        x[2] * weights[c * GROUP + 2] + x[3] * weights[c * GROUP + 3];
            }
        }
    }
}
#endif

/* ---- depthwise ---- */

/* A product of a byte and a signed byte fits 16 bits. */
static void depthwise(int64_t taps, int64_t count, const uint8_t *const *rows,
                      const int8_t *weights, int64_t stride, int32_t *sums)
{
    for (int64_t c = 0; c < count; c++)
        sums[c] = 0;
    for (int64_t t = 0; t < taps; t++) {
        const uint8_t *x = rows[t];
        const int8_t *w = weights + t * stride;
        CR_INDEPENDENT
        for (int64_t c = 0; c < count; c++)
            sums[c] += (int16_t)((int16_t)x[c] * (int16_t)w[c]);
    }
}

/* ---- the end ---- */

CR_INLINE uint8_t to_byte(float x, float inverse, int32_t zero)
{
    float scaled = rintf(x * inverse) + (float)zero;
    scaled = scaled > 0 ? scaled : 0;
    return (uint8_t)(int32_t)(scaled < 255 ? scaled : 255);
}

static void finish(const struct quantized_finish *f, const int32_t *sums, int64_t channel,
                   int64_t at, int64_t count)
{
    float real[COLUMNS * 2];
    const float *scale = f->scale + channel;
    const int32_t *offset = f->offset + channel;
    for (int64_t c = 0; c < count; c++)
        real[c] = (float)(sums[c] + offset[c]) * scale[c];
    if (f->residual) {
        const uint8_t *residual = f->residual + at;
        for (int64_t c = 0; c < count; c++)
            real[c] += (float)((int32_t)residual[c] - f->residual_zero) * f->residual_scale;
    }
    for (int64_t c = 0; c < count; c++) {
        real[c] = real[c] > f->low ? real[c] : f->low;
        real[c] = real[c] < f->high ? real[c] : f->high;
    }
    if (f->reals) {
        memcpy(f->reals + at, real, (size_t)count * sizeof *real);
        return;
    }
    uint8_t *to = f->bytes + at;
    for (int64_t c = 0; c < count; c++)
        to[c] = to_byte(real[c], f->inverse, f->zero);
}

static void quantize(const float *x, int64_t count, float inverse, int32_t zero, uint8_t *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = to_byte(x[i], inverse, zero);
}

static void dequantize(const uint8_t *x, int64_t count, float scale, int32_t zero, float *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = (float)((int32_t)x[i] - zero) * scale;
}

extern const struct quantized_loops CR_ISA_NAME(quantized_loops)[2];
const struct quantized_loops CR_ISA_NAME(quantized_loops)[2] = {
    { tile, depthwise, finish, quantize, dequantize },
#if defined(CR_TARGET_AVX512)
    { tile_vnni, depthwise, finish, quantize, dequantize },
#else
    { tile, depthwise, finish, quantize, dequantize },
#endif
};
