/* ShuffleNet V2: Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture
 * design", 2018, as torchvision builds it. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "cresset/vision.h"
#include "models/parts.h"

enum { STAGES = 3, STEM = 24 };

struct block_settings {
    int64_t out, stride;
};

static cr_tensor *pointwise(cr_scope at, const char *conv, const char *norm, cr_tensor *x,
                            int64_t out)
{
    return cr_conv2d_norm_activation(at, conv, norm, x, .out = out, .kernel = 1,
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *depthwise(cr_scope at, const char *conv, const char *norm, cr_tensor *x,
                            int64_t stride)
{
    return cr_conv2d_norm_activation(at, conv, norm, x, .out = cr_dim(x, 1), .kernel = 3,
                                     .stride = stride, .groups = cr_dim(x, 1));
}

/* The branch that every block has, over the whole of its input or over half of the channels. */
static cr_tensor *main_branch(cr_scope at, cr_tensor *x, int64_t width, int64_t stride)
{
    x = pointwise(at, "0", "1", x, width);
    x = depthwise(at, "3", "4", x, stride);
    return pointwise(at, "5", "6", x, width);
}

static cr_tensor *block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    cr_tensor *x = inputs[0], *left, *right;
    int64_t width = own->out / 2;
    if (own->stride == 1) {
        left = cr_narrow(x, 1, 0, width);
        right = main_branch(cr_at(at, "branch2"), cr_narrow(x, 1, width, width), width, 1);
    } else {
        left = depthwise(cr_at(at, "branch1"), "0", "1", x, own->stride);
        left = pointwise(cr_at(at, "branch1"), "2", "3", left, width);
        right = main_branch(cr_at(at, "branch2"), x, width, own->stride);
    }
    return cr_channel_shuffle(cr_cat_of(1, left, right), 2);
}

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const int64_t *out = settings;
    cr_tensor *x = cr_conv2d_norm_activation(at, "0", "1", inputs[0], .out = *out, .kernel = 3,
                                             .stride = 2, .activation = CR_FUSED_RELU);
    return cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1);
}

static cr_tensor *last(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const int64_t *out = settings;
    return pointwise(at, "0", "1", inputs[0], *out);
}

static cr_tensor *shufflenet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                             const int64_t widths[STAGES + 1])
{
    static const int counts[STAGES] = { 4, 8, 4 };
    int64_t first = STEM;
    x = part_next(cr_at(at, "conv1"), stem, &first, cr_retain(x));
    for (int s = 0; s < STAGES; s++) {
        cr_scope stage = cr_at_format(at, "stage%d", s + 2);
        for (int i = 0; i < counts[s]; i++) {
            struct block_settings own = { widths[s], i == 0 ? 2 : 1 };
            x = part_next(cr_at_format(stage, "%d", i), block, &own, x);
        }
    }
    x = part_next(cr_at(at, "conv5"), last, &widths[STAGES], x);
    return cr_classifier_head(at, "fc", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0 });
}

#define SHUFFLENET(name, ...)                                                                      \
    cr_tensor *cr_shufflenet_v2_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)      \
    {                                                                                              \
        static const int64_t widths[STAGES + 1] = { __VA_ARGS__ };                                 \
        return shufflenet(at, x, settings, widths);                                                \
    }

SHUFFLENET(x0_5, 48, 96, 192, 1024)
SHUFFLENET(x1_0, 116, 232, 464, 1024)
SHUFFLENET(x1_5, 176, 352, 704, 1024)
SHUFFLENET(x2_0, 244, 488, 976, 2048)
