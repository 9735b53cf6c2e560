/* What convolutions are asked for: their settings, checked and completed to one value for each
 * spatial dimension, the shapes of their results, and the call of the kernel that they describe. */
#include "kernels/conv/conv.h"
#include "ops/ops.h"

/* ---- checks ---- */

/* The most that a stride, a padding or a dilation may be: far above use, and products fit. */
#define SETTING_MAX (1 << 30)

/* A list of settings with one value for each spatial dimension, none below `least`. */
static cr_status complete_list(cr_shape *list, int spatial, int64_t otherwise, int64_t least,
                               const char *what)
{
    if (list->ndim > 1 && list->ndim != spatial)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "%s has %d values, but there must be one, or one for each of the "
                            "spatial dimensions, which are %d",
                            what, list->ndim, spatial);
    int64_t first = list->ndim ? list->dim[0] : otherwise;
    for (int d = 0; d < spatial; d++) {
        if (list->ndim <= 1)
            list->dim[d] = first;
        if (list->dim[d] < least)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s must be at least %lld, not %lld", what,
                                (long long)least, (long long)list->dim[d]);
        if (list->dim[d] > SETTING_MAX)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s must be at most %d, not %lld", what,
                                SETTING_MAX, (long long)list->dim[d]);
    }
    list->ndim = spatial;
    return CR_OK;
}

static cr_status complete_attributes(struct convolution_attributes *a, int spatial)
{
    if (a->groups == 0)
        a->groups = 1;
    if (a->groups < 0 || a->groups > SETTING_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "groups must be between 1 and %d, not %lld",
                            SETTING_MAX, (long long)a->groups);
    if (complete_list(&a->stride, spatial, 1, 1, "stride") != CR_OK ||
        complete_list(&a->padding, spatial, 0, 0, "padding") != CR_OK ||
        complete_list(&a->output_padding, spatial, 0, 0, "output_padding") != CR_OK)
        return cr_error_status();
    return complete_list(&a->dilation, spatial, 1, 1, "dilation");
}

/* Checks the dtypes and numbers of dimensions of x and weight. */
static cr_status check_operands(const cr_infer_call *call, int spatial, const char *names[2],
                                int other_least)
{
    const cr_tensor *x = call->inputs[0], *other = call->inputs[1];
    if (require_ndim(x, names[0], spatial + 1, spatial + 2) != CR_OK ||
        require_ndim(other, names[1], other_least, spatial + 2) != CR_OK ||
        require_floating(x, names[0]) != CR_OK)
        return cr_error_status();
    for (int i = 1; i < call->input_count; i++) {
        if (call->inputs[i] && call->inputs[i]->dtype != x->dtype)
            return cr_error_set(CR_ERROR_DTYPE,
                                "operands must have one dtype, not %s and %s; convert one with "
                                "cr_to_dtype",
                                cr_dtype_name((cr_dtype)x->dtype),
                                cr_dtype_name((cr_dtype)call->inputs[i]->dtype));
    }
    return CR_OK;
}

static cr_status check_bias(const cr_infer_call *call, int64_t channels)
{
    const cr_tensor *bias = CALL_INPUT(call, 2);
    if (!bias || (bias->shape.ndim == 1 && bias->shape.dim[0] == channels))
        return CR_OK;
    char text[CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "bias must have shape (%lld,), one for each output "
                        "channel, not %s",
                        (long long)channels, cr_shape_format(&bias->shape, text, CR_SHAPE_TEXT));
}

static cr_status refuse_channels(const cr_tensor *x, const cr_tensor *weight, int64_t groups)
{
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "the channels of x %s do not fit weight %s in %lld groups",
                        cr_shape_format(&x->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(&weight->shape, text[1], CR_SHAPE_TEXT), (long long)groups);
}

int64_t convolution_span(const struct convolution_attributes *a, int64_t kernel, int d)
{
    return (kernel - 1) * a->dilation.dim[d] + 1;
}

/* ---- infer ---- */

cr_status infer_convolution(cr_infer_call *call, struct convolution_attributes *a, int spatial)
{
    static const char *names[] = { "x", "weight" };
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    cr_tensor_spec *out = &call->outputs[0];
    int first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, spatial + 2) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK)
        return cr_error_status();
    int64_t channels = weight->shape.dim[0];
    if (x->shape.dim[first - 1] != weight->shape.dim[1] * a->groups || channels % a->groups != 0)
        return refuse_channels(x, weight, a->groups);
    if (check_bias(call, channels) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    out->shape.dim[first - 1] = channels;
    for (int d = 0; d < spatial; d++) {
        int64_t padded = x->shape.dim[first + d] + 2 * a->padding.dim[d];
        int64_t span = convolution_span(a, weight->shape.dim[2 + d], d);
        if (weight->shape.dim[2 + d] < 1)
            return cr_error_set(CR_ERROR_SHAPE,
                                "the kernel has no elements along spatial dimension %d", d);
        if (span > padded)
            return cr_error_set(CR_ERROR_SHAPE,
                                "the kernel spans %lld along spatial dimension %d, the padded x "
                                "only %lld",
                                (long long)span, d, (long long)padded);
        out->shape.dim[first + d] = (padded - span) / a->stride.dim[d] + 1;
    }
    return CR_OK;
}

cr_status infer_transposed_convolution(cr_infer_call *call, struct convolution_attributes *a,
                                       int spatial)
{
    static const char *names[] = { "x", "weight" };
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    cr_tensor_spec *out = &call->outputs[0];
    int first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, spatial + 2) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK)
        return cr_error_status();
    if (x->shape.dim[first - 1] != weight->shape.dim[0] || weight->shape.dim[0] % a->groups != 0)
        return refuse_channels(x, weight, a->groups);
    if (check_bias(call, weight->shape.dim[1] * a->groups) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    out->shape.dim[first - 1] = weight->shape.dim[1] * a->groups;
    for (int d = 0; d < spatial; d++) {
        int64_t more = a->output_padding.dim[d];
        if (more >= CR_MAX(a->stride.dim[d], a->dilation.dim[d]))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "output_padding %lld must be less than stride or dilation",
                                (long long)more);
        int64_t size = (x->shape.dim[first + d] - 1) * a->stride.dim[d] - 2 * a->padding.dim[d] +
                       convolution_span(a, weight->shape.dim[2 + d], d) + more;
        if (size < 1)
            return cr_error_set(CR_ERROR_SHAPE,
                                "x is too small: spatial dimension %d of the result would be %lld",
                                d, (long long)size);
        out->shape.dim[first + d] = size;
    }
    return CR_OK;
}

cr_status infer_convolution_weight(cr_infer_call *call, struct convolution_attributes *a,
                                   int spatial)
{
    static const char *names[] = { "x", "grad" };
    const cr_tensor *x = call->inputs[0], *grad = call->inputs[1];
    cr_tensor_spec *out = &call->outputs[0];
    int first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, x->shape.ndim) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK ||
        complete_list(&a->kernel, spatial, 1, 1, "kernel") != CR_OK)
        return cr_error_status();
    int64_t in = x->shape.dim[first - 1], channels = grad->shape.dim[first - 1];
    if (in % a->groups != 0 || channels % a->groups != 0 ||
        (first == 2 && x->shape.dim[0] != grad->shape.dim[0]))
        return refuse_channels(x, grad, a->groups);
    out->dtype = (cr_dtype)x->dtype;
    out->shape.dim[0] = channels;
    out->shape.dim[1] = in / a->groups;
    out->shape.ndim = spatial + 2;
    for (int d = 0; d < spatial; d++)
        out->shape.dim[2 + d] = a->kernel.dim[d];
    return CR_OK;
}

/* ---- for the kernels ---- */

cr_conv conv_of(const struct convolution_attributes *a, int spatial, const cr_tensor *in,
                const cr_tensor *out, const int64_t *kernel)
{
    int first = in->shape.ndim - spatial;
    cr_conv c = { .type = cr_gemm_type_of((cr_dtype)in->dtype),
                  .batch = first == 2 ? in->shape.dim[0] : 1,
                  .in_channels = in->shape.dim[first - 1],
                  .out_channels = out->shape.dim[first - 1],
                  .groups = a->groups };
    for (int d = 0; d < CR_CONV_DIMS; d++)
        c.input[d] = c.output[d] = c.kernel[d] = c.stride[d] = c.dilation[d] = 1;
    for (int d = 0; d < spatial; d++) {
        int to = CR_CONV_DIMS - spatial + d;
        c.input[to] = in->shape.dim[first + d];
        c.output[to] = out->shape.dim[first + d];
        c.kernel[to] = kernel[d];
        c.stride[to] = a->stride.dim[d];
        c.padding[to] = a->padding.dim[d];
        c.dilation[to] = a->dilation.dim[d];
    }
    return c;
}
