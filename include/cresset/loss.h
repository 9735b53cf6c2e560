/* Losses. Names, defaults and numerics are torch.nn.functional's; options that are zero are its
 * defaults. Results are owned by the frame; every function returns NULL on failure. */
#ifndef CRESSET_LOSS_H
#define CRESSET_LOSS_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is made of the losses of the elements or samples. */
typedef enum cr_reduction { CR_REDUCTION_MEAN, CR_REDUCTION_SUM, CR_REDUCTION_NONE } cr_reduction;

/* Softmax and negative log likelihood of logits (N, C), (N, C, d1, …) or (C). The target is either
 * classes, integers (N), (N, d1, …) or (), or probabilities of the logits' shape. With classes, a
 * mean weighs each sample by its class; samples of class ignore_index count for nothing. A class
 * out of [0, C) is an error. cr_cross_entropy(logits, target, .label_smoothing = 0.1). */
typedef struct cr_cross_entropy_args {
    cr_tensor *logits;
    cr_tensor *target;
    cr_tensor *weight;    /* (C), may be NULL: 1 */
    int64_t ignore_index; /* 0: -100; to ignore class 0 set .ignore_zero */
    bool ignore_zero;
    double label_smoothing; /* [0, 1] */
    cr_reduction reduction;
} cr_cross_entropy_args;
#define cr_cross_entropy(...)                                                                      \
    cr_cross_entropy_with((cr_cross_entropy_args){ .logits = __VA_ARGS__ })
cr_tensor *cr_cross_entropy_with(cr_cross_entropy_args args);

#ifdef __cplusplus
}
#endif
#endif
