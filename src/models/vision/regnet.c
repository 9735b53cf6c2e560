/* RegNet: Radosavovic et al., "Designing network design spaces", 2020, as torchvision builds it.
 * The widths of its stages follow from a rule of four numbers; here they stand as the rule gives
 * them. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { STAGES = 4, STEM = 32 };

struct plan {
    int counts[STAGES];
    int widths[STAGES];
    int group; /* channels in a group of the 3×3 convolutions, at most the width */
    bool squeezes;
};

struct block_settings {
    int64_t out, stride, group;
    bool squeezes;
};

static cr_tensor *conv_norm(cr_scope at, cr_tensor *x, int64_t out, int64_t kernel, int64_t stride,
                            int64_t groups)
{
    return cr_conv2d_norm_activation(at, "0", "1", x, .out = out, .kernel = kernel,
                                     .stride = stride, .groups = groups,
                                     .activation = CR_FUSED_RELU);
}

/* A bottleneck as wide inside as at its end: (N, C, H, W) → (N, out, H/stride, W/stride). */
static cr_tensor *block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    cr_tensor *x = inputs[0], *shortcut = x;
    cr_scope inner = cr_at(at, "f");
    if (own->stride != 1 || cr_dim(x, 1) != own->out)
        shortcut = cr_conv2d_norm_activation(cr_at(at, "proj"), "0", "1", x, .out = own->out,
                                             .kernel = 1, .stride = own->stride);
    cr_tensor *y = conv_norm(cr_at(inner, "a"), x, own->out, 1, 1, 1);
    y = conv_norm(cr_at(inner, "b"), y, own->out, 3, own->stride, own->out / own->group);
    if (own->squeezes)
        y = part_squeeze(cr_at(inner, "se"), y, (part_squeeze_args){ .squeeze = cr_dim(x, 1) / 4 });
    return cr_conv2d_norm_activation(cr_at(inner, "c"), "0", "1", y, .out = own->out, .kernel = 1,
                                     .residual = shortcut, .activation = CR_FUSED_RELU);
}

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    return conv_norm(at, inputs[0], *(const int64_t *)settings, 3, 2, 1);
}

static cr_tensor *regnet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                         const struct plan *plan)
{
    int64_t first = STEM;
    if (part_is_new(at)) {
        part_init_convolutions(at);
        part_init_linear(at, 0.01);
    }
    x = part_next(cr_at(at, "stem"), stem, &first, cr_retain(x));
    for (int s = 0; s < STAGES; s++) {
        cr_scope stage = cr_at_format(at, "trunk_output.block%d", s + 1);
        struct block_settings own = { plan->widths[s], 2, plan->group, plan->squeezes };
        if (own.group > own.out)
            own.group = own.out;
        for (int i = 0; i < plan->counts[s]; i++) {
            x = part_next(cr_at_format(stage, "block%d-%d", s + 1, i), block, &own, x);
            own.stride = 1;
        }
    }
    return cr_classifier_head(at, "fc", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0 });
}

#define REGNET(name, ...)                                                                          \
    cr_tensor *cr_regnet_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)             \
    {                                                                                              \
        static const struct plan plan = __VA_ARGS__;                                               \
        return regnet(at, x, settings, &plan);                                                     \
    }

REGNET(y_400mf, { { 1, 3, 6, 6 }, { 48, 104, 208, 440 }, 8, true })
REGNET(y_800mf, { { 1, 3, 8, 2 }, { 64, 144, 320, 784 }, 16, true })
REGNET(y_1_6gf, { { 2, 6, 17, 2 }, { 48, 120, 336, 888 }, 24, true })
REGNET(y_3_2gf, { { 2, 5, 13, 1 }, { 72, 216, 576, 1512 }, 24, true })
REGNET(y_8gf, { { 2, 4, 10, 1 }, { 224, 448, 896, 2016 }, 56, true })
REGNET(y_16gf, { { 2, 4, 11, 1 }, { 224, 448, 1232, 3024 }, 112, true })
REGNET(y_32gf, { { 2, 5, 12, 1 }, { 232, 696, 1392, 3712 }, 232, true })
REGNET(y_128gf, { { 2, 7, 17, 1 }, { 528, 1056, 2904, 7392 }, 264, true })
REGNET(x_400mf, { { 1, 2, 7, 12 }, { 32, 64, 160, 400 }, 16, false })
REGNET(x_800mf, { { 1, 3, 7, 5 }, { 64, 128, 288, 672 }, 16, false })
REGNET(x_1_6gf, { { 2, 4, 10, 2 }, { 72, 168, 408, 912 }, 24, false })
REGNET(x_3_2gf, { { 2, 6, 15, 2 }, { 96, 192, 432, 1008 }, 48, false })
REGNET(x_8gf, { { 2, 5, 15, 1 }, { 80, 240, 720, 1920 }, 120, false })
REGNET(x_16gf, { { 2, 6, 13, 1 }, { 256, 512, 896, 2048 }, 128, false })
REGNET(x_32gf, { { 2, 7, 13, 1 }, { 336, 672, 1344, 2520 }, 168, false })
