/* Metrics where a sample may have several labels: each label is a question of its own, answered yes
 * or no. The text report is in classification_report.c. */
#include <math.h>

#include "metrics/metrics.h"

static cr_status check_marks(const char *what, const int64_t *marks, int64_t count, int64_t labels)
{
    for (int64_t i = 0; i < count * labels; i++) {
        if (marks[i] != 0 && marks[i] != 1)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "labels: the %s mark of label %lld of sample %lld is %lld, but "
                                "must be 0 or 1",
                                what, (long long)(i % labels), (long long)(i / labels),
                                (long long)marks[i]);
    }
    return CR_OK;
}

static void count_marks(const int64_t *truth, const int64_t *predicted, int64_t count,
                        int64_t stride, int64_t out[3])
{
    out[0] = out[1] = out[2] = 0;
    for (int64_t i = 0; i < count; i++) {
        out[0] += truth[i * stride] & predicted[i * stride];
        out[1] += predicted[i * stride];
        out[2] += truth[i * stride];
    }
}

/* What is summed over samples rather than labels. */
static void average_samples(const int64_t *truth, const int64_t *predicted, int64_t count,
                            int64_t labels, double zero_division, cr_multilabel_averages *averages)
{
    struct metrics_tally tally = { 0 };
    int64_t whole = 0, wrong = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t marks[3];
        count_marks(truth + i * labels, predicted + i * labels, labels, 1, marks);
        int64_t differing = marks[1] + marks[2] - 2 * marks[0];
        cr_class_scores scores = metrics_class_scores(marks[0], marks[1], marks[2], zero_division);
        metrics_tally_add(&tally, scores, marks[0], marks[1]);
        whole += differing == 0;
        wrong += differing;
    }
    averages->samples = metrics_tally_macro(&tally);
    averages->subset_accuracy = (double)whole / (double)count;
    averages->hamming_loss = (double)wrong / ((double)count * (double)labels);
}

cr_status cr_multilabel_scores(const int64_t *truth, const int64_t *predicted, int64_t count,
                               int64_t labels, double zero_division, cr_class_scores *per_label,
                               cr_multilabel_averages *averages)
{
    if (labels < 1 || labels > CR_MAX_CLASSES || count < 0)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "labels: %lld of them on %lld samples, but there must be 1 to %d",
                            (long long)labels, (long long)count, CR_MAX_CLASSES);
    if (check_marks("true", truth, count, labels) != CR_OK ||
        check_marks("predicted", predicted, count, labels) != CR_OK)
        return cr_error_status();
    struct metrics_tally tally = { 0 };
    for (int64_t label = 0; label < labels; label++) {
        int64_t marks[3];
        count_marks(truth + label, predicted + label, count, labels, marks);
        cr_class_scores scores = metrics_class_scores(marks[0], marks[1], marks[2], zero_division);
        metrics_tally_add(&tally, scores, marks[0], marks[1]);
        if (per_label != NULL)
            per_label[label] = scores;
    }
    if (averages == NULL)
        return CR_OK;
    average_samples(truth, predicted, count, labels, zero_division, averages);
    averages->micro =
        metrics_class_scores(tally.correct, tally.predicted, tally.truth, zero_division);
    averages->macro = metrics_tally_macro(&tally);
    averages->weighted = metrics_tally_weighted(&tally);
    return CR_OK;
}
