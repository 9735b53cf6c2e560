/* Sums and means over dimensions. */
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
    call->outputs[0].dtype = tensor_is_floating(x) ? (cr_dtype)x->dtype : CR_I64;
    return infer_reduced(&x->shape, &attributes->dims, attributes->keepdim,
                         &call->outputs[0].shape);
}

static size_t sum_workspace(const cr_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    return reduce_workspace(call->inputs[0], &attributes->dims);
}

static void sum_forward(const cr_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    reduce_run(&(struct reduce_job){
        .out = call->outputs[0],
        .x = call->inputs[0],
        .dims = &attributes->dims,
        .kind = REDUCE_SUM,
        .workspace = call->workspace,
    });
}

static cr_status sum_backward(cr_gradient_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        spread_reduced(call->grad_outputs[0], &call->input_specs[0].shape, &attributes->dims);
    return CR_OK;
}

static cr_status reduce_to(cr_onnx_call *call, const char *type)
{
    const struct sum_attributes *attributes = call->attributes;
    cr_onnx_value x = onnx_as(call, 0, call->output_specs[0].dtype);
    return onnx_result(call, onnx_reduce(call, type, x, &attributes->dims, attributes->keepdim));
}

static cr_status sum_onnx(cr_onnx_call *call)
{
    return reduce_to(call, "ReduceSum");
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
    .workspace = sum_workspace,
    .forward = { [CR_CPU] = sum_forward },
    .backward = sum_backward,
    .onnx = sum_onnx,
};

cr_tensor *cr_sum_dims(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return cr_apply(&sum_op, CR_INPUTS(x), &(struct sum_attributes){ dims, keepdim });
}

cr_tensor *cr_sum(cr_tensor *x)
{
    return cr_sum_dims(x, cr_shape_scalar(), false);
}

/* ---- mean ---- */

static cr_status mean_infer(cr_infer_call *call)
{
    if (require_floating(call->inputs[0], "x") != CR_OK)
        return cr_error_status();
    return sum_infer(call);
}

static void mean_forward(const cr_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    reduce_run(&(struct reduce_job){
        .out = call->outputs[0],
        .x = call->inputs[0],
        .dims = &attributes->dims,
        .kind = REDUCE_SUM,
        .finish = REDUCE_DIVIDE,
        .parameter = (double)reduced_count(&call->inputs[0]->shape, &attributes->dims),
        .workspace = call->workspace,
    });
}

static cr_status mean_backward(cr_gradient_call *call)
{
    const struct sum_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->input_specs[0].shape;
    double count = (double)reduced_count(shape, &attributes->dims);
    cr_tensor *grad = cr_div(call->grad_outputs[0], cr_scalar(count));
    call->grad_inputs[0] = spread_reduced(grad, shape, &attributes->dims);
    return CR_OK;
}

static cr_status mean_onnx(cr_onnx_call *call)
{
    return reduce_to(call, "ReduceMean");
}

static const cr_op mean_op = {
    .name = "mean",
    .summary = "the mean over dimensions",
    .input_names = "x",
    .attributes = sum_table,
    .attribute_size = sizeof(struct sum_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .infer = mean_infer,
    .workspace = sum_workspace,
    .forward = { [CR_CPU] = mean_forward },
    .backward = mean_backward,
    .onnx = mean_onnx,
};

cr_tensor *cr_mean_dims(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return cr_apply(&mean_op, CR_INPUTS(x), &(struct sum_attributes){ dims, keepdim });
}

cr_tensor *cr_mean(cr_tensor *x)
{
    return cr_mean_dims(x, cr_shape_scalar(), false);
}

/* ---- sum_to_size ---- */

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

OP_FAMILY(sum_ops) = { &sum_op, &mean_op, NULL };
