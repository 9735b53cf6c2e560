/* Weighted sums of rows, and of the pixels of a row, for each instruction set.
 *
 * With vectors, four bytes that are four taps of one output are a cell of 32 bits; two of them are
 * widened to 16 bits and multiplied with the weights' halves, two at a time, by the instruction
 * that adds neighbouring products. The sums are those of the plain loops, whatever their order. */
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/picture/picture_kernels.h"

#define BLOCK 128 /* sums that stay in registers and the nearest cache */

/* ---- plain ---- */

CR_INLINE uint8_t finish_one(int32_t sum)
{
    int32_t value = sum >> RESAMPLE_BITS;
    value = value < 0 ? 0 : value;
    return (uint8_t)(value > 255 ? 255 : value);
}

CR_INLINE void weigh(int32_t *restrict sums, const uint8_t *restrict in, int32_t weight,
                     size_t count)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += weight * in[i];
}

static void row_plain(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *weights,
                      int taps, size_t count)
{
    int32_t sums[BLOCK];
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        size_t size = CR_MIN(count - begin, (size_t)BLOCK);
        for (size_t i = 0; i < size; i++)
            sums[i] = 1 << (RESAMPLE_BITS - 1);
        for (int t = 0; t < taps; t++)
            weigh(sums, in + (size_t)t * stride + begin, weights[t], size);
        for (size_t i = 0; i < size; i++)
            out[begin + i] = finish_one(sums[i]);
    }
}

#if !defined(__AVX2__)

CR_INLINE void pixels_of(const struct resample_axis *axis, const uint8_t *in, uint8_t *out,
                         int channels)
{
    for (int64_t o = 0; o < axis->out; o++, out += channels) {
        const uint8_t *from = in + (size_t)axis->first[o] * (size_t)channels;
        const int32_t *weights = axis->weights + o * axis->most;
        int32_t sums[4] = { 0 };
        for (int t = 0; t < axis->taps[o]; t++, from += channels) {
            for (int c = 0; c < channels; c++)
                sums[c] += weights[t] * from[c];
        }
        for (int c = 0; c < channels; c++)
            out[c] = finish_one(sums[c] + (1 << (RESAMPLE_BITS - 1)));
    }
}

static void pixels(const struct resample_axis *axis, const int32_t *packed, const uint8_t *in,
                   uint8_t *out, int channels)
{
    (void)packed;
    if (channels == 3)
        pixels_of(axis, in, out, 3);
    else if (channels == 1)
        pixels_of(axis, in, out, 1);
    else
        pixels_of(axis, in, out, channels);
}

#define CELLS 0
#define row   row_plain

#else

/* ---- vectors ---- */

#if defined(__AVX512BW__)
#define CELLS                16
typedef __m512i vector;
#define VECTOR(name)         _mm512_##name
#define vector_load(p)       _mm512_loadu_si512((const void *)(p))
#define vector_store(p, x)   _mm512_storeu_si512((void *)(p), x)
#define vector_and(x, y)     _mm512_and_si512(x, y)
#define vector_zero()        _mm512_setzero_si512()
#define vector_each_lane(x)  _mm512_broadcast_i32x4(x)
#define vector_gather(p, at) _mm512_i32gather_epi32(at, p, 1)
#else
#define CELLS                8
typedef __m256i vector;
#define VECTOR(name)         _mm256_##name
#define vector_load(p)       _mm256_loadu_si256((const __m256i *)(p))
#define vector_store(p, x)   _mm256_storeu_si256((__m256i *)(p), x)
#define vector_and(x, y)     _mm256_and_si256(x, y)
#define vector_zero()        _mm256_setzero_si256()
#define vector_each_lane(x)  _mm256_broadcastsi128_si256(x)
#define vector_gather(p, at) _mm256_i32gather_epi32((const int *)(const void *)(p), at, 1)
#endif

#define BYTES      (4 * CELLS)
#define MOST_FOURS 16 /* of taps that the vectors are used for */
#define LOW_BITS   ((1 << RESAMPLE_HALF) - 1)

struct sums {
    vector high, low;
};

CR_INLINE struct sums sums_begin(void)
{
    return (struct sums){ vector_zero(), VECTOR(set1_epi32)(1 << (RESAMPLE_BITS - 1)) };
}

/* Adds the products of two cells with their weights, [4] vectors: high and low halves. */
CR_INLINE void sums_add(struct sums *sums, vector a, vector b, const vector *weights)
{
    sums->high = VECTOR(add_epi32)(sums->high, VECTOR(madd_epi16)(a, weights[0]));
    sums->low = VECTOR(add_epi32)(sums->low, VECTOR(madd_epi16)(a, weights[2]));
    sums->high = VECTOR(add_epi32)(sums->high, VECTOR(madd_epi16)(b, weights[1]));
    sums->low = VECTOR(add_epi32)(sums->low, VECTOR(madd_epi16)(b, weights[3]));
}

CR_INLINE vector sums_end(struct sums sums)
{
    vector total = VECTOR(add_epi32)(VECTOR(slli_epi32)(sums.high, RESAMPLE_HALF), sums.low);
    return VECTOR(srai_epi32)(total, RESAMPLE_BITS);
}

/* ---- rows ---- */

/* The weights of four taps, of which those past `taps` are 0. */
CR_INLINE void spread_weights(const int32_t *weights, int taps, vector spread[4])
{
    int32_t w[RESAMPLE_FOUR] = { 0 };
    for (int t = 0; t < CR_MIN(taps, RESAMPLE_FOUR); t++)
        w[t] = weights[t];
    for (int i = 0; i < 2; i++) {
        uint32_t high = (uint32_t)(w[i + 2] >> RESAMPLE_HALF) << 16;
        uint32_t low = (uint32_t)(w[i + 2] & LOW_BITS) << 16;
        high |= (uint32_t)(w[i] >> RESAMPLE_HALF) & 0xFFFFU;
        low |= (uint32_t)(w[i] & LOW_BITS);
        spread[i] = VECTOR(set1_epi32)((int32_t)high);
        spread[i + 2] = VECTOR(set1_epi32)((int32_t)low);
    }
}

/* One vector of bytes of the result. Four rows become cells of four bytes; those of the unpacking
 * lie in the order that packing undoes. */
CR_INLINE void row_block(uint8_t *out, const uint8_t *in, size_t stride, const vector *weights,
                         int taps)
{
    struct sums sums[4];
    const vector mask = VECTOR(set1_epi16)(0xFF);
    for (int i = 0; i < 4; i++)
        sums[i] = sums_begin();
    for (int t = 0; t < taps; t += RESAMPLE_FOUR, weights += 4) {
        vector x[4];
        for (int i = 0; i < 4; i++) /* a row whose weight is 0 may be any */
            x[i] = vector_load(in + (size_t)CR_MIN(t + i, taps - 1) * stride);
        vector low01 = VECTOR(unpacklo_epi8)(x[0], x[1]),
               high01 = VECTOR(unpackhi_epi8)(x[0], x[1]);
        vector low23 = VECTOR(unpacklo_epi8)(x[2], x[3]),
               high23 = VECTOR(unpackhi_epi8)(x[2], x[3]);
        vector cells[4] = { VECTOR(unpacklo_epi16)(low01, low23),
                            VECTOR(unpackhi_epi16)(low01, low23),
                            VECTOR(unpacklo_epi16)(high01, high23),
                            VECTOR(unpackhi_epi16)(high01, high23) };
        for (int i = 0; i < 4; i++)
            sums_add(&sums[i], vector_and(cells[i], mask), VECTOR(srli_epi16)(cells[i], 8),
                     weights);
    }
    vector words[2] = { VECTOR(packs_epi32)(sums_end(sums[0]), sums_end(sums[1])),
                        VECTOR(packs_epi32)(sums_end(sums[2]), sums_end(sums[3])) };
    vector_store(out, VECTOR(packus_epi16)(words[0], words[1]));
}

static void row(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *weights, int taps,
                size_t count)
{
    vector spread[4 * MOST_FOURS];
    if (count < BYTES || taps > MOST_FOURS * RESAMPLE_FOUR) {
        row_plain(out, in, stride, weights, taps, count);
        return;
    }
    for (int t = 0; t < taps; t += RESAMPLE_FOUR)
        spread_weights(weights + t, taps - t, spread + t);
    for (size_t i = 0; i < count; i += BYTES) {
        size_t at = CR_MIN(i, count - BYTES); /* the last may overlap the one before */
        row_block(out + at, in + at, stride, spread, taps);
    }
}

/* ---- pixels of a row ---- */

/* Where the bytes of the cells' taps stand in 16 bytes of pixels; negative is 0. */
static const int8_t first_taps[5][16] = {
    [1] = { 0, -1, 2, -1, 4, -1, 6, -1, 8, -1, 10, -1, 12, -1, 14, -1 },
    [3] = { 0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1 },
    [4] = { 0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1 },
};
static const int8_t second_taps[5][16] = {
    [1] = { 1, -1, 3, -1, 5, -1, 7, -1, 9, -1, 11, -1, 13, -1, 15, -1 },
    [3] = { 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1 },
    [4] = { 8, -1, 12, -1, 9, -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1 },
};
/* Bytes of the cells that are kept in the result. */
static const int8_t kept[5][16] = {
    [1] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
    [3] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1 },
    [4] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
};

CR_INLINE __m128i load_pixels(const uint8_t *in)
{
    return _mm_loadu_si128((const __m128i *)(const void *)in);
}

/* Four taps of each output of a vector: for colours 16 bytes from its first pixel on, a lane each;
 * for grey ones 4 bytes, a cell each. */
CR_INLINE vector load_taps(const uint8_t *in, const int *first, int channels)
{
    if (channels == 1)
        return vector_gather(in, vector_load(first));
#if CELLS == 16
    vector x = _mm512_castsi128_si512(load_pixels(in + first[0] * channels));
    x = _mm512_inserti32x4(x, load_pixels(in + first[1] * channels), 1);
    x = _mm512_inserti32x4(x, load_pixels(in + first[2] * channels), 2);
    return _mm512_inserti32x4(x, load_pixels(in + first[3] * channels), 3);
#else
    vector x = _mm256_castsi128_si256(load_pixels(in + first[0] * channels));
    return _mm256_inserti128_si256(x, load_pixels(in + first[1] * channels), 1);
#endif
}

/* The bytes of the cells, clipped, in the lower part. */
CR_INLINE __m128i narrow(vector sums)
{
#if CELLS == 16
    return _mm512_cvtusepi32_epi8(_mm512_max_epi32(sums, vector_zero()));
#else
    __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return _mm_packus_epi16(words, words);
#endif
}

CR_INLINE vector lanes_of(const int8_t bytes[16])
{
    return vector_each_lane(load_pixels((const uint8_t *)bytes));
}

CR_INLINE void pixels_of(const struct resample_axis *axis, const int32_t *packed, const uint8_t *in,
                         uint8_t *out, int channels)
{
    const int64_t outputs = channels == 1 ? CELLS : CELLS / 4;
    const vector first = lanes_of(first_taps[channels]), second = lanes_of(second_taps[channels]);
    const __m128i bytes = load_pixels((const uint8_t *)kept[channels]);
    for (int64_t o = 0; o < axis->out; o += outputs, out += outputs * channels) {
        int64_t count = CR_MIN(outputs, axis->out - o);
        int last[CELLS] = { 0 };
        const int *from = axis->first + o;
        if (count < outputs)
            from = memcpy(last, from, (size_t)count * sizeof *from);
        struct sums sums = sums_begin();
        for (int t = 0; t < axis->most; t += RESAMPLE_FOUR, packed += 4 * CELLS) {
            vector x = load_taps(in + t * channels, from, channels);
            vector weights[4];
            for (int i = 0; i < 4; i++)
                weights[i] = vector_load(packed + i * CELLS);
            sums_add(&sums, VECTOR(shuffle_epi8)(x, first), VECTOR(shuffle_epi8)(x, second),
                     weights);
        }
        uint8_t result[16];
        __m128i narrowed = _mm_shuffle_epi8(narrow(sums_end(sums)), bytes);
        _mm_storeu_si128((__m128i *)(void *)result, narrowed);
        if (count == outputs) /* of a size that the compiler knows */
            memcpy(out, result, (size_t)(outputs * channels));
        else
            memcpy(out, result, (size_t)(count * channels));
    }
}

static void pixels(const struct resample_axis *axis, const int32_t *packed, const uint8_t *in,
                   uint8_t *out, int channels)
{
    if (channels == 3)
        pixels_of(axis, packed, in, out, 3);
    else if (channels == 1)
        pixels_of(axis, packed, in, out, 1);
    else
        pixels_of(axis, packed, in, out, 4);
}

#endif

extern const struct picture_loops CR_ISA_NAME(picture_loops);
const struct picture_loops CR_ISA_NAME(picture_loops) = { row, pixels, CELLS };
