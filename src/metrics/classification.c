/* Metrics of a classifier. A confusion matrix is counted from labels, and every score but top-k is
 * a function of its row sums (truth), column sums (predictions) and diagonal (correct). Sums are
 * kept in doubles where products of counts would pass 63 bits. How scores are written as text and
 * JSON is in classification_report.c. */
#include <math.h>
#include <string.h>

#include "metrics/metrics.h"

static cr_status check_classes(const void *matrix, int64_t classes)
{
    if (matrix == NULL)
        return cr_error_set(CR_ERROR_ARGUMENT, "confusion matrix: no matrix was given");
    if (classes < 1 || classes > CR_MAX_CLASSES)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "confusion matrix: %lld classes, but there must be 1 to %d",
                            (long long)classes, CR_MAX_CLASSES);
    return CR_OK;
}

cr_status metrics_check_labels(const char *what, const int64_t *labels, int64_t count,
                               int64_t classes)
{
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0 || labels[i] >= classes)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "%s label %lld of sample %lld is outside 0 to %lld", what,
                                (long long)labels[i], (long long)i, (long long)(classes - 1));
    }
    return CR_OK;
}

cr_status cr_confusion_matrix_add(int64_t *matrix, int64_t classes, const int64_t *truth,
                                  const int64_t *predicted, int64_t count)
{
    cr_status status = check_classes(matrix, classes);
    if (status == CR_OK)
        status = metrics_check_labels("true", truth, count, classes);
    if (status == CR_OK)
        status = metrics_check_labels("predicted", predicted, count, classes);
    if (status != CR_OK)
        return status;
    for (int64_t i = 0; i < count; i++)
        matrix[truth[i] * classes + predicted[i]]++;
    return CR_OK;
}

static int64_t row_sum(const int64_t *matrix, int64_t classes, int64_t row)
{
    int64_t sum = 0;
    for (int64_t j = 0; j < classes; j++)
        sum += matrix[row * classes + j];
    return sum;
}

static int64_t column_sum(const int64_t *matrix, int64_t classes, int64_t column)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < classes; i++)
        sum += matrix[i * classes + column];
    return sum;
}

static int64_t total(const int64_t *matrix, int64_t classes)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < classes * classes; i++)
        sum += matrix[i];
    return sum;
}

static double ratio_or_zero(int64_t part, int64_t whole)
{
    return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static void normalize_lines(const int64_t *matrix, int64_t classes, bool rows, double *out)
{
    for (int64_t line = 0; line < classes; line++) {
        int64_t sum = rows ? row_sum(matrix, classes, line) : column_sum(matrix, classes, line);
        for (int64_t k = 0; k < classes; k++) {
            int64_t at = rows ? line * classes + k : k * classes + line;
            out[at] = ratio_or_zero(matrix[at], sum);
        }
    }
}

cr_status cr_confusion_matrix_normalize(const int64_t *matrix, int64_t classes,
                                        cr_confusion_norm norm, double *out)
{
    cr_status status = check_classes(matrix, classes);
    if (status != CR_OK)
        return status;
    int64_t all = norm == CR_CONFUSION_BY_ALL ? total(matrix, classes) : 1;
    switch (norm) {
    case CR_CONFUSION_COUNTS:
    case CR_CONFUSION_BY_ALL:
        for (int64_t i = 0; i < classes * classes; i++)
            out[i] = ratio_or_zero(matrix[i], all);
        return CR_OK;
    case CR_CONFUSION_BY_TRUE:
    case CR_CONFUSION_BY_PRED:
        normalize_lines(matrix, classes, norm == CR_CONFUSION_BY_TRUE, out);
        return CR_OK;
    }
    return cr_error_set(CR_ERROR_ARGUMENT, "confusion matrix: unknown normalisation %d", (int)norm);
}

/* How many classes rank before `label`: a stable ascending sort, read backwards. */
static int64_t rank_of(const float *scores, int64_t classes, int64_t label)
{
    float own = scores[label];
    int64_t before = 0;
    for (int64_t j = 0; j < classes; j++) {
        bool higher = isnan(own) ? false : isnan(scores[j]) || scores[j] > own;
        bool equal = isnan(own) ? isnan(scores[j]) : scores[j] == own;
        before += higher || (equal && j > label);
    }
    return before;
}

double cr_top_k_accuracy_score(const int64_t *truth, const float *scores, int64_t count,
                               int64_t classes, int64_t k)
{
    if (classes < 1 || k < 1) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "top-k accuracy: k = %lld of %lld classes; both must be positive",
                     (long long)k, (long long)classes);
        return NAN;
    }
    if (metrics_check_labels("true", truth, count, classes) != CR_OK || count <= 0)
        return NAN;
    int64_t hits = 0;
    for (int64_t i = 0; i < count; i++)
        hits += rank_of(scores + i * classes, classes, truth[i]) < k;
    return (double)hits / (double)count;
}

double cr_accuracy_score(const int64_t *matrix, int64_t classes)
{
    if (check_classes(matrix, classes) != CR_OK)
        return NAN;
    int64_t correct = 0;
    for (int64_t i = 0; i < classes; i++)
        correct += matrix[i * classes + i];
    return (double)correct / (double)total(matrix, classes);
}

double cr_balanced_accuracy_score(const int64_t *matrix, int64_t classes)
{
    if (check_classes(matrix, classes) != CR_OK)
        return NAN;
    double sum = 0;
    int64_t occurring = 0;
    for (int64_t i = 0; i < classes; i++) {
        int64_t support = row_sum(matrix, classes, i);
        if (support == 0)
            continue;
        sum += (double)matrix[i * classes + i] / (double)support;
        occurring++;
    }
    return sum / (double)occurring;
}

static double kappa_weight(cr_kappa_weights weights, int64_t i, int64_t j)
{
    double distance = fabs((double)(i - j));
    switch (weights) {
    case CR_KAPPA_LINEAR:
        return distance;
    case CR_KAPPA_QUADRATIC:
        return distance * distance;
    case CR_KAPPA_UNWEIGHTED:
        break;
    }
    return i != j;
}

/* Row and column sums in one block of 2 * classes, to be freed. */
static int64_t *margins(const int64_t *matrix, int64_t classes)
{
    if (check_classes(matrix, classes) != CR_OK)
        return NULL;
    int64_t *sums = cr_alloc_zeroed(2 * (size_t)classes, sizeof(*sums));
    if (sums == NULL)
        return NULL;
    for (int64_t i = 0; i < classes; i++) {
        for (int64_t j = 0; j < classes; j++) {
            sums[i] += matrix[i * classes + j];
            sums[classes + j] += matrix[i * classes + j];
        }
    }
    return sums;
}

double cr_cohen_kappa_score(const int64_t *matrix, int64_t classes, cr_kappa_weights weights)
{
    int64_t *sums = margins(matrix, classes);
    if (sums == NULL)
        return NAN;
    double all = (double)total(matrix, classes);
    double observed = 0;
    double expected = 0;
    for (int64_t i = 0; i < classes; i++) {
        for (int64_t j = 0; j < classes; j++) {
            double weight = kappa_weight(weights, i, j);
            observed += weight * (double)matrix[i * classes + j];
            expected += weight * (double)sums[i] * (double)sums[classes + j] / all;
        }
    }
    cr_free(sums);
    return 1 - observed / expected;
}

double cr_matthews_corrcoef(const int64_t *matrix, int64_t classes)
{
    int64_t *sums = margins(matrix, classes);
    if (sums == NULL)
        return NAN;
    double all = (double)total(matrix, classes);
    double correct = 0;
    double cross = 0;
    double true_squares = 0;
    double predicted_squares = 0;
    for (int64_t i = 0; i < classes; i++) {
        double truth = (double)sums[i];
        double predicted = (double)sums[classes + i];
        correct += (double)matrix[i * classes + i];
        cross += truth * predicted;
        true_squares += truth * truth;
        predicted_squares += predicted * predicted;
    }
    cr_free(sums);
    double spread = (all * all - true_squares) * (all * all - predicted_squares);
    return spread == 0 ? 0.0 : (correct * all - cross) / sqrt(spread);
}

cr_class_scores metrics_class_scores(int64_t correct, int64_t predicted, int64_t truth,
                                     double zero_division)
{
    cr_class_scores scores = { zero_division, zero_division, zero_division, truth };
    if (predicted > 0)
        scores.precision = (double)correct / (double)predicted;
    if (truth > 0)
        scores.recall = (double)correct / (double)truth;
    if (truth + predicted > 0)
        scores.f1 = 2 * (double)correct / (double)(truth + predicted);
    return scores;
}

static void mean_add(struct metrics_mean *m, double value, double weight)
{
    if (isnan(value))
        return;
    m->weighted += value * weight;
    m->weights += weight;
    m->plain += value;
    m->count++;
}

static double mean_plain(const struct metrics_mean *m)
{
    return m->plain / (double)m->count;
}

static double mean_weighted(const struct metrics_mean *m)
{
    return m->weights > 0 ? m->weighted / m->weights : mean_plain(m);
}

void metrics_tally_add(struct metrics_tally *t, cr_class_scores scores, int64_t correct,
                       int64_t predicted)
{
    double weight = (double)scores.support;
    mean_add(&t->precision, scores.precision, weight);
    mean_add(&t->recall, scores.recall, weight);
    mean_add(&t->f1, scores.f1, weight);
    t->correct += correct;
    t->predicted += predicted;
    t->truth += scores.support;
}

cr_class_scores metrics_tally_macro(const struct metrics_tally *t)
{
    return (cr_class_scores){ mean_plain(&t->precision), mean_plain(&t->recall), mean_plain(&t->f1),
                              t->truth };
}

cr_class_scores metrics_tally_weighted(const struct metrics_tally *t)
{
    return (cr_class_scores){ mean_weighted(&t->precision), mean_weighted(&t->recall),
                              mean_weighted(&t->f1), t->truth };
}

static cr_classification_averages tally_averages(const struct metrics_tally *t, int64_t samples,
                                                 double zero_division)
{
    cr_classification_averages averages;
    averages.micro = metrics_class_scores(t->correct, t->predicted, t->truth, zero_division);
    averages.macro = metrics_tally_macro(t);
    averages.weighted = metrics_tally_weighted(t);
    averages.micro_is_accuracy = t->truth == samples && t->predicted == samples;
    return averages;
}

static cr_status check_reported(const int64_t *labels, int64_t count, int64_t classes)
{
    if (labels == NULL)
        return CR_OK;
    if (count < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "classification scores: the list of labels is empty");
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0 || labels[i] >= classes)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "classification scores: label %lld to report is outside 0 to %lld",
                                (long long)labels[i], (long long)(classes - 1));
    }
    return CR_OK;
}

cr_status cr_precision_recall_f1(const int64_t *matrix, int64_t classes,
                                 const cr_classification_options *options,
                                 cr_class_scores *per_class, cr_classification_averages *averages)
{
    static const cr_classification_options defaults = { 0 };
    if (options == NULL)
        options = &defaults;
    cr_status status = check_classes(matrix, classes);
    if (status == CR_OK)
        status = check_reported(options->labels, options->label_count, classes);
    if (status != CR_OK)
        return status;
    int64_t *sums = margins(matrix, classes);
    if (sums == NULL)
        return cr_error_status();

    struct metrics_tally t = { 0 };
    int64_t reported = options->labels != NULL ? options->label_count : classes;
    for (int64_t i = 0; i < reported; i++) {
        int64_t label = options->labels != NULL ? options->labels[i] : i;
        int64_t correct = matrix[label * classes + label];
        int64_t predicted = sums[classes + label];
        cr_class_scores scores =
            metrics_class_scores(correct, predicted, sums[label], options->zero_division);
        metrics_tally_add(&t, scores, correct, predicted);
        if (per_class != NULL)
            per_class[i] = scores;
    }
    cr_free(sums);
    if (averages != NULL)
        *averages = tally_averages(&t, total(matrix, classes), options->zero_division);
    return CR_OK;
}
