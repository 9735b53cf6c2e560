/* Views of all elements under another shape: view, reshape, expand, and the same by the shape of
 * another tensor. */
#include "ops/ops.h"

struct shape_attributes {
    cr_shape shape;
};

static const cr_attribute shape_table[] = {
    CR_ATTRIBUTE(struct shape_attributes, INTS, shape),
    CR_ATTRIBUTE_END,
};

/* ---- view ---- */

/* Puts the size that a -1 stands for in its place, and checks that the elements fit. */
static cr_status complete_shape(const cr_tensor *x, cr_shape *shape)
{
    int64_t count = tensor_numel(x);
    int64_t known = 1;
    int open = -1;
    char text[2][CR_SHAPE_TEXT];
    cr_shape_format(shape, text[0], CR_SHAPE_TEXT);
    cr_shape_format(&x->shape, text[1], CR_SHAPE_TEXT);
    for (int i = 0; i < shape->ndim; i++) {
        if (shape->dim[i] == -1 && open < 0)
            open = i;
        else if (shape->dim[i] < 0)
            return cr_error_set(CR_ERROR_SHAPE,
                                "%s may have one size of -1, and no other negative one", text[0]);
        else if (__builtin_mul_overflow(known, shape->dim[i], &known))
            return cr_error_set(CR_ERROR_SHAPE, "%s has more elements than memory can hold",
                                text[0]);
    }
    if (open >= 0 && (known == 0 || count % known))
        return cr_error_set(CR_ERROR_SHAPE, "the %lld elements of shape %s do not divide into %s",
                            (long long)count, text[1], text[0]);
    if (open >= 0)
        shape->dim[open] = count / known;
    else if (known != count)
        return cr_error_set(CR_ERROR_SHAPE, "shape %s has %lld elements, %s has %lld", text[1],
                            (long long)count, text[0], (long long)known);
    return CR_OK;
}

/* The strides under which `shape` reads x in row-major order; false if there are none. Dimensions
 * of x that continue each other form a run, and each run must be divided by whole sizes. */
static bool view_strides(const cr_tensor *x, const cr_shape *shape, int64_t *stride)
{
    int to = shape->ndim - 1;
    int64_t run = 1;
    if (tensor_numel(x) == 0 || x->shape.ndim == 0) {
        shape_contiguous_strides(shape, stride);
        return true;
    }
    int64_t base = x->stride[x->shape.ndim - 1];
    for (int from = x->shape.ndim - 1; from >= 0; from--) {
        run *= x->shape.dim[from];
        bool ends = from == 0 || (x->shape.dim[from - 1] != 1 && x->stride[from - 1] != run * base);
        if (!ends)
            continue;
        int64_t done = 1;
        while (to >= 0 && (done < run || shape->dim[to] == 1)) {
            stride[to] = done * base;
            done *= shape->dim[to--];
        }
        if (done != run)
            return false;
        run = 1;
        base = from > 0 ? x->stride[from - 1] : 0;
    }
    return to < 0;
}

static cr_status view_infer(cr_infer_call *call)
{
    struct shape_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (complete_shape(call->inputs[0], &attributes->shape) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)call->inputs[0]->dtype;
    out->shape = attributes->shape;
    if (!view_strides(call->inputs[0], &out->shape, out->stride.dim))
        return cr_error_set(CR_ERROR_SHAPE, "the strides of the tensor do not allow it without a "
                                            "copy; use cr_reshape");
    return CR_OK;
}

static cr_status view_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_reshape(call->grad_outputs[0], call->input_specs[0].shape);
    return CR_OK;
}

static cr_status view_onnx(cr_onnx_call *call)
{
    const cr_onnx_spec *to = &call->output_specs[0];
    call->minds_varying = true;
    return onnx_result(
        call, cr_onnx_reshape(call, call->inputs[0], &call->input_specs[0], to->dim, to->ndim));
}

static const cr_op view_op = {
    .name = "view",
    .summary = "the elements in row-major order under another shape, without a copy",
    .input_names = "x",
    .attributes = shape_table,
    .attribute_size = sizeof(struct shape_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = view_infer,
    .backward = view_backward,
    .onnx = view_onnx,
};

cr_tensor *cr_view(cr_tensor *x, cr_shape shape)
{
    return cr_apply(&view_op, CR_INPUTS(x), &(struct shape_attributes){ shape });
}

/* ---- reshape ---- */

static cr_status reshape_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0];
    const struct shape_attributes *attributes = call->attributes;
    cr_shape shape = attributes->shape;
    int64_t stride[CR_MAX_DIMS];
    if (complete_shape(x, &shape) != CR_OK) {
        cr_error_prefix("reshape");
        return cr_error_status();
    }
    call->outputs[0] = cr_view(view_strides(x, &shape, stride) ? x : cr_clone(x), shape);
    return CR_OK;
}

static const cr_op reshape_op = {
    .name = "reshape",
    .summary = "the elements in row-major order under another shape",
    .input_names = "x",
    .attributes = shape_table,
    .attribute_size = sizeof(struct shape_attributes),
    .min_inputs = 1,
    .compose = reshape_compose,
};

cr_tensor *cr_reshape(cr_tensor *x, cr_shape shape)
{
    return cr_apply(&reshape_op, CR_INPUTS(x), &(struct shape_attributes){ shape });
}

/* ---- expand ---- */

static cr_status expand_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    const struct shape_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    int lead = attributes->shape.ndim - x->shape.ndim;
    if (lead < 0)
        return cr_error_set(CR_ERROR_SHAPE, "a tensor of %d dimensions does not expand to %d",
                            x->shape.ndim, attributes->shape.ndim);
    out->dtype = (cr_dtype)x->dtype;
    out->shape = attributes->shape;
    for (int i = 0; i < out->shape.ndim; i++) {
        int64_t own = i >= lead ? x->shape.dim[i - lead] : 1;
        int64_t *size = &out->shape.dim[i];
        if (*size == -1 && i >= lead)
            *size = own;
        if (*size < 0 || (own != 1 && own != *size))
            return cr_error_set(CR_ERROR_SHAPE, "size %lld does not expand to %lld (dimension %d)",
                                (long long)own, (long long)*size, i);
        out->stride.dim[i] = own == 1 ? 0 : x->stride[i - lead];
    }
    return CR_OK;
}

static cr_status expand_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_sum_to_size(call->grad_outputs[0], call->input_specs[0].shape);
    return CR_OK;
}

static cr_status expand_onnx(cr_onnx_call *call)
{
    const cr_onnx_spec *to = &call->output_specs[0];
    call->minds_varying = true;
    return onnx_result(call, cr_onnx_binary(call, "Expand", call->inputs[0],
                                            cr_onnx_sizes(call, to->dim, to->ndim)));
}

static const cr_op expand_op = {
    .name = "expand",
    .summary = "sizes of 1 repeated, without a copy",
    .input_names = "x",
    .attributes = shape_table,
    .attribute_size = sizeof(struct shape_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = expand_infer,
    .backward = expand_backward,
    .onnx = expand_onnx,
};

cr_tensor *cr_expand(cr_tensor *x, cr_shape shape)
{
    return cr_apply(&expand_op, CR_INPUTS(x), &(struct shape_attributes){ shape });
}

static cr_status broadcast_to_compose(cr_compose_call *call)
{
    const struct shape_attributes *attributes = call->attributes;
    call->outputs[0] = cr_expand(call->inputs[0], attributes->shape);
    return CR_OK;
}

static const cr_op broadcast_to_op = {
    .name = "broadcast_to",
    .summary = "the same as expand",
    .input_names = "x",
    .attributes = shape_table,
    .attribute_size = sizeof(struct shape_attributes),
    .min_inputs = 1,
    .compose = broadcast_to_compose,
};

cr_tensor *cr_broadcast_to(cr_tensor *x, cr_shape shape)
{
    return cr_apply(&broadcast_to_op, CR_INPUTS(x), &(struct shape_attributes){ shape });
}

/* ---- by the shape of another tensor ---- */

static cr_status view_as_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_view(call->inputs[0], call->inputs[1]->shape);
    return CR_OK;
}

static const cr_op view_as_op = {
    .name = "view_as",
    .summary = "view, to the shape of another tensor",
    .input_names = "x other",
    .min_inputs = 2,
    .compose = view_as_compose,
};

cr_tensor *cr_view_as(cr_tensor *x, cr_tensor *other)
{
    return cr_apply(&view_as_op, CR_INPUTS(x, other), NULL);
}

static cr_status reshape_as_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_reshape(call->inputs[0], call->inputs[1]->shape);
    return CR_OK;
}

static const cr_op reshape_as_op = {
    .name = "reshape_as",
    .summary = "reshape, to the shape of another tensor",
    .input_names = "x other",
    .min_inputs = 2,
    .compose = reshape_as_compose,
};

cr_tensor *cr_reshape_as(cr_tensor *x, cr_tensor *other)
{
    return cr_apply(&reshape_as_op, CR_INPUTS(x, other), NULL);
}

static cr_status expand_as_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_expand(call->inputs[0], call->inputs[1]->shape);
    return CR_OK;
}

static const cr_op expand_as_op = {
    .name = "expand_as",
    .summary = "expand, to the shape of another tensor",
    .input_names = "x other",
    .min_inputs = 2,
    .compose = expand_as_compose,
};

cr_tensor *cr_expand_as(cr_tensor *x, cr_tensor *other)
{
    return cr_apply(&expand_as_op, CR_INPUTS(x, other), NULL);
}

OP_FAMILY(view_ops) = {
    &view_op,    &reshape_op,    &expand_op,    &broadcast_to_op,
    &view_as_op, &reshape_as_op, &expand_as_op, NULL,
};
