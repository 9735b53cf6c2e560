/* Random numbers in groups of sixteen Philox blocks, side by side in vector registers. Uniform
 * numbers scale the bits; normal ones are Box and Muller's, a pair of words giving a pair. */
#include <string.h>

#include "kernels/elementwise/fastmath.h"
#include "kernels/random/random_kernels.h"

#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0       0x9E3779B9u
#define WEYL_1       0xBB67AE85u

/* words[w][l] is word w of block first + l. */
CR_INLINE void philox_lanes(const struct random_source *source, uint64_t first,
                            uint32_t words[4][RANDOM_LANES])
{
    uint32_t stream_low = (uint32_t)source->stream, stream_high = (uint32_t)(source->stream >> 32);
    uint32_t seed_low = (uint32_t)source->seed, seed_high = (uint32_t)(source->seed >> 32);
    for (int l = 0; l < RANDOM_LANES; l++) {
        uint64_t index = first + (uint64_t)l;
        uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
        uint32_t c2 = stream_low, c3 = stream_high;
        uint32_t k0 = seed_low, k1 = seed_high;
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0;
            uint64_t p1 = (uint64_t)MULTIPLIER_1 * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
            c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
            c3 = (uint32_t)p0;
            k0 += WEYL_0;
            k1 += WEYL_1;
        }
        words[0][l] = c0;
        words[1][l] = c1;
        words[2][l] = c2;
        words[3][l] = c3;
    }
}

/* Runs `body`, which reads words[4][RANDOM_LANES] and writes group[RANDOM_GROUP] in the order of
 * the stream, for every group of n elements. */
#define FOR_EACH_GROUP(type, body)                                                                 \
    for (int64_t done = 0; done < n; done += RANDOM_GROUP) {                                       \
        uint32_t words[4][RANDOM_LANES] CR_ALIGNED(64);                                            \
        type group[RANDOM_GROUP] CR_ALIGNED(64);                                                   \
        philox_lanes(source, source->first + block + (uint64_t)(done / 4), words);                 \
        body;                                                                                      \
        memcpy(out + done, group, (size_t)CR_MIN(n - done, RANDOM_GROUP) * sizeof(type));          \
    }

static void fill_words(uint32_t *out, int64_t n, const struct random_source *source, uint64_t block)
{
    FOR_EACH_GROUP(uint32_t, {
        for (int l = 0; l < RANDOM_LANES; l++) {
            for (int w = 0; w < 4; w++)
                group[4 * l + w] = words[w][l];
        }
    })
}

static void fill_uniform(float *out, int64_t n, const struct random_source *source, uint64_t block,
                         int bits, float a, float b)
{
    float scale = (b - a) * fast_power_of_2(-bits);
    int shift = 32 - bits;
    FOR_EACH_GROUP(float, {
        for (int l = 0; l < RANDOM_LANES; l++) {
            for (int w = 0; w < 4; w++)
                group[4 * l + w] = (float)(int32_t)(words[w][l] >> shift) * scale + a;
        }
    })
}

/* The cosine and sine of turns / 2^32 of a full turn, and a radius from another word. */
CR_INLINE void normal_pair(uint32_t radius_word, uint32_t turns, float *first, float *second)
{
    float chance = (float)(int32_t)(radius_word >> 1) * 0x1p-31f + 0x1p-32f;
    float radius = __builtin_sqrtf(-2.0f * fast_log(CR_MIN(chance, 1.0f)));
    uint32_t quarter = (turns + 0x20000000u) >> 30;
    float angle = (float)(int32_t)(turns - (quarter << 30)) * 0x1.921fb6p-30f;
    *first = radius * fast_circle(angle, quarter + 1);
    *second = radius * fast_circle(angle, quarter);
}

static void fill_normal(float *out, int64_t n, const struct random_source *source, uint64_t block,
                        float mean, float deviation)
{
    FOR_EACH_GROUP(float, {
        float normal[4][RANDOM_LANES] CR_ALIGNED(64);
        for (int l = 0; l < RANDOM_LANES; l++)
            normal_pair(words[0][l], words[1][l], &normal[0][l], &normal[1][l]);
        for (int l = 0; l < RANDOM_LANES; l++)
            normal_pair(words[2][l], words[3][l], &normal[2][l], &normal[3][l]);
        for (int l = 0; l < RANDOM_LANES; l++) {
            for (int w = 0; w < 4; w++)
                group[4 * l + w] = normal[w][l] * deviation + mean;
        }
    })
}

static void fill_bernoulli(float *out, int64_t n, const struct random_source *source,
                           uint64_t block, uint64_t threshold)
{
    uint32_t last = (uint32_t)(threshold - 1);
    float one = threshold ? 1.0f : 0.0f;
    FOR_EACH_GROUP(float, {
        for (int l = 0; l < RANDOM_LANES; l++) {
            for (int w = 0; w < 4; w++)
                group[4 * l + w] = words[w][l] <= last ? one : 0.0f;
        }
    })
}

const struct random_loops CR_ISA_NAME(random_loops);
const struct random_loops CR_ISA_NAME(random_loops) = {
    .words = fill_words,
    .uniform = fill_uniform,
    .normal = fill_normal,
    .bernoulli = fill_bernoulli,
};
