/* Layer norm and RMS norm: one kernel, which normalises rows of the last dimensions. */
#include "cresset/normalization.h"
#include "kernels/norm/norm.h"
#include "ops/ops.h"

static void *data_of(const cr_tensor *tensor)
{
    return tensor ? tensor_bytes(tensor) : NULL;
}

/* ---- the kernel's records ---- */

struct native_attributes {
    int64_t dims; /* how many of the last dimensions are a row */
    bool rms;
    bool needs_x; /* backward only, as the next */
    bool needs_weight;
    double eps;
};

static const cr_attribute native_table[] = {
    CR_ATTRIBUTE(struct native_attributes, INT, dims),
    CR_ATTRIBUTE(struct native_attributes, BOOL, rms),
    CR_ATTRIBUTE(struct native_attributes, BOOL, needs_x),
    CR_ATTRIBUTE(struct native_attributes, BOOL, needs_weight),
    CR_ATTRIBUTE(struct native_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

/* The row's shape and, of the others, the shape of the statistics. */
static cr_shape row_shape(const cr_shape *shape, int64_t dims, cr_shape *rows)
{
    int lead = shape->ndim - (int)dims;
    if (rows)
        *rows = cr_shape_make(lead, shape->dim);
    return cr_shape_make((int)dims, shape->dim + lead);
}

static void job_of(const cr_call *call, const cr_tensor *x, struct layer_norm_job *job)
{
    const struct native_attributes *attributes = call->attributes;
    cr_shape rows;
    cr_shape row = row_shape(&x->shape, attributes->dims, &rows);
    job->rows = cr_shape_numel(&rows);
    job->size = cr_shape_numel(&row);
    job->rms = attributes->rms;
    job->eps = attributes->eps;
    job->x = tensor_bytes(x);
}

enum { GRAD_IN, GRAD_X, GRAD_MEAN, GRAD_RSTD, GRAD_WEIGHT, GRAD_COUNT };

/* Gradients of x, weight and bias; those not needed are empty. */
static cr_status backward_infer(cr_infer_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[GRAD_X];
    for (int i = 0; i < 3; i++) {
        call->outputs[i].dtype = i == 0 ? (cr_dtype)x->dtype : norm_computed(x);
        call->outputs[i].shape = CR_SHAPE(0);
    }
    if (attributes->needs_x)
        call->outputs[0].shape = x->shape;
    if (attributes->needs_weight)
        call->outputs[1].shape = call->outputs[2].shape =
            row_shape(&x->shape, attributes->dims, NULL);
    return CR_OK;
}

static size_t backward_workspace(const cr_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    struct layer_norm_job job = { 0 };
    job_of(call, call->inputs[GRAD_X], &job);
    if (!attributes->needs_weight)
        return 0;
    int64_t sums = 2 * norm_layer_norm_parts(job.rows, job.size) * job.size;
    return (size_t)CR_MAX(sums, 1) * cr_dtype_size(norm_computed(call->inputs[GRAD_X]));
}

static void backward_forward(const cr_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[GRAD_X];
    struct layer_norm_job job = { 0 };
    job_of(call, x, &job);
    job.grad = data_of(call->inputs[GRAD_IN]);
    job.weight = data_of(CALL_INPUT(call, GRAD_WEIGHT));
    job.mean = data_of(call->inputs[GRAD_MEAN]);
    job.rstd = data_of(call->inputs[GRAD_RSTD]);
    job.grad_x = attributes->needs_x ? data_of(call->outputs[0]) : NULL;
    job.grad_weight = data_of(call->outputs[1]);
    job.grad_bias = data_of(call->outputs[2]);
    job.parts = norm_layer_norm_parts(job.rows, job.size);
    job.sums = attributes->needs_weight ? call->workspace : NULL;
    norm_layer_norm_backward(norm_type_of(x), &job);
}

static const cr_op native_layer_norm_backward_op = {
    .name = "native_layer_norm_backward",
    .summary = "the gradients of layer norm and RMS norm",
    .input_names = "grad x mean rstd weight",
    .attributes = native_table,
    .attribute_size = sizeof(struct native_attributes),
    .min_inputs = 4,
    .max_inputs = GRAD_COUNT,
    .output_count = 3,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = backward_infer,
    .workspace = backward_workspace,
    .forward = { [CR_CPU] = backward_forward },
};

/* Backward that is recorded in its turn. */
static cr_status recorded_backward(cr_gradient_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    cr_tensor *x = cr_to_dtype(call->inputs[0], norm_computed(call->inputs[0]));
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *weight = CALL_INPUT(call, 1);
    if (!x)
        return cr_error_status();
    int lead = x->shape.ndim - (int)attributes->dims;
    struct norm_view view = { .rms = attributes->rms, .eps = attributes->eps };
    cr_shape rows = { 0 };
    for (int d = 0; d < x->shape.ndim; d++) {
        cr_shape *list = d < lead ? &rows : &view.dims;
        list->dim[list->ndim++] = d;
    }
    cr_tensor *normalized;
    call->grad_inputs[0] =
        norm_gradient(x, weight ? cr_mul(grad, weight) : grad, &view, &normalized);
    if (CALL_NEEDS(call, 1))
        call->grad_inputs[1] = cr_sum_to_size(cr_mul(grad, normalized), call->input_specs[1].shape);
    if (CALL_NEEDS(call, 2))
        call->grad_inputs[2] = cr_sum_to_size(grad, call->input_specs[2].shape);
    return CR_OK;
}

static cr_status native_backward(cr_gradient_call *call)
{
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return recorded_backward(call);
    struct native_attributes attributes = *(const struct native_attributes *)call->attributes;
    attributes.needs_x = call->needs[0];
    attributes.needs_weight = CALL_NEEDS(call, 1) || CALL_NEEDS(call, 2);
    cr_tensor *grads[CR_MAX_OUTPUTS];
    cr_status status =
        cr_apply_all(&native_layer_norm_backward_op,
                     CR_INPUTS(call->grad_outputs[0], call->inputs[0], call->outputs[1],
                               call->outputs[2], CALL_INPUT(call, 1)),
                     &attributes, grads);
    for (int i = 0; i < call->input_count && status == CR_OK; i++)
        call->grad_inputs[i] = call->needs[i] ? grads[i] : NULL;
    return status;
}

/* Outputs: the result, and the mean and 1 / deviation of each row. */
static cr_status native_infer(cr_infer_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (require_stored(x, "x") != CR_OK)
        return cr_error_status();
    if (attributes->dims < 1 || attributes->dims > x->shape.ndim)
        return cr_error_set(CR_ERROR_SHAPE, "x of %d dimensions has no last %lld to normalise",
                            x->shape.ndim, (long long)attributes->dims);
    cr_shape rows;
    cr_shape row = row_shape(&x->shape, attributes->dims, &rows);
    for (int i = 1; i < 3; i++) {
        const cr_tensor *vector = CALL_INPUT(call, i);
        if (vector &&
            (!cr_shape_equal(&vector->shape, &row) || vector->dtype != (uint8_t)norm_computed(x)))
            return cr_error_set(CR_ERROR_SHAPE,
                                "%s must have the shape of what is normalised, and the dtype that "
                                "it is computed in",
                                i == 1 ? "weight" : "bias");
    }
    for (int i = 0; i < 3; i++) {
        call->outputs[i].dtype = i == 0 ? (cr_dtype)x->dtype : norm_computed(x);
        call->outputs[i].shape = i == 0 ? x->shape : rows;
    }
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    struct layer_norm_job job = { 0 };
    job_of(call, call->inputs[0], &job);
    job.weight = data_of(CALL_INPUT(call, 1));
    job.bias = data_of(CALL_INPUT(call, 2));
    job.y = data_of(call->outputs[0]);
    job.mean = data_of(call->outputs[1]);
    job.rstd = data_of(call->outputs[2]);
    norm_layer_norm(norm_type_of(call->inputs[0]), &job);
}

/* x / sqrt(mean(x²) + eps), times the weight */
static cr_onnx_value rms_norm(cr_onnx_call *call, const struct native_attributes *attributes)
{
    cr_dtype dtype = call->input_specs[0].dtype;
    cr_onnx_value x = call->inputs[0], weight = ONNX_INPUT(call, 1);
    cr_shape dims = { .ndim = (int)attributes->dims };
    for (int d = 0; d < dims.ndim; d++)
        dims.dim[d] = d - dims.ndim;
    cr_onnx_value y =
        onnx_reduce(call, "ReduceMean", cr_onnx_binary(call, "Mul", x, x), &dims, true);
    y = cr_onnx_unary(call, "Sqrt", cr_onnx_with_number(call, "Add", y, dtype, attributes->eps));
    y = cr_onnx_binary(call, "Div", x, y);
    return weight ? cr_onnx_binary(call, "Mul", y, weight) : y;
}

static cr_status native_onnx(cr_onnx_call *call)
{
    const struct native_attributes *attributes = call->attributes;
    cr_onnx_value weight = ONNX_INPUT(call, 1);
    cr_shape row = { .ndim = (int)attributes->dims };
    if (attributes->rms)
        return onnx_result(call, rms_norm(call, attributes));
    for (int d = 0; d < row.ndim && !weight; d++)
        row.dim[d] = cr_onnx_fixed_size(call, 0, d - row.ndim);
    if (!weight)
        weight = onnx_filled(call, 1, row, call->input_specs[0].dtype);
    return onnx_result(call,
                       cr_onnx_add(call, "LayerNormalization",
                                   .inputs = { call->inputs[0], weight, ONNX_INPUT(call, 2) },
                                   .attributes = { CR_ONNX_INT("axis", -attributes->dims),
                                                   CR_ONNX_FLOAT("epsilon", attributes->eps) }));
}

static const cr_op native_layer_norm_op = {
    .name = "native_layer_norm",
    .summary = "layer norm or RMS norm, with the mean and 1 / deviation of each row",
    .input_names = "x weight bias",
    .attributes = native_table,
    .attribute_size = sizeof(struct native_attributes),
    .min_inputs = 1,
    .max_inputs = 3,
    .output_count = 3,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .save_outputs = CR_SAVE(1) | CR_SAVE(2),
    .infer = native_infer,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
    .onnx = native_onnx,
};

/* ---- layer_norm and rms_norm ---- */

struct layer_norm_attributes {
    cr_shape normalized_shape;
    double eps;
};

static const cr_attribute layer_norm_table[] = {
    CR_ATTRIBUTE(struct layer_norm_attributes, INTS, normalized_shape),
    CR_ATTRIBUTE(struct layer_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

static cr_status check(const cr_tensor *x, const cr_shape *normalized)
{
    int lead = x->shape.ndim - normalized->ndim;
    bool fits = lead >= 0 && normalized->ndim > 0;
    for (int d = 0; fits && d < normalized->ndim; d++)
        fits = x->shape.dim[lead + d] == normalized->dim[d];
    if (fits)
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "the last sizes of x %s are not the normalized shape %s",
                        cr_shape_format(&x->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(normalized, text[1], CR_SHAPE_TEXT));
}

static cr_status compose(cr_compose_call *call, bool rms)
{
    const struct layer_norm_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_dtype dtype = (cr_dtype)x->dtype;
    if (require_floating(x, "x") != CR_OK || check(x, &attributes->normalized_shape) != CR_OK) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    cr_tensor *in[3] = { NULL };
    for (int i = 0; i < call->input_count; i++)
        in[i] = call->inputs[i]
                    ? cr_to_dtype(call->inputs[i], i == 0 ? norm_stored(x) : norm_computed(x))
                    : NULL;
    struct native_attributes native = { .dims = attributes->normalized_shape.ndim,
                                        .rms = rms,
                                        .eps = attributes->eps };
    cr_tensor *y = cr_apply(&native_layer_norm_op, (cr_inputs){ 3, in }, &native);
    call->outputs[0] = cr_to_dtype(y, dtype);
    return CR_OK;
}

static cr_status layer_norm_compose(cr_compose_call *call)
{
    return compose(call, false);
}

static cr_status rms_norm_compose(cr_compose_call *call)
{
    return compose(call, true);
}

static const cr_op layer_norm_op = {
    .name = "layer_norm",
    .summary = "the last dimensions less their mean, divided by their deviation",
    .input_names = "x weight bias",
    .attributes = layer_norm_table,
    .attribute_size = sizeof(struct layer_norm_attributes),
    .min_inputs = 1,
    .max_inputs = 3,
    .compose = layer_norm_compose,
};

static const cr_op rms_norm_op = {
    .name = "rms_norm",
    .summary = "the last dimensions divided by their root mean square",
    .input_names = "x weight",
    .attributes = layer_norm_table,
    .attribute_size = sizeof(struct layer_norm_attributes),
    .min_inputs = 1,
    .max_inputs = 2,
    .compose = rms_norm_compose,
};

cr_tensor *cr_functional_layer_norm(cr_tensor *x, cr_shape normalized_shape, cr_tensor *weight,
                                    cr_tensor *bias, double eps)
{
    struct layer_norm_attributes attributes = { normalized_shape, eps == 0 ? 1e-5 : eps };
    return cr_apply(&layer_norm_op, CR_INPUTS(x, weight, bias), &attributes);
}

cr_tensor *cr_functional_rms_norm(cr_tensor *x, cr_shape normalized_shape, cr_tensor *weight,
                                  double eps)
{
    double least = cr_dtype_of(x) == CR_F64 ? 0x1p-52 : 0x1p-23;
    struct layer_norm_attributes attributes = { normalized_shape, eps == 0 ? least : eps };
    return cr_apply(&rms_norm_op, CR_INPUTS(x, weight), &attributes);
}

OP_FAMILY(layer_norm_ops) = {
    &layer_norm_op, &rms_norm_op, &native_layer_norm_op, &native_layer_norm_backward_op, NULL,
};
