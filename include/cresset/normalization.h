/* Normalisation as functions of tensors: batch, layer and group norm, and softmax. The layers that
 * keep parameters are in nn.h; these take every tensor as an argument, as torch.nn.functional does.
 *
 * float32 and float64 are computed as they are, bfloat16 and float16 in float32. Results are owned
 * by the frame; every function returns NULL on failure. */
#ifndef CRESSET_NORMALIZATION_H
#define CRESSET_NORMALIZATION_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Batch norm over dimension 1 of x (N, C, …): y = (x - mean) / sqrt(var + eps) * weight + bias,
 * then
 * + residual, then relu, in one pass. With .training the statistics are the batch's, and
 * running_mean and running_var (C), where given, are edited in place: the new value weighs
 * `momentum`, and the variance kept is the unbiased one. Without it they are the running ones,
 * which must be given. Ioffe, Szegedy, "Batch Normalization", 2015. */
typedef struct cr_functional_batch_norm_args {
    cr_tensor *x;
    cr_tensor *running_mean;
    cr_tensor *running_var;
    cr_tensor *weight; /* (C), may be NULL: 1 */
    cr_tensor *bias;   /* (C), may be NULL: 0 */
    bool training;
    bool relu;
    double momentum;     /* 0: 0.1 */
    double eps;          /* 0: 1e-5 */
    cr_tensor *residual; /* of x's shape, may be NULL */
} cr_functional_batch_norm_args;
#define cr_functional_batch_norm(...)                                                              \
    cr_functional_batch_norm_with((cr_functional_batch_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_functional_batch_norm_with(cr_functional_batch_norm_args args);

/* Over the last dimensions, whose sizes are normalized_shape: y = (x - mean) / sqrt(var + eps) *
 * weight + bias. weight and bias have that shape and may be NULL. eps 0: 1e-5. Ba, Kiros, Hinton,
 * "Layer Normalization", 2016. */
cr_tensor *cr_functional_layer_norm(cr_tensor *x, cr_shape normalized_shape, cr_tensor *weight,
                                    cr_tensor *bias, double eps);

/* y = x / sqrt(mean(x²) + eps) * weight; eps 0: the distance from 1 to the next float of x's dtype
 * (float32's for 16-bit floats). Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019. */
cr_tensor *cr_functional_rms_norm(cr_tensor *x, cr_shape normalized_shape, cr_tensor *weight,
                                  double eps);

/* Over groups of neighbouring channels of each sample of (N, C, …). weight and bias (C) may be
 * NULL. eps 0: 1e-5. Wu, He, "Group Normalization", 2018. */
cr_tensor *cr_functional_group_norm(cr_tensor *x, int64_t num_groups, cr_tensor *weight,
                                    cr_tensor *bias, double eps);

/* Over each channel of each sample of (N, C, d1, …), by its own statistics, which move running_mean
 * and running_var (C), where given, as batch norm's; or by the running ones. */
typedef struct cr_functional_instance_norm_args {
    cr_tensor *x;
    cr_tensor *running_mean;
    cr_tensor *running_var;
    cr_tensor *weight; /* (C), may be NULL: 1 */
    cr_tensor *bias;   /* (C), may be NULL: 0 */
    bool use_running_stats;
    double momentum; /* 0: 0.1 */
    double eps;      /* 0: 1e-5 */
} cr_functional_instance_norm_args;
#define cr_functional_instance_norm(...)                                                           \
    cr_functional_instance_norm_with((cr_functional_instance_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_functional_instance_norm_with(cr_functional_instance_norm_args args);

/* exp(x) / Σ exp(x) over a dimension; its logarithm, computed without overflow; softmax of -x. */
cr_tensor *cr_softmax(cr_tensor *x, int64_t dim);
cr_tensor *cr_log_softmax(cr_tensor *x, int64_t dim);
cr_tensor *cr_softmin(cr_tensor *x, int64_t dim);

/* x / max(|x|, eps), the norm of order p along a dimension. */
cr_tensor *cr_normalize(cr_tensor *x, double p, int64_t dim, double eps);

/* x1 · x2 / (max(|x1|, eps) max(|x2|, eps)) along a dimension; they broadcast. */
cr_tensor *cr_cosine_similarity(cr_tensor *x1, cr_tensor *x2, int64_t dim, double eps);

/* |x1 - x2 + eps|, the norm of order p along the last dimension. */
cr_tensor *cr_pairwise_distance(cr_tensor *x1, cr_tensor *x2, double p, double eps, bool keepdim);

/* x / (k + alpha mean(x²))^beta, the mean over `size` neighbouring channels of (N, C, …), with
 * zeros beyond the first and last. Krizhevsky et al., "ImageNet classification", 2012. */
cr_tensor *cr_local_response_norm(cr_tensor *x, int64_t size, double alpha, double beta, double k);

#ifdef __cplusplus
}
#endif
#endif
