/* MobileNetV3: Howard et al., "Searching for MobileNetV3", 2019, as torchvision builds it. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

#define EPS      0.001
#define MOMENTUM 0.01

enum { STEM = 16, MOST_BLOCKS = 15 };

struct block_settings {
    int64_t kernel, wide, out, stride;
    bool squeeze, hardswish;
};

struct plan {
    struct block_settings blocks[MOST_BLOCKS];
    int count;
    int64_t hidden; /* units before the last layer */
};

static cr_tensor *conv_norm(cr_scope at, cr_tensor *x, const struct block_settings *own,
                            int64_t groups)
{
    return cr_conv2d_norm_activation(
        at, "0", "1", x, .out = own->out, .kernel = own->kernel, .stride = own->stride,
        .groups = groups, .eps = EPS, .momentum = MOMENTUM,
        .activation = own->hardswish ? CR_FUSED_HARDSWISH : CR_FUSED_RELU);
}

/* Wide inside, narrow at its ends: (N, C, H, W) → (N, out, H/stride, W/stride). */
static cr_tensor *inverted_residual(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    cr_tensor *x = inputs[0], *y = x;
    int64_t in = cr_dim(x, 1), wide = own->wide;
    struct block_settings expand = { 1, 0, wide, 1, false, own->hardswish };
    struct block_settings depthwise = { own->kernel, 0, wide, own->stride, false, own->hardswish };
    int place = 0;
    at = cr_at(at, "block");
    if (wide != in)
        y = conv_norm(cr_at_format(at, "%d", place++), y, &expand, 1);
    y = conv_norm(cr_at_format(at, "%d", place++), y, &depthwise, wide);
    if (own->squeeze)
        y = part_squeeze(
            cr_at_format(at, "%d", place++), y,
            (part_squeeze_args){ .squeeze = part_divisible((double)(wide / 4), 8), .hard = true });
    return cr_conv2d_norm_activation(cr_at_format(at, "%d", place), "0", "1", y, .out = own->out,
                                     .kernel = 1, .eps = EPS, .momentum = MOMENTUM,
                                     .residual = own->stride == 1 && in == own->out ? x : NULL);
}

/* The first convolution and the last. */
static cr_tensor *end(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    return conv_norm(at, inputs[0], settings, 1);
}

static cr_tensor *mobilenet_v3(cr_scope at, cr_tensor *x, cr_model_settings settings,
                               const struct plan *plan)
{
    if (part_is_new(at)) {
        part_init_convolutions(at);
        part_init_linear(at, 0.01);
    }
    cr_scope features = cr_at(at, "features");
    struct block_settings first = { 3, 0, STEM, 2, false, true };
    struct block_settings last = { 1, 0, 6 * plan->blocks[plan->count - 1].out, 1, false, true };
    x = part_next(cr_at(features, "0"), end, &first, cr_retain(x));
    for (int i = 0; i < plan->count; i++)
        x = part_next(cr_at_format(features, "%d", i + 1), inverted_residual, &plan->blocks[i], x);
    x = part_next(cr_at_format(features, "%d", plan->count + 1), end, &last, x);
    x = cr_hardswish(cr_linear(at, "classifier.0", part_pool(x), .out = plan->hidden));
    return cr_classifier_head(at, "classifier.3", x, settings,
                              (cr_classifier_head_args){ 1000, 0.2 });
}

cr_tensor *cr_mobilenet_v3_large(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct plan plan = { { { 3, 16, 16, 1, false, false },
                                        { 3, 64, 24, 2, false, false },
                                        { 3, 72, 24, 1, false, false },
                                        { 5, 72, 40, 2, true, false },
                                        { 5, 120, 40, 1, true, false },
                                        { 5, 120, 40, 1, true, false },
                                        { 3, 240, 80, 2, false, true },
                                        { 3, 200, 80, 1, false, true },
                                        { 3, 184, 80, 1, false, true },
                                        { 3, 184, 80, 1, false, true },
                                        { 3, 480, 112, 1, true, true },
                                        { 3, 672, 112, 1, true, true },
                                        { 5, 672, 160, 2, true, true },
                                        { 5, 960, 160, 1, true, true },
                                        { 5, 960, 160, 1, true, true } },
                                      15,
                                      1280 };
    return mobilenet_v3(at, x, settings, &plan);
}

cr_tensor *cr_mobilenet_v3_small(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct plan plan = { { { 3, 16, 16, 2, true, false },
                                        { 3, 72, 24, 2, false, false },
                                        { 3, 88, 24, 1, false, false },
                                        { 5, 96, 40, 2, true, true },
                                        { 5, 240, 40, 1, true, true },
                                        { 5, 240, 40, 1, true, true },
                                        { 5, 120, 48, 1, true, true },
                                        { 5, 144, 48, 1, true, true },
                                        { 5, 288, 96, 2, true, true },
                                        { 5, 576, 96, 1, true, true },
                                        { 5, 576, 96, 1, true, true } },
                                      11,
                                      1024 };
    return mobilenet_v3(at, x, settings, &plan);
}
