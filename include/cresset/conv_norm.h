/* A convolution with what usually follows it: batch norm, a residual, an activation.
 *
 * In training these are the layers that they are in PyTorch. In eval mode, where no gradients are
 * wanted, the result is made in one pass: norm by running statistics goes into the weights, the
 * rest is done while a piece of the result is in registers, and the weight keeps the form in which
 * the kernel reads it until it is written again.
 *
 * In that mode the result of two dimensions is channels-last: of shape (N, C, H, W), but with the
 * strides of (N, H, W, C), in which the next convolution and pooling go on without reordering.
 * cr_contiguous gives the row-major form to who reads the elements. */
#ifndef CRESSET_CONV_NORM_H
#define CRESSET_CONV_NORM_H

#include "cresset/convolution.h"
#include "cresset/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cr_fused_activation {
    CR_FUSED_NONE,
    CR_FUSED_RELU,
    CR_FUSED_RELU6,
    CR_FUSED_HARDSWISH,
    CR_FUSED_SILU,
    CR_FUSED_COUNT
} cr_fused_activation;

/* activation(batch norm(conv(x)) + residual), with the parameters of a convolution (without bias
 * unless .bias) under the first name and those of batch norm under the second: torchvision's
 * Conv2dNormActivation. x (N, C, H, W). */
typedef struct cr_conv_norm_activation_args {
    cr_tensor *x;
    int64_t out;
    int64_t kernel;
    int64_t stride;       /* 0: 1 */
    int64_t dilation;     /* 0: 1 */
    int64_t groups;       /* 0: 1 */
    cr_shape kernel_size; /* by dimension, instead of .kernel; empty: all alike */
    bool bias;            /* the convolution has one */
    bool no_padding;      /* else (kernel - 1) / 2 * dilation, torchvision's default */
    double eps;           /* of batch norm; 0: 1e-5 */
    double momentum;      /* 0: 0.1 */
    cr_fused_activation activation;
    cr_tensor *residual; /* may be NULL */
} cr_conv_norm_activation_args;
#define cr_conv2d_norm_activation(at, conv, norm, ...)                                             \
    cr_conv_norm_activation_with(at, conv, norm, 2,                                                \
                                 (cr_conv_norm_activation_args){ .x = __VA_ARGS__ })
#define cr_conv3d_norm_activation(at, conv, norm, ...)                                             \
    cr_conv_norm_activation_with(at, conv, norm, 3,                                                \
                                 (cr_conv_norm_activation_args){ .x = __VA_ARGS__ })
cr_tensor *cr_conv_norm_activation_with(cr_scope at, const char *conv, const char *norm,
                                        int spatial, cr_conv_norm_activation_args args);

/* The same as a function of its weights, by running statistics; without running_mean and
 * running_var there is no norm. */
typedef struct cr_functional_conv_norm_activation_args {
    cr_tensor *x;
    cr_tensor *weight;
    cr_tensor *bias; /* of the convolution; may be NULL, as all below */
    cr_functional_conv_args conv;
    cr_tensor *norm_weight;
    cr_tensor *norm_bias;
    cr_tensor *running_mean;
    cr_tensor *running_var;
    double eps; /* 0: 1e-5 */
    cr_tensor *residual;
    cr_fused_activation activation;
    bool channels_last; /* ask for the strides of cr_conv2d_norm_activation; those of x go on */
} cr_functional_conv_norm_activation_args;
#define cr_functional_conv_norm_activation(...)                                                    \
    cr_functional_conv_norm_activation_with(                                                       \
        (cr_functional_conv_norm_activation_args){ .x = __VA_ARGS__ })
cr_tensor *cr_functional_conv_norm_activation_with(cr_functional_conv_norm_activation_args args);

#ifdef __cplusplus
}
#endif
#endif
