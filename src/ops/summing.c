/* Sums over dimensions. */
#include "kernels/reduce/reduce.h"
#include "ops/ops.h"

struct sum_attributes {
    cr_shape dims;
    bool keepdim;
};

static const cr_attribute sum_table[] = {
    CR_ATTRIBUTE(struct sum_attributes, INTS, dims),
    CR_ATTRIBUTE(struct sum_attributes, BOOL, keepdim),
    CR_ATTRIBUTE_END,
};

static cr_status sum_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct sum_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (normalize_dims(&attributes->dims, x->shape.ndim) != CR_OK)
        return cr_error_status();
    out->dtype = tensor_is_floating(x) ? (cr_dtype)x->dtype : CR_I64;
    int next = 0;
    for (int d = 0; d < x->shape.ndim; d++) {
        bool reduced = next < attributes->dims.ndim && attributes->dims.dim[next] == d;
        next += reduced;
        if (!reduced || attributes->keepdim)
            out->shape.dim[out->shape.ndim++] = reduced ? 1 : x->shape.dim[d];
    }
    return CR_OK;
}

static void sum_forward(const cr_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    reduce_sum(call->outputs[0], call->inputs[0], &attributes->dims);
}

static cr_status sum_backward(cr_gradient_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->input_specs[0].shape;
    cr_shape kept = *shape;
    for (int i = 0; i < attributes->dims.ndim; i++)
        kept.dim[attributes->dims.dim[i]] = 1;
    call->grad_inputs[0] = cr_expand(cr_reshape(call->grad_outputs[0], kept), *shape);
    return CR_OK;
}

static const cr_op sum_op = {
    .name = "sum",
    .summary = "the sum over dimensions",
    .input_names = "x",
    .attributes = sum_table,
    .attribute_size = sizeof(struct sum_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .cast = CR_CAST_F32,
    .infer = sum_infer,
    .forward = { [CR_CPU] = sum_forward },
    .backward = sum_backward,
};

cr_tensor *cr_sum_dims(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return cr_apply(&sum_op, CR_INPUTS(x), &(struct sum_attributes){ dims, keepdim });
}

cr_tensor *cr_sum(cr_tensor *x)
{
    return cr_sum_dims(x, cr_shape_scalar(), false);
}

cr_tensor *cr_sum_to_size(cr_tensor *x, cr_shape shape)
{
    if (!x || cr_failed() || cr_shape_equal(&x->shape, &shape))
        return cr_failed() ? NULL : x;
    int lead = x->shape.ndim - shape.ndim;
    cr_shape dims = { 0 };
    for (int d = 0; d < x->shape.ndim; d++) {
        if (d < lead || (shape.dim[d - lead] == 1 && x->shape.dim[d] != 1))
            dims.dim[dims.ndim++] = d;
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *sum = cr_reshape(dims.ndim ? cr_sum_dims(x, dims, true) : x, shape);
    return cr_frame_end_with(frame, sum);
}

OP_FAMILY(sum_ops) = { &sum_op, NULL };
