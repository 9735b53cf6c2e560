/* Answers to requests to infer: tensors as lists in JSON or as bytes behind it, classes by name
 * where the classification extension asks for them, and what batch the request rode in. */
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

/* ---- classes by name ---- */

int64_t infer_next_rank(const float *scores, int64_t count, int64_t above)
{
    int64_t best = -1;
    for (int64_t i = 0; i < count; i++) {
        bool later =
            above < 0 || scores[i] < scores[above] || (scores[i] == scores[above] && i > above);
        if (later && (best < 0 || scores[i] > scores[best]))
            best = i;
    }
    return best;
}

/* "score:index:label" of the highest scores of each row. */
static void put_ranks(cr_text *out, const exchange *ex, const tensor_spec *spec,
                      const tensor_value *value, int64_t ranks)
{
    const runner *r = ex->work->runner;
    int64_t classes = r->class_count, rows = ex->work->rows;
    ranks = ranks < classes ? ranks : classes;
    cr_shape shape = CR_SHAPE(rows, ranks);
    put_head(out, spec->name, "BYTES", &shape);
    cr_text_append(out, ", \"data\": [");
    for (int64_t row = 0; row < rows; row++) {
        const float *scores = (const float *)value->data + row * classes;
        int64_t class = -1;
        for (int64_t rank = 0; rank < ranks; rank++) {
            class = infer_next_rank(scores, classes, class);
            if (class < 0)
                break;
            char *text = cr_string_format("%.6f:%lld:%s", (double)scores[class], (long long)class,
                                          r->class_names[class]);
            cr_text_append(out, row + rank ? ", " : "");
            serve_put_string(out, text ? text : "");
            cr_free(text);
        }
    }
    cr_text_append(out, "]}");
}

/* ---- tensors ---- */

static void put_output(exchange *ex, int index, const json_t *parameters, cr_text *binary)
{
    cr_text *out = &ex->answer.body;
    const tensor_spec *spec = &ex->work->runner->outputs[index];
    const tensor_value *value = &ex->work->outputs[index];
    const json_t *ranks = json_object_get(parameters, "classification");
    const json_t *as_bytes = json_object_get(parameters, "binary_data");
    if (ranks) {
        put_ranks(out, ex, spec, value, json_integer_value(ranks));
        return;
    }
    put_head(out, spec->name, infer_dtype_name(spec->dtype), &value->shape);
    bool no_numbers = spec->dtype == CR_F16 || spec->dtype == CR_BF16;
    if (no_numbers || (as_bytes ? json_is_true(as_bytes) : ex->binary)) {
        cr_text_printf(out, ", \"parameters\": {\"binary_data_size\": %lld}}",
                       (long long)value->bytes);
        cr_text_append_bytes(binary, value->data, value->bytes);
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
