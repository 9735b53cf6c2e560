/* A convolution with batch norm and an activation, under the names of the two layers: these layers
 * in training; in eval mode without gradients one pass over the result (ops/conv_norm.c). */
#include "cresset/activation.h"
#include "cresset/conv_norm.h"
#include "nn/nn.h"

static cr_conv_args conv_args_of(const cr_conv_norm_activation_args *args)
{
    int64_t dilation = args->dilation ? args->dilation : 1;
    int64_t same = (args->kernel - 1) / 2 * dilation;
    cr_shape each = { .ndim = args->kernel_size.ndim };
    for (int d = 0; d < each.ndim && !args->no_padding; d++)
        each.dim[d] = (args->kernel_size.dim[d] - 1) / 2 * dilation;
    return (cr_conv_args){ .x = args->x,
                           .out = args->out,
                           .kernel = args->kernel,
                           .stride = args->stride,
                           .padding = args->no_padding ? 0 : same,
                           .dilation = dilation,
                           .groups = args->groups,
                           .no_bias = !args->bias,
                           .kernel_size = args->kernel_size,
                           .padding_size = each };
}

/* Summaries, shapes and whoever wants gradients see the layers. */
static bool is_one_pass(cr_scope at, const cr_conv_norm_activation_args *args)
{
    return at.model && !cr_model_is_training(at.model) && !cr_grad_enabled() && !layer_observer &&
           cr_device_of(args->x) != CR_META;
}

static cr_tensor *by_layers(cr_scope at, const char *conv, const char *norm, int spatial,
                            const cr_conv_norm_activation_args *args)
{
    bool relu = args->activation == CR_FUSED_RELU;
    cr_tensor *y = cr_conv_with(at, conv, spatial, conv_args_of(args));
    y = cr_batch_norm(at, norm, y, .eps = args->eps, .momentum = args->momentum, .relu = relu,
                      .residual = args->residual);
    switch (args->activation) {
    case CR_FUSED_RELU6:
        return cr_relu6(y);
    case CR_FUSED_HARDSWISH:
        return cr_hardswish(y);
    case CR_FUSED_SILU:
        return cr_silu(y);
    default:
        return y;
    }
}

static cr_tensor *in_one_pass(cr_scope at, const char *conv, const char *norm, int spatial,
                              const cr_conv_norm_activation_args *args)
{
    struct conv_parameters c;
    struct batch_norm_parameters n;
    cr_conv_args conv_args = conv_args_of(args);
    if (!conv_parameters(cr_at(at, conv), spatial, &conv_args, &c) ||
        !batch_norm_parameters(cr_at(at, norm), args->out, &n))
        return NULL;
    return cr_functional_conv_norm_activation(
        args->x, .weight = c.weight, .bias = c.bias, .conv = c.settings, .norm_weight = n.weight,
        .norm_bias = n.bias, .running_mean = n.mean, .running_var = n.variance, .eps = args->eps,
        .residual = args->residual, .activation = args->activation, .channels_last = true);
}

cr_tensor *cr_conv_norm_activation_with(cr_scope at, const char *conv, const char *norm,
                                        int spatial, cr_conv_norm_activation_args args)
{
    if (!args.x || cr_failed())
        return NULL;
    cr_frame frame = cr_frame_begin();
    cr_tensor *y = is_one_pass(at, &args) ? in_one_pass(at, conv, norm, spatial, &args)
                                          : by_layers(at, conv, norm, spatial, &args);
    return cr_frame_end_with(frame, y);
}
