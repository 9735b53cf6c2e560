/* Kernels that normalise: batch, layer and group norm, softmax, and softmax with
 * cross-entropy.
 *
 * They compute in float32 or float64 over contiguous memory, and read and write bfloat16 as well;
 * float16 is converted before. Softmax is float32 and float64 only.
 * Every function works on a range of channels or rows, so that the caller splits the work. */
#ifndef CR_KERNELS_NORM_NORM_H
#define CR_KERNELS_NORM_NORM_H

#include "tensor/tensor.h"

/* ---- batch norm of x (batch, channels, inner) ---- */

/* y = activation((x - mean) * invstd * weight + bias + residual); pointers marked optional may be
 * NULL. */
struct batch_norm_job {
    int64_t batch;
    int64_t channels;
    int64_t inner;
    bool training;
    bool relu;
    bool updates; /* the running statistics, by momentum */
    double momentum;
    double eps;
    const void *x;
    const void *weight;   /* (channels), optional */
    const void *bias;     /* (channels), optional */
    void *running_mean;   /* (channels), optional in training */
    void *running_var;    /* (channels), optional in training */
    const void *residual; /* of x's shape, optional */
    void *y;
    void *mean;   /* (channels): what was subtracted */
    void *invstd; /* (channels): what was multiplied by */
};

/* The gradients; `y` is needed to know where relu cut only if there was a residual. */
struct batch_norm_backward_job {
    int64_t batch;
    int64_t channels;
    int64_t inner;
    bool training;
    bool relu;
    const void *grad;
    const void *x;
    const void *y; /* optional */
    const void *weight;
    const void *bias;
    const void *mean;
    const void *invstd;
    void *grad_x;        /* optional, as all below */
    void *grad_weight;   /* (channels) */
    void *grad_bias;     /* (channels) */
    void *grad_residual; /* of x's shape */
};

/* ---- layer norm and RMS norm of x (rows, size) over the rows ---- */

/* y = (x - mean) * rstd * weight + bias; backward fills grad_x and, if sums is given, the gradients
 * of weight and bias. */
struct layer_norm_job {
    int64_t rows;
    int64_t size;
    bool rms; /* mean is 0 */
    double eps;
    const void *x;
    const void *weight; /* (size), optional */
    const void *bias;   /* (size), optional */
    void *y;
    void *mean; /* (rows) */
    void *rstd; /* (rows) */
    const void *grad;
    void *grad_x;      /* optional */
    void *grad_weight; /* (size) */
    void *grad_bias;   /* (size) */
    int64_t parts;     /* norm_layer_norm_parts */
    void *sums;        /* workspace of 2 * parts * size, optional */
};

/* ---- group norm of x (batch, channels, inner) ---- */

struct group_norm_job {
    int64_t batch;
    int64_t channels;
    int64_t inner;
    int64_t groups;
    double eps;
    const void *x;
    const void *weight; /* (channels), optional */
    const void *bias;   /* (channels), optional */
    void *y;
    void *mean; /* (batch, groups) */
    void *rstd; /* (batch, groups) */
    const void *grad;
    void *grad_x;      /* optional */
    void *grad_weight; /* (channels) */
    void *grad_bias;   /* (channels) */
    double *sums;      /* workspace of 2 * batch * channels */
};

/* ---- softmax of x (outer, size, inner) over the middle ---- */

struct softmax_job {
    int64_t size;
    int64_t inner;
    bool log;
    const void *x; /* backward: the result y */
    const void *grad;
    void *out;
};

/* ---- softmax and negative log likelihood of logits (outer, classes, inner) ---- */

struct cross_entropy_job {
    int64_t classes;
    int64_t inner;
    int64_t ignore_index;
    double label_smoothing;
    const void *logits;
    const int64_t *target; /* (outer, inner) */
    const void *weight;    /* (classes), optional */
    void *loss;            /* (outer, inner): not reduced; forward only */
    void *log_sum;         /* (outer, inner): of the exponentials; backward reads it */
    const void *grad;      /* (outer, inner), or one number with grad_stride 0 */
    int64_t grad_stride;
    double grad_scale; /* what all of grad is multiplied by */
    void *out;         /* gradient of the logits */
};

/* How x, y, residual, logits, out and their gradients are stored. Statistics, parameters and losses
 * of bfloat16 are float32, as is everything computed from it. */
enum norm_type { NORM_F32, NORM_F64, NORM_BF16, NORM_TYPE_COUNT };

CR_INLINE enum norm_type norm_type_of(const cr_tensor *x)
{
    return x->dtype == CR_F64 ? NORM_F64 : x->dtype == CR_BF16 ? NORM_BF16 : NORM_F32;
}

/* What it is computed in: the dtype of statistics, parameters and losses. */
CR_INLINE cr_dtype norm_computed(const cr_tensor *x)
{
    return x->dtype == CR_F64 ? CR_F64 : CR_F32;
}

struct norm_kernels {
    /* Channels [begin, end), in training; `columns` for an inner of 1, in training or not. */
    void (*batch_norm)(const struct batch_norm_job *job, int64_t begin, int64_t end);
    void (*batch_norm_columns)(const struct batch_norm_job *job, int64_t begin, int64_t end);
    /* Outside training: mean and invstd from the running statistics; then planes [begin, end) of
     * (batch, channels). */
    void (*batch_norm_fixed)(const struct batch_norm_job *job);
    void (*batch_norm_planes)(const struct batch_norm_job *job, int64_t begin, int64_t end);
    /* Channels again. */
    void (*batch_norm_backward)(const struct batch_norm_backward_job *job, int64_t begin,
                                int64_t end);
    void (*batch_norm_columns_backward)(const struct batch_norm_backward_job *job, int64_t begin,
                                        int64_t end);
    /* Rows [begin, end); backward of part number `part`. */
    void (*layer_norm)(const struct layer_norm_job *job, int64_t begin, int64_t end);
    void (*layer_norm_backward)(const struct layer_norm_job *job, int64_t part, int64_t begin,
                                int64_t end);
    void (*layer_norm_join)(const struct layer_norm_job *job, int64_t begin, int64_t end);
    /* Groups [begin, end) of (batch, groups), and channels. */
    void (*group_norm)(const struct group_norm_job *job, int64_t begin, int64_t end);
    void (*group_norm_backward)(const struct group_norm_job *job, int64_t begin, int64_t end);
    void (*group_norm_join)(const struct group_norm_job *job, int64_t begin, int64_t end);
    /* Blocks [begin, end): a block is one row where inner is 1, else up to NORM_COLUMNS columns. */
    void (*softmax)(const struct softmax_job *job, int64_t begin, int64_t end);
    void (*softmax_backward)(const struct softmax_job *job, int64_t begin, int64_t end);
    /* Positions [begin, end) of (outer, inner). */
    void (*cross_entropy)(const struct cross_entropy_job *job, int64_t begin, int64_t end);
    void (*cross_entropy_backward)(const struct cross_entropy_job *job, int64_t begin, int64_t end);
};

/* The kernels of the instruction set in use. */
const struct norm_kernels *norm_kernels(enum norm_type type);

/* Columns that softmax walks side by side where the softmaxed dimension is not the last. */
#define NORM_COLUMNS 64

/* Runs the whole of a job on several threads. */
void norm_batch_norm(enum norm_type type, const struct batch_norm_job *job);
void norm_batch_norm_backward(enum norm_type type, const struct batch_norm_backward_job *job);
int64_t norm_layer_norm_parts(int64_t rows, int64_t size);
void norm_layer_norm(enum norm_type type, const struct layer_norm_job *job);
void norm_layer_norm_backward(enum norm_type type, const struct layer_norm_job *job);
void norm_group_norm(enum norm_type type, const struct group_norm_job *job);
void norm_group_norm_backward(enum norm_type type, const struct group_norm_job *job);
void norm_softmax(enum norm_type type, const struct softmax_job *job, int64_t outer);
void norm_softmax_backward(enum norm_type type, const struct softmax_job *job, int64_t outer);
void norm_cross_entropy(enum norm_type type, const struct cross_entropy_job *job, int64_t outer);
void norm_cross_entropy_backward(enum norm_type type, const struct cross_entropy_job *job,
                                 int64_t outer);

#endif
