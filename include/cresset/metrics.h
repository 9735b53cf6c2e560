/* Metrics of predictions, on plain arrays, with the definitions of scikit-learn
 * (https://scikit-learn.org/stable/modules/model_evaluation.html).
 *
 * Everything about hard predictions is computed from a confusion matrix, which is also what adds up
 * over batches:
 *
 *     int64_t matrix[10 * 10] = { 0 };
 *     cr_confusion_matrix_add(matrix, 10, truth, predicted, batch);      …for every batch…
 *     char *report = cr_classification_report(matrix, 10, names, NULL);
 *
 * Classes are numbered 0 … classes − 1. No function keeps anything; all are thread-safe on separate
 * arrays. */
#ifndef CRESSET_METRICS_H
#define CRESSET_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most classes that a matrix may have. */
#define CR_MAX_CLASSES 32768

/* Adds `count` samples to the matrix (classes, classes), row-major, matrix[true * classes +
 * predicted]; zero it before the first call. A label outside 0 … classes − 1 is refused with
 * CR_ERROR_ARGUMENT, and then the matrix is as it was. */
cr_status cr_confusion_matrix_add(int64_t *matrix, int64_t classes, const int64_t *truth,
                                  const int64_t *predicted, int64_t count);

typedef enum cr_confusion_norm {
    CR_CONFUSION_COUNTS,  /* as they are */
    CR_CONFUSION_BY_TRUE, /* each row sums to 1: the diagonal is recall */
    CR_CONFUSION_BY_PRED, /* each column sums to 1: the diagonal is precision */
    CR_CONFUSION_BY_ALL   /* everything sums to 1 */
} cr_confusion_norm;

/* The matrix as fractions in out (classes, classes); an empty row, column or matrix gives 0. */
cr_status cr_confusion_matrix_normalize(const int64_t *matrix, int64_t classes,
                                        cr_confusion_norm norm, double *out);

/* The share of samples whose true class is among the k highest scores of its row (count, classes).
 * Equal scores rank by falling class number, as in scikit-learn; a NaN ranks above all numbers. NaN
 * for no samples or on an error (k < 1, a label out of range). */
double cr_top_k_accuracy_score(const int64_t *truth, const float *scores, int64_t count,
                               int64_t classes, int64_t k);

/* Chance-corrected agreement (Cohen 1960); NaN where only one class occurs. */
typedef enum cr_kappa_weights {
    CR_KAPPA_UNWEIGHTED,
    CR_KAPPA_LINEAR,
    CR_KAPPA_QUADRATIC
} cr_kappa_weights;
double cr_cohen_kappa_score(const int64_t *matrix, int64_t classes, cr_kappa_weights weights);

/* Fraction of correct samples; NaN for none. */
double cr_accuracy_score(const int64_t *matrix, int64_t classes);

/* Mean recall of the classes that occur; NaN for no samples. */
double cr_balanced_accuracy_score(const int64_t *matrix, int64_t classes);

/* Matthews correlation coefficient, for any number of classes (Gorodkin 2004); 0 where undefined.
 */
double cr_matthews_corrcoef(const int64_t *matrix, int64_t classes);

/* Precision TP/(TP+FP), recall TP/(TP+FN), their F1, and how many samples are truly of the class.
 */
typedef struct cr_class_scores {
    double precision;
    double recall;
    double f1;
    int64_t support;
} cr_class_scores;

typedef struct cr_classification_options {
    double zero_division;  /* what 0/0 counts as: 0, 1, or NaN, which averages leave out */
    const int64_t *labels; /* distinct classes to report, in this order; NULL: all */
    int64_t label_count;
    int digits; /* of the text report; 0: 2; negative: none */
} cr_classification_options;

typedef struct cr_classification_averages {
    cr_class_scores micro; /* from the sums over classes; the accuracy if all classes take part */
    cr_class_scores macro; /* mean of the classes */
    cr_class_scores weighted; /* mean weighted by support */
    bool micro_is_accuracy;   /* every class that occurs, truly or predicted, is reported */
} cr_classification_averages;

/* Scores of each reported class (`per_class`, as many as classes or labels; may be NULL) and their
 * averages (may be NULL). options may be NULL. The support of each average is that of the reported
 * classes together. */
cr_status cr_precision_recall_f1(const int64_t *matrix, int64_t classes,
                                 const cr_classification_options *options,
                                 cr_class_scores *per_class, cr_classification_averages *averages);

/* The text that scikit-learn's classification_report gives, to the space. names (one a class) may
 * be NULL: the numbers. To be freed with cr_free; NULL on failure. */
char *cr_classification_report(const int64_t *matrix, int64_t classes, const char *const *names,
                               const cr_classification_options *options);

/* The same as JSON, indented by two: {"accuracy", "balanced_accuracy", "cohen_kappa",
 * "matthews_corrcoef", "support", "classes": [{"precision", "recall", "f1-score", "support",
 * "name"}], "micro avg", "macro avg", "weighted avg", "confusion_matrix": rows}. A number that is
 * not finite is null; bytes of a name that are not UTF-8 are shown as "?". To be freed with
 * cr_free; NULL on failure. */
char *cr_classification_report_json(const int64_t *matrix, int64_t classes,
                                    const char *const *names,
                                    const cr_classification_options *options);

/* The same scores as comma-separated values: a line of headings "class,precision,recall,f1-score,
 * support", one line a class, then the averages. Names are quoted where they must be (RFC 4180). To
 * be freed with cr_free; NULL on failure. */
char *cr_classification_report_csv(const int64_t *matrix, int64_t classes, const char *const *names,
                                   const cr_classification_options *options);

/* ---- scores that rank ---- */

/* A question with two answers about `count` samples: sample i is positive where
 * truth[i * truth_stride] is `positive`, and scores[i * score_stride] is higher the surer one is of
 * it. One class of a classifier against the rest, from probabilities (count, classes):
 *
 *     cr_binary_task task = { .truth = truth, .positive = c, .scores = probabilities + c,
 *                             .score_stride = classes, .count = count };
 *
 * A score may be infinite but not NaN (CR_ERROR_ARGUMENT). At most CR_MAX_RANKED samples. */
#define CR_MAX_RANKED (1 << 30)
typedef struct cr_binary_task {
    const int64_t *truth;
    int64_t truth_stride; /* 0: 1 */
    int64_t positive;
    const float *scores;
    int64_t score_stride; /* 0: 1 */
    int64_t count;
} cr_binary_task;

/* The points of a curve, owned by it. */
typedef struct cr_curve {
    int64_t count;
    double *x;
    double *y;
    double *threshold; /* a sample counts as positive from this score on */
} cr_curve;
void cr_curve_free(cr_curve *curve);

/* False positive rate (x) and true positive rate (y) at falling thresholds, the first infinite.
 * Points on a straight line between their neighbours are left out, as scikit-learn does, unless
 * keep_all. A rate of no samples is NaN. To be freed with cr_curve_free. */
cr_status cr_roc_curve(const cr_binary_task *task, bool keep_all, cr_curve *curve);

/* Recall (x) and precision (y) at rising thresholds, ended by (0, 1) at an infinite one. Without
 * positive samples recall is 1. To be freed with cr_curve_free. */
cr_status cr_precision_recall_curve(const cr_binary_task *task, cr_curve *curve);

/* The area under the ROC curve: the chance that a positive sample has a higher score than a
 * negative one, ties counting half. NaN where there are no samples of either kind. */
double cr_roc_auc_score(const cr_binary_task *task);

/* The sum over thresholds of precision times the rise in recall, without interpolation; 0 without
 * positive samples, NaN without any. */
double cr_average_precision_score(const cr_binary_task *task);

/* Over the classes of a classifier, each against the rest: their mean, or weighted by how often
 * they occur. Classes without samples of both kinds (ROC) or that never occur (precision) are left
 * out, where scikit-learn raises or counts 0; NaN if none is left. */
typedef enum cr_metric_average { CR_AVERAGE_MACRO, CR_AVERAGE_WEIGHTED } cr_metric_average;
double cr_roc_auc_one_vs_rest(const int64_t *truth, const float *scores, int64_t count,
                              int64_t classes, cr_metric_average average);
double cr_average_precision_one_vs_rest(const int64_t *truth, const float *scores, int64_t count,
                                        int64_t classes, cr_metric_average average);

/* ---- probabilities ---- */

/* Mean of -log p(true class), p kept 2^-23 away from 0 and 1; NaN for no samples or if a
 * probability is not one. */
double cr_log_loss(const int64_t *truth, const float *probabilities, int64_t count,
                   int64_t classes);

/* Mean squared distance between the probabilities (count, classes) and the truth; for two classes
 * half of that, the score as Brier (1950) is usually quoted: that of the probability of class 1. */
double cr_brier_score_loss(const int64_t *truth, const float *probabilities, int64_t count,
                           int64_t classes);

/* The most bins of a reliability diagram. */
#define CR_MAX_CALIBRATION_BINS 100

/* Of the samples whose score lies in (lower end, upper end], the first bin including 0. */
typedef struct cr_calibration_bin {
    int64_t count;
    double mean_score;    /* NaN for an empty bin */
    double positive_rate; /* how many of them are positive, as a fraction */
} cr_calibration_bin;

/* `bins` bins of equal width from 0 to 1. A score outside them is CR_ERROR_ARGUMENT. */
cr_status cr_calibration_curve(const cr_binary_task *task, int64_t bins, cr_calibration_bin *out);

/* The same of a classifier's highest probability, positive where that class is the true one. */
cr_status cr_calibration_of_classifier(const int64_t *truth, const float *probabilities,
                                       int64_t count, int64_t classes, int64_t bins,
                                       cr_calibration_bin *out);

/* Expected calibration error (Guo et al., "On calibration of modern neural networks", 2017): the
 * mean over samples of the distance between confidence and accuracy of their bin. NaN for none. */
double cr_expected_calibration_error(const cr_calibration_bin *bins, int64_t count);

/* ---- several labels a sample ---- */

typedef struct cr_multilabel_averages {
    cr_class_scores micro;
    cr_class_scores macro;
    cr_class_scores weighted;
    cr_class_scores samples; /* mean over samples of the scores of each one's labels */
    double subset_accuracy;  /* samples with all labels right, as a fraction; NaN for none */
    double hamming_loss;     /* wrong labels, as a fraction; NaN for none */
} cr_multilabel_averages;

/* Scores of truth and prediction (count, labels), 0 or 1 each (else CR_ERROR_ARGUMENT). per_label
 * and averages may be NULL. Areas of one label come from cr_roc_auc_score with truth_stride and
 * score_stride = labels. */
cr_status cr_multilabel_scores(const int64_t *truth, const int64_t *predicted, int64_t count,
                               int64_t labels, double zero_division, cr_class_scores *per_label,
                               cr_multilabel_averages *averages);

/* The areas of the labels, averaged: scores (count, labels). Labels without samples of both kinds
 * (ROC) or without positive ones (precision) are left out; NaN if none is left. */
double cr_roc_auc_multilabel(const int64_t *truth, const float *scores, int64_t count,
                             int64_t labels, cr_metric_average average);
double cr_average_precision_multilabel(const int64_t *truth, const float *scores, int64_t count,
                                       int64_t labels, cr_metric_average average);

/* scikit-learn's classification_report of them. To be freed with cr_free; NULL on failure. */
char *cr_multilabel_report(const int64_t *truth, const int64_t *predicted, int64_t count,
                           int64_t labels, const char *const *names,
                           const cr_classification_options *options);

/* ---- how sure one can be of a score ---- */

/* A value with the ends of its interval, NaN where they were not computed. */
typedef struct cr_estimate {
    double value;
    double low;
    double high;
} cr_estimate;

/* The samples of replicate r of a bootstrap (Efron 1979): `count` of them drawn with replacement, a
 * function of (seed, replicate, count) alone; count is at most 2^31. */
void cr_bootstrap_draw(uint64_t seed, int64_t replicate, int64_t count, int64_t *indices);

#define CR_MAX_REPLICATES 1000000
typedef struct cr_bootstrap_args {
    int64_t replicates; /* 0: 1000; at most CR_MAX_REPLICATES */
    double level;       /* 0: 0.95 */
    uint64_t seed;
} cr_bootstrap_args;

/* The percentile interval of any metric: `metric` is called with the samples of each replicate, and
 * once with all in order for the value. Replicates of which it is NaN are left out. */
typedef double (*cr_metric_function)(const int64_t *indices, int64_t count, void *context);
cr_status cr_bootstrap(cr_metric_function metric, void *context, int64_t count,
                       cr_bootstrap_args args, cr_estimate *estimate);

/* Every score of a classifier: X(NAME, word, what a person calls it). */
#define CR_METRIC_TABLE(X)                                                                         \
    X(ACCURACY, "accuracy", "accuracy")                                                            \
    X(TOP_K_ACCURACY, "top_k_accuracy", "top-k accuracy")                                          \
    X(BALANCED_ACCURACY, "balanced_accuracy", "balanced accuracy")                                 \
    X(PRECISION_MACRO, "precision_macro", "precision, macro")                                      \
    X(RECALL_MACRO, "recall_macro", "recall, macro")                                               \
    X(F1_MACRO, "f1_macro", "F1, macro")                                                           \
    X(F1_WEIGHTED, "f1_weighted", "F1, weighted")                                                  \
    X(COHEN_KAPPA, "cohen_kappa", "Cohen's kappa")                                                 \
    X(QUADRATIC_KAPPA, "quadratic_kappa", "kappa, quadratic")                                      \
    X(MATTHEWS, "matthews_corrcoef", "Matthews correlation")                                       \
    X(ROC_AUC_MACRO, "roc_auc_macro", "area under ROC, macro")                                     \
    X(ROC_AUC_WEIGHTED, "roc_auc_weighted", "area under ROC, weighted")                            \
    X(AVERAGE_PRECISION_MACRO, "average_precision_macro", "average precision, macro")              \
    X(AVERAGE_PRECISION_WEIGHTED, "average_precision_weighted", "average precision, weighted")     \
    X(LOG_LOSS, "log_loss", "log loss")                                                            \
    X(BRIER, "brier_score", "Brier score")                                                         \
    X(CALIBRATION_ERROR, "calibration_error", "calibration error (ECE)")

typedef enum cr_metric {
#define CR_METRIC_ENUM(name, word, title) CR_METRIC_##name,
    CR_METRIC_TABLE(CR_METRIC_ENUM)
#undef CR_METRIC_ENUM
        CR_METRIC_COUNT
} cr_metric;

const char *cr_metric_word(cr_metric metric);
const char *cr_metric_title(cr_metric metric);

typedef struct cr_class_estimates {
    cr_estimate precision;
    cr_estimate recall;
    cr_estimate f1;
    cr_estimate roc_auc; /* against the rest */
    cr_estimate average_precision;
    int64_t support;   /* samples that truly are of the class */
    int64_t predicted; /* samples that are taken for it */
} cr_class_estimates;

typedef struct cr_classifier_scores {
    int64_t count;
    int64_t classes;
    int64_t top_k;
    double level;
    cr_estimate metric[CR_METRIC_COUNT];
    cr_class_estimates *per_class; /* (classes) */
    cr_calibration_bin *bins;      /* (bin_count), of the highest probability */
    int64_t bin_count;
} cr_classifier_scores;

typedef struct cr_score_args {
    const int64_t *truth;       /* (count) */
    const int64_t *predicted;   /* (count); NULL: the first highest probability */
    const float *probabilities; /* (count, classes) */
    int64_t count;
    int64_t classes;
    int64_t top_k; /* 0: 5 */
    int64_t bins;  /* of the calibration error; 0: 15 */
    cr_bootstrap_args bootstrap;
    bool no_intervals;
} cr_score_args;

/* The largest count * classes for which areas get intervals, and the most classes for which each
 * class does: beyond them they take too long or too much memory. */
#define CR_MAX_AREA_INTERVALS  (1 << 21)
#define CR_MAX_CLASS_INTERVALS 256

/* All scores with their bootstrap intervals, the same bits at any number of threads. Macro
 * precision, recall and F1 are over the classes that occur, truly or predicted, as in
 * scikit-learn's functions of that name. A score that needs probabilities is NaN where one of them
 * is NaN (or, apart from ranking, outside 0 to 1). To be freed with cr_classifier_scores_free. */
cr_status cr_score_classifier(cr_score_args args, cr_classifier_scores *scores);
void cr_classifier_scores_free(cr_classifier_scores *scores);

#ifdef __cplusplus
}
#endif
#endif
