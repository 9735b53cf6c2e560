/* AlexNet: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as
 * torchvision builds it. */
#include "cresset/ops.h"
#include "models/parts.h"

enum { POOLED = 6, HIDDEN = 4096 };

static cr_tensor *features(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    (void)settings;
    cr_tensor *x = inputs[0];
    x = cr_relu(cr_conv2d(at, "0", x, .out = 64, .kernel = 11, .stride = 4, .padding = 2));
    x = cr_max_pool2d(x, .kernel = 3, .stride = 2);
    x = cr_relu(cr_conv2d(at, "3", x, .out = 192, .kernel = 5, .padding = 2));
    x = cr_max_pool2d(x, .kernel = 3, .stride = 2);
    x = cr_relu(cr_conv2d(at, "6", x, .out = 384, .kernel = 3, .padding = 1));
    x = cr_relu(cr_conv2d(at, "8", x, .out = 256, .kernel = 3, .padding = 1));
    x = cr_relu(cr_conv2d(at, "10", x, .out = 256, .kernel = 3, .padding = 1));
    x = cr_max_pool2d(x, .kernel = 3, .stride = 2);
    return cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(POOLED, POOLED)), 1, -1);
}

cr_tensor *cr_alexnet(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    double dropout = part_dropout(&settings, 0.5);
    x = cr_block(cr_at(at, "features"), features, &dropout, x);
    x = cr_dropout(at, x, dropout);
    x = cr_relu(cr_linear(at, "classifier.1", x, .out = HIDDEN));
    x = cr_dropout(at, x, dropout);
    x = cr_relu(cr_linear(at, "classifier.4", x, .out = HIDDEN));
    if (!settings.head)
        settings.dropout = 0; /* there is none right before the last layer */
    return cr_classifier_head(at, "classifier.6", x, settings,
                              (cr_classifier_head_args){ 1000, 0 });
}
