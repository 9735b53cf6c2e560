/* Metrics of how well scores rank positive samples before negative ones. Samples are sorted once by
 * falling score, as 64-bit words that hold the score's bits above the sample's number, so that
 * equal scores keep their order; curves and areas are then one pass over the sorted samples in
 * which those with equal scores are taken together. Counts are integers throughout, so areas are
 * exact up to the last division. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

static int64_t truth_at(const cr_binary_task *task, int64_t i)
{
    return task->truth[i * (task->truth_stride != 0 ? task->truth_stride : 1)];
}

static float score_at(const cr_binary_task *task, int64_t i)
{
    return task->scores[i * (task->score_stride != 0 ? task->score_stride : 1)];
}

/* Bits that order like the falling score: unsigned, the highest score first, -0 equal to 0. */
static uint32_t falling_key(float score)
{
    uint32_t bits;
    score = score == 0 ? 0 : score;
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000U ? bits : ~bits & 0x7FFFFFFFU;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static cr_status check_task(const cr_binary_task *task)
{
    if (task->count < 0 || task->count > CR_MAX_RANKED)
        return cr_error_set(CR_ERROR_ARGUMENT, "ranking: %lld samples, but there must be 0 to %d",
                            (long long)task->count, CR_MAX_RANKED);
    if (task->count > 0 && (task->truth == NULL || task->scores == NULL))
        return cr_error_set(CR_ERROR_ARGUMENT, "ranking: no labels or no scores were given");
    for (int64_t i = 0; i < task->count; i++) {
        if (isnan(score_at(task, i)))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "ranking: the score of sample %lld is not a number", (long long)i);
    }
    return CR_OK;
}

cr_status metrics_rank(const cr_binary_task *task, uint64_t *keys, struct metrics_ranking *ranking)
{
    *ranking = (struct metrics_ranking){ .count = task->count };
    if (cr_failed() || check_task(task) != CR_OK)
        return cr_error_status();
    size_t room = (size_t)CR_MAX(task->count, 1);
    uint64_t *own = keys == NULL ? cr_alloc_array(room, sizeof *own) : NULL;
    ranking->entries = cr_alloc_array(room, sizeof *ranking->entries);
    keys = keys != NULL ? keys : own;
    if (keys == NULL || ranking->entries == NULL) {
        cr_free(own);
        cr_free(ranking->entries);
        ranking->entries = NULL;
        return cr_error_status();
    }
    for (int64_t i = 0; i < task->count; i++)
        keys[i] = (uint64_t)falling_key(score_at(task, i)) << 32 | (uint64_t)i;
    qsort(keys, (size_t)task->count, sizeof *keys, by_key);
    for (int64_t i = 0; i < task->count; i++) {
        uint32_t sample = (uint32_t)keys[i];
        bool last = i + 1 == task->count || keys[i + 1] >> 32 != keys[i] >> 32;
        bool positive = truth_at(task, sample) == task->positive;
        ranking->entries[i] = sample << 2 | (last ? 2U : 0) | (positive ? 1U : 0);
    }
    cr_free(own);
    return CR_OK;
}

struct metrics_areas metrics_areas_of(const struct metrics_ranking *ranking,
                                      const uint32_t *weights)
{
    int64_t positive = 0, negative = 0; /* so far */
    int64_t group[2] = { 0, 0 };        /* of this score: negative, positive */
    int64_t twice = 0;                  /* pairs that are ranked right, ties counting half */
    double precision = 0;
    for (int64_t i = 0; i < ranking->count; i++) {
        uint32_t entry = ranking->entries[i];
        group[RANKED_POSITIVE(entry)] += weights != NULL ? weights[RANKED_SAMPLE(entry)] : 1;
        if (!RANKED_LAST(entry))
            continue;
        twice += group[0] * (2 * positive + group[1]);
        positive += group[1];
        negative += group[0];
        if (group[1] > 0)
            precision += (double)group[1] * ((double)positive / (double)(positive + negative));
        group[0] = group[1] = 0;
    }
    struct metrics_areas areas = { NAN, NAN, positive };
    if (positive > 0)
        areas.precision = precision / (double)positive;
    if (positive > 0 && negative > 0)
        areas.roc = 0.5 * (double)twice / ((double)positive * (double)negative);
    return areas;
}

/* ---- curves ---- */

void cr_curve_free(cr_curve *curve)
{
    cr_free(curve->x);
    *curve = (cr_curve){ 0 };
}

static cr_status curve_make(cr_curve *curve, int64_t count)
{
    size_t room = (size_t)count;
    double *block = cr_alloc_array(room, 3 * sizeof *block);
    if (block == NULL)
        return cr_error_status();
    *curve = (cr_curve){ count, block, block + room, block + 2 * room };
    return CR_OK;
}

static cr_status rank_some(const cr_binary_task *task, struct metrics_ranking *ranking)
{
    if (metrics_rank(task, NULL, ranking) != CR_OK)
        return cr_error_status();
    if (task->count > 0)
        return CR_OK;
    cr_free(ranking->entries);
    return cr_error_set(CR_ERROR_ARGUMENT, "a curve of no samples has no points");
}

/* One point a score: negatives (x) and positives (y) up to it, after a first one of none. */
static cr_status count_points(const cr_binary_task *task, cr_curve *curve)
{
    struct metrics_ranking ranking;
    *curve = (cr_curve){ 0 };
    if (rank_some(task, &ranking) != CR_OK)
        return cr_error_status();
    int64_t points = 1;
    for (int64_t i = 0; i < ranking.count; i++)
        points += RANKED_LAST(ranking.entries[i]) != 0;
    if (curve_make(curve, points) == CR_OK) {
        double counted[2] = { 0, 0 };
        int64_t at = 0;
        curve->x[at] = curve->y[at] = 0;
        curve->threshold[at++] = INFINITY;
        for (int64_t i = 0; i < ranking.count; i++) {
            uint32_t entry = ranking.entries[i];
            counted[RANKED_POSITIVE(entry)]++;
            if (!RANKED_LAST(entry))
                continue;
            curve->x[at] = counted[0];
            curve->y[at] = counted[1];
            curve->threshold[at++] = score_at(task, RANKED_SAMPLE(entry));
        }
    }
    cr_free(ranking.entries);
    return cr_error_status();
}

static void keep_point(cr_curve *curve, int64_t to, int64_t from)
{
    curve->x[to] = curve->x[from];
    curve->y[to] = curve->y[from];
    curve->threshold[to] = curve->threshold[from];
}

/* Leaves out points whose steps before and after are the same (scikit-learn's drop_intermediate).
 * The first point, of none, is not part of what it looks at. */
static void drop_intermediate(cr_curve *curve)
{
    int64_t kept = 2;
    double x[2] = { curve->count > 1 ? curve->x[1] : 0, 0 };
    double y[2] = { curve->count > 1 ? curve->y[1] : 0, 0 };
    if (curve->count <= 3)
        return;
    for (int64_t i = 2; i < curve->count; i++) {
        bool last = i + 1 == curve->count;
        x[1] = curve->x[i];
        y[1] = curve->y[i];
        bool bends =
            last || curve->x[i + 1] - x[1] != x[1] - x[0] || curve->y[i + 1] - y[1] != y[1] - y[0];
        if (bends)
            keep_point(curve, kept++, i);
        x[0] = x[1];
        y[0] = y[1];
    }
    curve->count = kept;
}

cr_status cr_roc_curve(const cr_binary_task *task, bool keep_all, cr_curve *curve)
{
    if (count_points(task, curve) != CR_OK)
        return cr_error_status();
    if (!keep_all)
        drop_intermediate(curve);
    double negatives = curve->x[curve->count - 1];
    double positives = curve->y[curve->count - 1];
    for (int64_t i = 0; i < curve->count; i++) {
        curve->x[i] = negatives > 0 ? curve->x[i] / negatives : NAN;
        curve->y[i] = positives > 0 ? curve->y[i] / positives : NAN;
    }
    return CR_OK;
}

static void swap(double *values, int64_t a, int64_t b)
{
    double value = values[a];
    values[a] = values[b];
    values[b] = value;
}

cr_status cr_precision_recall_curve(const cr_binary_task *task, cr_curve *curve)
{
    if (count_points(task, curve) != CR_OK)
        return cr_error_status();
    double positives = curve->y[curve->count - 1];
    for (int64_t i = 1; i < curve->count; i++) {
        double negative = curve->x[i];
        double positive = curve->y[i];
        curve->x[i] = positives > 0 ? positive / positives : 1;
        curve->y[i] = positive / (positive + negative);
    }
    curve->y[0] = 1;
    for (int64_t low = 0, high = curve->count - 1; low < high; low++, high--) {
        swap(curve->x, low, high);
        swap(curve->y, low, high);
        swap(curve->threshold, low, high);
    }
    return CR_OK;
}

/* ---- areas ---- */

double cr_roc_auc_score(const cr_binary_task *task)
{
    struct metrics_ranking ranking;
    if (metrics_rank(task, NULL, &ranking) != CR_OK)
        return NAN;
    struct metrics_areas areas = metrics_areas_of(&ranking, NULL);
    cr_free(ranking.entries);
    return areas.roc;
}

double cr_average_precision_score(const cr_binary_task *task)
{
    struct metrics_ranking ranking;
    if (metrics_rank(task, NULL, &ranking) != CR_OK)
        return NAN;
    struct metrics_areas areas = metrics_areas_of(&ranking, NULL);
    cr_free(ranking.entries);
    return task->count > 0 && areas.positives == 0 ? 0 : areas.precision;
}

/* Class or label `c` of what an average is taken over. */
static cr_binary_task task_of(const int64_t *truth, const float *scores, int64_t count,
                              int64_t classes, int64_t c, bool labels)
{
    return (cr_binary_task){ .truth = labels ? truth + c : truth,
                             .truth_stride = labels ? classes : 1,
                             .positive = labels ? 1 : c,
                             .scores = scores + c,
                             .score_stride = classes,
                             .count = count };
}

/* What is averaged: areas of classes against the rest, or of labels; by which curve. */
typedef struct averaging {
    bool labels, roc;
    cr_metric_average average;
} averaging;

/* The mean of one area over the classes or labels that have it. */
static double average_areas(const int64_t *truth, const float *scores, int64_t count,
                            int64_t classes, averaging how)
{
    double sum = 0;
    double weights = 0;
    for (int64_t c = 0; c < classes; c++) {
        cr_binary_task task = task_of(truth, scores, count, classes, c, how.labels);
        struct metrics_ranking ranking;
        if (metrics_rank(&task, NULL, &ranking) != CR_OK)
            return NAN;
        struct metrics_areas areas = metrics_areas_of(&ranking, NULL);
        cr_free(ranking.entries);
        double area = how.roc ? areas.roc : areas.precision;
        if (isnan(area))
            continue;
        double weight = how.average == CR_AVERAGE_WEIGHTED ? (double)areas.positives : 1;
        sum += weight * area;
        weights += weight;
    }
    return sum / weights;
}

static bool count_is_good(int64_t classes)
{
    if (classes < 1)
        cr_error_set(CR_ERROR_ARGUMENT, "area: %lld classes or labels, but there must be some",
                     (long long)classes);
    return !cr_failed();
}

static double one_vs_rest(const int64_t *truth, const float *scores, int64_t count, int64_t classes,
                          averaging how)
{
    if (!count_is_good(classes) || metrics_check_labels("true", truth, count, classes) != CR_OK)
        return NAN;
    return average_areas(truth, scores, count, classes, how);
}

double cr_roc_auc_one_vs_rest(const int64_t *truth, const float *scores, int64_t count,
                              int64_t classes, cr_metric_average average)
{
    return one_vs_rest(truth, scores, count, classes,
                       (averaging){ .roc = true, .average = average });
}

double cr_average_precision_one_vs_rest(const int64_t *truth, const float *scores, int64_t count,
                                        int64_t classes, cr_metric_average average)
{
    return one_vs_rest(truth, scores, count, classes, (averaging){ .average = average });
}

double cr_roc_auc_multilabel(const int64_t *truth, const float *scores, int64_t count,
                             int64_t labels, cr_metric_average average)
{
    averaging how = { .labels = true, .roc = true, .average = average };
    return count_is_good(labels) ? average_areas(truth, scores, count, labels, how) : NAN;
}

double cr_average_precision_multilabel(const int64_t *truth, const float *scores, int64_t count,
                                       int64_t labels, cr_metric_average average)
{
    averaging how = { .labels = true, .average = average };
    return count_is_good(labels) ? average_areas(truth, scores, count, labels, how) : NAN;
}
