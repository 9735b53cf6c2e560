/* The scores of samples with several labels: as text, in JSON, and as the files that stand beside a
 * report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

static cr_binary_task task_of(const cr_evaluation *evaluation, int64_t label)
{
    return (cr_binary_task){ .truth = evaluation->marks + label,
                             .truth_stride = evaluation->classes,
                             .positive = 1,
                             .scores = evaluation->probabilities + label,
                             .score_stride = evaluation->classes,
                             .count = evaluation->count };
}

/* NaN where a label never comes. */
static double precision_of(const cr_evaluation *evaluation, int64_t label, int64_t support)
{
    cr_binary_task task = task_of(evaluation, label);
    return support > 0 ? cr_average_precision_score(&task) : NAN;
}

static double area_of(const cr_evaluation *evaluation, int64_t label)
{
    cr_binary_task task = task_of(evaluation, label);
    return cr_roc_auc_score(&task);
}

/* The scores of each label, to be freed, and their averages; NULL with an error set. */
static cr_class_scores *scores_of_labels(const cr_evaluation *evaluation,
                                         cr_multilabel_averages *averages)
{
    cr_class_scores *scores = cr_alloc_array((size_t)evaluation->classes, sizeof *scores);
    if (scores &&
        cr_multilabel_scores(evaluation->marks, evaluation->predicted_marks, evaluation->count,
                             evaluation->classes, 0, scores, averages) != CR_OK) {
        cr_free(scores);
        scores = NULL;
    }
    return scores;
}

static void number_cell(cli_table *table, double value)
{
    if (isfinite(value))
        table_cell(table, "%.4f", value);
    else
        table_cell(table, "-");
}

bool print_labels(const cr_evaluation *evaluation, char *const *names, const float *thresholds)
{
    cr_multilabel_averages averages;
    char *report =
        cr_multilabel_report(evaluation->marks, evaluation->predicted_marks, evaluation->count,
                             evaluation->classes, (const char *const *)names, NULL);
    cr_class_scores *scores = report ? scores_of_labels(evaluation, &averages) : NULL;
    if (!scores) {
        cr_free(report);
        return false;
    }
    cli_table table;
    fputs(report, stdout);
    table_begin(&table, "lrrr");
    table_row(&table, "label", "average precision", "area under ROC", "threshold");
    table_rule(&table);
    for (int64_t c = 0; c < evaluation->classes; c++) {
        table_cell(&table, "%s", names[c]);
        number_cell(&table, precision_of(evaluation, c, scores[c].support));
        number_cell(&table, area_of(evaluation, c));
        number_cell(&table, (double)thresholds[c]);
    }
    printf("\n");
    table_print(&table, stdout);
    printf("\nmean average precision %.4f; all labels right %.2f %%, wrong labels %.2f %%\n",
           evaluation->average_precision, 100 * averages.subset_accuracy,
           100 * averages.hamming_loss);
    cr_free(scores);
    cr_free(report);
    return true;
}

/* ---- JSON ---- */

static json_t *class_scores_to_json(const cr_class_scores *scores)
{
    return json_pack("{s:o, s:o, s:o, s:I}", "precision", json_finite(scores->precision), "recall",
                     json_finite(scores->recall), "f1-score", json_finite(scores->f1), "support",
                     (json_int_t)scores->support);
}

json_t *labels_to_json(const cr_evaluation *evaluation, char *const *names, const float *thresholds)
{
    cr_multilabel_averages averages;
    cr_class_scores *scores = scores_of_labels(evaluation, &averages);
    if (!scores)
        return NULL;
    json_t *labels = json_array();
    for (int64_t c = 0; c < evaluation->classes; c++) {
        json_t *label = class_scores_to_json(&scores[c]);
        json_object_set_new(label, "name", json_string(names[c]));
        json_object_set_new(label, "threshold", json_finite((double)thresholds[c]));
        json_object_set_new(label, "average_precision",
                            json_finite(precision_of(evaluation, c, scores[c].support)));
        json_object_set_new(label, "roc_auc", json_finite(area_of(evaluation, c)));
        json_array_append_new(labels, label);
    }
    cr_free(scores);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "accuracy",
                     json_finite(evaluation->accuracy), "mean_average_precision",
                     json_finite(evaluation->average_precision), "subset_accuracy",
                     json_finite(averages.subset_accuracy), "hamming_loss",
                     json_finite(averages.hamming_loss), "micro avg",
                     class_scores_to_json(&averages.micro), "macro avg",
                     class_scores_to_json(&averages.macro), "weighted avg",
                     class_scores_to_json(&averages.weighted), "samples avg",
                     class_scores_to_json(&averages.samples), "labels", labels);
}

/* ---- files ---- */

static bool write_text(const char *folder, const char *name, const cr_text *text)
{
    char *path = cr_path_join(folder, name);
    bool good = path && !cr_failed() && cr_file_replace(path, text->data, text->length) == CR_OK;
    cr_free(path);
    return good;
}

static void append_number(cr_text *text, double value)
{
    if (isfinite(value))
        cr_text_printf(text, ",%.10g", value);
    else
        cr_text_append(text, ",");
}

bool append_labels_csv(cr_text *text, const cr_evaluation *evaluation, char *const *names,
                       const float *thresholds)
{
    cr_class_scores *scores = scores_of_labels(evaluation, NULL);
    if (!scores)
        return false;
    cr_text_append(text, "label,threshold,precision,recall,f1-score,average_precision,roc_auc,"
                         "support\n");
    for (int64_t c = 0; c < evaluation->classes; c++) {
        append_csv_field(text, names[c]);
        append_number(text, (double)thresholds[c]);
        append_number(text, scores[c].precision);
        append_number(text, scores[c].recall);
        append_number(text, scores[c].f1);
        append_number(text, precision_of(evaluation, c, scores[c].support));
        append_number(text, area_of(evaluation, c));
        cr_text_printf(text, ",%lld\n", (long long)scores[c].support);
    }
    cr_free(scores);
    return !cr_failed();
}

/* The names of the labels that are marked, parted by '|'. */
static void append_marked(cr_text *text, const int64_t *marks, int64_t classes, char *const *names)
{
    cr_text labels = { 0 };
    for (int64_t c = 0; c < classes; c++)
        if (marks[c])
            cr_text_printf(&labels, "%s%s", labels.length ? "|" : "", names[c]);
    append_csv_field(text, labels.data ? labels.data : "");
    cr_text_free(&labels);
}

static void append_predictions(cr_text *text, const cr_evaluation *evaluation,
                               const cr_dataset *set, char *const *names)
{
    int64_t classes = evaluation->classes;
    cr_text_append(text, "sample,truth,predicted,path\n");
    for (int64_t i = 0; i < evaluation->count; i++) {
        cr_text_printf(text, "%lld,", (long long)i);
        append_marked(text, evaluation->marks + i * classes, classes, names);
        cr_text_append(text, ",");
        append_marked(text, evaluation->predicted_marks + i * classes, classes, names);
        cr_text_append(text, ",");
        append_csv_field(text, cr_dataset_path(set, i));
        cr_text_append(text, "\n");
    }
}

bool write_labels(const char *folder, const cr_evaluation *evaluation, const cr_dataset *set,
                  char *const *names, const float *thresholds, json_t *answer)
{
    cr_text scores = { 0 }, predictions = { 0 };
    char *dumped = answer ? json_dumps(answer, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(answer);
    if (!dumped && !cr_failed())
        cr_error_set(CR_ERROR_MEMORY, "the scores could not be written as JSON: out of memory");
    cr_text json = { .data = dumped, .length = dumped ? strlen(dumped) : 0 };
    append_predictions(&predictions, evaluation, set, names);
    bool good = dumped && append_labels_csv(&scores, evaluation, names, thresholds) &&
                write_text(folder, "scores.json", &json) &&
                write_text(folder, "classification_report.csv", &scores) &&
                write_text(folder, "predictions.csv", &predictions);
    free(dumped);
    cr_text_free(&scores);
    cr_text_free(&predictions);
    return good;
}
