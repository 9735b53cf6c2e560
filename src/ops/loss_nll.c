/* Negative log likelihood: minus the element of the target's class. The kernel's record and its
 * adjoint are each other's gradients. */
#include "cresset/loss.h"
#include "kernels/loss/loss.h"
#include "ops/ops.h"

struct nll_attributes {
    int64_t ignore_index;
    int64_t classes; /* native_nll_loss_backward only */
    int reduction;
};

static const cr_attribute nll_table[] = {
    CR_ATTRIBUTE(struct nll_attributes, INT, ignore_index),
    CR_ATTRIBUTE(struct nll_attributes, ENUM, reduction),
    CR_ATTRIBUTE_END,
};

static const cr_attribute native_table[] = {
    CR_ATTRIBUTE(struct nll_attributes, INT, ignore_index),
    CR_ATTRIBUTE_END,
};

static const cr_attribute backward_table[] = {
    CR_ATTRIBUTE(struct nll_attributes, INT, ignore_index),
    CR_ATTRIBUTE(struct nll_attributes, INT, classes),
    CR_ATTRIBUTE_END,
};

static enum loss_type type_of(const cr_tensor *x)
{
    return x->dtype == CR_F64 ? LOSS_F64 : LOSS_F32;
}

static int class_dim(const cr_tensor *x)
{
    return x->shape.ndim == 1 ? 0 : 1;
}

static cr_shape positions_of(const cr_tensor *x)
{
    cr_shape shape = { 0 };
    for (int d = 0; d < x->shape.ndim; d++) {
        if (d != class_dim(x))
            shape.dim[shape.ndim++] = x->shape.dim[d];
    }
    return shape;
}

/* Of x (N, C, …) or (C). */
static void job_of(const cr_call *call, const cr_tensor *x, struct nll_job *job)
{
    const struct nll_attributes *attributes = call->attributes;
    const cr_tensor *weight = CALL_INPUT(call, 2);
    int dim = class_dim(x);
    job->outer = dim ? x->shape.dim[0] : 1;
    job->classes = x->shape.dim[dim];
    job->inner = 1;
    for (int d = dim + 1; d < x->shape.ndim; d++)
        job->inner *= x->shape.dim[d];
    job->ignore_index = attributes->ignore_index;
    job->target = TENSOR_DATA(int64_t, call->inputs[1]);
    job->weight = weight ? tensor_bytes(weight) : NULL;
}

static cr_status check_weight(const cr_infer_call *call, int64_t classes)
{
    const cr_tensor *weight = CALL_INPUT(call, 2);
    if (!weight || (weight->shape.ndim == 1 && weight->shape.dim[0] == classes &&
                    weight->dtype == call->inputs[0]->dtype))
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE, "the weight must have one element for each of %lld classes",
                        (long long)classes);
}

/* ---- the adjoint: grad (N, …), target, weight → (N, C, …) ---- */

static cr_status backward_infer(cr_infer_call *call)
{
    const struct nll_attributes *attributes = call->attributes;
    const cr_tensor *grad = call->inputs[0];
    cr_shape *shape = &call->outputs[0].shape;
    if (require_computed(grad, "grad") != CR_OK ||
        require_ndim(grad, "grad", 0, CR_MAX_DIMS - 1) != CR_OK ||
        check_weight(call, attributes->classes) != CR_OK)
        return cr_error_status();
    if (grad->shape.ndim > 0)
        shape->dim[shape->ndim++] = grad->shape.dim[0];
    shape->dim[shape->ndim++] = attributes->classes;
    for (int d = 1; d < grad->shape.ndim; d++)
        shape->dim[shape->ndim++] = grad->shape.dim[d];
    call->outputs[0].dtype = (cr_dtype)grad->dtype;
    return CR_OK;
}

static void backward_forward(const cr_call *call)
{
    struct nll_job job = { 0 };
    job_of(call, call->outputs[0], &job);
    job.grad = tensor_bytes(call->inputs[0]);
    job.grad_x = tensor_bytes(call->outputs[0]);
    nll_backward(type_of(call->outputs[0]), &job);
}

static cr_status backward_backward(cr_gradient_call *call)
{
    const struct nll_attributes *attributes = call->attributes;
    call->grad_inputs[0] = nll_positions(call->grad_outputs[0], call->inputs[1],
                                         CALL_INPUT(call, 2), attributes->ignore_index);
    return CR_OK;
}

static const cr_op native_nll_loss_backward_op = {
    .name = "native_nll_loss_backward",
    .summary = "the gradient of native_nll_loss",
    .input_names = "grad target weight",
    .attributes = backward_table,
    .attribute_size = sizeof(struct nll_attributes),
    .min_inputs = 2,
    .max_inputs = 3,
    .save_inputs = CR_SAVE(1) | CR_SAVE(2),
    .infer = backward_infer,
    .forward = { [CR_CPU] = backward_forward },
    .backward = backward_backward,
};

cr_tensor *nll_spread(cr_tensor *grad, cr_tensor *target, cr_tensor *weight, const cr_tensor *like,
                      int64_t ignore_index)
{
    if (!like)
        return NULL;
    struct nll_attributes attributes = { .ignore_index = ignore_index,
                                         .classes = like->shape.dim[class_dim(like)] };
    return cr_apply(&native_nll_loss_backward_op, CR_INPUTS(grad, target, weight), &attributes);
}

/* ---- forward, not reduced ---- */

/* Outputs: the loss of each position, and the weight that it counts with. */
static cr_status native_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    const cr_tensor *target = call->inputs[1];
    if (require_computed(x, "x") != CR_OK || require_ndim(x, "x", 1, CR_MAX_DIMS) != CR_OK ||
        check_weight(call, x->shape.dim[class_dim(x)]) != CR_OK)
        return cr_error_status();
    cr_shape positions = positions_of(x);
    if (target->dtype != CR_I64 || !cr_shape_equal(&target->shape, &positions)) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE,
                            "the target must be int64 classes of shape %s, not %s of shape %s",
                            cr_shape_format(&positions, text[0], CR_SHAPE_TEXT),
                            cr_dtype_name((cr_dtype)target->dtype),
                            cr_shape_format(&target->shape, text[1], CR_SHAPE_TEXT));
    }
    for (int i = 0; i < 2; i++) {
        call->outputs[i].dtype = (cr_dtype)x->dtype;
        call->outputs[i].shape = positions;
    }
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    struct nll_job job = { 0 };
    job_of(call, call->inputs[0], &job);
    job.x = tensor_bytes(call->inputs[0]);
    job.loss = tensor_bytes(call->outputs[0]);
    job.used = tensor_bytes(call->outputs[1]);
    nll_forward(type_of(call->inputs[0]), &job);
}

static cr_status native_backward(cr_gradient_call *call)
{
    const struct nll_attributes *was = call->attributes;
    const cr_shape *shape = &call->input_specs[0].shape;
    struct nll_attributes attributes = { .ignore_index = was->ignore_index,
                                         .classes = shape->dim[shape->ndim == 1 ? 0 : 1] };
    if (call->grad_outputs[0])
        call->grad_inputs[0] = cr_apply(
            &native_nll_loss_backward_op,
            CR_INPUTS(call->grad_outputs[0], call->inputs[1], CALL_INPUT(call, 2)), &attributes);
    return CR_OK;
}

static const cr_op native_nll_loss_op = {
    .name = "native_nll_loss",
    .summary = "minus the weighted element of each position's class, and the weight",
    .input_names = "x target weight",
    .attributes = native_table,
    .attribute_size = sizeof(struct nll_attributes),
    .min_inputs = 2,
    .max_inputs = 3,
    .output_count = 2,
    .save_inputs = CR_SAVE(1) | CR_SAVE(2),
    .infer = native_infer,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
};

cr_tensor *nll_positions(cr_tensor *x, cr_tensor *target, cr_tensor *weight, int64_t ignore_index)
{
    struct nll_attributes attributes = { .ignore_index = ignore_index };
    return cr_apply(&native_nll_loss_op, CR_INPUTS(x, target, weight), &attributes);
}

/* ---- nll_loss ---- */

static bool is_class(int64_t t, int64_t classes, int64_t ignore_index)
{
    return (t >= 0 && t < classes) || t == ignore_index;
}

/* The first position whose class is none; -1 if there is none such. A long target is usually fine,
 * so that is found out without a branch. */
static int64_t first_fault(const int64_t *target, int64_t count, int64_t classes, int64_t ignored)
{
    int64_t faults = 0;
    for (int64_t i = 0; i < count; i++)
        faults += ((uint64_t)target[i] >= (uint64_t)classes) & (target[i] != ignored);
    for (int64_t i = 0; faults && i < count; i++) {
        if (!is_class(target[i], classes, ignored))
            return i;
    }
    return -1;
}

cr_status require_classes(cr_tensor *target, int64_t classes, int64_t ignore_index)
{
    cr_tensor *dense = cr_contiguous(cr_to_dtype(target, CR_I64));
    if (!dense || !dense->storage)
        return cr_error_status();
    const int64_t *t = TENSOR_DATA(int64_t, dense);
    int64_t i = first_fault(t, tensor_numel(dense), classes, ignore_index);
    if (i < 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "target %lld (position %lld) is out of range for %lld classes; "
                        "classes count from 0",
                        (long long)t[i], (long long)i, (long long)classes);
}

static cr_tensor *nll_loss_of(const void *attributes, cr_tensor *const *in)
{
    const struct nll_attributes *options = attributes;
    cr_tensor *target = cr_to_dtype(in[1], CR_I64);
    if (!target || require_ndim(in[0], "the input", 1, CR_MAX_DIMS) != CR_OK ||
        require_classes(target, in[0]->shape.dim[class_dim(in[0])], options->ignore_index) != CR_OK)
        return NULL;
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_tensor *weight = in[2] ? cr_to_dtype(in[2], (cr_dtype)in[0]->dtype) : NULL;
    if (cr_apply_all(&native_nll_loss_op, CR_INPUTS(in[0], target, weight), options, outputs) !=
        CR_OK)
        return NULL;
    if (loss_reduction(options->reduction) == CR_REDUCTION_MEAN)
        return cr_div(cr_sum(outputs[0]), cr_sum(cr_detach(outputs[1])));
    return reduce_loss(outputs[0], options->reduction);
}

COMPUTED_OP(nll_loss, "nll_loss", "minus the log probability of the target's class",
            "log_probs target weight", nll_table, nll_attributes, 2, 3, CR_CAST_F32)

cr_tensor *cr_nll_loss_with(cr_nll_loss_args args)
{
    int64_t ignored = args.ignore_index == 0 && !args.ignore_zero ? -100 : args.ignore_index;
    struct nll_attributes attributes = { .ignore_index = ignored,
                                         .reduction = (int)args.reduction };
    return cr_apply(&nll_loss_op, CR_INPUTS(args.log_probs, args.target, args.weight), &attributes);
}

OP_FAMILY(nll_ops) = {
    &nll_loss_op,
    &native_nll_loss_op,
    &native_nll_loss_backward_op,
    NULL,
};
