/* Answers to requests to infer: tensors as lists in JSON or as bytes behind it, classes by name
 * where the classification extension asks for them, and what batch the request rode in. */
#include <math.h>
#include <string.h>

#include "cresset/memory.h"
#include "serve/serve.h"

/* What a request says about one output; NULL: nothing. */
static const json_t *wanted_parameters(const exchange *ex, const char *name, bool *wanted)
{
    *wanted = !ex->outputs;
    for (size_t i = 0; i < json_array_size(ex->outputs); i++) {
        const json_t *each = json_array_get(ex->outputs, i);
        if (strcmp(json_string_value(json_object_get(each, "name")), name) == 0) {
            *wanted = true;
            return json_object_get(each, "parameters");
        }
    }
    return NULL;
}

static void put_element(cr_text *out, const tensor_value *value, cr_dtype dtype, int64_t i)
{
    const void *data = value->data;
    if (dtype == CR_F32)
        serve_put_number(out, (double)((const float *)data)[i], 9);
    else if (dtype == CR_F64)
        serve_put_number(out, ((const double *)data)[i], 17);
    else if (dtype == CR_BOOL)
        cr_text_append(out, ((const uint8_t *)data)[i] ? "true" : "false");
    else if (dtype == CR_U8)
        cr_text_printf(out, "%d", ((const uint8_t *)data)[i]);
    else if (dtype == CR_I8)
        cr_text_printf(out, "%d", ((const int8_t *)data)[i]);
    else if (dtype == CR_I16)
        cr_text_printf(out, "%d", ((const int16_t *)data)[i]);
    else if (dtype == CR_I32)
        cr_text_printf(out, "%d", ((const int32_t *)data)[i]);
    else
        cr_text_printf(out, "%lld", (long long)((const int64_t *)data)[i]);
}

static void put_head(cr_text *out, const char *name, const char *datatype, const cr_shape *shape)
{
    cr_text_append(out, "{\"name\": ");
    serve_put_string(out, name);
    cr_text_printf(out, ", \"datatype\": \"%s\", \"shape\": [", datatype);
    for (int d = 0; d < shape->ndim; d++)
        cr_text_printf(out, "%s%lld", d ? ", " : "", (long long)shape->dim[d]);
    cr_text_append(out, "]");
}

/* Ends an output whose bytes follow the JSON. */
static void put_binary(cr_text *out, const void *bytes, size_t size, cr_text *binary)
{
    cr_text_printf(out, ", \"parameters\": {\"binary_data_size\": %lld}}", (long long)size);
    cr_text_append_bytes(binary, bytes, size);
}

/* ---- classes by name ---- */

/* What is not a number comes last. */
static float rankable(float score)
{
    return isnan(score) ? -INFINITY : score;
}

int64_t infer_next_rank(const float *scores, int64_t count, int64_t above)
{
    int64_t best = -1;
    float bound = above < 0 ? 0 : rankable(scores[above]);
    for (int64_t i = 0; i < count; i++) {
        float score = rankable(scores[i]);
        bool later = above < 0 || score < bound || (score == bound && i > above);
        if (later && (best < 0 || score > rankable(scores[best])))
            best = i;
    }
    return best;
}

/* "score:index:label" as a string of JSON, or as its length and bytes. */
static void put_label(cr_text *out, const runner *r, double score, int64_t class, bool as_bytes)
{
    char *text = cr_string_format("%.6f:%lld:%s", score, (long long)class, r->class_names[class]);
    if (as_bytes && text) {
        uint32_t length = (uint32_t)strlen(text);
        cr_text_append_bytes(out, &length, sizeof length);
        cr_text_append_bytes(out, text, length);
    } else {
        if (out->length > 0)
            cr_text_append(out, ", ");
        serve_put_string(out, text ? text : "");
    }
    cr_free(text);
}

/* The labels of the highest scores of each row. */
static void put_ranks(exchange *ex, int index, int64_t ranks, bool as_bytes, cr_text *binary)
{
    const runner *r = ex->work->runner;
    cr_text *out = &ex->answer.body, labels = { 0 };
    int64_t classes = r->class_count, rows = ex->work->rows;
    ranks = ranks < classes ? ranks : classes;
    for (int64_t row = 0; row < rows; row++) {
        const float *scores = (const float *)ex->work->outputs[index].data + row * classes;
        int64_t class = -1;
        for (int64_t rank = 0; rank < ranks; rank++) {
            class = infer_next_rank(scores, classes, class);
            put_label(&labels, r, (double)scores[class], class, as_bytes);
        }
    }
    cr_shape shape = CR_SHAPE(rows, ranks);
    put_head(out, r->outputs[index].name, "BYTES", &shape);
    if (as_bytes) {
        put_binary(out, labels.data, labels.length, binary);
    } else {
        cr_text_append(out, ", \"data\": [");
        cr_text_append_bytes(out, labels.data, labels.length);
        cr_text_append(out, "]}");
    }
    cr_text_free(&labels);
}

/* ---- tensors ---- */

static void put_output(exchange *ex, int index, const json_t *parameters, cr_text *binary)
{
    cr_text *out = &ex->answer.body;
    const tensor_spec *spec = &ex->work->runner->outputs[index];
    const tensor_value *value = &ex->work->outputs[index];
    const json_t *ranks = json_object_get(parameters, "classification");
    const json_t *wanted = json_object_get(parameters, "binary_data");
    bool as_bytes = wanted ? json_is_true(wanted) : ex->binary;
    if (ranks) {
        put_ranks(ex, index, json_integer_value(ranks), as_bytes, binary);
        return;
    }
    put_head(out, spec->name, infer_dtype_name(spec->dtype), &value->shape);
    if (as_bytes || spec->dtype == CR_F16 || spec->dtype == CR_BF16) {
        put_binary(out, value->data, value->bytes, binary);
        return;
    }
    cr_text_append(out, ", \"data\": [");
    int64_t count = cr_shape_numel(&value->shape);
    for (int64_t i = 0; i < count; i++) {
        if (i)
            cr_text_append(out, ", ");
        put_element(out, value, spec->dtype, i);
    }
    cr_text_append(out, "]}");
}

void infer_put_journey(cr_text *out, const job *work)
{
    cr_text_printf(out,
                   ", \"parameters\": {\"batch_size\": %lld, \"queue_us\": %.0f, \"compute_us\": "
                   "%.0f}",
                   (long long)work->batch, 1e6 * job_queue_seconds(work), 1e6 * work->computed);
}

void infer_write(exchange *ex)
{
    const job *work = ex->work;
    cr_text *out = &ex->answer.body, binary = { 0 };
    const char *between = "";
    if (work->status) {
        serve_refuse(&ex->answer, work->status, "%s", work->refusal ? work->refusal : "no memory");
        return;
    }
    cr_text_append(out, "{\"model_name\": ");
    serve_put_string(out, ex->version->name);
    cr_text_printf(out, ", \"model_version\": \"%lld\"", (long long)ex->version->version);
    if (ex->id) {
        cr_text_append(out, ", \"id\": ");
        serve_put_string(out, ex->id);
    }
    infer_put_journey(out, work);
    cr_text_append(out, ", \"outputs\": [");
    for (int i = 0; i < work->runner->output_count; i++) {
        bool wanted;
        const json_t *parameters = wanted_parameters(ex, work->runner->outputs[i].name, &wanted);
        if (!wanted)
            continue;
        cr_text_append(out, between);
        put_output(ex, i, parameters, &binary);
        between = ", ";
    }
    cr_text_append(out, "]}");
    if (binary.length > 0) {
        ex->answer.json_length = (int64_t)out->length;
        ex->answer.type = "application/octet-stream";
        cr_text_append_bytes(out, binary.data, binary.length);
    }
    cr_text_free(&binary);
}
