/* Convolutions as functions of their weights; the layers that own the weights are in nn.h. */
#ifndef CRESSET_CONVOLUTION_H
#define CRESSET_CONVOLUTION_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Settings by spatial dimension: a list for all of them, of one value for each alike, or empty for
 * the default. */
typedef struct cr_functional_conv_args {
    cr_shape stride;         /* empty: 1 */
    cr_shape padding;        /* zeros on both sides; empty: 0 */
    cr_shape dilation;       /* empty: 1 */
    int64_t groups;          /* 0: 1 */
    cr_shape output_padding; /* transposed only: added to one side of the result; empty: 0 */
} cr_functional_conv_args;

/* torch.conv1d, conv2d or conv3d, by the dimensions of the weight. x (N, C, spatial…) or
 * (C, spatial…), weight (out, C / groups, kernel…), bias (out) or NULL. */
cr_tensor *cr_functional_conv(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                              cr_functional_conv_args args);

/* torch.conv_transpose1d, 2d or 3d: the gradient of a convolution by its input. x (N, C, spatial…)
 * or (C, spatial…), weight (C, out / groups, kernel…), bias (out) or NULL. */
cr_tensor *cr_functional_conv_transpose(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                                        cr_functional_conv_args args);

#ifdef __cplusplus
}
#endif
#endif
