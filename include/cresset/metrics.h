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

#ifdef __cplusplus
}
#endif
#endif
