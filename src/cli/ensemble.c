/* Several models as one, and several views of each picture: the mean of their probabilities. */
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

const char *views_words(int index)
{
    return index < CR_VIEWS_COUNT ? cr_views_word((cr_views)index) : NULL;
}

cr_views views_of(const char *word)
{
    int index = 0;
    while (strcmp(views_words(index), word) != 0)
        index++;
    return (cr_views)index;
}

/* ---- the models ---- */

static bool same_classes(const cr_classifier *a, const cr_classifier *b)
{
    bool same = a->class_count == b->class_count && a->has_several_labels == b->has_several_labels;
    for (int i = 0; same && i < a->class_count; i++)
        same = strcmp(a->class_names[i], b->class_names[i]) == 0;
    return same;
}

static bool add_model(model_list *models, const char *path)
{
    if (models->count == ENSEMBLE_LIMIT) {
        cr_error_set(CR_ERROR_ARGUMENT, "an ensemble has at most %d models", ENSEMBLE_LIMIT);
        return false;
    }
    cr_classifier *model = cr_classifier_load(path);
    if (model && models->count > 0 && !same_classes(models->items[0], model)) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s has other classes than the first model", path);
        cr_classifier_free(model);
        model = NULL;
    }
    if (!model)
        return false;
    models->items[models->count++] = model;
    return cr_classifier_compile(model) == CR_OK;
}

/* A model, or all folds of a run with --folds. */
static bool add_models(model_list *models, const char *path)
{
    char *first = fold_folder(path, 1);
    bool good = first && !cr_file_exists(first) && add_model(models, path);
    bool has_folds = first && cr_file_exists(first);
    cr_free(first);
    for (int fold = 1; has_folds; fold++) {
        char *folder = fold_folder(path, fold);
        has_folds = folder && cr_file_exists(folder);
        good = !cr_failed() && (!has_folds || add_model(models, folder));
        cr_free(folder);
        has_folds = has_folds && good;
    }
    return good;
}

bool models_load(model_list *models, const char *path, const char *more)
{
    *models = (model_list){ 0 };
    char *rest = NULL, *words = more ? cr_string_copy(more) : NULL;
    bool good = (!more || words) && add_models(models, path);
    for (char *word = good && words ? strtok_r(words, ",", &rest) : NULL; word && good;
         word = strtok_r(NULL, ",", &rest))
        good = add_models(models, word);
    cr_free(words);
    return good;
}

void models_free(model_list *models)
{
    for (int i = 0; i < models->count; i++)
        cr_classifier_free(models->items[i]);
    *models = (model_list){ 0 };
}

float *thresholds_of(const model_list *models, double given)
{
    size_t classes = (size_t)models->items[0]->class_count;
    float *thresholds = cr_alloc_array(classes, sizeof *thresholds);
    for (size_t c = 0; thresholds && c < classes; c++) {
        double sum = 0;
        for (int m = 0; m < models->count; m++)
            sum += models->items[m]->thresholds ? (double)models->items[m]->thresholds[c]
                                                : CR_DEFAULT_THRESHOLD;
        thresholds[c] = (float)(given >= 0 ? given : sum / models->count);
    }
    return thresholds;
}

/* ---- evaluation ---- */

/* Evaluates a model on each of its views, one after the other into `parts`, which grows. */
static bool evaluate_views(const evaluation_plan *plan, const cr_classifier *model,
                           cr_evaluation *parts, int *count)
{
    cr_transform_list lists[CR_MOST_VIEWS];
    int views = cr_transform_views(&model->transforms, plan->views, lists);
    for (int v = 0; v < views; v++) {
        cr_classifier view = *model;
        view.transforms = lists[v];
        if (!evaluate_set(&view, plan->set, plan->batch_size, plan->workers, plan->quiet,
                          &parts[*count]))
            return false;
        ++*count;
    }
    return views > 0;
}

bool evaluate_models(const evaluation_plan *plan, cr_evaluation *evaluation)
{
    const model_list *models = plan->models;
    *evaluation = (cr_evaluation){ 0 };
    size_t room = (size_t)models->count * CR_MOST_VIEWS;
    cr_evaluation *parts = cr_alloc_zeroed(room, sizeof *parts);
    float *thresholds = thresholds_of(models, plan->threshold);
    int count = 0;
    bool good = parts && thresholds;
    for (int m = 0; good && m < models->count; m++)
        good = evaluate_views(plan, models->items[m], parts, &count);
    if (good && count == 1)
        cr_evaluation_mark(&parts[0], thresholds);
    if (good && count > 1) {
        for (int i = 1; i < count; i++)
            parts[0].seconds += parts[i].seconds;
        good = cr_evaluation_average(&parts[0], parts, count, thresholds) == CR_OK;
    }
    for (int i = good ? 1 : 0; i < count; i++)
        cr_evaluation_free(&parts[i]);
    if (good)
        *evaluation = parts[0];
    cr_free(parts);
    cr_free(thresholds);
    return good;
}
