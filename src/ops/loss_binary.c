/* Losses between probabilities: binary cross-entropy, focal, dice, and the Kullback-Leibler
 * divergence. All are written with other ops but binary cross-entropy of probabilities, whose
 * gradient must not divide by zero. */
#include <math.h>

#include "cresset/loss.h"
#include "ops/ops.h"

struct binary_attributes {
    int reduction;
    bool log_target; /* kl_div */
    double alpha;    /* sigmoid_focal_loss, as the next */
    double gamma;
    double smooth; /* dice_loss */
};

#define REDUCTION CR_ATTRIBUTE(struct binary_attributes, ENUM, reduction)

static const cr_attribute plain_table[] = { REDUCTION, CR_ATTRIBUTE_END };

static const cr_attribute focal_table[] = {
    REDUCTION,
    CR_ATTRIBUTE(struct binary_attributes, FLOAT, alpha),
    CR_ATTRIBUTE(struct binary_attributes, FLOAT, gamma),
    CR_ATTRIBUTE_END,
};

static const cr_attribute dice_table[] = {
    REDUCTION,
    CR_ATTRIBUTE(struct binary_attributes, FLOAT, smooth),
    CR_ATTRIBUTE_END,
};

static const cr_attribute kl_table[] = {
    REDUCTION,
    CR_ATTRIBUTE(struct binary_attributes, BOOL, log_target),
    CR_ATTRIBUTE_END,
};

#define LOSS(function, word, words, names, table, most)                                            \
    COMPUTED_OP(function, word, words, names, table, binary_attributes, 2, most, CR_CAST_F32)

/* ---- binary cross-entropy of probabilities ---- */

static double element_loss(double p, double t)
{
    return -(t * CR_MAX(log(p), -100.0) + (1 - t) * CR_MAX(log1p(-p), -100.0));
}

#define ELEMENTS(real, name)                                                                       \
    static void name(int64_t n, char *const *pointers, const int64_t *strides,                     \
                     const void *context)                                                          \
    {                                                                                              \
        (void)context;                                                                             \
        for (int64_t i = 0; i < n; i++) {                                                          \
            real p = *(const real *)(const void *)(pointers[1] + i * strides[1]);                  \
            real t = *(const real *)(const void *)(pointers[2] + i * strides[2]);                  \
            *(real *)(void *)(pointers[0] + i * strides[0]) = (real)element_loss(p, t);            \
        }                                                                                          \
    }

ELEMENTS(float, elements_f32)
ELEMENTS(double, elements_f64)

static void native_forward(const cr_call *call)
{
    struct elementwise_plan plan;
    const cr_tensor *tensors[] = { call->outputs[0], call->inputs[0], call->inputs[1] };
    elementwise_plan_make(&plan, &call->outputs[0]->shape, tensors, 3);
    elementwise_run(&plan, call->outputs[0]->dtype == CR_F64 ? elements_f64 : elements_f32, NULL);
}

static cr_status native_infer(cr_infer_call *call)
{
    if (require_computed(call->inputs[0], "input") != CR_OK)
        return cr_error_status();
    if (call->inputs[0]->dtype != call->inputs[1]->dtype ||
        !cr_shape_equal(&call->inputs[0]->shape, &call->inputs[1]->shape)) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE,
                            "the target %s must have the input's shape %s and dtype",
                            cr_shape_format(&call->inputs[1]->shape, text[0], CR_SHAPE_TEXT),
                            cr_shape_format(&call->inputs[0]->shape, text[1], CR_SHAPE_TEXT));
    }
    return infer_same(call);
}

/* (p - t) / (p (1 - p)) with the divisor held off zero; by the target, log(1 - p) - log(p). */
static cr_status native_backward(cr_gradient_call *call)
{
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *p = call->inputs[0];
    cr_tensor *t = call->inputs[1];
    if (call->needs[0]) {
        cr_tensor *divisor = cr_sub(p, cr_square(p));
        cr_tensor *slope = cr_div(cr_sub(p, t), cr_clamp(divisor, 1e-12, INFINITY));
        call->grad_inputs[0] = cr_mul(grad, slope);
    }
    if (call->needs[1]) {
        cr_tensor *log_p = cr_clamp(cr_log(p), -100, INFINITY);
        cr_tensor *log_q = cr_clamp(cr_log1p(cr_neg(p)), -100, INFINITY);
        call->grad_inputs[1] = cr_mul(grad, cr_sub(log_q, log_p));
    }
    return CR_OK;
}

static const cr_op native_binary_cross_entropy_op = {
    .name = "native_binary_cross_entropy",
    .summary = "-t log p - (1 - t) log(1 - p) of each element, in float32 or float64",
    .input_names = "input target",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = native_infer,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
};

/* A probability out of [0, 1]; NaN is let through. */
static cr_status check_probabilities(cr_tensor *p)
{
    if (!p || !p->storage || tensor_numel(p) == 0)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    double least = cr_item(cr_min(p));
    double most = cr_item(cr_max(p));
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    if (least < 0 || most > 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the input must be probabilities, but ranges from %g to %g; for logits "
                            "use binary_cross_entropy_with_logits",
                            least, most);
    return cr_error_status();
}

static cr_tensor *binary_of(const void *attributes, cr_tensor *const *in)
{
    const struct binary_attributes *options = attributes;
    if (check_probabilities(in[0]) != CR_OK)
        return NULL;
    cr_tensor *target = cr_to_dtype(in[1], (cr_dtype)in[0]->dtype);
    cr_tensor *loss = cr_apply(&native_binary_cross_entropy_op, CR_INPUTS(in[0], target), NULL);
    return reduce_loss(in[2] ? cr_mul(loss, in[2]) : loss, options->reduction);
}

LOSS(binary, "binary_cross_entropy", "-t log p - (1 - t) log(1 - p)", "input target weight",
     plain_table, 3)

cr_tensor *cr_binary_cross_entropy_plain_with(cr_binary_cross_entropy_args args)
{
    struct binary_attributes attributes = { .reduction = (int)args.reduction };
    return cr_apply(&binary_op, CR_INPUTS(args.input, args.target, args.weight), &attributes);
}

/* ---- of logits ---- */

/* (1 - t) x - (1 + (q - 1) t) log σ(x), with q the weight of positives. */
static cr_tensor *logits_elements(cr_tensor *x, cr_tensor *t, cr_tensor *pos_weight)
{
    cr_tensor *log_p = cr_logsigmoid(x);
    cr_tensor *rest = cr_mul(cr_sub(cr_scalar(1), t), x);
    if (!pos_weight)
        return cr_sub(rest, log_p);
    cr_tensor *scale = cr_add_scalar(cr_mul(cr_sub_scalar(pos_weight, 1), t), 1);
    return cr_sub(rest, cr_mul(scale, log_p));
}

static cr_status check_same_shape(const cr_tensor *input, const cr_tensor *target)
{
    if (cr_shape_equal(&input->shape, &target->shape))
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "the target %s must have the input's shape %s",
                        cr_shape_format(&target->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(&input->shape, text[1], CR_SHAPE_TEXT));
}

static cr_tensor *logits_of(const void *attributes, cr_tensor *const *in)
{
    const struct binary_attributes *options = attributes;
    if (check_same_shape(in[0], in[1]) != CR_OK)
        return NULL;
    cr_tensor *loss = logits_elements(in[0], in[1], in[3]);
    return reduce_loss(in[2] ? cr_mul(loss, in[2]) : loss, options->reduction);
}

LOSS(logits, "binary_cross_entropy_with_logits", "binary cross-entropy of sigmoid(x)",
     "input target weight pos_weight", plain_table, 4)

cr_tensor *cr_binary_cross_entropy_logits_with(cr_binary_cross_entropy_args args)
{
    struct binary_attributes attributes = { .reduction = (int)args.reduction };
    return cr_apply(&logits_op, CR_INPUTS(args.input, args.target, args.weight, args.pos_weight),
                    &attributes);
}

/* ---- sigmoid_focal_loss ---- */

/* a t + b (1 - t). */
static cr_tensor *blend(cr_tensor *a, cr_tensor *b, cr_tensor *t)
{
    return cr_add(cr_mul(a, t), cr_mul(b, cr_sub(cr_scalar(1), t)));
}

static cr_tensor *focal_of(const void *attributes, cr_tensor *const *in)
{
    const struct binary_attributes *options = attributes;
    if (check_same_shape(in[0], in[1]) != CR_OK)
        return NULL;
    cr_tensor *t = in[1];
    cr_tensor *p = cr_sigmoid(in[0]);
    cr_tensor *missed = blend(cr_sub(cr_scalar(1), p), p, t);
    cr_tensor *loss =
        cr_mul(logits_elements(in[0], t, NULL), cr_pow_scalar(missed, options->gamma));
    if (options->alpha >= 0)
        loss = cr_mul(blend(cr_scalar(options->alpha), cr_scalar(1 - options->alpha), t), loss);
    int reduction = options->reduction;
    return reduce_loss(loss, reduction == CR_REDUCTION_DEFAULT ? CR_REDUCTION_NONE : reduction);
}

LOSS(focal, "sigmoid_focal_loss", "binary cross-entropy of logits, less where it is small already",
     "input target", focal_table, 2)

cr_tensor *cr_sigmoid_focal_loss_with(cr_sigmoid_focal_loss_args args)
{
    struct binary_attributes attributes = { .reduction = (int)args.reduction,
                                            .alpha = args.alpha == 0 ? 0.25 : args.alpha,
                                            .gamma = args.gamma == 0 ? 2 : args.gamma };
    return cr_apply(&focal_op, CR_INPUTS(args.logits, args.target), &attributes);
}

/* ---- dice_loss ---- */

static cr_tensor *dice_of(const void *attributes, cr_tensor *const *in)
{
    const struct binary_attributes *options = attributes;
    if (check_same_shape(in[0], in[1]) != CR_OK ||
        require_ndim(in[0], "the input", 1, CR_MAX_DIMS) != CR_OK)
        return NULL;
    cr_tensor *p = cr_reshape(in[0], CR_SHAPE(in[0]->shape.dim[0], -1));
    cr_tensor *t =
        cr_to_dtype(cr_reshape(in[1], CR_SHAPE(in[0]->shape.dim[0], -1)), (cr_dtype)in[0]->dtype);
    cr_shape inner = CR_SHAPE(1);
    cr_tensor *both = cr_mul_scalar(cr_sum_dims(cr_mul(p, t), inner, false), 2);
    cr_tensor *either = cr_add(cr_sum_dims(p, inner, false), cr_sum_dims(t, inner, false));
    cr_tensor *dice =
        cr_div(cr_add_scalar(both, options->smooth), cr_add_scalar(either, options->smooth));
    return reduce_loss(cr_sub(cr_scalar(1), dice), options->reduction);
}

LOSS(dice, "dice_loss", "1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)", "input target",
     dice_table, 2)

cr_tensor *cr_dice_loss_with(cr_dice_loss_args args)
{
    struct binary_attributes attributes = { .reduction = (int)args.reduction,
                                            .smooth = args.smooth == 0 ? 1 : args.smooth };
    return cr_apply(&dice_op, CR_INPUTS(args.input, args.target), &attributes);
}

/* ---- kl_div ---- */

/* t log t, 0 at 0, with a gradient there that is finite. */
static cr_tensor *times_log(cr_tensor *t)
{
    cr_tensor *is_zero = cr_eq_scalar(t, 0);
    cr_tensor *safe = cr_where(is_zero, cr_scalar(1), t);
    return cr_mul(t, cr_log(safe));
}

static cr_tensor *kl_of(const void *attributes, cr_tensor *const *in)
{
    const struct binary_attributes *options = attributes;
    cr_tensor *loss;
    if (options->log_target)
        loss = cr_mul(cr_exp(in[1]), cr_sub(in[1], in[0]));
    else
        loss = cr_sub(times_log(in[1]), cr_mul(in[1], in[0]));
    return reduce_loss(loss, options->reduction);
}

LOSS(kl, "kl_div", "target (log target - input), of log probabilities", "input target", kl_table, 2)

cr_tensor *cr_kl_div_with(cr_kl_div_args args)
{
    struct binary_attributes attributes = { .reduction = (int)args.reduction,
                                            .log_target = args.log_target };
    return cr_apply(&kl_op, CR_INPUTS(args.input, args.target), &attributes);
}

OP_FAMILY(loss_binary_ops) = {
    &binary_op, &native_binary_cross_entropy_op, &logits_op, &focal_op, &dice_op, &kl_op, NULL,
};
