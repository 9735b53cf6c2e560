/* A convolution with norm by running statistics, a residual and an activation, in bfloat16: what
 * conv_norm.c makes of it in one pass without gradients, where autocast lowers the convolution.
 *
 * x, the residual and the result are bfloat16, all that norm and the weights are is float32. Norm
 * is folded into the weights before these are rounded, once, and their storage keeps the form that
 * the kernel reads; what norm adds stays float32. */
#include <math.h>

#include "kernels/conv/conv.h"
#include "ops/ops.h"

#define WORKSPACE_UNIT 64
#define FORM_HALF      (1u << 16) /* beside the forms of float32 */

enum { IN_X, IN_WEIGHT, IN_BIAS, IN_SCALE, IN_SHIFT, IN_MEAN, IN_VAR, IN_RESIDUAL, IN_COUNT };

struct attributes {
    struct convolution_attributes conv;
    double eps;
    int activation; /* cr_activation */
};

#define SETTING(kind, field)                                                                       \
    {                                                                                              \
#field, CR_ATTRIBUTE_##kind, offsetof(struct attributes, conv.field)                       \
    }

static const cr_attribute attribute_table[] = {
    SETTING(INTS, stride),
    SETTING(INTS, padding),
    SETTING(INTS, dilation),
    SETTING(INT, groups),
    CR_ATTRIBUTE(struct attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct attributes, ENUM, activation),
    CR_ATTRIBUTE_END,
};

static int spatial_of(const cr_tensor *weight)
{
    return weight->shape.ndim - 2;
}

/* The checks are those of a convolution of one dtype. */
static cr_status half_infer(cr_infer_call *call)
{
    struct attributes *a = call->attributes;
    const cr_tensor *x = call->inputs[IN_X], *residual = CALL_INPUT(call, IN_RESIDUAL);
    if (x->dtype != CR_BF16 || (residual && residual->dtype != CR_BF16))
        return cr_error_set(CR_ERROR_DTYPE, "x and the residual must be bfloat16");
    cr_tensor as_float = *x, *inputs[IN_COUNT] = { &as_float };
    as_float.dtype = CR_F32;
    cr_infer_call floats = *call;
    for (int i = IN_WEIGHT; i < call->input_count && i < IN_RESIDUAL; i++)
        inputs[i] = call->inputs[i];
    floats.inputs = inputs;
    floats.input_count = CR_MIN(call->input_count, IN_RESIDUAL);
    if (infer_convolution(&floats, &a->conv, spatial_of(call->inputs[IN_WEIGHT])) != CR_OK)
        return cr_error_status();
    call->outputs[0] = floats.outputs[0];
    call->outputs[0].dtype = CR_BF16;
    if (residual && !cr_shape_equal(&residual->shape, &call->outputs[0].shape))
        return cr_error_set(CR_ERROR_SHAPE, "the residual must have the shape of the result");
    for (int i = IN_SCALE; i <= IN_VAR; i++) {
        const cr_tensor *vector = CALL_INPUT(call, i);
        if (vector && tensor_numel(vector) != call->inputs[IN_WEIGHT]->shape.dim[0])
            return cr_error_set(CR_ERROR_SHAPE, "norm must have one value for each output channel");
    }
    return CR_OK;
}

static cr_conv conv_of_call(const cr_call *call)
{
    const struct attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    cr_conv c = conv_of(&a->conv, spatial_of(weight), call->inputs[IN_X], call->outputs[0],
                        weight->shape.dim + 2);
    c.bias_float = true;
    return c;
}

/* ---- weights with norm folded in, in the form that the kernel reads ---- */

static const float *floats_of(const cr_call *call, int i)
{
    const cr_tensor *tensor = CALL_INPUT(call, i);
    return tensor ? TENSOR_DATA(float, tensor) : NULL;
}

/* What norm multiplies each channel by, and what is added to it after that. */
static void fold_norm(const struct prepared_key *key, float *scale, float *shift)
{
    const float *bias = key->vectors[0], *weight = key->vectors[1], *added = key->vectors[2];
    const float *mean = key->vectors[3], *var = key->vectors[4];
    for (int64_t i = 0; i < key->shape.dim[0]; i++) {
        float invstd = mean ? (float)(1 / sqrt((double)var[i] + key->eps)) : 1;
        scale[i] = mean && weight ? weight[i] * invstd : invstd;
        shift[i] = ((bias ? bias[i] : 0) - (mean ? mean[i] : 0)) * scale[i];
        if (mean && added)
            shift[i] += added[i];
    }
}

static void fold_weights(const cr_tensor *weight, const float *scale, uint16_t *to)
{
    const float *from = TENSOR_DATA(float, weight);
    int64_t channels = weight->shape.dim[0], each = channels ? tensor_numel(weight) / channels : 0;
    for (int64_t channel = 0; channel < channels; channel++) {
        for (int64_t i = 0; i < each; i++)
            *to++ = bf16_from_float(scale[channel] * *from++);
    }
}

/* Fills in `prepared`: the folded weights, packed where the kernel has a form of its own. */
static void prepare(const cr_call *call, const cr_conv *c, float *scale, struct prepared *prepared)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    size_t bytes = (size_t)tensor_numel(weight) * sizeof(uint16_t);
    fold_norm(&prepared->key, scale, prepared->shift);
    if (!cr_conv_prepared_size(c)) {
        fold_weights(weight, scale, (uint16_t *)(void *)prepared->data);
        return;
    }
    uint16_t *folded = cr_buffer_alloc(bytes);
    if (!folded)
        return;
    fold_weights(weight, scale, folded);
    cr_conv_prepare(c, folded, prepared->data);
    cr_buffer_free(folded, bytes);
}

/* To be released; NULL on failure. */
static struct prepared *prepared_weights(const cr_call *call, const cr_conv *c, float *scale)
{
    const struct attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    size_t packed = cr_conv_prepared_size(c);
    size_t bytes = packed ? packed : (size_t)tensor_numel(weight) * sizeof(uint16_t);
    struct prepared_key key = { .form = cr_conv_prepared_form(c) | FORM_HALF,
                                .version = tensor_version(weight),
                                .offset = weight->offset,
                                .shape = weight->shape,
                                .eps = a->eps };
    for (int i = IN_BIAS; i <= IN_VAR; i++)
        key.vectors[i - IN_BIAS] = floats_of(call, i);
    struct prepared *prepared = prepared_find(weight->storage, &key);
    if (prepared)
        return prepared;
    prepared = prepared_new(&key, CR_DIV_UP(bytes, sizeof(float)) * sizeof(float));
    if (!prepared)
        return NULL;
    prepare(call, c, scale, prepared);
    if (!cr_failed())
        prepared_keep(weight->storage, prepared);
    return prepared;
}

/* ---- the kernel ---- */

/* The workspace begins with the scales of the channels. */
static size_t vector_size(const cr_call *call)
{
    size_t size = (size_t)call->inputs[IN_WEIGHT]->shape.dim[0] * sizeof(float);
    return (size + WORKSPACE_UNIT - 1) / WORKSPACE_UNIT * WORKSPACE_UNIT;
}

static size_t half_workspace_of(const cr_call *call)
{
    cr_conv c = conv_of_call(call);
    return vector_size(call) + cr_conv_forward_workspace(&c);
}

static void half_forward(const cr_call *call)
{
    const struct attributes *a = call->attributes;
    cr_conv c = conv_of_call(call);
    struct prepared *prepared = prepared_weights(call, &c, call->workspace);
    if (!cr_failed()) {
        const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
        cr_epilogue epilogue = { .row_bias = prepared->shift,
                                 .residual = residual ? tensor_bytes(residual) : NULL,
                                 .activation = (cr_activation)a->activation };
        cr_conv_forward(&c, tensor_bytes(call->inputs[IN_X]), prepared->data,
                        cr_conv_prepared_size(&c) ? prepared->data : NULL, &epilogue,
                        tensor_bytes(call->outputs[0]),
                        (char *)call->workspace + vector_size(call));
    }
    prepared_release(prepared);
}

static int64_t fused_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[IN_WEIGHT]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    int64_t norm = CALL_INPUT(call, IN_MEAN) ? 1 : 0;
    return tensor_numel(call->outputs[0]) * (each + norm);
}

/* Not in the table of ops: only autocast calls it, with tensors of two dtypes. */
static const cr_op half_conv_norm_activation_op = {
    .name = "native_conv_norm_activation_half",
    .summary = "conv_norm_activation of bfloat16 in one pass, without gradients",
    .input_names = "x weight bias norm_weight norm_bias running_mean running_var residual",
    .attributes = attribute_table,
    .attribute_size = sizeof(struct attributes),
    .min_inputs = 2,
    .max_inputs = IN_COUNT,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = half_infer,
    .workspace = half_workspace_of,
    .forward = { [CR_CPU] = half_forward },
    .multiply_adds = fused_multiply_adds,
};

/* ---- the choice ---- */

bool can_conv_norm_half(const cr_compose_call *call)
{
    if (cr_autocast_dtype() != CR_BF16)
        return false;
    for (int i = 0; i < call->input_count; i++) {
        const cr_tensor *input = call->inputs[i];
        bool may_be_half = i == IN_X || i == IN_RESIDUAL;
        if (input && ((input->dtype != CR_F32 && !(may_be_half && input->dtype == CR_BF16)) ||
                      !input->storage || (cr_grad_enabled() && input->requires_grad)))
            return false;
    }
    return true;
}

cr_tensor *conv_norm_half(const cr_compose_call *call, const struct convolution_attributes *conv,
                          double eps, int activation)
{
    struct attributes attributes = { .conv = *conv, .eps = eps, .activation = activation };
    cr_tensor *inputs[IN_COUNT] = { NULL };
    for (int i = 0; i < call->input_count; i++) {
        inputs[i] = call->inputs[i];
        if (inputs[i] && (i == IN_X || i == IN_RESIDUAL))
            inputs[i] = cr_to_dtype(inputs[i], CR_BF16);
    }
    return cr_apply(&half_conv_norm_activation_op, (cr_inputs){ call->input_count, inputs },
                    &attributes);
}
