/* EfficientNet: Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural
 * networks", 2019, and "EfficientNetV2: smaller models and faster training", 2021, as torchvision
 * builds them. */
#include <math.h>

#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

#define STOCHASTIC_DEPTH 0.2 /* of the last block; it grows from 0 */

enum { MOST_STAGES = 7 };

/* Blocks that follow one another; only the first of them has the stride. */
struct stage {
    bool fused; /* one convolution instead of a 1×1 and a depthwise one */
    int expansion, kernel, stride, out, count;
};

struct plan {
    int64_t stem;
    int64_t last; /* 0: four times the last stage */
    struct stage stages[MOST_STAGES];
    int count;
};

/* How one net of the family differs. */
struct scale {
    double width, depth; /* 1: as planned */
    double dropout;
    double eps, momentum; /* of batch norm; 0: the usual ones */
};

struct block_settings {
    struct stage stage;
    double eps, momentum;
    double drop;
};

static cr_tensor *conv_norm(cr_scope at, cr_tensor *x, const struct block_settings *own,
                            int64_t groups)
{
    return cr_conv2d_norm_activation(at, "0", "1", x, .out = own->stage.out,
                                     .kernel = own->stage.kernel, .stride = own->stage.stride,
                                     .groups = groups, .eps = own->eps, .momentum = own->momentum,
                                     .activation = CR_FUSED_SILU);
}

static struct block_settings with(const struct block_settings *own, int64_t out, int kernel,
                                  int stride)
{
    struct block_settings changed = *own;
    changed.stage.out = (int)out;
    changed.stage.kernel = kernel;
    changed.stage.stride = stride;
    return changed;
}

/* Back to few channels, and x added where the sizes allow it. */
static cr_tensor *project(cr_scope at, cr_tensor *y, const struct block_settings *own, cr_tensor *x)
{
    bool joins = own->stage.stride == 1 && cr_dim(x, 1) == own->stage.out;
    bool kept = part_is_kept(at, own->drop);
    y = cr_conv2d_norm_activation(at, "0", "1", y, .out = own->stage.out, .kernel = 1,
                                  .eps = own->eps, .momentum = own->momentum,
                                  .residual = joins && kept ? x : NULL);
    return joins && !kept ? part_join(at, x, y, own->drop) : y;
}

static cr_tensor *inverted_residual(cr_scope at, cr_tensor *x, const struct block_settings *own)
{
    int64_t in = cr_dim(x, 1), wide = part_divisible((double)(in * own->stage.expansion), 8);
    struct block_settings expand = with(own, wide, 1, 1);
    struct block_settings depthwise = with(own, wide, own->stage.kernel, own->stage.stride);
    cr_tensor *y = x;
    int place = 0;
    if (wide != in)
        y = conv_norm(cr_at_format(at, "%d", place++), y, &expand, 1);
    y = conv_norm(cr_at_format(at, "%d", place++), y, &depthwise, wide);
    y = part_squeeze(cr_at_format(at, "%d", place++), y,
                     (part_squeeze_args){ .squeeze = in < 4 ? 1 : in / 4, .silu = true });
    return project(cr_at_format(at, "%d", place), y, own, x);
}

static cr_tensor *fused_residual(cr_scope at, cr_tensor *x, const struct block_settings *own)
{
    int64_t in = cr_dim(x, 1), wide = part_divisible((double)(in * own->stage.expansion), 8);
    struct block_settings expand = with(own, wide, own->stage.kernel, own->stage.stride);
    if (wide != in)
        return project(cr_at(at, "1"), conv_norm(cr_at(at, "0"), x, &expand, 1), own, x);
    cr_tensor *y = conv_norm(cr_at(at, "0"), x, own, 1);
    return own->stage.stride == 1 && in == own->stage.out ? part_join(at, x, y, own->drop) : y;
}

static cr_tensor *block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    at = cr_at(at, "block");
    return own->stage.fused ? fused_residual(at, inputs[0], own)
                            : inverted_residual(at, inputs[0], own);
}

/* The first convolution and the last. */
static cr_tensor *end(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    return conv_norm(at, inputs[0], settings, 1);
}

static int64_t widen(int64_t channels, double width)
{
    return width == 1 ? channels : part_divisible((double)channels * width, 8);
}

static void init_rules(cr_scope at, int64_t classes)
{
    double bound = 1 / sqrt((double)classes);
    part_init_convolutions(at);
    cr_model_init_weights(at.model, "classifier.1.weight", 2,
                          (cr_init){ CR_INIT_UNIFORM, -bound, bound });
}

static cr_tensor *efficientnet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                               const struct plan *plan, struct scale scale)
{
    if (part_is_new(at))
        init_rules(at, settings.classes ? settings.classes : 1000);
    cr_scope features = cr_at(at, "features");
    struct block_settings own = { .eps = scale.eps, .momentum = scale.momentum };
    struct block_settings first = with(&own, widen(plan->stem, scale.width), 3, 2);
    int counts[MOST_STAGES], blocks = 0, number = 0;
    for (int s = 0; s < plan->count; s++) {
        counts[s] = (int)ceil(plan->stages[s].count * scale.depth);
        blocks += counts[s];
    }
    x = part_next(cr_at(features, "0"), end, &first, cr_retain(x));
    for (int s = 0; s < plan->count; s++) {
        cr_scope stage = cr_at_format(features, "%d", s + 1);
        own.stage = plan->stages[s];
        own.stage.out = (int)widen(own.stage.out, scale.width);
        for (int i = 0; i < counts[s]; i++, number++) {
            own.stage.stride = i == 0 ? plan->stages[s].stride : 1;
            own.drop = settings.no_dropout ? 0 : STOCHASTIC_DEPTH * number / blocks;
            x = part_next(cr_at_format(stage, "%d", i), block, &own, x);
        }
    }
    struct block_settings last = with(&own, plan->last ? plan->last : 4 * own.stage.out, 1, 1);
    x = part_next(cr_at_format(features, "%d", plan->count + 1), end, &last, x);
    return cr_classifier_head(at, "classifier.1", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, scale.dropout });
}

static const struct plan plan_b = { 32,
                                    0,
                                    { { false, 1, 3, 1, 16, 1 },
                                      { false, 6, 3, 2, 24, 2 },
                                      { false, 6, 5, 2, 40, 2 },
                                      { false, 6, 3, 2, 80, 3 },
                                      { false, 6, 5, 1, 112, 3 },
                                      { false, 6, 5, 2, 192, 4 },
                                      { false, 6, 3, 1, 320, 1 } },
                                    7 };

static const struct plan plan_s = { 24,
                                    1280,
                                    { { true, 1, 3, 1, 24, 2 },
                                      { true, 4, 3, 2, 48, 4 },
                                      { true, 4, 3, 2, 64, 4 },
                                      { false, 4, 3, 2, 128, 6 },
                                      { false, 6, 3, 1, 160, 9 },
                                      { false, 6, 3, 2, 256, 15 } },
                                    6 };

static const struct plan plan_m = { 24,
                                    1280,
                                    { { true, 1, 3, 1, 24, 3 },
                                      { true, 4, 3, 2, 48, 5 },
                                      { true, 4, 3, 2, 80, 5 },
                                      { false, 4, 3, 2, 160, 7 },
                                      { false, 6, 3, 1, 176, 14 },
                                      { false, 6, 3, 2, 304, 18 },
                                      { false, 6, 3, 1, 512, 5 } },
                                    7 };

static const struct plan plan_l = { 32,
                                    1280,
                                    { { true, 1, 3, 1, 32, 4 },
                                      { true, 4, 3, 2, 64, 7 },
                                      { true, 4, 3, 2, 96, 7 },
                                      { false, 4, 3, 2, 192, 10 },
                                      { false, 6, 3, 1, 224, 19 },
                                      { false, 6, 3, 2, 384, 25 },
                                      { false, 6, 3, 1, 640, 7 } },
                                    7 };

#define EFFICIENTNET(name, plan, ...)                                                              \
    cr_tensor *cr_efficientnet_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)       \
    {                                                                                              \
        return efficientnet(at, x, settings, &(plan), (struct scale){ __VA_ARGS__ });              \
    }

EFFICIENTNET(b0, plan_b, 1.0, 1.0, 0.2, 0, 0)
EFFICIENTNET(b1, plan_b, 1.0, 1.1, 0.2, 0, 0)
EFFICIENTNET(b2, plan_b, 1.1, 1.2, 0.3, 0, 0)
EFFICIENTNET(b3, plan_b, 1.2, 1.4, 0.3, 0, 0)
EFFICIENTNET(b4, plan_b, 1.4, 1.8, 0.4, 0, 0)
EFFICIENTNET(b5, plan_b, 1.6, 2.2, 0.4, 0.001, 0.01)
EFFICIENTNET(b6, plan_b, 1.8, 2.6, 0.5, 0.001, 0.01)
EFFICIENTNET(b7, plan_b, 2.0, 3.1, 0.5, 0.001, 0.01)
EFFICIENTNET(v2_s, plan_s, 1.0, 1.0, 0.2, 0.001, 0)
EFFICIENTNET(v2_m, plan_m, 1.0, 1.0, 0.3, 0.001, 0)
EFFICIENTNET(v2_l, plan_l, 1.0, 1.0, 0.4, 0.001, 0)
