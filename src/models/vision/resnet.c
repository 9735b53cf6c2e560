/* Residual nets: He et al., "Deep residual learning for image recognition", 2015; Xie et al.,
 * "Aggregated residual transformations for deep neural networks", 2016; Zagoruyko, Komodakis, "Wide
 * residual networks", 2016, as torchvision builds them (the stride of a bottleneck is in its 3×3
 * convolution). */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { STAGES = 4, STEM = 64, EXPANSION = 4 };

struct plan {
    bool is_deep; /* of bottlenecks */
    int counts[STAGES];
    int64_t groups, width; /* of the 3×3 convolutions of bottlenecks: groups, channels in each where
                              a plain net has 64 */
};

/* A block of either kind is (N, C, H, W) → (N, out, H/stride, W/stride). */
struct block_settings {
    int64_t out, inner, stride, groups;
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
    int64_t out = block->out, stride = block->stride;
    cr_tensor *x = inputs[0];
    cr_tensor *y = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = out, .kernel = 3,
                                             .stride = stride, .activation = CR_FUSED_RELU);
    return cr_conv2d_norm_activation(at, "conv2", "bn2", y, .out = out, .kernel = 3,
                                     .residual = shortcut(at, x, out, stride),
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *bottleneck(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *block = settings;
    int64_t inner = block->inner, stride = block->stride;
    cr_tensor *x = inputs[0];
    cr_tensor *y = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = inner, .kernel = 1,
                                             .activation = CR_FUSED_RELU);
    y = cr_conv2d_norm_activation(at, "conv2", "bn2", y, .out = inner, .kernel = 3,
                                  .stride = stride, .groups = block->groups,
                                  .activation = CR_FUSED_RELU);
    return cr_conv2d_norm_activation(at, "conv3", "bn3", y, .out = block->out, .kernel = 1,
                                     .residual = shortcut(at, x, block->out, stride),
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    bool is_small = *(const bool *)settings;
    cr_tensor *x = cr_conv2d_norm_activation(at, "conv1", "bn1", inputs[0], .out = STEM,
                                             .kernel = is_small ? 3 : 7, .stride = is_small ? 1 : 2,
                                             .activation = CR_FUSED_RELU);
    return is_small ? x : cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1);
}

/* torchvision's initialisation where it is not the layers' own. */
static void init_rules(cr_scope at, const char *last_norm)
{
    cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 1 });
    if (last_norm)
        cr_model_init_rule(at.model, last_norm, (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

static cr_tensor *resnet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                         const struct plan *plan)
{
    static const char *const names[STAGES] = { "layer1", "layer2", "layer3", "layer4" };
    if (part_is_new(at))
        init_rules(at, !settings.zero_init_residual ? NULL
                       : plan->is_deep              ? "*bn3.weight"
                                                    : "*bn2.weight");
    x = part_next(at, stem, &settings.small_stem, cr_retain(x));
    for (int s = 0; s < STAGES; s++) {
        int64_t width = (int64_t)STEM << s;
        struct block_settings own = { plan->is_deep ? EXPANSION * width : width,
                                      width * plan->width / STEM * plan->groups, s == 0 ? 1 : 2,
                                      plan->groups };
        for (int i = 0; i < plan->counts[s]; i++) {
            x = part_next(cr_at_format(cr_at(at, names[s]), "%d", i),
                          plan->is_deep ? bottleneck : basic_block, &own, x);
            own.stride = 1;
        }
    }
    return cr_classifier_head(at, "fc", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0 });
}

#define RESNET(name, ...)                                                                          \
    cr_tensor *cr_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)                    \
    {                                                                                              \
        static const struct plan plan = __VA_ARGS__;                                               \
        return resnet(at, x, settings, &plan);                                                     \
    }

RESNET(resnet18, { false, { 2, 2, 2, 2 }, 1, 64 })
RESNET(resnet34, { false, { 3, 4, 6, 3 }, 1, 64 })
RESNET(resnet50, { true, { 3, 4, 6, 3 }, 1, 64 })
RESNET(resnet101, { true, { 3, 4, 23, 3 }, 1, 64 })
RESNET(resnet152, { true, { 3, 8, 36, 3 }, 1, 64 })
RESNET(resnext50_32x4d, { true, { 3, 4, 6, 3 }, 32, 4 })
RESNET(resnext101_32x8d, { true, { 3, 4, 23, 3 }, 32, 8 })
RESNET(resnext101_64x4d, { true, { 3, 4, 23, 3 }, 64, 4 })
RESNET(wide_resnet50_2, { true, { 3, 4, 6, 3 }, 1, 128 })
RESNET(wide_resnet101_2, { true, { 3, 4, 23, 3 }, 1, 128 })
