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

/* Where the rows of a result go, side by side; `data` NULL: where the job's contiguous one is. */
struct attention_result {
    void *data;
    int64_t row;
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

    /* ---- what attention over few keys can do besides; all of it may be left out ---- */
    struct attention_operand positions; /* (L), int64: row i of q, k, v, the result and their
                                         * gradients is row positions[i]; then S is L */
    struct attention_operand bias;      /* (L, S), contiguous rows, added */
    void *grad_bias;                    /* (H, L, S), where H is the last batch size: summed over
                                         * the others */
    struct attention_result to_out, to_q, to_k, to_v; /* in place of out, grad_q, grad_k, grad_v */
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

/* Few keys are so many at most, and so is the depth; queries of a product are few enough for
 * backward to take all of them in one task. */
#define ATTENTION_SHORT         128
#define ATTENTION_SHORT_QUERIES 512
#define ATTENTION_SHORT_STEP    (ATTENTION_SHORT + 16) /* from row to row, apart in the cache */
#define ATTENTION_SHORT_TILES   4                      /* of queries that backward takes at once */

/* Room of one thread for few keys; each part is over REAL. Rows in panels have room for whole
 * panels, and those of a product's result are ATTENTION_SHORT_STEP apart. */
struct attention_short_room {
    const cr_gemm_kernels *gemm;
    void *k_rows;      /* keys by depth */
    void *k_turned;    /* depth by keys */
    void *v_rows;      /* keys by value_depth; forward */
    void *v_turned;    /* value_depth by keys; backward */
    void *q_rows;      /* queries by depth */
    void *grad_rows;   /* queries by value_depth; backward */
    void *left;        /* a tile of queries by the depth, as a left operand */
    void *left_scores; /* a tile of queries by the keys, as a left operand */
    void *scores;      /* of a tile, or in backward of a chunk of tiles */
    void *score_grads; /* of a chunk; backward */
    void *tile;        /* a product of left_scores */
    void *kept;        /* what dropout multiplies a tile's weights by; backward */
    void *grad_k;      /* keys by depth; backward, as the next */
    void *grad_v;      /* keys by value_depth */
};

struct attention_kernels {
    /* Queries [first, last) of product `batch`. */
    void (*forward)(const struct attention_job *job, const struct attention_room *room,
                    int64_t batch, int64_t first, int64_t last);
    /* Keys [first, last) of product `batch`, where first is a whole number of blocks: their rows of
     * grad_k and grad_v, and what they give of grad_q, into grad_q (L, E) here. */
    void (*backward)(const struct attention_job *job, const struct attention_room *room,
                     int64_t batch, int64_t first, int64_t last, void *grad_q);
    /* The same over few keys; backward for a whole product, whose gradient of the bias is added to
     * grad_bias (L, S), if that is not NULL. */
    void (*short_forward)(const struct attention_job *job, const struct attention_short_room *room,
                          int64_t batch, int64_t first, int64_t last);
    void (*short_backward)(const struct attention_job *job, const struct attention_short_room *room,
                           int64_t batch, void *grad_bias);
};

const struct attention_kernels *attention_kernels_of(cr_gemm_type type);

/* The first element of an operand's matrix for product `batch`. */
int64_t attention_offset(const struct attention_job *job, const struct attention_operand *operand,
                         int64_t batch);
int64_t attention_place(const struct attention_job *job, const struct attention_result *result,
                        int64_t batch);

/* ---- few keys (attention_short_run.c): what attention_run_forward and the others do there ---- */

bool attention_is_short(const struct attention_job *job);
size_t attention_short_workspace(const struct attention_job *job, bool is_backward);
void attention_short_run(const struct attention_job *job, bool is_backward, void *workspace);

#endif
