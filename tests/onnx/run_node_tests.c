/* Runs a tree of ONNX node tests: folders with model.onnx and test_data_set_N of input_N.pb and
 * output_N.pb. Prints a line for what did not pass, a table by operator, and the totals.
 *
 *     run_node_tests [--quiet] [--expect LIST] FOLDER…
 *
 * A FOLDER is one test or holds tests. Results agree within 1e-3 relative and 1e-6 absolute, those
 * of the tests' own runner but for the last digit of float32. Exit status 0 if nothing failed; what
 * is not supported counts as neither. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/cresset.h"
#include "io/onnx/onnx.h"

#define MAX_OPERATORS 512
#define MAX_PORTS     64
#define RELATIVE      1e-3
#define ABSOLUTE      1e-6

enum result { PASSED, FAILED, UNSUPPORTED };

static struct row {
    char name[64];
    int counts[3];
} rows[MAX_OPERATORS];
static int row_count;
static int totals[3];
static bool quiet;

static void count_result(const char *name, enum result result)
{
    int i = 0;
    while (i < row_count && strcmp(rows[i].name, name) != 0)
        i++;
    if (i == row_count && row_count < MAX_OPERATORS)
        snprintf(rows[row_count++].name, sizeof rows[0].name, "%s", name);
    if (i < row_count)
        rows[i].counts[result]++;
    totals[result]++;
}

/* ---- values in files ---- */

/* The parser of tensors belongs to an open model, of which it uses the bytes and the memory. */
static struct onnx_value read_tensor(cr_onnx *file, struct wire message)
{
    struct onnx_tensor *tensor = onnx_keep(file, 1, sizeof *tensor);
    if (!tensor || onnx_tensor_parse(file, message, tensor) != CR_OK)
        return (struct onnx_value){ 0 };
    return (struct onnx_value){ .tensor = onnx_tensor_load(file, tensor), .type = tensor->type };
}

static struct onnx_value read_list(cr_onnx *file, struct wire message)
{
    struct wire_field field;
    int count = 0;
    for (struct wire pass = message; wire_next(&pass, &field);)
        count += field.number == 3;
    struct onnx_list *list = cr_alloc_zeroed(1, sizeof *list + (size_t)count * sizeof *list->items);
    if (!list)
        return (struct onnx_value){ 0 };
    list->references = 1;
    while (wire_next(&message, &field)) {
        if (field.number == 3)
            onnx_value_set(&list->items[list->count++],
                           read_tensor(file, wire_inside(&message, &field)));
    }
    return (struct onnx_value){ .list = list };
}

static struct onnx_value read_value(const char *path, const char *type)
{
    struct onnx_value value = { 0 };
    cr_onnx *file = cr_alloc_zeroed(1, sizeof *file);
    if (file && source_open(&file->source, path) == CR_OK) {
        struct wire message = { &file->source, 0, file->source.size };
        struct wire_field field;
        if (strcmp(type, "sequence") == 0) {
            value = read_list(file, message);
        } else if (strcmp(type, "optional") == 0) { /* of a tensor, or nothing */
            while (wire_next(&message, &field)) {
                if (field.number == 3)
                    value = read_tensor(file, wire_inside(&message, &field));
                else if (field.number == 5)
                    value = read_list(file, wire_inside(&message, &field));
            }
        } else {
            value = read_tensor(file, message);
        }
    }
    cr_onnx_close(file);
    return value;
}

/* ---- comparing ---- */

static int type_of(struct onnx_value value)
{
    return value.type ? value.type : onnx_type_of_dtype(cr_dtype_of(value.tensor));
}

static const char *word_of(int type)
{
    const struct onnx_type_record *record = onnx_type_find(type);
    return record ? record->word : "nothing";
}

static bool same(struct onnx_value got, struct onnx_value want, char *why, size_t room)
{
    if (!got.list != !want.list || !got.tensor != !want.tensor) {
        snprintf(why, room, "a tensor and a sequence differ");
        return false;
    }
    if (want.list) {
        bool equal = got.list->count == want.list->count;
        for (int i = 0; equal && i < want.list->count; i++)
            equal = same(got.list->items[i], want.list->items[i], why, room);
        if (!equal && !why[0])
            snprintf(why, room, "a sequence of %d and one of %d", got.list->count,
                     want.list->count);
        return equal;
    }
    cr_shape a = cr_shape_of(got.tensor), b = cr_shape_of(want.tensor);
    char text[2][CR_SHAPE_TEXT];
    if (type_of(got) != type_of(want)) {
        snprintf(why, room, "it is %s instead of %s", word_of(type_of(got)),
                 word_of(type_of(want)));
        return false;
    }
    if (!cr_shape_equal(&a, &b)) {
        snprintf(why, room, "its shape is %s instead of %s",
                 cr_shape_format(&a, text[0], CR_SHAPE_TEXT),
                 cr_shape_format(&b, text[1], CR_SHAPE_TEXT));
        return false;
    }
    for (int64_t i = 0; i < cr_numel(got.tensor); i++) {
        double x = cr_element(got.tensor, i), y = cr_element(want.tensor, i);
        if ((isnan(x) && isnan(y)) || x == y || fabs(x - y) <= ABSOLUTE + RELATIVE * fabs(y))
            continue;
        snprintf(why, room, "element %lld is %.9g instead of %.9g", (long long)i, x, y);
        return false;
    }
    return true;
}

/* ---- one test ---- */

static enum result run_set(const cr_onnx *onnx, const char *folder, char *why, size_t room)
{
    struct onnx_value inputs[MAX_PORTS] = { { 0 } }, outputs[MAX_PORTS] = { { 0 } };
    struct onnx_value wanted[MAX_PORTS] = { { 0 } };
    int input_count = cr_onnx_input_count(onnx), output_count = cr_onnx_output_count(onnx);
    cr_frame frame = cr_frame_begin();
    for (int i = 0; i < input_count && i < MAX_PORTS && !cr_failed(); i++) {
        char *path = cr_string_format("%s/input_%d.pb", folder, i);
        if (cr_file_exists(path))
            inputs[i] = read_value(path, cr_onnx_input(onnx, i).type);
        cr_free(path);
    }
    for (int i = 0; i < output_count && i < MAX_PORTS && !cr_failed(); i++) {
        char *path = cr_string_format("%s/output_%d.pb", folder, i);
        wanted[i] = read_value(path, cr_onnx_output(onnx, i).type);
        cr_free(path);
    }
    cr_model *model = cr_model_new();
    cr_model_train(model, false);
    bool was = cr_set_grad_enabled(false);
    enum result result = PASSED;
    if (!cr_failed())
        onnx_run_values(cr_root(model), onnx, inputs, input_count, outputs, output_count);
    if (cr_failed()) {
        result = cr_error_status() == CR_ERROR_UNSUPPORTED ? UNSUPPORTED : FAILED;
        snprintf(why, room, "%s", cr_error_message());
    }
    for (int i = 0; i < output_count && result == PASSED; i++) {
        if (!same(outputs[i], wanted[i], why, room))
            result = FAILED;
    }
    cr_set_grad_enabled(was);
    cr_model_free(model);
    cr_error_clear();
    for (int i = 0; i < MAX_PORTS; i++) {
        struct onnx_value *lists[] = { &inputs[i], &outputs[i], &wanted[i] };
        for (int k = 0; k < 3; k++) {
            lists[k]->tensor = NULL;
            onnx_value_clear(lists[k]);
        }
    }
    cr_frame_end(frame);
    return result;
}

static void run_test(const char *folder)
{
    char why[1200] = "", name[64] = "(graphs of several nodes)";
    char *path = cr_path_join(folder, "model.onnx");
    cr_onnx *onnx = cr_onnx_open(path);
    enum result result = PASSED;
    if (!onnx) {
        result = cr_error_status() == CR_ERROR_UNSUPPORTED ? UNSUPPORTED : FAILED;
        snprintf(why, sizeof why, "%s", cr_error_message());
        snprintf(name, sizeof name, "(refused when opened)");
        cr_error_clear();
    } else if (onnx->graph->node_count == 1) {
        snprintf(name, sizeof name, "%s", onnx->graph->nodes[0].type);
    }
    for (int i = 0; onnx && result == PASSED; i++) {
        char *set = cr_string_format("%s/test_data_set_%d", folder, i);
        bool exists = cr_file_is_folder(set);
        if (exists)
            result = run_set(onnx, set, why, sizeof why);
        cr_free(set);
        if (!exists)
            break;
    }
    cr_onnx_close(onnx);
    cr_free(path);
    count_result(name, result);
    if (result != PASSED && !quiet)
        printf("%s %s: %s\n", result == FAILED ? "FAILED" : "not supported", folder, why);
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void run_folder(const char *folder)
{
    char *model = cr_path_join(folder, "model.onnx");
    bool is_test = cr_file_exists(model);
    cr_free(model);
    if (is_test) {
        run_test(folder);
        return;
    }
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char *path = cr_path_join(folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && cr_file_is_folder(path))
            run_folder(path);
        cr_free(path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quiet") == 0)
            quiet = true;
        else
            run_folder(argv[i]);
    }
    qsort(rows, (size_t)row_count, sizeof *rows, compare_rows);
    printf("%-28s %7s %7s %14s\n", "operator", "passed", "failed", "not supported");
    for (int i = 0; i < row_count; i++)
        printf("%-28s %7d %7d %14d\n", rows[i].name, rows[i].counts[PASSED], rows[i].counts[FAILED],
               rows[i].counts[UNSUPPORTED]);
    printf("%d passed, %d failed, %d not supported\n", totals[PASSED], totals[FAILED],
           totals[UNSUPPORTED]);
    return totals[FAILED] > 0;
}
