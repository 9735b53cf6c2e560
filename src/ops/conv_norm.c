/* A convolution with batch norm by running statistics, a residual and an activation.
 *
 * Where a gradient is wanted, and in other dtypes than float32 and bfloat16, this is written with
 * the ops of these names. Else one kernel does it: norm is folded into the weights, which their
 * storage keeps in the form that the kernel reads (prepared_weights.c), and the rest is the
 * epilogue of the convolution. */
#include "cresset/conv_norm.h"

#include <math.h>

#include "kernels/conv/conv.h"
#include "ops/ops.h"

#define WORKSPACE_UNIT 64

enum { IN_X, IN_WEIGHT, IN_BIAS, IN_SCALE, IN_SHIFT, IN_MEAN, IN_VAR, IN_RESIDUAL, IN_COUNT };

struct conv_norm_attributes {
    struct convolution_attributes conv;
    double eps;
    int activation;     /* cr_fused_activation */
    bool channels_last; /* the strides of the result, whatever those of x are */
};

#define SETTING(kind, field)                                                                       \
    {                                                                                              \
#field, CR_ATTRIBUTE_##kind, offsetof(struct conv_norm_attributes, conv.field)             \
    }

static const cr_attribute conv_norm_table[] = {
    SETTING(INTS, stride),
    SETTING(INTS, padding),
    SETTING(INTS, dilation),
    SETTING(INT, groups),
    CR_ATTRIBUTE(struct conv_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct conv_norm_attributes, ENUM, activation),
    CR_ATTRIBUTE(struct conv_norm_attributes, BOOL, channels_last),
    CR_ATTRIBUTE_END,
};

/* ---- in one kernel: float32, without gradients ---- */

static int spatial_of_weight(const cr_tensor *weight)
{
    return weight->shape.ndim - 2;
}

static cr_status native_infer(cr_infer_call *call)
{
    struct conv_norm_attributes *a = call->attributes;
    if (!CALL_INPUT(call, IN_MEAN) != !CALL_INPUT(call, IN_VAR))
        return cr_error_set(CR_ERROR_ARGUMENT, "running_mean and running_var go together");
    if (infer_convolution(call, &a->conv, spatial_of_weight(call->inputs[IN_WEIGHT])) != CR_OK)
        return cr_error_status();
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    if (residual && !cr_shape_equal(&residual->shape, &call->outputs[0].shape))
        return cr_error_set(CR_ERROR_SHAPE, "the residual must have the shape of the result");
    for (int i = IN_SCALE; i <= IN_VAR; i++) {
        const cr_tensor *vector = CALL_INPUT(call, i);
        if (vector && tensor_numel(vector) != call->inputs[IN_WEIGHT]->shape.dim[0])
            return cr_error_set(CR_ERROR_SHAPE, "norm must have one value for each output channel");
    }
    if (a->channels_last)
        call->outputs[0].stride = channels_last_strides(&call->outputs[0].shape);
    return CR_OK;
}

static cr_conv conv_of_call(const cr_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    cr_conv c = conv_of(&a->conv, spatial_of_weight(weight), call->inputs[IN_X], call->outputs[0],
                        weight->shape.dim + 2);
    c.channels_last = a->channels_last;
    return c;
}

/* ---- weights with norm folded in, in the form that the kernel reads ---- */

static const float *floats_of(const cr_call *call, int i)
{
    const cr_tensor *tensor = CALL_INPUT(call, i);
    return tensor ? TENSOR_DATA(float, tensor) : NULL;
}

/* What norm multiplies the channels by, and what it adds to those of the convolution by folded
 * weights. */
static void fold_norm(const struct prepared_key *key, float *scale, float *shift)
{
    const float *bias = key->vectors[0], *weight = key->vectors[1], *added = key->vectors[2];
    const float *mean = key->vectors[3], *var = key->vectors[4];
    for (int64_t i = 0; i < key->shape.dim[0]; i++) {
        float invstd = (float)(1 / sqrt((double)var[i] + key->eps));
        scale[i] = weight ? weight[i] * invstd : invstd;
        shift[i] = ((bias ? bias[i] : 0) - mean[i]) * scale[i] + (added ? added[i] : 0);
    }
}

static void fold_weights(const cr_tensor *weight, const float *scale, float *to)
{
    const float *from = TENSOR_DATA(float, weight);
    int64_t channels = weight->shape.dim[0], each = channels ? tensor_numel(weight) / channels : 0;
    for (int64_t channel = 0; channel < channels; channel++) {
        for (int64_t i = 0; i < each; i++)
            *to++ = scale[channel] * *from++;
    }
}

/* Fills in `prepared`: the folded weights, packed where the kernel has a form of its own. */
static void prepare(const cr_call *call, const cr_conv *c, float *scale, struct prepared *prepared)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    bool is_packed = cr_conv_prepared_size(c) > 0;
    if (!CALL_INPUT(call, IN_MEAN)) {
        cr_conv_prepare(c, tensor_bytes(weight), prepared->data);
        return;
    }
    fold_norm(&prepared->key, scale, prepared->shift);
    if (cr_conv_prepare_scaled(c, TENSOR_DATA(float, weight), scale, prepared->data))
        return;
    size_t bytes = (size_t)tensor_numel(weight) * sizeof(float);
    float *folded = is_packed ? cr_buffer_alloc(bytes) : prepared->data;
    if (!folded)
        return;
    fold_weights(weight, scale, folded);
    if (!is_packed)
        return;
    cr_conv_prepare(c, folded, prepared->data);
    cr_buffer_free(folded, bytes);
}

static struct prepared_key key_of(const cr_call *call, const cr_conv *c)
{
    const struct conv_norm_attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    struct prepared_key key = { .form = cr_conv_prepared_form(c),
                                .version = tensor_version(weight),
                                .offset = weight->offset,
                                .shape = weight->shape };
    if (!CALL_INPUT(call, IN_MEAN))
        return key;
    key.eps = a->eps;
    for (int i = IN_BIAS; i <= IN_VAR; i++)
        key.vectors[i - IN_BIAS] = floats_of(call, i);
    return key;
}

/* The weights as cr_conv_forward reads them, to be released. NULL on failure, or where they are
 * read as they are. */
static struct prepared *prepared_weights(const cr_call *call, const cr_conv *c, float *scale)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    size_t bytes = cr_conv_prepared_size(c);
    if (!bytes && CALL_INPUT(call, IN_MEAN))
        bytes = (size_t)tensor_numel(weight) * sizeof(float);
    if (!bytes)
        return NULL;
    struct prepared_key key = key_of(call, c);
    struct prepared *prepared = prepared_find(weight->storage, &key);
    if (prepared)
        return prepared;
    prepared = prepared_new(&key, bytes);
    if (!prepared)
        return NULL;
    prepare(call, c, scale, prepared);
    if (!cr_failed())
        prepared_keep(weight->storage, prepared);
    return prepared;
}

/* ---- the kernel ---- */

static size_t round_workspace(size_t size)
{
    return (size + WORKSPACE_UNIT - 1) / WORKSPACE_UNIT * WORKSPACE_UNIT;
}

/* The workspace begins with the scales of the channels. */
static size_t vector_size(const cr_call *call)
{
    return round_workspace((size_t)call->inputs[IN_WEIGHT]->shape.dim[0] * sizeof(float));
}

/* Then, where the result is channels-last and an input is not, with its copy that is. */
static size_t turned_size(const cr_call *call, int i)
{
    const struct conv_norm_attributes *a = call->attributes;
    const cr_tensor *tensor = CALL_INPUT(call, i);
    if (!tensor || !a->channels_last || is_channels_last(tensor) || tensor->shape.dim[1] == 1 ||
        tensor->shape.dim[2] * tensor->shape.dim[3] == 1)
        return 0;
    return round_workspace((size_t)tensor_numel(tensor) * sizeof(float));
}

static size_t native_workspace(const cr_call *call)
{
    cr_conv c = conv_of_call(call);
    return vector_size(call) + turned_size(call, IN_X) + turned_size(call, IN_RESIDUAL) +
           cr_conv_prepared_workspace(&c);
}

/* The elements of an input in the order of the result's. */
static const float *ordered(const cr_call *call, int i, char **rest)
{
    const cr_tensor *tensor = CALL_INPUT(call, i);
    size_t size = turned_size(call, i);
    if (!size)
        return floats_of(call, i);
    float *turned = (float *)(void *)*rest;
    cr_channels_last_turn(TENSOR_DATA(float, tensor), tensor->shape.dim[0], tensor->shape.dim[1],
                          tensor->shape.dim[2] * tensor->shape.dim[3], turned);
    *rest += size;
    return turned;
}

static const cr_activation activations[CR_FUSED_COUNT] = { CR_ACTIVATION_NONE, CR_ACTIVATION_RELU,
                                                           CR_ACTIVATION_RELU6,
                                                           CR_ACTIVATION_HARDSWISH,
                                                           CR_ACTIVATION_SILU };

static cr_epilogue fused_epilogue(const cr_call *call, const float *shift)
{
    const struct conv_norm_attributes *a = call->attributes;
    return (cr_epilogue){ .row_bias = CALL_INPUT(call, IN_MEAN) ? shift : floats_of(call, IN_BIAS),
                          .activation = activations[a->activation] };
}

static void native_forward(const cr_call *call)
{
    cr_conv c = conv_of_call(call);
    struct prepared *prepared = prepared_weights(call, &c, call->workspace);
    const void *weight = prepared ? prepared->data : TENSOR_DATA(float, call->inputs[IN_WEIGHT]);
    if (!cr_failed()) {
        char *rest = (char *)call->workspace + vector_size(call);
        cr_epilogue epilogue = fused_epilogue(call, prepared ? prepared->shift : NULL);
        const float *x = ordered(call, IN_X, &rest);
        epilogue.residual = ordered(call, IN_RESIDUAL, &rest);
        cr_conv_forward(&c, x, weight, cr_conv_prepared_size(&c) ? weight : NULL, &epilogue,
                        tensor_bytes(call->outputs[0]), rest);
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

#define CONV_NORM                                                                                  \
    .input_names = "x weight bias norm_weight norm_bias running_mean running_var residual",        \
    .attributes = conv_norm_table, .attribute_size = sizeof(struct conv_norm_attributes),          \
    .min_inputs = 2, .max_inputs = IN_COUNT

static const cr_op native_conv_norm_activation_op = {
    .name = "native_conv_norm_activation",
    .summary = "conv_norm_activation in one pass, without gradients",
    CONV_NORM,
    .flags = CR_OP_NOT_DIFFERENTIABLE | CR_OP_STRIDED,
    .infer = native_infer,
    .workspace = native_workspace,
    .forward = { [CR_CPU] = native_forward },
    .multiply_adds = fused_multiply_adds,
};

/* ---- the choice ---- */

static bool is_native(const cr_compose_call *call)
{
    if (cr_autocast_dtype() != CR_F32)
        return false;
    for (int i = 0; i < call->input_count; i++) {
        const cr_tensor *input = call->inputs[i];
        if (input && (input->dtype != CR_F32 || !input->storage ||
                      (cr_grad_enabled() && input->requires_grad)))
            return false;
    }
    return true;
}

static cr_tensor *activate(cr_tensor *x, cr_fused_activation activation)
{
    switch (activation) {
    case CR_FUSED_RELU:
        return cr_relu(x);
    case CR_FUSED_RELU6:
        return cr_relu6(x);
    case CR_FUSED_HARDSWISH:
        return cr_hardswish(x);
    case CR_FUSED_SILU:
        return cr_silu(x);
    default:
        return x;
    }
}

static cr_tensor *compose_with_ops(cr_compose_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    cr_fused_activation activation = (cr_fused_activation)a->activation;
    cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    bool relu = activation == CR_FUSED_RELU;
    cr_tensor *y =
        cr_functional_conv(call->inputs[IN_X], call->inputs[IN_WEIGHT], CALL_INPUT(call, IN_BIAS),
                           (cr_functional_conv_args){ .stride = a->conv.stride,
                                                      .padding = a->conv.padding,
                                                      .dilation = a->conv.dilation,
                                                      .groups = a->conv.groups });
    if (!CALL_INPUT(call, IN_MEAN))
        return activate(residual ? cr_add(y, residual) : y, activation);
    y = cr_functional_batch_norm(
        y, .weight = CALL_INPUT(call, IN_SCALE), .bias = CALL_INPUT(call, IN_SHIFT),
        .running_mean = CALL_INPUT(call, IN_MEAN), .running_var = CALL_INPUT(call, IN_VAR),
        .eps = a->eps, .relu = relu, .residual = residual);
    return relu ? y : activate(y, activation);
}

/* True where the kernels take channels-last tensors: a choice by the settings alone, which need not
 * have been checked yet. */
static bool can_be_channels_last(const cr_compose_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    const cr_tensor *x = call->inputs[IN_X], *weight = call->inputs[IN_WEIGHT];
    if (x->shape.ndim != 4 || weight->shape.ndim != 4)
        return false;
    int64_t groups = a->conv.groups ? a->conv.groups : 1, channels = x->shape.dim[1];
    return tensor_numel(x) > 0 && tensor_numel(weight) > 0 &&
           (groups == 1 || (groups == channels && groups == weight->shape.dim[0]));
}

/* All inputs are contiguous, but for those that may be channels-last. */
static cr_tensor *compose_natively(const cr_compose_call *call)
{
    struct conv_norm_attributes attributes = *(const struct conv_norm_attributes *)call->attributes;
    cr_tensor *inputs[IN_COUNT] = { NULL };
    attributes.channels_last = can_be_channels_last(call) &&
                               (attributes.channels_last || is_channels_last(call->inputs[IN_X]));
    for (int i = 0; i < call->input_count; i++) {
        cr_tensor *input = call->inputs[i];
        bool may_be_last = attributes.channels_last && (i == IN_X || i == IN_RESIDUAL);
        inputs[i] = input;
        if (!input || tensor_is_contiguous(input) || (may_be_last && is_channels_last(input)))
            continue;
        inputs[i] = cr_contiguous(input);
        if (!inputs[i])
            return NULL;
    }
    return cr_apply(&native_conv_norm_activation_op, (cr_inputs){ call->input_count, inputs },
                    &attributes);
}

static cr_status conv_norm_compose(cr_compose_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    if (!CALL_INPUT(call, IN_MEAN) != !CALL_INPUT(call, IN_VAR))
        return cr_error_set(CR_ERROR_ARGUMENT, "running_mean and running_var go together");
    if (a->activation < 0 || a->activation >= CR_FUSED_COUNT)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no activation %d", a->activation);
    int spatial = spatial_of_weight(call->inputs[IN_WEIGHT]);
    if (spatial < 1 || spatial > CR_CONV_DIMS)
        return require_ndim(call->inputs[IN_WEIGHT], "weight", 3, 5);
    if (is_native(call))
        call->outputs[0] = compose_natively(call);
    else if (can_conv_norm_half(call))
        call->outputs[0] = conv_norm_half(call, &a->conv, a->eps, (int)activations[a->activation]);
    else
        call->outputs[0] = compose_with_ops(call);
    return cr_error_status();
}

static const cr_op conv_norm_activation_op = {
    .name = "conv_norm_activation",
    .summary = "a convolution, batch norm by running statistics, a residual and an activation",
    CONV_NORM,
    .compose = conv_norm_compose,
};

OP_FAMILY(conv_norm_ops) = { &conv_norm_activation_op, &native_conv_norm_activation_op, NULL };

/* ---- as a function ---- */

cr_tensor *cr_functional_conv_norm_activation_with(cr_functional_conv_norm_activation_args args)
{
    struct conv_norm_attributes attributes = { .conv = { .stride = args.conv.stride,
                                                         .padding = args.conv.padding,
                                                         .dilation = args.conv.dilation,
                                                         .groups = args.conv.groups },
                                               .eps = args.eps == 0 ? 1e-5 : args.eps,
                                               .activation = args.activation,
                                               .channels_last = args.channels_last };
    return cr_apply(&conv_norm_activation_op,
                    CR_INPUTS(args.x, args.weight, args.bias, args.norm_weight, args.norm_bias,
                              args.running_mean, args.running_var, args.residual),
                    &attributes);
}
