/* Batch norm, fused with the residual that is added to it and with relu.
 *
 * What users call converts dtypes and picks one of two records with the same kernel. They differ in
 * what they keep: relu's cut is found again from x where nothing was added after the norm, and from
 * the result where a residual was. */
#include "cresset/normalization.h"
#include "kernels/norm/norm.h"
#include "ops/ops.h"

enum { IN_X, IN_WEIGHT, IN_BIAS, IN_MEAN, IN_VAR, IN_RESIDUAL, IN_COUNT };

struct batch_norm_attributes {
    bool training;
    bool relu;
    double momentum;
    double eps;
};

static const cr_attribute batch_norm_table[] = {
    CR_ATTRIBUTE(struct batch_norm_attributes, BOOL, training),
    CR_ATTRIBUTE(struct batch_norm_attributes, BOOL, relu),
    CR_ATTRIBUTE(struct batch_norm_attributes, FLOAT, momentum),
    CR_ATTRIBUTE(struct batch_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

static void *data_of(const cr_tensor *tensor)
{
    return tensor ? tensor_bytes(tensor) : NULL;
}

static int64_t inner_of(const cr_shape *shape)
{
    int64_t inner = 1;
    for (int d = 2; d < shape->ndim; d++)
        inner *= shape->dim[d];
    return inner;
}

/* ---- backward ---- */

struct backward_attributes {
    bool training;
    bool relu;
    bool needs_x;
    bool needs_residual; /* only with relu; else its gradient is that of the result */
};

static const cr_attribute backward_table[] = {
    CR_ATTRIBUTE(struct backward_attributes, BOOL, training),
    CR_ATTRIBUTE(struct backward_attributes, BOOL, relu),
    CR_ATTRIBUTE(struct backward_attributes, BOOL, needs_x),
    CR_ATTRIBUTE(struct backward_attributes, BOOL, needs_residual),
    CR_ATTRIBUTE_END,
};

enum { GRAD_IN, GRAD_X, GRAD_MEAN, GRAD_INVSTD, GRAD_WEIGHT, GRAD_BIAS, GRAD_Y, GRAD_COUNT };

/* Gradients of x, weight, bias and the residual; those not needed are empty. */
static cr_status backward_infer(cr_infer_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[GRAD_X];
    for (int i = 0; i < 4; i++) {
        bool is_vector = i == 1 || i == 2;
        call->outputs[i].dtype = is_vector ? norm_computed(x) : (cr_dtype)x->dtype;
        call->outputs[i].shape = cr_shape_make(1, (const int64_t[]){ 0 });
    }
    if (attributes->needs_x)
        call->outputs[0].shape = x->shape;
    if (CALL_INPUT(call, GRAD_WEIGHT))
        call->outputs[1].shape = call->inputs[GRAD_MEAN]->shape;
    call->outputs[2].shape = call->inputs[GRAD_MEAN]->shape;
    if (attributes->needs_residual)
        call->outputs[3].shape = x->shape;
    return CR_OK;
}

static void backward_forward(const cr_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[GRAD_X];
    struct batch_norm_backward_job job = {
        .batch = x->shape.dim[0],
        .channels = x->shape.dim[1],
        .inner = inner_of(&x->shape),
        .training = attributes->training,
        .relu = attributes->relu,
        .grad = data_of(call->inputs[GRAD_IN]),
        .x = data_of(x),
        .y = data_of(CALL_INPUT(call, GRAD_Y)),
        .weight = data_of(CALL_INPUT(call, GRAD_WEIGHT)),
        .bias = data_of(CALL_INPUT(call, GRAD_BIAS)),
        .mean = data_of(call->inputs[GRAD_MEAN]),
        .invstd = data_of(call->inputs[GRAD_INVSTD]),
        .grad_x = attributes->needs_x ? data_of(call->outputs[0]) : NULL,
        .grad_weight = CALL_INPUT(call, GRAD_WEIGHT) ? data_of(call->outputs[1]) : NULL,
        .grad_bias = data_of(call->outputs[2]),
        .grad_residual = attributes->needs_residual ? data_of(call->outputs[3]) : NULL,
    };
    norm_batch_norm_backward(norm_type_of(x), &job);
}

static const cr_op native_batch_norm_backward_op = {
    .name = "native_batch_norm_backward",
    .summary = "the gradients of batch norm",
    .input_names = "grad x mean invstd weight bias y",
    .attributes = backward_table,
    .attribute_size = sizeof(struct backward_attributes),
    .min_inputs = 4,
    .max_inputs = GRAD_COUNT,
    .output_count = 4,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = backward_infer,
    .forward = { [CR_CPU] = backward_forward },
};

/* The gradient of what came before relu. */
static cr_tensor *recorded_cut(cr_gradient_call *call, cr_tensor *normalized, cr_tensor *weight,
                               cr_tensor *bias)
{
    const struct batch_norm_attributes *attributes = call->attributes;
    if (!attributes->relu)
        return call->grad_outputs[0];
    cr_tensor *y = call->outputs[0];
    if (!y) {
        y = weight ? cr_mul(normalized, weight) : normalized;
        y = bias ? cr_add(y, bias) : y;
    }
    cr_tensor *passes = cr_gt_scalar(cr_detach(y), 0);
    return cr_mul(call->grad_outputs[0], cr_to_dtype(passes, (cr_dtype)y->dtype));
}

/* Backward that is recorded in its turn: written with ops, the statistics made again from x. */
static cr_status recorded_backward(cr_gradient_call *call)
{
    const struct batch_norm_attributes *attributes = call->attributes;
    cr_tensor *x = cr_to_dtype(call->inputs[IN_X], norm_computed(call->inputs[IN_X]));
    int ndim = call->inputs[IN_X]->shape.ndim;
    cr_tensor *weight = along_dim(CALL_INPUT(call, IN_WEIGHT), ndim, 1);
    cr_tensor *bias = along_dim(CALL_INPUT(call, IN_BIAS), ndim, 1);
    cr_tensor *mean = along_dim(cr_detach(call->outputs[1]), ndim, 1);
    cr_tensor *invstd = along_dim(cr_detach(call->outputs[2]), ndim, 1);
    struct norm_view view = { .dims = other_dims(ndim, 1), .eps = attributes->eps };
    cr_tensor *normalized = cr_mul(cr_sub(x, mean), invstd);
    cr_tensor *grad = recorded_cut(call, normalized, weight, bias);
    cr_tensor *h = weight ? cr_mul(grad, weight) : grad;
    call->grad_inputs[IN_X] =
        attributes->training ? norm_gradient(x, h, &view, &normalized) : cr_mul(h, invstd);
    cr_tensor *grads[IN_COUNT] = { [IN_WEIGHT] =
                                       cr_sum_dims(cr_mul(grad, normalized), view.dims, false),
                                   [IN_BIAS] = cr_sum_dims(grad, view.dims, false),
                                   [IN_RESIDUAL] = grad };
    for (int i = IN_WEIGHT; i < call->input_count; i++)
        call->grad_inputs[i] = call->needs[i] ? grads[i] : NULL;
    return CR_OK;
}

static cr_status native_backward(cr_gradient_call *call)
{
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return recorded_backward(call);
    const struct batch_norm_attributes *was = call->attributes;
    bool needs_residual = CALL_NEEDS(call, IN_RESIDUAL);
    bool cut = was->relu && needs_residual;
    struct backward_attributes attributes = { was->training, was->relu, call->needs[IN_X], cut };
    cr_tensor *grads[CR_MAX_OUTPUTS];
    cr_status status = cr_apply_all(
        &native_batch_norm_backward_op,
        CR_INPUTS(call->grad_outputs[0], call->inputs[IN_X], call->outputs[1], call->outputs[2],
                  CALL_INPUT(call, IN_WEIGHT), CALL_INPUT(call, IN_BIAS), call->outputs[0]),
        &attributes, grads);
    if (status != CR_OK)
        return status;
    for (int i = IN_X; i <= IN_BIAS && i < call->input_count; i++)
        call->grad_inputs[i] = call->needs[i] ? grads[i] : NULL;
    if (needs_residual)
        call->grad_inputs[IN_RESIDUAL] = cut ? grads[3] : call->grad_outputs[0];
    return CR_OK;
}

/* ---- the two records with a kernel ---- */

static cr_status check_vector(const cr_tensor *vector, const cr_tensor *x, const char *name)
{
    if (!vector)
        return CR_OK;
    if (vector->shape.ndim != 1 || vector->shape.dim[0] != x->shape.dim[1]) {
        char text[CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE, "%s has shape %s, but x has %lld channels", name,
                            cr_shape_format(&vector->shape, text, sizeof text),
                            (long long)x->shape.dim[1]);
    }
    if (vector->dtype != (uint8_t)norm_computed(x))
        return cr_error_set(CR_ERROR_DTYPE, "%s is %s where x is computed in %s", name,
                            cr_dtype_name((cr_dtype)vector->dtype),
                            cr_dtype_name(norm_computed(x)));
    return CR_OK;
}

static cr_status native_infer(cr_infer_call *call)
{
    static const char *const names[] = { "x", "weight", "bias", "running_mean", "running_var" };
    const struct batch_norm_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[IN_X];
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    if (require_ndim(x, "x", 2, CR_MAX_DIMS) != CR_OK || require_stored(x, "x") != CR_OK)
        return cr_error_status();
    for (int i = IN_WEIGHT; i <= IN_VAR; i++) {
        if (check_vector(CALL_INPUT(call, i), x, names[i]) != CR_OK)
            return cr_error_status();
    }
    for (int i = IN_MEAN; i <= IN_VAR && attributes->training; i++) {
        if (CALL_INPUT(call, i) && !tensor_is_contiguous(call->inputs[i]))
            return cr_error_set(CR_ERROR_ARGUMENT, "%s is edited in place: it must be contiguous",
                                names[i]);
    }
    if (!attributes->training && (!CALL_INPUT(call, IN_MEAN) || !CALL_INPUT(call, IN_VAR)))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "running_mean and running_var must be given unless training");
    if (attributes->training && tensor_numel(x) == x->shape.dim[1])
        return cr_error_set(CR_ERROR_SHAPE, "training needs more than 1 value per channel; give a "
                                            "larger batch");
    if (residual && (!cr_shape_equal(&residual->shape, &x->shape) || residual->dtype != x->dtype))
        return cr_error_set(CR_ERROR_SHAPE, "the residual must have the shape and dtype of x");
    call->outputs[0].shape = x->shape;
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    for (int i = 1; i < 3; i++) {
        call->outputs[i].dtype = norm_computed(x);
        call->outputs[i].shape = cr_shape_make(1, &x->shape.dim[1]);
    }
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    const struct batch_norm_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[IN_X];
    struct batch_norm_job job = {
        .batch = x->shape.dim[0],
        .channels = x->shape.dim[1],
        .inner = inner_of(&x->shape),
        .training = attributes->training,
        .relu = attributes->relu,
        .updates = attributes->training && !cr_is_recomputing(),
        .momentum = attributes->momentum,
        .eps = attributes->eps,
        .x = data_of(x),
        .weight = data_of(CALL_INPUT(call, IN_WEIGHT)),
        .bias = data_of(CALL_INPUT(call, IN_BIAS)),
        .running_mean = data_of(CALL_INPUT(call, IN_MEAN)),
        .running_var = data_of(CALL_INPUT(call, IN_VAR)),
        .residual = data_of(CALL_INPUT(call, IN_RESIDUAL)),
        .y = data_of(call->outputs[0]),
        .mean = data_of(call->outputs[1]),
        .invstd = data_of(call->outputs[2]),
    };
    norm_batch_norm(norm_type_of(x), &job);
    for (int i = IN_MEAN; i <= IN_VAR && job.updates; i++) {
        if (CALL_INPUT(call, i))
            tensor_bump_version(call->inputs[i]);
    }
}

static int64_t native_multiply_adds(const cr_call *call)
{
    return tensor_numel(call->outputs[0]);
}

/* The vector of an input, or one of a value for each channel. */
static cr_onnx_value channel_vector(cr_onnx_call *call, int input, double value)
{
    cr_onnx_value given = ONNX_INPUT(call, input);
    if (given)
        return given;
    int64_t channels = cr_onnx_fixed_size(call, IN_X, 1);
    return onnx_filled(call, value, CR_SHAPE(channels), call->input_specs[IN_X].dtype);
}

static cr_status native_onnx(cr_onnx_call *call)
{
    const struct batch_norm_attributes *attributes = call->attributes;
    cr_onnx_value mean = ONNX_INPUT(call, IN_MEAN), residual = ONNX_INPUT(call, IN_RESIDUAL);
    if (attributes->training || !mean)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "by the statistics of the batch");
    cr_onnx_value y =
        cr_onnx_add(call, "BatchNormalization",
                    .inputs = { call->inputs[IN_X], channel_vector(call, IN_WEIGHT, 1),
                                channel_vector(call, IN_BIAS, 0), mean, call->inputs[IN_VAR] },
                    .attributes = { CR_ONNX_FLOAT("epsilon", attributes->eps) });
    if (residual)
        y = cr_onnx_binary(call, "Add", y, residual);
    return onnx_result(call, attributes->relu ? cr_onnx_unary(call, "Relu", y) : y);
}

#define NATIVE_BATCH_NORM                                                                          \
    .input_names = "x weight bias running_mean running_var residual",                              \
    .attributes = batch_norm_table, .attribute_size = sizeof(struct batch_norm_attributes),        \
    .min_inputs = 1, .max_inputs = IN_COUNT, .output_count = 3,                                    \
    .save_inputs = CR_SAVE(IN_X) | CR_SAVE(IN_WEIGHT) | CR_SAVE(IN_BIAS), .infer = native_infer,   \
    .forward = { [CR_CPU] = native_forward }, .backward = native_backward, .onnx = native_onnx,    \
    .multiply_adds = native_multiply_adds

static const cr_op native_batch_norm_op = {
    .name = "native_batch_norm",
    .summary = "batch norm, with the mean and 1 / deviation that it used",
    .save_outputs = CR_SAVE(1) | CR_SAVE(2),
    NATIVE_BATCH_NORM,
};

static const cr_op native_batch_norm_add_relu_op = {
    .name = "native_batch_norm_add_relu",
    .summary = "relu(batch norm + residual), with the mean and 1 / deviation that it used",
    .save_outputs = CR_SAVE(0) | CR_SAVE(1) | CR_SAVE(2),
    NATIVE_BATCH_NORM,
};

/* ---- batch_norm ---- */

/* Traced, what follows the norm are ops of their own. */
static cr_tensor *batch_norm_apart(cr_tensor **in, const struct batch_norm_attributes *attributes)
{
    struct batch_norm_attributes alone = *attributes;
    cr_tensor *residual = in[IN_RESIDUAL];
    alone.relu = false;
    in[IN_RESIDUAL] = NULL;
    cr_tensor *y = cr_apply(&native_batch_norm_op, (cr_inputs){ IN_COUNT, in }, &alone);
    y = residual ? cr_add(y, residual) : y;
    return attributes->relu ? cr_relu(y) : y;
}

/* In training the running statistics are edited in place, so they are not converted then. */
static cr_status batch_norm_compose(cr_compose_call *call)
{
    const struct batch_norm_attributes *attributes = call->attributes;
    cr_tensor *in[IN_COUNT] = { NULL };
    for (int i = 0; i < call->input_count; i++)
        in[i] = call->inputs[i];
    cr_dtype dtype = (cr_dtype)in[IN_X]->dtype;
    cr_dtype computed = norm_computed(in[IN_X]);
    cr_dtype stored = norm_stored(in[IN_X]);
    if (require_floating(in[IN_X], "batch_norm: x") != CR_OK)
        return cr_error_status();
    for (int i = 0; i < IN_COUNT; i++) {
        bool is_edited = attributes->training && (i == IN_MEAN || i == IN_VAR);
        if (in[i] && !is_edited)
            in[i] = cr_to_dtype(in[i], i == IN_X || i == IN_RESIDUAL ? stored : computed);
    }
    const cr_op *op = attributes->relu && in[IN_RESIDUAL] ? &native_batch_norm_add_relu_op
                                                          : &native_batch_norm_op;
    cr_tensor *y = tensor_is_traced ? batch_norm_apart(in, attributes)
                                    : cr_apply(op, (cr_inputs){ IN_COUNT, in }, attributes);
    call->outputs[0] = cr_to_dtype(y, dtype);
    return CR_OK;
}

static const cr_op batch_norm_op = {
    .name = "batch_norm",
    .summary = "batch norm over dimension 1, with residual and relu in the same pass",
    .input_names = "x weight bias running_mean running_var residual",
    .attributes = batch_norm_table,
    .attribute_size = sizeof(struct batch_norm_attributes),
    .min_inputs = 1,
    .max_inputs = IN_COUNT,
    .compose = batch_norm_compose,
};

cr_tensor *cr_functional_batch_norm_with(cr_functional_batch_norm_args args)
{
    struct batch_norm_attributes attributes = {
        .training = args.training,
        .relu = args.relu,
        .momentum = args.momentum == 0 ? 0.1 : args.momentum,
        .eps = args.eps == 0 ? 1e-5 : args.eps,
    };
    return cr_apply(&batch_norm_op,
                    CR_INPUTS(args.x, args.weight, args.bias, args.running_mean, args.running_var,
                              args.residual),
                    &attributes);
}

OP_FAMILY(batch_norm_ops) = {
    &batch_norm_op,
    &native_batch_norm_op,
    &native_batch_norm_add_relu_op,
    &native_batch_norm_backward_op,
    NULL,
};
