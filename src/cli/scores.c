/* Every score of an evaluation: as a table, in JSON, and as the files that stand beside a report.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define SHOWN_CLASSES 20 /* the areas of more are not printed */

bool scores_of(const cr_evaluation *evaluation, int64_t replicates, cr_classifier_scores *scores)
{
    cr_score_args args = { .truth = evaluation->truth,
                           .predicted = evaluation->predicted,
                           .probabilities = evaluation->probabilities,
                           .count = evaluation->count,
                           .classes = evaluation->classes,
                           .bootstrap = { .replicates = replicates },
                           .no_intervals = replicates == 0 };
    *scores = (cr_classifier_scores){ 0 };
    /* No samples, no scores: what is printed has none. */
    return evaluation->count == 0 || cr_score_classifier(args, scores) == CR_OK;
}

static bool is_shown(const cr_classifier_scores *scores, int metric)
{
    return metric != CR_METRIC_TOP_K_ACCURACY || scores->top_k < scores->classes;
}

static const char *title_of(char buffer[64], const cr_classifier_scores *scores, int metric)
{
    if (metric == CR_METRIC_TOP_K_ACCURACY)
        snprintf(buffer, 64, "top-%lld accuracy", (long long)scores->top_k);
    else
        snprintf(buffer, 64, "%s", cr_metric_title((cr_metric)metric));
    return buffer;
}

static void interval_cell(cli_table *table, cr_estimate estimate)
{
    if (isfinite(estimate.low))
        table_cell(table, "%.4f to %.4f", estimate.low, estimate.high);
    else
        table_cell(table, "-");
}

static void value_cell(cli_table *table, double value)
{
    if (isfinite(value))
        table_cell(table, "%.4f", value);
    else
        table_cell(table, "-");
}

static void print_class_areas(const cr_classifier_scores *scores, char *const *class_names)
{
    cli_table table;
    table_begin(&table, "lrrr");
    table_row(&table, "class", "area under ROC", "average precision", "F1, interval");
    table_rule(&table);
    for (int64_t c = 0; c < scores->classes; c++) {
        const cr_class_estimates *own = &scores->per_class[c];
        table_cell(&table, "%s", class_names[c]);
        value_cell(&table, own->roc_auc.value);
        value_cell(&table, own->average_precision.value);
        interval_cell(&table, own->f1);
    }
    printf("\n");
    table_print(&table, stdout);
}

void print_scores(const cr_classifier_scores *scores, char *const *class_names)
{
    cli_table table;
    char title[64];
    if (scores->count == 0)
        return;
    table_begin(&table, "lrl");
    table_cell(&table, "score");
    table_cell(&table, "value");
    table_cell(&table, "%g %% interval", 100 * scores->level);
    table_rule(&table);
    for (int m = 0; m < CR_METRIC_COUNT; m++) {
        if (!is_shown(scores, m))
            continue;
        table_cell(&table, "%s", title_of(title, scores, m));
        value_cell(&table, scores->metric[m].value);
        interval_cell(&table, scores->metric[m]);
    }
    printf("\n");
    table_print(&table, stdout);
    if (scores->classes <= SHOWN_CLASSES)
        print_class_areas(scores, class_names);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static json_t *estimate_to_json(cr_estimate estimate)
{
    return json_pack("{s:o, s:o, s:o}", "value", json_finite(estimate.value), "low",
                     json_finite(estimate.low), "high", json_finite(estimate.high));
}

void scores_to_json(const cr_classifier_scores *scores, json_t *object)
{
    json_t *estimates = json_object(), *bins = json_array();
    json_t *classes = json_object_get(object, "classes");
    for (int m = 0; scores->count && m < CR_METRIC_COUNT; m++)
        json_object_set_new(estimates, cr_metric_word((cr_metric)m),
                            estimate_to_json(scores->metric[m]));
    for (int64_t c = 0; c < scores->classes; c++) {
        const cr_class_estimates *own = &scores->per_class[c];
        json_t *entry = json_array_get(classes, (size_t)c);
        json_object_set_new(entry, "roc_auc", json_finite(own->roc_auc.value));
        json_object_set_new(entry, "average_precision", json_finite(own->average_precision.value));
        json_object_set_new(
            entry, "intervals",
            json_pack("{s:o, s:o, s:o, s:o, s:o}", "precision", estimate_to_json(own->precision),
                      "recall", estimate_to_json(own->recall), "f1-score",
                      estimate_to_json(own->f1), "roc_auc", estimate_to_json(own->roc_auc),
                      "average_precision", estimate_to_json(own->average_precision)));
    }
    for (int64_t b = 0; b < scores->bin_count; b++)
        json_array_append_new(bins, json_pack("{s:I, s:o, s:o}", "count",
                                              (json_int_t)scores->bins[b].count, "confidence",
                                              json_finite(scores->bins[b].mean_score), "accuracy",
                                              json_finite(scores->bins[b].positive_rate)));
    json_object_set_new(object, "scores", estimates);
    json_object_set_new(object, "calibration", bins);
}

/* --- Files ---------------------------------------------------------------------------------- */

static bool write_text(const char *folder, const char *name, const char *text, size_t length)
{
    char *path = cr_path_join(folder, name);
    bool good = path && !cr_failed() && cr_file_replace(path, text, length) == CR_OK;
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

static bool write_score_table(const char *folder, const cr_classifier_scores *scores)
{
    cr_text text = { 0 };
    cr_text_append(&text, "score,value,low,high\n");
    for (int m = 0; scores->count && m < CR_METRIC_COUNT; m++) {
        const cr_estimate *estimate = &scores->metric[m];
        cr_text_append(&text, cr_metric_word((cr_metric)m));
        append_number(&text, estimate->value);
        append_number(&text, estimate->low);
        append_number(&text, estimate->high);
        cr_text_append(&text, "\n");
    }
    bool good = write_text(folder, "scores.csv", text.data, text.length);
    cr_text_free(&text);
    return good;
}

void append_csv_field(cr_text *text, const char *name)
{
    cr_text_append(text, "\"");
    for (const char *c = name; *c; c++)
        cr_text_append_bytes(text, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    cr_text_append(text, "\"");
}

/* What was said of each sample; the number of a sample is its place in the set. */
static bool write_predictions(const char *folder, const cr_evaluation *evaluation,
                              const cr_dataset *set, char *const *class_names)
{
    cr_text text = { 0 };
    bool has_paths = evaluation->count > 0 && *cr_dataset_path(set, 0);
    cr_text_printf(&text, "sample,truth,predicted,correct,probability%s\n",
                   has_paths ? ",path" : "");
    for (int64_t i = 0; i < evaluation->count; i++) {
        int64_t truth = evaluation->truth[i], predicted = evaluation->predicted[i];
        cr_text_printf(&text, "%lld,", (long long)i);
        append_csv_field(&text, class_names[truth]);
        cr_text_append(&text, ",");
        append_csv_field(&text, class_names[predicted]);
        cr_text_printf(&text, ",%d", truth == predicted);
        append_number(&text, evaluation->probabilities[i * evaluation->classes + predicted]);
        if (has_paths) {
            cr_text_append(&text, ",");
            append_csv_field(&text, cr_dataset_path(set, i));
        }
        cr_text_append(&text, "\n");
    }
    bool good = write_text(folder, "predictions.csv", text.data, text.length);
    cr_text_free(&text);
    return good;
}

bool write_scores(const char *folder, const cr_classifier_scores *scores,
                  const cr_evaluation *evaluation, const cr_dataset *set, const int64_t *confusion,
                  char *const *class_names, json_t *answer)
{
    char *json = answer ? json_dumps(answer, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    char *csv = cr_classification_report_csv(confusion, evaluation->classes,
                                             (const char *const *)class_names, NULL);
    json_decref(answer);
    if (!json && !cr_failed())
        cr_error_set(CR_ERROR_MEMORY, "the scores could not be written as JSON: out of memory");
    bool good = json && csv && write_text(folder, "scores.json", json, strlen(json)) &&
                write_text(folder, "classification_report.csv", csv, strlen(csv)) &&
                write_score_table(folder, scores) &&
                write_predictions(folder, evaluation, set, class_names);
    free(json);
    cr_free(csv);
    return good;
}
