/* Samples with several labels: their targets as tensors, weights that make rare labels count, and
 * the probabilities from which on a label is said to be there. */
#include <math.h>
#include <string.h>

#include "cresset/memory.h"
#include "cresset/metrics.h"
#include "cresset/ops.h"
#include "train/train_run.h"

cr_tensor *train_batch_targets(cr_dataset *set, const cr_batch *batch, int64_t classes)
{
    cr_tensor *targets = cr_zeros(CR_SHAPE(batch->size, classes));
    float *row = targets ? cr_data(targets) : NULL;
    const int64_t *indices = cr_data(batch->indices);
    for (int64_t i = 0; row && i < batch->size; i++, row += classes)
        if (cr_dataset_targets(set, indices[i], row) != CR_OK)
            return NULL;
    return targets;
}

cr_tensor *train_positive_weights(cr_dataset *set, int64_t classes)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *weights = cr_zeros(CR_SHAPE(classes));
    float *counts = weights ? cr_data(weights) : NULL;
    float *row = cr_alloc_array((size_t)classes, sizeof *row);
    int64_t size = cr_dataset_size(set);
    for (int64_t i = 0; counts && row && i < size; i++) {
        if (cr_dataset_targets(set, i, row) != CR_OK)
            break;
        for (int64_t c = 0; c < classes; c++)
            counts[c] += row[c];
    }
    for (int64_t c = 0; counts && c < classes; c++)
        counts[c] = counts[c] > 0 ? ((float)size - counts[c]) / counts[c] : 1;
    cr_free(row);
    cr_retain(weights);
    cr_frame_end(frame);
    return weights;
}

/* The threshold of one label with the best F1, in the middle of the scores that it parts; of equal
 * ones the highest. */
static double best_threshold(const cr_binary_task *task)
{
    cr_curve curve;
    double best = 0, threshold = CR_DEFAULT_THRESHOLD;
    bool occurs = false;
    for (int64_t i = 0; i < task->count; i++)
        occurs |= task->truth[i * task->truth_stride] == 1;
    if (!occurs || cr_precision_recall_curve(task, &curve) != CR_OK)
        return threshold;
    for (int64_t i = 0; i < curve.count; i++) {
        double precision = curve.y[i], recall = curve.x[i];
        double f1 = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
        if (isfinite(curve.threshold[i]) && f1 >= best) {
            best = f1;
            threshold = (curve.threshold[i] + (i > 0 ? curve.threshold[i - 1] : 0)) / 2;
        }
    }
    cr_curve_free(&curve);
    return threshold;
}

cr_status cr_evaluation_thresholds(const cr_evaluation *evaluation, float *thresholds)
{
    if (cr_failed())
        return cr_error_status();
    if (!evaluation->marks)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "thresholds are of classifiers whose samples have several labels");
    for (int64_t c = 0; c < evaluation->classes; c++) {
        cr_binary_task task = { .truth = evaluation->marks + c,
                                .truth_stride = evaluation->classes,
                                .positive = 1,
                                .scores = evaluation->probabilities + c,
                                .score_stride = evaluation->classes,
                                .count = evaluation->count };
        thresholds[c] = (float)best_threshold(&task);
    }
    return cr_error_status();
}
