/* An image classifier as it is kept in a file: an architecture with its settings, the weights, the
 * names of the classes, and what is done to a picture before it is seen.
 *
 * The file is safetensors; everything but the weights stands as JSON in its metadata under
 * "cresset", so that a file is enough to evaluate, predict and go on training. */
#ifndef CRESSET_CLASSIFIER_H
#define CRESSET_CLASSIFIER_H

#include "cresset/data.h"
#include "cresset/models.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_classifier {
    cr_model *model;
    cr_bound_architecture bound; /* settings for cr_run_architecture */
    cr_shape input;              /* of one sample: (C, H, W) */
    int class_count;
    char **class_names;           /* class_count of them */
    cr_transform_list transforms; /* of evaluation: sizes, and the normalization */
    bool has_several_labels;      /* of a sample: each class is a question of its own (sigmoid) */
    float *thresholds; /* of several labels (class_count), from which probability on each is there;
                        * NULL: CR_DEFAULT_THRESHOLD. Allocated by cresset/memory.h */
    struct cr_compiled *compiled;    /* by cr_classifier_compile */
    struct cr_imported_graph *graph; /* of an imported model; NULL: none */
} cr_classifier;

#define CR_DEFAULT_THRESHOLD 0.5

typedef enum cr_normalization {
    CR_NORMALIZE_MEASURED, /* by the channels' means and deviations of the data set, measured here
                            */
    CR_NORMALIZE_IMAGENET, /* by those of ImageNet, for weights that were trained so; 3 channels */
    CR_NORMALIZE_NONE      /* not at all */
} cr_normalization;

/* A new classifier with initial weights from the seed; or, where the architecture is the name of an
 * ONNX file (it ends with .onnx), with the weights of that, where a last layer for another number
 * of classes is replaced by a new one. Its classes are the data set's, which sets settings.classes,
 * and so is whether a sample has several labels (cr_dataset_has_targets); its input is what the
 * transforms make of the data set's samples, which must be of one size then. A normalization is
 * added unless the transforms have one. Sets of pictures that are read from files are measured by
 * at most CR_CLASSIFIER_MEASURED of them, evenly spread. NULL on failure.
 * cr_classifier_new("resnet34", .data = train, .seed = 1). */
#define CR_CLASSIFIER_MEASURED 2000

typedef struct cr_classifier_args {
    const char *architecture;
    cr_dataset *data;
    uint64_t seed;
    cr_model_settings settings;
    const cr_transform_list *transforms; /* of evaluation; NULL: none */
    cr_normalization normalization;
} cr_classifier_args;
#define cr_classifier_new(...)                                                                     \
    cr_classifier_new_with((cr_classifier_args){ .architecture = __VA_ARGS__ })
cr_classifier *cr_classifier_new_with(cr_classifier_args args);

/* From a file or from a run directory (its best weights, or the last if there are none). */
cr_classifier *cr_classifier_load(const char *path);
void cr_classifier_free(cr_classifier *classifier);

/* The JSON that describes all but the weights, to be freed with cr_free; and the file. */
char *cr_classifier_describe(const cr_classifier *classifier);
cr_status cr_classifier_save(const cr_classifier *classifier, const char *path);

/* Logits (N, classes) of samples (N, C, H, W), float32, already transformed. */
cr_tensor *cr_classifier_forward(const cr_classifier *classifier, cr_tensor *samples);

/* Compiles the model as it is (cresset/graph.h), for all that follows: cr_classifier_forward and
 * what calls it run the compiled graph in eval mode, for samples of its input's shape, where
 * neither gradients nor autocast are wanted and nobody watches layers. Parameters must not be
 * written from now on. */
cr_status cr_classifier_compile(cr_classifier *classifier);

/* ---- evaluation ---- */

typedef struct cr_evaluation {
    int64_t count; /* samples */
    int64_t classes;
    double loss;     /* mean cross-entropy */
    double accuracy; /* fraction */
    double seconds;
    int64_t *truth;       /* (count) */
    int64_t *predicted;   /* (count) */
    float *probabilities; /* (count, classes) */
    /* Where samples have several labels (NULL and NaN else): loss is the mean binary cross-entropy,
     * accuracy the share of labels that are right at the thresholds, truth the first label of each
     * sample and predicted its most probable one. */
    int64_t *marks;           /* (count, classes): 1 for the labels of each sample */
    int64_t *predicted_marks; /* (count, classes): those whose probability reaches its threshold */
    double average_precision; /* macro (mAP) */
} cr_evaluation;

typedef struct cr_evaluate_args {
    int64_t batch_size; /* 0: 256 */
    int workers;
    /* Called after each batch; true stops with CR_ERROR_INTERRUPTED. May be NULL. */
    bool (*progress)(int64_t done, int64_t all, void *context);
    void *context;
} cr_evaluate_args;

/* Runs a classifier in eval mode over a data set of its classes, whose samples its transforms bring
 * to its input, under the autocast mode that is set. */
cr_status cr_evaluate(const cr_classifier *classifier, cr_dataset *data, cr_evaluate_args args,
                      cr_evaluation *evaluation);
void cr_evaluation_free(cr_evaluation *evaluation);

/* Of samples with several labels: for each the threshold with the best F1 on what was evaluated, in
 * the middle between the probabilities that it parts, CR_DEFAULT_THRESHOLD for those that never
 * come; into room for one a class. */
cr_status cr_evaluation_thresholds(const cr_evaluation *evaluation, float *thresholds);

/* Marks as predicted what reaches thresholds (NULL: CR_DEFAULT_THRESHOLD), and takes the accuracy
 * from that; of an evaluation with several labels. */
void cr_evaluation_mark(cr_evaluation *evaluation, const float *thresholds);

/* Replaces the probabilities of an evaluation by the mean of those of `count` evaluations of the
 * same samples, of which it may be one: an ensemble, or several views of each sample. Loss,
 * accuracy and what is predicted follow, at these thresholds (NULL: CR_DEFAULT_THRESHOLD).
 * CR_ERROR_ARGUMENT if they are not of the same samples and classes. */
cr_status cr_evaluation_average(cr_evaluation *evaluation, const cr_evaluation *parts, int count,
                                const float *thresholds);

#ifdef __cplusplus
}
#endif
#endif
