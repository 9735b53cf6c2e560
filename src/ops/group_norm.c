/* Group norm, and instance norm, which is group norm with a group for each channel. */
#include "cresset/normalization.h"
#include "kernels/norm/norm.h"
#include "ops/ops.h"

static void *data_of(const cr_tensor *tensor)
{
    return tensor ? tensor_bytes(tensor) : NULL;
}

/* ---- the kernel's records ---- */

struct group_norm_attributes {
    int64_t num_groups;
    double eps;
};

static const cr_attribute group_norm_table[] = {
    CR_ATTRIBUTE(struct group_norm_attributes, INT, num_groups),
    CR_ATTRIBUTE(struct group_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

static void job_of(const cr_call *call, const cr_tensor *x, struct group_norm_job *job)
{
    const struct group_norm_attributes *attributes = call->attributes;
    job->batch = x->shape.dim[0];
    job->channels = x->shape.dim[1];
    job->inner = 1;
    for (int d = 2; d < x->shape.ndim; d++)
        job->inner *= x->shape.dim[d];
    job->groups = attributes->num_groups;
    job->eps = attributes->eps;
    job->x = tensor_bytes(x);
}

enum { GRAD_IN, GRAD_X, GRAD_MEAN, GRAD_RSTD, GRAD_WEIGHT, GRAD_COUNT };

/* Gradients of x, weight and bias. */
static cr_status backward_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[GRAD_X];
    for (int i = 0; i < 3; i++) {
        call->outputs[i].dtype = i == 0 ? (cr_dtype)x->dtype : norm_computed(x);
        call->outputs[i].shape = i == 0 ? x->shape : CR_SHAPE(x->shape.dim[1]);
    }
    return CR_OK;
}

static size_t backward_workspace(const cr_call *call)
{
    const cr_shape *shape = &call->inputs[GRAD_X]->shape;
    return 2 * (size_t)CR_MAX(shape->dim[0] * shape->dim[1], 1) * sizeof(double);
}

static void backward_forward(const cr_call *call)
{
    const cr_tensor *x = call->inputs[GRAD_X];
    struct group_norm_job job = { 0 };
    job_of(call, x, &job);
    job.grad = data_of(call->inputs[GRAD_IN]);
    job.weight = data_of(CALL_INPUT(call, GRAD_WEIGHT));
    job.mean = data_of(call->inputs[GRAD_MEAN]);
    job.rstd = data_of(call->inputs[GRAD_RSTD]);
    job.grad_x = data_of(call->outputs[0]);
    job.grad_weight = data_of(call->outputs[1]);
    job.grad_bias = data_of(call->outputs[2]);
    job.sums = call->workspace;
    norm_group_norm_backward(norm_type_of(x), &job);
}

static const cr_op native_group_norm_backward_op = {
    .name = "native_group_norm_backward",
    .summary = "the gradients of group norm",
    .input_names = "grad x mean rstd weight",
    .attributes = group_norm_table,
    .attribute_size = sizeof(struct group_norm_attributes),
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
    const struct group_norm_attributes *attributes = call->attributes;
    cr_tensor *x = cr_to_dtype(call->inputs[0], norm_computed(call->inputs[0]));
    if (!x)
        return cr_error_status();
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *weight = along_dim(CALL_INPUT(call, 1), x->shape.ndim, 1);
    cr_shape groups = CR_SHAPE(x->shape.dim[0], attributes->num_groups, -1);
    cr_shape others = other_dims(x->shape.ndim, 1);
    struct norm_view view = { .dims = CR_SHAPE(2), .eps = attributes->eps };
    cr_tensor *normalized;
    cr_tensor *h = cr_reshape(weight ? cr_mul(grad, weight) : grad, groups);
    cr_tensor *pulled = norm_gradient(cr_reshape(x, groups), h, &view, &normalized);
    call->grad_inputs[0] = cr_reshape(pulled, x->shape);
    if (CALL_NEEDS(call, 1))
        call->grad_inputs[1] =
            cr_sum_dims(cr_mul(grad, cr_reshape(normalized, x->shape)), others, false);
    if (CALL_NEEDS(call, 2))
        call->grad_inputs[2] = cr_sum_dims(grad, others, false);
    return CR_OK;
}

static cr_status native_backward(cr_gradient_call *call)
{
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return recorded_backward(call);
    cr_tensor *grads[CR_MAX_OUTPUTS];
    cr_status status =
        cr_apply_all(&native_group_norm_backward_op,
                     CR_INPUTS(call->grad_outputs[0], call->inputs[0], call->outputs[1],
                               call->outputs[2], CALL_INPUT(call, 1)),
                     call->attributes, grads);
    for (int i = 0; i < call->input_count && status == CR_OK; i++)
        call->grad_inputs[i] = call->needs[i] ? grads[i] : NULL;
    return status;
}

/* Outputs: the result, and the mean and 1 / deviation of each group (N, groups). */
static cr_status native_infer(cr_infer_call *call)
{
    const struct group_norm_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (require_stored(x, "x") != CR_OK || require_ndim(x, "x", 2, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    int64_t channels = x->shape.dim[1];
    if (attributes->num_groups < 1 || channels % attributes->num_groups != 0)
        return cr_error_set(CR_ERROR_SHAPE, "%lld channels do not divide into %lld groups",
                            (long long)channels, (long long)attributes->num_groups);
    for (int i = 1; i < 3; i++) {
        const cr_tensor *vector = CALL_INPUT(call, i);
        if (vector && (vector->shape.ndim != 1 || vector->shape.dim[0] != channels ||
                       vector->dtype != (uint8_t)norm_computed(x)))
            return cr_error_set(
                CR_ERROR_SHAPE, "%s must have one %s element for each of %lld channels",
                i == 1 ? "weight" : "bias", cr_dtype_name(norm_computed(x)), (long long)channels);
    }
    for (int i = 0; i < 3; i++) {
        call->outputs[i].dtype = i == 0 ? (cr_dtype)x->dtype : norm_computed(x);
        call->outputs[i].shape =
            i == 0 ? x->shape : CR_SHAPE(x->shape.dim[0], attributes->num_groups);
    }
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    struct group_norm_job job = { 0 };
    job_of(call, call->inputs[0], &job);
    job.weight = data_of(CALL_INPUT(call, 1));
    job.bias = data_of(CALL_INPUT(call, 2));
    job.y = data_of(call->outputs[0]);
    job.mean = data_of(call->outputs[1]);
    job.rstd = data_of(call->outputs[2]);
    norm_group_norm(norm_type_of(call->inputs[0]), &job);
}

/* A vector of channels along dimension 1. */
static cr_onnx_value along_channels(cr_onnx_call *call, cr_onnx_value vector, int ndim)
{
    cr_onnx_size sizes[CR_MAX_DIMS] = { 0 };
    for (int d = 1; d < ndim; d++)
        sizes[d - 1].base = d == 1 ? -1 : 1;
    return ndim > 2 ? cr_onnx_reshape(call, vector, NULL, sizes, ndim - 1) : vector;
}

/* Opset 17 has instance norm: the groups are its channels. */
static cr_status native_onnx(cr_onnx_call *call)
{
    const struct group_norm_attributes *attributes = call->attributes;
    const cr_onnx_spec *spec = &call->input_specs[0];
    cr_shape groups = CR_SHAPE(attributes->num_groups);
    cr_onnx_value folded =
        cr_onnx_binary(call, "Reshape", call->inputs[0],
                       cr_onnx_integers(call, CR_SHAPE(0, attributes->num_groups, -1)));
    cr_onnx_value y = cr_onnx_add(call, "InstanceNormalization",
                                  .inputs = { folded, onnx_filled(call, 1, groups, spec->dtype),
                                              onnx_filled(call, 0, groups, spec->dtype) },
                                  .attributes = { CR_ONNX_FLOAT("epsilon", attributes->eps) });
    y = cr_onnx_reshape(call, y, NULL, spec->dim, spec->ndim);
    for (int i = 1; i < 3; i++) {
        cr_onnx_value vector = ONNX_INPUT(call, i);
        if (vector)
            y = cr_onnx_binary(call, i == 1 ? "Mul" : "Add", y,
                               along_channels(call, vector, spec->ndim));
    }
    return onnx_result(call, y);
}

static const cr_op native_group_norm_op = {
    .name = "native_group_norm",
    .summary = "group norm, with the mean and 1 / deviation of each group",
    .input_names = "x weight bias",
    .attributes = group_norm_table,
    .attribute_size = sizeof(struct group_norm_attributes),
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

/* ---- group_norm ---- */

static cr_status group_norm_compose(cr_compose_call *call)
{
    const cr_tensor *x = call->inputs[0];
    cr_dtype dtype = (cr_dtype)x->dtype;
    if (require_floating(x, "group_norm: x") != CR_OK)
        return cr_error_status();
    cr_tensor *in[3] = { NULL };
    for (int i = 0; i < call->input_count; i++)
        in[i] = call->inputs[i]
                    ? cr_to_dtype(call->inputs[i], i == 0 ? norm_stored(x) : norm_computed(x))
                    : NULL;
    cr_tensor *y = cr_apply(&native_group_norm_op, (cr_inputs){ 3, in }, call->attributes);
    call->outputs[0] = cr_to_dtype(y, dtype);
    return CR_OK;
}

static const cr_op group_norm_op = {
    .name = "group_norm",
    .summary = "groups of channels less their mean, divided by their deviation",
    .input_names = "x weight bias",
    .attributes = group_norm_table,
    .attribute_size = sizeof(struct group_norm_attributes),
    .min_inputs = 1,
    .max_inputs = 3,
    .compose = group_norm_compose,
};

cr_tensor *cr_functional_group_norm(cr_tensor *x, int64_t num_groups, cr_tensor *weight,
                                    cr_tensor *bias, double eps)
{
    struct group_norm_attributes attributes = { num_groups, eps == 0 ? 1e-5 : eps };
    return cr_apply(&group_norm_op, CR_INPUTS(x, weight, bias), &attributes);
}

/* ---- instance_norm ---- */

struct instance_norm_attributes {
    bool use_input_stats;
    double momentum;
    double eps;
};

static const cr_attribute instance_norm_table[] = {
    CR_ATTRIBUTE(struct instance_norm_attributes, BOOL, use_input_stats),
    CR_ATTRIBUTE(struct instance_norm_attributes, FLOAT, momentum),
    CR_ATTRIBUTE(struct instance_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE_END,
};

/* to = (1 - momentum) to + momentum * the mean of a statistic (N, C) over the samples. */
static cr_status move_towards(cr_tensor *to, cr_tensor *statistic, double momentum)
{
    cr_tensor *mean = cr_to_dtype(cr_mean_dims(statistic, CR_SHAPE(0), false), cr_dtype_of(to));
    cr_tensor *moved = cr_add(cr_mul_scalar(to, 1 - momentum), cr_mul_scalar(mean, momentum));
    return moved ? cr_copy_(to, moved) : cr_error_status();
}

static cr_status update_running(cr_tensor *x, cr_tensor *mean, cr_tensor *var, double momentum)
{
    cr_shape spatial = { 0 };
    for (int d = 2; d < x->shape.ndim; d++)
        spatial.dim[spatial.ndim++] = d;
    bool was = cr_set_grad_enabled(false);
    cr_tensor *means = NULL;
    cr_tensor *vars = cr_var_mean(&means, x, .dims = spatial);
    cr_status status = vars ? CR_OK : cr_error_status();
    if (status == CR_OK && mean)
        status = move_towards(mean, means, momentum);
    if (status == CR_OK && var)
        status = move_towards(var, vars, momentum);
    cr_set_grad_enabled(was);
    return status;
}

static cr_status instance_norm_compose(cr_compose_call *call)
{
    const struct instance_norm_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_tensor *weight = CALL_INPUT(call, 1);
    cr_tensor *bias = CALL_INPUT(call, 2);
    cr_tensor *mean = CALL_INPUT(call, 3);
    cr_tensor *var = CALL_INPUT(call, 4);
    if (require_ndim(x, "instance_norm: x", 3, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    if (!attributes->use_input_stats) {
        call->outputs[0] =
            cr_functional_batch_norm(x, .running_mean = mean, .running_var = var, .weight = weight,
                                     .bias = bias, .eps = attributes->eps);
        return CR_OK;
    }
    if (tensor_numel(x) == x->shape.dim[0] * x->shape.dim[1] && tensor_numel(x))
        return cr_error_set(CR_ERROR_SHAPE, "instance_norm: needs more than 1 spatial element");
    if ((mean || var) && x->storage && !cr_is_recomputing() &&
        update_running(x, mean, var, attributes->momentum) != CR_OK)
        return cr_error_status();
    call->outputs[0] = cr_functional_group_norm(x, x->shape.dim[1], weight, bias, attributes->eps);
    return CR_OK;
}

static const cr_op instance_norm_op = {
    .name = "instance_norm",
    .summary = "each channel of each sample less its mean, divided by its deviation",
    .input_names = "x weight bias running_mean running_var",
    .attributes = instance_norm_table,
    .attribute_size = sizeof(struct instance_norm_attributes),
    .min_inputs = 1,
    .max_inputs = 5,
    .compose = instance_norm_compose,
};

cr_tensor *cr_functional_instance_norm_with(cr_functional_instance_norm_args args)
{
    struct instance_norm_attributes attributes = {
        .use_input_stats = !args.use_running_stats,
        .momentum = args.momentum == 0 ? 0.1 : args.momentum,
        .eps = args.eps == 0 ? 1e-5 : args.eps,
    };
    return cr_apply(&instance_norm_op,
                    CR_INPUTS(args.x, args.weight, args.bias, args.running_mean, args.running_var),
                    &attributes);
}

OP_FAMILY(group_norm_ops) = {
    &group_norm_op, &instance_norm_op, &native_group_norm_op, &native_group_norm_backward_op, NULL,
};
