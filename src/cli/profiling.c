/* --profile and --memory: what the library recorded, as tables, in JSON, and as a trace. */
#include <stdlib.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define SHOWN_KEPT 10 /* ops and layers that keep most */

bool profiling_begin(const profile_options *options, int64_t warm_up)
{
    if (!options->on && !options->trace)
        return true;
    cr_profile_args args = { .warm_up = warm_up, .steps = options->steps };
    return cr_profile_start(args) == CR_OK;
}

/* --- The profile ---------------------------------------------------------------------------- */

static json_t *row_to_json(const cr_profile *profile, const cr_profile_row *row)
{
    static const char *const kinds[] = { "op", "backward", "part", "range", "other" };
    bool by_memory;
    double of_peak = cr_profile_of_peak(profile, row, &by_memory);
    json_t *object = json_pack("{s:s, s:s, s:I, s:f, s:f, s:f}", "name", row->name, "kind",
                               kinds[row->kind], "calls", (json_int_t)row->calls, "total_seconds",
                               row->total, "self_seconds", row->self, "share", row->share);
    if (row->beside)
        json_object_set_new(object, "other_thread", json_true());
    if (row->busy > 0)
        json_object_update_new(
            object,
            json_pack("{s:f, s:f, s:f, s:s}", "gflops", 2e-9 * row->multiply_adds / row->busy,
                      "gigabytes_per_second", 1e-9 * row->bytes / row->busy, "share_of_peak",
                      of_peak, "bound", by_memory ? "memory" : "arithmetic"));
    return object;
}

static json_t *profile_to_json(const cr_profile *profile, const char *trace)
{
    json_t *rows = json_array(), *layers = json_array();
    for (int i = 0; i < profile->row_count; i++)
        json_array_append_new(rows, row_to_json(profile, &profile->rows[i]));
    for (int i = 0; i < profile->layer_count; i++)
        json_array_append_new(layers, json_pack("{s:s, s:f, s:f}", "name", profile->layers[i].name,
                                                "forward_seconds", profile->layers[i].forward,
                                                "backward_seconds", profile->layers[i].backward));
    json_t *peak = json_pack("{s:i, s:f, s:f}", "threads", profile->peak.threads, "gflops",
                             profile->peak.flops / 1e9, "gigabytes_per_second",
                             profile->peak.bytes_per_second / 1e9);
    return json_pack("{s:I, s:f, s:o, s:s, s:o, s:o}", "steps", (json_int_t)profile->steps,
                     "seconds", profile->seconds, "peak", peak, "trace", trace, "operations", rows,
                     "layers", layers);
}

bool profiling_end(const profile_options *options, const char *folder, FILE *stream, json_t **json)
{
    cr_profile profile;
    if (json)
        *json = NULL;
    if (!options->on && !options->trace)
        return true;
    char *path = options->trace ? cr_string_copy(options->trace)
                 : folder       ? cr_path_join(folder, "trace.json")
                                : cr_string_copy("trace.json");
    if (!path || cr_profile_stop(&profile) != CR_OK) {
        cr_free(path);
        return false;
    }
    bool good = cr_profile_write_trace(path) == CR_OK;
    if (good && json) {
        *json = profile_to_json(&profile, path);
    } else if (good) {
        cr_text table = { 0 };
        cr_profile_format(&profile, &table);
        fprintf(stream, "\n%s\ntrace  %s, for https://ui.perfetto.dev or chrome://tracing\n",
                table.data ? table.data : "", path);
        cr_text_free(&table);
    }
    cr_profile_free(&profile);
    cr_free(path);
    return good;
}

/* --- Memory --------------------------------------------------------------------------------- */

static json_t *kept_to_json(const cr_memory_row *rows, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", rows[i].name, "bytes",
                                              (json_int_t)rows[i].bytes, "tensors",
                                              (json_int_t)rows[i].count));
    return list;
}

json_t *memory_to_json(const cr_memory_report *report)
{
    json_t *parts = json_object();
    for (int i = 0; i < (int)CR_MEMORY_CATEGORY_COUNT; i++)
        json_object_set_new(parts, cr_memory_category_name((cr_memory_category)i),
                            json_integer((json_int_t)report->categories[i]));
    return json_pack("{s:I, s:I, s:I, s:s, s:s, s:b, s:o, s:o, s:o}", "tensor_bytes",
                     (json_int_t)report->bytes, "cached_bytes", (json_int_t)report->cached,
                     "process_bytes", (json_int_t)report->process, "op", report->op, "layer",
                     report->layer, "backward", (int)report->backward, "parts", parts, "kept_by_op",
                     kept_to_json(report->ops, report->op_count), "kept_by_layer",
                     kept_to_json(report->layers, report->layer_count));
}

static void add_part(cli_table *table, const char *name, int64_t bytes, int64_t all)
{
    char number[NUMBER_SIZE];
    table_cell(table, "%s", name);
    table_cell(table, "%s", format_bytes(number, (double)bytes));
    if (all > 0)
        table_cell(table, "%.1f %%", 100 * (double)bytes / (double)all);
    else
        table_cell(table, "%s", "");
}

static void print_kept(const char *heading, const cr_memory_row *rows, int count, int64_t all)
{
    char number[NUMBER_SIZE], tensors[NUMBER_SIZE];
    cli_table table;
    if (!count)
        return;
    table_begin(&table, "lrrr");
    table_row(&table, heading, "bytes", "share", "tensors");
    table_rule(&table);
    for (int i = 0; i < count && i < SHOWN_KEPT; i++) {
        table_cell(&table, "%s", rows[i].name);
        table_cell(&table, "%s", format_bytes(number, (double)rows[i].bytes));
        table_cell(&table, "%.1f %%", 100 * (double)rows[i].bytes / (double)all);
        table_cell(&table, "%s", format_count(tensors, rows[i].count));
    }
    printf("\n");
    table_print(&table, stdout);
    if (count > SHOWN_KEPT)
        printf("and %d more\n", count - SHOWN_KEPT);
}

static void print_moment(const char *what, const cr_memory_report *report)
{
    char number[NUMBER_SIZE];
    printf("\nmemory of %s: at its fullest %s of tensors", what,
           format_bytes(number, (double)report->bytes));
    if (report->op[0])
        printf(", in %s%s", report->op, report->backward ? " backward" : "");
    if (report->layer[0])
        printf(" of %s", report->layer);
    printf("\n\n");
}

void print_memory(const char *what, const cr_memory_report *report)
{
    cli_table table;
    int64_t rest = report->process - report->bytes - report->cached;
    print_moment(what, report);
    table_begin(&table, "lrr");
    table_row(&table, "part", "bytes", "share");
    table_rule(&table);
    for (int i = 0; i < (int)CR_MEMORY_CATEGORY_COUNT; i++)
        if (report->categories[i])
            add_part(&table, cr_memory_category_name((cr_memory_category)i), report->categories[i],
                     report->bytes);
    table_rule(&table);
    add_part(&table, "tensors together", report->bytes, 0);
    add_part(&table, "free, kept for the next use", report->cached, 0);
    if (rest > 0)
        add_part(&table, "program, libraries, stacks", rest, 0);
    add_part(&table, "process (resident)", report->process, 0);
    table_print(&table, stdout);
    print_kept("kept for backward, made by", report->ops, report->op_count,
               report->categories[CR_MEMORY_KEPT]);
    print_kept("in layer", report->layers, report->layer_count, report->categories[CR_MEMORY_KEPT]);
}
