/* Residual nets: He et al., "Deep residual learning for image recognition", 2015, as torchvision
 * builds them (the stride of a bottleneck is in its 3×3 convolution). */
#include "cresset/conv_norm.h"
#include "cresset/models.h"
#include "cresset/ops.h"

/* A block of either kind is (N, C, H, W) → (N, expansion · width, H/stride, W/stride). */
struct block_settings {
    int64_t width, stride;
};

static cr_tensor *shortcut(cr_scope at, cr_tensor *x, int64_t out, int64_t stride)
{
    if (stride == 1 && cr_dim(x, 1) == out)
        return x;
    return cr_conv2d_norm_activation(at, "downsample.0", "downsample.1", x, .out = out, .kernel = 1,
                                     .stride = stride);
}

static cr_tensor *basic_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *block = settings;
    int64_t width = block->width, stride = block->stride;
    cr_tensor *x = inputs[0];
    cr_tensor *y = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = width, .kernel = 3,
                                             .stride = stride, .activation = CR_FUSED_RELU);
    return cr_conv2d_norm_activation(at, "conv2", "bn2", y, .out = width, .kernel = 3,
                                     .residual = shortcut(at, x, width, stride),
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *bottleneck(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *block = settings;
    int64_t width = block->width, stride = block->stride;
    cr_tensor *x = inputs[0];
    cr_tensor *y = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = width, .kernel = 1,
                                             .activation = CR_FUSED_RELU);
    y = cr_conv2d_norm_activation(at, "conv2", "bn2", y, .out = width, .kernel = 3,
                                  .stride = stride, .activation = CR_FUSED_RELU);
    return cr_conv2d_norm_activation(at, "conv3", "bn3", y, .out = 4 * width, .kernel = 1,
                                     .residual = shortcut(at, x, 4 * width, stride),
                                     .activation = CR_FUSED_RELU);
}

/* x and the result are held by the caller, who gives x up: only what backward needs outlives the
 * block that reads it. */
static cr_tensor *stage(cr_scope at, cr_tensor *x, cr_block_function block, int64_t width,
                        int count, int64_t stride)
{
    for (int i = 0; i < count; i++) {
        struct block_settings settings = { width, i == 0 ? stride : 1 };
        cr_frame frame = cr_frame_begin();
        cr_tensor *y = cr_retain(cr_block(cr_at_format(at, "%d", i), block, &settings, x));
        cr_frame_end(frame);
        cr_release(x);
        x = y;
    }
    return x;
}

static cr_tensor *stem(cr_scope at, cr_tensor *x, bool is_small)
{
    cr_frame frame = cr_frame_begin();
    x = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = 64, .kernel = is_small ? 3 : 7,
                                  .stride = is_small ? 1 : 2, .activation = CR_FUSED_RELU);
    if (!is_small)
        x = cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1);
    cr_retain(x);
    cr_frame_end(frame);
    return x;
}

/* torchvision's initialisation where it is not the layers' own. */
static void init_rules(cr_scope at, const char *last_norm)
{
    cr_model_init_rule(at.model, "*conv?.weight", (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 1 });
    cr_model_init_rule(at.model, "*downsample.0.weight", (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 1 });
    if (last_norm)
        cr_model_init_rule(at.model, last_norm, (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

static cr_tensor *resnet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                         cr_block_function block, const int counts[4])
{
    static const char *const names[4] = { "layer1", "layer2", "layer3", "layer4" };
    if (!cr_model_tensor_count(at.model))
        init_rules(at, !settings.zero_init_residual ? NULL
                       : block == bottleneck        ? "*bn3.weight"
                                                    : "*bn2.weight");
    x = stem(at, x, settings.small_stem);
    for (int i = 0; i < 4; i++)
        x = stage(cr_at(at, names[i]), x, block, (int64_t)64 << i, counts[i], i == 0 ? 1 : 2);
    cr_tensor *last = x;
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    cr_release(last);
    return cr_classifier_head(at, "fc", x, settings, (cr_classifier_head_args){ 1000, 0 });
}

cr_tensor *cr_resnet18(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return resnet(at, x, settings, basic_block, (const int[]){ 2, 2, 2, 2 });
}

cr_tensor *cr_resnet34(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return resnet(at, x, settings, basic_block, (const int[]){ 3, 4, 6, 3 });
}

cr_tensor *cr_resnet50(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return resnet(at, x, settings, bottleneck, (const int[]){ 3, 4, 6, 3 });
}
