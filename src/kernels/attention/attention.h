/* Scaled dot-product attention: softmax(scale q kᵀ + mask) v, without the matrix of scores in
 * memory (Dao et al., "FlashAttention", 2022).
 *
 * Queries are taken in blocks, keys and values in blocks under them: a block of scores is
 * multiplied, masked and put through the exponential while it is in the cache, and the result is
 * rescaled as the greatest score so far grows. What is kept for backward is, for each query, the
 * logarithm of the sum of the exponentials, from which backward makes the scores again.
 *
 * Operands are float or double by `type` and may be strided in every way; leading dimensions
 * broadcast by strides of 0. Query, key, value, the result and its gradient may be stored as
 * bfloat16 where the type is float: blocks of them are widened as they are read. Nothing here
 * allocates or fails. */
#ifndef CR_KERNELS_ATTENTION_ATTENTION_H
#define CR_KERNELS_ATTENTION_ATTENTION_H

#include "kernels/gemm/gemm.h"
#include "kernels/random/random_kernels.h"

#define ATTENTION_BATCH_DIMS 6

/* A matrix for each index of the leading dimensions; steps in elements. */
struct attention_operand {
    const void *data;
    int64_t row;
    int64_t column;
    int64_t batch[ATTENTION_BATCH_DIMS];
};

/* B is the product of the batch sizes, L queries, S keys, E depth, Ev value_depth. Tensors that
 * are written are contiguous. */
struct attention_job {
    cr_gemm_type type;
    bool is_bf16; /* q, k, v, out and grad are; mask, log_sum and the gradients are of the type */
    int batch_dims;
    int64_t batch_size[ATTENTION_BATCH_DIMS];
    int64_t batch;
    int64_t queries, keys, depth, value_depth;
    double scale;
    bool causal;                   /* query i sees keys 0 … i */
    struct attention_operand q;    /* (L, E) */
    struct attention_operand k;    /* (S, E) */
    struct attention_operand v;    /* (S, Ev) */
    struct attention_operand mask; /* (L, S): added, or bool: true takes part; data NULL: none */
    bool mask_is_bool;
    double dropout; /* probability that a weight becomes 0; the others are scaled */
    struct random_source random;
    void *out;     /* (B, L, Ev); backward reads it */
    void *log_sum; /* (B, L): -inf where no key takes part, and out is 0; backward reads it */
    /* backward */
    struct attention_operand grad; /* (L, Ev), of out */
    void *grad_q;                  /* (B, L, E) */
    void *grad_k;                  /* (B, S, E) */
    void *grad_v;                  /* (B, S, Ev) */
    void *grad_mask;               /* (B, L, S), optional */
};

/* Blocks of four random words that a call with dropout takes. */
uint64_t attention_random_blocks(const struct attention_job *job);

size_t attention_workspace(const struct attention_job *job, bool is_backward);
void attention_run_forward(const struct attention_job *job, void *workspace);
void attention_run_backward(const struct attention_job *job, void *workspace);

/* ---- what the driver and the files of one instruction set share ---- */

#define ATTENTION_PANELS    8 /* of queries in a block */
#define ATTENTION_KEYS      128
#define ATTENTION_TILE_ROWS 14 /* at most, of any instruction set */

/* Room of one thread; each part is over REAL. */
struct attention_room {
    const cr_gemm_kernels *gemm;
    int64_t block_rows; /* queries of a block */
    void *packed_q;     /* (block_rows, E) */
    void *packed_left;  /* a block of scores, or of keys by queries */
    void *packed_right; /* one panel */
    void *scores;       /* (block_rows, ATTENTION_KEYS) */
    void *score_grads;  /* the same; backward */
    void *sums;         /* (block_rows, Ev), forward */
    void *wide_q;       /* (block_rows, E), where it is stored as bfloat16, as the next */
    void *wide_k;       /* (ATTENTION_KEYS, E) */
    void *wide_v;       /* (ATTENTION_KEYS, Ev) */
    void *wide_grad;    /* (block_rows, Ev); backward */
    void *most;         /* (block_rows): the greatest score so far; backward: Σ grad out */
    void *total;        /* (block_rows): of the exponentials */
};

struct attention_kernels {
    /* Queries [first, last) of product `batch`. */
    void (*forward)(const struct attention_job *job, const struct attention_room *room,
                    int64_t batch, int64_t first, int64_t last);
    /* Keys [first, last) of product `batch`, where first is a whole number of blocks: their rows of
     * grad_k and grad_v, and what they give of grad_q, into grad_q (L, E) here. */
    void (*backward)(const struct attention_job *job, const struct attention_room *room,
                     int64_t batch, int64_t first, int64_t last, void *grad_q);
};

/* The first element of an operand's matrix for product `batch`. */
int64_t attention_offset(const struct attention_job *job, const struct attention_operand *operand,
                         int64_t batch);

#endif
