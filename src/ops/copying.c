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

static cr_status to_dtype_onnx(cr_onnx_call *call)
{
    return onnx_result(call, onnx_as(call, 0, call->output_specs[0].dtype));
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
    .onnx = to_dtype_onnx,
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

/* Values of a graph are never written: a copy is the same value. */
static cr_status clone_onnx(cr_onnx_call *call)
{
    return onnx_result(call, call->inputs[0]);
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
    .onnx = clone_onnx,
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

/* An edit in place is not recorded, so it must not be one that gradients depend on. `from` may be
 * NULL where nothing is read. */
static cr_status check_target(const char *name, const cr_tensor *to, const cr_tensor *from)
{
    if (cr_failed())
        return cr_error_status();
    if (!to)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the tensor is NULL", name);
    if (cr_grad_enabled() && (to->requires_grad || cr_requires_grad(from)))
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
    return CR_OK;
}

static cr_status check_source(const char *name, const cr_tensor *to, const cr_tensor *from)
{
    cr_shape shape;
    if (!from)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the tensor to read is NULL", name);
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

/* True if writing `to` element by element could change what is read of `from` later. */
static bool may_overlap(const cr_tensor *to, const cr_tensor *from)
{
    if (!to->storage || to->storage != from->storage)
        return false;
    bool is_same = to->offset == from->offset && cr_shape_equal(&to->shape, &from->shape) &&
                   to->dtype == from->dtype;
    for (int d = 0; is_same && d < to->shape.ndim; d++)
        is_same = to->stride[d] == from->stride[d];
    return !is_same;
}

/* to = map(to, from), where from is brought to the dtype of `to` first. */
static cr_status edit(const char *name, cr_tensor *to, cr_tensor *from, enum map_kind kind,
                      double parameter)
{
    if (check_target(name, to, from) != CR_OK || check_source(name, to, from) != CR_OK)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    if (may_overlap(to, from))
        from = cr_clone(from);
    from = cr_to_dtype(from, (cr_dtype)to->dtype);
    if (from && to->storage && from->storage)
        map_run(pointwise_map(kind), to, (const cr_tensor *const[]){ to, from }, 2, &parameter);
    tensor_bump_version(to);
    cr_frame_end(frame);
    return cr_error_status();
}

cr_status cr_add_(cr_tensor *to, cr_tensor *from, double alpha)
{
    return edit("add_", to, from, alpha == 1.0 ? MAP_ADD : MAP_ADD_SCALED, alpha);
}

cr_status cr_sub_(cr_tensor *to, cr_tensor *from)
{
    return edit("sub_", to, from, MAP_SUB, 0);
}

cr_status cr_mul_(cr_tensor *to, cr_tensor *from)
{
    return edit("mul_", to, from, MAP_MUL, 0);
}

cr_status cr_div_(cr_tensor *to, cr_tensor *from)
{
    if (to && !tensor_is_floating(to) && !cr_failed())
        return cr_error_set(CR_ERROR_DTYPE, "div_: the quotient is floating and %s cannot hold it",
                            cr_dtype_name((cr_dtype)to->dtype));
    return edit("div_", to, from, MAP_DIV, 0);
}

cr_status cr_copy_(cr_tensor *to, cr_tensor *from)
{
    if (check_target("copy_", to, from) != CR_OK || check_source("copy_", to, from) != CR_OK)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    if (may_overlap(to, from))
        from = cr_clone(from);
    if (from && to->storage && from->storage)
        copy_tensor(to, from);
    tensor_bump_version(to);
    cr_frame_end(frame);
    return cr_error_status();
}

cr_status cr_clamp_(cr_tensor *to, double min, double max)
{
    if (check_target("clamp_", to, NULL) != CR_OK)
        return cr_error_status();
    const double bounds[] = { min, max };
    if (to->storage)
        map_run(pointwise_map(MAP_CLAMP), to, (const cr_tensor *const[]){ to }, 1, bounds);
    tensor_bump_version(to);
    return CR_OK;
}
