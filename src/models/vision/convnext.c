/* ConvNeXt: Liu et al., "A ConvNet for the 2020s", 2022, as torchvision builds it. */
#include "cresset/ops.h"
#include "models/parts.h"

#define EPS         1e-6 /* of layer norm */
#define LAYER_SCALE 1e-6

enum { STAGES = 4, WIDEN = 4 };

struct plan {
    int64_t widths[STAGES];
    int counts[STAGES];
    double drop; /* stochastic depth of the last block; it grows from 0 */
};

static cr_tensor *channels_last(cr_tensor *x)
{
    return cr_permute(x, CR_SHAPE(0, 2, 3, 1));
}

static cr_tensor *channels_first(cr_tensor *x)
{
    return cr_permute(x, CR_SHAPE(0, 3, 1, 2));
}

/* The stem: every 4×4 pixels become one. */
static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_tensor *x =
        cr_conv2d(at, "0", inputs[0], .out = *(const int64_t *)settings, .kernel = 4, .stride = 4);
    return channels_first(cr_layer_norm(at, "1", channels_last(x), .eps = EPS));
}

/* Between stages: every 2×2. */
static cr_tensor *shrink(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_tensor *x = channels_first(cr_layer_norm(at, "0", channels_last(inputs[0]), .eps = EPS));
    return cr_conv2d(at, "1", x, .out = *(const int64_t *)settings, .kernel = 2, .stride = 2);
}

/* A depthwise convolution of 7×7 and a perceptron over the channels, scaled; the setting is the
 * stochastic depth. */
static cr_tensor *block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_tensor *x = inputs[0];
    int64_t width = cr_dim(x, 1);
    cr_scope inner = cr_at(at, "block");
    cr_tensor *y =
        cr_conv2d(inner, "0", x, .out = width, .kernel = 7, .padding = 3, .groups = width);
    y = cr_layer_norm(inner, "2", channels_last(y), .eps = EPS);
    y = cr_linear(inner, "3", y, .out = WIDEN * width, .gelu = true);
    y = cr_linear(inner, "5", y, .out = width);
    cr_tensor *scale = cr_parameter(at, "layer_scale", CR_SHAPE(width, 1, 1),
                                    (cr_init){ CR_INIT_CONSTANT, LAYER_SCALE, 0 });
    y = channels_first(cr_mul(y, cr_flatten(scale, 0, -1)));
    return part_join(at, x, y, *(const double *)settings);
}

static cr_tensor *convnext(cr_scope at, cr_tensor *x, cr_model_settings settings,
                           const struct plan *plan)
{
    if (part_is_new(at)) {
        cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_NORMAL, 0, 0.02 });
        part_init_linear(at, 0.02);
    }
    cr_scope features = cr_at(at, "features");
    int number = 0, last = -1;
    for (int s = 0; s < STAGES; s++)
        last += plan->counts[s];
    x = part_next(cr_at(features, "0"), stem, &plan->widths[0], cr_retain(x));
    for (int s = 0; s < STAGES; s++) {
        cr_scope stage = cr_at_format(features, "%d", 2 * s + 1);
        if (s > 0)
            x = part_next(cr_at_format(features, "%d", 2 * s), shrink, &plan->widths[s], x);
        for (int i = 0; i < plan->counts[s]; i++, number++) {
            double drop = settings.no_dropout ? 0 : plan->drop * number / last;
            x = part_next(cr_at_format(stage, "%d", i), block, &drop, x);
        }
    }
    x = cr_layer_norm(at, "classifier.0", part_pool(x), .eps = EPS);
    return cr_classifier_head(at, "classifier.2", x, settings,
                              (cr_classifier_head_args){ 1000, 0 });
}

#define CONVNEXT(name, ...)                                                                        \
    cr_tensor *cr_convnext_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)           \
    {                                                                                              \
        static const struct plan plan = __VA_ARGS__;                                               \
        return convnext(at, x, settings, &plan);                                                   \
    }

CONVNEXT(tiny, { { 96, 192, 384, 768 }, { 3, 3, 9, 3 }, 0.1 })
CONVNEXT(small, { { 96, 192, 384, 768 }, { 3, 3, 27, 3 }, 0.4 })
CONVNEXT(base, { { 128, 256, 512, 1024 }, { 3, 3, 27, 3 }, 0.5 })
CONVNEXT(large, { { 192, 384, 768, 1536 }, { 3, 3, 27, 3 }, 0.5 })
