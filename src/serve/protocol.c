/* The routes of the Open Inference Protocol: the server, its health, models, statistics, infer. */
#include <string.h>

#include "cresset/memory.h"
#include "cresset/system.h"
#include "serve/serve.h"

void handle_server(exchange *ex)
{
    cr_text *out = &ex->answer.body;
    cr_text_append(out, "{\"name\": \"cresset\", \"version\": ");
    serve_put_string(out, cr_version());
    cr_text_append(out, ", \"extensions\": [\"binary_tensor_data\", \"classification\", "
                        "\"model_repository\", \"statistics\"]}\n");
}

void handle_live(exchange *ex)
{
    cr_text_append(&ex->answer.body, "{\"live\": true}\n");
}

/* Ready while there are models and none of those that are wanted is missing. */
void handle_ready(exchange *ex)
{
    bool ready = !atomic_load(&ex->server->draining);
    for (model_version *each = NULL; (each = repository_next(ex->server, each));) {
        pthread_mutex_lock(&each->lock);
        ready = ready && (each->runner || !each->wanted);
        pthread_mutex_unlock(&each->lock);
    }
    ex->answer.status = ready ? 200 : 400;
    cr_text_append(&ex->answer.body, ready ? "{\"ready\": true}\n" : "{\"ready\": false}\n");
}

void handle_model_ready(exchange *ex)
{
    runner *found;
    if (!exchange_find_runner(ex, &found))
        return;
    runner_release(found);
    cr_text *out = &ex->answer.body;
    cr_text_append(out, "{\"name\": ");
    serve_put_string(out, ex->version->name);
    cr_text_append(out, ", \"ready\": true}\n");
}

/* ---- what a model is ---- */

static void put_specs(cr_text *out, const char *title, const tensor_spec *specs, int count)
{
    cr_text_printf(out, ", \"%s\": [", title);
    for (int i = 0; i < count; i++) {
        cr_text_printf(out, "%s{\"name\": ", i ? ", " : "");
        serve_put_string(out, specs[i].name);
        cr_text_printf(out, ", \"datatype\": \"%s\", \"shape\": [",
                       infer_dtype_name(specs[i].dtype));
        for (int d = 0; d < specs[i].shape.ndim; d++)
            cr_text_printf(out, "%s%lld", d ? ", " : "", (long long)specs[i].shape.dim[d]);
        cr_text_append(out, "]}");
    }
    cr_text_append(out, "]");
}

static void put_versions(cr_text *out, cr_server *server, const char *name)
{
    const char *between = "";
    cr_text_append(out, ", \"versions\": [");
    for (model_version *each = NULL; (each = repository_next(server, each));) {
        if (strcmp(each->name, name) != 0)
            continue;
        cr_text_printf(out, "%s\"%lld\"", between, (long long)each->version);
        between = ", ";
    }
    cr_text_append(out, "]");
}

static void put_classifier(cr_text *out, const runner *r)
{
    cr_text_append(out, ", \"parameters\": {\"task\": \"classification\", \"architecture\": ");
    serve_put_string(out, r->architecture);
    cr_text_printf(out, ", \"classes\": %d}", r->class_count);
}

void handle_model(exchange *ex)
{
    runner *r;
    if (!exchange_find_runner(ex, &r))
        return;
    cr_text *out = &ex->answer.body;
    cr_text_append(out, "{\"name\": ");
    serve_put_string(out, ex->version->name);
    put_versions(out, ex->server, ex->version->name);
    cr_text_append(out, ", \"platform\": ");
    serve_put_string(out, r->platform);
    put_specs(out, "inputs", r->inputs, r->input_count);
    put_specs(out, "outputs", r->outputs, r->output_count);
    if (r->class_count > 0)
        put_classifier(out, r);
    cr_text_append(out, "}\n");
    runner_release(r);
}

/* ---- statistics ---- */

static void put_duration(cr_text *out, const char *name, uint64_t count, double seconds)
{
    cr_text_printf(out, "\"%s\": {\"count\": %llu, \"ns\": %.0f}", name, (unsigned long long)count,
                   1e9 * seconds);
}

static void put_batches(cr_text *out, const version_counters *c, int64_t most)
{
    const char *between = "";
    cr_text_append(out, "}, \"batch_stats\": [");
    for (int64_t i = 0; i < most; i++) {
        if (c->batches_of[i] == 0)
            continue;
        cr_text_printf(out, "%s{\"batch_size\": %lld, ", between, (long long)i + 1);
        put_duration(out, "compute_infer", c->batches_of[i], c->batches_of_seconds[i]);
        cr_text_append(out, "}");
        between = ", ";
    }
    cr_text_append(out, "]}");
}

static void put_statistics(cr_text *out, model_version *version)
{
    pthread_mutex_lock(&version->lock);
    const version_counters *c = &version->counters;
    cr_text_append(out, "{\"name\": ");
    serve_put_string(out, version->name);
    cr_text_printf(out,
                   ", \"version\": \"%lld\", \"last_inference\": %.0f, \"inference_count\": %llu, "
                   "\"execution_count\": %llu, \"inference_stats\": {",
                   (long long)version->version, 1e3 * c->last_request, (unsigned long long)c->rows,
                   (unsigned long long)c->batches);
    put_duration(out, "success", c->succeeded, c->request_seconds);
    cr_text_append(out, ", ");
    put_duration(out, "fail", c->failed, c->failed_seconds);
    cr_text_append(out, ", ");
    put_duration(out, "queue", c->succeeded, c->queue_seconds);
    cr_text_append(out, ", ");
    put_duration(out, "compute_infer", c->batches, c->compute_seconds);
    put_batches(out, c, version->server->args.max_batch);
    pthread_mutex_unlock(&version->lock);
}

void handle_model_stats(exchange *ex)
{
    cr_text *out = &ex->answer.body;
    const char *name = ex->names[0], *between = "";
    if (name && !exchange_find_version(ex))
        return;
    cr_text_append(out, "{\"model_stats\": [");
    for (model_version *each = NULL; (each = repository_next(ex->server, each));) {
        if ((name && strcmp(each->name, name) != 0) || (ex->names[1] && each != ex->version))
            continue;
        cr_text_append(out, between);
        put_statistics(out, each);
        between = ", ";
    }
    cr_text_append(out, "]}\n");
}

/* ---- infer ---- */

/* The length of the JSON before binary data: -1 if the header is not there, -2 after a refusal. */
static int64_t json_length(exchange *ex)
{
    long long length;
    const char *text = exchange_header(ex, "Inference-Header-Content-Length");
    if (!text)
        return -1;
    if (cr_parse_int64(text, &length) && length > 0)
        return length;
    serve_refuse(&ex->answer, 400,
                 "Inference-Header-Content-Length is \"%.40s\", which is no number of bytes", text);
    return -2;
}

void handle_infer(exchange *ex)
{
    runner *r;
    infer_request request;
    int64_t length = json_length(ex);
    if (length < -1 || !exchange_find_runner(ex, &r))
        return;
    if (infer_parse(r, ex->body ? ex->body : "", ex->size, length, &request, &ex->answer)) {
        ex->work = request.work;
        ex->id = request.id;
        ex->outputs = request.outputs;
        ex->binary = request.binary;
        exchange_submit(ex, infer_write);
    }
    runner_release(r);
}
