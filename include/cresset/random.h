/* Random numbers: counter-based (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011).
 *
 * Number i of a stream is a pure function of (seed, stream, i), so a fill gives the same values at
 * any thread count, and the state to save is three integers. Ops draw from the generator of the
 * calling thread, which cr_manual_seed sets. */
#ifndef CRESSET_RANDOM_H
#define CRESSET_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_generator {
    uint64_t seed;
    uint64_t stream; /* independent sequences of one seed: a worker, a sample, an epoch */
    uint64_t offset; /* blocks of four 32-bit numbers drawn so far */
} cr_generator;

/* The generator of the calling thread; seed 0 and stream 0 until set. */
cr_generator *cr_default_generator(void);

/* Restarts the calling thread's generator with this seed. */
void cr_manual_seed(uint64_t seed);

/* A generator for a part of the work: the same seed and ids give the same numbers. */
cr_generator cr_generator_make(uint64_t seed, uint64_t stream);

/* The block of four numbers at `index` of a stream. */
void cr_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]);

/* Takes `blocks` blocks: returns the index of the first and moves the offset past the last. */
uint64_t cr_generator_reserve(cr_generator *generator, uint64_t blocks);

/* One number at a time: 32 and 64 bits, [0, 1) in double with 53 bits, an integer in [0, bound)
 * without bias, a standard normal. Each takes whole blocks. */
uint32_t cr_random_u32(cr_generator *generator);
uint64_t cr_random_u64(cr_generator *generator);
double cr_random_uniform(cr_generator *generator);
uint64_t cr_random_below(cr_generator *generator, uint64_t bound);
double cr_random_normal(cr_generator *generator);

/* order[0..count) becomes a random permutation of 0 … count-1 (Fisher-Yates). */
void cr_random_permutation(cr_generator *generator, int64_t *order, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
