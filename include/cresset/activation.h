/* Activations and dropout. Each is a function of a floating tensor with a result of its shape and
 * dtype (but for cr_glu), owned by the frame; NULL on failure. sigmoid and tanh stand in
 * pointwise.h, softmax in normalization.h. Formulas and defaults are those of torch.nn.functional.
 */
#ifndef CRESSET_ACTIVATION_H
#define CRESSET_ACTIVATION_H

#include <stdbool.h>

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- made of straight lines ---- */

cr_tensor *cr_relu(cr_tensor *x);
cr_tensor *cr_relu6(cr_tensor *x);

/* x, times negative_slope (PyTorch's default: 0.01; not negative) where it is negative. */
cr_tensor *cr_leaky_relu(cr_tensor *x, double negative_slope);

/* The same with a slope for each channel: weight has 1 or C elements for x (N, C, …). */
cr_tensor *cr_functional_prelu(cr_tensor *x, cr_tensor *weight);

/* x held between the bounds (-1 and 1). */
cr_tensor *cr_hardtanh(cr_tensor *x, double min_val, double max_val);

/* relu6(x + 3) / 6, and x times that. */
cr_tensor *cr_hardsigmoid(cr_tensor *x);
cr_tensor *cr_hardswish(cr_tensor *x);

/* x where it is above the threshold, else the value. */
cr_tensor *cr_threshold(cr_tensor *x, double threshold, double value);

/* 0 within lambd (0.5) of 0; softshrink moves the rest by lambd towards 0. */
cr_tensor *cr_hardshrink(cr_tensor *x, double lambd);
cr_tensor *cr_softshrink(cr_tensor *x, double lambd);

/* ---- exponential below 0; alpha (1) is not negative ---- */

cr_tensor *cr_elu(cr_tensor *x, double alpha);
cr_tensor *cr_celu(cr_tensor *x, double alpha);
cr_tensor *cr_selu(cr_tensor *x);

/* ---- smooth ---- */

/* x P(X <= x) for a normal X (Hendrycks and Gimpel, "Gaussian error linear units", 2016), exactly
 * or by the approximation with tanh. */
typedef enum cr_gelu_approximation { CR_GELU_NONE, CR_GELU_TANH } cr_gelu_approximation;
cr_tensor *cr_gelu(cr_tensor *x, cr_gelu_approximation approximate);

cr_tensor *cr_silu(cr_tensor *x);
cr_tensor *cr_mish(cr_tensor *x);

/* log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold (1 and 20). */
cr_tensor *cr_softplus(cr_tensor *x, double beta, double threshold);

cr_tensor *cr_logsigmoid(cr_tensor *x);
cr_tensor *cr_softsign(cr_tensor *x);
cr_tensor *cr_tanhshrink(cr_tensor *x);

/* The first half of dimension dim (-1), whose size is even, times the sigmoid of the second. */
cr_tensor *cr_glu(cr_tensor *x, int dim);

/* ---- dropout: while training, elements become 0 with probability p, the others are scaled by
 * 1 / (1 - p); else x itself. Masks come from the calling thread's generator (random.h) and do not
 * depend on the number of threads. ---- */

cr_tensor *cr_functional_dropout(cr_tensor *x, double p, bool training);

/* Whole channels of (N, C, L), (N, C, H, W), (N, C, D, H, W); 1d and 3d take them without N, too.
 */
cr_tensor *cr_functional_dropout1d(cr_tensor *x, double p, bool training);
cr_tensor *cr_functional_dropout2d(cr_tensor *x, double p, bool training);
cr_tensor *cr_functional_dropout3d(cr_tensor *x, double p, bool training);

/* Whole samples of (N, …): Huang et al., "Deep networks with stochastic depth", 2016, as
 * torchvision.ops.stochastic_depth with the mode "row". */
cr_tensor *cr_functional_stochastic_depth(cr_tensor *x, double p, bool training);

/* What is dropped takes the value that selu has at -infinity, and the result is scaled and shifted
 * to keep mean and variance; feature_alpha_dropout drops whole channels of (N, C, …). */
cr_tensor *cr_functional_alpha_dropout(cr_tensor *x, double p, bool training);
cr_tensor *cr_functional_feature_alpha_dropout(cr_tensor *x, double p, bool training);

#ifdef __cplusplus
}
#endif
#endif
