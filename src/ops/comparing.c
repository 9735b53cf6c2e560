/* Comparisons, and logic of truths and of bits. */
#include <math.h>

#include "ops/ops.h"

static cr_status comparison_infer(cr_infer_call *call)
{
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    call->outputs[0].dtype = CR_BOOL;
    return CR_OK;
}

static cr_status bitwise_infer(cr_infer_call *call)
{
    if (infer_broadcast(call) != CR_OK)
        return cr_error_status();
    if (cr_dtype_is_floating(call->outputs[0].dtype))
        return cr_error_set(CR_ERROR_DTYPE, "takes integers or bool, not %s",
                            cr_dtype_name(call->outputs[0].dtype));
    return CR_OK;
}

/* An operand for a number: whole ones leave integers integers, so that all digits are compared. */
static cr_tensor *number(double value)
{
    bool is_whole = value == floor(value) && fabs(value) < 0x1p53;
    return is_whole ? cr_scalar_int((int64_t)value) : cr_scalar(value);
}

ONNX_DIRECT(eq, "Equal")
ONNX_DIRECT(lt, "Less")
ONNX_DIRECT(le, "LessOrEqual")
ONNX_DIRECT(gt, "Greater")
ONNX_DIRECT(ge, "GreaterOrEqual")

static cr_status ne_onnx(cr_onnx_call *call)
{
    cr_onnx_value equal = cr_onnx_binary(call, "Equal", call->inputs[0], call->inputs[1]);
    return onnx_result(call, cr_onnx_unary(call, "Not", equal));
}

/* Of truths, which numbers become where they may. */
static cr_status logic_onnx(cr_onnx_call *call, const char *type, bool takes_numbers)
{
    if (!takes_numbers && call->output_specs[0].dtype != CR_BOOL)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of integers");
    return onnx_result(
        call, cr_onnx_binary(call, type, onnx_as(call, 0, CR_BOOL), onnx_as(call, 1, CR_BOOL)));
}

#define LOGIC_ONNX(name, type)                                                                     \
    static cr_status logical_##name##_onnx(cr_onnx_call *call)                                     \
    {                                                                                              \
        return logic_onnx(call, type, true);                                                       \
    }                                                                                              \
    static cr_status bitwise_##name##_onnx(cr_onnx_call *call)                                     \
    {                                                                                              \
        return logic_onnx(call, type, false);                                                      \
    }

LOGIC_ONNX(and, "And")
LOGIC_ONNX(or, "Or")
LOGIC_ONNX(xor, "Xor")

#define RECORD(function, kind, text, infer_function)                                               \
    static void function##_forward(const cr_call *call)                                            \
    {                                                                                              \
        map_forward(call, MAP_##kind);                                                             \
    }                                                                                              \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "a b",                                                                      \
        .min_inputs = 2,                                                                           \
        .flags = CR_OP_STRIDED | CR_OP_PROMOTE | CR_OP_NOT_DIFFERENTIABLE,                         \
        .cast = CR_CAST_PROMOTE,                                                                   \
        .infer = infer_function,                                                                   \
        .forward = { [CR_CPU] = function##_forward },                                              \
        .onnx = function##_onnx,                                                                   \
    };                                                                                             \
    cr_tensor *cr_##function(cr_tensor *a, cr_tensor *b)                                           \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(a, b), NULL);                                    \
    }

/* The same with a number, too. */
#define COMPARISON(function, kind, text)                                                           \
    RECORD(function, kind, text, comparison_infer)                                                 \
    cr_tensor *cr_##function##_scalar(cr_tensor *a, double b)                                      \
    {                                                                                              \
        return cr_##function(a, number(b));                                                        \
    }

COMPARISON(eq, EQ, "a == b")
COMPARISON(ne, NE, "a != b")
COMPARISON(lt, LT, "a < b")
COMPARISON(le, LE, "a <= b")
COMPARISON(gt, GT, "a > b")
COMPARISON(ge, GE, "a >= b")
RECORD(logical_and, LOGICAL_AND, "whether both are not zero", comparison_infer)
RECORD(logical_or, LOGICAL_OR, "whether one or both are not zero", comparison_infer)
RECORD(logical_xor, LOGICAL_XOR, "whether just one is not zero", comparison_infer)
RECORD(bitwise_and, BITWISE_AND, "the bits that both have", bitwise_infer)
RECORD(bitwise_or, BITWISE_OR, "the bits that one or both have", bitwise_infer)
RECORD(bitwise_xor, BITWISE_XOR, "the bits that just one has", bitwise_infer)

OP_FAMILY(comparison_ops) = { &eq_op,
                              &ne_op,
                              &lt_op,
                              &le_op,
                              &gt_op,
                              &ge_op,
                              &logical_and_op,
                              &logical_or_op,
                              &logical_xor_op,
                              &bitwise_and_op,
                              &bitwise_or_op,
                              &bitwise_xor_op,
                              NULL };
