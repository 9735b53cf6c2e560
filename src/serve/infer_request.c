/* Requests to infer of the Open Inference Protocol: JSON that names tensors, whose elements stand
 * in it, nested or flat, or behind it as bytes (the binary extension). Everything is checked
 * against what the model takes, so that a job that was made can be run. */
#include <math.h>
#include <string.h>

#include "cresset/memory.h"
#include "serve/serve.h"

/* dtypes by their names in the protocol. */
static const struct {
    cr_dtype dtype;
    const char *name;
} dtype_names[] = {
    { CR_F32, "FP32" },  { CR_F64, "FP64" },  { CR_F16, "FP16" },  { CR_BF16, "BF16" },
    { CR_I64, "INT64" }, { CR_I32, "INT32" }, { CR_I16, "INT16" }, { CR_I8, "INT8" },
    { CR_U8, "UINT8" },  { CR_BOOL, "BOOL" },
};

const char *infer_dtype_name(cr_dtype dtype)
{
    for (int i = 0; i < SERVE_COUNT_OF(dtype_names); i++)
        if (dtype_names[i].dtype == dtype)
            return dtype_names[i].name;
    return NULL;
}

/* Where parsing is. */
typedef struct parser {
    runner *runner;
    const char *binary; /* the bytes behind the JSON that were not taken yet */
    size_t binary_left;
    bool has_binary; /* the request has the header of the binary extension */
    int64_t elements;
    infer_request *request;
    serve_answer *answer;
} parser;

/* ---- shapes ---- */

static bool read_shape(parser *p, const char *name, const json_t *list, cr_shape *shape)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > CR_MAX_DIMS)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has no shape, which is a list of at most %d sizes", name,
                            CR_MAX_DIMS);
    shape->ndim = (int)count;
    for (size_t d = 0; d < count; d++) {
        const json_t *size = json_array_get(list, d);
        shape->dim[d] = json_integer_value(size);
        if (!json_is_integer(size) || shape->dim[d] < 0)
            return serve_refuse(p->answer, 400,
                                "a size in the shape of input \"%s\" is no whole number", name);
    }
    int64_t numel = cr_shape_numel(shape);
    if (numel < 0 || numel > CR_SERVE_MAX_ELEMENTS - p->elements)
        return serve_refuse(p->answer, 413, "the inputs have more elements than the limit of %lld",
                            (long long)CR_SERVE_MAX_ELEMENTS);
    p->elements += numel;
    return true;
}

static void print_shape(char *text, size_t room, const cr_shape *shape)
{
    int length = snprintf(text, room, "[");
    for (int d = 0; d < shape->ndim; d++)
        length += snprintf(text + length, room - (size_t)length, "%s%lld", d ? ", " : "",
                           (long long)shape->dim[d]);
    snprintf(text + length, room - (size_t)length, "]");
}

/* The first size is that of the batch, the same for all inputs. */
static bool check_shape(parser *p, const tensor_spec *spec, const cr_shape *shape, bool first)
{
    char has[256], wants[256];
    bool fits = shape->ndim == spec->shape.ndim;
    for (int d = 0; fits && d < shape->ndim; d++)
        fits = spec->shape.dim[d] == shape->dim[d] || (spec->shape.dim[d] < 0 && shape->dim[d] > 0);
    print_shape(has, sizeof has, shape);
    print_shape(wants, sizeof wants, &spec->shape);
    if (!fits)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has shape %s, and the model takes %s, where -1 is any "
                            "size from 1",
                            spec->name, has, wants);
    int64_t rows = p->runner->batches ? shape->dim[0] : 1;
    if (!first && rows != p->request->work->rows)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has %lld rows, and another input has %lld", spec->name,
                            (long long)rows, (long long)p->request->work->rows);
    p->request->work->rows = rows;
    return true;
}

/* ---- elements ---- */

typedef struct filling {
    const tensor_spec *spec;
    char *out;
    int64_t room, count;
} filling;

/* The range of whole numbers of a dtype; false for others. */
static bool integer_range(cr_dtype dtype, int64_t *low, int64_t *high)
{
    int bits = (int)cr_dtype_size(dtype) * 8;
    if (cr_dtype_is_floating(dtype))
        return false;
    *low = dtype == CR_U8 || dtype == CR_BOOL ? 0 : INT64_MIN >> (64 - bits);
    *high = dtype == CR_BOOL ? 1 : dtype == CR_U8 ? 255 : INT64_MAX >> (64 - bits);
    return true;
}

static bool store_integer(parser *p, filling *f, int64_t value, int64_t low, int64_t high)
{
    if (value < low || value > high)
        return serve_refuse(p->answer, 400,
                            "element %lld of input \"%s\" is out of the range of %s",
                            (long long)f->count, f->spec->name, infer_dtype_name(f->spec->dtype));
    size_t size = cr_dtype_size(f->spec->dtype);
    int64_t i64 = value;
    int32_t i32 = (int32_t)value;
    int16_t i16 = (int16_t)value;
    uint8_t byte = (uint8_t)value;
    const void *from = size == 8 ? (void *)&i64 : size == 4 ? (void *)&i32 : (void *)&i16;
    memcpy(f->out + (size_t)f->count * size, size == 1 ? &byte : from, size);
    return true;
}

static bool store(parser *p, filling *f, const json_t *value)
{
    int64_t low, high;
    if (f->count >= f->room)
        return serve_refuse(p->answer, 400,
                            "the data of input \"%s\" have more elements than its shape, %lld",
                            f->spec->name, (long long)f->room);
    if (integer_range(f->spec->dtype, &low, &high)) {
        bool truth = f->spec->dtype == CR_BOOL && json_is_boolean(value);
        if (!truth && !json_is_integer(value))
            return serve_refuse(p->answer, 400, "element %lld of input \"%s\" is no %s",
                                (long long)f->count, f->spec->name,
                                infer_dtype_name(f->spec->dtype));
        int64_t number = truth ? json_is_true(value) : json_integer_value(value);
        if (!store_integer(p, f, number, low, high))
            return false;
    } else {
        if (!json_is_number(value))
            return serve_refuse(p->answer, 400, "element %lld of input \"%s\" is no number",
                                (long long)f->count, f->spec->name);
        double number = json_number_value(value);
        if (f->spec->dtype == CR_F64)
            ((double *)f->out)[f->count] = number;
        else
            ((float *)f->out)[f->count] = (float)number;
    }
    f->count++;
    return true;
}

/* Nested lists in row-major order; how deep they are was checked before. */
static bool store_all(parser *p, filling *f, const json_t *data)
{
    size_t index;
    json_t *each;
    json_array_foreach(data, index, each)
    {
        if (json_is_array(each) ? !store_all(p, f, each) : !store(p, f, each))
            return false;
    }
    return true;
}

static bool read_data(parser *p, const tensor_spec *spec, const json_t *data, tensor_value *value)
{
    if (!json_is_array(data))
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has no data: give a list \"data\", or "
                            "\"binary_data_size\" among its parameters",
                            spec->name);
    if (spec->dtype == CR_F16 || spec->dtype == CR_BF16)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" is %s, which JSON has no numbers for: use the binary "
                            "extension",
                            spec->name, infer_dtype_name(spec->dtype));
    filling f = { spec, value->data, cr_shape_numel(&value->shape), 0 };
    if (!store_all(p, &f, data))
        return false;
    return f.count == f.room ||
           serve_refuse(p->answer, 400,
                        "the data of input \"%s\" have %lld elements, and its shape has %lld",
                        spec->name, (long long)f.count, (long long)f.room);
}

static bool read_binary(parser *p, const tensor_spec *spec, const json_t *size, tensor_value *value)
{
    json_int_t bytes = json_integer_value(size);
    if (!p->has_binary)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has binary data, but the request has no header "
                            "Inference-Header-Content-Length",
                            spec->name);
    if (!json_is_integer(size) || bytes < 0 || (size_t)bytes != value->bytes)
        return serve_refuse(p->answer, 400,
                            "binary_data_size of input \"%s\" is %lld, and its shape takes %lld "
                            "bytes",
                            spec->name, (long long)bytes, (long long)value->bytes);
    if (value->bytes > p->binary_left)
        return serve_refuse(p->answer, 400,
                            "the body ends before the %lld bytes of input \"%s\", of which %lld "
                            "have come",
                            (long long)bytes, spec->name, (long long)p->binary_left);
    memcpy(value->data, p->binary, value->bytes);
    p->binary += value->bytes;
    p->binary_left -= value->bytes;
    return true;
}

/* Which element is not a number, -1 if all are. */
static int64_t find_nan(const tensor_spec *spec, const tensor_value *value)
{
    int64_t count = cr_shape_numel(&value->shape);
    const uint16_t *halves = value->data;
    unsigned infinity = spec->dtype == CR_F16 ? 0x7C00 : 0x7F80;
    for (int64_t i = 0; i < count; i++) {
        bool nan = false;
        if (spec->dtype == CR_F32)
            nan = isnan(((const float *)value->data)[i]);
        else if (spec->dtype == CR_F64)
            nan = isnan(((const double *)value->data)[i]);
        else if (cr_dtype_is_floating(spec->dtype))
            nan = (halves[i] & 0x7FFFu) > infinity;
        else
            return -1;
        if (nan)
            return i;
    }
    return -1;
}

/* ---- inputs ---- */

static int find_spec(const tensor_spec *specs, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(specs[i].name, name) == 0)
            return i;
    return -1;
}

static bool read_elements(parser *p, const tensor_spec *spec, const json_t *input,
                          tensor_value *value)
{
    const json_t *size = json_object_get(json_object_get(input, "parameters"), "binary_data_size");
    value->bytes = (size_t)cr_shape_numel(&value->shape) * cr_dtype_size(spec->dtype);
    value->data = cr_alloc(value->bytes);
    if (!value->data)
        return serve_refuse_error(p->answer, 503);
    if (size ? !read_binary(p, spec, size, value)
             : !read_data(p, spec, json_object_get(input, "data"), value))
        return false;
    int64_t nan = find_nan(spec, value);
    return nan < 0 || serve_refuse(p->answer, 400,
                                   "element %lld of input \"%s\" is NaN; the model takes numbers",
                                   (long long)nan, spec->name);
}

static bool read_input(parser *p, const json_t *input, bool first)
{
    const runner *r = p->runner;
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *datatype = json_string_value(json_object_get(input, "datatype"));
    if (!name || !datatype)
        return serve_refuse(p->answer, 400, "an input lacks its \"name\" or its \"datatype\"");
    int at = find_spec(r->inputs, r->input_count, name);
    if (at < 0)
        return serve_refuse(p->answer, 400, "the model has no input \"%s\"; its first is \"%s\"",
                            name, r->inputs[0].name);
    const tensor_spec *spec = &r->inputs[at];
    tensor_value *value = &p->request->work->inputs[at];
    if (value->data)
        return serve_refuse(p->answer, 400, "input \"%s\" is given twice", name);
    if (strcmp(datatype, infer_dtype_name(spec->dtype)) != 0)
        return serve_refuse(p->answer, 400,
                            "input \"%s\" has the datatype %s, and the model takes %s", name,
                            datatype, infer_dtype_name(spec->dtype));
    return read_shape(p, name, json_object_get(input, "shape"), &value->shape) &&
           check_shape(p, spec, &value->shape, first) && read_elements(p, spec, input, value);
}

static bool read_inputs(parser *p, const json_t *list)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0)
        return serve_refuse(p->answer, 400, "the request has no list \"inputs\"");
    if (count > CR_SERVE_MAX_TENSORS)
        return serve_refuse(p->answer, 413, "the request has %lld inputs; the limit is %d",
                            (long long)count, CR_SERVE_MAX_TENSORS);
    for (size_t i = 0; i < count; i++)
        if (!read_input(p, json_array_get(list, i), i == 0))
            return false;
    for (int i = 0; i < p->runner->input_count; i++)
        if (!p->request->work->inputs[i].data)
            return serve_refuse(p->answer, 400, "the request lacks the input \"%s\"",
                                p->runner->inputs[i].name);
    return p->binary_left == 0 ||
           serve_refuse(p->answer, 400, "%lld bytes are left behind the tensors of the request",
                        (long long)p->binary_left);
}

/* ---- what is wanted ---- */

static bool read_outputs(parser *p, json_t *list)
{
    if (!list)
        return true;
    if (!json_is_array(list) || json_array_size(list) > CR_SERVE_MAX_TENSORS)
        return serve_refuse(p->answer, 400, "\"outputs\" is no list of at most %d",
                            CR_SERVE_MAX_TENSORS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *each = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(each, "name"));
        if (!name)
            return serve_refuse(p->answer, 400, "an output lacks its \"name\"");
        if (find_spec(p->runner->outputs, p->runner->output_count, name) < 0)
            return serve_refuse(p->answer, 400,
                                "the model has no output \"%s\"; its first is \"%s\"", name,
                                p->runner->outputs[0].name);
        const json_t *ranks =
            json_object_get(json_object_get(each, "parameters"), "classification");
        if (ranks && (json_integer_value(ranks) < 1 || p->runner->class_count == 0))
            return serve_refuse(p->answer, 400,
                                "the parameter \"classification\" is a number of classes from 1, "
                                "and for classifiers");
    }
    if (json_array_size(list) > 0)
        p->request->outputs = json_incref(list);
    return true;
}

static bool read_parameters(parser *p, const json_t *parameters)
{
    const json_t *timeout = json_object_get(parameters, "timeout");
    p->request->binary = json_is_true(json_object_get(parameters, "binary_data_output"));
    if (timeout && (!json_is_integer(timeout) || json_integer_value(timeout) < 1))
        return serve_refuse(p->answer, 400,
                            "the parameter \"timeout\" is a whole number of microseconds from 1");
    if (timeout)
        p->request->work->deadline = 1e-6 * (double)json_integer_value(timeout);
    return true;
}

static bool read_request(parser *p, const json_t *root)
{
    const json_t *id = json_object_get(root, "id");
    if (!json_is_object(root))
        return serve_refuse(p->answer, 400, "the request is no JSON object");
    if (id && !json_is_string(id))
        return serve_refuse(p->answer, 400, "the \"id\" is no string");
    p->request->id = id ? cr_string_copy(json_string_value(id)) : NULL;
    return read_parameters(p, json_object_get(root, "parameters")) &&
           read_inputs(p, json_object_get(root, "inputs")) &&
           read_outputs(p, json_object_get(root, "outputs"));
}

bool infer_parse(runner *r, const char *body, size_t size, int64_t json_length,
                 infer_request *request, serve_answer *answer)
{
    *request = (infer_request){ 0 };
    if (json_length > (int64_t)size)
        return serve_refuse(answer, 400,
                            "Inference-Header-Content-Length is %lld, and the body has %lld bytes",
                            (long long)json_length, (long long)size);
    size_t length = json_length < 0 ? size : (size_t)json_length;
    json_t *root = serve_parse_json(body, length, answer);
    if (!root)
        return false;
    request->work = job_new(r);
    parser p = { .runner = r,
                 .binary = body + length,
                 .binary_left = size - length,
                 .has_binary = json_length >= 0,
                 .request = request,
                 .answer = answer };
    bool good = request->work ? read_request(&p, root) : serve_refuse_error(answer, 503);
    json_decref(root);
    if (good && !cr_failed())
        return true;
    serve_refuse_error(answer, 500);
    job_free(request->work);
    cr_free(request->id);
    json_decref(request->outputs);
    *request = (infer_request){ 0 };
    return false;
}
