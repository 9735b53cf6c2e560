/* pad: constant, reflected, replicated and circular padding of the last dimensions. */
#include "kernels/rearrange/rearrange.h"
#include "ops/ops.h"

struct pad_attributes {
    cr_shape pad; /* (before, after) of the last dimension first */
    int mode;     /* cr_pad_mode */
    double value;
    cr_shape shape; /* of the input; for pad_backward */
};

static const cr_attribute pad_table[] = {
    CR_ATTRIBUTE(struct pad_attributes, INTS, pad),
    CR_ATTRIBUTE(struct pad_attributes, ENUM, mode),
    CR_ATTRIBUTE(struct pad_attributes, FLOAT, value),
    CR_ATTRIBUTE_END,
};

/* What is put before each dimension, in the order of the dimensions. */
static void padding_before(const cr_shape *pad, int ndim, int64_t *before)
{
    for (int d = 0; d < ndim; d++) {
        int pair = ndim - 1 - d;
        before[d] = 2 * pair < pad->ndim ? pad->dim[2 * pair] : 0;
    }
}

/* How much of a dimension of n the mode can give on one side. */
static int64_t padding_limit(int mode, int64_t n)
{
    switch (mode) {
    case CR_PAD_REFLECT:
        return n - 1;
    case CR_PAD_CIRCULAR:
        return n;
    default:
        return n > 0 ? INT64_MAX : 0;
    }
}

/* The most that a side may grow or shrink by; more is a mistake, and sums fit. */
#define PAD_MAX ((int64_t)1 << 48)

static cr_status check_side(int mode, int64_t amount, int64_t n, int dim)
{
    static const char *const words[] = { "constant", "reflect", "replicate", "circular" };
    if (mode == CR_PAD_CONSTANT)
        return CR_OK;
    if (amount < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s padding cannot be negative (%lld)", words[mode],
                            (long long)amount);
    if (amount > padding_limit(mode, n))
        return cr_error_set(CR_ERROR_SHAPE,
                            "%s padding of %lld is too much for dimension %d of size %lld",
                            words[mode], (long long)amount, dim, (long long)n);
    return CR_OK;
}

static cr_status check_pad(const cr_tensor *x, const struct pad_attributes *attributes)
{
    int pairs = attributes->pad.ndim / 2;
    bool is_constant = attributes->mode == CR_PAD_CONSTANT;
    if (attributes->mode < CR_PAD_CONSTANT || attributes->mode > CR_PAD_CIRCULAR)
        return cr_error_set(CR_ERROR_ARGUMENT, "%d is no mode of padding", attributes->mode);
    if (attributes->pad.ndim % 2 || pairs > x->shape.ndim)
        return cr_error_set(CR_ERROR_SHAPE,
                            "%d numbers do not give (before, after) of at most %d dimensions",
                            attributes->pad.ndim, x->shape.ndim);
    if (!is_constant && (pairs > 3 || pairs == x->shape.ndim))
        return cr_error_set(CR_ERROR_SHAPE,
                            "all modes but constant pad the last 1 to 3 dimensions of a tensor "
                            "that has others, not %d of %d",
                            pairs, x->shape.ndim);
    return CR_OK;
}

static cr_status pad_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct pad_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (check_pad(x, attributes) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    for (int pair = 0; pair < attributes->pad.ndim / 2; pair++) {
        int d = x->shape.ndim - 1 - pair;
        int64_t before = attributes->pad.dim[2 * pair], after = attributes->pad.dim[2 * pair + 1];
        int64_t n = x->shape.dim[d];
        if (check_side(attributes->mode, before, n, d) != CR_OK ||
            check_side(attributes->mode, after, n, d) != CR_OK)
            return cr_error_status();
        if (before > PAD_MAX || before < -PAD_MAX || after > PAD_MAX || after < -PAD_MAX ||
            n + before + after < 0)
            return cr_error_set(CR_ERROR_SHAPE,
                                "dimension %d of size %lld cannot be padded by (%lld, %lld)", d,
                                (long long)n, (long long)before, (long long)after);
        out->shape.dim[d] = n + before + after;
    }
    attributes->shape = x->shape;
    return CR_OK;
}

static void pad_forward(const cr_call *call)
{
    const struct pad_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    int64_t before[CR_MAX_DIMS];
    padding_before(&attributes->pad, x->shape.ndim, before);
    if (x->shape.ndim == 0)
        copy_tensor(call->outputs[0], x);
    else
        rearrange_pad(call->outputs[0], x, before, (enum pad_source)attributes->mode,
                      attributes->value);
}

/* ---- gradient ---- */

static cr_status pad_backward_infer(cr_infer_call *call)
{
    const struct pad_attributes *attributes = call->attributes;
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = attributes->shape;
    return CR_OK;
}

static void pad_backward_forward(const cr_call *call)
{
    const struct pad_attributes *attributes = call->attributes;
    int64_t before[CR_MAX_DIMS];
    padding_before(&attributes->pad, attributes->shape.ndim, before);
    rearrange_pad_backward(call->outputs[0], call->inputs[0], before,
                           (enum pad_source)attributes->mode);
}

static cr_status pad_backward_backward(cr_gradient_call *call)
{
    const struct pad_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        cr_pad(call->grad_outputs[0], attributes->pad, (cr_pad_mode)attributes->mode, 0);
    return CR_OK;
}

static const cr_op pad_backward_op = {
    .name = "pad_backward",
    .summary = "the gradient of reflected, replicated and circular padding",
    .input_names = "grad",
    .attributes = pad_table,
    .attribute_size = sizeof(struct pad_attributes),
    .min_inputs = 1,
    .infer = pad_backward_infer,
    .forward = { [CR_CPU] = pad_backward_forward },
    .backward = pad_backward_backward,
};

/* The gradient of constant padding is cropping: constant padding by the negative. */
static cr_status pad_backward(cr_gradient_call *call)
{
    const struct pad_attributes *attributes = call->attributes;
    cr_tensor *grad = call->grad_outputs[0];
    cr_shape crop = attributes->pad;
    for (int i = 0; i < crop.ndim; i++)
        crop.dim[i] = -crop.dim[i];
    if (attributes->mode == CR_PAD_CONSTANT)
        call->grad_inputs[0] = cr_pad(grad, crop, CR_PAD_CONSTANT, 0);
    else
        call->grad_inputs[0] = cr_apply(&pad_backward_op, CR_INPUTS(grad), attributes);
    return CR_OK;
}

/* ONNX lists what comes before each dimension, then what comes after. */
static cr_status pad_onnx(cr_onnx_call *call)
{
    static const char *const modes[] = { "constant", "reflect", "edge" };
    const struct pad_attributes *attributes = call->attributes;
    const cr_shape *pad = &attributes->pad;
    int ndim = call->input_specs[0].ndim;
    int64_t pads[2 * CR_MAX_DIMS] = { 0 };
    if (attributes->mode == CR_PAD_CIRCULAR)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "circular");
    for (int i = 0; i < pad->ndim; i++)
        pads[(i % 2 ? 2 * ndim : ndim) - 1 - i / 2] = pad->dim[i];
    cr_frame frame = cr_frame_begin();
    cr_onnx_value list = cr_onnx_tensor(call, cr_from_buffer(pads, CR_SHAPE(2 * ndim), CR_I64));
    cr_frame_end(frame);
    cr_onnx_value value = 0;
    if (attributes->mode == CR_PAD_CONSTANT && attributes->value != 0)
        value = cr_onnx_number(call, call->input_specs[0].dtype, attributes->value);
    return onnx_result(
        call, cr_onnx_add(call, "Pad", .inputs = { call->inputs[0], list, value },
                          .attributes = { CR_ONNX_TEXT("mode", modes[attributes->mode]) }));
}

static const cr_op pad_op = {
    .name = "pad",
    .summary = "padding of the last dimensions",
    .input_names = "x",
    .attributes = pad_table,
    .attribute_size = sizeof(struct pad_attributes),
    .min_inputs = 1,
    .infer = pad_infer,
    .forward = { [CR_CPU] = pad_forward },
    .backward = pad_backward,
    .onnx = pad_onnx,
};

cr_tensor *cr_pad(cr_tensor *x, cr_shape padding, cr_pad_mode mode, double value)
{
    struct pad_attributes attributes = { .pad = padding, .mode = (int)mode, .value = value };
    return cr_apply(&pad_op, CR_INPUTS(x), &attributes);
}

OP_FAMILY(pad_ops) = { &pad_op, &pad_backward_op, NULL };
