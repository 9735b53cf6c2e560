/* An ONNX graph as a file: protocol-buffers messages (onnx.proto of IR 8), written field by field.
 *
 * What the outputs do not need is left out. Initializers follow the operators and are written from
 * the tensors as they lie; where the file would pass protobuf's 2 GB, or if asked for, the large
 * ones go to a second file, NAME.data, which is there before the first one names it. */
#include <stdio.h>
#include <string.h>

#include "cresset/file.h"
#include "cresset/onnx_export.h"
#include "graph/graph.h"
#include "ops/ops.h"

#define MOST_BYTES     2000000000 /* of one file; protobuf's limit is 2^31 - 1 */
#define EXTERNAL_BYTES 1024       /* smaller tensors stay in the first file */
#define EXTERNAL_ALIGN 4096       /* of tensors in the second, so that it can be mapped */

/* Fields of messages, by number. */
enum { MODEL_IR = 1, MODEL_PRODUCER, MODEL_VERSION, MODEL_GRAPH = 7, MODEL_OPSET, MODEL_META = 14 };
enum {
    GRAPH_NODE = 1,
    GRAPH_NAME,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT,
    GRAPH_VALUE
};
enum { NODE_INPUT = 1, NODE_OUTPUT, NODE_NAME, NODE_TYPE, NODE_ATTRIBUTE };
enum {
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_F,
    ATTRIBUTE_I,
    ATTRIBUTE_S,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_STRINGS,
    ATTRIBUTE_TYPE = 20
};
enum {
    TENSOR_DIMS = 1,
    TENSOR_TYPE,
    TENSOR_NAME = 8,
    TENSOR_RAW,
    TENSOR_EXTERNAL = 13,
    TENSOR_LOCATION
};
enum { PAIR_KEY = 1, PAIR_VALUE };

/* ---- messages ---- */

enum { VARINT = 0, LENGTH = 2, FIXED32 = 5 };

static void put_varint(cr_text *message, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[count++] = (uint8_t)(value | 0x80);
    bytes[count++] = (uint8_t)value;
    cr_text_append_bytes(message, bytes, count);
}

static void put_key(cr_text *message, int field, int layout)
{
    put_varint(message, (uint64_t)field << 3 | (uint64_t)layout);
}

static void put_int(cr_text *message, int field, int64_t value)
{
    put_key(message, field, VARINT);
    put_varint(message, (uint64_t)value);
}

static void put_float(cr_text *message, int field, double value)
{
    union {
        float value;
        uint32_t bits;
    } number = { (float)value };
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(number.bits >> 8 * i);
    put_key(message, field, FIXED32);
    cr_text_append_bytes(message, bytes, sizeof bytes);
}

static void put_text(cr_text *message, int field, const char *text)
{
    put_key(message, field, LENGTH);
    put_varint(message, strlen(text));
    cr_text_append(message, text);
}

/* Appends a message as a field of another, and frees it. */
static void put_message(cr_text *message, int field, cr_text *part)
{
    put_key(message, field, LENGTH);
    put_varint(message, part->length);
    cr_text_append_bytes(message, part->data, part->length);
    cr_text_free(part);
}

static void put_pair(cr_text *message, int field, const char *key, const char *value)
{
    cr_text pair = { 0 };
    put_text(&pair, PAIR_KEY, key);
    put_text(&pair, PAIR_VALUE, value);
    put_message(message, field, &pair);
}

/* ---- names ---- */

/* Names that are taken, by their hash; the strings are others'. */
struct names {
    const char **slots;
    size_t room; /* a power of two, more than twice what it will hold */
};

static const char **slot_of(const struct names *names, const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    size_t at = (size_t)hash & (names->room - 1);
    while (names->slots[at] && strcmp(names->slots[at], name) != 0)
        at = (at + 1) & (names->room - 1);
    return &names->slots[at];
}

static bool names_open(struct names *names, int count)
{
    names->room = 64;
    while (names->room < 3 * (size_t)count)
        names->room *= 2;
    names->slots = cr_alloc_zeroed(names->room, sizeof *names->slots);
    return names->slots != NULL;
}

/* Makes a name in cr_alloc's memory one that nobody has, by a number at its end. */
static char *make_unique(struct names *names, char *name)
{
    char *own = name;
    for (int n = 1; own && *slot_of(names, own); n++) {
        if (own != name)
            cr_free(own);
        own = cr_string_format("%s_%d", name, n);
    }
    if (own != name)
        cr_free(name);
    if (own)
        *slot_of(names, own) = own;
    return own;
}

/* "/layer1/0/conv1/Conv" for an operator in layer1.0.conv1. */
static char *operator_name(const struct written_operator *operation)
{
    char *name = operation->scope[0] ? cr_string_format("/%s/%s", operation->scope, operation->type)
                                     : cr_string_format("/%s", operation->type);
    for (char *c = name; c && *c; c++)
        *c = *c == '.' ? '/' : *c;
    return name;
}

static void name_results(struct onnx_file *file, struct names *names,
                         const struct written_operator *operation)
{
    for (int i = 0; i < operation->output_count; i++) {
        struct written_value *value = &file->graph->values[operation->output + i];
        if (!value->name)
            value->name = make_unique(names, cr_string_format("%s_output_%d", operation->name, i));
    }
}

/* Inputs and outputs keep theirs, then parameters, then what has none gets one. */
static cr_status name_all(struct onnx_file *file, const bool *needed)
{
    cr_onnx_graph *graph = file->graph;
    struct names names;
    int count = 0;
    if (!names_open(&names, 2 * (graph->value_count + graph->operator_count)))
        return cr_error_status();
    for (int i = 0; i < file->input_count; i++) {
        struct written_value *value = &graph->values[file->inputs[i]];
        value->name = make_unique(&names, value->name);
    }
    for (int i = 0; i < file->output_count; i++) {
        struct written_value *value = &graph->values[file->outputs[i]];
        value->name = make_unique(&names, cr_string_copy(file->output_names[i]));
    }
    for (int v = 1; v < graph->value_count; v++) {
        struct written_value *value = &graph->values[v];
        if (needed[v] && value->data)
            value->name = make_unique(
                &names, value->name ? value->name : cr_string_format("constant_%d", count++));
    }
    for (int o = 0; o < graph->operator_count && !cr_failed(); o++) {
        struct written_operator *operation = &graph->operators[o];
        if (operation->is_removed)
            continue;
        operation->name = make_unique(&names, operator_name(operation));
        if (operation->name)
            name_results(file, &names, operation);
    }
    cr_free(names.slots);
    return cr_error_status();
}

/* ---- what is needed ---- */

/* Marks what the outputs need, and removes other operators: they stand before those that read them.
 */
static void find_needed(struct onnx_file *file, bool *needed)
{
    cr_onnx_graph *graph = file->graph;
    for (int i = 0; i < file->output_count; i++)
        needed[file->outputs[i]] = true;
    for (int o = graph->operator_count; o-- > 0;) {
        struct written_operator *operation = &graph->operators[o];
        bool is_needed = false;
        for (int i = 0; i < operation->output_count; i++)
            is_needed = is_needed || needed[operation->output + i];
        operation->is_removed = operation->is_removed || !is_needed;
        for (int i = 0; i < operation->input_count && !operation->is_removed; i++)
            needed[operation->inputs[i]] = true;
    }
    needed[0] = false;
}

/* An output that is an input, a constant or another output is a copy. */
static void separate_outputs(struct onnx_file *file)
{
    cr_onnx_graph *graph = file->graph;
    cr_onnx_call call = { .graph = graph };
    graph->scope = NULL;
    for (int i = 0; i < file->output_count; i++) {
        bool is_shared = graph->values[file->outputs[i]].maker < 0;
        for (int other = 0; other < i; other++)
            is_shared = is_shared || file->outputs[other] == file->outputs[i];
        if (is_shared)
            file->outputs[i] = cr_onnx_unary(&call, "Identity", file->outputs[i]);
    }
}

/* ---- operators ---- */

static void put_attribute(cr_text *node, const cr_onnx_attribute *attribute)
{
    enum { FLOAT = 1, INT = 2, STRING = 3, INTS = 7, STRINGS = 8 };
    static const int types[] = { [CR_ONNX_KIND_INT] = INT,
                                 [CR_ONNX_KIND_FLOAT] = FLOAT,
                                 [CR_ONNX_KIND_TEXT] = STRING,
                                 [CR_ONNX_KIND_TEXTS] = STRINGS,
                                 [CR_ONNX_KIND_INTS] = INTS };
    cr_text message = { 0 };
    put_text(&message, ATTRIBUTE_NAME, attribute->name);
    switch (attribute->kind) {
    case CR_ONNX_KIND_FLOAT:
        put_float(&message, ATTRIBUTE_F, attribute->number);
        break;
    case CR_ONNX_KIND_INT:
        put_int(&message, ATTRIBUTE_I, attribute->integer);
        break;
    case CR_ONNX_KIND_TEXT:
        put_text(&message, ATTRIBUTE_S, attribute->text);
        break;
    case CR_ONNX_KIND_TEXTS:
        put_text(&message, ATTRIBUTE_STRINGS, attribute->text);
        break;
    default:
        for (int d = 0; d < attribute->integers.ndim; d++)
            put_int(&message, ATTRIBUTE_INTS, attribute->integers.dim[d]);
    }
    put_int(&message, ATTRIBUTE_TYPE, types[attribute->kind]);
    put_message(node, NODE_ATTRIBUTE, &message);
}

static void put_operator(cr_text *text, const cr_onnx_graph *graph,
                         const struct written_operator *operation)
{
    cr_text node = { 0 };
    for (int i = 0; i < operation->input_count; i++) {
        cr_onnx_value input = operation->inputs[i];
        put_text(&node, NODE_INPUT, input ? graph->values[input].name : "");
    }
    for (int i = 0; i < operation->output_count; i++) {
        const char *name = graph->values[operation->output + i].name;
        put_text(&node, NODE_OUTPUT, name ? name : "");
    }
    put_text(&node, NODE_NAME, operation->name);
    put_text(&node, NODE_TYPE, operation->type);
    for (int i = 0; i < operation->attribute_count; i++)
        put_attribute(&node, &operation->attributes[i]);
    put_message(text, GRAPH_NODE, &node);
}

/* ---- types of values ---- */

/* "batch", "3*batch", "height" and "width" of an image or "length" of a sequence; NULL: no name. */
static const char *size_name(const struct onnx_file *file, cr_onnx_size size, char *room,
                             size_t length)
{
    static const char *const names[] = { "height", "width", "length" };
    const cr_onnx_spec *input = &file->graph->values[file->inputs[0]].spec;
    bool is_image = input->ndim == 4;
    for (int d = is_image ? 2 : 1; d < input->ndim && size.symbol; d++) {
        if (cr_onnx_size_equal(input->dim[d], size))
            return names[is_image ? d - 2 : 2];
    }
    if (size.symbol || size.base)
        return NULL;
    snprintf(room, length, size.factor == 1 ? "batch" : "%lld*batch", (long long)size.factor);
    return room;
}

static void put_value(cr_text *text, int field, const struct onnx_file *file, const char *name,
                      const cr_onnx_spec *spec)
{
    enum { VALUE_NAME = 1, VALUE_TYPE };
    enum { TYPE_TENSOR = 1, ELEMENT = 1, SHAPE = 2, DIMENSION = 1, SIZE = 1, PARAMETER = 2 };
    cr_text shape = { 0 }, tensor = { 0 }, type = { 0 }, value = { 0 };
    for (int d = 0; d < spec->ndim; d++) {
        cr_text dimension = { 0 };
        char room[32];
        const char *named = size_name(file, spec->dim[d], room, sizeof room);
        if (cr_onnx_is_fixed(spec->dim[d]))
            put_int(&dimension, SIZE, spec->dim[d].base);
        else if (named)
            put_text(&dimension, PARAMETER, named);
        put_message(&shape, DIMENSION, &dimension);
    }
    put_int(&tensor, ELEMENT, onnx_dtype(spec->dtype));
    put_message(&tensor, SHAPE, &shape);
    put_message(&type, TYPE_TENSOR, &tensor);
    put_text(&value, VALUE_NAME, name);
    put_message(&value, VALUE_TYPE, &type);
    put_message(text, field, &value);
}

static bool is_output(const struct onnx_file *file, cr_onnx_value value)
{
    for (int i = 0; i < file->output_count; i++) {
        if (file->outputs[i] == value)
            return true;
    }
    return false;
}

static void put_values(cr_text *text, const struct onnx_file *file, const bool *needed)
{
    const cr_onnx_graph *graph = file->graph;
    for (int i = 0; i < file->input_count; i++) {
        const struct written_value *value = &graph->values[file->inputs[i]];
        put_value(text, GRAPH_INPUT, file, value->name, &value->spec);
    }
    for (int i = 0; i < file->output_count; i++)
        put_value(text, GRAPH_OUTPUT, file, graph->values[file->outputs[i]].name,
                  &file->output_specs[i]);
    for (int v = 1; v < graph->value_count; v++) {
        const struct written_value *value = &graph->values[v];
        if (needed[v] && value->has_spec && value->maker >= 0 && !is_output(file, v))
            put_value(text, GRAPH_VALUE, file, value->name, &value->spec);
    }
}

/* ---- initializers ---- */

static size_t data_bytes(const struct written_value *value)
{
    return (size_t)tensor_numel(value->data) * cr_dtype_size((cr_dtype)value->data->dtype);
}

static bool is_initializer(const cr_onnx_graph *graph, const bool *needed, int v)
{
    return needed[v] && graph->values[v].data;
}

/* The fields before the data. `offset` is where these stand in the second file; -1: in this one. */
static void put_tensor_head(cr_text *tensor, const struct written_value *value,
                            const char *location, int64_t offset)
{
    char number[32];
    for (int d = 0; d < value->data->shape.ndim; d++)
        put_int(tensor, TENSOR_DIMS, value->data->shape.dim[d]);
    put_int(tensor, TENSOR_TYPE, onnx_dtype((cr_dtype)value->data->dtype));
    put_text(tensor, TENSOR_NAME, value->name);
    if (offset < 0) {
        put_key(tensor, TENSOR_RAW, LENGTH);
        put_varint(tensor, data_bytes(value));
        return;
    }
    put_pair(tensor, TENSOR_EXTERNAL, "location", location);
    snprintf(number, sizeof number, "%lld", (long long)offset);
    put_pair(tensor, TENSOR_EXTERNAL, "offset", number);
    snprintf(number, sizeof number, "%zu", data_bytes(value));
    put_pair(tensor, TENSOR_EXTERNAL, "length", number);
    put_int(tensor, TENSOR_LOCATION, 1);
}

/* Where the initializers go. */
struct layout {
    const char *location; /* name of the second file; NULL: there is none */
    int64_t *offsets;     /* of values in it; -1: in the first file */
    cr_text *heads;       /* of values: TensorProto without its data */
    size_t bytes;         /* of all initializers in the first file */
    size_t data_bytes;    /* of the second file */
};

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

static size_t inline_bytes(const struct layout *layout, const struct onnx_file *file, int v)
{
    return layout->offsets[v] < 0 ? data_bytes(&file->graph->values[v]) : 0;
}

static cr_status lay_out(struct layout *layout, const struct onnx_file *file, const bool *needed,
                         cr_onnx_report *report)
{
    const cr_onnx_graph *graph = file->graph;
    for (int v = 1; v < graph->value_count; v++) {
        const struct written_value *value = &graph->values[v];
        if (!is_initializer(graph, needed, v))
            continue;
        layout->offsets[v] = -1;
        if (layout->location && data_bytes(value) >= EXTERNAL_BYTES) {
            layout->offsets[v] = (int64_t)layout->data_bytes;
            layout->data_bytes += CR_DIV_UP(data_bytes(value), EXTERNAL_ALIGN) * EXTERNAL_ALIGN;
        }
        put_tensor_head(&layout->heads[v], value, layout->location, layout->offsets[v]);
        size_t length = layout->heads[v].length + inline_bytes(layout, file, v);
        layout->bytes += 1 + varint_size(length) + length;
        report->initializers++;
        if (cr_dtype_is_floating((cr_dtype)value->data->dtype))
            report->parameters += tensor_numel(value->data);
    }
    return cr_error_status();
}

static cr_status write_data(const struct layout *layout, const struct onnx_file *file,
                            const bool *needed, const char *path)
{
    static const char zeros[EXTERNAL_ALIGN];
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    for (int v = 1; v < file->graph->value_count; v++) {
        const struct written_value *value = &file->graph->values[v];
        if (!is_initializer(file->graph, needed, v) || layout->offsets[v] < 0)
            continue;
        size_t bytes = data_bytes(value), rest = bytes % EXTERNAL_ALIGN;
        cr_file_writer_write(writer, tensor_bytes(value->data), bytes);
        cr_file_writer_write(writer, zeros, rest ? EXTERNAL_ALIGN - rest : 0);
    }
    return cr_file_writer_finish(writer);
}

static void write_initializers(const struct layout *layout, const struct onnx_file *file,
                               const bool *needed, cr_file_writer *writer)
{
    for (int v = 1; v < file->graph->value_count; v++) {
        if (!is_initializer(file->graph, needed, v))
            continue;
        size_t bytes = inline_bytes(layout, file, v);
        cr_text key = { 0 };
        put_key(&key, GRAPH_INITIALIZER, LENGTH);
        put_varint(&key, layout->heads[v].length + bytes);
        cr_file_writer_write(writer, key.data, key.length);
        cr_file_writer_write(writer, layout->heads[v].data, layout->heads[v].length);
        cr_file_writer_write(writer, tensor_bytes(file->graph->values[v].data), bytes);
        cr_text_free(&key);
    }
}

/* ---- the file ---- */

static void put_graph(cr_text *text, struct onnx_file *file, const bool *needed,
                      cr_onnx_report *report)
{
    const cr_onnx_graph *graph = file->graph;
    for (int o = 0; o < graph->operator_count; o++) {
        if (graph->operators[o].is_removed)
            continue;
        put_operator(text, graph, &graph->operators[o]);
        report->operators++;
    }
    put_text(text, GRAPH_NAME, file->args->name ? file->args->name : "cresset");
    put_values(text, file, needed);
}

/* All of the model before the graph's fields, whose length this says. */
static void put_head(cr_text *text, const struct onnx_file *file, size_t graph_bytes)
{
    cr_text opset = { 0 };
    put_int(text, MODEL_IR, CR_ONNX_IR);
    put_text(text, MODEL_PRODUCER, "cresset");
    put_text(text, MODEL_VERSION, cr_version());
    put_int(&opset, 2, CR_ONNX_OPSET);
    put_message(text, MODEL_OPSET, &opset);
    for (int i = 0; i < file->args->metadata_count; i++)
        put_pair(text, MODEL_META, file->args->metadata[i].key, file->args->metadata[i].value);
    put_key(text, MODEL_GRAPH, LENGTH);
    put_varint(text, graph_bytes);
}

static cr_status write_model(const struct layout *layout, struct onnx_file *file,
                             const bool *needed, const char *path, cr_onnx_report *report)
{
    cr_text graph = { 0 }, head = { 0 };
    put_graph(&graph, file, needed, report);
    put_head(&head, file, graph.length + layout->bytes);
    cr_file_writer *writer = cr_failed() ? NULL : cr_file_writer_open(path);
    report->bytes = (int64_t)(head.length + graph.length + layout->bytes);
    if (writer) {
        cr_file_writer_write(writer, head.data, head.length);
        cr_file_writer_write(writer, graph.data, graph.length);
        write_initializers(layout, file, needed, writer);
        if (cr_failed())
            cr_file_writer_abandon(writer);
        else
            cr_file_writer_finish(writer);
    }
    cr_text_free(&head);
    cr_text_free(&graph);
    return cr_error_status();
}

/* Whether the weights need a file of their own. */
static bool is_external(const struct onnx_file *file, const bool *needed)
{
    size_t bytes = 0;
    for (int v = 1; v < file->graph->value_count; v++)
        bytes += is_initializer(file->graph, needed, v) ? data_bytes(&file->graph->values[v]) : 0;
    return file->args->external_data || bytes > MOST_BYTES;
}

static cr_status write_files(struct onnx_file *file, const bool *needed, const char *path,
                             cr_onnx_report *report)
{
    size_t count = (size_t)file->graph->value_count;
    struct layout layout = { .offsets = cr_alloc_zeroed(count, sizeof *layout.offsets),
                             .heads = cr_alloc_zeroed(count, sizeof *layout.heads) };
    char *data_path = cr_string_format("%s.data", path);
    const char *slash = data_path ? strrchr(data_path, '/') : NULL;
    if (layout.offsets && layout.heads && data_path) {
        if (is_external(file, needed))
            layout.location = slash ? slash + 1 : data_path;
        lay_out(&layout, file, needed, report);
        report->data_bytes = (int64_t)layout.data_bytes;
        if (!cr_failed() && layout.data_bytes > 0)
            write_data(&layout, file, needed, data_path);
        if (!cr_failed())
            write_model(&layout, file, needed, path, report);
    }
    for (size_t v = 0; v < count && layout.heads; v++)
        cr_text_free(&layout.heads[v]);
    cr_free(layout.heads);
    cr_free(layout.offsets);
    cr_free(data_path);
    return cr_error_status();
}

cr_status onnx_write(struct onnx_file *file, const char *path, cr_onnx_report *report)
{
    separate_outputs(file);
    bool *needed = cr_alloc_zeroed((size_t)file->graph->value_count + 1, sizeof *needed);
    if (needed && !cr_failed()) {
        find_needed(file, needed);
        if (name_all(file, needed) == CR_OK)
            write_files(file, needed, path, report);
    }
    cr_free(needed);
    return cr_error_status();
}
