/* The analysis of errors that runs the model again: on disturbed pictures, and trained anew on
 * parts of the training data. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/random.h"

#define SEED 1

/* `limit` samples of a set, in its order, chosen by the seed; all if there are fewer. */
cr_dataset *some_of(cr_dataset *set, int64_t limit, int64_t **chosen, int64_t *count)
{
    int64_t size = cr_dataset_size(set), kept = 0;
    int64_t *order = cr_alloc_array((size_t)(size > 0 ? size : 1), sizeof *order);
    bool *wanted = cr_alloc_zeroed((size_t)(size > 0 ? size : 1), sizeof *wanted);
    cr_dataset *part = NULL;
    if (order && wanted) {
        cr_generator generator = cr_generator_make(SEED, 0);
        cr_random_permutation(&generator, order, size);
        for (int64_t i = 0; i < size && i < limit; i++)
            wanted[order[i]] = true;
        for (int64_t i = 0; i < size; i++)
            if (wanted[i])
                order[kept++] = i;
        part = cr_dataset_subset(set, order, kept);
    }
    cr_free(wanted);
    *count = kept;
    if (chosen && part)
        *chosen = order;
    else
        cr_free(order);
    return part;
}

/* --- Will it hold in use? ------------------------------------------------------------------- */

/* Accuracy by disturbance and strength, after that of the undisturbed pictures. */
typedef struct robustness {
    double x[STRENGTHS + 1];
    double accuracy[DISTURBANCES][STRENGTHS + 1];
    cr_plot_series series[DISTURBANCES];
    cr_plot_panel panel;
} robustness;

static bool measure(analysis *a, cr_dataset *part, const cr_transform_list *transforms,
                    double *accuracy)
{
    cr_classifier disturbed = *a->classifier;
    cr_evaluation evaluation;
    disturbed.transforms = *transforms;
    if (!evaluate_set(&disturbed, part, a->batch_size, a->workers, a->quiet, &evaluation))
        return false;
    *accuracy = evaluation.accuracy;
    cr_evaluation_free(&evaluation);
    return true;
}

static bool measure_all(analysis *a, robustness *r)
{
    int64_t count;
    cr_dataset *part = some_of(a->set, a->samples, NULL, &count);
    double plain;
    bool good = part && measure(a, part, &a->classifier->transforms, &plain);
    for (int d = 0; good && d < DISTURBANCES; d++) {
        r->accuracy[d][0] = plain;
        for (int s = 0; good && s < STRENGTHS; s++) {
            cr_transform_list joined;
            good = disturb(&disturbances[d], s, &a->classifier->transforms, &joined) &&
                   measure(a, part, &joined, &r->accuracy[d][s + 1]);
        }
        r->series[d] = (cr_plot_series){
            .name = disturbances[d].name, .x = r->x, .y = r->accuracy[d], .count = STRENGTHS + 1
        };
    }
    cr_dataset_free(part);
    return good;
}

static bool find_robustness(analysis *a)
{
    robustness *r = findings_keep(&a->found, cr_alloc_zeroed(1, sizeof *r));
    if (!r || !measure_all(a, r))
        return false;
    cr_report_finding *f = findings_add(&a->found, "Will it hold on worse pictures?");
    if (!f)
        return false;
    int worst = 0, steadiest = 0;
    for (int d = 0; d < DISTURBANCES; d++) {
        worst = r->accuracy[d][STRENGTHS] < r->accuracy[worst][STRENGTHS] ? d : worst;
        steadiest = r->accuracy[d][STRENGTHS] > r->accuracy[steadiest][STRENGTHS] ? d : steadiest;
    }
    for (int s = 0; s <= STRENGTHS; s++)
        r->x[s] = s;
    r->panel = (cr_plot_panel){ .x_label = "strength of the disturbance",
                                .y_label = "accuracy",
                                .series = r->series,
                                .series_count = DISTURBANCES,
                                .percent = true };
    f->panel = &r->panel;
    double middle = 0;
    for (int d = 0; d < DISTURBANCES; d++)
        middle = fmax(middle, r->accuracy[d][0] - r->accuracy[d][STRENGTHS - 1]);
    f->verdict = middle < 0.02 ? CR_REPORT_GOOD : middle < 0.1 ? CR_REPORT_WATCH : CR_REPORT_BAD;
    f->answer = findings_say(&a->found,
                             "Accuracy falls from %.1f %% to %.1f %% under %s and stays at %.1f %% "
                             "under %s; at medium strength the largest fall is %.1f points.",
                             100 * r->accuracy[worst][0], 100 * r->accuracy[worst][STRENGTHS],
                             disturbances[worst].strongest, 100 * r->accuracy[steadiest][STRENGTHS],
                             disturbances[steadiest].strongest, 100 * middle);
    if (f->verdict != CR_REPORT_GOOD)
        f->advice = findings_say(&a->found,
                                 "If pictures in use may be like that, train with such changes "
                                 "(--augment), %s first, and evaluate on pictures as they come.",
                                 disturbances[worst].name);
    return !cr_failed();
}

/* --- Is the data enough? -------------------------------------------------------------------- */

/* The settings of the run that trained the model, as far as its args.json has them. */
static cr_train_settings run_training(const analysis *a)
{
    cr_train_settings settings = cr_train_defaults();
    char *path = cr_path_join(a->path, "args.json");
    json_t *args = path && cr_file_exists(path) ? json_load_file(path, 0, NULL) : NULL;
    const char *optimizer = json_string_value(json_object_get(args, "optimizer"));
    cr_free(path);
    if (optimizer)
        settings.optimizer = cr_optim_defaults(cr_optim_find(optimizer));
    json_t *value = json_object_get(args, "lr");
    if (json_is_number(value))
        settings.optimizer.lr = json_number_value(value);
    value = json_object_get(args, "weight-decay");
    if (json_is_number(value))
        settings.optimizer.weight_decay = json_number_value(value);
    value = json_object_get(args, "batch-size");
    if (json_is_integer(value))
        settings.batch_size = json_integer_value(value);
    value = json_object_get(args, "epochs");
    if (json_is_integer(value))
        settings.epochs = json_integer_value(value);
    json_decref(args);
    if (a->epochs)
        settings.epochs = a->epochs;
    settings.workers = (int)a->workers;
    settings.seed = SEED;
    return settings;
}

static bool stopped(void *context)
{
    (void)context;
    return interrupted();
}

/* Trains the architecture anew on this share of the training data; its accuracy on the set. */
static bool train_part(analysis *a, double share, double *accuracy, double *samples)
{
    cr_dataset *part = NULL, *rest = NULL;
    if (share < 1)
        cr_dataset_split(a->train, share, SEED, &part, &rest);
    else
        part = cr_dataset_retain(a->train);
    cr_dataset_free(rest);
    cr_classifier *fresh = NULL;
    if (part)
        fresh = cr_classifier_new(a->classifier->bound.architecture->name, .data = part,
                                  .seed = SEED, .settings = a->classifier->bound.settings,
                                  .transforms = &a->classifier->transforms);
    cr_train_result result = { 0 };
    cr_evaluation evaluation = { 0 };
    bool good = fresh != NULL;
    if (good) {
        good = cr_train(fresh, part, NULL, run_training(a),
                        (cr_train_run){ .should_stop = stopped }, &result) == CR_OK &&
               evaluate_set(fresh, a->set, a->batch_size, a->workers, a->quiet, &evaluation);
        *samples = (double)cr_dataset_size(part);
        *accuracy = evaluation.accuracy;
    }
    cr_train_result_free(&result);
    cr_evaluation_free(&evaluation);
    cr_classifier_free(fresh);
    cr_dataset_free(part);
    return good;
}

static bool find_learning_curve(analysis *a)
{
    int count = a->fractions.count;
    if (count < 2 || !a->train)
        return true;
    double *block = findings_keep(&a->found, cr_alloc_array((size_t)count, 2 * sizeof *block));
    cr_plot_panel *panel = findings_keep(&a->found, cr_alloc_zeroed(1, sizeof *panel));
    cr_plot_series *series = findings_keep(&a->found, cr_alloc_zeroed(1, sizeof *series));
    if (!block || !panel || !series)
        return false;
    for (int i = 0; i < count; i++)
        if (!train_part(a, (double)a->fractions.values[i] / 100, &block[count + i], &block[i]))
            return false;
    cr_report_finding *f = findings_add(&a->found, "Is the data enough?");
    if (!f)
        return false;
    *series = (cr_plot_series){ .x = block, .y = block + count, .count = count };
    *panel = (cr_plot_panel){ .x_label = "training samples",
                              .y_label = "accuracy",
                              .series = series,
                              .series_count = 1,
                              .percent = true };
    f->panel = panel;
    double last = block[2 * count - 1], before = block[2 * count - 2];
    /* Accuracy gained for each doubling, of the last step. */
    double doublings = log2(block[count - 1] / block[count - 2]);
    double gain = doublings > 0 ? (last - before) / doublings : 0;
    f->verdict = gain < 0.005 ? CR_REPORT_GOOD : gain < 0.02 ? CR_REPORT_WATCH : CR_REPORT_BAD;
    f->answer = findings_say(&a->found,
                             "From %.0f to %.0f training samples accuracy went from %.1f %% to "
                             "%.1f %%, which is %.1f points for twice the data (trained anew for "
                             "%lld epochs).",
                             block[count - 2], block[count - 1], 100 * before, 100 * last,
                             100 * gain, (long long)run_training(a).epochs);
    f->advice = f->verdict == CR_REPORT_GOOD
                    ? "More data of the same kind would change little; look at the labels and at "
                      "the model instead."
                    : "The curve still rises: more data, or a model pretrained on more, is the "
                      "surest way to be better.";
    return !cr_failed();
}

bool analyse(analysis *a)
{
    if (a->evaluation->count == 0)
        return true;
    return find_learning_curve(a) && analyse_scores(a) && analyse_features(a) && find_robustness(a);
}
