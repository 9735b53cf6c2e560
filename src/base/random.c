/* Random numbers by Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011), bit for bit as Random123 computes it. The counter is (index, stream), the key the seed,
 * so any number of any stream is computed without those before it. Filling tensors is left to the
 * kernels, which reserve blocks here and compute them in parallel. */
#include "base/base.h"

#include <math.h>

#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0       0x9E3779B9u
#define WEYL_1       0xBB67AE85u
#define ROUNDS       10

#define TWO_TO_MINUS_53 0x1p-53
#define TWO_PI          6.283185307179586476925

static CR_THREAD_LOCAL cr_generator default_generator;

void cr_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t p0 = (uint64_t)MULTIPLIER_0 * c0;
        uint64_t p1 = (uint64_t)MULTIPLIER_1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

cr_generator *cr_default_generator(void)
{
    return &default_generator;
}

void cr_manual_seed(uint64_t seed)
{
    default_generator = cr_generator_make(seed, 0);
}

cr_generator cr_generator_make(uint64_t seed, uint64_t stream)
{
    return (cr_generator){ .seed = seed, .stream = stream, .offset = 0 };
}

uint64_t cr_generator_reserve(cr_generator *generator, uint64_t blocks)
{
    uint64_t first = generator->offset;
    generator->offset += blocks;
    return first;
}

static void next_block(cr_generator *generator, uint32_t out[4])
{
    uint64_t index = cr_generator_reserve(generator, 1);
    cr_philox(generator->seed, generator->stream, index, out);
}

static uint64_t join(uint32_t low, uint32_t high)
{
    return low | (uint64_t)high << 32;
}

uint32_t cr_random_u32(cr_generator *generator)
{
    uint32_t words[4];
    next_block(generator, words);
    return words[0];
}

uint64_t cr_random_u64(cr_generator *generator)
{
    uint32_t words[4];
    next_block(generator, words);
    return join(words[0], words[1]);
}

double cr_random_uniform(cr_generator *generator)
{
    return (double)(cr_random_u64(generator) >> 11) * TWO_TO_MINUS_53;
}

uint64_t cr_random_below(cr_generator *generator, uint64_t bound)
{
    if (bound == 0)
        return 0;
    /* The lowest 2^64 mod bound values would be drawn once too often by a plain remainder. */
    uint64_t excess = (0 - bound) % bound;
    uint64_t number;
    do
        number = cr_random_u64(generator);
    while (number < excess);
    return number % bound;
}

/* Box and Muller: one block gives the radius and the angle of one point. */
double cr_random_normal(cr_generator *generator)
{
    uint32_t words[4];
    next_block(generator, words);
    /* The radius is drawn from (0, 1], where the logarithm is finite. */
    double radius = (double)((join(words[0], words[1]) >> 11) + 1) * TWO_TO_MINUS_53;
    double angle = (double)(join(words[2], words[3]) >> 11) * TWO_TO_MINUS_53;
    return sqrt(-2.0 * log(radius)) * cos(TWO_PI * angle);
}

void cr_random_permutation(cr_generator *generator, int64_t *order, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)cr_random_below(generator, (uint64_t)i + 1);
        int64_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}
