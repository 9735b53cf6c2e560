/* Activations.
 *
 * The gradient of each is one pass over (gradient, what was saved), an op of its own. That op has a
 * gradient, too: linear in the gradient it was given, and through the curvature of the activation
 * in what was saved. What an activation saves is its output, if that tells the slope, or its input.
 */
#include "cresset/activation.h"

#include <math.h>
#include <string.h>

#include "ops/ops.h"

/* The attributes of each op are the parameters of its map, in order. */
struct one_attribute {
    double first;
};

struct two_attributes {
    double first;
    double second;
};

struct three_attributes {
    double first;
    double second;
    double third;
};

#define PARAMETER(type, word, field)                                                               \
    {                                                                                              \
        word, CR_ATTRIBUTE_FLOAT, offsetof(struct type, field)                                     \
    }

static const cr_attribute slope_table[] = {
    PARAMETER(one_attribute, "negative_slope", first),
    CR_ATTRIBUTE_END,
};

static const cr_attribute lambd_table[] = {
    PARAMETER(one_attribute, "lambd", first),
    CR_ATTRIBUTE_END,
};

static const cr_attribute alpha_table[] = {
    PARAMETER(one_attribute, "alpha", first),
    CR_ATTRIBUTE_END,
};

static const cr_attribute bounds_table[] = {
    PARAMETER(two_attributes, "min_val", first),
    PARAMETER(two_attributes, "max_val", second),
    CR_ATTRIBUTE_END,
};

static const cr_attribute threshold_table[] = {
    PARAMETER(two_attributes, "threshold", first),
    PARAMETER(two_attributes, "value", second),
    CR_ATTRIBUTE_END,
};

static const cr_attribute softplus_table[] = {
    PARAMETER(two_attributes, "beta", first),
    PARAMETER(two_attributes, "threshold", second),
    CR_ATTRIBUTE_END,
};

static const cr_attribute elu_table[] = {
    PARAMETER(three_attributes, "alpha", first),
    PARAMETER(three_attributes, "scale", second),
    PARAMETER(three_attributes, "input_scale", third),
    CR_ATTRIBUTE_END,
};

/* ---- shapes ---- */

static cr_status activation_infer(cr_infer_call *call)
{
    if (require_floating(call->inputs[0], "the input") != CR_OK)
        return cr_error_status();
    return infer_same(call);
}

/* Only a slope that is not negative can be told from the sign of the output. */
static cr_status leaky_relu_infer(cr_infer_call *call)
{
    const struct one_attribute *attributes = call->attributes;
    if (attributes->first < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "negative_slope must not be negative, but is %g",
                            attributes->first);
    return activation_infer(call);
}

static cr_status elu_infer(cr_infer_call *call)
{
    const struct three_attributes *attributes = call->attributes;
    if (attributes->first < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "alpha must not be negative, but is %g",
                            attributes->first);
    if (isinf(attributes->third))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "alpha must not be 0, for the input is divided by it");
    return activation_infer(call);
}

/* ---- curvature: the second derivative, in ops, of what was saved; NULL for straight lines ---- */

static cr_tensor *no_curvature(cr_tensor *x, const double *parameters)
{
    (void)x;
    (void)parameters;
    return NULL;
}

/* 1 - x */
static cr_tensor *one_minus(cr_tensor *x)
{
    return cr_add_scalar(cr_neg(x), 1.0);
}

/* x where the condition holds, else 0. */
static cr_tensor *only_where(cr_tensor *condition, cr_tensor *x)
{
    return cr_where(condition, x, cr_scalar(0.0));
}

/* The value where the condition holds, else 0, in the dtype of x. */
static cr_tensor *flagged(cr_tensor *condition, cr_tensor *x, double value)
{
    return cr_mul_scalar(cr_to_dtype(condition, cr_dtype_of(x)), value);
}

/* The slope is linear in the output below 0. */
static cr_tensor *elu_curvature(cr_tensor *y, const double *parameters)
{
    return flagged(cr_le_scalar(y, 0.0), y, parameters[2]);
}

static cr_tensor *gelu_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *square = cr_square(x);
    cr_tensor *density = cr_mul_scalar(cr_exp(cr_mul_scalar(square, -0.5)), 0.39894228040143267794);
    return cr_mul(density, cr_add_scalar(cr_neg(square), 2.0));
}

static cr_tensor *gelu_tanh_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    const double root = 0.79788456080286535588;
    const double cubic = 0.044715;
    cr_tensor *square = cr_square(x);
    cr_tensor *angle =
        cr_mul(cr_mul_scalar(x, root), cr_add_scalar(cr_mul_scalar(square, cubic), 1.0));
    cr_tensor *angle_slope = cr_add_scalar(cr_mul_scalar(square, 3.0 * root * cubic), root);
    cr_tensor *t = cr_tanh(angle);
    cr_tensor *tanh_slope = one_minus(cr_square(t));
    cr_tensor *inner =
        cr_sub(cr_mul_scalar(x, 3.0 * root * cubic), cr_mul(t, cr_square(angle_slope)));
    return cr_mul(tanh_slope, cr_add(angle_slope, cr_mul(x, inner)));
}

static cr_tensor *silu_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *s = cr_sigmoid(x);
    cr_tensor *slope = cr_mul(s, one_minus(s));
    cr_tensor *factor = cr_mul(x, cr_add_scalar(cr_mul_scalar(s, -2.0), 1.0));
    return cr_mul(slope, cr_add_scalar(factor, 2.0));
}

static cr_tensor *mish_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *s = cr_sigmoid(x);
    cr_tensor *t = cr_tanh(cr_softplus(x, 1.0, 20.0));
    cr_tensor *first = cr_mul(one_minus(cr_square(t)), s);
    cr_tensor *bend = cr_sub(one_minus(s), cr_mul(cr_mul_scalar(t, 2.0), s));
    return cr_mul(first, cr_add_scalar(cr_mul(x, bend), 2.0));
}

static cr_tensor *softplus_curvature(cr_tensor *x, const double *parameters)
{
    cr_tensor *angle = cr_mul_scalar(x, parameters[0]);
    cr_tensor *s = cr_sigmoid(angle);
    return only_where(cr_le_scalar(angle, parameters[1]),
                      cr_mul_scalar(cr_mul(s, one_minus(s)), parameters[0]));
}

static cr_tensor *logsigmoid_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *s = cr_sigmoid(x);
    return cr_neg(cr_mul(s, one_minus(s)));
}

static cr_tensor *softsign_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *inverse = cr_reciprocal(cr_add_scalar(cr_abs(x), 1.0));
    return cr_mul(cr_mul_scalar(cr_sign(x), -2.0), cr_pow_scalar(inverse, 3.0));
}

static cr_tensor *tanhshrink_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    cr_tensor *t = cr_tanh(x);
    return cr_mul(cr_mul_scalar(t, 2.0), one_minus(cr_square(t)));
}

static cr_tensor *hardswish_curvature(cr_tensor *x, const double *parameters)
{
    (void)parameters;
    return flagged(cr_lt_scalar(cr_abs(x), 3.0), x, 1.0 / 3.0);
}

/* ---- in ONNX ---- */

ONNX_DIRECT(relu, "Relu")
ONNX_DIRECT(softsign, "Softsign")
ONNX_DIRECT(hardswish, "HardSwish")
ONNX_DIRECT(prelu_kernel, "PRelu")

/* An activation as a formula in its input x of that dtype and its parameters p. */
#define ONNX_FORMULA(function, formula)                                                            \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        cr_onnx_value x = call->inputs[0];                                                         \
        CR_UNUSED cr_dtype dtype = call->input_specs[0].dtype;                                     \
        CR_UNUSED const double *p = call->attributes;                                              \
        return onnx_result(call, formula);                                                         \
    }

ONNX_FORMULA(leaky_relu, cr_onnx_add(call, "LeakyRelu", .inputs = { x },
                                     .attributes = { CR_ONNX_FLOAT("alpha", p[0]) }))
ONNX_FORMULA(hardtanh, onnx_clip(call, x, dtype, p[0], p[1]))
ONNX_FORMULA(hardsigmoid, cr_onnx_add(call, "HardSigmoid", .inputs = { x },
                                      .attributes = { CR_ONNX_FLOAT("alpha", 1.0 / 6),
                                                      CR_ONNX_FLOAT("beta", 0.5) }))
ONNX_FORMULA(threshold,
             cr_onnx_add(call, "Where",
                         .inputs = { cr_onnx_with_number(call, "Greater", x, dtype, p[0]), x,
                                     cr_onnx_number(call, dtype, p[1]) }))
ONNX_FORMULA(hardshrink, cr_onnx_add(call, "Shrink", .inputs = { x },
                                     .attributes = { CR_ONNX_FLOAT("lambd", p[0]) }))
ONNX_FORMULA(softshrink, cr_onnx_add(call, "Shrink", .inputs = { x },
                                     .attributes = { CR_ONNX_FLOAT("lambd", p[0]),
                                                     CR_ONNX_FLOAT("bias", p[0]) }))
ONNX_FORMULA(gelu_none, onnx_gelu(call, x, dtype))
ONNX_FORMULA(silu, cr_onnx_binary(call, "Mul", x, cr_onnx_unary(call, "Sigmoid", x)))
ONNX_FORMULA(mish, cr_onnx_binary(call, "Mul", x,
                                  cr_onnx_unary(call, "Tanh", cr_onnx_unary(call, "Softplus", x))))
ONNX_FORMULA(logsigmoid,
             cr_onnx_unary(call, "Neg",
                           cr_onnx_unary(call, "Softplus", cr_onnx_unary(call, "Neg", x))))
ONNX_FORMULA(tanhshrink, cr_onnx_binary(call, "Sub", x, cr_onnx_unary(call, "Tanh", x)))

/* scale (x, or alpha expm1(input_scale x) below 0), which has a name for some numbers. */
static cr_status elu_scaled_onnx(cr_onnx_call *call)
{
    const struct three_attributes *p = call->attributes;
    cr_dtype dtype = call->input_specs[0].dtype;
    cr_onnx_value x = call->inputs[0];
    if (p->third == 1)
        return onnx_result(call,
                           p->second == 1
                               ? cr_onnx_add(call, "Elu", .inputs = { x },
                                             .attributes = { CR_ONNX_FLOAT("alpha", p->first) })
                               : cr_onnx_add(call, "Selu", .inputs = { x },
                                             .attributes = { CR_ONNX_FLOAT("alpha", p->first),
                                                             CR_ONNX_FLOAT("gamma", p->second) }));
    cr_onnx_value below =
        cr_onnx_add(call, "Elu", .inputs = { cr_onnx_with_number(call, "Mul", x, dtype, p->third) },
                    .attributes = { CR_ONNX_FLOAT("alpha", p->first) });
    cr_onnx_value is_above = cr_onnx_with_number(call, "Greater", x, dtype, 0);
    cr_onnx_value y = cr_onnx_add(call, "Where", .inputs = { is_above, x, below });
    return onnx_result(call,
                       p->second == 1 ? y : cr_onnx_with_number(call, "Mul", y, dtype, p->second));
}

/* x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) */
static cr_status gelu_tanh_onnx(cr_onnx_call *call)
{
    cr_dtype dtype = call->input_specs[0].dtype;
    cr_onnx_value x = call->inputs[0];
    cr_onnx_value y = cr_onnx_with_number(call, "Pow", x, dtype, 3);
    y = cr_onnx_binary(call, "Add", x, cr_onnx_with_number(call, "Mul", y, dtype, 0.044715));
    y = cr_onnx_with_number(call, "Mul", y, dtype, 0.79788456080286535588);
    y = cr_onnx_with_number(call, "Add", cr_onnx_unary(call, "Tanh", y), dtype, 1);
    return onnx_result(
        call, cr_onnx_binary(call, "Mul", cr_onnx_with_number(call, "Mul", x, dtype, 0.5), y));
}

/* ONNX has no beta, and no line above a threshold, which is the same where it is far out. */
static cr_status softplus_onnx(cr_onnx_call *call)
{
    const struct two_attributes *p = call->attributes;
    cr_dtype dtype = call->input_specs[0].dtype;
    cr_onnx_value x = call->inputs[0], angle = x;
    if (p->first == 1 && p->second >= 20)
        return onnx_direct(call, "Softplus");
    if (p->first != 1)
        angle = cr_onnx_with_number(call, "Mul", x, dtype, p->first);
    cr_onnx_value y = cr_onnx_unary(call, "Softplus", angle);
    if (p->first != 1)
        y = cr_onnx_with_number(call, "Div", y, dtype, p->first);
    cr_onnx_value is_line = cr_onnx_with_number(call, "Greater", angle, dtype, p->second);
    return onnx_result(call, cr_onnx_add(call, "Where", .inputs = { is_line, x, y }));
}

/* ---- records ---- */

static void activation_forward(const cr_call *call, enum activation_kind kind)
{
    map_run(activation_map(kind), call->outputs[0], (const cr_tensor *const *)call->inputs,
            call->input_count, call->attributes);
}

#define SAVES_INPUT        .save_inputs = CR_SAVE(0)
#define SAVES_OUTPUT       .save_outputs = CR_SAVE(0)
#define SAVED_INPUT(call)  (call)->inputs[0]
#define SAVED_OUTPUT(call) (call)->outputs[0]

#define NO_PARAMETERS           .attributes = NULL
#define PARAMETERS(table, type) .attributes = table, .attribute_size = sizeof(struct type)

/* An activation `function` of the map `kind`, whose gradient is the op `function`_backward of the
 * map `gradient_kind`. */
#define ACTIVATION(function, text, kind, gradient_kind, saved, infer_function, curvature, ...)     \
    static void function##_forward(const cr_call *call)                                            \
    {                                                                                              \
        activation_forward(call, ACTIVATION_##kind);                                               \
    }                                                                                              \
    static void function##_backward_forward(const cr_call *call)                                   \
    {                                                                                              \
        activation_forward(call, ACTIVATION_##gradient_kind);                                      \
    }                                                                                              \
    static cr_status function##_backward_backward(cr_gradient_call *call)                          \
    {                                                                                              \
        return second_order(call, curvature);                                                      \
    }                                                                                              \
    static const cr_op function##_backward_op = { .name = #function "_backward",                   \
                                                  .summary = "the gradient of " #function,         \
                                                  .input_names = "grad saved",                     \
                                                  .min_inputs = 2,                                 \
                                                  .flags = CR_OP_STRIDED,                          \
                                                  .save_inputs = CR_SAVE(0) | CR_SAVE(1),          \
                                                  .infer = infer_same,                             \
                                                  .forward = { [CR_CPU] =                          \
                                                                   function##_backward_forward },  \
                                                  .backward = function##_backward_backward,        \
                                                  __VA_ARGS__ };                                   \
    static cr_status function##_backward(cr_gradient_call *call)                                   \
    {                                                                                              \
        call->grad_inputs[0] =                                                                     \
            cr_apply(&function##_backward_op,                                                      \
                     CR_INPUTS(call->grad_outputs[0], SAVED_##saved(call)), call->attributes);     \
        return CR_OK;                                                                              \
    }                                                                                              \
    static const cr_op function##_op = { .name = #function,                                        \
                                         .summary = text,                                          \
                                         .input_names = "x",                                       \
                                         .min_inputs = 1,                                          \
                                         .flags = CR_OP_STRIDED,                                   \
                                         SAVES_##saved,                                            \
                                         .infer = infer_function,                                  \
                                         .forward = { [CR_CPU] = function##_forward },             \
                                         .backward = function##_backward,                          \
                                         .onnx = function##_onnx,                                  \
                                         __VA_ARGS__ };

/* The gradient of the op that `call` is about, which is linear in its first input. */
static cr_status second_order(cr_gradient_call *call,
                              cr_tensor *(*curvature)(cr_tensor *saved, const double *parameters))
{
    cr_tensor *g = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = cr_apply(call->op, CR_INPUTS(g, call->inputs[1]), call->attributes);
    cr_tensor *bend = call->needs[1] ? curvature(call->inputs[1], call->attributes) : NULL;
    if (bend)
        call->grad_inputs[1] = cr_mul(cr_mul(g, call->inputs[0]), bend);
    return CR_OK;
}

ACTIVATION(relu, "x where it is positive, else 0", RELU, RELU_BACKWARD, OUTPUT, activation_infer,
           no_curvature, NO_PARAMETERS)
ACTIVATION(leaky_relu, "x, times negative_slope where it is negative", LEAKY_RELU,
           LEAKY_RELU_BACKWARD, OUTPUT, leaky_relu_infer, no_curvature,
           PARAMETERS(slope_table, one_attribute))
ACTIVATION(hardtanh, "x held between min_val and max_val", HARDTANH, HARDTANH_BACKWARD, OUTPUT,
           activation_infer, no_curvature, PARAMETERS(bounds_table, two_attributes))
ACTIVATION(hardsigmoid, "x / 6 + 1/2 held between 0 and 1", HARDSIGMOID, HARDSIGMOID_BACKWARD,
           INPUT, activation_infer, no_curvature, NO_PARAMETERS)
ACTIVATION(threshold, "x above the threshold, else value", THRESHOLD, THRESHOLD_BACKWARD, INPUT,
           activation_infer, no_curvature, PARAMETERS(threshold_table, two_attributes))
ACTIVATION(hardshrink, "x, but 0 within lambd of it", HARDSHRINK, SHRINK_BACKWARD, INPUT,
           activation_infer, no_curvature, PARAMETERS(lambd_table, one_attribute))
ACTIVATION(softshrink, "x moved by lambd towards 0, but not beyond", SOFTSHRINK, SHRINK_BACKWARD,
           INPUT, activation_infer, no_curvature, PARAMETERS(lambd_table, one_attribute))
ACTIVATION(elu_scaled, "scale * x, and scale * alpha * expm1(input_scale * x) below 0", ELU,
           ELU_BACKWARD, OUTPUT, elu_infer, elu_curvature, PARAMETERS(elu_table, three_attributes))
ACTIVATION(gelu_none, "x times the normal distribution's P(X <= x)", GELU, GELU_BACKWARD, INPUT,
           activation_infer, gelu_curvature, NO_PARAMETERS)
ACTIVATION(gelu_tanh, "the same, approximated by tanh", GELU_TANH, GELU_TANH_BACKWARD, INPUT,
           activation_infer, gelu_tanh_curvature, NO_PARAMETERS)
ACTIVATION(silu, "x * sigmoid(x)", SILU, SILU_BACKWARD, INPUT, activation_infer, silu_curvature,
           NO_PARAMETERS)
ACTIVATION(mish, "x * tanh(softplus(x))", MISH, MISH_BACKWARD, INPUT, activation_infer,
           mish_curvature, NO_PARAMETERS)
ACTIVATION(softplus, "log(1 + e^(beta x)) / beta, x above the threshold", SOFTPLUS,
           SOFTPLUS_BACKWARD, INPUT, activation_infer, softplus_curvature,
           PARAMETERS(softplus_table, two_attributes), .cast = CR_CAST_F32)
ACTIVATION(logsigmoid, "log(sigmoid(x))", LOGSIGMOID, LOGSIGMOID_BACKWARD, INPUT, activation_infer,
           logsigmoid_curvature, NO_PARAMETERS)
ACTIVATION(softsign, "x / (1 + |x|)", SOFTSIGN, SOFTSIGN_BACKWARD, INPUT, activation_infer,
           softsign_curvature, NO_PARAMETERS)
ACTIVATION(tanhshrink, "x - tanh(x)", TANHSHRINK, TANHSHRINK_BACKWARD, INPUT, activation_infer,
           tanhshrink_curvature, NO_PARAMETERS)
ACTIVATION(hardswish, "x * hardsigmoid(x)", HARDSWISH, HARDSWISH_BACKWARD, INPUT, activation_infer,
           hardswish_curvature, NO_PARAMETERS)

#define PLAIN_FUNCTION(function)                                                                   \
    cr_tensor *cr_##function(cr_tensor *x)                                                         \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(x), NULL);                                       \
    }

PLAIN_FUNCTION(relu)
PLAIN_FUNCTION(hardsigmoid)
PLAIN_FUNCTION(silu)
PLAIN_FUNCTION(mish)
PLAIN_FUNCTION(logsigmoid)
PLAIN_FUNCTION(softsign)
PLAIN_FUNCTION(tanhshrink)
PLAIN_FUNCTION(hardswish)

cr_tensor *cr_leaky_relu(cr_tensor *x, double negative_slope)
{
    return cr_apply(&leaky_relu_op, CR_INPUTS(x), &(struct one_attribute){ negative_slope });
}

cr_tensor *cr_hardtanh(cr_tensor *x, double min_val, double max_val)
{
    return cr_apply(&hardtanh_op, CR_INPUTS(x), &(struct two_attributes){ min_val, max_val });
}

cr_tensor *cr_threshold(cr_tensor *x, double threshold, double value)
{
    return cr_apply(&threshold_op, CR_INPUTS(x), &(struct two_attributes){ threshold, value });
}

cr_tensor *cr_hardshrink(cr_tensor *x, double lambd)
{
    return cr_apply(&hardshrink_op, CR_INPUTS(x), &(struct one_attribute){ lambd });
}

cr_tensor *cr_softshrink(cr_tensor *x, double lambd)
{
    return cr_apply(&softshrink_op, CR_INPUTS(x), &(struct one_attribute){ lambd });
}

cr_tensor *cr_softplus(cr_tensor *x, double beta, double threshold)
{
    return cr_apply(&softplus_op, CR_INPUTS(x), &(struct two_attributes){ beta, threshold });
}

/* ---- written with the ones above ---- */

#define COMPOSED(function, text, expression, ...)                                                  \
    static cr_status function##_compose(cr_compose_call *call)                                     \
    {                                                                                              \
        CR_UNUSED const struct one_attribute *attributes = call->attributes;                       \
        cr_tensor *x = call->inputs[0];                                                            \
        call->outputs[0] = expression;                                                             \
        return cr_error_status();                                                                  \
    }                                                                                              \
    static const cr_op function##_op = { .name = #function,                                        \
                                         .summary = text,                                          \
                                         .input_names = "x",                                       \
                                         .min_inputs = 1,                                          \
                                         .compose = function##_compose,                            \
                                         __VA_ARGS__ };

static cr_tensor *elu_of(cr_tensor *x, double alpha, double scale, double input_scale)
{
    return cr_apply(&elu_scaled_op, CR_INPUTS(x),
                    &(struct three_attributes){ alpha, scale, input_scale });
}

COMPOSED(relu6, "x held between 0 and 6", cr_hardtanh(x, 0.0, 6.0), NO_PARAMETERS)
COMPOSED(elu, "x, and alpha * expm1(x) below 0", elu_of(x, attributes->first, 1.0, 1.0),
         PARAMETERS(alpha_table, one_attribute))
COMPOSED(celu, "x, and alpha * expm1(x / alpha) below 0",
         elu_of(x, attributes->first, 1.0, 1.0 / attributes->first),
         PARAMETERS(alpha_table, one_attribute))
/* The constants that keep mean 0 and variance 1 (Klambauer et al., "Self-normalizing neural
 * networks", 2017). */
COMPOSED(selu, "elu, scaled to keep mean and variance",
         elu_of(x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0),
         NO_PARAMETERS)

PLAIN_FUNCTION(relu6)
PLAIN_FUNCTION(selu)

cr_tensor *cr_elu(cr_tensor *x, double alpha)
{
    return cr_apply(&elu_op, CR_INPUTS(x), &(struct one_attribute){ alpha });
}

cr_tensor *cr_celu(cr_tensor *x, double alpha)
{
    return cr_apply(&celu_op, CR_INPUTS(x), &(struct one_attribute){ alpha });
}

/* ---- gelu ---- */

struct gelu_attributes {
    int approximate;
};

static const cr_attribute gelu_table[] = {
    CR_ATTRIBUTE(struct gelu_attributes, ENUM, approximate),
    CR_ATTRIBUTE_END,
};

static cr_status gelu_compose(cr_compose_call *call)
{
    const struct gelu_attributes *attributes = call->attributes;
    const cr_op *op = attributes->approximate == CR_GELU_TANH ? &gelu_tanh_op : &gelu_none_op;
    call->outputs[0] = cr_apply(op, CR_INPUTS(call->inputs[0]), NULL);
    return cr_error_status();
}

static const cr_op gelu_op = {
    .name = "gelu",
    .summary = "x times the normal distribution's P(X <= x)",
    .input_names = "x",
    .attributes = gelu_table,
    .attribute_size = sizeof(struct gelu_attributes),
    .min_inputs = 1,
    .compose = gelu_compose,
};

cr_tensor *cr_gelu(cr_tensor *x, cr_gelu_approximation approximate)
{
    return cr_apply(&gelu_op, CR_INPUTS(x), &(struct gelu_attributes){ (int)approximate });
}

/* ---- prelu: the weight is a tensor, broadcast along dimension 1 ---- */

static void prelu_kernel_forward(const cr_call *call)
{
    activation_forward(call, ACTIVATION_PRELU);
}

static void prelu_backward_forward(const cr_call *call)
{
    activation_forward(call, ACTIVATION_PRELU_BACKWARD);
}

static void prelu_weight_backward_forward(const cr_call *call)
{
    activation_forward(call, ACTIVATION_PRELU_WEIGHT_BACKWARD);
}

static const cr_op prelu_kernel_backward_op;
static const cr_op prelu_kernel_weight_backward_op;

/* g where x is positive, g w elsewhere. */
static cr_status prelu_backward_backward(cr_gradient_call *call)
{
    cr_tensor *gg = call->grad_outputs[0];
    cr_tensor *const *in = call->inputs;
    if (call->needs[0])
        call->grad_inputs[0] =
            cr_apply(&prelu_kernel_backward_op, CR_INPUTS(gg, in[1], in[2]), NULL);
    if (call->needs[2])
        give_broadcast(call, 2, only_where(cr_le_scalar(in[1], 0.0), cr_mul(gg, in[0])));
    return CR_OK;
}

/* g x where x is not positive, 0 elsewhere. */
static cr_status prelu_weight_backward_backward(cr_gradient_call *call)
{
    cr_tensor *gg = call->grad_outputs[0];
    cr_tensor *is_below = cr_le_scalar(call->inputs[1], 0.0);
    for (int i = 0; i < 2; i++) {
        if (call->needs[i])
            call->grad_inputs[i] = only_where(is_below, cr_mul(gg, call->inputs[1 - i]));
    }
    return CR_OK;
}

static const cr_op prelu_kernel_backward_op = {
    .name = "_prelu_kernel_backward",
    .summary = "the gradient of prelu with respect to its input",
    .input_names = "grad x weight",
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1) | CR_SAVE(2),
    .infer = infer_same,
    .forward = { [CR_CPU] = prelu_backward_forward },
    .backward = prelu_backward_backward,
};

static const cr_op prelu_kernel_weight_backward_op = {
    .name = "_prelu_kernel_weight_backward",
    .summary = "the gradient of prelu with respect to the broadcast weight",
    .input_names = "grad x",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = infer_same,
    .forward = { [CR_CPU] = prelu_weight_backward_forward },
    .backward = prelu_weight_backward_backward,
};

static cr_status prelu_kernel_infer(cr_infer_call *call)
{
    cr_shape shape;
    if (shape_broadcast(&call->inputs[0]->shape, &call->inputs[1]->shape, &shape) != CR_OK)
        return cr_error_status();
    if (call->inputs[0]->dtype != call->inputs[1]->dtype)
        return cr_error_set(CR_ERROR_DTYPE, "the input is %s but the weight %s",
                            cr_dtype_name((cr_dtype)call->inputs[0]->dtype),
                            cr_dtype_name((cr_dtype)call->inputs[1]->dtype));
    return activation_infer(call);
}

static cr_status prelu_kernel_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    cr_tensor *x = call->inputs[0];
    if (call->needs[0])
        call->grad_inputs[0] =
            cr_apply(&prelu_kernel_backward_op, CR_INPUTS(g, x, call->inputs[1]), NULL);
    if (call->needs[1])
        give_broadcast(call, 1, cr_apply(&prelu_kernel_weight_backward_op, CR_INPUTS(g, x), NULL));
    return CR_OK;
}

static const cr_op prelu_kernel_op = {
    .name = "_prelu_kernel",
    .summary = "x, times weight where it is negative; the weight broadcasts to x",
    .input_names = "x weight",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = prelu_kernel_infer,
    .forward = { [CR_CPU] = prelu_kernel_forward },
    .backward = prelu_kernel_backward,
    .onnx = prelu_kernel_onnx,
};

static cr_status prelu_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0];
    cr_tensor *weight = call->inputs[1];
    int64_t channels = x->shape.ndim > 1 ? x->shape.dim[1] : 1;
    int64_t count = tensor_numel(weight);
    if (weight->shape.ndim > 1 || (count != 1 && count != channels))
        return cr_error_set(CR_ERROR_SHAPE,
                            "prelu: the weight must have 1 or %lld elements, one a channel, not "
                            "%lld",
                            (long long)channels, (long long)count);
    cr_shape shape = { .ndim = x->shape.ndim };
    for (int d = 0; d < shape.ndim; d++)
        shape.dim[d] = d == CR_MIN(1, shape.ndim - 1) ? count : 1;
    call->outputs[0] = cr_apply(&prelu_kernel_op, CR_INPUTS(x, cr_reshape(weight, shape)), NULL);
    return cr_error_status();
}

static const cr_op prelu_op = {
    .name = "prelu",
    .summary = "x, times a weight for each channel where it is negative",
    .input_names = "x weight",
    .min_inputs = 2,
    .cast = CR_CAST_PROMOTE,
    .compose = prelu_compose,
};

cr_tensor *cr_functional_prelu(cr_tensor *x, cr_tensor *weight)
{
    return cr_apply(&prelu_op, CR_INPUTS(x, weight), NULL);
}

/* ---- glu: the first half of a dimension, times the sigmoid of the second ---- */

struct glu_attributes {
    int64_t dim;
};

static const cr_attribute glu_table[] = {
    CR_ATTRIBUTE(struct glu_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

/* One half of x along a dimension, over the same memory. */
static cr_tensor half_of(const cr_tensor *x, int dim, int which)
{
    cr_tensor half = {
        .dtype = x->dtype, .shape = x->shape, .offset = x->offset, .storage = x->storage
    };
    memcpy(half.stride, x->stride, sizeof half.stride);
    half.shape.dim[dim] /= 2;
    half.offset += which * half.shape.dim[dim] * half.stride[dim];
    return half;
}

static cr_status glu_infer(cr_infer_call *call)
{
    struct glu_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (activation_infer(call) != CR_OK)
        return cr_error_status();
    if (x->shape.ndim == 0)
        return cr_error_set(CR_ERROR_SHAPE, "a tensor without dimensions has no halves");
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0)
        return cr_error_status();
    if (x->shape.dim[dim] % 2)
        return cr_error_set(CR_ERROR_SHAPE, "dimension %d has size %lld, which is not even", dim,
                            (long long)x->shape.dim[dim]);
    attributes->dim = dim;
    call->outputs[0].shape.dim[dim] /= 2;
    return CR_OK;
}

static void glu_forward(const cr_call *call)
{
    const struct glu_attributes *attributes = call->attributes;
    cr_tensor value = half_of(call->inputs[0], (int)attributes->dim, 0);
    cr_tensor gate = half_of(call->inputs[0], (int)attributes->dim, 1);
    map_run(activation_map(ACTIVATION_GLU), call->outputs[0],
            (const cr_tensor *const[]){ &value, &gate }, 2, NULL);
}

static void glu_backward_forward(const cr_call *call)
{
    const struct glu_attributes *attributes = call->attributes;
    int dim = (int)attributes->dim;
    const cr_tensor *grad = call->inputs[0];
    cr_tensor value = half_of(call->inputs[1], dim, 0);
    cr_tensor gate = half_of(call->inputs[1], dim, 1);
    cr_tensor value_grad = half_of(call->outputs[0], dim, 0);
    cr_tensor gate_grad = half_of(call->outputs[0], dim, 1);
    map_run(activation_map(ACTIVATION_GLU_VALUE_BACKWARD), &value_grad,
            (const cr_tensor *const[]){ grad, &gate }, 2, NULL);
    map_run(activation_map(ACTIVATION_GLU_GATE_BACKWARD), &gate_grad,
            (const cr_tensor *const[]){ grad, &gate, &value }, 3, NULL);
}

static cr_status glu_backward_infer(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[1]->dtype;
    call->outputs[0].shape = call->inputs[1]->shape;
    return CR_OK;
}

static cr_tensor *narrow_half(cr_tensor *x, int64_t dim, int which)
{
    int64_t length = x ? x->shape.dim[dim] / 2 : 0;
    return cr_narrow(x, (int)dim, which * length, length);
}

/* The gradient is (g s(b), g a s'(b)) for the halves a and b; with u and v arriving for these, each
 * of g, a and b gets its part. */
static cr_status glu_backward_backward(cr_gradient_call *call)
{
    const struct glu_attributes *attributes = call->attributes;
    int64_t dim = attributes->dim;
    cr_tensor *g = call->inputs[0];
    cr_tensor *a = narrow_half(call->inputs[1], dim, 0);
    cr_tensor *s = cr_sigmoid(narrow_half(call->inputs[1], dim, 1));
    cr_tensor *u = narrow_half(call->grad_outputs[0], dim, 0);
    cr_tensor *v = narrow_half(call->grad_outputs[0], dim, 1);
    cr_tensor *slope = cr_mul(s, one_minus(s));
    if (call->needs[0])
        call->grad_inputs[0] = cr_add(cr_mul(u, s), cr_mul(v, cr_mul(a, slope)));
    if (!call->needs[1])
        return CR_OK;
    cr_tensor *bend = cr_mul(slope, cr_add_scalar(cr_mul_scalar(s, -2.0), 1.0));
    cr_tensor *of_value = cr_mul(g, cr_mul(v, slope));
    cr_tensor *of_gate = cr_mul(g, cr_add(cr_mul(u, slope), cr_mul(v, cr_mul(a, bend))));
    call->grad_inputs[1] = cr_cat((cr_tensor *[]){ of_value, of_gate }, 2, (int)dim);
    return CR_OK;
}

static const cr_op glu_backward_op = {
    .name = "glu_backward",
    .summary = "the gradient of glu",
    .input_names = "grad x",
    .attributes = glu_table,
    .attribute_size = sizeof(struct glu_attributes),
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = glu_backward_infer,
    .forward = { [CR_CPU] = glu_backward_forward },
    .backward = glu_backward_backward,
};

static cr_status glu_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_apply(
        &glu_backward_op, CR_INPUTS(call->grad_outputs[0], call->inputs[0]), call->attributes);
    return CR_OK;
}

static cr_status glu_onnx(cr_onnx_call *call)
{
    const struct glu_attributes *attributes = call->attributes;
    cr_onnx_value half = cr_onnx_add(call, "Split", .inputs = { call->inputs[0] }, .outputs = 2,
                                     .attributes = { CR_ONNX_INT("axis", attributes->dim) });
    return onnx_result(
        call,
        half ? cr_onnx_binary(call, "Mul", half, cr_onnx_unary(call, "Sigmoid", half + 1)) : 0);
}

static const cr_op glu_op = {
    .name = "glu",
    .summary = "the first half of a dimension times the sigmoid of the second",
    .input_names = "x",
    .attributes = glu_table,
    .attribute_size = sizeof(struct glu_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0),
    .infer = glu_infer,
    .forward = { [CR_CPU] = glu_forward },
    .backward = glu_backward,
    .onnx = glu_onnx,
};

cr_tensor *cr_glu(cr_tensor *x, int dim)
{
    return cr_apply(&glu_op, CR_INPUTS(x), &(struct glu_attributes){ dim });
}

OP_FAMILY(activation_ops) = { &relu_op,
                              &relu_backward_op,
                              &leaky_relu_op,
                              &leaky_relu_backward_op,
                              &hardtanh_op,
                              &hardtanh_backward_op,
                              &hardsigmoid_op,
                              &hardsigmoid_backward_op,
                              &threshold_op,
                              &threshold_backward_op,
                              &hardshrink_op,
                              &hardshrink_backward_op,
                              &softshrink_op,
                              &softshrink_backward_op,
                              &elu_scaled_op,
                              &elu_scaled_backward_op,
                              &gelu_none_op,
                              &gelu_none_backward_op,
                              &gelu_tanh_op,
                              &gelu_tanh_backward_op,
                              &silu_op,
                              &silu_backward_op,
                              &mish_op,
                              &mish_backward_op,
                              &softplus_op,
                              &softplus_backward_op,
                              &logsigmoid_op,
                              &logsigmoid_backward_op,
                              &softsign_op,
                              &softsign_backward_op,
                              &tanhshrink_op,
                              &tanhshrink_backward_op,
                              &hardswish_op,
                              &hardswish_backward_op,
                              &relu6_op,
                              &elu_op,
                              &celu_op,
                              &selu_op,
                              &gelu_op,
                              &prelu_kernel_op,
                              &prelu_op,
                              &prelu_kernel_backward_op,
                              &prelu_kernel_weight_backward_op,
                              &glu_op,
                              &glu_backward_op,
                              NULL };
