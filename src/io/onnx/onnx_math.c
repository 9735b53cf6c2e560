/* Operators of ONNX element by element: arithmetic, comparison, activations. */
#include <math.h>
#include <string.h>

#include "io/onnx/onnx.h"

/* ---- one input ---- */

static void run_unary(struct onnx_call *call)
{
    onnx_give(call, 0, call->node->op->unary(onnx_need(call, 0)));
}

/* Activations of integers, which the library has for floats only. */
static void run_relu(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool floating = cr_dtype_is_floating(cr_dtype_of(x));
    onnx_give(call, 0, floating ? cr_relu(x) : cr_clamp(x, 0, INFINITY));
}

static cr_tensor *gelu_exact(cr_tensor *x)
{
    return cr_gelu(x, CR_GELU_NONE);
}

static cr_tensor *softplus_plain(cr_tensor *x)
{
    return cr_softplus(x, 1, 20);
}

static cr_tensor *asinh_of(cr_tensor *x)
{
    cr_tensor *magnitude = cr_abs(x), *square = cr_square(x);
    cr_tensor *root = cr_sqrt(cr_add_scalar(square, 1));
    cr_tensor *rest = cr_div(square, cr_add_scalar(root, 1));
    return cr_mul(cr_sign(x), cr_log1p(cr_add(magnitude, rest)));
}

static cr_tensor *acosh_of(cr_tensor *x)
{
    return cr_log(cr_add(x, cr_sqrt(cr_sub_scalar(cr_square(x), 1))));
}

static cr_tensor *atanh_of(cr_tensor *x)
{
    return cr_mul_scalar(cr_sub(cr_log1p(x), cr_log1p(cr_neg(x))), 0.5);
}

enum { ELU, CELU, LEAKY, THRESHOLDED, HARD_SIGMOID, SELU, SHRINK, SWISH, GELU };

static cr_tensor *leaky_relu(cr_tensor *x, double slope)
{
    if (slope >= 0)
        return cr_leaky_relu(x, slope);
    return cr_where(cr_lt_scalar(x, 0), cr_mul_scalar(x, slope), x);
}

static cr_tensor *selu(const struct onnx_call *call, cr_tensor *x)
{
    double alpha = onnx_float(call, "alpha", 1.67326319217681884765625);
    double gamma = onnx_float(call, "gamma", 1.05070102214813232421875);
    return cr_mul_scalar(cr_elu(x, alpha), gamma);
}

static cr_tensor *shrink(const struct onnx_call *call, cr_tensor *x)
{
    double lambd = onnx_float(call, "lambd", 0.5), bias = onnx_float(call, "bias", 0);
    cr_tensor *above = cr_mul(cr_sub_scalar(x, bias), cr_gt_scalar(x, lambd));
    cr_tensor *below = cr_mul(cr_add_scalar(x, bias), cr_lt_scalar(x, -lambd));
    return cr_to_dtype(cr_add(above, below), cr_dtype_of(x));
}

static void run_activation(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *y = NULL;
    double alpha = onnx_float(call, "alpha", 1);
    switch (call->node->op->variant) {
    case ELU:
        y = cr_elu(x, alpha);
        break;
    case CELU:
        y = cr_celu(x, alpha);
        break;
    case LEAKY:
        y = leaky_relu(x, onnx_float(call, "alpha", 0.01));
        break;
    case THRESHOLDED:
        y = cr_threshold(x, alpha, 0);
        break;
    case HARD_SIGMOID:
        y = cr_mul_scalar(x, onnx_float(call, "alpha", 0.2));
        y = cr_clamp(cr_add_scalar(y, onnx_float(call, "beta", 0.5)), 0, 1);
        break;
    case SELU:
        y = selu(call, x);
        break;
    case SHRINK:
        y = shrink(call, x);
        break;
    case SWISH:
        y = alpha == 1 ? cr_silu(x) : cr_mul(x, cr_sigmoid(cr_mul_scalar(x, alpha)));
        break;
    case GELU:
        y = strcmp(onnx_string(call, "approximate", "none"), "tanh") == 0 ? cr_gelu(x, CR_GELU_TANH)
                                                                          : gelu_exact(x);
        break;
    }
    onnx_give(call, 0, y);
}

/* A slope for each element that broadcasts to x; a vector of channels as PyTorch has it. */
static void run_prelu(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *slope = onnx_need(call, 1);
    int64_t count = cr_numel(slope);
    int channel = cr_ndim(slope) - cr_ndim(x) + 1; /* dimension of the slope */
    if (call->version < 7 && cr_ndim(slope) == 1)
        channel = 0;
    bool by_channel = count == 1 || (channel >= 0 && cr_ndim(x) > 1 &&
                                     cr_dim(slope, channel) == count && count == cr_dim(x, 1));
    if (by_channel && cr_dtype_is_floating(cr_dtype_of(x)))
        onnx_give(call, 0, cr_functional_prelu(x, cr_reshape(slope, CR_SHAPE(count))));
    else
        onnx_give(call, 0, cr_where(cr_lt_scalar(x, 0), cr_mul(x, slope), x));
}

static void run_clip(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *low = onnx_input(call, 1), *high = onnx_input(call, 2);
    double min = onnx_float(call, "min", -INFINITY), max = onnx_float(call, "max", INFINITY);
    bool known = (!low || cr_device_of(low) == CR_CPU) && (!high || cr_device_of(high) == CR_CPU);
    if (!known) {
        x = low ? cr_maximum(x, low) : x;
        onnx_give(call, 0, high ? cr_minimum(x, high) : x);
        return;
    }
    if ((low && !onnx_read_float(call, low, &min)) || (high && !onnx_read_float(call, high, &max)))
        return;
    onnx_give(call, 0, cr_clamp(x, min, max));
}

static void run_isinf(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *y = cr_isinf(x);
    if (!onnx_int(call, "detect_negative", 1))
        y = cr_logical_and(y, cr_gt_scalar(x, 0));
    if (!onnx_int(call, "detect_positive", 1))
        y = cr_logical_and(y, cr_lt_scalar(x, 0));
    onnx_give(call, 0, y);
}

/* ---- two inputs ---- */

/* The second operand. Before 7 it is aligned with dimension `axis` of the first. */
static cr_tensor *second(const struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = onnx_need(call, 1);
    if (call->version >= 7 || !onnx_int(call, "broadcast", 0) || !a || !b)
        return b;
    cr_shape shape = cr_shape_of(b);
    int64_t axis = onnx_int(call, "axis", cr_ndim(a) - cr_ndim(b));
    axis = axis < 0 ? axis + cr_ndim(a) : axis;
    while (shape.ndim + axis < cr_ndim(a))
        shape.dim[shape.ndim++] = 1;
    return cr_reshape(b, shape);
}

static void run_binary(struct onnx_call *call)
{
    onnx_give(call, 0, call->node->op->binary(onnx_need(call, 0), second(call)));
}

/* Integers are divided towards zero. */
static void run_div(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = second(call);
    if (!a || !b)
        return;
    if (cr_dtype_is_floating(cr_dtype_of(a))) {
        onnx_give(call, 0, cr_div(a, b));
        return;
    }
    cr_tensor *exact = cr_sub(a, cr_fmod(a, b)); /* a multiple of b */
    onnx_give(call, 0, cr_floor_divide(exact, b));
}

static void run_mod(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = onnx_need(call, 1);
    onnx_give(call, 0, onnx_int(call, "fmod", 0) ? cr_fmod(a, b) : cr_remainder(a, b));
}

/* The result has the dtype of the base. */
static void run_pow(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = second(call);
    cr_dtype dtype = cr_dtype_of(a);
    bool is_number = b && cr_numel(b) == 1 && cr_device_of(b) == CR_CPU && cr_ndim(b) <= cr_ndim(a);
    if (cr_dtype_is_floating(dtype) && is_number)
        onnx_give(call, 0, cr_pow_scalar(a, cr_element(b, 0)));
    else if (cr_dtype_is_floating(cr_dtype_of(b)) || cr_dtype_is_floating(dtype))
        onnx_give(call, 0,
                  cr_to_dtype(cr_pow(cr_dtype_is_floating(dtype) ? a : cr_to_dtype(a, CR_F64),
                                     cr_to_dtype(b, cr_dtype_is_floating(dtype) ? dtype : CR_F64)),
                              dtype));
    else
        onnx_give(call, 0, cr_to_dtype(cr_pow(a, b), dtype));
}

static void run_bit_shift(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = onnx_need(call, 1);
    bool left = strcmp(onnx_string(call, "direction", "LEFT"), "LEFT") == 0;
    cr_tensor *power = cr_to_dtype(cr_pow(cr_full_like(b, 2), b), cr_dtype_of(a));
    onnx_give(call, 0, left ? cr_mul(a, power) : cr_floor_divide(a, power));
}

static void run_where(struct onnx_call *call)
{
    onnx_give(call, 0, cr_where(onnx_need(call, 0), onnx_need(call, 1), onnx_need(call, 2)));
}

/* ---- any number ---- */

enum { SUM, MEAN };

static void run_variadic(struct onnx_call *call)
{
    cr_tensor *y = onnx_need(call, 0);
    for (int i = 1; i < call->input_count; i++)
        y = call->node->op->binary(y, onnx_need(call, i));
    if (call->node->op->variant == MEAN)
        y = cr_div_scalar(y, call->input_count);
    onnx_give(call, 0, y);
}

#define UNARY(name, f)         ONNX_OPERATOR(name, run_unary, .unary = f)
#define KEPT(name, f)          ONNX_OPERATOR(name, run_unary, .flags = ONNX_KEEPS, .unary = f)
#define BINARY(name, f)        ONNX_OPERATOR(name, run_binary, .binary = f)
#define ACTIVATION(name, kind) ONNX_OPERATOR(name, run_activation, .variant = kind)
#define ARITHMETIC             (ONNX_KEEPS | ONNX_ELEMENTWISE)

const struct onnx_operator onnx_math_operators[] = {
    KEPT("Abs", cr_abs),
    KEPT("Neg", cr_neg),
    KEPT("Sign", cr_sign),
    UNARY("Floor", cr_floor),
    UNARY("Ceil", cr_ceil),
    UNARY("Round", cr_round),
    UNARY("Sqrt", cr_sqrt),
    UNARY("Reciprocal", cr_reciprocal),
    UNARY("Exp", cr_exp),
    UNARY("Log", cr_log),
    UNARY("Sin", cr_sin),
    UNARY("Cos", cr_cos),
    UNARY("Tan", cr_tan),
    UNARY("Asin", cr_asin),
    UNARY("Acos", cr_acos),
    UNARY("Atan", cr_atan),
    UNARY("Sinh", cr_sinh),
    UNARY("Cosh", cr_cosh),
    UNARY("Tanh", cr_tanh),
    UNARY("Asinh", asinh_of),
    UNARY("Acosh", acosh_of),
    UNARY("Atanh", atanh_of),
    UNARY("Erf", cr_erf),
    UNARY("Sigmoid", cr_sigmoid),
    UNARY("Softsign", cr_softsign),
    UNARY("Softplus", softplus_plain),
    UNARY("Mish", cr_mish),
    UNARY("HardSwish", cr_hardswish),
    UNARY("IsNaN", cr_isnan),
    UNARY("Not", cr_logical_not),
    KEPT("BitwiseNot", cr_bitwise_not),
    ONNX_OPERATOR("Relu", run_relu),
    ACTIVATION("Elu", ELU),
    ACTIVATION("Celu", CELU),
    ACTIVATION("LeakyRelu", LEAKY),
    ACTIVATION("ThresholdedRelu", THRESHOLDED),
    ACTIVATION("HardSigmoid", HARD_SIGMOID),
    ACTIVATION("Selu", SELU),
    ACTIVATION("Shrink", SHRINK),
    ACTIVATION("Swish", SWISH),
    ACTIVATION("Gelu", GELU),
    ONNX_OPERATOR("PRelu", run_prelu, .weights = 2),
    ONNX_OPERATOR("Clip", run_clip, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("IsInf", run_isinf),
    ONNX_OPERATOR("Add", run_binary, .flags = ARITHMETIC, .binary = cr_add, .weights = 3),
    ONNX_OPERATOR("Sub", run_binary, .flags = ARITHMETIC, .binary = cr_sub, .weights = 3),
    ONNX_OPERATOR("Mul", run_binary, .flags = ARITHMETIC, .binary = cr_mul, .weights = 3),
    ONNX_OPERATOR("Div", run_div, .flags = ARITHMETIC, .weights = 3),
    ONNX_OPERATOR("Mod", run_mod, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Pow", run_pow),
    ONNX_OPERATOR("BitShift", run_bit_shift, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("BitwiseAnd", run_binary, .flags = ONNX_KEEPS, .binary = cr_bitwise_and),
    ONNX_OPERATOR("BitwiseOr", run_binary, .flags = ONNX_KEEPS, .binary = cr_bitwise_or),
    ONNX_OPERATOR("BitwiseXor", run_binary, .flags = ONNX_KEEPS, .binary = cr_bitwise_xor),
    BINARY("And", cr_logical_and),
    BINARY("Or", cr_logical_or),
    BINARY("Xor", cr_logical_xor),
    BINARY("Equal", cr_eq),
    BINARY("Less", cr_lt),
    BINARY("LessOrEqual", cr_le),
    BINARY("Greater", cr_gt),
    BINARY("GreaterOrEqual", cr_ge),
    ONNX_OPERATOR("Where", run_where, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Max", run_variadic, .flags = ONNX_KEEPS, .binary = cr_maximum),
    ONNX_OPERATOR("Min", run_variadic, .flags = ONNX_KEEPS, .binary = cr_minimum),
    ONNX_OPERATOR("Sum", run_variadic, .flags = ARITHMETIC, .variant = SUM, .binary = cr_add,
                  .weights = ~0u),
    ONNX_OPERATOR("Mean", run_variadic, .variant = MEAN, .binary = cr_add),
    ONNX_OPERATORS_END
};
