/* Functions of two and three tensors, element by element, other than the four kinds of arithmetic.
 */
#include <math.h>

#include "ops/ops.h"

#define FORWARD(name, kind)                                                                        \
    static void name##_forward(const cr_call *call)                                                \
    {                                                                                              \
        map_forward(call, MAP_##kind);                                                             \
    }

FORWARD(maximum, MAXIMUM)
FORWARD(minimum, MINIMUM)
FORWARD(fmod, FMOD)
FORWARD(remainder, REMAINDER)
FORWARD(floor_divide, FLOOR_DIVIDE)
FORWARD(atan2, ATAN2)
FORWARD(lerp, LERP)
FORWARD(addcmul, ADDCMUL)
FORWARD(addcdiv, ADDCDIV)
FORWARD(clamp, CLAMP)
FORWARD(clamp_backward, CLAMP_BACKWARD)

/* ---- pow ---- */

static cr_status pow_infer(cr_infer_call *call)
{
    const cr_tensor *exponent = call->inputs[1];
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    if (!tensor_is_floating(exponent) && exponent->shape.ndim == 0 && exponent->storage &&
        cr_item_int64(exponent) < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "integers have no negative integer powers; convert "
                                               "the base with cr_to_dtype");
    return CR_OK;
}

/* The map of a power that is simpler than the general one, for a single exponent. */
static enum map_kind power_kind(const cr_tensor *exponent)
{
    double power = exponent->shape.ndim == 0 ? cr_element(exponent, 0) : NAN;
    if (power == 2.0)
        return MAP_SQUARE;
    if (power == 3.0)
        return MAP_CUBE;
    if (!tensor_is_floating(exponent))
        return MAP_POW;
    if (power == 0.5)
        return MAP_SQRT;
    if (power == -0.5)
        return MAP_RSQRT;
    return power == -1.0 ? MAP_RECIPROCAL : MAP_POW;
}

static void pow_forward(const cr_call *call)
{
    enum map_kind kind = power_kind(call->inputs[1]);
    map_run(pointwise_map(kind), call->outputs[0], (const cr_tensor *const *)call->inputs,
            kind == MAP_POW ? 2 : 1, NULL);
}

/* g b a^(b-1), and 0 where b is 0, even at a = 0. */
static cr_tensor *pow_gradient_of_base(cr_tensor *g, cr_tensor *a, cr_tensor *b)
{
    if (b->shape.ndim == 0 && b->storage && !cr_requires_grad(b)) {
        double power = cr_item(b);
        if (power == 0.0)
            return NULL;
        return cr_mul(cr_mul_scalar(g, power), cr_pow_scalar(a, power - 1.0));
    }
    cr_tensor *slope = cr_mul(b, cr_pow(a, cr_sub_scalar(b, 1.0)));
    return cr_where(cr_eq_scalar(b, 0.0), cr_scalar(0.0), cr_mul(g, slope));
}

/* g a^b log a, and 0 where a is 0 and b is not negative. */
static cr_tensor *pow_gradient_of_exponent(cr_tensor *g, cr_tensor *a, cr_tensor *b)
{
    cr_tensor *is_flat = cr_logical_and(cr_eq_scalar(a, 0.0), cr_ge_scalar(b, 0.0));
    return cr_where(is_flat, cr_scalar(0.0), cr_mul(g, cr_mul(cr_pow(a, b), cr_log(a))));
}

static cr_status pow_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    cr_tensor *a = call->inputs[0];
    cr_tensor *b = call->inputs[1];
    cr_tensor *grad = call->needs[0] ? pow_gradient_of_base(g, a, b) : NULL;
    if (grad)
        give_broadcast(call, 0, grad);
    if (call->needs[1])
        give_broadcast(call, 1, pow_gradient_of_exponent(g, a, b));
    return CR_OK;
}

/* ---- maximum, minimum ---- */

/* All of g to the operand that was taken, half of it to each where they are equal. `lost` says
 * where the other one was. */
static cr_tensor *winner_gradient(cr_gradient_call *call, cr_tensor *lost)
{
    cr_tensor *g = call->grad_outputs[0];
    cr_tensor *is_equal = cr_eq(call->inputs[0], call->inputs[1]);
    cr_tensor *shared = cr_where(is_equal, cr_mul_scalar(g, 0.5), g);
    return cr_where(lost, cr_scalar(0.0), shared);
}

static cr_status maximum_backward(cr_gradient_call *call)
{
    if (call->needs[0])
        give_broadcast(call, 0, winner_gradient(call, cr_lt(call->inputs[0], call->inputs[1])));
    if (call->needs[1])
        give_broadcast(call, 1, winner_gradient(call, cr_gt(call->inputs[0], call->inputs[1])));
    return CR_OK;
}

static cr_status minimum_backward(cr_gradient_call *call)
{
    if (call->needs[0])
        give_broadcast(call, 0, winner_gradient(call, cr_gt(call->inputs[0], call->inputs[1])));
    if (call->needs[1])
        give_broadcast(call, 1, winner_gradient(call, cr_lt(call->inputs[0], call->inputs[1])));
    return CR_OK;
}

/* ---- fmod, remainder, floor_divide ---- */

static void find_zero(int64_t n, char *const *pointers, const int64_t *strides, const void *context)
{
    bool *const *found = context;
    for (int64_t i = 0; i < n && !**found; i++)
        **found = *(const int64_t *)(const void *)(pointers[0] + i * strides[0]) == 0;
}

static cr_status division_infer(cr_infer_call *call)
{
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    if (cr_dtype_is_floating(call->outputs[0].dtype))
        return CR_OK;
    cr_tensor *divisor = cr_to_dtype(call->inputs[1], CR_I64);
    if (!divisor)
        return cr_error_status();
    bool is_zero = false;
    bool *found = &is_zero;
    struct elementwise_plan plan;
    elementwise_plan_make(&plan, &divisor->shape, (const cr_tensor *const[]){ divisor }, 1);
    if (divisor->storage)
        elementwise_run_serial(&plan, find_zero, &found);
    return is_zero ? cr_error_set(CR_ERROR_ARGUMENT, "an integer is divided by zero") : CR_OK;
}

static cr_status fmod_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    if (call->needs[0])
        give_broadcast(call, 0, g);
    if (call->needs[1])
        give_broadcast(call, 1,
                       cr_neg(cr_mul(g, cr_trunc(cr_div(call->inputs[0], call->inputs[1])))));
    return CR_OK;
}

static cr_status remainder_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    if (call->needs[0])
        give_broadcast(call, 0, g);
    if (call->needs[1])
        give_broadcast(call, 1,
                       cr_neg(cr_mul(g, cr_floor_divide(call->inputs[0], call->inputs[1]))));
    return CR_OK;
}

/* ---- atan2 ---- */

static cr_status atan2_backward(cr_gradient_call *call)
{
    cr_tensor *y = call->inputs[0];
    cr_tensor *x = call->inputs[1];
    cr_tensor *part = cr_div(call->grad_outputs[0], cr_add(cr_square(y), cr_square(x)));
    if (call->needs[0])
        give_broadcast(call, 0, cr_mul(part, x));
    if (call->needs[1])
        give_broadcast(call, 1, cr_neg(cr_mul(part, y)));
    return CR_OK;
}

/* ---- lerp, addcmul, addcdiv ---- */

static cr_status lerp_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    cr_tensor *const *in = call->inputs;
    if (call->needs[0])
        give_broadcast(call, 0, cr_mul(g, cr_sub(cr_scalar(1.0), in[2])));
    if (call->needs[1])
        give_broadcast(call, 1, cr_mul(g, in[2]));
    if (call->needs[2])
        give_broadcast(call, 2, cr_mul(g, cr_sub(in[1], in[0])));
    return CR_OK;
}

struct value_attributes {
    double value;
};

static const cr_attribute value_table[] = {
    CR_ATTRIBUTE(struct value_attributes, FLOAT, value),
    CR_ATTRIBUTE_END,
};

static cr_status addcmul_backward(cr_gradient_call *call)
{
    const struct value_attributes *attributes = call->attributes;
    cr_tensor *g = call->grad_outputs[0];
    if (call->needs[0])
        give_broadcast(call, 0, g);
    for (int i = 1; i < 3; i++) {
        if (call->needs[i])
            give_broadcast(call, i,
                           cr_mul_scalar(cr_mul(g, call->inputs[3 - i]), attributes->value));
    }
    return CR_OK;
}

static cr_status addcdiv_backward(cr_gradient_call *call)
{
    const struct value_attributes *attributes = call->attributes;
    cr_tensor *g = call->grad_outputs[0];
    if (call->needs[0])
        give_broadcast(call, 0, g);
    cr_tensor *part = cr_div(cr_mul_scalar(g, attributes->value), call->inputs[2]);
    if (call->needs[1])
        give_broadcast(call, 1, part);
    if (call->needs[2])
        give_broadcast(call, 2, cr_neg(cr_mul(part, cr_div(call->inputs[1], call->inputs[2]))));
    return CR_OK;
}

/* ---- clamp ---- */

struct clamp_attributes {
    double min;
    double max;
};

static const cr_attribute clamp_table[] = {
    CR_ATTRIBUTE(struct clamp_attributes, FLOAT, min),
    CR_ATTRIBUTE(struct clamp_attributes, FLOAT, max),
    CR_ATTRIBUTE_END,
};

static const cr_op clamp_backward_op;

/* Linear in the gradient, and flat in x. */
static cr_status clamp_backward_backward(cr_gradient_call *call)
{
    if (call->needs[0])
        call->grad_inputs[0] =
            cr_apply(&clamp_backward_op, CR_INPUTS(call->grad_outputs[0], call->inputs[1]),
                     call->attributes);
    return CR_OK;
}

static const cr_op clamp_backward_op = {
    .name = "clamp_backward",
    .summary = "the gradient of clamp: passed on where x lies within",
    .input_names = "grad x",
    .attributes = clamp_table,
    .attribute_size = sizeof(struct clamp_attributes),
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .infer = infer_same,
    .forward = { [CR_CPU] = clamp_backward_forward },
    .backward = clamp_backward_backward,
};

static cr_status clamp_backward_fn(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_apply(
        &clamp_backward_op, CR_INPUTS(call->grad_outputs[0], call->inputs[0]), call->attributes);
    return CR_OK;
}

static cr_status clamp_onnx(cr_onnx_call *call)
{
    const struct clamp_attributes *a = call->attributes;
    return onnx_result(
        call, onnx_clip(call, call->inputs[0], call->input_specs[0].dtype, a->min, a->max));
}

static const cr_op clamp_op = {
    .name = "clamp",
    .summary = "no less than min and no more than max",
    .input_names = "x",
    .attributes = clamp_table,
    .attribute_size = sizeof(struct clamp_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0),
    .infer = infer_same,
    .forward = { [CR_CPU] = clamp_forward },
    .backward = clamp_backward_fn,
    .onnx = clamp_onnx,
};

static bool is_whole(double bound)
{
    return isinf(bound) || bound == floor(bound);
}

cr_tensor *cr_clamp(cr_tensor *x, double min, double max)
{
    /* Bounds between the integers make them floats, as in PyTorch. */
    if (x && !tensor_is_floating(x) && !(is_whole(min) && is_whole(max)))
        x = cr_to_dtype(x, CR_F32);
    return cr_apply(&clamp_op, CR_INPUTS(x), &(struct clamp_attributes){ min, max });
}

/* ---- where ---- */

static cr_status select_infer(cr_infer_call *call)
{
    cr_tensor_spec *out = &call->outputs[0];
    if (call->inputs[0]->dtype != CR_BOOL)
        return cr_error_set(CR_ERROR_DTYPE, "the condition must be bool, not %s",
                            cr_dtype_name((cr_dtype)call->inputs[0]->dtype));
    if (call->inputs[1]->dtype != call->inputs[2]->dtype)
        return cr_error_set(CR_ERROR_DTYPE, "%s and %s differ; use where",
                            cr_dtype_name((cr_dtype)call->inputs[1]->dtype),
                            cr_dtype_name((cr_dtype)call->inputs[2]->dtype));
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)call->inputs[1]->dtype;
    return CR_OK;
}

static void select_forward(const cr_call *call)
{
    const cr_tensor *operands[] = { call->inputs[1], call->inputs[2], call->inputs[0] };
    map_run(pointwise_map(MAP_WHERE), call->outputs[0], operands, 3, NULL);
}

static cr_status select_backward(cr_gradient_call *call)
{
    cr_tensor *g = call->grad_outputs[0];
    cr_tensor *zero = cr_scalar(0.0);
    if (call->needs[1])
        give_broadcast(call, 1, cr_where(call->inputs[0], g, zero));
    if (call->needs[2])
        give_broadcast(call, 2, cr_where(call->inputs[0], zero, g));
    return CR_OK;
}

ONNX_DIRECT(select, "Where")

static const cr_op select_op = {
    .name = "_s_where",
    .summary = "a where the condition holds, b elsewhere, both of one dtype",
    .input_names = "condition a b",
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0),
    .infer = select_infer,
    .forward = { [CR_CPU] = select_forward },
    .backward = select_backward,
    .onnx = select_onnx,
};

static cr_status where_compose(cr_compose_call *call)
{
    cr_tensor *condition = call->inputs[0];
    cr_dtype dtype = promote_tensors(call->inputs + 1, 2);
    cr_tensor *a = cr_to_dtype(call->inputs[1], dtype);
    cr_tensor *b = cr_to_dtype(call->inputs[2], dtype);
    call->outputs[0] = cr_apply(&select_op, CR_INPUTS(condition, a, b), NULL);
    return cr_error_status();
}

static const cr_op where_op = {
    .name = "where",
    .summary = "a where the condition holds, b elsewhere",
    .input_names = "condition a b",
    .min_inputs = 3,
    .compose = where_compose,
};

cr_tensor *cr_where(cr_tensor *condition, cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&where_op, CR_INPUTS(condition, a, b), NULL);
}

/* ---- in ONNX ---- */

ONNX_DIRECT(pow, "Pow")
ONNX_DIRECT(maximum, "Max")
ONNX_DIRECT(minimum, "Min")

static cr_onnx_value rest(cr_onnx_call *call, bool is_fmod)
{
    return cr_onnx_add(call, "Mod", .inputs = { call->inputs[0], call->inputs[1] },
                       .attributes = { CR_ONNX_INT("fmod", is_fmod) });
}

/* a / b rounded down: of integers, what is left when the rest is taken off. */
static cr_onnx_value quotient(cr_onnx_call *call)
{
    cr_onnx_value a = call->inputs[0], b = call->inputs[1];
    if (cr_dtype_is_floating(call->output_specs[0].dtype))
        return cr_onnx_unary(call, "Floor", cr_onnx_binary(call, "Div", a, b));
    return cr_onnx_binary(call, "Div", cr_onnx_binary(call, "Sub", a, rest(call, false)), b);
}

static cr_status fmod_onnx(cr_onnx_call *call)
{
    return onnx_result(call, rest(call, true));
}

static cr_status remainder_onnx(cr_onnx_call *call)
{
    cr_onnx_value a = call->inputs[0], b = call->inputs[1];
    if (!cr_dtype_is_floating(call->output_specs[0].dtype))
        return onnx_result(call, rest(call, false));
    return onnx_result(
        call, cr_onnx_binary(call, "Sub", a, cr_onnx_binary(call, "Mul", quotient(call), b)));
}

static cr_status floor_divide_onnx(cr_onnx_call *call)
{
    return onnx_result(call, quotient(call));
}

static cr_status lerp_onnx(cr_onnx_call *call)
{
    const cr_onnx_value *in = call->inputs;
    cr_onnx_value way = cr_onnx_binary(call, "Sub", in[1], in[0]);
    return onnx_result(call,
                       cr_onnx_binary(call, "Add", in[0], cr_onnx_binary(call, "Mul", in[2], way)));
}

static cr_status addc_onnx(cr_onnx_call *call, const char *type)
{
    const struct value_attributes *attributes = call->attributes;
    const cr_onnx_value *in = call->inputs;
    cr_onnx_value part = cr_onnx_binary(call, type, in[1], in[2]);
    if (attributes->value != 1)
        part =
            cr_onnx_with_number(call, "Mul", part, call->output_specs[0].dtype, attributes->value);
    return onnx_result(call, cr_onnx_binary(call, "Add", in[0], part));
}

static cr_status addcmul_onnx(cr_onnx_call *call)
{
    return addc_onnx(call, "Mul");
}

static cr_status addcdiv_onnx(cr_onnx_call *call)
{
    return addc_onnx(call, "Div");
}

/* ---- records ---- */

#define BINARY_RECORD(function, text, ...)                                                         \
    static const cr_op function##_op = { .name = #function,                                        \
                                         .summary = text,                                          \
                                         .input_names = "a b",                                     \
                                         .min_inputs = 2,                                          \
                                         .forward = { [CR_CPU] = function##_forward },             \
                                         .save_inputs = CR_SAVE(0) | CR_SAVE(1),                   \
                                         __VA_ARGS__ };                                            \
    cr_tensor *cr_##function(cr_tensor *a, cr_tensor *b)                                           \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(a, b), NULL);                                    \
    }

BINARY_RECORD(pow, "a to the power b", .flags = CR_OP_STRIDED | CR_OP_PROMOTE, .cast = CR_CAST_F32,
              .infer = pow_infer, .backward = pow_backward, .onnx = pow_onnx)
BINARY_RECORD(maximum, "the larger; NaN if either is", .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
              .cast = CR_CAST_PROMOTE, .infer = infer_broadcast, .backward = maximum_backward,
              .onnx = maximum_onnx)
BINARY_RECORD(minimum, "the smaller; NaN if either is", .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
              .cast = CR_CAST_PROMOTE, .infer = infer_broadcast, .backward = minimum_backward,
              .onnx = minimum_onnx)
BINARY_RECORD(fmod, "the rest of a / b, with the sign of a", .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
              .infer = division_infer, .backward = fmod_backward, .onnx = fmod_onnx)
BINARY_RECORD(remainder, "the rest of a / b, with the sign of b",
              .flags = CR_OP_STRIDED | CR_OP_PROMOTE, .infer = division_infer,
              .backward = remainder_backward, .onnx = remainder_onnx)
BINARY_RECORD(floor_divide, "a / b rounded down",
              .flags = CR_OP_STRIDED | CR_OP_PROMOTE | CR_OP_NOT_DIFFERENTIABLE,
              .infer = division_infer, .onnx = floor_divide_onnx)
BINARY_RECORD(atan2, "the angle of the point (b, a)",
              .flags = CR_OP_STRIDED | CR_OP_PROMOTE_FLOATING, .cast = CR_CAST_PROMOTE,
              .infer = infer_broadcast, .backward = atan2_backward)

cr_tensor *cr_pow_scalar(cr_tensor *a, double exponent)
{
    /* A whole exponent keeps integers integers. */
    bool is_integer = is_whole(exponent) && fabs(exponent) < 0x1p53;
    return cr_pow(a, is_integer ? cr_scalar_int((int64_t)exponent) : cr_scalar(exponent));
}

static const cr_op lerp_op = {
    .name = "lerp",
    .summary = "start + weight * (end - start)",
    .input_names = "start end weight",
    .min_inputs = 3,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE_FLOATING,
    .cast = CR_CAST_PROMOTE,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1) | CR_SAVE(2),
    .infer = infer_broadcast,
    .forward = { [CR_CPU] = lerp_forward },
    .backward = lerp_backward,
    .onnx = lerp_onnx,
};

cr_tensor *cr_lerp(cr_tensor *start, cr_tensor *end, cr_tensor *weight)
{
    return cr_apply(&lerp_op, CR_INPUTS(start, end, weight), NULL);
}

#define ADDC_RECORD(function, text, promotion)                                                     \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x a b",                                                                    \
        .attributes = value_table,                                                                 \
        .attribute_size = sizeof(struct value_attributes),                                         \
        .min_inputs = 3,                                                                           \
        .flags = CR_OP_STRIDED | promotion,                                                        \
        .cast = CR_CAST_PROMOTE,                                                                   \
        .save_inputs = CR_SAVE(1) | CR_SAVE(2),                                                    \
        .infer = infer_broadcast,                                                                  \
        .forward = { [CR_CPU] = function##_forward },                                              \
        .backward = function##_backward,                                                           \
        .onnx = function##_onnx,                                                                   \
    };                                                                                             \
    cr_tensor *cr_##function(cr_tensor *x, cr_tensor *a, cr_tensor *b, double value)               \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(x, a, b), &(struct value_attributes){ value });  \
    }

ADDC_RECORD(addcmul, "x + value * a * b", CR_OP_PROMOTE)
ADDC_RECORD(addcdiv, "x + value * a / b", CR_OP_PROMOTE_FLOATING)

OP_FAMILY(binary_ops) = { &pow_op,       &maximum_op,      &minimum_op, &fmod_op,
                          &remainder_op, &floor_divide_op, &atan2_op,   &lerp_op,
                          &addcmul_op,   &addcdiv_op,      &clamp_op,   &clamp_backward_op,
                          &select_op,    &where_op,        NULL };
