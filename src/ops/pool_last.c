/* Tensors of shape (N, C, H, W) that lie in memory as (N, H, W, C), as inference makes them
 * (conv_norm.c), and their pooling. */
#include <string.h>

#include "cresset/pooling.h"

#include "kernels/pool/pool.h"
#include "ops/ops.h"

bool is_channels_last(const cr_tensor *tensor)
{
    if (tensor->shape.ndim != 4 || tensor_is_contiguous(tensor))
        return false;
    cr_shape stride = channels_last_strides(&tensor->shape);
    for (int d = 0; d < 4; d++) {
        if (tensor->shape.dim[d] != 1 && tensor->stride[d] != stride.dim[d])
            return false;
    }
    return true;
}

cr_shape channels_last_strides(const cr_shape *shape)
{
    int64_t channels = shape->dim[1], row = shape->dim[3] * channels;
    return (cr_shape){ .ndim = 4, .dim = { shape->dim[2] * row, 1, row, channels } };
}

/* ---- pooling ---- */

struct pool_last_attributes {
    struct pool_plan plan;
    bool is_max;
};

static cr_status pool_last_infer(cr_infer_call *call)
{
    const struct pool_last_attributes *a = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    out->dtype = CR_F32;
    out->shape = call->inputs[0]->shape;
    out->shape.dim[2] = a->plan.axis[1].out;
    out->shape.dim[3] = a->plan.axis[2].out;
    out->stride = channels_last_strides(&out->shape);
    return CR_OK;
}

static void pool_last_forward(const cr_call *call)
{
    const struct pool_last_attributes *a = call->attributes;
    const cr_tensor *x = call->inputs[0];
    pool_run_last(&a->plan, a->is_max, x->shape.dim[0], x->shape.dim[1], TENSOR_DATA(float, x),
                  TENSOR_DATA(float, call->outputs[0]));
}

static const cr_op native_pool_last_op = {
    .name = "native_channels_last_pool2d",
    .summary = "the maxima or means of windows of a channels-last tensor, without gradients",
    .input_names = "x",
    .attribute_size = sizeof(struct pool_last_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE | CR_OP_STRIDED,
    .infer = pool_last_infer,
    .forward = { [CR_CPU] = pool_last_forward },
};

const cr_op *channels_last_pool_op(const struct pool_plan *plan, bool is_max, void *to)
{
    _Static_assert(sizeof(struct pool_last_attributes) <= POOL_LAST_BYTES, "too little room");
    struct pool_last_attributes attributes = { .plan = *plan, .is_max = is_max };
    memcpy(to, &attributes, sizeof attributes);
    return &native_pool_last_op;
}

OP_FAMILY(channels_last_ops) = { &native_pool_last_op, NULL };

cr_tensor *channels_last_pool(cr_tensor *x, const struct pool_plan *plan, bool is_max)
{
    return cr_apply(&native_pool_last_op, CR_INPUTS(x),
                    &(struct pool_last_attributes){ .plan = *plan, .is_max = is_max });
}
