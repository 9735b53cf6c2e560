/* Kernels that fill memory with random numbers.
 *
 * They draw from one Philox stream: block i (four 32-bit words) gives elements 4i … 4i+3, whatever
 * the number of threads. Where an element takes 64 bits, block i gives elements 2i and 2i+1. */
#ifndef CR_KERNELS_RANDOM_RANDOM_KERNELS_H
#define CR_KERNELS_RANDOM_RANDOM_KERNELS_H

#include "tensor/tensor.h"

/* The blocks reserved for a fill: numbers `first` and on of a stream. */
struct random_source {
    uint64_t seed;
    uint64_t stream;
    uint64_t first;
};

enum random_kind {
    RANDOM_UNIFORM,      /* from a to b */
    RANDOM_NORMAL,       /* mean a, standard deviation b */
    RANDOM_TRUNC_NORMAL, /* the same, within [low, high] */
    RANDOM_BERNOULLI,    /* 1 with probability a, else 0 */
    RANDOM_INTEGER       /* low + [0, range) */
};

struct random_fill {
    enum random_kind kind;
    double a;
    double b;
    double low;
    double high;
    int64_t least;  /* of integers */
    uint64_t range; /* 0 stands for 2^64 */
};

/* The blocks that a fill of n elements of dtype takes. */
uint64_t random_blocks(const struct random_fill *fill, cr_dtype dtype, int64_t n);

/* Fills a contiguous tensor, on several threads. */
void random_fill_tensor(cr_tensor *out, const struct random_fill *fill,
                        const struct random_source *source);

/* out[i] = 1 with probability p[i], both contiguous and of one floating dtype. */
void random_bernoulli_tensor(cr_tensor *out, const cr_tensor *p,
                             const struct random_source *source);

/* out[i] = whether element i is kept, which has probability 1 - p; out is bool and contiguous. */
void random_keep_mask(cr_tensor *out, double p, const struct random_source *source);

/* Draws `samples` columns of each row of weights (rows, columns), in double, into out (rows,
 * samples). The workspace holds `columns` doubles. Row r
 * takes `samples` (or `columns`) words from block r * ceil(words / 4) on. */
void random_multinomial(int64_t *out, const double *weights, int64_t rows, int64_t columns,
                        int64_t samples, bool replacement, const struct random_source *source,
                        double *workspace);

/* ---- the loops for each instruction set ---- */

#define RANDOM_LANES 16
#define RANDOM_GROUP (4 * RANDOM_LANES) /* words that are made together */

struct random_loops {
    /* n words, the first of which is the first of block `block` of the source. */
    void (*words)(uint32_t *out, int64_t n, const struct random_source *source, uint64_t block);
    /* a + (b - a) u, u in [0, 1) with `bits` random bits. */
    void (*uniform)(float *out, int64_t n, const struct random_source *source, uint64_t block,
                    int bits, float a, float b);
    void (*normal)(float *out, int64_t n, const struct random_source *source, uint64_t block,
                   float mean, float deviation);
    /* 1 where word < threshold. */
    void (*bernoulli)(float *out, int64_t n, const struct random_source *source, uint64_t block,
                      uint64_t threshold);
};

const struct random_loops *random_loops(void);

#endif
