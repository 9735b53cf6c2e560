/* Vision transformers: Dosovitskiy et al., "An image is worth 16x16 words: transformers for image
 * recognition at scale", 2020, as torchvision builds them. */
#include <math.h>

#include "cresset/ops.h"
#include "cresset/sequence_layers.h"
#include "models/parts.h"

#define EPS 1e-6 /* of layer norm */

struct plan {
    int64_t patch, layers, heads, width, hidden;
};

/* (N, 3, H, W) → (N, 1 + H/patch W/patch, width): a token for the class, then one for each patch.
 */
static cr_tensor *embed(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct plan *plan = settings;
    cr_tensor *x = cr_conv2d(at, "conv_proj", inputs[0], .out = plan->width, .kernel = plan->patch,
                             .stride = plan->patch);
    x = cr_transpose(cr_flatten(x, 2, 3), 1, 2);
    cr_tensor *token = cr_parameter(at, "class_token", CR_SHAPE(1, 1, plan->width),
                                    (cr_init){ CR_INIT_ZEROS, 0, 0 });
    x = cr_cat_of(1, cr_expand(token, CR_SHAPE(cr_dim(x, 0), -1, -1)), x);
    cr_tensor *positions =
        cr_parameter(cr_at(at, "encoder"), "pos_embedding", CR_SHAPE(1, cr_dim(x, 1), plan->width),
                     (cr_init){ CR_INIT_NORMAL, 0, 0.02 });
    return cr_add(x, positions);
}

static cr_tensor *layer(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct plan *plan = settings;
    cr_tensor *x = inputs[0];
    cr_tensor *y = cr_layer_norm(at, "ln_1", x, .eps = EPS);
    y = cr_multihead_attention(at, "self_attention", y, .heads = plan->heads).output;
    x = cr_add(x, y);
    y = cr_layer_norm(at, "ln_2", x, .eps = EPS);
    y = cr_linear(at, "mlp.0", y, .out = plan->hidden, .gelu = true);
    return cr_add(x, cr_linear(at, "mlp.3", y, .out = plan->width));
}

static void init_rules(cr_model *model, const struct plan *plan)
{
    double deviation = sqrt(1 / (3 * (double)(plan->patch * plan->patch)));
    cr_model_init_rule(model, "conv_proj.weight", (cr_init){ CR_INIT_NORMAL, 0, deviation });
    cr_model_init_rule(model, "conv_proj.bias", (cr_init){ CR_INIT_ZEROS, 0, 0 });
    cr_model_init_rule(model, "*.mlp.?.weight", (cr_init){ CR_INIT_XAVIER_UNIFORM, 0, 0 });
    cr_model_init_rule(model, "*.mlp.?.bias", (cr_init){ CR_INIT_NORMAL, 0, 1e-6 });
    cr_model_init_rule(model, "heads.head.weight", (cr_init){ CR_INIT_ZEROS, 0, 0 });
    cr_model_init_rule(model, "heads.head.bias", (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

static cr_tensor *vit(cr_scope at, cr_tensor *x, cr_model_settings settings,
                      const struct plan *plan)
{
    if (part_is_new(at))
        init_rules(at.model, plan);
    x = part_next(at, embed, plan, cr_retain(x));
    for (int i = 0; i < plan->layers; i++)
        x = part_next(cr_at_format(at, "encoder.layers.encoder_layer_%d", i), layer, plan, x);
    cr_tensor *last = x;
    x = cr_select(cr_layer_norm(at, "encoder.ln", x, .eps = EPS), 1, 0);
    cr_release(last);
    return cr_classifier_head(at, "heads.head", x, settings, (cr_classifier_head_args){ 1000, 0 });
}

#define VIT(name, ...)                                                                             \
    cr_tensor *cr_vit_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)                \
    {                                                                                              \
        static const struct plan plan = { __VA_ARGS__ };                                           \
        return vit(at, x, settings, &plan);                                                        \
    }

VIT(b_16, 16, 12, 12, 768, 3072)
VIT(b_32, 32, 12, 12, 768, 3072)
VIT(l_16, 16, 24, 16, 1024, 4096)
VIT(l_32, 32, 24, 16, 1024, 4096)
VIT(h_14, 14, 32, 16, 1280, 5120)
