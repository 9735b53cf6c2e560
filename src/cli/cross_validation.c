/* `cresset train --folds K`: a run for each fold in a folder of its own, and what they come to
 * together: mean and deviation over the folds, and one evaluation of all samples, each by the model
 * that has not seen it. A run that was stopped goes on with the fold that it was in. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define BOOTSTRAP 1000 /* replicates for the intervals of scores */

/* What is made of all folds. */
typedef struct summary {
    const arguments *args;
    const char *folder;
    int folds;
    fold_result *results;
    cr_classifier *classifier; /* of the first fold, for names */
    cr_evaluation pooled;      /* the samples of all folds, one fold after the other */
    float *thresholds;
    int64_t *confusion;
    cr_classifier_scores scores;
    double *values; /* of each fold what is judged by, see score_of */
    double mean, deviation;
} summary;

/* ---- training ---- */

static bool write_arguments(const arguments *args, const char *folder)
{
    char *text = run_arguments(args), *path = cr_path_join(folder, "args.json");
    bool good = text && path && cr_file_replace(path, text, strlen(text)) == CR_OK;
    cr_free(path);
    free(text);
    return good;
}

/* One fold, begun or gone on with; the exit status. */
static int train_fold(const summary *s, int fold)
{
    const train_options *chosen = s->args->settings;
    train_options own = *chosen;
    arguments args = *s->args;
    char *folder = fold_folder(s->folder, fold);
    if (!folder || cr_folder_make(folder) != CR_OK) {
        cr_free(folder);
        return library_failure(s->args->command);
    }
    own.fold = fold;
    own.out = NULL;
    own.resume = folder;
    own.quiet = chosen->quiet || chosen->json;
    own.json = false;
    args.settings = &own;
    if (!own.quiet)
        printf("%sfold %d of %d\n", fold > 1 ? "\n" : "", fold, s->folds);
    s->results[fold - 1].whole = s->folder;
    int status = run_fold(&args, &s->results[fold - 1]);
    cr_free(folder);
    return status;
}

/* ---- summing up ---- */

static double score_of(const cr_evaluation *evaluation)
{
    return evaluation->marks ? evaluation->average_precision : evaluation->accuracy;
}

static bool pool_make(summary *s)
{
    cr_evaluation *pooled = &s->pooled;
    const cr_evaluation *first = &s->results[0].evaluation;
    int64_t count = 0;
    for (int k = 0; k < s->folds; k++)
        count += s->results[k].evaluation.count;
    size_t room = (size_t)(count > 0 ? count : 1), classes = (size_t)first->classes;
    *pooled = (cr_evaluation){ .classes = first->classes };
    pooled->truth = cr_alloc_array(room, sizeof(int64_t));
    pooled->predicted = cr_alloc_array(room, sizeof(int64_t));
    pooled->probabilities = cr_alloc_array(room, classes * sizeof(float));
    if (first->marks) {
        pooled->marks = cr_alloc_array(room, classes * sizeof(int64_t));
        pooled->predicted_marks = cr_alloc_array(room, classes * sizeof(int64_t));
    }
    return !cr_failed();
}

/* Appends the samples of a fold. */
static void pool_add(cr_evaluation *pooled, const cr_evaluation *part)
{
    size_t count = (size_t)part->count, classes = (size_t)part->classes;
    size_t row = (size_t)pooled->count * classes;
    memcpy(pooled->truth + pooled->count, part->truth, count * sizeof(int64_t));
    memcpy(pooled->predicted + pooled->count, part->predicted, count * sizeof(int64_t));
    memcpy(pooled->probabilities + row, part->probabilities, count * classes * sizeof(float));
    if (part->marks) {
        memcpy(pooled->marks + row, part->marks, count * classes * sizeof(int64_t));
        memcpy(pooled->predicted_marks + row, part->predicted_marks,
               count * classes * sizeof(int64_t));
    }
    pooled->count += part->count;
    pooled->loss += part->loss * (double)part->count;
    pooled->accuracy += part->accuracy * (double)part->count;
}

static bool pool(summary *s)
{
    cr_evaluation *pooled = &s->pooled;
    if (!pool_make(s))
        return false;
    for (int k = 0; k < s->folds; k++)
        pool_add(pooled, &s->results[k].evaluation);
    double count = pooled->count > 0 ? (double)pooled->count : 1;
    pooled->loss /= count;
    pooled->accuracy /= count;
    pooled->average_precision = NAN;
    if (pooled->marks)
        pooled->average_precision = cr_average_precision_multilabel(
            pooled->marks, pooled->probabilities, pooled->count, pooled->classes, CR_AVERAGE_MACRO);
    return !cr_failed();
}

/* Mean and deviation of a sample of folds. */
static void add_up(summary *s)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < s->folds; k++) {
        s->values[k] = score_of(&s->results[k].evaluation);
        sum += s->values[k];
    }
    s->mean = sum / s->folds;
    for (int k = 0; k < s->folds; k++)
        squares += (s->values[k] - s->mean) * (s->values[k] - s->mean);
    s->deviation = sqrt(squares / (s->folds - 1));
}

/* The names of the classes, and the mean of the folds' thresholds. */
static bool load_folds(summary *s)
{
    model_list models;
    bool good = models_load(&models, s->folder, NULL);
    if (good)
        s->thresholds = thresholds_of(&models, -1);
    for (int m = 1; m < models.count; m++)
        cr_classifier_free(models.items[m]);
    s->classifier = models.count > 0 ? models.items[0] : NULL;
    return good && s->thresholds;
}

static bool sum_up(summary *s)
{
    s->values = cr_alloc_zeroed((size_t)s->folds, sizeof *s->values);
    if (!s->values || !load_folds(s) || !pool(s))
        return false;
    add_up(s);
    if (s->pooled.marks)
        return true;
    s->confusion = confusion_of(&s->pooled);
    return s->confusion && scores_of(&s->pooled, BOOTSTRAP, &s->scores);
}

/* ---- what is said ---- */

static json_t *summary_to_json(const summary *s)
{
    json_t *folds = json_array();
    double seconds = 0;
    for (int k = 0; k < s->folds; k++) {
        const fold_result *one = &s->results[k];
        seconds += one->seconds;
        json_array_append_new(
            folds,
            json_pack("{s:i, s:I, s:I, s:o, s:o, s:o, s:f}", "fold", k + 1, "samples",
                      (json_int_t)one->evaluation.count, "best_epoch", (json_int_t)one->best_epoch,
                      "accuracy", json_finite(one->evaluation.accuracy), "loss",
                      json_finite(one->evaluation.loss), "mean_average_precision",
                      json_finite(one->evaluation.average_precision), "seconds", one->seconds));
    }
    json_t *all =
        json_pack("{s:I, s:o, s:o, s:o}", "samples", (json_int_t)s->pooled.count, "accuracy",
                  json_finite(s->pooled.accuracy), "loss", json_finite(s->pooled.loss),
                  "mean_average_precision", json_finite(s->pooled.average_precision));
    return json_pack("{s:s, s:s, s:o, s:o, s:f, s:o, s:o}", "run", s->folder, "score",
                     s->pooled.marks ? "mean_average_precision" : "accuracy", "mean",
                     json_finite(s->mean), "deviation", json_finite(s->deviation), "seconds",
                     seconds, "folds", folds, "all_samples", all);
}

static bool write_summary(const summary *s)
{
    json_t *object = summary_to_json(s);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    char *path = cr_path_join(s->folder, "summary.json");
    bool good = text && path && cr_file_replace(path, text, strlen(text)) == CR_OK;
    json_decref(object);
    free(text);
    cr_free(path);
    return good;
}

static void print_summary(const summary *s)
{
    bool several = s->pooled.marks != NULL;
    cli_table table;
    table_begin(&table, "rrrrr");
    table_row(&table, "fold", "samples", "best epoch", several ? "mAP" : "accuracy", "loss");
    table_rule(&table);
    for (int k = 0; k < s->folds; k++) {
        const fold_result *one = &s->results[k];
        table_cell(&table, "%d", k + 1);
        table_cell(&table, "%lld", (long long)one->evaluation.count);
        table_cell(&table, "%lld", (long long)one->best_epoch);
        table_cell(&table, several ? "%.4f" : "%.2f %%", (several ? 1 : 100) * s->values[k]);
        table_cell(&table, "%.4f", one->evaluation.loss);
    }
    printf("\n");
    table_print(&table, stdout);
    if (several)
        printf("\nmean average precision %.4f, deviation %.4f over %d folds\n", s->mean,
               s->deviation, s->folds);
    else
        printf("\naccuracy %.2f %%, deviation %.2f points over %d folds\n", 100 * s->mean,
               100 * s->deviation, s->folds);
    printf("summary          %s/summary.json\n", s->folder);
    if (((const train_options *)s->args->settings)->report)
        printf("report           %s/report.html\n", s->folder);
}

/* ---- the report ---- */

/* The names of the folds, one block of memory; NULL with an error set. */
static const char **fold_names(int folds, char (**room)[24])
{
    const char **names = cr_alloc_array((size_t)folds, sizeof *names);
    *room = cr_alloc_array((size_t)folds, sizeof **room);
    for (int k = 0; names && *room && k < folds; k++) {
        snprintf((*room)[k], sizeof(*room)[k], "fold %d", k + 1);
        names[k] = (*room)[k];
    }
    return names;
}

static void say_how_steady(const summary *s, char answer[256])
{
    double low = s->values[0], high = s->values[0];
    for (int k = 1; k < s->folds; k++) {
        low = fmin(low, s->values[k]);
        high = fmax(high, s->values[k]);
    }
    if (s->pooled.marks)
        snprintf(answer, 256,
                 "Mean average precision is %.4f with a deviation of %.4f over %d folds, from %.4f "
                 "to %.4f.",
                 s->mean, s->deviation, s->folds, low, high);
    else
        snprintf(answer, 256,
                 "Accuracy is %.1f %% with a deviation of %.1f points over %d folds, from %.1f %% "
                 "to %.1f %%.",
                 100 * s->mean, 100 * s->deviation, s->folds, 100 * low, 100 * high);
}

static bool write_report(const summary *s)
{
    char(*room)[24], answer[256], evaluated[96], number[NUMBER_SIZE];
    const char **names = fold_names(s->folds, &room);
    char *command = arguments_typed(s->args);
    bool several = s->pooled.marks != NULL;
    say_how_steady(s, answer);
    cr_report_finding steady = {
        .question = "How steady is it over the folds?",
        .answer = answer,
        .advice = s->deviation < 0.02 ? NULL
                                      : "One split of this data says little; compare settings by "
                                        "the mean over folds, and collect more data.",
        .verdict = s->deviation < 0.02   ? CR_REPORT_GOOD
                   : s->deviation < 0.05 ? CR_REPORT_WATCH
                                         : CR_REPORT_BAD,
        .bar_names = names,
        .bars = s->values,
        .bar_count = s->folds,
        .bars_are_fractions = true,
    };
    snprintf(evaluated, sizeof evaluated, "%s pictures, each by the model that has not seen it",
             format_count(number, s->pooled.count));
    cr_report report = {
        .title = s->folder,
        .model = s->classifier->bound.architecture->name,
        .data = ((const train_options *)s->args->settings)->data,
        .command = command,
        .no_seed = true,
        .parameters = cr_model_parameter_count(s->classifier->model, false),
        .facts = &(cr_report_entry){ "Cross-validation", answer },
        .fact_count = 1,
        .confusion = s->confusion,
        .classes = s->pooled.classes,
        .class_names = (const char *const *)s->classifier->class_names,
        .evaluated_on = evaluated,
        .scores = s->scores.count ? &s->scores : NULL,
        .truth = several ? NULL : s->pooled.truth,
        .marks = s->pooled.marks,
        .predicted_marks = s->pooled.predicted_marks,
        .thresholds = several ? s->thresholds : NULL,
        .probabilities = s->pooled.probabilities,
        .samples = s->pooled.count,
        .findings = &steady,
        .finding_count = 1,
    };
    bool good = names && room && command && cr_report_write(&report, s->folder) == CR_OK;
    cr_free(names);
    cr_free(room);
    cr_free(command);
    return good;
}

/* ---- all of it ---- */

static int finish(summary *s)
{
    const train_options *chosen = s->args->settings;
    if (!sum_up(s) || !write_summary(s) || (chosen->report && !write_report(s)))
        return library_failure(s->args->command);
    if (chosen->json)
        return print_json(s->args->command, summary_to_json(s));
    if (!chosen->quiet)
        print_summary(s);
    return STATUS_DONE;
}

static void forget(summary *s)
{
    for (int k = 0; s->results && k < s->folds; k++)
        cr_evaluation_free(&s->results[k].evaluation);
    cr_free(s->results);
    cr_evaluation_free(&s->pooled);
    cr_classifier_free(s->classifier);
    cr_classifier_scores_free(&s->scores);
    cr_free(s->confusion);
    cr_free(s->thresholds);
    cr_free(s->values);
}

int run_folds(const arguments *args)
{
    const train_options *chosen = args->settings;
    const char *name = chosen->name ? chosen->name : chosen->architecture;
    char *folder =
        chosen->resume ? cr_string_copy(chosen->resume) : new_run_folder(chosen->out, name, false);
    summary s = { .args = args, .folder = folder, .folds = (int)chosen->folds };
    s.results = cr_alloc_zeroed((size_t)s.folds, sizeof *s.results);
    int status = STATUS_DONE;
    if (!folder || !s.results || !write_arguments(args, folder))
        status = library_failure(args->command);
    for (int fold = 1; status == STATUS_DONE && fold <= s.folds; fold++)
        status = train_fold(&s, fold);
    if (status == STATUS_DONE)
        status = finish(&s);
    forget(&s);
    cr_free(folder);
    cr_frame_end_all();
    return status;
}
