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
    { "alexnet", "AlexNet, five convolutions and three linear layers", 1000, IMAGE(3, 224, 224),
      cr_alexnet },
    { "vgg11", "VGG, 11 layers", 1000, IMAGE(3, 224, 224), cr_vgg11 },
    { "vgg13", "VGG, 13 layers", 1000, IMAGE(3, 224, 224), cr_vgg13 },
    { "vgg16", "VGG, 16 layers", 1000, IMAGE(3, 224, 224), cr_vgg16 },
    { "vgg19", "VGG, 19 layers", 1000, IMAGE(3, 224, 224), cr_vgg19 },
    { "vgg11_bn", "VGG, 11 layers, with batch norm", 1000, IMAGE(3, 224, 224), cr_vgg11_bn },
    { "vgg13_bn", "VGG, 13 layers, with batch norm", 1000, IMAGE(3, 224, 224), cr_vgg13_bn },
    { "vgg16_bn", "VGG, 16 layers, with batch norm", 1000, IMAGE(3, 224, 224), cr_vgg16_bn },
    { "vgg19_bn", "VGG, 19 layers, with batch norm", 1000, IMAGE(3, 224, 224), cr_vgg19_bn },
    { "googlenet", "Inception v1 with batch norm and auxiliary heads", 1000, IMAGE(3, 224, 224),
      cr_googlenet },
    { "inception_v3", "Inception v3 with an auxiliary head", 1000, IMAGE(3, 299, 299),
      cr_inception_v3 },
    { "resnet18", "residual net, 18 layers", 1000, IMAGE(3, 224, 224), cr_resnet18 },
    { "resnet34", "residual net, 34 layers", 1000, IMAGE(3, 224, 224), cr_resnet34 },
    { "resnet50", "residual net, 50 layers with bottlenecks", 1000, IMAGE(3, 224, 224),
      cr_resnet50 },
    { "resnet101", "residual net, 101 layers with bottlenecks", 1000, IMAGE(3, 224, 224),
      cr_resnet101 },
    { "resnet152", "residual net, 152 layers with bottlenecks", 1000, IMAGE(3, 224, 224),
      cr_resnet152 },
    { "resnext50_32x4d", "residual net, 50 layers, 32 groups of 4 channels", 1000,
      IMAGE(3, 224, 224), cr_resnext50_32x4d },
    { "resnext101_32x8d", "residual net, 101 layers, 32 groups of 8 channels", 1000,
      IMAGE(3, 224, 224), cr_resnext101_32x8d },
    { "resnext101_64x4d", "residual net, 101 layers, 64 groups of 4 channels", 1000,
      IMAGE(3, 224, 224), cr_resnext101_64x4d },
    { "wide_resnet50_2", "residual net, 50 layers twice as wide inside", 1000, IMAGE(3, 224, 224),
      cr_wide_resnet50_2 },
    { "wide_resnet101_2", "residual net, 101 layers twice as wide inside", 1000, IMAGE(3, 224, 224),
      cr_wide_resnet101_2 },
    { "squeezenet1_0", "SqueezeNet, few parameters", 1000, IMAGE(3, 224, 224), cr_squeezenet1_0 },
    { "squeezenet1_1", "SqueezeNet, less computation", 1000, IMAGE(3, 224, 224), cr_squeezenet1_1 },
    { "mobilenet_v2", "inverted residuals with depthwise convolutions", 1000, IMAGE(3, 224, 224),
      cr_mobilenet_v2 },
    { "mobilenet_v3_small", "MobileNetV3, small", 1000, IMAGE(3, 224, 224), cr_mobilenet_v3_small },
    { "mobilenet_v3_large", "MobileNetV3, large", 1000, IMAGE(3, 224, 224), cr_mobilenet_v3_large },
    { "shufflenet_v2_x0_5", "ShuffleNet V2, width 0.5", 1000, IMAGE(3, 224, 224),
      cr_shufflenet_v2_x0_5 },
    { "shufflenet_v2_x1_0", "ShuffleNet V2, width 1.0", 1000, IMAGE(3, 224, 224),
      cr_shufflenet_v2_x1_0 },
    { "shufflenet_v2_x1_5", "ShuffleNet V2, width 1.5", 1000, IMAGE(3, 224, 224),
      cr_shufflenet_v2_x1_5 },
    { "shufflenet_v2_x2_0", "ShuffleNet V2, width 2.0", 1000, IMAGE(3, 224, 224),
      cr_shufflenet_v2_x2_0 },
    { "mnasnet0_5", "MnasNet, width 0.5", 1000, IMAGE(3, 224, 224), cr_mnasnet0_5 },
    { "mnasnet0_75", "MnasNet, width 0.75", 1000, IMAGE(3, 224, 224), cr_mnasnet0_75 },
    { "mnasnet1_0", "MnasNet, width 1.0", 1000, IMAGE(3, 224, 224), cr_mnasnet1_0 },
    { "mnasnet1_3", "MnasNet, width 1.3", 1000, IMAGE(3, 224, 224), cr_mnasnet1_3 },
    { "densenet121", "densely connected net, 121 layers", 1000, IMAGE(3, 224, 224),
      cr_densenet121 },
    { "densenet161", "densely connected net, 161 layers", 1000, IMAGE(3, 224, 224),
      cr_densenet161 },
    { "densenet169", "densely connected net, 169 layers", 1000, IMAGE(3, 224, 224),
      cr_densenet169 },
    { "densenet201", "densely connected net, 201 layers", 1000, IMAGE(3, 224, 224),
      cr_densenet201 },
    { "efficientnet_b0", "EfficientNet, size 0", 1000, IMAGE(3, 224, 224), cr_efficientnet_b0 },
    { "efficientnet_b1", "EfficientNet, size 1", 1000, IMAGE(3, 240, 240), cr_efficientnet_b1 },
    { "efficientnet_b2", "EfficientNet, size 2", 1000, IMAGE(3, 288, 288), cr_efficientnet_b2 },
    { "efficientnet_b3", "EfficientNet, size 3", 1000, IMAGE(3, 300, 300), cr_efficientnet_b3 },
    { "efficientnet_b4", "EfficientNet, size 4", 1000, IMAGE(3, 380, 380), cr_efficientnet_b4 },
    { "efficientnet_b5", "EfficientNet, size 5", 1000, IMAGE(3, 456, 456), cr_efficientnet_b5 },
    { "efficientnet_b6", "EfficientNet, size 6", 1000, IMAGE(3, 528, 528), cr_efficientnet_b6 },
    { "efficientnet_b7", "EfficientNet, size 7", 1000, IMAGE(3, 600, 600), cr_efficientnet_b7 },
    { "efficientnet_v2_s", "EfficientNetV2, small", 1000, IMAGE(3, 384, 384),
      cr_efficientnet_v2_s },
    { "efficientnet_v2_m", "EfficientNetV2, medium", 1000, IMAGE(3, 480, 480),
      cr_efficientnet_v2_m },
    { "efficientnet_v2_l", "EfficientNetV2, large", 1000, IMAGE(3, 480, 480),
      cr_efficientnet_v2_l },
    { "regnet_y_400mf", "RegNet of 400 million multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_400mf },
    { "regnet_y_800mf", "RegNet of 800 million multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_800mf },
    { "regnet_y_1_6gf", "RegNet of 1.6 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_1_6gf },
    { "regnet_y_3_2gf", "RegNet of 3.2 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_3_2gf },
    { "regnet_y_8gf", "RegNet of 8 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_8gf },
    { "regnet_y_16gf", "RegNet of 16 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_16gf },
    { "regnet_y_32gf", "RegNet of 32 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_32gf },
    { "regnet_y_128gf", "RegNet of 128 billion multiply-adds with squeeze and excitation", 1000,
      IMAGE(3, 224, 224), cr_regnet_y_128gf },
    { "regnet_x_400mf", "RegNet of 400 million multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_400mf },
    { "regnet_x_800mf", "RegNet of 800 million multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_800mf },
    { "regnet_x_1_6gf", "RegNet of 1.6 billion multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_1_6gf },
    { "regnet_x_3_2gf", "RegNet of 3.2 billion multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_3_2gf },
    { "regnet_x_8gf", "RegNet of 8 billion multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_8gf },
    { "regnet_x_16gf", "RegNet of 16 billion multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_16gf },
    { "regnet_x_32gf", "RegNet of 32 billion multiply-adds", 1000, IMAGE(3, 224, 224),
      cr_regnet_x_32gf },
    { "convnext_tiny", "ConvNeXt, tiny", 1000, IMAGE(3, 224, 224), cr_convnext_tiny },
    { "convnext_small", "ConvNeXt, small", 1000, IMAGE(3, 224, 224), cr_convnext_small },
    { "convnext_base", "ConvNeXt, base", 1000, IMAGE(3, 224, 224), cr_convnext_base },
    { "convnext_large", "ConvNeXt, large", 1000, IMAGE(3, 224, 224), cr_convnext_large },
    { "vit_b_16", "vision transformer, base, patches of 16 pixels", 1000, IMAGE(3, 224, 224),
      cr_vit_b_16 },
    { "vit_b_32", "vision transformer, base, patches of 32 pixels", 1000, IMAGE(3, 224, 224),
      cr_vit_b_32 },
    { "vit_l_16", "vision transformer, large, patches of 16 pixels", 1000, IMAGE(3, 224, 224),
      cr_vit_l_16 },
    { "vit_l_32", "vision transformer, large, patches of 32 pixels", 1000, IMAGE(3, 224, 224),
      cr_vit_l_32 },
    { "vit_h_14", "vision transformer, huge, patches of 14 pixels", 1000, IMAGE(3, 224, 224),
      cr_vit_h_14 },
    { "swin_t", "Swin transformer, tiny", 1000, IMAGE(3, 224, 224), cr_swin_t },
    { "swin_s", "Swin transformer, small", 1000, IMAGE(3, 224, 224), cr_swin_s },
    { "swin_b", "Swin transformer, base", 1000, IMAGE(3, 224, 224), cr_swin_b },
    { "swin_v2_t", "Swin transformer V2, tiny", 1000, IMAGE(3, 256, 256), cr_swin_v2_t },
    { "swin_v2_s", "Swin transformer V2, small", 1000, IMAGE(3, 256, 256), cr_swin_v2_s },
    { "swin_v2_b", "Swin transformer V2, base", 1000, IMAGE(3, 256, 256), cr_swin_v2_b },
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
    if (own->onnx)
        return cr_run_imported(at, x, own->onnx, settings);
    if (!settings.classes)
        settings.classes = own->architecture->classes;
    return own->architecture->function(at, x, settings);
}
