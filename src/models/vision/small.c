/* Small nets for small images: a perceptron, LeNet-5 and a plain convolutional net. */
#include "cresset/models.h"
#include "cresset/ops.h"

cr_tensor *cr_mlp(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    int64_t hidden = settings.width ? settings.width : 128;
    x = cr_flatten(x, 1, -1);
    x = cr_relu(cr_linear(at, "fc1", x, .out = hidden));
    return cr_classifier_head(at, "fc2", x, settings, (cr_classifier_head_args){ 10, 0 });
}

cr_tensor *cr_lenet5(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    x = cr_relu(cr_conv2d(at, "conv1", x, .out = 6, .kernel = 5, .padding = 2));
    x = cr_max_pool2d(x, .kernel = 2);
    x = cr_relu(cr_conv2d(at, "conv2", x, .out = 16, .kernel = 5));
    x = cr_max_pool2d(x, .kernel = 2);
    x = cr_flatten(x, 1, -1);
    x = cr_relu(cr_linear(at, "fc1", x, .out = 120));
    x = cr_relu(cr_linear(at, "fc2", x, .out = 84));
    return cr_classifier_head(at, "fc3", x, settings, (cr_classifier_head_args){ 10, 0 });
}

cr_tensor *cr_small_cnn(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    int64_t width = settings.width ? settings.width : 32;
    cr_frame frame = cr_frame_begin();
    x = cr_relu(cr_conv2d(at, "conv1", x, .out = width, .kernel = 3, .padding = 1));
    x = cr_relu(cr_conv2d(at, "conv2", x, .out = 2 * width, .kernel = 3, .padding = 1));
    x = cr_frame_end_with(frame, cr_flatten(cr_max_pool2d(x, .kernel = 2), 1, -1));
    x = cr_relu(cr_linear(at, "fc1", x, .out = 128));
    return cr_classifier_head(at, "fc2", x, settings, (cr_classifier_head_args){ 10, 0 });
}

/* conv → batch norm → relu, twice, and pooling; (N, C, H, W) → (N, width, H/2, W/2). */
static cr_tensor *stage(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    int64_t width = *(const int64_t *)settings;
    cr_tensor *x = inputs[0];
    x = cr_conv2d(at, "conv1", x, .out = width, .kernel = 3, .padding = 1, .no_bias = true);
    x = cr_batch_norm(at, "bn1", x, .relu = true);
    x = cr_conv2d(at, "conv2", x, .out = width, .kernel = 3, .padding = 1, .no_bias = true);
    x = cr_batch_norm(at, "bn2", x, .relu = true);
    return cr_max_pool2d(x, .kernel = 2);
}

cr_tensor *cr_convnet(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    int64_t width = settings.width ? settings.width : 32;
    for (int i = 1; i <= 3; i++) {
        x = cr_block(cr_at_format(at, "stage%d", i), stage, &width, x);
        width *= 2;
    }
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    return cr_classifier_head(at, "fc", x, settings, (cr_classifier_head_args){ 10, 0 });
}
