/* The classification report as text, laid out to the space as scikit-learn lays it out, as JSON and
 * as CSV. The numbers come from classification.c and multilabel.c. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "metrics/metrics.h"

/* Everything that both forms need. */
typedef struct report {
    const int64_t *matrix;
    int64_t classes;
    const char *const *names;
    cr_classification_options options;
    int64_t rows;
    cr_class_scores *scores; /* one a row */
    cr_classification_averages averages;
} report;

static cr_status report_begin(report *r, const int64_t *matrix, int64_t classes,
                              const char *const *names, const cr_classification_options *options)
{
    *r = (report){ .matrix = matrix, .classes = classes, .names = names };
    if (options != NULL)
        r->options = *options;
    /* The call without outputs checks the arguments before they size the rows. */
    cr_status status = cr_precision_recall_f1(matrix, classes, options, NULL, &r->averages);
    if (status != CR_OK)
        return status;
    r->rows = r->options.labels != NULL ? r->options.label_count : classes;
    r->scores = cr_alloc_array((size_t)r->rows, sizeof(*r->scores));
    if (r->scores == NULL)
        return cr_error_status();
    return cr_precision_recall_f1(matrix, classes, options, r->scores, NULL);
}

/* The name of a row: the given one, or its number written into `buffer`. */
static const char *row_name(const report *r, int64_t row, char buffer[24])
{
    int64_t label = r->options.labels != NULL ? r->options.labels[row] : row;
    if (r->names != NULL && r->names[label] != NULL)
        return r->names[label];
    snprintf(buffer, 24, "%lld", (long long)label);
    return buffer;
}

/* Code points, which is what Python counts when it pads. */
static int text_width(const char *string)
{
    int width = 0;
    for (const char *c = string; *c != '\0'; c++)
        width += ((unsigned char)*c & 0xC0) != 0x80;
    return width;
}

static void append_name(cr_text *text, const char *name, int width)
{
    int padding = width - text_width(name);
    cr_text_printf(text, "%*s%s ", padding > 0 ? padding : 0, "", name);
}

static void append_number(cr_text *text, double value, int digits)
{
    if (isnan(value)) /* never "-nan" */
        cr_text_printf(text, " %9s", "nan");
    else
        cr_text_printf(text, " %9.*f", digits, value);
}

static void append_row(cr_text *text, const char *name, cr_class_scores scores, int width,
                       int digits)
{
    append_name(text, name, width);
    append_number(text, scores.precision, digits);
    append_number(text, scores.recall, digits);
    append_number(text, scores.f1, digits);
    cr_text_printf(text, " %9lld\n", (long long)scores.support);
}

static int name_column_width(const report *r, int digits)
{
    int width = text_width("weighted avg");
    width = CR_MAX(width, digits);
    for (int64_t row = 0; row < r->rows; row++) {
        char number[24];
        int name_width = text_width(row_name(r, row, number));
        width = CR_MAX(width, name_width);
    }
    return width;
}

static void append_averages(cr_text *text, const report *r, int width, int digits)
{
    const cr_classification_averages *averages = &r->averages;
    if (averages->micro_is_accuracy) {
        append_name(text, "accuracy", width);
        cr_text_printf(text, " %9s %9s", "", "");
        append_number(text, averages->micro.f1, digits);
        cr_text_printf(text, " %9lld\n", (long long)averages->micro.support);
    } else {
        append_row(text, "micro avg", averages->micro, width, digits);
    }
    append_row(text, "macro avg", averages->macro, width, digits);
    append_row(text, "weighted avg", averages->weighted, width, digits);
}

static void append_table(cr_text *text, const report *r, int width, int digits)
{
    cr_text_printf(text, "%*s  %9s %9s %9s %9s\n\n", width, "", "precision", "recall", "f1-score",
                   "support");
    for (int64_t row = 0; row < r->rows; row++) {
        char number[24];
        append_row(text, row_name(r, row, number), r->scores[row], width, digits);
    }
    cr_text_append(text, "\n");
    append_averages(text, r, width, digits);
}

static int digits_of(const report *r)
{
    int digits = r->options.digits == 0 ? 2 : CR_MAX(r->options.digits, 0);
    return CR_MIN(digits, 17);
}

char *cr_classification_report(const int64_t *matrix, int64_t classes, const char *const *names,
                               const cr_classification_options *options)
{
    report r;
    cr_text text = { 0 };
    char *result = NULL;
    if (report_begin(&r, matrix, classes, names, options) != CR_OK)
        goto end;
    int digits = digits_of(&r);
    append_table(&text, &r, name_column_width(&r, digits), digits);
    if (!cr_failed())
        result = cr_text_take(&text);
end:
    cr_text_free(&text);
    cr_free(r.scores);
    return result;
}

char *cr_multilabel_report(const int64_t *truth, const int64_t *predicted, int64_t count,
                           int64_t labels, const char *const *names,
                           const cr_classification_options *options)
{
    report r = { .classes = labels, .names = names, .rows = labels };
    cr_multilabel_averages averages;
    cr_text text = { 0 };
    char *result = NULL;
    if (options != NULL)
        r.options = *options;
    r.options.labels = NULL;
    double filler = r.options.zero_division;
    if (cr_multilabel_scores(truth, predicted, count, labels, filler, NULL, &averages) != CR_OK)
        return NULL;
    r.scores = cr_alloc_array((size_t)labels, sizeof(*r.scores));
    if (r.scores != NULL)
        cr_multilabel_scores(truth, predicted, count, labels, filler, r.scores, NULL);
    if (!cr_failed()) {
        int digits = digits_of(&r);
        int width = name_column_width(&r, digits);
        r.averages = (cr_classification_averages){ .micro = averages.micro,
                                                   .macro = averages.macro,
                                                   .weighted = averages.weighted };
        append_table(&text, &r, width, digits);
        append_row(&text, "samples avg", averages.samples, width, digits);
    }
    if (!cr_failed())
        result = cr_text_take(&text);
    cr_text_free(&text);
    cr_free(r.scores);
    return result;
}

/* ---- CSV ---- */

static void append_csv_name(cr_text *text, const char *name)
{
    if (strpbrk(name, ",\"\r\n") == NULL) {
        cr_text_append(text, name);
        return;
    }
    cr_text_append(text, "\"");
    for (const char *c = name; *c != '\0'; c++)
        cr_text_append_bytes(text, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    cr_text_append(text, "\"");
}

static void append_csv_row(cr_text *text, const char *name, cr_class_scores scores)
{
    double values[3] = { scores.precision, scores.recall, scores.f1 };
    append_csv_name(text, name);
    for (int i = 0; i < 3; i++) {
        if (isfinite(values[i]))
            cr_text_printf(text, ",%.17g", values[i]);
        else
            cr_text_append(text, ",");
    }
    cr_text_printf(text, ",%lld\n", (long long)scores.support);
}

char *cr_classification_report_csv(const int64_t *matrix, int64_t classes, const char *const *names,
                                   const cr_classification_options *options)
{
    report r;
    cr_text text = { 0 };
    char *result = NULL;
    if (report_begin(&r, matrix, classes, names, options) != CR_OK)
        goto end;
    cr_text_append(&text, "class,precision,recall,f1-score,support\n");
    for (int64_t row = 0; row < r.rows; row++) {
        char number[24];
        append_csv_row(&text, row_name(&r, row, number), r.scores[row]);
    }
    append_csv_row(&text, r.averages.micro_is_accuracy ? "accuracy" : "micro avg",
                   r.averages.micro);
    append_csv_row(&text, "macro avg", r.averages.macro);
    append_csv_row(&text, "weighted avg", r.averages.weighted);
    if (!cr_failed())
        result = cr_text_take(&text);
end:
    cr_text_free(&text);
    cr_free(r.scores);
    return result;
}

/* ---- JSON ---- */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Names are foreign bytes: jansson refuses what is not UTF-8, so those bytes become "?". */
static json_t *string_of(const char *name)
{
    json_t *string = json_string(name);
    if (string != NULL)
        return string;
    char *copy = cr_string_copy(name);
    if (copy == NULL)
        return NULL;
    for (char *c = copy; *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    }
    string = json_string(copy);
    cr_free(copy);
    return string;
}

/* Puts a value that may have failed to be made; the object takes it over. */
static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        cr_error_set(CR_ERROR_MEMORY, "classification report: out of memory while building JSON");
}

static void put_last(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        cr_error_set(CR_ERROR_MEMORY, "classification report: out of memory while building JSON");
}

static json_t *scores_object(const cr_class_scores *scores)
{
    json_t *object = json_object();
    put(object, "precision", number_or_null(scores->precision));
    put(object, "recall", number_or_null(scores->recall));
    put(object, "f1-score", number_or_null(scores->f1));
    put(object, "support", json_integer(scores->support));
    return object;
}

static json_t *classes_array(const report *r)
{
    json_t *array = json_array();
    for (int64_t row = 0; row < r->rows; row++) {
        char number[24];
        json_t *object = scores_object(&r->scores[row]);
        put(object, "name", string_of(row_name(r, row, number)));
        put_last(array, object);
    }
    return array;
}

static json_t *matrix_array(const report *r)
{
    json_t *rows = json_array();
    for (int64_t i = 0; i < r->classes; i++) {
        json_t *row = json_array();
        for (int64_t j = 0; j < r->classes; j++)
            put_last(row, json_integer(r->matrix[i * r->classes + j]));
        put_last(rows, row);
    }
    return rows;
}

static json_t *report_object(const report *r)
{
    int64_t samples = 0;
    for (int64_t i = 0; i < r->classes * r->classes; i++)
        samples += r->matrix[i];
    double accuracy = cr_accuracy_score(r->matrix, r->classes);
    double balanced = cr_balanced_accuracy_score(r->matrix, r->classes);
    double kappa = cr_cohen_kappa_score(r->matrix, r->classes, CR_KAPPA_UNWEIGHTED);
    double matthews = cr_matthews_corrcoef(r->matrix, r->classes);
    json_t *object = json_object();
    put(object, "accuracy", number_or_null(accuracy));
    put(object, "balanced_accuracy", number_or_null(balanced));
    put(object, "cohen_kappa", number_or_null(kappa));
    put(object, "matthews_corrcoef", number_or_null(matthews));
    put(object, "support", json_integer(samples));
    put(object, "classes", classes_array(r));
    put(object, "micro avg", scores_object(&r->averages.micro));
    put(object, "macro avg", scores_object(&r->averages.macro));
    put(object, "weighted avg", scores_object(&r->averages.weighted));
    put(object, "confusion_matrix", matrix_array(r));
    return object;
}

static int append_chunk(const char *bytes, size_t count, void *text)
{
    cr_text_append_bytes(text, bytes, count);
    return 0;
}

char *cr_classification_report_json(const int64_t *matrix, int64_t classes,
                                    const char *const *names,
                                    const cr_classification_options *options)
{
    report r;
    cr_text text = { 0 };
    json_t *object = NULL;
    char *result = NULL;
    if (report_begin(&r, matrix, classes, names, options) != CR_OK)
        goto end;
    object = report_object(&r);
    if (json_dump_callback(object, append_chunk, &text, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) !=
        0)
        cr_error_set(CR_ERROR_MEMORY, "classification report: out of memory while writing JSON");
    if (!cr_failed())
        result = cr_text_take(&text);
end:
    json_decref(object);
    cr_text_free(&text);
    cr_free(r.scores);
    return result;
}
