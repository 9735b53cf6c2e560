/* VGG: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
 * 2014, as torchvision builds it. Layers are numbered as in its sequence of them, in which ReLU and
 * pooling count as well. */
#include <stdio.h>

#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { STAGES = 5, POOLED = 7, HIDDEN = 4096 };

struct stage_settings {
    int64_t width;
    int count; /* convolutions */
    int first; /* its number */
    bool norm;
};

/* 3×3 convolutions and pooling: (N, C, H, W) → (N, width, H/2, W/2). */
static cr_tensor *stage(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct stage_settings *own = settings;
    cr_tensor *x = inputs[0];
    for (int i = 0; i < own->count; i++) {
        char conv[16], norm[16];
        int number = own->first + i * (own->norm ? 3 : 2);
        snprintf(conv, sizeof conv, "%d", number);
        snprintf(norm, sizeof norm, "%d", number + 1);
        if (own->norm)
            x = cr_conv2d_norm_activation(at, conv, norm, x, .out = own->width, .kernel = 3,
                                          .bias = true, .activation = CR_FUSED_RELU);
        else
            x = cr_relu(cr_conv2d(at, conv, x, .out = own->width, .kernel = 3, .padding = 1));
    }
    return cr_max_pool2d(x, .kernel = 2);
}

static cr_tensor *vgg(cr_scope at, cr_tensor *x, cr_model_settings settings,
                      const int counts[STAGES], bool norm)
{
    static const int64_t widths[STAGES] = { 64, 128, 256, 512, 512 };
    if (part_is_new(at)) {
        part_init_convolutions(at);
        part_init_linear(at, 0.01);
    }
    double dropout = part_dropout(&settings, 0.5);
    int number = 0;
    x = cr_retain(x);
    for (int s = 0; s < STAGES; s++) {
        struct stage_settings own = { widths[s], counts[s], number, norm };
        x = part_next(cr_at(at, "features"), stage, &own, x);
        number += counts[s] * (norm ? 3 : 2) + 1;
    }
    cr_tensor *last = x;
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(POOLED, POOLED)), 1, -1);
    cr_release(last);
    x = cr_relu(cr_linear(at, "classifier.0", x, .out = HIDDEN));
    x = cr_dropout(at, x, dropout);
    x = cr_relu(cr_linear(at, "classifier.3", x, .out = HIDDEN));
    return cr_classifier_head(at, "classifier.6", x, settings,
                              (cr_classifier_head_args){ 1000, 0.5 });
}

static const int vgg11[] = { 1, 1, 2, 2, 2 };
static const int vgg13[] = { 2, 2, 2, 2, 2 };
static const int vgg16[] = { 2, 2, 3, 3, 3 };
static const int vgg19[] = { 2, 2, 4, 4, 4 };

#define VGG(name, counts, norm)                                                                    \
    cr_tensor *cr_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)                    \
    {                                                                                              \
        return vgg(at, x, settings, counts, norm);                                                 \
    }

VGG(vgg11, vgg11, false)
VGG(vgg13, vgg13, false)
VGG(vgg16, vgg16, false)
VGG(vgg19, vgg19, false)
VGG(vgg11_bn, vgg11, true)
VGG(vgg13_bn, vgg13, true)
VGG(vgg16_bn, vgg16, true)
VGG(vgg19_bn, vgg19, true)
