/* Cross-entropy of logits: softmax and negative log likelihood in one kernel for classes, written
 * with other ops for probabilities. */
#include "cresset/loss.h"
#include "cresset/normalization.h"
#include "kernels/norm/norm.h"
#include "ops/ops.h"

struct cross_entropy_attributes {
    int64_t ignore_index;
    double label_smoothing;
    int reduction;
};

static const cr_attribute cross_entropy_table[] = {
    CR_ATTRIBUTE(struct cross_entropy_attributes, INT, ignore_index),
    CR_ATTRIBUTE(struct cross_entropy_attributes, FLOAT, label_smoothing),
    CR_ATTRIBUTE(struct cross_entropy_attributes, ENUM, reduction),
    CR_ATTRIBUTE_END,
};

static int class_dim(const cr_tensor *logits)
{
    return logits->shape.ndim == 1 ? 0 : 1;
}

/* The shape of the logits without their classes. */
static cr_shape positions_of(const cr_tensor *logits)
{
    cr_shape shape = { 0 };
    for (int d = 0; d < logits->shape.ndim; d++) {
        if (d != class_dim(logits))
            shape.dim[shape.ndim++] = logits->shape.dim[d];
    }
    return shape;
}

/* A job with what forward and backward have in common; returns the outer size. */
static int64_t job_of(const struct cross_entropy_attributes *attributes, const cr_tensor *logits,
                      const cr_tensor *target, const cr_tensor *weight,
                      struct cross_entropy_job *job)
{
    int dim = class_dim(logits);
    job->classes = logits->shape.dim[dim];
    job->inner = 1;
    for (int d = dim + 1; d < logits->shape.ndim; d++)
        job->inner *= logits->shape.dim[d];
    job->ignore_index = attributes->ignore_index;
    job->label_smoothing = attributes->label_smoothing;
    job->logits = tensor_bytes(logits);
    job->target = TENSOR_DATA(int64_t, target);
    job->weight = weight ? tensor_bytes(weight) : NULL;
    return dim ? logits->shape.dim[0] : 1;
}

static void put(cr_tensor *to, double value)
{
    if (to->dtype == CR_F64)
        *TENSOR_DATA(double, to) = value;
    else
        *TENSOR_DATA(float, to) = (float)value;
}

static double get(const cr_tensor *from)
{
    return from->dtype == CR_F64 ? *TENSOR_DATA(double, from) : (double)*TENSOR_DATA(float, from);
}

/* ---- backward ---- */

enum { GRAD_IN, GRAD_LOGITS, GRAD_TARGET, GRAD_LOG_SUM, GRAD_TOTAL, GRAD_WEIGHT, GRAD_COUNT };

static cr_status backward_infer(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[GRAD_LOGITS]->dtype;
    call->outputs[0].shape = call->inputs[GRAD_LOGITS]->shape;
    return CR_OK;
}

static void backward_forward(const cr_call *call)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    const cr_tensor *logits = call->inputs[GRAD_LOGITS];
    struct cross_entropy_job job = { 0 };
    int64_t outer =
        job_of(attributes, logits, call->inputs[GRAD_TARGET], CALL_INPUT(call, GRAD_WEIGHT), &job);
    job.log_sum = tensor_bytes(call->inputs[GRAD_LOG_SUM]);
    job.grad = tensor_bytes(call->inputs[GRAD_IN]);
    job.grad_stride = attributes->reduction == CR_REDUCTION_NONE;
    job.grad_scale =
        attributes->reduction == CR_REDUCTION_MEAN ? 1 / get(call->inputs[GRAD_TOTAL]) : 1;
    job.out = tensor_bytes(call->outputs[0]);
    norm_cross_entropy_backward(norm_type_of(logits), &job, outer);
}

static const cr_op native_cross_entropy_backward_op = {
    .name = "native_cross_entropy_backward",
    .summary = "the gradient of native_cross_entropy",
    .input_names = "grad logits target log_sum total_weight weight",
    .attributes = cross_entropy_table,
    .attribute_size = sizeof(struct cross_entropy_attributes),
    .min_inputs = 5,
    .max_inputs = GRAD_COUNT,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = backward_infer,
    .forward = { [CR_CPU] = backward_forward },
};

/* Backward that is recorded in its turn, by the formulas of the kernel: with p = softmax(x),
 * weights w and smoothing s, ((1 - s) w_t + s / C Σ w) p - (1 - s) w_t onehot(t) - s / C w. */
static cr_status recorded_backward(cr_gradient_call *call)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    cr_tensor *x = cr_to_dtype(call->inputs[0], norm_computed(call->inputs[0]));
    if (!x)
        return cr_error_status();
    cr_tensor *target = call->inputs[1];
    cr_tensor *weight = CALL_INPUT(call, 2);
    int dim = class_dim(x);
    double spread = attributes->label_smoothing / (double)CR_MAX(x->shape.dim[dim], 1);
    double own = 1 - attributes->label_smoothing;
    cr_tensor *ones = cr_ones_like(cr_detach(x));
    cr_tensor *used = cr_neg(nll_positions(ones, target, weight, attributes->ignore_index));
    cr_tensor *counts = cr_neg(nll_positions(ones, target, NULL, attributes->ignore_index));
    cr_tensor *g = call->grad_outputs[0];
    if (attributes->reduction == CR_REDUCTION_MEAN)
        g = cr_div(g, cr_detach(call->outputs[2]));
    g = cr_expand(g, positions_of(x));
    cr_tensor *each = cr_sum_dims(
        weight ? cr_mul(ones, along_dim(weight, x->shape.ndim, dim)) : ones, CR_SHAPE(dim), false);
    cr_tensor *scale =
        cr_add(cr_mul_scalar(used, own), cr_mul_scalar(cr_mul(counts, each), spread));
    cr_tensor *grad = cr_mul(cr_softmax(x, dim), cr_unsqueeze(cr_mul(g, scale), dim));
    cr_tensor *picked =
        nll_spread(cr_mul_scalar(g, own), target, weight, x, attributes->ignore_index);
    cr_tensor *even = cr_unsqueeze(cr_mul(cr_mul_scalar(g, spread), counts), dim);
    if (weight)
        even = cr_mul(even, along_dim(weight, x->shape.ndim, dim));
    call->grad_inputs[0] = cr_sub(cr_add(grad, picked), even);
    return CR_OK;
}

static cr_status native_backward(cr_gradient_call *call)
{
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return recorded_backward(call);
    if (call->needs[0])
        call->grad_inputs[0] =
            cr_apply(&native_cross_entropy_backward_op,
                     CR_INPUTS(call->grad_outputs[0], call->inputs[0], call->inputs[1],
                               call->outputs[1], call->outputs[2], CALL_INPUT(call, 2)),
                     call->attributes);
    return CR_OK;
}

/* ---- classes ---- */

/* Outputs: the loss, log Σ exp of each position, and the weight of all positions together. */
static cr_status native_infer(cr_infer_call *call)
{
    struct cross_entropy_attributes *attributes = call->attributes;
    cr_shape positions = positions_of(call->inputs[0]);
    attributes->reduction = loss_reduction(attributes->reduction);
    if (require_stored(call->inputs[0], "logits") != CR_OK ||
        require_ndim(call->inputs[0], "logits", 1, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    if (call->inputs[1]->dtype != CR_I64 || !cr_shape_equal(&call->inputs[1]->shape, &positions))
        return cr_error_set(CR_ERROR_ARGUMENT, "the target must be int64 classes, one a position");
    for (int i = 0; i < 3; i++)
        call->outputs[i].dtype = norm_computed(call->inputs[0]);
    if (attributes->reduction == CR_REDUCTION_NONE)
        call->outputs[0].shape = positions;
    call->outputs[1].shape = positions;
    return CR_OK;
}

/* Where the loss is reduced, the losses of the positions stand here before. */
static size_t native_workspace(const cr_call *call)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    if (attributes->reduction == CR_REDUCTION_NONE)
        return 0;
    return (size_t)tensor_numel(call->inputs[1]) * cr_dtype_size(norm_computed(call->inputs[0]));
}

static double number_at(const void *numbers, int64_t i, bool is_f64)
{
    return is_f64 ? ((const double *)numbers)[i] : (double)((const float *)numbers)[i];
}

/* The weight of all positions that count. */
static double total_weight(const struct cross_entropy_job *job, int64_t positions, bool is_f64)
{
    double total = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < positions; i++)
        count += job->target[i] != job->ignore_index;
    for (int64_t i = 0; job->weight && i < positions; i++) {
        int64_t t = job->target[i];
        total += t == job->ignore_index ? 0 : number_at(job->weight, t, is_f64);
    }
    return job->weight ? total : (double)count;
}

/* In lanes, for one addition has to wait for the one before. */
static double sum_losses(const struct cross_entropy_job *job, int64_t positions, bool is_f64)
{
    double lanes[8] = { 0 };
    for (int64_t i = 0; i < positions; i++)
        lanes[i % 8] += number_at(job->loss, i, is_f64);
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

static void native_forward(const cr_call *call)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    const cr_tensor *logits = call->inputs[0];
    struct cross_entropy_job job = { 0 };
    int64_t outer = job_of(attributes, logits, call->inputs[1], CALL_INPUT(call, 2), &job);
    bool is_f64 = logits->dtype == CR_F64;
    bool reduces = attributes->reduction != CR_REDUCTION_NONE;
    job.loss = reduces ? call->workspace : tensor_bytes(call->outputs[0]);
    job.log_sum = tensor_bytes(call->outputs[1]);
    norm_cross_entropy(norm_type_of(logits), &job, outer);
    double total = total_weight(&job, outer * job.inner, is_f64);
    put(call->outputs[2], total);
    if (reduces) {
        double sum = sum_losses(&job, outer * job.inner, is_f64);
        put(call->outputs[0], attributes->reduction == CR_REDUCTION_MEAN ? sum / total : sum);
    }
}

static const cr_op native_cross_entropy_op = {
    .name = "native_cross_entropy",
    .summary = "cross-entropy of logits and int64 classes",
    .input_names = "logits target weight",
    .attributes = cross_entropy_table,
    .attribute_size = sizeof(struct cross_entropy_attributes),
    .min_inputs = 2,
    .max_inputs = 3,
    .output_count = 3,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1) | CR_SAVE(2),
    .save_outputs = CR_SAVE(1) | CR_SAVE(2),
    .infer = native_infer,
    .workspace = native_workspace,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
};

static cr_tensor *of_classes(const cr_compose_call *call, cr_tensor *logits, cr_tensor *weight)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    cr_tensor *target = cr_contiguous(cr_to_dtype(call->inputs[1], CR_I64));
    cr_shape positions = positions_of(logits);
    if (!target)
        return NULL;
    if (!cr_shape_equal(&target->shape, &positions)) {
        char text[2][CR_SHAPE_TEXT];
        cr_error_set(CR_ERROR_SHAPE,
                     "cross_entropy: classes of shape %s do not fit logits %s; they need the "
                     "logits' shape without dimension %d",
                     cr_shape_format(&target->shape, text[0], CR_SHAPE_TEXT),
                     cr_shape_format(&logits->shape, text[1], CR_SHAPE_TEXT), class_dim(logits));
        return NULL;
    }
    if (require_classes(target, logits->shape.dim[class_dim(logits)], attributes->ignore_index) !=
        CR_OK) {
        cr_error_prefix("cross_entropy");
        return NULL;
    }
    return cr_apply(&native_cross_entropy_op, CR_INPUTS(logits, target, weight), attributes);
}

/* ---- probabilities ---- */

static cr_tensor *of_probabilities(const cr_compose_call *call, cr_tensor *logits,
                                   cr_tensor *weight)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    double smoothing = attributes->label_smoothing;
    int dim = class_dim(logits);
    int64_t classes = logits->shape.dim[dim];
    cr_tensor *target = call->inputs[1];
    cr_tensor *log_p = cr_log_softmax(logits, dim);
    if (smoothing != 0)
        target = cr_add_scalar(cr_mul_scalar(target, 1 - smoothing), smoothing / (double)classes);
    if (weight) {
        cr_shape along = { .ndim = logits->shape.ndim };
        for (int d = 0; d < along.ndim; d++)
            along.dim[d] = d == dim ? classes : 1;
        target = cr_mul(target, cr_reshape(weight, along));
    }
    cr_tensor *loss = cr_neg(cr_sum_dims(cr_mul(log_p, target), CR_SHAPE(dim), false));
    return reduce_loss(loss, attributes->reduction);
}

/* ---- cross_entropy ---- */

static cr_status check(const cr_compose_call *call)
{
    const struct cross_entropy_attributes *attributes = call->attributes;
    const cr_tensor *logits = call->inputs[0];
    const cr_tensor *weight = CALL_INPUT(call, 2);
    if (require_floating(logits, "cross_entropy: logits") != CR_OK ||
        require_ndim(logits, "cross_entropy: logits", 1, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    if (!(attributes->label_smoothing >= 0 && attributes->label_smoothing <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "cross_entropy: label smoothing %g is not between 0 and 1",
                            attributes->label_smoothing);
    int64_t classes = logits->shape.dim[class_dim(logits)];
    if (weight && (weight->shape.ndim != 1 || weight->shape.dim[0] != classes))
        return cr_error_set(CR_ERROR_SHAPE,
                            "cross_entropy: the weight must have one element for each of %lld "
                            "classes",
                            (long long)classes);
    return CR_OK;
}

/* The loss has the dtype of the logits, but under autocast float32, as has all it is put together
 * from: the logits themselves are read as they are. */
static cr_status cross_entropy_compose(cr_compose_call *call)
{
    if (check(call) != CR_OK)
        return cr_error_status();
    cr_tensor *logits = call->inputs[0];
    cr_dtype computed = norm_computed(logits);
    bool wide = cr_autocast_dtype() != CR_F32;
    cr_dtype dtype = wide ? computed : (cr_dtype)logits->dtype;
    cr_tensor *weight = CALL_INPUT(call, 2);
    if (weight)
        weight = cr_to_dtype(weight, computed);
    if (cr_failed())
        return cr_error_status();
    const cr_tensor *target = call->inputs[1];
    bool soft = tensor_is_floating(target) && cr_shape_equal(&target->shape, &logits->shape);
    logits = cr_to_dtype(logits, soft ? computed : norm_stored(logits));
    if (!logits)
        return cr_error_status();
    cr_tensor *loss =
        soft ? of_probabilities(call, logits, weight) : of_classes(call, logits, weight);
    call->outputs[0] = cr_to_dtype(loss, dtype);
    return CR_OK;
}

static const cr_op cross_entropy_op = {
    .name = "cross_entropy",
    .summary = "softmax and negative log likelihood",
    .input_names = "logits target weight",
    .attributes = cross_entropy_table,
    .attribute_size = sizeof(struct cross_entropy_attributes),
    .min_inputs = 2,
    .max_inputs = 3,
    .compose = cross_entropy_compose,
};

cr_tensor *cr_cross_entropy_with(cr_cross_entropy_args args)
{
    int64_t ignored = args.ignore_index == 0 && !args.ignore_zero ? -100 : args.ignore_index;
    struct cross_entropy_attributes attributes = { ignored, args.label_smoothing,
                                                   (int)args.reduction };
    return cr_apply(&cross_entropy_op, CR_INPUTS(args.logits, args.target, args.weight),
                    &attributes);
}

OP_FAMILY(cross_entropy_ops) = {
    &cross_entropy_op,
    &native_cross_entropy_op,
    &native_cross_entropy_backward_op,
    NULL,
};
