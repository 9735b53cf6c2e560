/* DenseNet: Huang et al., "Densely connected convolutional networks", 2016 (its variant BC), as
 * torchvision builds it: each layer reads the results of all before it in its block. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { BLOCKS = 4, MOST_LAYERS = 64, BOTTLENECK = 4 };

struct plan {
    int64_t growth, first;
    int counts[BLOCKS];
};

struct block_settings {
    int64_t growth;
    int count;
    bool ends; /* the last block, which batch norm follows instead of a transition */
};

/* (N, C, H, W) → (N, growth, H, W) */
static cr_tensor *dense_layer(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    cr_tensor *x = cr_batch_norm(at, "norm1", inputs[0], .relu = true);
    x = cr_conv2d_norm_activation(at, "conv1", "norm2", x, .out = BOTTLENECK * own->growth,
                                  .kernel = 1, .activation = CR_FUSED_RELU);
    return cr_conv2d(at, "conv2", x, .out = own->growth, .kernel = 3, .padding = 1,
                     .no_bias = true);
}

/* All layers of a block: (N, C, H, W) → (N, C + count growth, H, W). */
static cr_tensor *dense_block(cr_scope at, cr_tensor *x, const struct block_settings *own)
{
    cr_tensor *parts[MOST_LAYERS + 1] = { x };
    for (int i = 0; i < own->count; i++) {
        cr_scope layer = cr_at_format(at, "denselayer%d", i + 1);
        cr_frame frame = cr_frame_begin();
        cr_tensor *all = i == 0 ? x : cr_cat(parts, i + 1, 1);
        parts[i + 1] = cr_frame_end_with(frame, cr_block(layer, dense_layer, own, all));
    }
    return cr_cat(parts, own->count + 1, 1);
}

static cr_tensor *transition(cr_scope at, cr_tensor *x)
{
    x = cr_batch_norm(at, "norm", x, .relu = true);
    x = cr_conv2d(at, "conv", x, .out = cr_dim(x, 1) / 2, .kernel = 1, .no_bias = true);
    return cr_avg_pool2d(x, .kernel = 2);
}

static cr_tensor *stem(cr_scope at, cr_tensor *x, int64_t first)
{
    x = cr_conv2d_norm_activation(at, "conv0", "norm0", x, .out = first, .kernel = 7, .stride = 2,
                                  .activation = CR_FUSED_RELU);
    return cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1);
}

/* Ends a frame with what the next part reads, and gives up what this one read. */
static cr_tensor *hand_on(cr_frame frame, cr_tensor *old, cr_tensor *y)
{
    cr_retain(y);
    cr_frame_end(frame);
    cr_release(old);
    return y;
}

static cr_tensor *densenet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                           const struct plan *plan)
{
    if (part_is_new(at)) {
        cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 0 });
        part_init_linear(at, 0);
    }
    cr_scope features = cr_at(at, "features");
    cr_frame frame = cr_frame_begin();
    x = hand_on(frame, NULL, stem(features, x, plan->first));
    for (int b = 0; b < BLOCKS; b++) {
        struct block_settings own = { plan->growth, plan->counts[b], b == BLOCKS - 1 };
        frame = cr_frame_begin();
        cr_tensor *y = dense_block(cr_at_format(features, "denseblock%d", b + 1), x, &own);
        y = own.ends ? cr_batch_norm(features, "norm5", y, .relu = true)
                     : transition(cr_at_format(features, "transition%d", b + 1), y);
        x = hand_on(frame, x, y);
    }
    return cr_classifier_head(at, "classifier", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0 });
}

#define DENSENET(number, ...)                                                                      \
    cr_tensor *cr_densenet##number(cr_scope at, cr_tensor *x, cr_model_settings settings)          \
    {                                                                                              \
        static const struct plan plan = __VA_ARGS__;                                               \
        return densenet(at, x, settings, &plan);                                                   \
    }

DENSENET(121, { 32, 64, { 6, 12, 24, 16 } })
DENSENET(161, { 48, 96, { 6, 12, 36, 24 } })
DENSENET(169, { 32, 64, { 6, 12, 32, 32 } })
DENSENET(201, { 32, 64, { 6, 12, 48, 32 } })
