/* The table of architectures. */
#include <string.h>

#include "cresset/models.h"
#include "cresset/text.h"

/* clang-format off */
#define IMAGE(...)                 CR_INPUT_IMAGE, { 3, { __VA_ARGS__ } }, 0
#define TOKENS(length, vocabulary) CR_INPUT_TOKENS, { 1, { length } }, vocabulary
#define SEQUENCE(...)              CR_INPUT_SEQUENCE, { 2, { __VA_ARGS__ } }, 0
/* clang-format on */

static const cr_architecture architectures[] = {
    { "mlp", "perceptron with one hidden layer of 128 units", 10, IMAGE(1, 28, 28), cr_mlp },
    { "lenet5", "LeNet-5 with ReLU and max pooling", 10, IMAGE(1, 28, 28), cr_lenet5 },
    { "small_cnn", "two convolutions and two linear layers", 10, IMAGE(1, 28, 28), cr_small_cnn },
    { "convnet", "small convolutional net for images of 28 to 96 pixels", 10, IMAGE(1, 28, 28),
      cr_convnet },
    { "resnet18", "residual net, 18 layers", 1000, IMAGE(3, 224, 224), cr_resnet18 },
    { "resnet34", "residual net, 34 layers", 1000, IMAGE(3, 224, 224), cr_resnet34 },
    { "resnet50", "residual net, 50 layers with bottlenecks", 1000, IMAGE(3, 224, 224),
      cr_resnet50 },
    { "mobilenet_v2", "inverted residuals with depthwise convolutions", 1000, IMAGE(3, 224, 224),
      cr_mobilenet_v2 },
    { "swin_t", "Swin transformer, tiny", 1000, IMAGE(3, 224, 224), cr_swin_t },
    { "swin_s", "Swin transformer, small", 1000, IMAGE(3, 224, 224), cr_swin_s },
    { "swin_b", "Swin transformer, base", 1000, IMAGE(3, 224, 224), cr_swin_b },
    { "bert_base", "transformer encoder of text, BERT's base size", 0, TOKENS(128, 30522),
      cr_bert_base },
    { "bilstm", "two bidirectional LSTM layers of 256 units", 0, SEQUENCE(200, 128), cr_bilstm },
};

int cr_architecture_count(void)
{
    return (int)(sizeof architectures / sizeof architectures[0]);
}

const cr_architecture *cr_architecture_at(int index)
{
    return index >= 0 && index < cr_architecture_count() ? &architectures[index] : NULL;
}

const cr_architecture *cr_architecture_find(const char *name)
{
    int nearest = 0;
    int distance = 1000;
    for (int i = 0; i < cr_architecture_count(); i++) {
        if (strcmp(architectures[i].name, name) == 0)
            return &architectures[i];
        int own = cr_edit_distance(architectures[i].name, name);
        if (own < distance) {
            distance = own;
            nearest = i;
        }
    }
    cr_error_set(CR_ERROR_ARGUMENT,
                 "there is no model \"%s\"; did you mean \"%s\"? (cresset models "
                 "lists them all)",
                 name, architectures[nearest].name);
    return NULL;
}

cr_dtype cr_architecture_dtype(const cr_architecture *architecture)
{
    return architecture->kind == CR_INPUT_TOKENS ? CR_I64 : CR_F32;
}

cr_tensor *cr_run_architecture(cr_scope at, cr_tensor *x, const void *bound)
{
    const cr_bound_architecture *own = bound;
    cr_model_settings settings = own->settings;
    if (!settings.classes)
        settings.classes = own->architecture->classes;
    return own->architecture->function(at, x, settings);
}
