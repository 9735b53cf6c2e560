/* Operators of ONNX on quantised numbers. Products are made in float64, which holds sums of
 * products of 8-bit integers exactly. */
#include <math.h>
#include <string.h>

#include "io/onnx/onnx.h"

/* A scale or zero point as it broadcasts to x: one for all, one for each element of a dimension, or
 * one for each block along it. */
static cr_tensor *spread(const struct onnx_call *call, cr_tensor *scale, cr_tensor *x)
{
    if (!scale || !x || cr_numel(scale) == 1)
        return scale ? cr_reshape(scale, cr_shape_scalar()) : NULL;
    int axis;
    int64_t block = onnx_int(call, "block_size", 0);
    if (!onnx_axis(call, onnx_int(call, "axis", 1), cr_ndim(x), &axis))
        return NULL;
    if (block > 0) {
        scale = cr_repeat_interleave(scale, block, axis);
        return cr_narrow(scale, axis, 0, cr_dim(x, axis));
    }
    cr_shape shape = { .ndim = cr_ndim(x), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
    shape.dim[axis] = cr_numel(scale);
    return cr_reshape(scale, shape);
}

/* round(x / scale) + zero, held to the range of a type; x / scale of a float type. */
static void give_quantized(struct onnx_call *call, cr_tensor *scaled, cr_tensor *zero, int type)
{
    const struct onnx_type_record *record = onnx_type_find(type);
    if (!record || !scaled) {
        onnx_refuse(call, "it quantises to a type that is not supported");
        return;
    }
    call->outputs[0].type = type;
    if (cr_dtype_is_floating(record->dtype)) {
        cr_tensor *y = zero ? cr_add(scaled, cr_to_dtype(zero, cr_dtype_of(scaled))) : scaled;
        onnx_give(
            call, 0,
            onnx_round_to_type(cr_to_dtype(y, record->dtype), type, onnx_int(call, "saturate", 1)));
        return;
    }
    bool is_signed = type == ONNX_INT8 || type == ONNX_INT16 || type == ONNX_INT4 ||
                     type == ONNX_INT2 || type == ONNX_INT32;
    double range = ldexp(1, record->bits - is_signed);
    cr_tensor *y = cr_round(scaled);
    y = zero ? cr_add(y, cr_to_dtype(zero, cr_dtype_of(y))) : y;
    onnx_give(call, 0, cr_to_dtype(cr_clamp(y, is_signed ? -range : 0, range - 1), record->dtype));
}

static void run_quantize(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *scale = onnx_need(call, 1);
    if (!x || !scale)
        return;
    cr_tensor *zero = spread(call, onnx_input(call, 2), x);
    int type = onnx_input_type(call, 2);
    if (!type)
        type = (int)onnx_int(call, "output_dtype", ONNX_UINT8);
    if (!type)
        type = ONNX_UINT8;
    x = cr_to_dtype(x, CR_F32);
    give_quantized(call, cr_div(x, cr_to_dtype(spread(call, scale, x), CR_F32)), zero, type);
}

static void run_dequantize(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *scale = onnx_need(call, 1);
    if (!x || !scale)
        return;
    cr_tensor *zero = spread(call, onnx_input(call, 2), x);
    const struct onnx_type_record *wanted =
        onnx_type_find((int)onnx_int(call, "output_dtype", onnx_input_type(call, 1)));
    cr_tensor *y = cr_to_dtype(x, CR_F32);
    y = zero ? cr_sub(y, cr_to_dtype(zero, CR_F32)) : y;
    y = cr_mul(y, cr_to_dtype(spread(call, scale, x), CR_F32));
    onnx_give(call, 0, cr_to_dtype(y, wanted ? wanted->dtype : cr_dtype_of(scale)));
}

/* To uint8, by the range of the data, which takes in 0. */
static void run_dynamic_quantize(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_tensor *low = cr_clamp(cr_min(x), -INFINITY, 0), *high = cr_clamp(cr_max(x), 0, INFINITY);
    cr_tensor *scale = cr_div_scalar(cr_sub(high, low), 255);
    cr_tensor *safe = cr_where(cr_eq_scalar(scale, 0), cr_ones_like(scale), scale);
    cr_tensor *zero = cr_clamp(cr_round(cr_neg(cr_div(low, safe))), 0, 255);
    give_quantized(call, cr_div(x, safe), zero, ONNX_UINT8);
    onnx_give(call, 1, scale);
    onnx_give(call, 2, cr_to_dtype(zero, CR_U8));
}

/* (x - zero) in float64. */
static cr_tensor *centred(const struct onnx_call *call, int x, int zero, cr_shape shape)
{
    cr_tensor *y = cr_to_dtype(onnx_need(call, x), CR_F64);
    cr_tensor *z = cr_to_dtype(onnx_need(call, zero), CR_F64);
    if (shape.ndim && z && cr_numel(z) > 1)
        z = cr_reshape(z, shape);
    return cr_sub(y, z);
}

/* A scale of rows (of the first operand) or columns stands in its dimension. */
static cr_tensor *as_rows(cr_tensor *scale, bool rows)
{
    scale = cr_to_dtype(scale, CR_F64);
    return rows && cr_ndim(scale) == 1 && cr_numel(scale) > 1 ? cr_unsqueeze(scale, -1) : scale;
}

static void run_qlinear_matmul(struct onnx_call *call)
{
    cr_shape any = { 0 };
    cr_shape rows = CR_SHAPE(-1, 1);
    cr_tensor *product = cr_matmul(centred(call, 0, 2, rows), centred(call, 3, 5, any));
    cr_tensor *scale =
        cr_mul(as_rows(onnx_need(call, 1), true), as_rows(onnx_need(call, 4), false));
    scale = cr_div(scale, as_rows(onnx_need(call, 6), true));
    give_quantized(call, cr_mul(product, scale), onnx_need(call, 7), onnx_input_type(call, 7));
}

/* The convolution itself is Conv's, on numbers that are exact. */
static void run_qlinear_conv(struct onnx_call *call)
{
    cr_shape any = { 0 },
             channels = { .ndim = cr_ndim(onnx_need(call, 3)), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
    channels.dim[0] = -1;
    struct onnx_value inputs[3] = { { .tensor = centred(call, 0, 2, any) },
                                    { .tensor = centred(call, 3, 5, channels) },
                                    { .tensor = cr_to_dtype(onnx_input(call, 8), CR_F64) } };
    struct onnx_value output = { 0 };
    struct onnx_call conv = *call;
    conv.inputs = inputs;
    conv.input_count = 3;
    conv.outputs = &output;
    conv.output_count = 1;
    if (!cr_failed())
        onnx_operator_find("", "Conv")->run(&conv);
    cr_shape along = { .ndim = cr_ndim(output.tensor), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
    along.dim[1] = -1;
    cr_tensor *weight_scale = cr_to_dtype(onnx_need(call, 4), CR_F64);
    if (weight_scale && cr_numel(weight_scale) > 1)
        weight_scale = cr_reshape(weight_scale, along);
    cr_tensor *scale = cr_mul(cr_to_dtype(onnx_need(call, 1), CR_F64), weight_scale);
    scale = cr_div(scale, cr_to_dtype(onnx_need(call, 6), CR_F64));
    give_quantized(call, cr_mul(output.tensor, scale), onnx_need(call, 7),
                   onnx_input_type(call, 7));
}

const struct onnx_operator onnx_quantize_operators[] = {
    ONNX_OPERATOR("QuantizeLinear", run_quantize),
    ONNX_OPERATOR("DequantizeLinear", run_dequantize),
    ONNX_OPERATOR("DynamicQuantizeLinear", run_dynamic_quantize),
    ONNX_OPERATOR("QLinearMatMul", run_qlinear_matmul),
    ONNX_OPERATOR("QLinearConv", run_qlinear_conv),
    ONNX_OPERATORS_END
};
