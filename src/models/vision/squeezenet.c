/* SqueezeNet: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016,
 * as torchvision builds it: its last layer is a convolution. */
#include "cresset/ops.h"
#include "models/parts.h"

enum { LAYERS = 12, POOL = 0 };

/* What follows the first convolution and ReLU: the width of a fire module, or pooling. */
struct plan {
    int64_t first, kernel;
    int squeeze[LAYERS]; /* a quarter of what each half of the module gives */
    int count;
};

static cr_tensor *stem(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct plan *plan = settings;
    return cr_relu(
        cr_conv2d(at, "0", inputs[0], .out = plan->first, .kernel = plan->kernel, .stride = 2));
}

/* Narrow, then wide by convolutions of two sizes side by side. */
static cr_tensor *fire(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    int64_t squeeze = *(const int *)settings;
    cr_tensor *x = cr_relu(cr_conv2d(at, "squeeze", inputs[0], .out = squeeze, .kernel = 1));
    cr_tensor *small = cr_relu(cr_conv2d(at, "expand1x1", x, .out = 4 * squeeze, .kernel = 1));
    cr_tensor *large =
        cr_relu(cr_conv2d(at, "expand3x3", x, .out = 4 * squeeze, .kernel = 3, .padding = 1));
    return cr_cat_of(1, small, large);
}

static cr_tensor *pool(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)at;
    (void)settings;
    return cr_max_pool2d(inputs[0], .kernel = 3, .stride = 2, .ceil_mode = true);
}

/* x is held by the caller and given up. */
static cr_tensor *classifier(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    if (settings.head || settings.no_head)
        return cr_classifier_head(at, "classifier.1", part_pool(x), settings,
                                  (cr_classifier_head_args){ 1000, 0.5 });
    cr_tensor *y = cr_dropout(at, x, part_dropout(&settings, 0.5));
    y = cr_relu(cr_conv2d(at, "classifier.1", y, .out = settings.classes ? settings.classes : 1000,
                          .kernel = 1));
    cr_release(x);
    return cr_flatten(cr_adaptive_avg_pool2d(y, CR_SHAPE(1, 1)), 1, -1);
}

static cr_tensor *squeezenet(cr_scope at, cr_tensor *x, cr_model_settings settings,
                             const struct plan *plan)
{
    if (part_is_new(at)) {
        cr_model_init_weights(at.model, "*.bias", 1, (cr_init){ CR_INIT_ZEROS, 0, 0 });
        cr_model_init_weights(at.model, "*.weight", 4, (cr_init){ CR_INIT_KAIMING_UNIFORM, 0, 0 });
        cr_model_init_weights(at.model, "classifier.1.weight", 4,
                              (cr_init){ CR_INIT_NORMAL, 0, 0.01 });
    }
    cr_scope features = cr_at(at, "features");
    x = part_next(features, stem, plan, cr_retain(x));
    for (int i = 0; i < plan->count; i++) {
        cr_scope place = cr_at_format(features, "%d", i + 2);
        x = part_next(place, plan->squeeze[i] == POOL ? pool : fire, &plan->squeeze[i], x);
    }
    return classifier(at, x, settings);
}

cr_tensor *cr_squeezenet1_0(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct plan plan = {
        96, 7, { POOL, 16, 16, 32, POOL, 32, 48, 48, 64, POOL, 64 }, 11
    };
    return squeezenet(at, x, settings, &plan);
}

cr_tensor *cr_squeezenet1_1(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct plan plan = {
        64, 3, { POOL, 16, 16, POOL, 32, 32, POOL, 48, 48, 64, 64 }, 11
    };
    return squeezenet(at, x, settings, &plan);
}
