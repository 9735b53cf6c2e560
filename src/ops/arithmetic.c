/* Sums, differences, products and quotients of tensors, with broadcasting and promotion. */
#include "ops/ops.h"

/* The gradient of a broadcast operand: summed to the shape it had. */
void give_broadcast(cr_gradient_call *call, int i, cr_tensor *grad)
{
    call->grad_inputs[i] = cr_sum_to_size(grad, call->input_specs[i].shape);
}

/* ---- add ---- */

static void add_forward(const cr_call *call)
{
    map_forward(call, MAP_ADD);
}

static cr_status add_backward(cr_gradient_call *call)
{
    for (int i = 0; i < 2; i++) {
        if (call->needs[i])
            give_broadcast(call, i, call->grad_outputs[0]);
    }
    return CR_OK;
}

/* Truths are added by or and multiplied by and; the operators of arithmetic take numbers. */
static cr_status arithmetic_onnx(cr_onnx_call *call, const char *of_numbers, const char *of_truths)
{
    bool is_bool = call->output_specs[0].dtype == CR_BOOL;
    if (is_bool && !of_truths)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of bool");
    return onnx_direct(call, is_bool ? of_truths : of_numbers);
}

#define ARITHMETIC_ONNX(function, of_numbers, of_truths)                                           \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        return arithmetic_onnx(call, of_numbers, of_truths);                                       \
    }

ARITHMETIC_ONNX(add, "Add", "Or")
ARITHMETIC_ONNX(sub, "Sub", NULL)
ARITHMETIC_ONNX(mul, "Mul", "And")
ARITHMETIC_ONNX(div, "Div", NULL)

static const cr_op add_op = {
    .name = "add",
    .summary = "a + b",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
    .cast = CR_CAST_PROMOTE,
    .infer = infer_broadcast,
    .forward = { [CR_CPU] = add_forward },
    .backward = add_backward,
    .onnx = add_onnx,
};

cr_tensor *cr_add(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&add_op, CR_INPUTS(a, b), NULL);
}

cr_tensor *cr_add_scalar(cr_tensor *a, double b)
{
    return cr_add(a, cr_scalar(b));
}

/* ---- sub ---- */

static void sub_forward(const cr_call *call)
{
    map_forward(call, MAP_SUB);
}

static cr_status sub_backward(cr_gradient_call *call)
{
    if (call->needs[0])
        give_broadcast(call, 0, call->grad_outputs[0]);
    if (call->needs[1])
        give_broadcast(call, 1, cr_neg(call->grad_outputs[0]));
    return CR_OK;
}

static cr_status sub_infer(cr_infer_call *call)
{
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    if (call->outputs[0].dtype == CR_BOOL)
        return cr_error_set(CR_ERROR_DTYPE, "bool tensors have no difference; use cr_logical_xor");
    return CR_OK;
}

static const cr_op sub_op = {
    .name = "sub",
    .summary = "a - b",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
    .cast = CR_CAST_PROMOTE,
    .infer = sub_infer,
    .forward = { [CR_CPU] = sub_forward },
    .backward = sub_backward,
    .onnx = sub_onnx,
};

cr_tensor *cr_sub(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&sub_op, CR_INPUTS(a, b), NULL);
}

cr_tensor *cr_sub_scalar(cr_tensor *a, double b)
{
    return cr_sub(a, cr_scalar(b));
}

/* ---- mul ---- */

static void mul_forward(const cr_call *call)
{
    map_forward(call, MAP_MUL);
}

static cr_status mul_backward(cr_gradient_call *call)
{
    for (int i = 0; i < 2; i++) {
        if (call->needs[i])
            give_broadcast(call, i, cr_mul(call->grad_outputs[0], call->inputs[1 - i]));
    }
    return CR_OK;
}

static const cr_op mul_op = {
    .name = "mul",
    .summary = "a * b",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
    .cast = CR_CAST_PROMOTE,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = infer_broadcast,
    .forward = { [CR_CPU] = mul_forward },
    .backward = mul_backward,
    .onnx = mul_onnx,
};

cr_tensor *cr_mul(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&mul_op, CR_INPUTS(a, b), NULL);
}

cr_tensor *cr_mul_scalar(cr_tensor *a, double b)
{
    return cr_mul(a, cr_scalar(b));
}

/* ---- div ---- */

static void div_forward(const cr_call *call)
{
    map_forward(call, MAP_DIV);
}

static cr_status div_backward(cr_gradient_call *call)
{
    cr_tensor *grad = cr_div(call->grad_outputs[0], call->inputs[1]);
    if (call->needs[0])
        give_broadcast(call, 0, grad);
    if (call->needs[1])
        give_broadcast(call, 1, cr_neg(cr_mul(grad, cr_div(call->inputs[0], call->inputs[1]))));
    return CR_OK;
}

static const cr_op div_op = {
    .name = "div",
    .summary = "a / b, never rounded to an integer",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE_FLOATING,
    .cast = CR_CAST_PROMOTE,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = infer_broadcast,
    .forward = { [CR_CPU] = div_forward },
    .backward = div_backward,
    .onnx = div_onnx,
};

cr_tensor *cr_div(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&div_op, CR_INPUTS(a, b), NULL);
}

cr_tensor *cr_div_scalar(cr_tensor *a, double b)
{
    return cr_div(a, cr_scalar(b));
}

OP_FAMILY(arithmetic_ops) = { &add_op, &sub_op, &mul_op, &div_op, NULL };
