/* Copies and conversions, and the edits in place. */
#include "ops/ops.h"

static void copy_forward(const cr_call *call)
{
    copy_tensor(call->outputs[0], call->inputs[0]);
}

/* ---- to_dtype ---- */

struct to_dtype_attributes {
    int dtype;
};

static const cr_attribute to_dtype_table[] = {
    CR_ATTRIBUTE(struct to_dtype_attributes, ENUM, dtype),
    CR_ATTRIBUTE_END,
};

static cr_status to_dtype_infer(cr_infer_call *call)
{
    const struct to_dtype_attributes *attributes = call->attributes;
    if ((unsigned)attributes->dtype >= CR_DTYPE_COUNT)
        return cr_error_set(CR_ERROR_DTYPE, "%d is not a dtype", attributes->dtype);
    call->outputs[0].dtype = (cr_dtype)attributes->dtype;
    call->outputs[0].shape = call->inputs[0]->shape;
    return CR_OK;
}

/* The engine converts a gradient to the dtype of its input. */
static cr_status to_dtype_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = call->grad_outputs[0];
    return CR_OK;
}

static const cr_op to_dtype_op = {
    .name = "to_dtype",
    .summary = "the elements as another dtype",
    .input_names = "x",
    .attributes = to_dtype_table,
    .attribute_size = sizeof(struct to_dtype_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .infer = to_dtype_infer,
    .forward = { [CR_CPU] = copy_forward },
    .backward = to_dtype_backward,
};

cr_tensor *cr_to_dtype(cr_tensor *x, cr_dtype dtype)
{
    if (x && x->dtype == (uint8_t)dtype && !cr_failed())
        return x;
    return cr_apply(&to_dtype_op, CR_INPUTS(x), &(struct to_dtype_attributes){ (int)dtype });
}

/* ---- clone ---- */

static cr_status clone_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = call->grad_outputs[0];
    return CR_OK;
}

static const cr_op clone_op = {
    .name = "clone",
    .summary = "a contiguous copy",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .infer = infer_same,
    .forward = { [CR_CPU] = copy_forward },
    .backward = clone_backward,
};

cr_tensor *cr_clone(cr_tensor *x)
{
    return cr_apply(&clone_op, CR_INPUTS(x), NULL);
}

cr_tensor *cr_contiguous(cr_tensor *x)
{
    return x && tensor_is_contiguous(x) && !cr_failed() ? x : cr_clone(x);
}

OP_FAMILY(copy_ops) = { &to_dtype_op, &clone_op, NULL };

/* ---- in place ---- */

/* An edit in place is not recorded, so it must not be one that gradients depend on. */
static cr_status check_in_place(const char *name, const cr_tensor *to, const cr_tensor *from)
{
    if (cr_failed())
        return cr_error_status();
    if (!to || !from)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: a tensor is NULL", name);
    if (cr_grad_enabled() && (to->requires_grad || from->requires_grad))
        return cr_error_set(CR_ERROR_STATE,
                            "%s: edits in place are not recorded; use the op without _, or switch "
                            "recording off with cr_set_grad_enabled(false)",
                            name);
    for (int d = 0; d < to->shape.ndim; d++) {
        if (to->stride[d] == 0 && to->shape.dim[d] > 1)
            return cr_error_set(CR_ERROR_STATE,
                                "%s: elements of the tensor overlap in memory, as it was expanded; "
                                "clone it first",
                                name);
    }
    cr_shape shape;
    if (shape_broadcast(&to->shape, &from->shape, &shape) != CR_OK ||
        !cr_shape_equal(&shape, &to->shape)) {
        char text[2][CR_SHAPE_TEXT];
        cr_error_clear();
        return cr_error_set(CR_ERROR_SHAPE, "%s: shape %s does not broadcast to %s", name,
                            cr_shape_format(&from->shape, text[0], CR_SHAPE_TEXT),
                            cr_shape_format(&to->shape, text[1], CR_SHAPE_TEXT));
    }
    return CR_OK;
}

cr_status cr_copy_(cr_tensor *to, cr_tensor *from)
{
    if (check_in_place("copy_", to, from) != CR_OK)
        return cr_error_status();
    if (to->storage && from->storage)
        copy_tensor(to, from);
    tensor_bump_version(to);
    return CR_OK;
}

cr_status cr_add_(cr_tensor *to, cr_tensor *from, double alpha)
{
    if (check_in_place("add_", to, from) != CR_OK)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_tensor *sum = cr_add(to, alpha == 1.0 ? from : cr_mul_scalar(from, alpha));
    cr_set_grad_enabled(was);
    cr_status status = sum ? cr_copy_(to, sum) : cr_error_status();
    cr_frame_end(frame);
    return status;
}
