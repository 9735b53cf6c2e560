/* What the metrics share: scores from counts and their averages, samples in the order of their
 * scores, and bins of confidence. */
#ifndef CR_METRICS_METRICS_H
#define CR_METRICS_METRICS_H

#include "base/base.h"
#include "cresset/metrics.h"

/* A label outside 0 … classes - 1 is CR_ERROR_ARGUMENT. */
cr_status metrics_check_labels(const char *what, const int64_t *labels, int64_t count,
                               int64_t classes);

/* Precision, recall and F1 of so many correct, predicted and true samples. */
cr_class_scores metrics_class_scores(int64_t correct, int64_t predicted, int64_t truth,
                                     double zero_division);

/* A mean that leaves NaN out, and falls back to equal weights where all weights are zero. */
struct metrics_mean {
    double weighted;
    double weights;
    double plain;
    int64_t count;
};

/* Sums over the reported classes. */
struct metrics_tally {
    struct metrics_mean precision, recall, f1;
    int64_t correct, predicted, truth;
};

void metrics_tally_add(struct metrics_tally *tally, cr_class_scores scores, int64_t correct,
                       int64_t predicted);
cr_class_scores metrics_tally_macro(const struct metrics_tally *tally);
cr_class_scores metrics_tally_weighted(const struct metrics_tally *tally);

/* The samples of a binary task by falling score. Each entry is a sample's number, whether it is the
 * last of those with its score, and whether it is positive. */
struct metrics_ranking {
    uint32_t *entries;
    int64_t count;
};
#define RANKED_SAMPLE(entry)   ((entry) >> 2)
#define RANKED_LAST(entry)     ((entry)&2)
#define RANKED_POSITIVE(entry) ((entry)&1)

/* To be freed by cr_free(entries). `keys` is room for count 64-bit words, or NULL to make it. */
cr_status metrics_rank(const cr_binary_task *task, uint64_t *keys, struct metrics_ranking *ranking);

/* Areas where sample i counts weights[i] times (NULL: once); NaN where they are not defined, and
 * how many positives there were. Any output may be NULL. */
struct metrics_areas {
    double roc;
    double precision; /* NaN without positives */
    int64_t positives;
};
struct metrics_areas metrics_areas_of(const struct metrics_ranking *ranking,
                                      const uint32_t *weights);

/* The bin of a score from 0 to 1 among `bins` of equal width. */
int64_t metrics_bin_of(double score, int64_t bins);

/* A number below `count` from two 32-bit words: the high half of a product, even to within
 * count / 2^64. */
CR_INLINE int64_t metrics_draw_below(const uint32_t word[2], int64_t count)
{
    uint64_t drawn = (uint64_t)word[0] << 32 | word[1];
    uint64_t high = drawn >> 32, low = drawn & 0xFFFFFFFFU;
    uint64_t number = (uint64_t)count; /* below 2^32 */
    return (int64_t)((high * number + (low * number >> 32)) >> 32);
}

/* The ends of the interval from a metric's values in replicates, which are sorted on the way. */
void metrics_interval(double *values, int64_t count, double level, cr_estimate *estimate);

/* Fills in the defaults; CR_ERROR_ARGUMENT if they are out of range. */
cr_status metrics_check_bootstrap(cr_bootstrap_args *args);

/* What one sample adds to the log loss and the Brier score. */
double metrics_sample_log_loss(const float *probabilities, int64_t truth);
double metrics_sample_brier(const float *probabilities, int64_t classes, int64_t truth);

#endif
