/* Inception v3: Szegedy et al., "Rethinking the inception architecture for computer vision", 2015,
 * as torchvision builds it. Its auxiliary head runs in training only, where the settings ask for
 * its logits; a run for shapes makes its parameters, and does not count what it would compute. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

#define EPS        0.001
#define AUX_WEIGHT 0.4

/* A convolution without padding. */
static cr_tensor *plain(cr_scope at, const char *name, cr_tensor *x, int64_t out, int64_t kernel,
                        int64_t stride)
{
    return cr_conv2d_norm_activation(cr_at(at, name), "conv", "bn", x, .out = out, .kernel = kernel,
                                     .stride = stride, .no_padding = true, .eps = EPS,
                                     .activation = CR_FUSED_RELU);
}

/* One that keeps the size. */
static cr_tensor *same(cr_scope at, const char *name, cr_tensor *x, int64_t out, int64_t down,
                       int64_t across)
{
    return cr_conv2d_norm_activation(cr_at(at, name), "conv", "bn", x, .out = out,
                                     .kernel_size = CR_SHAPE(down, across), .eps = EPS,
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *mean3(cr_tensor *x)
{
    return cr_avg_pool2d(x, .kernel = 3, .stride = 1, .padding = 1);
}

static cr_tensor *max3(cr_tensor *x)
{
    return cr_max_pool2d(x, .kernel = 3, .stride = 2);
}

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = plain(at, "Conv2d_1a_3x3", inputs[0], 32, 3, 2);
    x = plain(at, "Conv2d_2a_3x3", x, 32, 3, 1);
    x = max3(same(at, "Conv2d_2b_3x3", x, 64, 3, 3));
    x = plain(at, "Conv2d_3b_1x1", x, 80, 1, 1);
    return max3(plain(at, "Conv2d_4a_3x3", x, 192, 3, 1));
}

/* At 35×35; the setting is the width behind pooling. */
static cr_tensor *block_a(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_tensor *x = inputs[0];
    cr_tensor *one = plain(at, "branch1x1", x, 64, 1, 1);
    cr_tensor *five = same(at, "branch5x5_2", plain(at, "branch5x5_1", x, 48, 1, 1), 64, 5, 5);
    cr_tensor *three = plain(at, "branch3x3dbl_1", x, 64, 1, 1);
    three = same(at, "branch3x3dbl_2", three, 96, 3, 3);
    three = same(at, "branch3x3dbl_3", three, 96, 3, 3);
    cr_tensor *pooled = plain(at, "branch_pool", mean3(x), *(const int64_t *)settings, 1, 1);
    return cr_cat_of(1, one, five, three, pooled);
}

/* To 17×17. */
static cr_tensor *block_b(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = inputs[0];
    cr_tensor *once = plain(at, "branch3x3", x, 384, 3, 2);
    cr_tensor *twice = plain(at, "branch3x3dbl_1", x, 64, 1, 1);
    twice = same(at, "branch3x3dbl_2", twice, 96, 3, 3);
    twice = plain(at, "branch3x3dbl_3", twice, 96, 3, 2);
    return cr_cat_of(1, once, twice, max3(x));
}

/* At 17×17, with 7×7 taken apart; the setting is the width inside. */
static cr_tensor *block_c(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_tensor *x = inputs[0];
    int64_t width = *(const int64_t *)settings;
    cr_tensor *one = plain(at, "branch1x1", x, 192, 1, 1);
    cr_tensor *once = plain(at, "branch7x7_1", x, width, 1, 1);
    once = same(at, "branch7x7_2", once, width, 1, 7);
    once = same(at, "branch7x7_3", once, 192, 7, 1);
    cr_tensor *twice = plain(at, "branch7x7dbl_1", x, width, 1, 1);
    twice = same(at, "branch7x7dbl_2", twice, width, 7, 1);
    twice = same(at, "branch7x7dbl_3", twice, width, 1, 7);
    twice = same(at, "branch7x7dbl_4", twice, width, 7, 1);
    twice = same(at, "branch7x7dbl_5", twice, 192, 1, 7);
    cr_tensor *pooled = plain(at, "branch_pool", mean3(x), 192, 1, 1);
    return cr_cat_of(1, one, once, twice, pooled);
}

/* To 8×8. */
static cr_tensor *block_d(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = inputs[0];
    cr_tensor *three = plain(at, "branch3x3_1", x, 192, 1, 1);
    three = plain(at, "branch3x3_2", three, 320, 3, 2);
    cr_tensor *seven = plain(at, "branch7x7x3_1", x, 192, 1, 1);
    seven = same(at, "branch7x7x3_2", seven, 192, 1, 7);
    seven = same(at, "branch7x7x3_3", seven, 192, 7, 1);
    seven = plain(at, "branch7x7x3_4", seven, 192, 3, 2);
    return cr_cat_of(1, three, seven, max3(x));
}

/* At 8×8. */
static cr_tensor *block_e(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = inputs[0];
    cr_tensor *one = plain(at, "branch1x1", x, 320, 1, 1);
    cr_tensor *once = plain(at, "branch3x3_1", x, 384, 1, 1);
    once = cr_cat_of(1, same(at, "branch3x3_2a", once, 384, 1, 3),
                     same(at, "branch3x3_2b", once, 384, 3, 1));
    cr_tensor *twice = plain(at, "branch3x3dbl_1", x, 448, 1, 1);
    twice = same(at, "branch3x3dbl_2", twice, 384, 3, 3);
    twice = cr_cat_of(1, same(at, "branch3x3dbl_3a", twice, 384, 1, 3),
                      same(at, "branch3x3dbl_3b", twice, 384, 3, 1));
    cr_tensor *pooled = plain(at, "branch_pool", mean3(x), 192, 1, 1);
    return cr_cat_of(1, one, once, twice, pooled);
}

/* Logits of features (N, C, 17, 17). */
static cr_tensor *auxiliary_head(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const cr_model_settings *own = settings;
    cr_tensor *x = cr_avg_pool2d(inputs[0], .kernel = 5, .stride = 3);
    x = plain(at, "conv1", plain(at, "conv0", x, 128, 1, 1), 768, 5, 1);
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    return cr_linear(at, "fc", x, .out = own->classes ? own->classes : 1000);
}

static void init_rules(cr_model *model)
{
    cr_model_init_weights(model, "*.weight", 4, (cr_init){ CR_INIT_NORMAL, 0, 0.1 });
    cr_model_init_weights(model, "*.weight", 2, (cr_init){ CR_INIT_NORMAL, 0, 0.1 });
    cr_model_init_rule(model, "AuxLogits.fc.weight", (cr_init){ CR_INIT_NORMAL, 0, 0.001 });
}

cr_tensor *cr_inception_v3(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct {
        const char *name;
        cr_block_function block;
        int64_t width;
    } mixed[] = {
        { "Mixed_5b", block_a, 32 },  { "Mixed_5c", block_a, 64 },  { "Mixed_5d", block_a, 64 },
        { "Mixed_6a", block_b, 0 },   { "Mixed_6b", block_c, 128 }, { "Mixed_6c", block_c, 160 },
        { "Mixed_6d", block_c, 160 }, { "Mixed_6e", block_c, 192 }, { "Mixed_7a", block_d, 0 },
        { "Mixed_7b", block_e, 0 },   { "Mixed_7c", block_e, 0 },
    };
    if (settings.auxiliary)
        *settings.auxiliary = (cr_auxiliary){ .weight = AUX_WEIGHT };
    if (part_is_new(at))
        init_rules(at.model);
    x = settings.transform_input ? part_transform(x) : x;
    x = part_next(at, stem, &settings.classes, cr_retain(x));
    for (int i = 0; i < 11; i++) {
        if (i == 8)
            part_auxiliary(cr_at(at, "AuxLogits"), auxiliary_head, x, 17, &settings);
        x = part_next(cr_at(at, mixed[i].name), mixed[i].block, &mixed[i].width, x);
    }
    return cr_classifier_head(at, "fc", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0.5 });
}
