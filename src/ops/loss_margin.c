/* Losses that ask for a margin, written with other ops; the one of several labels has a kernel. */
#include <math.h>

#include "cresset/loss.h"
#include "cresset/normalization.h"
#include "kernels/loss/loss.h"
#include "ops/ops.h"

struct margin_attributes {
    int reduction;
    bool swap;
    int64_t power; /* multi_margin_loss: p */
    double p;      /* triplet_margin_loss */
    double eps;
    double margin;
};

#define REDUCTION CR_ATTRIBUTE(struct margin_attributes, ENUM, reduction)
#define MARGIN    CR_ATTRIBUTE(struct margin_attributes, FLOAT, margin)

static const cr_attribute plain_table[] = { REDUCTION, CR_ATTRIBUTE_END };
static const cr_attribute margin_table[] = { REDUCTION, MARGIN, CR_ATTRIBUTE_END };

static const cr_attribute multi_table[] = {
    REDUCTION,
    MARGIN,
    CR_ATTRIBUTE(struct margin_attributes, INT, power),
    CR_ATTRIBUTE_END,
};

static const cr_attribute triplet_table[] = {
    REDUCTION,
    MARGIN,
    CR_ATTRIBUTE(struct margin_attributes, FLOAT, p),
    CR_ATTRIBUTE(struct margin_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct margin_attributes, BOOL, swap),
    CR_ATTRIBUTE_END,
};

#define LOSS(function, word, words, names, table, least, most)                                     \
    COMPUTED_OP(function, word, words, names, table, margin_attributes, least, most, CR_CAST_F32)

/* ---- multi_margin_loss ---- */

static cr_tensor *multi_margin_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    cr_tensor *x = in[0];
    cr_tensor *target = cr_to_dtype(in[1], CR_I64);
    if (require_ndim(x, "the input", 1, 2) != CR_OK || !target)
        return NULL;
    int dim = x->shape.ndim - 1;
    int64_t classes = x->shape.dim[dim];
    if (options->power != 1 && options->power != 2) {
        cr_error_set(CR_ERROR_ARGUMENT, "p is %lld; only 1 and 2 are supported",
                     (long long)options->power);
        return NULL;
    }
    if (require_classes(target, classes, INT64_MIN) != CR_OK)
        return NULL;
    cr_tensor *own = cr_neg(nll_positions(x, target, NULL, INT64_MIN));
    cr_tensor *gap = cr_sub(cr_add_scalar(x, options->margin), cr_unsqueeze(own, dim));
    cr_tensor *each = cr_relu(gap);
    if (options->power == 2)
        each = cr_square(each);
    /* The target's own gap is the margin; it counts for nothing. */
    cr_tensor *others =
        cr_add_scalar(nll_spread(cr_ones_like(cr_detach(own)), target, NULL, x, INT64_MIN), 1);
    cr_tensor *loss = cr_sum_dims(cr_mul(each, others), CR_SHAPE(dim), false);
    loss = cr_mul_scalar(loss, 1 / (double)CR_MAX(classes, 1));
    if (in[2]) {
        cr_tensor *weight = cr_expand(cr_to_dtype(in[2], (cr_dtype)x->dtype), x->shape);
        loss = cr_mul(loss, cr_neg(nll_positions(weight, target, NULL, INT64_MIN)));
    }
    return reduce_loss(loss, options->reduction);
}

LOSS(multi_margin, "multi_margin_loss", "what other classes lack of a margin to the target's",
     "input target weight", multi_table, 2, 3)

cr_tensor *cr_multi_margin_loss_with(cr_multi_margin_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction,
                                            .power = args.p == 0 ? 1 : args.p,
                                            .margin = args.margin == 0 ? 1 : args.margin };
    return cr_apply(&multi_margin_op, CR_INPUTS(args.input, args.target, args.weight), &attributes);
}

/* ---- soft margins ---- */

/* log(1 + exp(-x)). */
static cr_tensor *soft_positive_part(cr_tensor *x)
{
    return cr_neg(cr_logsigmoid(x));
}

static cr_tensor *soft_margin_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    return reduce_loss(soft_positive_part(cr_mul(in[0], in[1])), options->reduction);
}

LOSS(soft_margin, "soft_margin_loss", "log(1 + exp(-target x))", "input target", plain_table, 2, 2)

cr_tensor *cr_soft_margin_loss_with(cr_margin_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction };
    return cr_apply(&soft_margin_op, CR_INPUTS(args.input, args.target), &attributes);
}

static cr_tensor *multilabel_soft_margin_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    if (require_ndim(in[0], "the input", 1, CR_MAX_DIMS) != CR_OK)
        return NULL;
    cr_tensor *other = cr_sub(cr_scalar(1), in[1]);
    cr_tensor *loss = cr_add(cr_mul(in[1], soft_positive_part(in[0])),
                             cr_mul(other, soft_positive_part(cr_neg(in[0]))));
    if (in[2])
        loss = cr_mul(loss, in[2]);
    return reduce_loss(cr_mean_dims(loss, CR_SHAPE(-1), false), options->reduction);
}

LOSS(multilabel_soft_margin, "multilabel_soft_margin_loss",
     "the mean over classes of binary cross-entropy of logits", "input target weight", plain_table,
     2, 3)

cr_tensor *cr_multilabel_soft_margin_loss_with(cr_margin_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction };
    return cr_apply(&multilabel_soft_margin_op, CR_INPUTS(args.input, args.target, args.weight),
                    &attributes);
}

/* ---- multilabel_margin_loss ---- */

static enum loss_type type_of(const cr_tensor *x)
{
    return x->dtype == CR_F64 ? LOSS_F64 : LOSS_F32;
}

static void job_of(const cr_tensor *x, const cr_tensor *target, struct multilabel_margin_job *job)
{
    job->classes = x->shape.dim[x->shape.ndim - 1];
    job->rows = x->shape.ndim > 1 ? x->shape.dim[0] : 1;
    job->x = tensor_bytes(x);
    job->target = TENSOR_DATA(int64_t, target);
}

static cr_status native_backward_infer(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[1]->dtype;
    call->outputs[0].shape = call->inputs[1]->shape;
    return CR_OK;
}

static void native_backward_forward(const cr_call *call)
{
    struct multilabel_margin_job job = { 0 };
    job_of(call->inputs[1], call->inputs[2], &job);
    job.grad = tensor_bytes(call->inputs[0]);
    job.grad_x = tensor_bytes(call->outputs[0]);
    multilabel_margin_backward(type_of(call->inputs[1]), &job);
}

static const cr_op native_multilabel_margin_backward_op = {
    .name = "native_multilabel_margin_loss_backward",
    .summary = "the gradient of native_multilabel_margin_loss",
    .input_names = "grad x target",
    .min_inputs = 3,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = native_backward_infer,
    .forward = { [CR_CPU] = native_backward_forward },
};

static cr_status native_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    if (require_computed(x, "x") != CR_OK || require_ndim(x, "x", 1, 2) != CR_OK)
        return cr_error_status();
    if (call->inputs[1]->dtype != CR_I64 || !cr_shape_equal(&call->inputs[1]->shape, &x->shape))
        return cr_error_set(CR_ERROR_SHAPE, "the target must be int64 of the input's shape, the "
                                            "labels of a row before its first -1");
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    call->outputs[0].shape = cr_shape_make(x->shape.ndim - 1, x->shape.dim);
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    struct multilabel_margin_job job = { 0 };
    job_of(call->inputs[0], call->inputs[1], &job);
    job.loss = tensor_bytes(call->outputs[0]);
    multilabel_margin_forward(type_of(call->inputs[0]), &job);
}

static cr_status native_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] =
        cr_apply(&native_multilabel_margin_backward_op,
                 CR_INPUTS(call->grad_outputs[0], call->inputs[0], call->inputs[1]), NULL);
    return CR_OK;
}

static const cr_op native_multilabel_margin_op = {
    .name = "native_multilabel_margin_loss",
    .summary = "multilabel_margin_loss of each row, in float32 or float64",
    .input_names = "x target",
    .min_inputs = 2,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = native_infer,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
};

/* Labels are classes; anything negative ends them. */
static cr_status check_labels(const cr_tensor *target)
{
    int64_t classes = target->shape.ndim ? target->shape.dim[target->shape.ndim - 1] : 1;
    for (int64_t i = 0; target->storage && i < tensor_numel(target); i++) {
        int64_t label = cr_element_int64(target, i);
        if (label >= classes)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "target %lld (position %lld) is out of range for %lld classes",
                                (long long)label, (long long)i, (long long)classes);
    }
    return CR_OK;
}

static cr_tensor *multilabel_margin_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    cr_tensor *target = cr_to_dtype(in[1], CR_I64);
    if (!target || check_labels(target) != CR_OK)
        return NULL;
    cr_tensor *loss = cr_apply(&native_multilabel_margin_op, CR_INPUTS(in[0], target), NULL);
    return reduce_loss(loss, options->reduction);
}

LOSS(multilabel_margin, "multilabel_margin_loss",
     "what classes lack of a margin of 1 to each of several labels", "input target", plain_table, 2,
     2)

cr_tensor *cr_multilabel_margin_loss_with(cr_margin_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction };
    return cr_apply(&multilabel_margin_op, CR_INPUTS(args.input, args.target), &attributes);
}

/* ---- hinge_embedding_loss ---- */

static cr_tensor *hinge_embedding_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    cr_tensor *zero = cr_scalar(0);
    cr_tensor *far = cr_relu(cr_sub(cr_scalar(options->margin), in[0]));
    cr_tensor *loss = cr_add(cr_where(cr_eq_scalar(in[1], 1), zero, far),
                             cr_where(cr_eq_scalar(in[1], -1), zero, in[0]));
    return reduce_loss(loss, options->reduction);
}

LOSS(hinge_embedding, "hinge_embedding_loss", "x for targets 1, max(0, margin - x) for -1",
     "input target", margin_table, 2, 2)

cr_tensor *cr_hinge_embedding_loss_with(cr_hinge_embedding_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction,
                                            .margin = args.margin == 0 ? 1 : args.margin };
    return cr_apply(&hinge_embedding_op, CR_INPUTS(args.input, args.target), &attributes);
}

/* ---- margin_ranking_loss and cosine_embedding_loss ---- */

static cr_tensor *margin_ranking_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    cr_tensor *gap = cr_mul(cr_neg(in[2]), cr_sub(in[0], in[1]));
    return reduce_loss(cr_relu(cr_add_scalar(gap, options->margin)), options->reduction);
}

LOSS(margin_ranking, "margin_ranking_loss", "max(0, -target (x1 - x2) + margin)",
     "input1 input2 target", margin_table, 3, 3)

static cr_tensor *cosine_embedding_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    if (require_ndim(in[0], "input1", 1, 2) != CR_OK)
        return NULL;
    cr_shape dim = CR_SHAPE(in[0]->shape.ndim - 1);
    cr_tensor *product = cr_sum_dims(cr_mul(in[0], in[1]), dim, false);
    cr_tensor *size1 = cr_add_scalar(cr_sum_dims(cr_square(in[0]), dim, false), 1e-12);
    cr_tensor *size2 = cr_add_scalar(cr_sum_dims(cr_square(in[1]), dim, false), 1e-12);
    cr_tensor *cosine = cr_div(product, cr_sqrt(cr_mul(size1, size2)));
    cr_tensor *zero = cr_scalar(0);
    cr_tensor *like = cr_sub(cr_scalar(1), cosine);
    cr_tensor *unlike = cr_relu(cr_sub_scalar(cosine, options->margin));
    cr_tensor *loss = cr_add(cr_where(cr_eq_scalar(in[2], 1), like, zero),
                             cr_where(cr_eq_scalar(in[2], -1), unlike, zero));
    return reduce_loss(loss, options->reduction);
}

LOSS(cosine_embedding, "cosine_embedding_loss",
     "1 - cos for targets 1, max(0, cos - margin) for -1", "input1 input2 target", margin_table, 3,
     3)

static cr_tensor *apply_pair(const cr_op *op, cr_pair_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction,
                                            .margin = args.margin };
    return cr_apply(op, CR_INPUTS(args.input1, args.input2, args.target), &attributes);
}

cr_tensor *cr_margin_ranking_loss_with(cr_pair_loss_args args)
{
    return apply_pair(&margin_ranking_op, args);
}

cr_tensor *cr_cosine_embedding_loss_with(cr_pair_loss_args args)
{
    return apply_pair(&cosine_embedding_op, args);
}

/* ---- triplet_margin_loss ---- */

static cr_tensor *triplet_margin_of(const void *attributes, cr_tensor *const *in)
{
    const struct margin_attributes *options = attributes;
    cr_tensor *near = cr_pairwise_distance(in[0], in[1], options->p, options->eps, false);
    cr_tensor *far = cr_pairwise_distance(in[0], in[2], options->p, options->eps, false);
    if (options->swap)
        far = cr_minimum(far, cr_pairwise_distance(in[1], in[2], options->p, options->eps, false));
    cr_tensor *loss = cr_relu(cr_add_scalar(cr_sub(near, far), options->margin));
    return reduce_loss(loss, options->reduction);
}

LOSS(triplet_margin, "triplet_margin_loss", "what the negative lacks of a margin to the positive",
     "anchor positive negative", triplet_table, 3, 3)

cr_tensor *cr_triplet_margin_loss_with(cr_triplet_margin_loss_args args)
{
    struct margin_attributes attributes = { .reduction = (int)args.reduction,
                                            .swap = args.swap,
                                            .p = args.p == 0 ? 2 : args.p,
                                            .eps = args.eps == 0 ? 1e-6 : args.eps,
                                            .margin = args.margin == 0 ? 1 : args.margin };
    return cr_apply(&triplet_margin_op, CR_INPUTS(args.anchor, args.positive, args.negative),
                    &attributes);
}

OP_FAMILY(loss_margin_ops) = {
    &multi_margin_op,
    &soft_margin_op,
    &multilabel_soft_margin_op,
    &multilabel_margin_op,
    &native_multilabel_margin_op,
    &native_multilabel_margin_backward_op,
    &hinge_embedding_op,
    &margin_ranking_op,
    &cosine_embedding_op,
    &triplet_margin_op,
    NULL,
};
