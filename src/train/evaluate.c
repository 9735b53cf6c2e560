/* Evaluation: a classifier in eval mode over a whole data set. */
#include <math.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/classifier.h"
#include "cresset/memory.h"
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

static cr_status evaluation_make(cr_evaluation *evaluation, int64_t count, int64_t classes)
{
    size_t room = (size_t)(count > 0 ? count : 1);
    *evaluation = (cr_evaluation){ .classes = classes };
    evaluation->truth = cr_alloc_array(room, sizeof *evaluation->truth);
    evaluation->predicted = cr_alloc_array(room, sizeof *evaluation->predicted);
    evaluation->probabilities = cr_alloc_array(room, (size_t)classes * sizeof(float));
    bool whole = evaluation->truth && evaluation->predicted && evaluation->probabilities;
    return whole ? CR_OK : CR_ERROR_MEMORY;
}

void cr_evaluation_free(cr_evaluation *evaluation)
{
    cr_free(evaluation->truth);
    cr_free(evaluation->predicted);
    cr_free(evaluation->probabilities);
    *evaluation = (cr_evaluation){ 0 };
}

/* Takes one sample's label and log-probabilities in. */
static void take_sample(cr_evaluation *evaluation, int64_t label, const float *logarithms)
{
    int64_t at = evaluation->count++;
    float *probabilities = evaluation->probabilities + at * evaluation->classes;
    int64_t best = 0;
    for (int64_t c = 0; c < evaluation->classes; c++) {
        probabilities[c] = expf(logarithms[c]);
        if (logarithms[c] > logarithms[best])
            best = c;
    }
    evaluation->truth[at] = label;
    evaluation->predicted[at] = best;
    evaluation->accuracy += best == label;
    if (label >= 0)
        evaluation->loss -= logarithms[label];
}

static cr_status run_batch(const cr_classifier *classifier, const cr_batch *batch,
                           cr_evaluation *evaluation)
{
    cr_tensor *logits = cr_classifier_forward(classifier, batch->samples);
    cr_tensor *logarithms = cr_log_softmax(cr_to_dtype(logits, CR_F32), 1);
    if (!logarithms)
        return cr_error_status();
    if (cr_dim(logarithms, 1) != evaluation->classes)
        return cr_error_set(CR_ERROR_SHAPE, "the model gives %lld scores for %lld classes",
                            (long long)cr_dim(logarithms, 1), (long long)evaluation->classes);
    const float *values = cr_data(logarithms);
    const int64_t *labels = cr_data(batch->labels);
    for (int64_t i = 0; i < batch->size; i++)
        take_sample(evaluation, labels[i], values + i * evaluation->classes);
    return CR_OK;
}

static cr_status run_batches(const cr_classifier *classifier, cr_loader *loader,
                             const cr_evaluate_args *args, cr_evaluation *evaluation)
{
    int64_t all = cr_loader_sample_count(loader);
    if (cr_loader_start(loader, 0, 0) != CR_OK)
        return cr_error_status();
    for (;;) {
        cr_batch batch;
        cr_frame frame = cr_frame_begin();
        bool more = cr_loader_next(loader, &batch);
        cr_status status = more ? run_batch(classifier, &batch, evaluation) : cr_error_status();
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
    cr_status status =
        evaluation_make(evaluation, cr_loader_sample_count(loader), classifier->class_count);
    if (status == CR_OK)
        status = run_batches(classifier, loader, args, evaluation);
    cr_model_train(classifier->model, training_was);
    cr_set_grad_enabled(grad_was);
    cr_loader_free(loader);
    return status;
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
    evaluation->accuracy /= count;
    evaluation->seconds = cr_clock_seconds() - begun;
    return CR_OK;
}
