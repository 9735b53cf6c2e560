/* Softmax, log softmax and softmin over one dimension. */
#include "cresset/normalization.h"
#include "kernels/norm/norm.h"
#include "ops/ops.h"

struct softmax_attributes {
    int64_t dim;
};

static const cr_attribute softmax_table[] = {
    CR_ATTRIBUTE(struct softmax_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

/* bfloat16 and float16 are converted by what composes these. */
static cr_status softmax_infer(cr_infer_call *call)
{
    struct softmax_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (require_computed(x, "x") != CR_OK)
        return cr_error_status();
    attributes->dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    return attributes->dim < 0 ? cr_error_status() : infer_same(call);
}

/* The sizes around the dimension: returns the outer one. */
static int64_t softmax_sizes(const cr_shape *shape, int64_t dim, struct softmax_job *job)
{
    int64_t outer = 1;
    job->size = shape->ndim ? shape->dim[dim] : 1;
    job->inner = 1;
    for (int d = 0; d < shape->ndim; d++) {
        if (d < dim)
            outer *= shape->dim[d];
        if (d > dim)
            job->inner *= shape->dim[d];
    }
    return outer;
}

static void run_forward(const cr_call *call, bool log)
{
    const struct softmax_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    struct softmax_job job = { .log = log,
                               .x = tensor_bytes(x),
                               .out = tensor_bytes(call->outputs[0]) };
    int64_t outer = softmax_sizes(&x->shape, attributes->dim, &job);
    norm_softmax(x->dtype == CR_F64 ? NORM_F64 : NORM_F32, &job, outer);
}

static void run_backward(const cr_call *call, bool log)
{
    const struct softmax_attributes *attributes = call->attributes;
    const cr_tensor *y = call->inputs[1];
    struct softmax_job job = { .log = log,
                               .x = tensor_bytes(y),
                               .grad = tensor_bytes(call->inputs[0]),
                               .out = tensor_bytes(call->outputs[0]) };
    int64_t outer = softmax_sizes(&y->shape, attributes->dim, &job);
    norm_softmax_backward(y->dtype == CR_F64 ? NORM_F64 : NORM_F32, &job, outer);
}

/* ---- backward, differentiable in its turn ---- */

static cr_shape one_dim(int64_t dim)
{
    return cr_shape_make(1, &dim);
}

static void softmax_backward_forward(const cr_call *call)
{
    run_backward(call, false);
}

static void log_softmax_backward_forward(const cr_call *call)
{
    run_backward(call, true);
}

/* Of h = y (g - Σ g y): dg = y (d - Σ d y), dy = d (g - Σ g y) - g Σ d y. */
static cr_status softmax_backward_backward(cr_gradient_call *call)
{
    const struct softmax_attributes *attributes = call->attributes;
    cr_tensor *d = call->grad_outputs[0];
    cr_tensor *g = call->inputs[0];
    cr_tensor *y = call->inputs[1];
    cr_shape dim = one_dim(attributes->dim);
    cr_tensor *dy_sum = cr_sum_dims(cr_mul(d, y), dim, true);
    if (call->needs[0])
        call->grad_inputs[0] = cr_mul(y, cr_sub(d, dy_sum));
    if (call->needs[1]) {
        cr_tensor *gy_sum = cr_sum_dims(cr_mul(g, y), dim, true);
        call->grad_inputs[1] = cr_sub(cr_mul(d, cr_sub(g, gy_sum)), cr_mul(g, dy_sum));
    }
    return CR_OK;
}

static const cr_op softmax_backward_op = {
    .name = "_softmax_backward_data",
    .summary = "the gradient of softmax",
    .input_names = "grad y",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 2,
    .flags = CR_OP_PROMOTE,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = softmax_infer,
    .forward = { [CR_CPU] = softmax_backward_forward },
    .backward = softmax_backward_backward,
};

/* Of h = g - p Σ g with p = exp(y): dg = d - Σ d p, dy = -d p Σ g. */
static cr_status log_softmax_backward_backward(cr_gradient_call *call)
{
    const struct softmax_attributes *attributes = call->attributes;
    cr_tensor *d = call->grad_outputs[0];
    cr_shape dim = one_dim(attributes->dim);
    cr_tensor *p = cr_softmax(call->inputs[1], attributes->dim);
    cr_tensor *dp = cr_mul(d, p);
    if (call->needs[0])
        call->grad_inputs[0] = cr_sub(d, cr_sum_dims(dp, dim, true));
    if (call->needs[1])
        call->grad_inputs[1] = cr_neg(cr_mul(dp, cr_sum_dims(call->inputs[0], dim, true)));
    return CR_OK;
}

static const cr_op log_softmax_backward_op = {
    .name = "_log_softmax_backward_data",
    .summary = "the gradient of log_softmax",
    .input_names = "grad y",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 2,
    .flags = CR_OP_PROMOTE,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = softmax_infer,
    .forward = { [CR_CPU] = log_softmax_backward_forward },
    .backward = log_softmax_backward_backward,
};

/* ---- forward ---- */

static void softmax_forward(const cr_call *call)
{
    run_forward(call, false);
}

static void log_softmax_forward(const cr_call *call)
{
    run_forward(call, true);
}

static cr_status softmax_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_apply(
        &softmax_backward_op, CR_INPUTS(call->grad_outputs[0], call->outputs[0]), call->attributes);
    return CR_OK;
}

static cr_status log_softmax_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] =
        cr_apply(&log_softmax_backward_op, CR_INPUTS(call->grad_outputs[0], call->outputs[0]),
                 call->attributes);
    return CR_OK;
}

static cr_status along(cr_onnx_call *call, const char *type)
{
    const struct softmax_attributes *attributes = call->attributes;
    return onnx_result(call, cr_onnx_add(call, type, .inputs = { call->inputs[0] },
                                         .attributes = { CR_ONNX_INT("axis", attributes->dim) }));
}

static cr_status softmax_onnx(cr_onnx_call *call)
{
    return along(call, "Softmax");
}

static const cr_op native_softmax_op = {
    .name = "_softmax",
    .summary = "softmax of float32 or float64",
    .input_names = "x",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 1,
    .save_outputs = CR_SAVE(0),
    .infer = softmax_infer,
    .forward = { [CR_CPU] = softmax_forward },
    .backward = softmax_backward,
    .onnx = softmax_onnx,
};

static cr_status log_softmax_onnx(cr_onnx_call *call)
{
    return along(call, "LogSoftmax");
}

static const cr_op native_log_softmax_op = {
    .name = "_log_softmax",
    .summary = "log softmax of float32 or float64",
    .input_names = "x",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 1,
    .save_outputs = CR_SAVE(0),
    .infer = softmax_infer,
    .forward = { [CR_CPU] = log_softmax_forward },
    .backward = log_softmax_backward,
    .onnx = log_softmax_onnx,
};

/* Computed in float32 or float64, and given back in x's dtype. */
static cr_status compose_with(cr_compose_call *call, const cr_op *op)
{
    cr_tensor *x = call->inputs[0];
    if (require_floating(x, "x") != CR_OK)
        return cr_error_status();
    cr_dtype dtype = (cr_dtype)x->dtype;
    cr_tensor *y = cr_apply(op, CR_INPUTS(cr_to_dtype(x, dtype == CR_F64 ? CR_F64 : CR_F32)),
                            call->attributes);
    call->outputs[0] = cr_to_dtype(y, dtype);
    return CR_OK;
}

static cr_status softmax_compose(cr_compose_call *call)
{
    return compose_with(call, &native_softmax_op);
}

static cr_status log_softmax_compose(cr_compose_call *call)
{
    return compose_with(call, &native_log_softmax_op);
}

static const cr_op softmax_op = {
    .name = "softmax",
    .summary = "exp(x) / sum(exp(x)) over a dimension",
    .input_names = "x",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 1,
    .cast = CR_CAST_F32,
    .compose = softmax_compose,
};

static const cr_op log_softmax_op = {
    .name = "log_softmax",
    .summary = "the logarithm of softmax",
    .input_names = "x",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 1,
    .cast = CR_CAST_F32,
    .compose = log_softmax_compose,
};

cr_tensor *cr_softmax(cr_tensor *x, int64_t dim)
{
    return cr_apply(&softmax_op, CR_INPUTS(x), &(struct softmax_attributes){ dim });
}

cr_tensor *cr_log_softmax(cr_tensor *x, int64_t dim)
{
    return cr_apply(&log_softmax_op, CR_INPUTS(x), &(struct softmax_attributes){ dim });
}

/* ---- softmin ---- */

static cr_status softmin_compose(cr_compose_call *call)
{
    const struct softmax_attributes *attributes = call->attributes;
    call->outputs[0] = cr_softmax(cr_neg(call->inputs[0]), attributes->dim);
    return CR_OK;
}

static const cr_op softmin_op = {
    .name = "softmin",
    .summary = "softmax of -x",
    .input_names = "x",
    .attributes = softmax_table,
    .attribute_size = sizeof(struct softmax_attributes),
    .min_inputs = 1,
    .cast = CR_CAST_F32,
    .compose = softmin_compose,
};

cr_tensor *cr_softmin(cr_tensor *x, int64_t dim)
{
    return cr_apply(&softmin_op, CR_INPUTS(x), &(struct softmax_attributes){ dim });
}

OP_FAMILY(softmax_ops) = {
    &softmax_op,
    &log_softmax_op,
    &softmin_op,
    &native_softmax_op,
    &native_log_softmax_op,
    &softmax_backward_op,
    &log_softmax_backward_op,
    NULL,
};
