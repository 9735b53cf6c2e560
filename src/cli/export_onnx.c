/* `cresset export --format onnx`: the model traced, written, and compared with what was written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "cresset/onnx_export.h"
#include "cresset/ops.h"

#define OTHER_SIZES 3
#define AGREEMENT   1e-3 /* the largest difference, as a part of the largest result */

/* ---- tracing ---- */

/* The sample with other sizes, which no two dimensions have in common by chance: of an image those
 * after the channels, of a sequence the first. */
static cr_shape other_sample(const export_job *job, int which)
{
    static const int64_t more[OTHER_SIZES][2] = { { 33, 71 }, { 46, 19 }, { 77, 58 } };
    cr_shape sample = job->sample;
    bool is_image = sample.ndim == 3;
    for (int d = 0; d < (is_image ? 2 : 1); d++)
        sample.dim[d + (is_image ? 1 : 0)] += more[which][d];
    return sample;
}

/* ---- the file ---- */

/* The names of the classes as JSON, to be freed with free. */
static char *class_list(const cr_classifier *classifier)
{
    json_t *names = json_array();
    for (int i = 0; i < classifier->class_count; i++)
        json_array_append_new(names, json_string(classifier->class_names[i]));
    char *text = json_dumps(names, JSON_COMPACT);
    json_decref(names);
    return text;
}

static bool save(export_job *job, const cr_graph *graph, cr_onnx_report *report)
{
    const export_settings *settings = job->args->settings;
    cr_graph *others[OTHER_SIZES] = { NULL };
    cr_string_pair metadata[2] = { { "cresset", NULL }, { "classes", NULL } };
    cr_onnx_args args = { .name = job->onnx ? NULL : job->bound.architecture->name,
                          .no_fold = settings->no_fold,
                          .external_data = settings->external_data,
                          .metadata = metadata,
                          .other_sizes = (const cr_graph *const *)others };
    bool good = true;
    for (int i = 0; i < OTHER_SIZES && settings->dynamic_size && good; i++, args.other_count++)
        good = (others[i] = export_trace(job, other_sample(job, i))) != NULL;
    char *description = job->classifier ? cr_classifier_describe(job->classifier) : NULL;
    char *classes = job->classifier ? class_list(job->classifier) : NULL;
    metadata[0].value = job->onnx ? cr_onnx_metadata(job->onnx, metadata[0].key) : description;
    metadata[1].value = job->onnx ? cr_onnx_metadata(job->onnx, metadata[1].key) : classes;
    if (metadata[0].value && metadata[1].value)
        args.metadata_count = COUNT_OF(metadata);
    good = good && cr_graph_save_onnx(graph, job->path, args, report) == CR_OK;
    free(classes);
    cr_free(description);
    for (int i = 0; i < OTHER_SIZES; i++)
        cr_graph_free(others[i]);
    return good;
}

/* ---- the check ---- */

typedef struct comparison {
    double difference; /* the largest */
    double scale;      /* the largest result */
} comparison;

static cr_tensor *random_batch(const export_job *job, cr_shape sample, int64_t count)
{
    int64_t tokens = job->onnx ? 2 : job->bound.architecture->vocabulary;
    cr_shape shape = { .ndim = sample.ndim + 1, .dim = { count } };
    memcpy(shape.dim + 1, sample.dim, (size_t)sample.ndim * sizeof *sample.dim);
    if (!cr_dtype_is_floating(job->input_dtype))
        return cr_to_dtype(cr_randint(0, tokens, shape), job->input_dtype);
    return cr_to_dtype(cr_randn(shape), job->input_dtype);
}

/* Runs the model and the file on one batch. False with an error set. */
static bool compare(const export_job *job, const cr_onnx *onnx, cr_model *imported, cr_shape sample,
                    int64_t count, comparison *result)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = random_batch(job, sample, count);
    cr_tensor *own = job->function(cr_root(job->model), x, job->function_settings);
    cr_tensor *there = cr_onnx_run(cr_root(imported), x, onnx);
    if (own && there) {
        double difference = cr_item(cr_max(cr_abs(cr_sub(own, there))));
        if (!(difference <= result->difference)) /* not a number is worse than any */
            result->difference = difference;
        result->scale = fmax(result->scale, cr_item(cr_max(cr_abs(own))));
    }
    cr_frame_end(frame);
    return !cr_failed();
}

static bool check(const export_job *job, const cr_onnx *onnx, comparison *result)
{
    const export_settings *settings = job->args->settings;
    cr_model *imported = cr_model_new();
    if (!imported)
        return false;
    cr_model_train(imported, false);
    cr_manual_seed(1);
    bool good =
        compare(job, onnx, imported, job->sample, 3, result) &&
        compare(job, onnx, imported, job->sample, 1, result) &&
        (!settings->dynamic_size || compare(job, onnx, imported, other_sample(job, 0), 2, result));
    cr_model_free(imported);
    if (good && !(result->difference <= AGREEMENT * fmax(result->scale, 1))) {
        cr_error_set(CR_ERROR_STATE,
                     "%s was written, but gives other results than the model: they differ by %.3g "
                     "where the largest is %.3g; please report this",
                     job->path, result->difference, result->scale);
        return false;
    }
    return good;
}

/* ---- the answer ---- */

static void append_port(cr_text *text, const cr_onnx_port *port)
{
    cr_text_printf(text, "%s, %s (", port->name, cr_dtype_name(port->dtype));
    for (int d = 0; d < port->shape.ndim; d++) {
        const char *named = port->dim_names[d] ? port->dim_names[d] : "?";
        cr_text_append(text, d ? ", " : "");
        if (port->shape.dim[d] < 0)
            cr_text_append(text, named);
        else
            cr_text_printf(text, "%lld", (long long)port->shape.dim[d]);
    }
    cr_text_append(text, ")");
}

static json_t *ports_to_json(const cr_onnx *onnx, int count,
                             cr_onnx_port (*port_at)(const cr_onnx *, int))
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        cr_onnx_port port = port_at(onnx, i);
        json_t *shape = json_array();
        for (int d = 0; d < port.shape.ndim; d++) {
            const char *named = port.dim_names[d] ? port.dim_names[d] : "?";
            json_array_append_new(shape, port.shape.dim[d] < 0
                                             ? json_string(named)
                                             : json_integer((json_int_t)port.shape.dim[d]));
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", port.name, "dtype",
                                              cr_dtype_name(port.dtype), "shape", shape));
    }
    return list;
}

static void answer_json(export_job *job, const cr_onnx *onnx, const cr_onnx_report *report,
                        const comparison *compared)
{
    json_object_update_new(
        job->answer,
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:o, s:o, s:f, s:f}", "opset", CR_ONNX_OPSET,
                  "ir_version", CR_ONNX_IR, "operators", report->operators, "initializers",
                  report->initializers, "folded_batch_norms", report->folded, "bytes",
                  (json_int_t)report->bytes, "data_bytes", (json_int_t)report->data_bytes, "inputs",
                  ports_to_json(onnx, cr_onnx_input_count(onnx), cr_onnx_input), "outputs",
                  ports_to_json(onnx, cr_onnx_output_count(onnx), cr_onnx_output),
                  "largest_difference", compared->difference, "largest_result", compared->scale));
}

static void answer_text(const export_job *job, const cr_onnx *onnx, const cr_onnx_report *report,
                        const comparison *compared)
{
    char bytes[NUMBER_SIZE];
    cr_text text = { 0 };
    cr_text_printf(&text, "%s: ONNX opset %d, IR %d, %s", job->path, CR_ONNX_OPSET, CR_ONNX_IR,
                   format_bytes(bytes, (double)report->bytes));
    if (report->data_bytes)
        cr_text_printf(&text, " and %s in %s.data", format_bytes(bytes, (double)report->data_bytes),
                       job->path);
    cr_text_printf(&text, "\n%d operators, %d initializers", report->operators,
                   report->initializers);
    if (report->folded)
        cr_text_printf(&text, "; %d batch norms folded", report->folded);
    for (int i = 0; i < cr_onnx_input_count(onnx); i++) {
        cr_onnx_port port = cr_onnx_input(onnx, i);
        cr_text_append(&text, "\ninput   ");
        append_port(&text, &port);
    }
    for (int i = 0; i < cr_onnx_output_count(onnx); i++) {
        cr_onnx_port port = cr_onnx_output(onnx, i);
        cr_text_append(&text, "\noutput  ");
        append_port(&text, &port);
    }
    cr_text_printf(
        &text,
        "\ncheck   read again and run: differs from the model by at most %.2g, where the "
        "largest result is %.2g\n",
        compared->difference, compared->scale);
    fputs(text.data ? text.data : "", stdout);
    cr_text_free(&text);
}

bool export_onnx(export_job *job)
{
    const export_settings *settings = job->args->settings;
    cr_onnx_report report = { 0 };
    comparison compared = { 0 };
    cr_graph *graph = export_trace(job, job->sample);
    bool good = graph && save(job, graph, &report);
    cr_graph_free(graph);
    cr_onnx *onnx = good ? cr_onnx_open(job->path) : NULL;
    good = onnx && check(job, onnx, &compared);
    if (good && settings->json)
        answer_json(job, onnx, &report, &compared);
    else if (good)
        answer_text(job, onnx, &report, &compared);
    if (onnx)
        cr_onnx_close(onnx);
    return good;
}
