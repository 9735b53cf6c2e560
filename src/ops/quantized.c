/* Quantization, and layers of 8-bit integers. Weights are packed for the kernel once and kept with
 * their storage, together with what follows from scales, zero points and bias. */
#include "cresset/quantized.h"

#include <math.h>
#include <string.h>

#include "cresset/pointwise.h"
#include "kernels/quantized/quantized.h"
#include "ops/ops.h"

/* ---- quantize_per_tensor and dequantize ---- */

struct quantize_attributes {
    double scale;
    int64_t zero_point;
};

static const cr_attribute quantize_table[] = {
    CR_ATTRIBUTE(struct quantize_attributes, FLOAT, scale),
    CR_ATTRIBUTE(struct quantize_attributes, INT, zero_point),
    CR_ATTRIBUTE_END,
};

static cr_status check_point(const char *what, double scale, int64_t zero_point)
{
    if (!(scale > 0 && isfinite(scale)) || !isfinite((float)(1 / scale)))
        return cr_error_set(CR_ERROR_ARGUMENT, "%s %g is not a positive number", what, scale);
    if (zero_point < 0 || zero_point > UINT8_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "the zero point %lld is not 0 to 255",
                            (long long)zero_point);
    return CR_OK;
}

static cr_status require_dtype(const cr_tensor *x, const char *what, cr_dtype dtype)
{
    if (x->dtype == (uint8_t)dtype)
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "%s must be %s, not %s", what, cr_dtype_name(dtype),
                        cr_dtype_name((cr_dtype)x->dtype));
}

static cr_status convert_infer(cr_infer_call *call, cr_dtype from, cr_dtype to)
{
    const struct quantize_attributes *a = call->attributes;
    if (check_point("the scale", a->scale, a->zero_point) != CR_OK ||
        require_dtype(call->inputs[0], "x", from) != CR_OK)
        return cr_error_status();
    call->outputs[0].shape = call->inputs[0]->shape;
    call->outputs[0].dtype = to;
    if (call->inputs[0]->shape.ndim == 4)
        call->outputs[0].stride = channels_last_strides(&call->inputs[0]->shape);
    return CR_OK;
}

static cr_status quantize_infer(cr_infer_call *call)
{
    return convert_infer(call, CR_F32, CR_U8);
}

static cr_status dequantize_infer(cr_infer_call *call)
{
    return convert_infer(call, CR_U8, CR_F32);
}

/* The elements of an input in the order of the result's: as they are, or copied. */
static bool is_in_order(const cr_tensor *x)
{
    if (x->shape.ndim != 4)
        return tensor_is_contiguous(x);
    return is_channels_last(x) ||
           (tensor_is_contiguous(x) &&
            (x->shape.dim[1] == 1 || x->shape.dim[2] * x->shape.dim[3] == 1));
}

static size_t ordered_size(const cr_tensor *x)
{
    size_t bytes = (size_t)tensor_numel(x) * cr_dtype_size((cr_dtype)x->dtype);
    return is_in_order(x) ? 0 : (bytes + 63) / 64 * 64;
}

/* Copies elements of any strides, those of images pixel by pixel. */
static const void *ordered(const cr_tensor *x, void *room)
{
    if (is_in_order(x))
        return tensor_bytes(x);
    size_t size = cr_dtype_size((cr_dtype)x->dtype);
    cr_shape shape = x->shape;
    int order[CR_MAX_DIMS];
    for (int d = 0; d < shape.ndim; d++)
        order[d] = d;
    if (shape.ndim == 4)
        order[1] = 2, order[2] = 3, order[3] = 1;
    int64_t at[CR_MAX_DIMS] = { 0 }, count = tensor_numel(x);
    char *to = room;
    for (int64_t i = 0; i < count; i++, to += size) {
        int64_t from = 0;
        for (int d = 0; d < shape.ndim; d++)
            from += at[d] * x->stride[order[d]];
        memcpy(to, tensor_bytes(x) + from * (int64_t)size, size);
        for (int d = shape.ndim - 1; d >= 0 && ++at[d] == shape.dim[order[d]]; d--)
            at[d] = 0;
    }
    return room;
}

static size_t convert_workspace(const cr_call *call)
{
    return ordered_size(call->inputs[0]);
}

static void quantize_forward(const cr_call *call)
{
    const struct quantize_attributes *a = call->attributes;
    quantized_quantize(ordered(call->inputs[0], call->workspace), tensor_numel(call->inputs[0]),
                       (float)a->scale, (int32_t)a->zero_point,
                       TENSOR_DATA(uint8_t, call->outputs[0]));
}

static void dequantize_forward(const cr_call *call)
{
    const struct quantize_attributes *a = call->attributes;
    quantized_dequantize(ordered(call->inputs[0], call->workspace), tensor_numel(call->inputs[0]),
                         (float)a->scale, (int32_t)a->zero_point,
                         TENSOR_DATA(float, call->outputs[0]));
}

#define CONVERSION(function, words, about)                                                         \
    static const cr_op function##_op = {                                                           \
        .name = words,                                                                             \
        .summary = about,                                                                          \
        .input_names = "x",                                                                        \
        .attributes = quantize_table,                                                              \
        .attribute_size = sizeof(struct quantize_attributes),                                      \
        .min_inputs = 1,                                                                           \
        .flags = CR_OP_NOT_DIFFERENTIABLE | CR_OP_STRIDED,                                         \
        .infer = function##_infer,                                                                 \
        .workspace = convert_workspace,                                                            \
        .forward = { [CR_CPU] = function##_forward },                                              \
    }

CONVERSION(quantize, "quantize_per_tensor", "x as uint8, by a scale and a zero point");
CONVERSION(dequantize, "dequantize", "the numbers that quantized ones stand for");

/* ---- layers ---- */

enum { IN_X, IN_WEIGHT, IN_SCALE, IN_BIAS, IN_RESIDUAL, IN_COUNT };

struct layer_attributes {
    struct convolution_attributes conv;
    double x_scale;
    int64_t x_zero_point;
    double residual_scale;
    int64_t residual_zero_point;
    double scale; /* 0: the result is float32 */
    int64_t zero_point;
    double low;
    double high;
};

#define CONV_FIELD(kind, field)                                                                    \
    {                                                                                              \
#field, CR_ATTRIBUTE_##kind, offsetof(struct layer_attributes, conv.field)                 \
    }
#define POINTS                                                                                     \
    CR_ATTRIBUTE(struct layer_attributes, FLOAT, x_scale),                                         \
        CR_ATTRIBUTE(struct layer_attributes, INT, x_zero_point),                                  \
        CR_ATTRIBUTE(struct layer_attributes, FLOAT, residual_scale),                              \
        CR_ATTRIBUTE(struct layer_attributes, INT, residual_zero_point),                           \
        CR_ATTRIBUTE(struct layer_attributes, FLOAT, scale),                                       \
        CR_ATTRIBUTE(struct layer_attributes, INT, zero_point),                                    \
        CR_ATTRIBUTE(struct layer_attributes, FLOAT, low),                                         \
        CR_ATTRIBUTE(struct layer_attributes, FLOAT, high), CR_ATTRIBUTE_END

static const cr_attribute conv_table[] = { CONV_FIELD(INTS, stride), CONV_FIELD(INTS, padding),
                                           CONV_FIELD(INTS, dilation), CONV_FIELD(INT, groups),
                                           POINTS };

static const cr_attribute linear_table[] = { POINTS };

/* Weights are kept in another form anyway, so that there is no need to read them as they lie. */
static cr_status require_contiguous(const cr_tensor *tensor, const char *what)
{
    if (tensor_is_contiguous(tensor))
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT, "%s must be contiguous", what);
}

static cr_status check_vector(const cr_tensor *vector, const char *what, int64_t count)
{
    if (!vector)
        return CR_OK;
    if (require_dtype(vector, what, CR_F32) != CR_OK || require_contiguous(vector, what) != CR_OK)
        return cr_error_status();
    if (vector->shape.ndim == 1 && vector->shape.dim[0] == count)
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE, "%s must have one value for each of %lld output channels",
                        what, (long long)count);
}

/* The dtypes, points and vectors of a layer whose result has the shape of output 0. */
static cr_status check_layer(cr_infer_call *call)
{
    const struct layer_attributes *a = call->attributes;
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    int64_t channels = call->inputs[IN_WEIGHT]->shape.dim[0];
    if (require_dtype(call->inputs[IN_X], "x", CR_U8) != CR_OK ||
        require_dtype(call->inputs[IN_WEIGHT], "the weight", CR_I8) != CR_OK ||
        require_contiguous(call->inputs[IN_WEIGHT], "the weight") != CR_OK ||
        check_point("x_scale", a->x_scale, a->x_zero_point) != CR_OK ||
        check_vector(call->inputs[IN_SCALE], "weight_scale", channels) != CR_OK ||
        check_vector(CALL_INPUT(call, IN_BIAS), "the bias", channels) != CR_OK ||
        (a->scale != 0 && check_point("the scale", a->scale, a->zero_point) != CR_OK))
        return cr_error_status();
    if (residual &&
        (require_dtype(residual, "the residual", CR_U8) != CR_OK ||
         check_point("residual_scale", a->residual_scale, a->residual_zero_point) != CR_OK))
        return cr_error_status();
    if (residual && !cr_shape_equal(&residual->shape, &call->outputs[0].shape))
        return cr_error_set(CR_ERROR_SHAPE, "the residual must have the shape of the result");
    if (a->low > a->high)
        return cr_error_set(CR_ERROR_ARGUMENT, "low %g is above high %g", a->low, a->high);
    call->outputs[0].dtype = a->scale == 0 ? CR_F32 : CR_U8;
    return CR_OK;
}

static cr_status conv_infer(cr_infer_call *call)
{
    struct layer_attributes *a = call->attributes;
    const cr_tensor *x = call->inputs[IN_X], *weight = call->inputs[IN_WEIGHT];
    if (require_ndim(x, "x", 4, 4) != CR_OK || require_ndim(weight, "the weight", 4, 4) != CR_OK)
        return cr_error_status();
    /* The shapes are those of a convolution of floats. */
    cr_tensor floats[2] = { *x, *weight };
    cr_tensor *inputs[] = { &floats[0], &floats[1] };
    floats[0].dtype = floats[1].dtype = CR_F32;
    cr_infer_call shapes = { .op = call->op, .attributes = a, .inputs = inputs, .input_count = 2 };
    if (infer_convolution(&shapes, &a->conv, 2) != CR_OK)
        return cr_error_status();
    if (a->conv.groups > 1 &&
        (a->conv.groups != x->shape.dim[1] || x->shape.dim[1] != weight->shape.dim[0]))
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%lld groups of a quantized convolution: there may be one, or one for "
                            "each channel",
                            (long long)a->conv.groups);
    if (weight->shape.dim[2] * weight->shape.dim[3] > QUANTIZED_TAPS)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "a kernel of more than %d pixels",
                            QUANTIZED_TAPS);
    call->outputs[0] = shapes.outputs[0];
    call->outputs[0].stride = channels_last_strides(&call->outputs[0].shape);
    return check_layer(call);
}

static cr_status linear_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[IN_X], *weight = call->inputs[IN_WEIGHT];
    if (require_ndim(x, "x", 1, CR_MAX_DIMS) != CR_OK ||
        require_ndim(weight, "the weight", 2, 2) != CR_OK)
        return cr_error_status();
    int last = x->shape.ndim - 1;
    if (x->shape.dim[last] != weight->shape.dim[1])
        return cr_error_set(CR_ERROR_SHAPE, "x has rows of %lld elements, the weight of %lld",
                            (long long)x->shape.dim[last], (long long)weight->shape.dim[1]);
    call->outputs[0].shape = x->shape;
    call->outputs[0].shape.dim[last] = weight->shape.dim[0];
    return check_layer(call);
}

/* ---- the kernel's record ---- */

static bool is_linear(const cr_call *call)
{
    return call->inputs[IN_WEIGHT]->shape.ndim == 2;
}

static struct quantized_conv conv_of_layer(const cr_call *call)
{
    const struct layer_attributes *a = call->attributes;
    const cr_shape *x = &call->inputs[IN_X]->shape, *w = &call->inputs[IN_WEIGHT]->shape;
    struct quantized_conv c = { .batch = 1,
                                .in_width = 1,
                                .out_width = 1,
                                .out_channels = w->dim[0],
                                .kernel = { 1, 1 },
                                .stride = { 1, 1 },
                                .dilation = { 1, 1 },
                                .zero = (int32_t)a->x_zero_point };
    if (is_linear(call)) {
        c.in_channels = w->dim[1];
        c.in_height = c.out_height = w->dim[1] ? cr_shape_numel(x) / w->dim[1] : 0;
        return c;
    }
    const cr_shape *y = &call->outputs[0]->shape;
    c.batch = x->dim[0];
    c.in_channels = x->dim[1];
    c.in_height = x->dim[2], c.in_width = x->dim[3];
    c.out_height = y->dim[2], c.out_width = y->dim[3];
    c.is_depthwise = a->conv.groups > 1;
    for (int d = 0; d < 2; d++) {
        c.kernel[d] = w->dim[d + 2];
        c.stride[d] = a->conv.stride.dim[d];
        c.padding[d] = a->conv.padding.dim[d];
        c.dilation[d] = a->conv.dilation.dim[d];
    }
    return c;
}

/* What is kept: packed weights, then the scales and the offsets of sums. */
static size_t packed_bytes(const struct quantized_conv *c)
{
    return (quantized_packed_size(c) + 63) / 64 * 64;
}

static void prepare_layer(const cr_call *call, const struct quantized_conv *c,
                          struct prepared *prepared)
{
    const struct layer_attributes *a = call->attributes;
    char *data = (char *)prepared->data;
    float *scale = (float *)(void *)(data + packed_bytes(c));
    int32_t *offset = (int32_t *)(void *)(scale + c->out_channels);
    const float *weight_scale = TENSOR_DATA(float, call->inputs[IN_SCALE]);
    const cr_tensor *bias = CALL_INPUT(call, IN_BIAS);
    quantized_pack(c, TENSOR_DATA(int8_t, call->inputs[IN_WEIGHT]), (int8_t *)data, offset);
    for (int64_t i = 0; i < c->out_channels; i++) {
        scale[i] = (float)a->x_scale * weight_scale[i];
        float whole = bias ? rintf(TENSOR_DATA(float, bias)[i] / scale[i]) : 0;
        whole = whole > -1e9F ? (whole < 1e9F ? whole : 1e9F) : -1e9F;
        offset[i] = (int32_t)whole - c->zero * offset[i];
    }
}

static struct prepared *prepared_layer(const cr_call *call, const struct quantized_conv *c)
{
    const struct layer_attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT], *bias = CALL_INPUT(call, IN_BIAS);
    struct prepared_key key = { .form = 0x8000u | (unsigned)a->x_zero_point,
                                .version = tensor_version(weight),
                                .offset = weight->offset,
                                .shape = weight->shape,
                                .eps = a->x_scale };
    key.vectors[0] = TENSOR_DATA(float, call->inputs[IN_SCALE]);
    key.vectors[1] = bias ? TENSOR_DATA(float, bias) : NULL;
    struct prepared *prepared = prepared_find(weight->storage, &key);
    if (prepared)
        return prepared;
    size_t vectors = (size_t)c->out_channels * (sizeof(float) + sizeof(int32_t));
    prepared = prepared_new(&key, packed_bytes(c) + vectors);
    if (!prepared)
        return NULL;
    prepare_layer(call, c, prepared);
    prepared_keep(weight->storage, prepared);
    return prepared;
}

static size_t rounded_channels(const cr_call *call)
{
    const cr_shape *x = &call->inputs[IN_X]->shape;
    return ((size_t)x->dim[is_linear(call) ? x->ndim - 1 : 1] + 63) / 64 * 64;
}

static size_t layer_workspace(const cr_call *call)
{
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    return rounded_channels(call) + ordered_size(call->inputs[IN_X]) +
           (residual ? ordered_size(residual) : 0);
}

static void layer_forward(const cr_call *call)
{
    const struct layer_attributes *a = call->attributes;
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    struct quantized_conv c = conv_of_layer(call);
    if (tensor_numel(call->outputs[0]) == 0)
        return;
    struct prepared *prepared = prepared_layer(call, &c);
    if (!prepared)
        return;
    char *data = (char *)prepared->data, *room = (char *)call->workspace + rounded_channels(call);
    bool is_bounded = a->low != 0 || a->high != 0;
    c.weights = (const int8_t *)data;
    c.x = ordered(call->inputs[IN_X], room);
    c.finish.scale = (const float *)(const void *)(data + packed_bytes(&c));
    c.finish.offset = (const int32_t *)(const void *)(c.finish.scale + c.out_channels);
    if (residual) {
        c.finish.residual = ordered(residual, room + ordered_size(call->inputs[IN_X]));
        c.finish.residual_scale = (float)a->residual_scale;
        c.finish.residual_zero = (int32_t)a->residual_zero_point;
    }
    c.finish.low = is_bounded ? (float)a->low : -INFINITY;
    c.finish.high = is_bounded ? (float)a->high : INFINITY;
    c.finish.zero = (int32_t)a->zero_point;
    if (a->scale == 0) {
        c.finish.reals = TENSOR_DATA(float, call->outputs[0]);
    } else {
        c.finish.inverse = 1 / (float)a->scale;
        c.finish.bytes = TENSOR_DATA(uint8_t, call->outputs[0]);
    }
    quantized_conv_run(&c, call->workspace);
    prepared_release(prepared);
}

static int64_t layer_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[IN_WEIGHT]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->outputs[0]) * each;
}

#define LAYER(function, words, about)                                                              \
    static const cr_op quantized_##function##_op = {                                               \
        .name = words,                                                                             \
        .summary = about,                                                                          \
        .input_names = "x weight weight_scale bias residual",                                      \
        .attributes = function##_table,                                                            \
        .attribute_size = sizeof(struct layer_attributes),                                         \
        .min_inputs = 3,                                                                           \
        .max_inputs = IN_COUNT,                                                                    \
        .flags = CR_OP_NOT_DIFFERENTIABLE | CR_OP_STRIDED,                                         \
        .infer = function##_infer,                                                                 \
        .workspace = layer_workspace,                                                              \
        .forward = { [CR_CPU] = layer_forward },                                                   \
        .multiply_adds = layer_multiply_adds,                                                      \
    }

LAYER(conv, "quantized_conv2d", "a convolution of 8-bit integers");
LAYER(linear, "quantized_linear", "a linear layer of 8-bit integers");

OP_FAMILY(quantized_ops) = {
    &quantize_op, &dequantize_op, &quantized_conv_op, &quantized_linear_op, NULL,
};

/* ---- as functions ---- */

cr_tensor *cr_quantize_per_tensor(cr_tensor *x, double scale, int64_t zero_point)
{
    return cr_apply(&quantize_op, CR_INPUTS(x), &(struct quantize_attributes){ scale, zero_point });
}

cr_tensor *cr_dequantize(cr_tensor *x, double scale, int64_t zero_point)
{
    return cr_apply(&dequantize_op, CR_INPUTS(x),
                    &(struct quantize_attributes){ scale, zero_point });
}

/* Weights, scales and bias are read as they lie. */
static cr_tensor *apply_layer(const cr_op *op, const cr_quantized_args *args)
{
    struct layer_attributes attributes = { .conv = { .stride = args->stride,
                                                     .padding = args->padding,
                                                     .dilation = args->dilation,
                                                     .groups = args->groups },
                                           .x_scale = args->x_scale,
                                           .x_zero_point = args->x_zero_point,
                                           .residual_scale = args->residual_scale,
                                           .residual_zero_point = args->residual_zero_point,
                                           .scale = args->scale,
                                           .zero_point = args->zero_point,
                                           .low = args->low,
                                           .high = args->high };
    cr_tensor *inputs[IN_COUNT] = { args->x, cr_contiguous(args->weight),
                                    cr_contiguous(args->weight_scale),
                                    args->bias ? cr_contiguous(args->bias) : NULL, args->residual };
    if (!inputs[IN_X] || !inputs[IN_WEIGHT] || !inputs[IN_SCALE])
        return NULL;
    return cr_apply(op, (cr_inputs){ IN_COUNT, inputs }, &attributes);
}

cr_tensor *cr_quantized_conv2d_with(cr_quantized_args args)
{
    return apply_layer(&quantized_conv_op, &args);
}

cr_tensor *cr_quantized_linear_with(cr_quantized_args args)
{
    return apply_layer(&quantized_linear_op, &args);
}
