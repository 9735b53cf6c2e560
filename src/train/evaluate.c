/* Evaluation: a classifier in eval mode over a whole data set. */
#include <math.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/classifier.h"
#include "cresset/memory.h"
#include "cresset/metrics.h"
#include "cresset/ops.h"
#include "cresset/system.h"

static cr_status check_fit(const cr_classifier *classifier, const cr_dataset *data)
{
    cr_shape own = cr_dataset_sample_shape(data);
    cr_shape shape = cr_transform_shape(&classifier->transforms, own);
    char text[2][CR_SHAPE_TEXT];
    if (!cr_shape_equal(&shape, &classifier->input))
        return cr_error_set(CR_ERROR_SHAPE,
                            "%s has samples of shape %s, but the classifier takes %s",
                            cr_dataset_name(data), cr_shape_format(&own, text[0], CR_SHAPE_TEXT),
                            cr_shape_format(&classifier->input, text[1], CR_SHAPE_TEXT));
    if (cr_dataset_class_count(data) > classifier->class_count)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has %d classes, but the classifier knows %d",
                            cr_dataset_name(data), cr_dataset_class_count(data),
                            classifier->class_count);
    return CR_OK;
}

static cr_status evaluation_make(cr_evaluation *evaluation, int64_t count, int64_t classes,
                                 bool several)
{
    size_t room = (size_t)(count > 0 ? count : 1);
    *evaluation = (cr_evaluation){ .classes = classes };
    evaluation->truth = cr_alloc_array(room, sizeof *evaluation->truth);
    evaluation->predicted = cr_alloc_array(room, sizeof *evaluation->predicted);
    evaluation->probabilities = cr_alloc_array(room, (size_t)classes * sizeof(float));
    if (several) {
        evaluation->marks = cr_alloc_array(room, (size_t)classes * sizeof(int64_t));
        evaluation->predicted_marks = cr_alloc_array(room, (size_t)classes * sizeof(int64_t));
    }
    return cr_error_status();
}

void cr_evaluation_free(cr_evaluation *evaluation)
{
    cr_free(evaluation->truth);
    cr_free(evaluation->predicted);
    cr_free(evaluation->probabilities);
    cr_free(evaluation->marks);
    cr_free(evaluation->predicted_marks);
    *evaluation = (cr_evaluation){ 0 };
}

/* The class with the highest value. */
static int64_t highest(const float *values, int64_t count)
{
    int64_t best = 0;
    for (int64_t c = 1; c < count; c++)
        if (values[c] > values[best])
            best = c;
    return best;
}

/* Takes one sample's label and log-probabilities in. */
static void take_sample(cr_evaluation *evaluation, int64_t label, const float *logarithms)
{
    int64_t at = evaluation->count++;
    float *probabilities = evaluation->probabilities + at * evaluation->classes;
    for (int64_t c = 0; c < evaluation->classes; c++)
        probabilities[c] = expf(logarithms[c]);
    evaluation->truth[at] = label;
    evaluation->predicted[at] = highest(logarithms, evaluation->classes);
    if (label >= 0)
        evaluation->loss -= logarithms[label];
}

/* Takes in one sample with several labels, by its logits: log(1 + e^z) - y z is the binary
 * cross-entropy. */
static cr_status take_labels(cr_evaluation *evaluation, cr_dataset *set, int64_t index,
                             int64_t label, const float *logits)
{
    int64_t at = evaluation->count++, classes = evaluation->classes;
    float *probabilities = evaluation->probabilities + at * classes;
    int64_t *marks = evaluation->marks + at * classes;
    double loss = 0;
    if (cr_dataset_targets(set, index, probabilities) != CR_OK)
        return cr_error_status();
    for (int64_t c = 0; c < classes; c++) {
        double z = (double)logits[c];
        marks[c] = probabilities[c] > 0.5F;
        loss += fmax(z, 0) + log1p(exp(-fabs(z))) - (marks[c] ? z : 0);
        probabilities[c] = (float)(1 / (1 + exp(-z)));
    }
    evaluation->truth[at] = label;
    evaluation->predicted[at] = highest(logits, classes);
    evaluation->loss += loss / (double)classes;
    return CR_OK;
}

static cr_status run_batch(const cr_classifier *classifier, cr_dataset *set, const cr_batch *batch,
                           cr_evaluation *evaluation)
{
    cr_tensor *logits = cr_to_dtype(cr_classifier_forward(classifier, batch->samples), CR_F32);
    bool several = classifier->has_several_labels;
    cr_tensor *scores = several ? cr_contiguous(logits) : cr_log_softmax(logits, 1);
    if (!scores)
        return cr_error_status();
    if (cr_dim(scores, 1) != evaluation->classes)
        return cr_error_set(CR_ERROR_SHAPE, "the model gives %lld scores for %lld classes",
                            (long long)cr_dim(scores, 1), (long long)evaluation->classes);
    const float *values = cr_data(scores);
    const int64_t *labels = cr_data(batch->labels), *indices = cr_data(batch->indices);
    for (int64_t i = 0; i < batch->size; i++, values += evaluation->classes) {
        if (!several)
            take_sample(evaluation, labels[i], values);
        else if (take_labels(evaluation, set, indices[i], labels[i], values) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status run_batches(const cr_classifier *classifier, cr_dataset *set, cr_loader *loader,
                             const cr_evaluate_args *args, cr_evaluation *evaluation)
{
    int64_t all = cr_loader_sample_count(loader);
    if (cr_loader_start(loader, 0, 0) != CR_OK)
        return cr_error_status();
    for (;;) {
        cr_batch batch;
        cr_frame frame = cr_frame_begin();
        bool more = cr_loader_next(loader, &batch);
        cr_status status =
            more ? run_batch(classifier, set, &batch, evaluation) : cr_error_status();
        cr_frame_end(frame);
        if (!more || status != CR_OK)
            return status;
        if (args->progress && args->progress(evaluation->count, all, args->context))
            return cr_error_set(CR_ERROR_INTERRUPTED, "the evaluation was interrupted");
    }
}

static cr_status evaluate(const cr_classifier *classifier, cr_dataset *data,
                          const cr_evaluate_args *args, cr_evaluation *evaluation)
{
    cr_loader *loader =
        cr_loader_new(data, .batch_size = args->batch_size ? args->batch_size : 256,
                      .workers = args->workers, .transforms = &classifier->transforms);
    if (!loader)
        return cr_error_status();
    bool training_was = cr_model_is_training(classifier->model);
    bool grad_was = cr_set_grad_enabled(false);
    cr_model_train(classifier->model, false);
    cr_status status = evaluation_make(evaluation, cr_loader_sample_count(loader),
                                       classifier->class_count, classifier->has_several_labels);
    if (status == CR_OK)
        status = run_batches(classifier, data, loader, args, evaluation);
    cr_model_train(classifier->model, training_was);
    cr_set_grad_enabled(grad_was);
    cr_loader_free(loader);
    return status;
}

void cr_evaluation_mark(cr_evaluation *evaluation, const float *thresholds)
{
    int64_t right = 0, all = evaluation->count * evaluation->classes;
    for (int64_t i = 0; evaluation->marks && i < all; i++) {
        float threshold =
            thresholds ? thresholds[i % evaluation->classes] : (float)CR_DEFAULT_THRESHOLD;
        evaluation->predicted_marks[i] = evaluation->probabilities[i] >= threshold;
        right += evaluation->predicted_marks[i] == evaluation->marks[i];
    }
    if (evaluation->marks)
        evaluation->accuracy = all > 0 ? (double)right / (double)all : 0;
}

/* Accuracy and average precision, from the probabilities. */
static void judge(cr_evaluation *evaluation, const float *thresholds)
{
    int64_t right = 0, count = evaluation->count;
    for (int64_t i = 0; i < count; i++)
        right += evaluation->predicted[i] == evaluation->truth[i];
    evaluation->accuracy = count > 0 ? (double)right / (double)count : 0;
    evaluation->average_precision = NAN;
    cr_evaluation_mark(evaluation, thresholds);
    if (evaluation->marks && count > 0)
        evaluation->average_precision =
            cr_average_precision_multilabel(evaluation->marks, evaluation->probabilities, count,
                                            evaluation->classes, CR_AVERAGE_MACRO);
}

/* ---- several evaluations of the same samples ---- */

static cr_status check_same(const cr_evaluation *a, const cr_evaluation *b)
{
    size_t bytes = (size_t)a->count * sizeof *a->truth;
    if (a->count == b->count && a->classes == b->classes && !a->marks == !b->marks &&
        memcmp(a->truth, b->truth, bytes) == 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "an average is of evaluations of the same samples, but one is of %lld "
                        "samples of %lld classes and another of %lld of %lld, or of others",
                        (long long)a->count, (long long)a->classes, (long long)b->count,
                        (long long)b->classes);
}

/* The loss of one sample by its probabilities. */
static double sample_loss(const cr_evaluation *evaluation, int64_t at)
{
    int64_t classes = evaluation->classes, label = evaluation->truth[at];
    const float *row = evaluation->probabilities + at * classes;
    const double least = 0x1p-23; /* the distance of a float below 1 to it, about */
    double loss = 0;
    if (!evaluation->marks)
        return label >= 0 ? -log(fmax((double)row[label], least)) : 0;
    for (int64_t c = 0; c < classes; c++) {
        double p = (double)row[c];
        loss -= log(fmax(evaluation->marks[at * classes + c] ? p : 1 - p, least));
    }
    return loss / (double)classes;
}

cr_status cr_evaluation_average(cr_evaluation *evaluation, const cr_evaluation *parts, int count,
                                const float *thresholds)
{
    int64_t classes = evaluation->classes;
    for (int p = 0; p < count; p++)
        if (cr_failed() || check_same(evaluation, &parts[p]) != CR_OK)
            return cr_error_status();
    for (int64_t i = 0; i < evaluation->count * classes && count > 0; i++) {
        double sum = 0;
        for (int p = 0; p < count; p++)
            sum += (double)parts[p].probabilities[i];
        evaluation->probabilities[i] = (float)(sum / count);
    }
    evaluation->loss = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        evaluation->predicted[i] = highest(evaluation->probabilities + i * classes, classes);
        evaluation->loss += sample_loss(evaluation, i) / (double)evaluation->count;
    }
    judge(evaluation, thresholds);
    return cr_error_status();
}

cr_status cr_evaluate(const cr_classifier *classifier, cr_dataset *data, cr_evaluate_args args,
                      cr_evaluation *evaluation)
{
    *evaluation = (cr_evaluation){ 0 };
    if (cr_failed() || check_fit(classifier, data) != CR_OK)
        return cr_error_status();
    double begun = cr_clock_seconds();
    cr_status status = evaluate(classifier, data, &args, evaluation);
    if (status != CR_OK) {
        cr_evaluation_free(evaluation);
        return status;
    }
    double count = evaluation->count > 0 ? (double)evaluation->count : 1;
    evaluation->loss /= count;
    judge(evaluation, classifier->thresholds);
    evaluation->seconds = cr_clock_seconds() - begun;
    return CR_OK;
}
