/* MobileNetV2: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018, as
 * torchvision builds it. */
#include "cresset/conv_norm.h"
#include "cresset/models.h"
#include "cresset/ops.h"

enum { STEM = 32, LAST = 1280, STAGES = 7 };

/* Convolution, batch norm and ReLU6 under the names 0 and 1 of a place. */
static cr_tensor *conv_norm(cr_scope at, cr_tensor *x, int64_t out, int64_t kernel, int64_t stride,
                            int64_t groups)
{
    return cr_conv2d_norm_activation(at, "0", "1", x, .out = out, .kernel = kernel,
                                     .stride = stride, .groups = groups,
                                     .activation = CR_FUSED_RELU6);
}

struct block_settings {
    int64_t out, stride, expansion;
};

/* Wide inside, narrow at its ends, where it is linear: (N, C, H, W) → (N, out, H/stride, W/stride).
 */
static cr_tensor *inverted_residual(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    static const char *const names[] = { "0", "1", "2", "3" };
    const struct block_settings *block = settings;
    cr_tensor *x = inputs[0];
    int64_t out = block->out, stride = block->stride, expansion = block->expansion;
    int64_t in = cr_dim(x, 1), wide = in * expansion;
    int layer = 0;
    cr_tensor *y = x;
    at = cr_at(at, "conv");
    if (expansion != 1)
        y = conv_norm(cr_at(at, names[layer++]), y, wide, 1, 1, 1);
    y = conv_norm(cr_at(at, names[layer++]), y, wide, 3, stride, wide);
    return cr_conv2d_norm_activation(at, names[layer], names[layer + 1], y, .out = out, .kernel = 1,
                                     .residual = stride == 1 && in == out ? x : NULL);
}

/* Torchvision's initialisation where it is not the layers' own: that of convolutions, which are
 * told from norms by their names, and of the last layer. */
static void init_rules(cr_model *model)
{
    static const char *const convolutions[] = { "features.*.0.weight", "features.*.conv.2.weight",
                                                "features.1.conv.1.weight" };
    for (size_t i = 0; i < sizeof convolutions / sizeof convolutions[0]; i++)
        cr_model_init_rule(model, convolutions[i], (cr_init){ CR_INIT_KAIMING_NORMAL, 0, 1 });
    cr_model_init_rule(model, "features.1.conv.2.weight", (cr_init){ CR_INIT_CONSTANT, 1, 0 });
    cr_model_init_rule(model, "classifier.1.weight", (cr_init){ CR_INIT_NORMAL, 0, 0.01 });
    cr_model_init_rule(model, "classifier.1.bias", (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

cr_tensor *cr_mobilenet_v2(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct {
        int expansion, out, count, stride;
    } plan[STAGES] = { { 1, 16, 1, 1 }, { 6, 24, 2, 2 },  { 6, 32, 3, 2 }, { 6, 64, 4, 2 },
                       { 6, 96, 3, 1 }, { 6, 160, 3, 2 }, { 6, 320, 1, 1 } };
    if (!cr_model_tensor_count(at.model))
        init_rules(at.model);
    cr_scope features = cr_at(at, "features");
    int place = 0;
    x = cr_retain(conv_norm(cr_at_format(features, "%d", place++), x, STEM, 3, 2, 1));
    for (int s = 0; s < STAGES; s++) {
        for (int i = 0; i < plan[s].count; i++) {
            struct block_settings block = { plan[s].out, i == 0 ? plan[s].stride : 1,
                                            plan[s].expansion };
            cr_scope at_block = cr_at_format(features, "%d", place++);
            cr_frame frame = cr_frame_begin();
            cr_tensor *y = cr_retain(cr_block(at_block, inverted_residual, &block, x));
            cr_frame_end(frame);
            cr_release(x); /* only what backward needs outlives the block that reads it */
            x = y;
        }
    }
    cr_tensor *last = x;
    x = conv_norm(cr_at_format(features, "%d", place), x, LAST, 1, 1, 1);
    cr_release(last);
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    return cr_classifier_head(at, "classifier.1", x, settings,
                              (cr_classifier_head_args){ .classes = 1000, .dropout = 0.2 });
}
