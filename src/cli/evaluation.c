/* Evaluating a classifier on a data set, and what eval and train show of the result: the confusion
 * matrix and the most confident mistakes, with what the model looked at. */
#include <math.h>
#include <stdlib.h>

#include "cli.h"
#include "cresset/explain.h"
#include "cresset/memory.h"

#define EXPLAINED_AT_ONCE 8 /* pictures through the model, with what backward needs */

static bool on_batch(int64_t done, int64_t all, void *context)
{
    progress *bar = context;
    (void)all;
    cr_profile_step();
    if (bar)
        progress_update(bar, done, "");
    return interrupted();
}

bool evaluate_set(const cr_classifier *classifier, cr_dataset *set, int64_t batch_size,
                  int64_t workers, bool quiet, cr_evaluation *evaluation)
{
    progress bar;
    progress_begin(&bar, "evaluating", cr_dataset_size(set), "samples");
    cr_evaluate_args args = { .batch_size = batch_size,
                              .workers = (int)workers,
                              .progress = on_batch,
                              .context = quiet ? NULL : &bar };
    bool good = cr_evaluate(classifier, set, args, evaluation) == CR_OK;
    progress_clear(&bar);
    return good;
}

int64_t *confusion_of(const cr_evaluation *evaluation)
{
    size_t classes = (size_t)evaluation->classes;
    int64_t *matrix = cr_alloc_zeroed(classes * classes, sizeof *matrix);
    if (matrix && cr_confusion_matrix_add(matrix, evaluation->classes, evaluation->truth,
                                          evaluation->predicted, evaluation->count) != CR_OK) {
        cr_free(matrix);
        matrix = NULL;
    }
    return matrix;
}

static int by_probability(const void *a, const void *b)
{
    const cr_report_mistake *x = a, *y = b;
    if (x->probability != y->probability)
        return x->probability < y->probability ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* All mistakes without their pictures, the most confident first. NULL with an error set. */
static cr_report_mistake *list_mistakes(const cr_evaluation *evaluation, int64_t *count)
{
    int64_t wrong = 0;
    for (int64_t i = 0; i < evaluation->count; i++)
        wrong += evaluation->truth[i] != evaluation->predicted[i];
    cr_report_mistake *mistakes = cr_alloc_zeroed((size_t)wrong, sizeof *mistakes);
    *count = 0;
    for (int64_t i = 0; mistakes && i < evaluation->count; i++) {
        int64_t predicted = evaluation->predicted[i];
        if (evaluation->truth[i] == predicted)
            continue;
        double probability = evaluation->probabilities[i * evaluation->classes + predicted];
        mistakes[(*count)++] = (cr_report_mistake){ .truth = evaluation->truth[i],
                                                    .predicted = predicted,
                                                    .probability = probability,
                                                    .index = i };
    }
    if (mistakes)
        qsort(mistakes, (size_t)wrong, sizeof *mistakes, by_probability);
    return mistakes;
}

/* The samples of a data set as a classifier sees them before its transforms of tensors. */
typedef struct model_view {
    const cr_classifier *classifier;
    cr_dataset *set;
    cr_transform_list pictures, tensors;
    bool explains; /* until a model turns out to have nothing to explain by */
} model_view;

/* (C, H, W) from 0 to 1 as the bytes of a picture (H, W, C); NULL with an error set. */
static uint8_t *bytes_of(const float *sample, const cr_shape *shape)
{
    int64_t numel = cr_shape_numel(shape), plane = shape->dim[1] * shape->dim[2];
    uint8_t *pixels = cr_alloc((size_t)numel);
    for (int64_t i = 0; pixels && i < numel; i++) {
        double value = 255 * (double)sample[i] + 0.5;
        pixels[i % plane * shape->dim[0] + i / plane] = (uint8_t)fmin(fmax(value, 0), 255);
    }
    return pixels;
}

static cr_plot_picture picture_of(const uint8_t *pixels, const cr_shape *shape, int64_t channels)
{
    return (cr_plot_picture){ .pixels = pixels,
                              .width = (int)shape->dim[2],
                              .height = (int)shape->dim[1],
                              .channels = (int)channels };
}

bool explain_samples(const cr_classifier *classifier, const cr_transform_list *tensors,
                     const float *samples, int64_t count, const int64_t *classes,
                     cr_plot_picture *painted)
{
    const cr_shape *shape = &classifier->input;
    int64_t numel = cr_shape_numel(shape), plane = shape->dim[1] * shape->dim[2];
    cr_frame frame = cr_frame_begin();
    cr_tensor *batch = cr_from_buffer(
        samples, CR_SHAPE(count, shape->dim[0], shape->dim[1], shape->dim[2]), CR_F32);
    for (int64_t i = 0; batch && i < count; i++) {
        cr_sample sample = { (float *)cr_data(batch) + i * numel, shape->dim[0], shape->dim[1],
                             shape->dim[2] };
        cr_transform_apply(tensors, &sample, 0, 0, i);
    }
    cr_tensor *maps = cr_grad_cam(classifier, batch, .classes = classes);
    for (int64_t i = 0; maps && i < count && !cr_failed(); i++) {
        uint8_t *pixels = bytes_of(samples + i * numel, shape);
        uint8_t *heat = pixels ? cr_alloc_array((size_t)plane, 3) : NULL;
        if (heat)
            cr_heat_paint((const float *)cr_data(maps) + i * plane, pixels, shape->dim[1],
                          shape->dim[2], shape->dim[0], heat);
        cr_free(pixels);
        painted[i] = picture_of(heat, shape, 3);
    }
    cr_frame_end(frame);
    return !cr_failed();
}

/* Pictures and explanations of a few mistakes at once. */
static bool show_mistakes(model_view *view, cr_report_mistake *mistakes, int64_t count,
                          float *samples)
{
    const cr_shape *shape = &view->classifier->input;
    int64_t numel = cr_shape_numel(shape), classes[EXPLAINED_AT_ONCE];
    cr_plot_picture painted[EXPLAINED_AT_ONCE] = { { 0 } };
    for (int64_t i = 0; i < count; i++) {
        float *sample = samples + i * numel;
        int64_t label;
        if (!read_set_sample(view->set, mistakes[i].index, &view->pictures, shape, sample, &label))
            return false;
        mistakes[i].picture = picture_of(bytes_of(sample, shape), shape, shape->dim[0]);
        classes[i] = mistakes[i].predicted;
    }
    if (cr_failed() || !view->explains)
        return !cr_failed();
    bool good = explain_samples(view->classifier, &view->tensors, samples, count, classes, painted);
    for (int64_t i = 0; i < count; i++)
        mistakes[i].explained = painted[i];
    if (!good && cr_error_status() == CR_ERROR_UNSUPPORTED) {
        cr_error_clear();
        view->explains = false;
    }
    return !cr_failed();
}

bool picture_mistakes(const cr_classifier *classifier, cr_dataset *set, bool explains,
                      cr_report_mistake *mistakes, int64_t count)
{
    model_view view = { .classifier = classifier, .set = set, .explains = explains };
    int64_t numel = cr_shape_numel(&classifier->input);
    if (!split_transforms(&classifier->transforms, &classifier->input, &view.pictures,
                          &view.tensors))
        return false;
    float *samples = cr_alloc_array((size_t)numel, EXPLAINED_AT_ONCE * sizeof *samples);
    bool good = samples != NULL;
    for (int64_t i = 0; good && i < count; i += EXPLAINED_AT_ONCE)
        good =
            show_mistakes(&view, mistakes + i,
                          count - i < EXPLAINED_AT_ONCE ? count - i : EXPLAINED_AT_ONCE, samples);
    cr_free(samples);
    return good;
}

cr_report_mistake *mistakes_of(const cr_evaluation *evaluation, const cr_classifier *classifier,
                               cr_dataset *set, int64_t limit, int64_t *count)
{
    cr_report_mistake *mistakes = list_mistakes(evaluation, count);
    if (!mistakes)
        return NULL;
    if (*count > limit)
        *count = limit;
    if (picture_mistakes(classifier, set, true, mistakes, *count))
        return mistakes;
    free_mistakes(mistakes, *count);
    return NULL;
}

void free_mistakes(cr_report_mistake *mistakes, int64_t count)
{
    for (int64_t i = 0; mistakes && i < count; i++) {
        cr_free((void *)mistakes[i].picture.pixels);
        cr_free((void *)mistakes[i].explained.pixels);
    }
    cr_free(mistakes);
}
