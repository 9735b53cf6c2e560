/* Operations on 8-bit integers, for inference: a real number is scale * (q - zero_point), with q an
 * uint8 for activations and, around zero, an int8 for weights. As PyTorch's quantized modules
 * compute, with rounding to even: quantize_per_tensor, and layers whose products are exact sums of
 * integers. None of them has a gradient. */
#ifndef CRESSET_QUANTIZED_H
#define CRESSET_QUANTIZED_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x (float32, any shape) as uint8: round(x / scale) + zero_point, clamped; and back to float32. An
 * image (N, C, H, W) comes out channels-last. Owned by the frame; NULL on failure. */
cr_tensor *cr_quantize_per_tensor(cr_tensor *x, double scale, int64_t zero_point);
cr_tensor *cr_dequantize(cr_tensor *x, double scale, int64_t zero_point);

/* A convolution of x (N, C, H, W), uint8, with weight (O, C / groups, kh, kw), int8, whose output
 * channel o has the scale weight_scale[o]; groups is 1, or C with O = C. bias (O), float32, and
 * residual, uint8 of the result's shape, may be NULL. Or a linear layer of x (…, in) with weight
 * (O, in). The result is clamped to [low, high] (both 0: not at all) and quantized by scale and
 * zero_point, or float32 where scale is 0. Images are channels-last. */
typedef struct cr_quantized_args {
    cr_tensor *x;
    cr_tensor *weight;
    cr_tensor *weight_scale;
    cr_tensor *bias;
    cr_tensor *residual;
    double x_scale;
    int64_t x_zero_point;
    double residual_scale;
    int64_t residual_zero_point;
    double scale;
    int64_t zero_point;
    double low;
    double high;
    cr_shape stride; /* of a convolution, (h, w); none: 1, 0 and 1 */
    cr_shape padding;
    cr_shape dilation;
    int64_t groups; /* 0: 1 */
} cr_quantized_args;
#define cr_quantized_conv2d(...) cr_quantized_conv2d_with((cr_quantized_args){ .x = __VA_ARGS__ })
#define cr_quantized_linear(...) cr_quantized_linear_with((cr_quantized_args){ .x = __VA_ARGS__ })
cr_tensor *cr_quantized_conv2d_with(cr_quantized_args args);
cr_tensor *cr_quantized_linear_with(cr_quantized_args args);

#ifdef __cplusplus
}
#endif
#endif
