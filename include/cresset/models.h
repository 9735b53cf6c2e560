/* The model zoo: architectures as functions of a place in the tree of parameters.
 *
 * Parameters carry torchvision's names, so its checkpoints load without a mapping. Every function
 * takes images (N, channels, height, width), float32, and gives logits (N, classes), owned by the
 * frame, NULL on failure. */
#ifndef CRESSET_MODELS_H
#define CRESSET_MODELS_H

#include "cresset/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The settings that architectures have in common; zero means the architecture's default. */
typedef struct cr_model_settings {
    int64_t classes; /* 0: 1000 for ImageNet's architectures, 10 for the small ones */
    bool small_stem; /* resnet, for small images: first a 3×3 convolution of stride 1, no pooling */
    double dropout;  /* before the last layer; 0: the architecture's own */
    int64_t width;   /* convnet: channels of the first stage (32); mlp: hidden units (128) */
    bool zero_init_residual; /* resnet: the last norm of each block begins at zero */
} cr_model_settings;

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

/* He et al., "Deep residual learning for image recognition", 2015; torchvision's names. */
cr_tensor *cr_resnet18(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet34(cr_scope at, cr_tensor *x, cr_model_settings settings);
cr_tensor *cr_resnet50(cr_scope at, cr_tensor *x, cr_model_settings settings);

/* ---- the table ---- */

typedef struct cr_architecture {
    const char *name;                /* torchvision's, where it has one */
    const char *summary;             /* one line */
    int64_t classes;                 /* by default */
    int64_t channels, height, width; /* of the usual input */
    cr_tensor *(*function)(cr_scope at, cr_tensor *x, cr_model_settings settings);
} cr_architecture;

int cr_architecture_count(void);
const cr_architecture *cr_architecture_at(int index);

/* By name; NULL, with an error that names the nearest one, if there is none. */
const cr_architecture *cr_architecture_find(const char *name);

/* An architecture and its settings as a cr_model_function: `bound` is a cr_bound_architecture. */
typedef struct cr_bound_architecture {
    const cr_architecture *architecture;
    cr_model_settings settings;
} cr_bound_architecture;
cr_tensor *cr_run_architecture(cr_scope at, cr_tensor *x, const void *bound);

#ifdef __cplusplus
}
#endif
#endif
