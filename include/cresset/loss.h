/* Losses. Names, defaults and numerics are torch.nn.functional's; options that are zero are its
 * defaults. Results are owned by the frame; every function returns NULL on failure. */
#ifndef CRESSET_LOSS_H
#define CRESSET_LOSS_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is made of the losses of the elements or samples. The default is the mean, except where
 * said. BATCHMEAN divides the sum by the size of dimension 0 (kl_div only). */
typedef enum cr_reduction {
    CR_REDUCTION_DEFAULT,
    CR_REDUCTION_MEAN,
    CR_REDUCTION_SUM,
    CR_REDUCTION_NONE,
    CR_REDUCTION_BATCHMEAN
} cr_reduction;

/* ---- classification ---- */

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

/* -weight[target] log_probs[target] of log probabilities (N, C), (N, C, d1, …) or (C), by a target
 * as cr_cross_entropy's classes. */
typedef struct cr_nll_loss_args {
    cr_tensor *log_probs;
    cr_tensor *target;
    cr_tensor *weight;    /* (C), may be NULL: 1 */
    int64_t ignore_index; /* 0: -100; to ignore class 0 set .ignore_zero */
    bool ignore_zero;
    cr_reduction reduction;
} cr_nll_loss_args;
#define cr_nll_loss(...) cr_nll_loss_with((cr_nll_loss_args){ .log_probs = __VA_ARGS__ })
cr_tensor *cr_nll_loss_with(cr_nll_loss_args args);

/* Of probabilities, with logarithms cut at -100; and of logits. weight broadcasts against the
 * target and rescales each element; pos_weight rescales the positive part. */
typedef struct cr_binary_cross_entropy_args {
    cr_tensor *input;
    cr_tensor *target;
    cr_tensor *weight;
    cr_tensor *pos_weight; /* with logits only */
    cr_reduction reduction;
} cr_binary_cross_entropy_args;
#define cr_binary_cross_entropy(...)                                                               \
    cr_binary_cross_entropy_plain_with((cr_binary_cross_entropy_args){ .input = __VA_ARGS__ })
#define cr_binary_cross_entropy_with_logits(...)                                                   \
    cr_binary_cross_entropy_logits_with((cr_binary_cross_entropy_args){ .input = __VA_ARGS__ })
cr_tensor *cr_binary_cross_entropy_plain_with(cr_binary_cross_entropy_args args);
cr_tensor *cr_binary_cross_entropy_logits_with(cr_binary_cross_entropy_args args);

/* alpha_t (1 - p_t)^gamma times binary cross-entropy of logits, as torchvision.ops; its default
 * reduction is none. Lin et al., "Focal Loss for Dense Object Detection", 2017. */
typedef struct cr_sigmoid_focal_loss_args {
    cr_tensor *logits;
    cr_tensor *target;
    double alpha; /* 0: 0.25; negative: both classes alike */
    double gamma; /* 0: 2 */
    cr_reduction reduction;
} cr_sigmoid_focal_loss_args;
#define cr_sigmoid_focal_loss(...)                                                                 \
    cr_sigmoid_focal_loss_with((cr_sigmoid_focal_loss_args){ .logits = __VA_ARGS__ })
cr_tensor *cr_sigmoid_focal_loss_with(cr_sigmoid_focal_loss_args args);

/* 1 - (2 Σ p t + smooth) / (Σ p + Σ t + smooth) of probabilities and targets of one shape (N, …),
 * the sums over everything but dimension 0. Milletari et al., "V-Net", 2016. */
typedef struct cr_dice_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    double smooth; /* 0: 1 */
    cr_reduction reduction;
} cr_dice_loss_args;
#define cr_dice_loss(...) cr_dice_loss_with((cr_dice_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_dice_loss_with(cr_dice_loss_args args);

/* target (log target - input) where input holds log probabilities. */
typedef struct cr_kl_div_args {
    cr_tensor *input;
    cr_tensor *target;
    bool log_target; /* the target holds log probabilities, too */
    cr_reduction reduction;
} cr_kl_div_args;
#define cr_kl_div(...) cr_kl_div_with((cr_kl_div_args){ .input = __VA_ARGS__ })
cr_tensor *cr_kl_div_with(cr_kl_div_args args);

/* Connectionist temporal classification: -log of the probability of the labels, summed over all
 * alignments. log_probs (T, N, C) or (T, C); targets (N, S) padded or all labels after one another;
 * lengths int64 (N). A mean divides each loss by its number of labels first. Graves et al., 2006.
 */
typedef struct cr_ctc_loss_args {
    cr_tensor *log_probs;
    cr_tensor *targets;
    cr_tensor *input_lengths;
    cr_tensor *target_lengths;
    int64_t blank;
    bool zero_infinity; /* losses of labels that do not fit into the input, and gradients, are 0 */
    cr_reduction reduction;
} cr_ctc_loss_args;
#define cr_ctc_loss(...) cr_ctc_loss_with((cr_ctc_loss_args){ .log_probs = __VA_ARGS__ })
cr_tensor *cr_ctc_loss_with(cr_ctc_loss_args args);

/* ---- regression; input and target broadcast ---- */

/* (input - target)²; |input - target|; below beta or delta the first, above it the second (smooth
 * l1: 0.5 d² / beta, |d| - 0.5 beta; huber: 0.5 d², delta (|d| - 0.5 delta)). */
typedef struct cr_regression_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    cr_reduction reduction;
    double beta;  /* smooth l1; 0: 1 (for 0 itself use cr_l1_loss) */
    double delta; /* huber; 0: 1 */
} cr_regression_loss_args;
#define cr_mse_loss(...) cr_mse_loss_with((cr_regression_loss_args){ .input = __VA_ARGS__ })
#define cr_l1_loss(...)  cr_l1_loss_with((cr_regression_loss_args){ .input = __VA_ARGS__ })
#define cr_smooth_l1_loss(...)                                                                     \
    cr_smooth_l1_loss_with((cr_regression_loss_args){ .input = __VA_ARGS__ })
#define cr_huber_loss(...) cr_huber_loss_with((cr_regression_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_mse_loss_with(cr_regression_loss_args args);
cr_tensor *cr_l1_loss_with(cr_regression_loss_args args);
cr_tensor *cr_smooth_l1_loss_with(cr_regression_loss_args args);
cr_tensor *cr_huber_loss_with(cr_regression_loss_args args);

/* exp(input) - target input, or of .no_log_input input - target log(input + eps); .full adds
 * Stirling's term for targets above 1. */
typedef struct cr_poisson_nll_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    bool no_log_input;
    bool full;
    double eps; /* 0: 1e-8 */
    cr_reduction reduction;
} cr_poisson_nll_loss_args;
#define cr_poisson_nll_loss(...)                                                                   \
    cr_poisson_nll_loss_with((cr_poisson_nll_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_poisson_nll_loss_with(cr_poisson_nll_loss_args args);

/* 0.5 (log var + (input - target)² / var), with var at least eps; .full adds 0.5 log 2π. */
typedef struct cr_gaussian_nll_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    cr_tensor *var;
    bool full;
    double eps; /* 0: 1e-6 */
    cr_reduction reduction;
} cr_gaussian_nll_loss_args;
#define cr_gaussian_nll_loss(...)                                                                  \
    cr_gaussian_nll_loss_with((cr_gaussian_nll_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_gaussian_nll_loss_with(cr_gaussian_nll_loss_args args);

/* ---- margins ---- */

/* Σ max(0, margin - x_target + x_c)^p weight[target] / C over the other classes c of x (N, C) or
 * (C). */
typedef struct cr_multi_margin_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    int64_t p;     /* 1 or 2; 0: 1 */
    double margin; /* 0: 1 */
    cr_tensor *weight;
    cr_reduction reduction;
} cr_multi_margin_loss_args;
#define cr_multi_margin_loss(...)                                                                  \
    cr_multi_margin_loss_with((cr_multi_margin_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_multi_margin_loss_with(cr_multi_margin_loss_args args);

/* log(1 + exp(-target x)), targets 1 and -1; the mean over classes of binary cross-entropy of
 * logits (N, C), targets 0 and 1, weight (C); Σ max(0, 1 - x_t + x_c) / C for the labels t before
 * the first -1 of an int64 target of x's shape and the classes c that are none of them. */
typedef struct cr_margin_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    cr_tensor *weight; /* multilabel soft margin only */
    cr_reduction reduction;
} cr_margin_loss_args;
#define cr_soft_margin_loss(...)                                                                   \
    cr_soft_margin_loss_with((cr_margin_loss_args){ .input = __VA_ARGS__ })
#define cr_multilabel_soft_margin_loss(...)                                                        \
    cr_multilabel_soft_margin_loss_with((cr_margin_loss_args){ .input = __VA_ARGS__ })
#define cr_multilabel_margin_loss(...)                                                             \
    cr_multilabel_margin_loss_with((cr_margin_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_soft_margin_loss_with(cr_margin_loss_args args);
cr_tensor *cr_multilabel_soft_margin_loss_with(cr_margin_loss_args args);
cr_tensor *cr_multilabel_margin_loss_with(cr_margin_loss_args args);

/* x where the target is 1, max(0, margin - x) where it is -1. */
typedef struct cr_hinge_embedding_loss_args {
    cr_tensor *input;
    cr_tensor *target;
    double margin; /* 0: 1 */
    cr_reduction reduction;
} cr_hinge_embedding_loss_args;
#define cr_hinge_embedding_loss(...)                                                               \
    cr_hinge_embedding_loss_with((cr_hinge_embedding_loss_args){ .input = __VA_ARGS__ })
cr_tensor *cr_hinge_embedding_loss_with(cr_hinge_embedding_loss_args args);

/* max(0, -target (input1 - input2) + margin); and of vectors (N, D) or (D), 1 - cos where the
 * target is 1, max(0, cos - margin) where it is -1. */
typedef struct cr_pair_loss_args {
    cr_tensor *input1;
    cr_tensor *input2;
    cr_tensor *target;
    double margin;
    cr_reduction reduction;
} cr_pair_loss_args;
#define cr_margin_ranking_loss(...)                                                                \
    cr_margin_ranking_loss_with((cr_pair_loss_args){ .input1 = __VA_ARGS__ })
#define cr_cosine_embedding_loss(...)                                                              \
    cr_cosine_embedding_loss_with((cr_pair_loss_args){ .input1 = __VA_ARGS__ })
cr_tensor *cr_margin_ranking_loss_with(cr_pair_loss_args args);
cr_tensor *cr_cosine_embedding_loss_with(cr_pair_loss_args args);

/* max(0, |anchor - positive| - |anchor - negative| + margin), norms of order p; with .swap the
 * negative is taken from the positive, where that is nearer. */
typedef struct cr_triplet_margin_loss_args {
    cr_tensor *anchor;
    cr_tensor *positive;
    cr_tensor *negative;
    double margin; /* 0: 1 */
    double p;      /* 0: 2 */
    double eps;    /* 0: 1e-6 */
    bool swap;
    cr_reduction reduction;
} cr_triplet_margin_loss_args;
#define cr_triplet_margin_loss(...)                                                                \
    cr_triplet_margin_loss_with((cr_triplet_margin_loss_args){ .anchor = __VA_ARGS__ })
cr_tensor *cr_triplet_margin_loss_with(cr_triplet_margin_loss_args args);

#ifdef __cplusplus
}
#endif
#endif
