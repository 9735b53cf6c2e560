/* Layers that multiply by a weight: linear, bilinear, convolutions; and prelu. */
#include <math.h>

#include "cresset/activation.h"
#include "cresset/conv_norm.h"
#include "cresset/linear_algebra.h"
#include "nn/nn.h"

/* PyTorch's default for linear and convolution: kaiming uniform with slope √5, that is uniform
 * within ±1/√fan_in, for weight and bias alike. */
static cr_tensor *default_weight(cr_scope at, cr_shape shape)
{
    return cr_parameter(at, "weight", shape, (cr_init){ CR_INIT_KAIMING_UNIFORM, sqrt(5.0), 0 });
}

static cr_tensor *default_bias(cr_scope at, int64_t out, int64_t fan_in)
{
    double bound = fan_in > 0 ? 1 / sqrt((double)fan_in) : 0;
    return cr_parameter(at, "bias", CR_SHAPE(out), (cr_init){ CR_INIT_UNIFORM, -bound, bound });
}

/* A count that a layer cannot do without. */
static bool positive(const char *layer, const char *what, int64_t value)
{
    if (value > 0)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "%s: .%s must be positive, not %lld", layer, what,
                 (long long)value);
    return false;
}

cr_tensor *cr_linear_with(cr_scope at, const char *name, cr_linear_args args)
{
    if (!args.x || cr_failed() || !positive("linear", "out", args.out))
        return NULL;
    struct layer layer = layer_begin(at, name, "Linear", args.x);
    int64_t in = cr_dim(args.x, -1);
    cr_tensor *weight = default_weight(layer.at, CR_SHAPE(args.out, in));
    cr_tensor *bias = args.no_bias ? NULL : default_bias(layer.at, args.out, in);
    if (args.gelu)
        return layer_end(layer, cr_functional_linear_gelu(args.x, weight, bias));
    return layer_end(layer, cr_functional_linear(args.x, weight, bias));
}

cr_tensor *cr_bilinear_with(cr_scope at, const char *name, cr_bilinear_args args)
{
    if (!args.x1 || !args.x2 || cr_failed() || !positive("bilinear", "out", args.out))
        return NULL;
    struct layer layer = layer_begin(at, name, "Bilinear", args.x1);
    int64_t in = cr_dim(args.x1, -1);
    double bound = 1 / sqrt((double)CR_MAX(in, 1));
    cr_tensor *weight =
        cr_parameter(layer.at, "weight", CR_SHAPE(args.out, in, cr_dim(args.x2, -1)),
                     (cr_init){ CR_INIT_UNIFORM, -bound, bound });
    cr_tensor *bias = args.no_bias ? NULL : default_bias(layer.at, args.out, in);
    return layer_end(layer, cr_functional_bilinear(args.x1, args.x2, weight, bias));
}

/* ---- convolutions ---- */

/* The list of a setting: its own, or the plain value for every dimension. */
static cr_shape spread(const cr_shape *list, int64_t value, int spatial)
{
    if (list->ndim)
        return *list;
    cr_shape all = { .ndim = spatial };
    for (int d = 0; d < spatial; d++)
        all.dim[d] = value;
    return all;
}

struct conv_plan {
    cr_shape kernel;
    cr_shape stride;
    cr_shape padding;
    cr_shape dilation;
    cr_shape output_padding;
    int64_t groups;
    int64_t in;
};

static bool conv_plan(const cr_conv_args *args, const char *layer, int spatial,
                      struct conv_plan *plan)
{
    if (!args->x || cr_failed() || !positive(layer, "out", args->out))
        return false;
    plan->kernel = spread(&args->kernel_size, args->kernel, spatial);
    plan->stride = spread(&args->stride_size, args->stride ? args->stride : 1, spatial);
    plan->padding = spread(&args->padding_size, args->padding, spatial);
    plan->dilation = spread(&args->dilation_size, args->dilation ? args->dilation : 1, spatial);
    plan->output_padding = spread(&args->output_padding_size, args->output_padding, spatial);
    plan->groups = args->groups ? args->groups : 1;
    plan->in = cr_dim(args->x, -spatial - 1);
    const cr_shape *lists[] = { &plan->kernel, &plan->stride, &plan->padding, &plan->dilation,
                                &plan->output_padding };
    for (int i = 0; i < CR_COUNT_OF(lists); i++) {
        if (lists[i]->ndim != spatial) {
            cr_error_set(CR_ERROR_ARGUMENT, "%s: a list of %d values is given for %d dimensions",
                         layer, lists[i]->ndim, spatial);
            return false;
        }
    }
    for (int d = 0; d < spatial; d++) {
        if (!positive(layer, "kernel", plan->kernel.dim[d]))
            return false;
    }
    if (plan->groups > 0 && plan->in % plan->groups == 0 && args->out % plan->groups == 0)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT,
                 "%s: %lld groups do not divide %lld input and %lld output "
                 "channels",
                 layer, (long long)plan->groups, (long long)plan->in, (long long)args->out);
    return false;
}

/* (a, b, kernel…) */
static cr_shape weight_shape(int64_t a, int64_t b, const cr_shape *kernel)
{
    cr_shape shape = { .ndim = kernel->ndim + 2, .dim = { a, b } };
    for (int d = 0; d < kernel->ndim; d++)
        shape.dim[d + 2] = kernel->dim[d];
    return shape;
}

/* Padding that the convolution itself does not do: other values than zero, and what differs at the
 * two ends with padding = "same". The plan's own padding becomes zero. */
static cr_tensor *pad_before(const cr_conv_args *args, struct conv_plan *plan)
{
    int spatial = plan->kernel.ndim;
    cr_shape list = { .ndim = 2 * spatial };
    bool is_even = true;
    for (int d = 0; d < spatial; d++) {
        int64_t before = plan->padding.dim[d];
        int64_t after = before;
        if (args->same_padding) {
            int64_t total = plan->dilation.dim[d] * (plan->kernel.dim[d] - 1);
            before = total / 2;
            after = total - before;
        }
        list.dim[2 * (spatial - 1 - d)] = before;
        list.dim[2 * (spatial - 1 - d) + 1] = after;
        plan->padding.dim[d] = before;
        is_even = is_even && before == after;
    }
    if (args->padding_mode == CR_PAD_CONSTANT && is_even)
        return args->x;
    plan->padding = spread(&(cr_shape){ 0 }, 0, spatial);
    return cr_pad(args->x, list, args->padding_mode, 0);
}

/* Those of a plan. */
static void parameters_of(cr_scope at, const cr_conv_args *args, const struct conv_plan *plan,
                          struct conv_parameters *p)
{
    int64_t in = plan->in / plan->groups;
    int64_t fan_in = in * cr_shape_numel(&plan->kernel);
    p->weight = default_weight(at, weight_shape(args->out, in, &plan->kernel));
    p->bias = args->no_bias ? NULL : default_bias(at, args->out, fan_in);
    p->settings = (cr_functional_conv_args){ .stride = plan->stride,
                                             .padding = plan->padding,
                                             .dilation = plan->dilation,
                                             .groups = plan->groups };
}

bool conv_parameters(cr_scope at, int spatial, const cr_conv_args *args,
                     struct conv_parameters *parameters)
{
    struct conv_plan plan;
    if (!conv_plan(args, "convolution", spatial, &plan))
        return false;
    parameters_of(at, args, &plan, parameters);
    return !cr_failed();
}

static const char *const conv_kinds[] = { "", "Conv1d", "Conv2d", "Conv3d" };
static const char *const transposed_kinds[] = { "", "ConvTranspose1d", "ConvTranspose2d",
                                                "ConvTranspose3d" };

cr_tensor *cr_conv_with(cr_scope at, const char *name, int spatial, cr_conv_args args)
{
    struct conv_plan plan;
    if (!conv_plan(&args, "convolution", spatial, &plan))
        return NULL;
    struct layer layer = layer_begin(at, name, conv_kinds[spatial], args.x);
    cr_tensor *x = pad_before(&args, &plan);
    struct conv_parameters p;
    parameters_of(layer.at, &args, &plan, &p);
    if (cr_failed() || cr_model_is_training(layer.at.model) || cr_grad_enabled())
        return layer_end(layer, cr_functional_conv(x, p.weight, p.bias, p.settings));
    return layer_end(layer, cr_functional_conv_norm_activation(x, .weight = p.weight,
                                                               .bias = p.bias, .conv = p.settings));
}

cr_tensor *cr_conv_transpose_with(cr_scope at, const char *name, int spatial, cr_conv_args args)
{
    struct conv_plan plan;
    if (!conv_plan(&args, "transposed convolution", spatial, &plan))
        return NULL;
    struct layer layer = layer_begin(at, name, transposed_kinds[spatial], args.x);
    int64_t out = args.out / plan.groups;
    int64_t fan_in = out * cr_shape_numel(&plan.kernel);
    cr_tensor *weight = default_weight(layer.at, weight_shape(plan.in, out, &plan.kernel));
    cr_tensor *bias = args.no_bias ? NULL : default_bias(layer.at, args.out, fan_in);
    cr_tensor *y = cr_functional_conv_transpose(
        args.x, weight, bias,
        (cr_functional_conv_args){ .stride = plan.stride,
                                   .padding = plan.padding,
                                   .dilation = plan.dilation,
                                   .groups = plan.groups,
                                   .output_padding = plan.output_padding });
    return layer_end(layer, y);
}

cr_tensor *cr_prelu(cr_scope at, const char *name, cr_tensor *x, int64_t weights)
{
    if (!x || cr_failed() || !positive("prelu", "weights", weights))
        return NULL;
    struct layer layer = layer_begin(at, name, "PReLU", x);
    cr_tensor *weight =
        cr_parameter(layer.at, "weight", CR_SHAPE(weights), (cr_init){ CR_INIT_CONSTANT, 0.25, 0 });
    return layer_end(layer, cr_functional_prelu(x, weight));
}
