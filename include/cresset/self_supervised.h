/* Learning from pictures without labels: contrastive losses of two views of the same pictures, and
 * consistency of what a model says of weakly and strongly changed ones.
 *
 * cr_train uses these where its settings ask for it (train.h); they stand here for loops of one's
 * own. All vectors and logits are float32 or float64, on the CPU. */
#ifndef CRESSET_SELF_SUPERVISED_H
#define CRESSET_SELF_SUPERVISED_H

#include "cresset/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- losses ---- */

/* InfoNCE of unit vectors (He et al., "Momentum contrast for unsupervised visual representation
 * learning", 2019): the cross-entropy of finding the key of each query, keys (N, D), among it and
 * the queue's vectors (K, D), by products divided by the temperature. Only the queries (N, D) get
 * gradients. *logits, unless NULL, are (N, 1 + K), the own key first. */
cr_tensor *cr_info_nce_loss(cr_tensor *queries, cr_tensor *keys, cr_tensor *queue,
                            double temperature, cr_tensor **logits);

/* NT-Xent (Chen et al., "A simple framework for contrastive learning of visual representations",
 * 2020): of the vectors of two views (N, D), which are made unit vectors here, each finds the other
 * view of its picture among the 2N - 1 others. *logits, unless NULL, are (2N, 2N) with -infinity on
 * the diagonal; the right one of row i is (i + N) modulo 2N. */
cr_tensor *cr_nt_xent_loss(cr_tensor *first, cr_tensor *second, double temperature,
                           cr_tensor **logits);

/* FixMatch's (Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and
 * confidence", 2020): the mean over N of the cross-entropy of `strong` (N, classes) with the class
 * that `weak` holds most probable, where its probability is `threshold` at least, and 0 elsewhere.
 * Only `strong` gets gradients. *confident, unless NULL, is the share of N above the threshold. */
cr_tensor *cr_fixmatch_loss(cr_tensor *weak, cr_tensor *strong, double threshold,
                            double *confident);

/* ---- contrastive pretraining ---- */

typedef enum cr_contrast_method {
    CR_CONTRAST_NONE,
    CR_CONTRAST_MOCO,  /* MoCo v2: Chen et al., "Improved baselines with momentum contrastive
                        * learning", 2020 */
    CR_CONTRAST_SIMCLR /* NT-Xent within the batch */
} cr_contrast_method;

typedef struct cr_contrast_settings {
    cr_contrast_method method;
    double temperature; /* 0: 0.2 for MoCo, 0.5 for SimCLR */
    double momentum;    /* MoCo: of the key encoder; 0: 0.999 */
    int64_t queue;      /* MoCo: vectors to tell apart from; 0: 4096 */
    int64_t hidden;     /* units of the projection; 0: as many as features */
    int64_t dim;        /* of the vectors; 0: 128 */
} cr_contrast_settings;

/* What a method keeps besides the encoder. */
typedef struct cr_contrast cr_contrast;

/* Of an encoder, a model function that gives features (N, C) of inputs of shape `input` (whose
 * first size is any batch's); the model may be built already. Adds a perceptron to the model that
 * projects features, projection.0 and projection.2, ReLU between them. NULL on failure. */
cr_contrast *cr_contrast_new(cr_model *model, cr_model_function encoder, const void *settings,
                             cr_shape input, uint64_t seed, cr_contrast_settings contrast);
void cr_contrast_free(cr_contrast *contrast);

/* The loss of two views (N, …) of the same samples. MoCo moves the key encoder towards the model
 * first, and puts the keys into the queue afterwards. *logits (rows, …) and *labels (rows), int64,
 * are what is told apart, and what is right: the share that is found is the contrastive accuracy.
 */
cr_tensor *cr_contrast_loss(cr_contrast *contrast, cr_tensor *first, cr_tensor *second,
                            cr_tensor **logits, cr_tensor **labels);

/* Everything that has to be saved to go on, by index, and put back by name: of MoCo moco.queue,
 * moco.pointer (where the next keys go) and the key encoder under the model's names; of SimCLR
 * nothing. */
int cr_contrast_state_count(const cr_contrast *contrast);
cr_named_tensor cr_contrast_state_at(const cr_contrast *contrast, int index);
cr_status cr_contrast_state_set(cr_contrast *contrast, const char *name, cr_tensor *value);

/* ---- nearest neighbours ---- */

/* The share of vectors (M, D) whose class, labels (M) int64, is found by a vote of the k nearest by
 * cosine of the bank's vectors (N, D), bank_labels (N), each of weight exp(cosine / 0.07) (Wu et
 * al., "Unsupervised feature learning via non-parametric instance discrimination", 2018). Labels
 * are below `classes`; those below 0 are left out. NaN if none is left, or on failure. */
double cr_neighbour_accuracy(cr_tensor *bank, cr_tensor *bank_labels, cr_tensor *vectors,
                             cr_tensor *labels, int64_t k, int64_t classes);

#ifdef __cplusplus
}
#endif
#endif
