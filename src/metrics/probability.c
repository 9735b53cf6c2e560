/* Metrics of probabilities: log loss, Brier score, and calibration by bins of equal width. */
#include <float.h>
#include <math.h>

#include "metrics/metrics.h"

static bool check(const char *what, const int64_t *truth, int64_t count, int64_t classes)
{
    if (classes < 1)
        cr_error_set(CR_ERROR_ARGUMENT, "%s: %lld classes", what, (long long)classes);
    else
        metrics_check_labels("true", truth, count, classes);
    return !cr_failed();
}

double metrics_sample_log_loss(const float *probabilities, int64_t truth)
{
    double p = probabilities[truth];
    if (!(p >= 0 && p <= 1 + 1e-5))
        return NAN;
    return -log(fmin(fmax(p, FLT_EPSILON), 1 - FLT_EPSILON));
}

double metrics_sample_brier(const float *probabilities, int64_t classes, int64_t truth)
{
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) {
        double p = probabilities[c];
        double distance = p - (c == truth);
        sum += p >= 0 && p <= 1 + 1e-5 ? distance * distance : NAN;
    }
    return classes == 2 ? sum / 2 : sum;
}

double cr_log_loss(const int64_t *truth, const float *probabilities, int64_t count, int64_t classes)
{
    if (!check("log loss", truth, count, classes) || count <= 0)
        return NAN;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += metrics_sample_log_loss(probabilities + i * classes, truth[i]);
    return sum / (double)count;
}

double cr_brier_score_loss(const int64_t *truth, const float *probabilities, int64_t count,
                           int64_t classes)
{
    if (!check("Brier score", truth, count, classes) || count <= 0)
        return NAN;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += metrics_sample_brier(probabilities + i * classes, classes, truth[i]);
    return sum / (double)count;
}

int64_t metrics_bin_of(double score, int64_t bins)
{
    double width = 1.0 / (double)bins;
    int64_t bin = (int64_t)fmin(fmax(ceil(score * (double)bins) - 1, 0), (double)(bins - 1));
    /* The guess may be off by one where the score is at an edge; the edges are NumPy's. */
    while (bin > 0 && score <= (double)bin * width)
        bin--;
    while (bin + 1 < bins && score > (double)(bin + 1) * width)
        bin++;
    return bin;
}

static cr_status bins_begin(cr_calibration_bin *bins, int64_t count)
{
    if (count < 1 || count > CR_MAX_CALIBRATION_BINS)
        return cr_error_set(CR_ERROR_ARGUMENT, "calibration: %lld bins, but there must be 1 to %d",
                            (long long)count, CR_MAX_CALIBRATION_BINS);
    for (int64_t b = 0; b < count; b++)
        bins[b] = (cr_calibration_bin){ 0 };
    return CR_OK;
}

/* While bins are filled they hold sums. */
static cr_status bins_add(cr_calibration_bin *bins, int64_t count, double score, bool positive,
                          int64_t sample)
{
    /* A sum of float32 probabilities may pass 1 by a little. */
    if (!(score >= 0 && score <= 1 + 1e-5))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "calibration: the score %g of sample %lld is not from 0 to 1", score,
                            (long long)sample);
    cr_calibration_bin *bin = &bins[metrics_bin_of(score, count)];
    bin->count++;
    bin->mean_score += score;
    bin->positive_rate += positive;
    return CR_OK;
}

static void bins_end(cr_calibration_bin *bins, int64_t count)
{
    for (int64_t b = 0; b < count; b++) {
        double samples = bins[b].count > 0 ? (double)bins[b].count : NAN;
        bins[b].mean_score /= samples;
        bins[b].positive_rate /= samples;
    }
}

cr_status cr_calibration_curve(const cr_binary_task *task, int64_t bins, cr_calibration_bin *out)
{
    int64_t truth_stride = task->truth_stride != 0 ? task->truth_stride : 1;
    int64_t score_stride = task->score_stride != 0 ? task->score_stride : 1;
    if (cr_failed() || bins_begin(out, bins) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; i < task->count; i++) {
        bool positive = task->truth[i * truth_stride] == task->positive;
        if (bins_add(out, bins, task->scores[i * score_stride], positive, i) != CR_OK)
            return cr_error_status();
    }
    bins_end(out, bins);
    return CR_OK;
}

cr_status cr_calibration_of_classifier(const int64_t *truth, const float *probabilities,
                                       int64_t count, int64_t classes, int64_t bins,
                                       cr_calibration_bin *out)
{
    if (cr_failed() || bins_begin(out, bins) != CR_OK ||
        !check("calibration", truth, count, classes))
        return cr_error_status();
    for (int64_t i = 0; i < count; i++) {
        const float *p = probabilities + i * classes;
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            best = p[c] > p[best] ? c : best;
        if (bins_add(out, bins, p[best], best == truth[i], i) != CR_OK)
            return cr_error_status();
    }
    bins_end(out, bins);
    return CR_OK;
}

double cr_expected_calibration_error(const cr_calibration_bin *bins, int64_t count)
{
    double sum = 0;
    int64_t samples = 0;
    for (int64_t b = 0; b < count; b++) {
        if (bins[b].count == 0)
            continue;
        sum += (double)bins[b].count * fabs(bins[b].positive_rate - bins[b].mean_score);
        samples += bins[b].count;
    }
    return sum / (double)samples;
}
