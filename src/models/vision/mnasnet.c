/* MnasNet: Tan et al., "MnasNet: platform-aware neural architecture search for mobile", 2018 (its
 * variant B1), as torchvision builds it. */
#include <math.h>

#include "cresset/conv_norm.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { WIDTHS = 8, STACKS = 6, LAST = 1280 };

#define MOMENTUM (1 - 0.9997)

struct block_settings {
    int64_t out, kernel, stride, expansion;
};

static cr_tensor *conv_norm(cr_scope at, const char *conv, const char *norm, cr_tensor *x,
                            struct block_settings own, int64_t groups)
{
    return cr_conv2d_norm_activation(at, conv, norm, x, .out = own.out, .kernel = own.kernel,
                                     .stride = own.stride, .groups = groups, .momentum = MOMENTUM,
                                     .activation = CR_FUSED_RELU);
}

static cr_tensor *linear(cr_scope at, const char *conv, const char *norm, cr_tensor *x, int64_t out,
                         cr_tensor *residual)
{
    return cr_conv2d_norm_activation(at, conv, norm, x, .out = out, .kernel = 1,
                                     .momentum = MOMENTUM, .residual = residual);
}

static cr_tensor *inverted_residual(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *own = settings;
    cr_tensor *x = inputs[0];
    int64_t in = cr_dim(x, 1), wide = in * own->expansion;
    at = cr_at(at, "layers");
    cr_tensor *y = conv_norm(at, "0", "1", x, (struct block_settings){ wide, 1, 1, 0 }, 1);
    y = conv_norm(at, "3", "4", y, (struct block_settings){ wide, own->kernel, own->stride, 0 },
                  wide);
    return linear(at, "6", "7", y, own->out, own->stride == 1 && in == own->out ? x : NULL);
}

/* A convolution, and one for each channel by itself. */
static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const int64_t *widths = settings;
    cr_tensor *x =
        conv_norm(at, "0", "1", inputs[0], (struct block_settings){ widths[0], 3, 2, 0 }, 1);
    x = conv_norm(at, "3", "4", x, (struct block_settings){ widths[0], 3, 1, 0 }, widths[0]);
    return linear(at, "6", "7", x, widths[1], NULL);
}

static cr_tensor *last(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    return conv_norm(at, "14", "15", inputs[0], (struct block_settings){ LAST, 1, 1, 0 }, 1);
}

static void init_rules(cr_scope at, int64_t classes)
{
    double bound = sqrt(3.0 / (double)classes);
    part_init_convolutions(at);
    cr_model_init_weights(at.model, "classifier.1.weight", 2,
                          (cr_init){ CR_INIT_UNIFORM, -bound, bound });
}

static cr_tensor *mnasnet(cr_scope at, cr_tensor *x, cr_model_settings settings, double alpha)
{
    static const int depths[WIDTHS] = { 32, 16, 24, 40, 80, 96, 192, 320 };
    static const struct {
        int kernel, stride, expansion, count;
    } stacks[STACKS] = { { 3, 2, 3, 3 }, { 5, 2, 3, 3 }, { 5, 2, 6, 3 },
                         { 3, 1, 6, 2 }, { 5, 2, 6, 4 }, { 3, 1, 6, 1 } };
    struct {
        int64_t at[WIDTHS];
    } widths;
    for (int i = 0; i < WIDTHS; i++)
        widths.at[i] = part_divisible(depths[i] * alpha, 8);
    if (part_is_new(at))
        init_rules(at, settings.classes ? settings.classes : 1000);
    cr_scope layers = cr_at(at, "layers");
    x = part_next(layers, stem, &widths, cr_retain(x));
    for (int s = 0; s < STACKS; s++) {
        cr_scope stack = cr_at_format(layers, "%d", s + 8);
        for (int i = 0; i < stacks[s].count; i++) {
            struct block_settings own = { widths.at[s + 2], stacks[s].kernel,
                                          i == 0 ? stacks[s].stride : 1, stacks[s].expansion };
            x = part_next(cr_at_format(stack, "%d", i), inverted_residual, &own, x);
        }
    }
    x = part_next(layers, last, &alpha, x);
    return cr_classifier_head(at, "classifier.1", part_pool(x), settings,
                              (cr_classifier_head_args){ 1000, 0.2 });
}

cr_tensor *cr_mnasnet0_5(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return mnasnet(at, x, settings, 0.5);
}

cr_tensor *cr_mnasnet0_75(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return mnasnet(at, x, settings, 0.75);
}

cr_tensor *cr_mnasnet1_0(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return mnasnet(at, x, settings, 1.0);
}

cr_tensor *cr_mnasnet1_3(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    return mnasnet(at, x, settings, 1.3);
}
