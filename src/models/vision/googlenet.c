/* GoogLeNet: Szegedy et al., "Going deeper with convolutions", 2014, with batch norm, as
 * torchvision builds it. Its two auxiliary heads run in training only, where the settings ask for
 * their logits; a run for shapes makes their parameters. */
#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

#define EPS        0.001
#define AUX_WEIGHT 0.3
#define AUX_DROP   0.7

/* Widths of the branches: 1×1; 3×3 and what comes before it; the same that once was 5×5; behind
 * pooling. */
struct branches {
    int64_t one, before_three, three, before_five, five, pooled;
};

static cr_tensor *conv_norm(cr_scope at, cr_tensor *x, int64_t out, int64_t kernel, int64_t stride)
{
    return cr_conv2d_norm_activation(at, "conv", "bn", x, .out = out, .kernel = kernel,
                                     .stride = stride, .eps = EPS, .activation = CR_FUSED_RELU);
}

static cr_tensor *inception(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct branches *own = settings;
    cr_tensor *x = inputs[0];
    cr_tensor *one = conv_norm(cr_at(at, "branch1"), x, own->one, 1, 1);
    cr_tensor *three = conv_norm(cr_at(at, "branch2.0"), x, own->before_three, 1, 1);
    three = conv_norm(cr_at(at, "branch2.1"), three, own->three, 3, 1);
    cr_tensor *five = conv_norm(cr_at(at, "branch3.0"), x, own->before_five, 1, 1);
    five = conv_norm(cr_at(at, "branch3.1"), five, own->five, 3, 1);
    cr_tensor *pooled = cr_max_pool2d(x, .kernel = 3, .stride = 1, .padding = 1, .ceil_mode = true);
    pooled = conv_norm(cr_at(at, "branch4.1"), pooled, own->pooled, 1, 1);
    return cr_cat_of(1, one, three, five, pooled);
}

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = conv_norm(cr_at(at, "conv1"), inputs[0], 64, 7, 2);
    x = cr_max_pool2d(x, .kernel = 3, .stride = 2, .ceil_mode = true);
    x = conv_norm(cr_at(at, "conv2"), x, 64, 1, 1);
    x = conv_norm(cr_at(at, "conv3"), x, 192, 3, 1);
    return cr_max_pool2d(x, .kernel = 3, .stride = 2, .ceil_mode = true);
}

static cr_tensor *pool(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)at;
    return cr_max_pool2d(inputs[0], .kernel = *(const int64_t *)settings, .stride = 2,
                         .ceil_mode = true);
}

/* Logits of features (N, C, H, W). */
static cr_tensor *auxiliary_head(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const cr_model_settings *own = settings;
    cr_tensor *x = cr_adaptive_avg_pool2d(inputs[0], CR_SHAPE(4, 4));
    x = cr_flatten(conv_norm(cr_at(at, "conv"), x, 128, 1, 1), 1, -1);
    x = cr_relu(cr_linear(at, "fc1", x, .out = 1024));
    x = cr_dropout(at, x, own->no_dropout ? 0 : AUX_DROP);
    return cr_linear(at, "fc2", x, .out = own->classes ? own->classes : 1000);
}

cr_tensor *cr_googlenet(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const int64_t three = 3, two = 2;
    static const struct branches mixed[] = {
        { 64, 96, 128, 16, 32, 32 },     { 128, 128, 192, 32, 96, 64 },
        { 192, 96, 208, 16, 48, 64 },    { 160, 112, 224, 24, 64, 64 },
        { 128, 128, 256, 24, 64, 64 },   { 112, 144, 288, 32, 64, 64 },
        { 256, 160, 320, 32, 128, 128 }, { 256, 160, 320, 32, 128, 128 },
        { 384, 192, 384, 48, 128, 128 },
    };
    static const char *const names[] = { "inception3a", "inception3b", "inception4a",
                                         "inception4b", "inception4c", "inception4d",
                                         "inception4e", "inception5a", "inception5b" };
    if (settings.auxiliary)
        *settings.auxiliary = (cr_auxiliary){ .weight = AUX_WEIGHT };
    if (part_is_new(at)) {
        cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_NORMAL, 0, 0.01 });
        cr_model_init_weights(at.model, "*.weight", 2, (cr_init){ CR_INIT_NORMAL, 0, 0.01 });
    }
    x = settings.transform_input ? part_transform(x) : x;
    x = part_next(at, stem, &three, cr_retain(x));
    for (int i = 0; i < 9; i++) {
        x = part_next(cr_at(at, names[i]), inception, &mixed[i], x);
        if (i == 1)
            x = part_next(at, pool, &three, x);
        if (i == 2)
            part_auxiliary(cr_at(at, "aux1"), auxiliary_head, x, 14, &settings);
        if (i == 5)
            part_auxiliary(cr_at(at, "aux2"), auxiliary_head, x, 14, &settings);
        if (i == 6)
            x = part_next(at, pool, &two, x);
    }
    return cr_classifier_head(at, "fc", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0.2 });
}
