/* Functions of one tensor, element by element. */
#include <math.h>

#include "ops/ops.h"

/* ---- shapes ---- */

cr_status infer_bool(cr_infer_call *call)
{
    call->outputs[0].dtype = CR_BOOL;
    call->outputs[0].shape = call->inputs[0]->shape;
    return CR_OK;
}

static cr_status neg_infer(cr_infer_call *call)
{
    if (call->inputs[0]->dtype == CR_BOOL)
        return cr_error_set(CR_ERROR_DTYPE, "bool tensors have no negative; use cr_logical_not");
    return infer_same(call);
}

static cr_status bitwise_not_infer(cr_infer_call *call)
{
    if (tensor_is_floating(call->inputs[0]))
        return cr_error_set(CR_ERROR_DTYPE, "takes integers or bool, not %s",
                            cr_dtype_name((cr_dtype)call->inputs[0]->dtype));
    return infer_same(call);
}

/* ---- kernels ---- */

void map_forward(const cr_call *call, enum map_kind kind)
{
    map_run(pointwise_map(kind), call->outputs[0], (const cr_tensor *const *)call->inputs,
            call->input_count, call->attributes);
}

static void copy_forward(const cr_call *call)
{
    copy_tensor(call->outputs[0], call->inputs[0]);
}

#define FORWARD(name, kind)                                                                        \
    static void name##_forward(const cr_call *call)                                                \
    {                                                                                              \
        map_forward(call, MAP_##kind);                                                             \
    }

/* Whole numbers are rounded already. */
#define FORWARD_ROUNDING(name, kind)                                                               \
    static void name##_forward(const cr_call *call)                                                \
    {                                                                                              \
        if (tensor_is_floating(call->inputs[0]))                                                   \
            map_forward(call, MAP_##kind);                                                         \
        else                                                                                       \
            copy_forward(call);                                                                    \
    }

FORWARD(neg, NEG)
FORWARD(abs, ABS)
FORWARD(sign, SIGN)
FORWARD(exp, EXP)
FORWARD(expm1, EXPM1)
FORWARD(log, LOG)
FORWARD(log2, LOG2)
FORWARD(log10, LOG10)
FORWARD(log1p, LOG1P)
FORWARD(sqrt, SQRT)
FORWARD(rsqrt, RSQRT)
FORWARD(reciprocal, RECIPROCAL)
FORWARD(square, SQUARE)
FORWARD(sin, SIN)
FORWARD(cos, COS)
FORWARD(tan, TAN)
FORWARD(asin, ASIN)
FORWARD(acos, ACOS)
FORWARD(atan, ATAN)
FORWARD(sinh, SINH)
FORWARD(cosh, COSH)
FORWARD(tanh, TANH)
FORWARD(tanh_backward, TANH_BACKWARD)
FORWARD(erf, ERF)
FORWARD(sigmoid, SIGMOID)
FORWARD(sigmoid_backward, SIGMOID_BACKWARD)
FORWARD_ROUNDING(floor, FLOOR)
FORWARD_ROUNDING(ceil, CEIL)
FORWARD_ROUNDING(round, ROUND)
FORWARD_ROUNDING(trunc, TRUNC)
FORWARD(isnan, ISNAN)
FORWARD(isinf, ISINF)
FORWARD(isfinite, ISFINITE)
FORWARD(logical_not, LOGICAL_NOT)

static void bitwise_not_forward(const cr_call *call)
{
    map_forward(call, call->inputs[0]->dtype == CR_BOOL ? MAP_LOGICAL_NOT : MAP_BITWISE_NOT);
}

/* ---- gradients: g the gradient that arrives, x the input, y the output, as saved ---- */

#define BACKWARD(name, gradient)                                                                   \
    static cr_status name##_backward(cr_gradient_call *call)                                       \
    {                                                                                              \
        CR_UNUSED cr_tensor *g = call->grad_outputs[0];                                            \
        CR_UNUSED cr_tensor *x = call->inputs[0];                                                  \
        CR_UNUSED cr_tensor *y = call->outputs[0];                                                 \
        call->grad_inputs[0] = gradient;                                                           \
        return CR_OK;                                                                              \
    }

/* 1 + c x² and its like, for the derivatives of inverse functions. */
static cr_tensor *one_plus_square(double scale, cr_tensor *x)
{
    return cr_add_scalar(cr_mul_scalar(cr_square(x), scale), 1.0);
}

BACKWARD(neg, cr_neg(g))
BACKWARD(abs, cr_mul(g, cr_sign(x)))
BACKWARD(exp, cr_mul(g, y))
BACKWARD(expm1, cr_mul(g, cr_add_scalar(y, 1.0)))
BACKWARD(log, cr_div(g, x))
BACKWARD(log2, cr_div(g, cr_mul_scalar(x, 0.693147180559945309417)))
BACKWARD(log10, cr_div(g, cr_mul_scalar(x, 2.302585092994045684018)))
BACKWARD(log1p, cr_div(g, cr_add_scalar(x, 1.0)))
BACKWARD(sqrt, cr_div(g, cr_mul_scalar(y, 2.0)))
BACKWARD(rsqrt, cr_mul(cr_mul_scalar(g, -0.5), cr_pow_scalar(y, 3.0)))
BACKWARD(reciprocal, cr_neg(cr_mul(g, cr_square(y))))
BACKWARD(square, cr_mul(g, cr_mul_scalar(x, 2.0)))
BACKWARD(sin, cr_mul(g, cr_cos(x)))
BACKWARD(cos, cr_neg(cr_mul(g, cr_sin(x))))
BACKWARD(tan, cr_mul(g, one_plus_square(1.0, y)))
BACKWARD(asin, cr_mul(g, cr_rsqrt(one_plus_square(-1.0, x))))
BACKWARD(acos, cr_neg(cr_mul(g, cr_rsqrt(one_plus_square(-1.0, x)))))
BACKWARD(atan, cr_div(g, one_plus_square(1.0, x)))
BACKWARD(sinh, cr_mul(g, cr_cosh(x)))
BACKWARD(cosh, cr_mul(g, cr_sinh(x)))
/* 2 / sqrt(pi) */
BACKWARD(erf, cr_mul(cr_mul_scalar(g, 1.128379167095512573896), cr_exp(cr_neg(cr_square(x)))))
/* Steps: the derivative is zero wherever there is one. */
BACKWARD(step, NULL)

/* ---- in ONNX ---- */

ONNX_DIRECT(neg, "Neg")
ONNX_DIRECT(abs, "Abs")
ONNX_DIRECT(sign, "Sign")
ONNX_DIRECT(exp, "Exp")
ONNX_DIRECT(log, "Log")
ONNX_DIRECT(sqrt, "Sqrt")
ONNX_DIRECT(reciprocal, "Reciprocal")
ONNX_DIRECT(sin, "Sin")
ONNX_DIRECT(cos, "Cos")
ONNX_DIRECT(tan, "Tan")
ONNX_DIRECT(asin, "Asin")
ONNX_DIRECT(acos, "Acos")
ONNX_DIRECT(atan, "Atan")
ONNX_DIRECT(sinh, "Sinh")
ONNX_DIRECT(cosh, "Cosh")
ONNX_DIRECT(tanh, "Tanh")
ONNX_DIRECT(erf, "Erf")
ONNX_DIRECT(sigmoid, "Sigmoid")
ONNX_DIRECT(isnan, "IsNaN")
ONNX_DIRECT(isinf, "IsInf")

/* What has no operator of its own, as a formula in the input x of that dtype. */
#define ONNX_FORMULA(function, formula)                                                            \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        CR_UNUSED cr_onnx_value x = call->inputs[0];                                               \
        CR_UNUSED cr_dtype dtype = call->input_specs[0].dtype;                                     \
        return onnx_result(call, formula);                                                         \
    }

ONNX_FORMULA(expm1, cr_onnx_with_number(call, "Sub", cr_onnx_unary(call, "Exp", x), dtype, 1))
ONNX_FORMULA(log1p, cr_onnx_unary(call, "Log", cr_onnx_with_number(call, "Add", x, dtype, 1)))
ONNX_FORMULA(log2, cr_onnx_with_number(call, "Div", cr_onnx_unary(call, "Log", x), dtype, log(2)))
ONNX_FORMULA(log10, cr_onnx_with_number(call, "Div", cr_onnx_unary(call, "Log", x), dtype, log(10)))
ONNX_FORMULA(rsqrt, cr_onnx_unary(call, "Reciprocal", cr_onnx_unary(call, "Sqrt", x)))
ONNX_FORMULA(square, cr_onnx_binary(call, "Mul", x, x))
ONNX_FORMULA(isfinite, cr_onnx_unary(call, "Not",
                                     cr_onnx_binary(call, "Or", cr_onnx_unary(call, "IsInf", x),
                                                    cr_onnx_unary(call, "IsNaN", x))))
ONNX_FORMULA(logical_not, cr_onnx_unary(call, "Not", onnx_as(call, 0, CR_BOOL)))

/* Whole numbers are rounded already. */
#define ONNX_ROUNDING(function, formula)                                                           \
    ONNX_FORMULA(function, cr_dtype_is_floating(dtype) ? (formula) : x)

ONNX_ROUNDING(floor, cr_onnx_unary(call, "Floor", x))
ONNX_ROUNDING(ceil, cr_onnx_unary(call, "Ceil", x))
ONNX_ROUNDING(round, cr_onnx_unary(call, "Round", x))
ONNX_ROUNDING(trunc, cr_onnx_binary(call, "Mul", cr_onnx_unary(call, "Sign", x),
                                    cr_onnx_unary(call, "Floor", cr_onnx_unary(call, "Abs", x))))

static cr_status bitwise_not_onnx(cr_onnx_call *call)
{
    if (call->input_specs[0].dtype != CR_BOOL)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of integers");
    return onnx_direct(call, "Not");
}

/* ---- records ---- */

#define UNARY_RECORD(function, text, infer_function, saved, ...)                                   \
    static const cr_op function##_op = { .name = #function,                                        \
                                         .summary = text,                                          \
                                         .input_names = "x",                                       \
                                         .min_inputs = 1,                                          \
                                         .infer = infer_function,                                  \
                                         .forward = { [CR_CPU] = function##_forward },             \
                                         .onnx = function##_onnx,                                  \
                                         saved,                                                    \
                                         __VA_ARGS__ };                                            \
    cr_tensor *cr_##function(cr_tensor *x)                                                         \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(x), NULL);                                       \
    }

#define SAVES_X       .save_inputs = CR_SAVE(0)
#define SAVES_Y       .save_outputs = CR_SAVE(0)
#define SAVES_NOTHING .save_inputs = 0

/* Of floats; integers become float32. */
#define FUNCTION(function, text, saved, policy)                                                    \
    UNARY_RECORD(function, text, infer_same, saved, .backward = function##_backward,               \
                 .flags = CR_OP_STRIDED | CR_OP_PROMOTE_FLOATING, .cast = policy)

FUNCTION(exp, "e^x", SAVES_Y, CR_CAST_F32)
FUNCTION(expm1, "e^x - 1, exact near 0", SAVES_Y, CR_CAST_F32)
FUNCTION(log, "the natural logarithm", SAVES_X, CR_CAST_F32)
FUNCTION(log2, "the logarithm to base 2", SAVES_X, CR_CAST_F32)
FUNCTION(log10, "the logarithm to base 10", SAVES_X, CR_CAST_F32)
FUNCTION(log1p, "log(1 + x), exact near 0", SAVES_X, CR_CAST_F32)
FUNCTION(sqrt, "the square root", SAVES_Y, CR_CAST_NONE)
FUNCTION(rsqrt, "1 / sqrt(x)", SAVES_Y, CR_CAST_F32)
FUNCTION(reciprocal, "1 / x", SAVES_Y, CR_CAST_F32)
FUNCTION(sin, "the sine", SAVES_X, CR_CAST_NONE)
FUNCTION(cos, "the cosine", SAVES_X, CR_CAST_NONE)
FUNCTION(tan, "the tangent", SAVES_Y, CR_CAST_F32)
FUNCTION(asin, "the angle of a sine", SAVES_X, CR_CAST_F32)
FUNCTION(acos, "the angle of a cosine", SAVES_X, CR_CAST_F32)
FUNCTION(atan, "the angle of a tangent", SAVES_X, CR_CAST_NONE)
FUNCTION(sinh, "the hyperbolic sine", SAVES_X, CR_CAST_F32)
FUNCTION(cosh, "the hyperbolic cosine", SAVES_X, CR_CAST_F32)
FUNCTION(erf, "the error function", SAVES_X, CR_CAST_NONE)

/* Of the dtype they are given. */
UNARY_RECORD(neg, "-x", neg_infer, SAVES_NOTHING, .backward = neg_backward, .flags = CR_OP_STRIDED)
UNARY_RECORD(abs, "the absolute value", infer_same, SAVES_X, .backward = abs_backward,
             .flags = CR_OP_STRIDED)
UNARY_RECORD(square, "x * x", infer_same, SAVES_X, .backward = square_backward,
             .flags = CR_OP_STRIDED)
UNARY_RECORD(sign, "-1, 0 or 1", infer_same, SAVES_NOTHING, .backward = step_backward,
             .flags = CR_OP_STRIDED)
UNARY_RECORD(floor, "the whole number below", infer_same, SAVES_NOTHING, .backward = step_backward,
             .flags = CR_OP_STRIDED)
UNARY_RECORD(ceil, "the whole number above", infer_same, SAVES_NOTHING, .backward = step_backward,
             .flags = CR_OP_STRIDED)
UNARY_RECORD(round, "the nearest whole number, halves to even", infer_same, SAVES_NOTHING,
             .backward = step_backward, .flags = CR_OP_STRIDED)
UNARY_RECORD(trunc, "the whole number towards zero", infer_same, SAVES_NOTHING,
             .backward = step_backward, .flags = CR_OP_STRIDED)
UNARY_RECORD(bitwise_not, "all bits turned", bitwise_not_infer, SAVES_NOTHING,
             .flags = CR_OP_STRIDED | CR_OP_NOT_DIFFERENTIABLE)

#define TEST(function, text)                                                                       \
    UNARY_RECORD(function, text, infer_bool, SAVES_NOTHING,                                        \
                 .flags = CR_OP_STRIDED | CR_OP_NOT_DIFFERENTIABLE)

TEST(isnan, "whether it is NaN")
TEST(isinf, "whether it is infinite")
TEST(isfinite, "whether it is neither infinite nor NaN")
TEST(logical_not, "whether it is zero")

/* ---- tanh and sigmoid: the gradient is one pass, unless it is recorded itself ---- */

#define GRADIENT_RECORD(function, text)                                                            \
    static const cr_op function##_backward_op = {                                                  \
        .name = #function "_backward",                                                             \
        .summary = text,                                                                           \
        .input_names = "grad y",                                                                   \
        .min_inputs = 2,                                                                           \
        .flags = CR_OP_STRIDED,                                                                    \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1),                                                    \
        .infer = infer_same,                                                                       \
        .forward = { [CR_CPU] = function##_backward_forward },                                     \
        .backward = function##_backward_backward,                                                  \
    };

/* grad * (1 - y²) */
static cr_status tanh_backward_backward(cr_gradient_call *call)
{
    cr_tensor *gg = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = cr_mul(gg, one_plus_square(-1.0, call->inputs[1]));
    if (call->needs[1])
        call->grad_inputs[1] =
            cr_mul(cr_mul(gg, call->inputs[0]), cr_mul_scalar(call->inputs[1], -2.0));
    return CR_OK;
}

/* grad * y (1 - y) */
static cr_status sigmoid_backward_backward(cr_gradient_call *call)
{
    cr_tensor *gg = call->grad_outputs[0];
    cr_tensor *y = call->inputs[1];
    if (call->needs[0])
        call->grad_inputs[0] = cr_mul(gg, cr_sub(y, cr_square(y)));
    if (call->needs[1])
        call->grad_inputs[1] =
            cr_mul(cr_mul(gg, call->inputs[0]), cr_add_scalar(cr_mul_scalar(y, -2.0), 1.0));
    return CR_OK;
}

GRADIENT_RECORD(tanh, "the gradient of tanh")
GRADIENT_RECORD(sigmoid, "the gradient of sigmoid")

BACKWARD(tanh, cr_apply(&tanh_backward_op, CR_INPUTS(g, y), NULL))
BACKWARD(sigmoid, cr_apply(&sigmoid_backward_op, CR_INPUTS(g, y), NULL))
FUNCTION(tanh, "the hyperbolic tangent", SAVES_Y, CR_CAST_NONE)
FUNCTION(sigmoid, "1 / (1 + e^-x)", SAVES_Y, CR_CAST_NONE)

OP_FAMILY(unary_ops) = {
    &neg_op,      &abs_op,         &sign_op,        &exp_op,           &expm1_op,
    &log_op,      &log2_op,        &log10_op,       &log1p_op,         &sqrt_op,
    &rsqrt_op,    &reciprocal_op,  &square_op,      &sin_op,           &cos_op,
    &tan_op,      &asin_op,        &acos_op,        &atan_op,          &sinh_op,
    &cosh_op,     &tanh_op,        &erf_op,         &sigmoid_op,       &floor_op,
    &ceil_op,     &round_op,       &trunc_op,       &isnan_op,         &isinf_op,
    &isfinite_op, &logical_not_op, &bitwise_not_op, &tanh_backward_op, &sigmoid_backward_op,
    NULL
};
