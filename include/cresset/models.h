/* The model zoo: architectures as functions of a place in the tree of parameters.
 *
 * Parameters carry the names of the reference (torchvision for images, Hugging Face for text), so
 * its checkpoints load without a mapping. Unless said otherwise a function takes images (N,
 * channels, height, width), float32, and gives logits (N, classes). Results are owned by the frame,
 * NULL on failure. */
#ifndef CRESSET_MODELS_H
#define CRESSET_MODELS_H

#include "cresset/nn.h"
#include "cresset/onnx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Logits of the auxiliary heads of an architecture, which a loss of training may add, times the
 * weight that the reference gives them: loss + weight * (loss of logits[0] + …). */
typedef struct cr_auxiliary {
    cr_tensor *logits[2]; /* owned by the frame */
    int count;            /* 0 in eval mode, and where there are none */
    double weight;
} cr_auxiliary;

/* The settings that architectures have in common; zero means the architecture's default. */
typedef struct cr_model_settings {
    int64_t classes; /* 0: 1000 for ImageNet's architectures, 10 for the small ones */
    bool small_stem; /* resnet, for small images: first a 3×3 convolution of stride 1, no pooling */
    double dropout;  /* before the last layer; 0: the architecture's own */
    int64_t head;    /* hidden units of a perceptron in place of the last layer; 0: none */
    bool no_head;    /* features (N, C) in place of the last layer's logits */
    bool no_dropout;         /* none at all, and no stochastic depth */
    int64_t width;           /* convnet: channels of the first stage (32); mlp: hidden units (128);
                                bert_base: features (768); bilstm: units (256) */
    bool zero_init_residual; /* resnet: the last norm of each block begins at zero */
    bool transform_input;    /* googlenet, inception_v3: from ImageNet's normalisation to a mean and
                                deviation of 0.5, which torchvision's weights for them expect */
    cr_auxiliary *auxiliary; /* googlenet, inception_v3: filled in by a run in training mode */
} cr_model_settings;

/* The end of a classifier, which each of them has: dropout and a linear layer `name` to
 * settings.classes logits. With settings.head a perceptron stands in place of the layer, with the
 * names of torch.nn.Sequential: name.0 (linear), ReLU, dropout of settings.dropout, name.3
 * (linear). Features x (N, C); `usual` is what the architecture has where the settings have 0. */
typedef struct cr_classifier_head_args {
    int64_t classes;
    double dropout;
} cr_classifier_head_args;
cr_tensor *cr_classifier_head(cr_scope at, const char *name, cr_tensor *x,
                              cr_model_settings settings, cr_classifier_head_args usual);

/* Linear → ReLU → Linear on flattened images. Names: fc1, fc2. */
cr_tensor *cr_mlp(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* LeCun et al., "Gradient-based learning applied to document recognition", 1998, with ReLU and max
 * pooling, for 28×28 and larger. Names: conv1, conv2, fc1, fc2, fc3. */
cr_tensor *cr_lenet5(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Two 3×3 convolutions (32 and 64 channels), max pooling and two linear layers: the net of many an
 * introduction. Names: conv1, conv2, fc1, fc2. */
cr_tensor *cr_small_cnn(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* A small convolutional net for 28 to 96 pixels: three stages of 3×3 convolutions with batch norm,
 * each ended by max pooling, then dropout and a linear layer. Names: stage1.conv1 …, fc. */
cr_tensor *cr_convnet(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014;
 * torchvision's names, as everywhere below. Dropout of 0.5 before each of two linear layers. */
cr_tensor *cr_alexnet(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014,
 * without and with batch norm. Dropout of 0.5. */
cr_tensor *cr_vgg11(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg13(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg16(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg19(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg11_bn(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg13_bn(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg16_bn(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vgg19_bn(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Szegedy et al., "Going deeper with convolutions", 2014, with batch norm; auxiliary heads of
 * weight 0.3, dropout of 0.2 and 0.7. */
cr_tensor *cr_googlenet(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Szegedy et al., "Rethinking the inception architecture for computer vision", 2015, for 299×299
 * (75×75 at least); an auxiliary head of weight 0.4, dropout of 0.5. */
cr_tensor *cr_inception_v3(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* He et al., "Deep residual learning for image recognition", 2015; Xie et al., "Aggregated residual
 * transformations for deep neural networks", 2016 (resnext); Zagoruyko, Komodakis, "Wide residual
 * networks", 2016. */
cr_tensor *cr_resnet18(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet34(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet50(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet101(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet152(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnext50_32x4d(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnext101_32x8d(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnext101_64x4d(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_wide_resnet50_2(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_wide_resnet101_2(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016. Dropout of
 * 0.5. */
cr_tensor *cr_squeezenet1_0(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_squeezenet1_1(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018. Dropout of 0.2
 * before the last layer. */
cr_tensor *cr_mobilenet_v2(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Howard et al., "Searching for MobileNetV3", 2019. Dropout of 0.2 before the last layer. */
cr_tensor *cr_mobilenet_v3_small(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_mobilenet_v3_large(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Ma et al., "ShuffleNet V2: practical guidelines for efficient CNN architecture design", 2018. */
cr_tensor *cr_shufflenet_v2_x0_5(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_shufflenet_v2_x1_0(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_shufflenet_v2_x1_5(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_shufflenet_v2_x2_0(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Tan et al., "MnasNet: platform-aware neural architecture search for mobile", 2018. Dropout of
 * 0.2. */
cr_tensor *cr_mnasnet0_5(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_mnasnet0_75(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_mnasnet1_0(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_mnasnet1_3(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Huang et al., "Densely connected convolutional networks", 2016. */
cr_tensor *cr_densenet121(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_densenet161(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_densenet169(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_densenet201(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019, and
 * "EfficientNetV2: smaller models and faster training", 2021. Dropout of 0.2 to 0.5, stochastic
 * depth of 0.2 at the last block. */
cr_tensor *cr_efficientnet_b0(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b1(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b2(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b3(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b4(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b5(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b6(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_b7(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_v2_s(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_v2_m(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_efficientnet_v2_l(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Radosavovic et al., "Designing network design spaces", 2020: X, and Y with squeeze and
 * excitation; the numbers are multiply-adds. */
cr_tensor *cr_regnet_y_400mf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_800mf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_1_6gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_3_2gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_8gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_16gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_32gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_y_128gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_400mf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_800mf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_1_6gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_3_2gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_8gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_16gf(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_regnet_x_32gf(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Liu et al., "A ConvNet for the 2020s", 2022. Stochastic depth of 0.1, 0.4, 0.5 and 0.5 at the
 * last block. */
cr_tensor *cr_convnext_tiny(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_convnext_small(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_convnext_base(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_convnext_large(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale",
 * 2020. The table of positions is as large as the first image asks for. */
cr_tensor *cr_vit_b_16(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vit_b_32(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vit_l_16(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vit_l_32(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_vit_h_14(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", 2021, and
 * "Swin Transformer V2: scaling up capacity and resolution", 2021. Stochastic depth of 0.2, 0.3 and
 * 0.5 at the last block. */
cr_tensor *cr_swin_t(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_swin_s(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_swin_b(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_swin_v2_t(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_swin_v2_s(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_swin_v2_b(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* ---- text ---- */

/* Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2018, in its base size
 * (12 layers, 768 features, 12 heads), with the names of Hugging Face's BertModel. Token ids
 * (N, length up to 512), int64, give the last hidden states (N, length, 768), or with .classes
 * logits (N, classes) of the pooled first token. Dropout of 0.1 everywhere; .dropout is that before
 * the classifier. Another .width has heads of 64 features. */
cr_tensor *cr_bert_base(cr_scope at, cr_tensor *ids, cr_model_settings settings);

/* The same with all inputs: token types (N, length), NULL for all 0, and a mask (N, length), bool,
 * true where there is a token, NULL for all. */
typedef struct cr_bert_args {
    cr_tensor *ids;
    cr_tensor *token_types;
    cr_tensor *mask;
    bool no_dropout;
    int64_t vocabulary;   /* 0: 30522 */
    int64_t width;        /* 0: 768 */
    int64_t layers;       /* 0: 12 */
    int64_t heads;        /* 0: 12 */
    int64_t intermediate; /* 0: 3072 */
    int64_t positions;    /* 0: 512 */
} cr_bert_args;
#define cr_bert(at, ...) cr_bert_with(at, (cr_bert_args){ .ids = __VA_ARGS__ })
cr_tensor *cr_bert_with(cr_scope at, cr_bert_args args);

/* Two bidirectional LSTM layers of .width (256) units, torch.nn.LSTM's names: sequences
 * (N, length, 128), float32, give states (N, length, 512), or with .classes logits (N, classes) of
 * their mean over the length. */
cr_tensor *cr_bilstm(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* ---- the table ---- */

typedef enum cr_input_kind {
    CR_INPUT_IMAGE,    /* (channels, height, width), float32 */
    CR_INPUT_TOKENS,   /* (length), int64 */
    CR_INPUT_SEQUENCE, /* (length, features), float32 */
} cr_input_kind;

typedef struct cr_architecture {
    const char *name;    /* the reference's, where it has one */
    const char *summary; /* one line */
    int64_t classes;     /* by default; 0: its result is features, not logits */
    cr_input_kind kind;
    cr_shape input;     /* of a usual sample */
    int64_t vocabulary; /* token ids are below */
    cr_tensor *(*function)(cr_scope at, cr_tensor *x, cr_model_settings settings);
} cr_architecture;

/* The dtype of an architecture's input. */
cr_dtype cr_architecture_dtype(const cr_architecture *architecture);

int cr_architecture_count(void);
const cr_architecture *cr_architecture_at(int index);

/* By name; NULL, with an error that names the nearest one, if there is none. */
const cr_architecture *cr_architecture_find(const char *name);

/* An imported graph (onnx.h) as a classifier of settings.classes (0: its own). Another linear
 * layer, or the perceptron of settings.head, takes the place of its last one where they differ; of
 * the settings only these two and .dropout before it count. Logits (N, classes), without the
 * softmax that the graph may end with. */
cr_tensor *cr_run_imported(cr_scope at, cr_tensor *x, const cr_onnx *onnx,
                           cr_model_settings settings);

/* An architecture and its settings as a cr_model_function: `bound` is a cr_bound_architecture. */
typedef struct cr_bound_architecture {
    const cr_architecture *architecture;
    cr_model_settings settings;
    const cr_onnx *onnx; /* run this instead; the architecture then only names it. NULL: none */
} cr_bound_architecture;
cr_tensor *cr_run_architecture(cr_scope at, cr_tensor *x, const void *bound);

#ifdef __cplusplus
}
#endif
#endif
