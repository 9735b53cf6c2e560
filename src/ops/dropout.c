/* Dropout: a mask from the thread's generator, then one pass that applies it. The mask is an output
 * of its own, one byte an element (or a channel), that only backward reads. */
#include <math.h>

#include "cresset/activation.h"
#include "kernels/random/random_kernels.h"
#include "ops/ops.h"

/* Kept elements become scale * x + shift, the others `dropped`; these are the map's parameters. */
struct dropout_attributes {
    double scale;
    double shift;
    double dropped;
    double p;
    int64_t mask_dims; /* the mask differs along so many dimensions; 0: along all */
};

static const cr_attribute dropout_table[] = {
    CR_ATTRIBUTE(struct dropout_attributes, FLOAT, scale),
    CR_ATTRIBUTE(struct dropout_attributes, FLOAT, shift),
    CR_ATTRIBUTE(struct dropout_attributes, FLOAT, dropped),
    CR_ATTRIBUTE(struct dropout_attributes, FLOAT, p),
    CR_ATTRIBUTE(struct dropout_attributes, INT, mask_dims),
    CR_ATTRIBUTE_END,
};

/* ---- with the mask given ---- */

static void masked_forward(const cr_call *call)
{
    map_run(activation_map(ACTIVATION_DROPOUT), call->outputs[0],
            (const cr_tensor *const *)call->inputs, 2, call->attributes);
}

static cr_tensor *apply_gradient(cr_tensor *grad, cr_tensor *mask, double scale);

static cr_status masked_backward(cr_gradient_call *call)
{
    const struct dropout_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        apply_gradient(call->grad_outputs[0], call->inputs[1], attributes->scale);
    return CR_OK;
}

static const cr_op dropout_backward_op = {
    .name = "native_dropout_backward",
    .summary = "the gradient of dropout: scaled where the mask holds, 0 elsewhere",
    .input_names = "grad mask",
    .attributes = dropout_table,
    .attribute_size = sizeof(struct dropout_attributes),
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .infer = infer_same,
    .forward = { [CR_CPU] = masked_forward },
    .backward = masked_backward,
};

static cr_tensor *apply_gradient(cr_tensor *grad, cr_tensor *mask, double scale)
{
    return cr_apply(&dropout_backward_op, CR_INPUTS(grad, mask),
                    &(struct dropout_attributes){ .scale = scale });
}

/* ---- drawing the mask ---- */

static cr_status native_dropout_infer(cr_infer_call *call)
{
    const struct dropout_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (require_floating(x, "the input") != CR_OK)
        return cr_error_status();
    infer_same(call);
    call->outputs[1].dtype = CR_BOOL;
    call->outputs[1].shape = x->shape;
    for (int d = (int)attributes->mask_dims; attributes->mask_dims && d < x->shape.ndim; d++)
        call->outputs[1].shape.dim[d] = 1;
    return CR_OK;
}

static void native_dropout_forward(const cr_call *call)
{
    const struct dropout_attributes *attributes = call->attributes;
    cr_tensor *mask = call->outputs[1];
    cr_generator *generator = cr_default_generator();
    struct random_source source = { .seed = generator->seed, .stream = generator->stream };
    source.first = cr_generator_reserve(generator, (uint64_t)CR_DIV_UP(tensor_numel(mask), 4));
    random_keep_mask(mask, attributes->p, &source);
    map_run(activation_map(ACTIVATION_DROPOUT), call->outputs[0],
            (const cr_tensor *const[]){ call->inputs[0], mask }, 2, call->attributes);
}

static cr_status native_dropout_backward(cr_gradient_call *call)
{
    const struct dropout_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        apply_gradient(call->grad_outputs[0], call->outputs[1], attributes->scale);
    return CR_OK;
}

static const cr_op native_dropout_op = {
    .name = "native_dropout",
    .summary = "elements replaced with probability p; the mask of those kept is a second output",
    .input_names = "x",
    .attributes = dropout_table,
    .attribute_size = sizeof(struct dropout_attributes),
    .min_inputs = 1,
    .output_count = 2,
    .flags = CR_OP_STRIDED | CR_OP_RANDOM,
    .save_outputs = CR_SAVE(1),
    .infer = native_dropout_infer,
    .forward = { [CR_CPU] = native_dropout_forward },
    .backward = native_dropout_backward,
};

/* ---- the functions of torch.nn.functional ---- */

struct rate_attributes {
    double p;
    bool training;
};

static const cr_attribute rate_table[] = {
    CR_ATTRIBUTE(struct rate_attributes, FLOAT, p),
    CR_ATTRIBUTE(struct rate_attributes, BOOL, training),
    CR_ATTRIBUTE_END,
};

static cr_tensor *drop(const char *name, cr_compose_call *call, int64_t mask_dims)
{
    const struct rate_attributes *attributes = call->attributes;
    double p = attributes->p;
    if (!(p >= 0.0 && p <= 1.0)) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s: p must be between 0 and 1, but is %g", name, p);
        return NULL;
    }
    if (!attributes->training || p == 0.0)
        return call->inputs[0];
    struct dropout_attributes dropout = { .p = p,
                                          .scale = p < 1.0 ? 1.0 / (1.0 - p) : 0.0,
                                          .mask_dims = mask_dims };
    return cr_apply(&native_dropout_op, CR_INPUTS(call->inputs[0]), &dropout);
}

/* Channels are the first two dimensions of (N, C, …); where a sample may come without N, the first.
 */
static cr_tensor *drop_channels(const char *name, cr_compose_call *call, int ndim, bool may_lack_n)
{
    int own = call->inputs[0]->shape.ndim;
    if (own != ndim && own != ndim - 1) {
        cr_error_set(CR_ERROR_SHAPE, "%s: the input must have %d or %d dimensions, not %d", name,
                     ndim - 1, ndim, own);
        return NULL;
    }
    return drop(name, call, own == ndim || !may_lack_n ? 2 : 1);
}

static cr_tensor *drop_samples(cr_compose_call *call)
{
    if (require_ndim(call->inputs[0], "the input", 1, CR_MAX_DIMS) != CR_OK) {
        cr_error_prefix("stochastic_depth");
        return NULL;
    }
    return drop("stochastic_depth", call, 1);
}

/* Klambauer et al., "Self-normalizing neural networks", 2017: -scale * alpha of selu. */
#define SELU_FLOOR (-1.7580993408473766)

static cr_tensor *drop_alpha(const char *name, cr_compose_call *call, int64_t mask_dims)
{
    const struct rate_attributes *attributes = call->attributes;
    double p = attributes->p;
    if (!(p >= 0.0 && p <= 1.0) || p == 0.0 || !attributes->training)
        return drop(name, call, mask_dims);
    double scale = 1.0 / sqrt((SELU_FLOOR * SELU_FLOOR * p + 1.0) * (1.0 - p));
    double shift = -scale * SELU_FLOOR * p;
    struct dropout_attributes dropout = { .p = p,
                                          .scale = p < 1.0 ? scale : 0.0,
                                          .shift = p < 1.0 ? shift : 0.0,
                                          .dropped = p < 1.0 ? scale * SELU_FLOOR + shift : 0.0,
                                          .mask_dims = mask_dims };
    return cr_apply(&native_dropout_op, CR_INPUTS(call->inputs[0]), &dropout);
}

#define DROPOUT(function, text, expression)                                                        \
    static cr_status function##_compose(cr_compose_call *call)                                     \
    {                                                                                              \
        call->outputs[0] = expression;                                                             \
        return cr_error_status();                                                                  \
    }                                                                                              \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = rate_table,                                                                  \
        .attribute_size = sizeof(struct rate_attributes),                                          \
        .min_inputs = 1,                                                                           \
        .flags = CR_OP_RANDOM,                                                                     \
        .compose = function##_compose,                                                             \
    };                                                                                             \
    cr_tensor *cr_functional_##function(cr_tensor *x, double p, bool training)                     \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(x), &(struct rate_attributes){ p, training });   \
    }

DROPOUT(dropout, "elements become 0 with probability p, while training", drop("dropout", call, 0))
DROPOUT(dropout1d, "channels become 0 with probability p, while training",
        drop_channels("dropout1d", call, 3, true))
DROPOUT(dropout2d, "channels become 0 with probability p, while training",
        drop_channels("dropout2d", call, 4, false))
DROPOUT(dropout3d, "channels become 0 with probability p, while training",
        drop_channels("dropout3d", call, 5, true))
DROPOUT(stochastic_depth, "samples become 0 with probability p, while training", drop_samples(call))
DROPOUT(alpha_dropout, "dropout that keeps mean and variance", drop_alpha("alpha_dropout", call, 0))
DROPOUT(feature_alpha_dropout, "dropout of channels that keeps mean and variance",
        drop_alpha("feature_alpha_dropout", call, 2))

OP_FAMILY(dropout_ops) = { &native_dropout_op,
                           &dropout_backward_op,
                           &dropout_op,
                           &dropout1d_op,
                           &dropout2d_op,
                           &dropout3d_op,
                           &stochastic_depth_op,
                           &alpha_dropout_op,
                           &feature_alpha_dropout_op,
                           NULL };
