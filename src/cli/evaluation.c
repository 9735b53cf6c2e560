/* Evaluating a classifier on a data set, and what eval and train show of the result: the confusion
 * matrix and the most confident mistakes. */
#include <stdlib.h>

#include "cli.h"
#include "cresset/memory.h"

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

cr_report_mistake *mistakes_of(const cr_evaluation *evaluation, cr_dataset *set, int64_t limit,
                               int64_t *count)
{
    cr_report_mistake *mistakes = list_mistakes(evaluation, count);
    if (mistakes && *count > limit)
        *count = limit;
    for (int64_t i = 0; mistakes && i < *count; i++) {
        cli_picture picture;
        if (!sample_picture(set, mistakes[i].index, &picture, NULL)) {
            free_mistakes(mistakes, i);
            return NULL;
        }
        mistakes[i].picture = (cr_plot_picture){ .pixels = picture.pixels,
                                                 .width = picture.width,
                                                 .height = picture.height,
                                                 .channels = picture.channels };
    }
    return mistakes;
}

void free_mistakes(cr_report_mistake *mistakes, int64_t count)
{
    for (int64_t i = 0; mistakes && i < count; i++)
        cr_free((void *)mistakes[i].picture.pixels);
    cr_free(mistakes);
}
