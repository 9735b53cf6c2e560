/* Reads an ONNX file: the model, its graphs, nodes and attributes.
 *
 * Names are resolved to numbers of values while the nodes are read in their order, which checks at
 * once that a name is defined once and before it is used, in its graph or one around it. The data
 * of initializers stay in the file; only where they lie is checked. What is kept lives in blocks
 * that go with the model. What nodes do is left to the operators. */
#include <string.h>

#include "io/onnx/onnx.h"

#define FIRST_VALUES 64
#define FIELD_ROOM   32 /* fields of smaller numbers are counted */

/* ---- memory and words ---- */

#define BLOCK_BYTES ((size_t)32 << 10)

struct onnx_block {
    struct onnx_block *next;
    size_t used;
    size_t size;
    _Alignas(16) unsigned char bytes[];
};

void *onnx_keep(cr_onnx *onnx, size_t count, size_t size)
{
    size_t bytes;
    if (!cr_multiply_checked(count, size, &bytes) || bytes > PTRDIFF_MAX / 2) {
        cr_error_set(CR_ERROR_MEMORY, "%s: out of memory", onnx->source.path);
        return NULL;
    }
    bytes = (bytes + 15) & ~(size_t)15;
    struct onnx_block *block = onnx->blocks;
    if (!block || block->size - block->used < bytes) {
        size_t room = CR_MAX(bytes, BLOCK_BYTES);
        block = cr_alloc_zeroed(1, sizeof *block + room);
        if (!block)
            return NULL;
        block->size = room;
        block->next = onnx->blocks;
        onnx->blocks = block;
    }
    void *at = block->bytes + block->used;
    block->used += bytes;
    return at;
}

const char *onnx_show(const char *name, char text[ONNX_SHOWN])
{
    size_t length = strnlen(name, ONNX_SHOWN - 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    text[length] = '\0';
    return text;
}

static cr_status refuse(const cr_onnx *onnx, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s: %s", onnx->source.path, what);
}

static cr_status refuse_name(const cr_onnx *onnx, const char *before, const char *name,
                             const char *after)
{
    char shown[ONNX_SHOWN];
    return cr_error_set(CR_ERROR_FORMAT, "%s: %s \"%s\" %s", onnx->source.path, before,
                        onnx_show(name, shown), after);
}

/* The text of a field, terminated; NULL on failure. */
static const char *keep_text(cr_onnx *onnx, const struct wire_field *field)
{
    if (field->type != WIRE_BYTES) {
        refuse(onnx, "a text is a number: the file is damaged");
        return NULL;
    }
    size_t length = (size_t)(field->end - field->begin);
    char *text = onnx_keep(onnx, length + 1, 1);
    if (text && source_read(&onnx->source, field->begin, text, length) != CR_OK)
        return NULL;
    return text;
}

static const char *keep_name(cr_onnx *onnx, const struct wire_field *field)
{
    if (field->type == WIRE_BYTES && field->end - field->begin > ONNX_MAX_NAME) {
        cr_error_set(CR_ERROR_FORMAT, "%s: a name has over %d bytes", onnx->source.path,
                     ONNX_MAX_NAME);
        return NULL;
    }
    return keep_text(onnx, field);
}

static bool is_message(const cr_onnx *onnx, const struct wire_field *field)
{
    if (field->type == WIRE_BYTES)
        return true;
    refuse(onnx, "a number stands where a message should: the file is damaged");
    return false;
}

static cr_status count_fields(struct wire message, int64_t counts[FIELD_ROOM])
{
    memset(counts, 0, FIELD_ROOM * sizeof *counts);
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number < FIELD_ROOM)
            counts[field.number]++;
    }
    return cr_error_status();
}

/* ---- values: names by number ---- */

static unsigned bucket_of(const cr_onnx *onnx, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return (unsigned)((hash ^ hash >> 32) % (unsigned)onnx->bucket_count);
}

static cr_status grow_values(cr_onnx *onnx)
{
    int capacity = onnx->value_capacity ? 2 * onnx->value_capacity : FIRST_VALUES;
    if (capacity > INT32_MAX / 4)
        return refuse(onnx, "there are more values than can be numbered");
    struct onnx_value_record *values =
        cr_resize(onnx->values, (size_t)capacity, sizeof *onnx->values);
    if (!values)
        return cr_error_status();
    onnx->values = values;
    int *next = cr_resize(onnx->value_next, (size_t)capacity, sizeof *next);
    if (!next)
        return cr_error_status();
    onnx->value_next = next;
    int *buckets = cr_resize(onnx->buckets, (size_t)capacity, sizeof *buckets);
    if (!buckets)
        return cr_error_status();
    onnx->buckets = buckets;
    onnx->value_capacity = onnx->bucket_count = capacity;
    memset(buckets, 0xff, (size_t)capacity * sizeof *buckets);
    for (int i = 0; i < onnx->value_count; i++) {
        unsigned bucket = bucket_of(onnx, values[i].name);
        next[i] = buckets[bucket];
        buckets[bucket] = i;
    }
    return CR_OK;
}

/* A name as it is seen in a graph: its own or those around it. -1 if it is not defined. */
static int find_value(const cr_onnx *onnx, const struct onnx_graph *graph, const char *name)
{
    if (!onnx->bucket_count)
        return -1;
    for (int i = onnx->buckets[bucket_of(onnx, name)]; i >= 0; i = onnx->value_next[i]) {
        if (strcmp(onnx->values[i].name, name) != 0)
            continue;
        for (const struct onnx_graph *g = graph; g; g = g->parent) {
            if (g == onnx->values[i].graph)
                return i;
        }
    }
    return -1;
}

static int define_value(cr_onnx *onnx, struct onnx_graph *graph, const char *name, int node)
{
    if (find_value(onnx, graph, name) >= 0) {
        refuse_name(onnx, "the name", name, "is defined twice");
        return -1;
    }
    if (onnx->value_count == onnx->value_capacity && grow_values(onnx) != CR_OK)
        return -1;
    int number = onnx->value_count++;
    onnx->values[number] =
        (struct onnx_value_record){ .name = name, .graph = graph, .parameter = -1, .node = node };
    unsigned bucket = bucket_of(onnx, name);
    onnx->value_next[number] = onnx->buckets[bucket];
    onnx->buckets[bucket] = number;
    return number;
}

/* ---- types of inputs and outputs ---- */

static void read_dim(cr_onnx *onnx, struct wire message, int64_t *size, const char **name)
{
    struct wire_field field;
    *size = -1;
    while (wire_next(&message, &field)) {
        if (field.number == 1 && field.type == WIRE_VARINT)
            *size = (int64_t)field.value < 0 ? -1 : (int64_t)field.value;
        else if (field.number == 2)
            *name = keep_name(onnx, &field);
    }
}

static cr_status read_shape(cr_onnx *onnx, struct wire message, cr_onnx_port *port)
{
    struct wire_field field;
    port->has_shape = true;
    while (wire_next(&message, &field)) {
        if (field.number != 1 || !is_message(onnx, &field))
            continue;
        if (port->shape.ndim == CR_MAX_DIMS)
            return refuse_name(onnx, "the input or output", port->name,
                               "has more than 8 dimensions, which are not supported");
        int d = port->shape.ndim++;
        read_dim(onnx, wire_inside(&message, &field), &port->shape.dim[d], &port->dim_names[d]);
    }
    return cr_error_status();
}

static cr_status read_tensor_type(cr_onnx *onnx, struct wire message, cr_onnx_port *port)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == 1 && field.type == WIRE_VARINT) {
            const struct onnx_type_record *record = onnx_type_find((int)field.value);
            port->type = record ? record->word : field.value == 8 ? "string" : "unknown";
            port->has_dtype = record && !record->is_foreign;
            port->dtype = record ? record->dtype : CR_F32;
        } else if (field.number == 2 && is_message(onnx, &field)) {
            if (read_shape(onnx, wire_inside(&message, &field), port) != CR_OK)
                return cr_error_status();
        }
    }
    port->is_tensor = true;
    return cr_error_status();
}

static cr_status read_port(cr_onnx *onnx, struct wire message, cr_onnx_port *port)
{
    struct wire_field field, inner;
    *port = (cr_onnx_port){ .type = "unknown" };
    struct wire again = message;
    while (wire_next(&message, &field)) {
        if (field.number == 1)
            port->name = keep_name(onnx, &field);
    }
    if (cr_failed())
        return cr_error_status();
    if (!port->name || !port->name[0])
        return refuse(onnx, "an input or output has no name");
    while (wire_next(&again, &field)) {
        if (field.number != 2 || !is_message(onnx, &field))
            continue;
        struct wire type = wire_inside(&again, &field);
        while (wire_next(&type, &inner)) {
            if (inner.number == 1 && is_message(onnx, &inner))
                read_tensor_type(onnx, wire_inside(&type, &inner), port);
            else if (inner.number == 4)
                port->type = "sequence";
            else if (inner.number == 9)
                port->type = "optional";
        }
    }
    return cr_error_status();
}

/* ---- nodes ---- */

static cr_status read_graph(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                            cr_onnx_port **inputs, cr_onnx_port **outputs);

/* The numbers of a repeated field, floats or integers. */
static cr_status read_numbers(cr_onnx *onnx, struct wire message, uint32_t number,
                              enum wire_type type, struct onnx_attribute *attribute)
{
    struct wire_field field;
    int64_t count = 0;
    for (struct wire pass = message; wire_next(&pass, &field);) {
        if (field.number == number)
            count += wire_count(&pass, &field, type);
    }
    if (cr_failed())
        return cr_error_status();
    if (count > INT32_MAX)
        return refuse(onnx, "an attribute has too many numbers");
    float *floats = onnx_keep(onnx, (size_t)count, sizeof(int64_t));
    int64_t *ints = (int64_t *)(void *)floats;
    if (!floats)
        return cr_error_status();
    int at = 0;
    while (wire_next(&message, &field)) {
        if (field.number != number)
            continue;
        struct wire run = wire_inside(&message, &field);
        do {
            uint64_t value = field.value;
            if (field.type == WIRE_BYTES && (run.at >= run.end || !wire_number(&run, type, &value)))
                break;
            if (type == WIRE_VARINT)
                ints[at++] = (int64_t)value;
            else
                memcpy(&floats[at++], &(uint32_t){ (uint32_t)value }, sizeof *floats);
        } while (field.type == WIRE_BYTES && at < count);
    }
    attribute->floats = floats;
    attribute->ints = ints;
    attribute->count = at;
    return cr_error_status();
}

static cr_status read_strings(cr_onnx *onnx, struct wire message, int64_t count,
                              struct onnx_attribute *attribute)
{
    struct wire_field field;
    attribute->strings = onnx_keep(onnx, (size_t)count, sizeof *attribute->strings);
    while (attribute->strings && wire_next(&message, &field)) {
        if (field.number == 9)
            attribute->strings[attribute->count++] = keep_text(onnx, &field);
    }
    return cr_error_status();
}

static cr_status read_subgraph(cr_onnx *onnx, struct wire message, struct onnx_graph *parent,
                               struct onnx_attribute *attribute)
{
    if (parent->depth + 1 >= ONNX_MAX_DEPTH)
        return refuse(onnx, "graphs are nested too deep");
    attribute->g = onnx_keep(onnx, 1, sizeof *attribute->g);
    if (!attribute->g)
        return cr_error_status();
    attribute->g->parent = parent;
    attribute->g->depth = parent->depth + 1;
    cr_onnx_port *inputs, *outputs;
    return read_graph(onnx, message, attribute->g, &inputs, &outputs);
}

/* The type where the file, an old one, does not say it. */
static enum onnx_attribute_type guess_type(const int64_t counts[FIELD_ROOM])
{
    for (int number = 2; number <= 9; number++) {
        if (counts[number])
            return (enum onnx_attribute_type)(number - 1);
    }
    return ONNX_ATTRIBUTE_INTS;
}

static cr_status read_attribute(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                                struct onnx_attribute *attribute)
{
    int64_t counts[FIELD_ROOM];
    if (count_fields(message, counts) != CR_OK)
        return cr_error_status();
    struct wire_field field;
    *attribute = (struct onnx_attribute){ .name = "", .s = "" };
    attribute->type = guess_type(counts);
    for (struct wire pass = message; wire_next(&pass, &field);) {
        float f;
        memcpy(&f, &(uint32_t){ (uint32_t)field.value }, sizeof f);
        if (field.number == 1)
            attribute->name = keep_name(onnx, &field);
        else if (field.number == 2 && field.type == WIRE_FIXED32)
            attribute->f = (double)f;
        else if (field.number == 3 && field.type == WIRE_VARINT)
            attribute->i = (int64_t)field.value;
        else if (field.number == 4)
            attribute->s = keep_text(onnx, &field);
        else if (field.number == 20 && field.type == WIRE_VARINT)
            attribute->type = (enum onnx_attribute_type)field.value;
        else if (field.number == 21)
            return refuse(onnx, "an attribute refers to one of a function, outside of functions");
        else if (field.number == 5 && is_message(onnx, &field)) {
            attribute->t = onnx_keep(onnx, 1, sizeof *attribute->t);
            if (attribute->t)
                onnx_tensor_parse(onnx, wire_inside(&pass, &field), attribute->t);
        } else if (field.number == 6 && is_message(onnx, &field)) {
            read_subgraph(onnx, wire_inside(&pass, &field), graph, attribute);
        }
        if (cr_failed())
            return cr_error_status();
    }
    if (attribute->type == ONNX_ATTRIBUTE_FLOATS)
        return read_numbers(onnx, message, 7, WIRE_FIXED32, attribute);
    if (attribute->type == ONNX_ATTRIBUTE_INTS)
        return read_numbers(onnx, message, 8, WIRE_VARINT, attribute);
    if (attribute->type == ONNX_ATTRIBUTE_STRINGS)
        return read_strings(onnx, message, counts[9], attribute);
    return cr_error_status();
}

static int import_version(const cr_onnx *onnx, const char *domain)
{
    for (int i = 0; i < onnx->import_count; i++) {
        if (strcmp(onnx->imports[i].domain, domain) == 0)
            return onnx->imports[i].version;
    }
    return 1;
}

static bool is_constant(const struct onnx_node *node)
{
    return strcmp(node->type, "Constant") == 0 && !node->domain[0];
}

/* Remembers an operator that there is none of, once. */
static cr_status note_missing(cr_onnx *onnx, const struct onnx_node *node)
{
    char *name = onnx_keep(onnx, strlen(node->domain) + strlen(node->type) + 3, 1);
    if (!name)
        return cr_error_status();
    char *end = name;
    if (node->domain[0]) {
        end = (char *)memcpy(end, node->domain, strlen(node->domain)) + strlen(node->domain);
        *end++ = '.';
    }
    memcpy(end, node->type, strlen(node->type) + 1);
    for (int i = 0; i < onnx->missing_count; i++) {
        if (strcmp(onnx->missing[i], name) == 0)
            return CR_OK;
    }
    if (onnx->missing_count < ONNX_MAX_MISSING)
        onnx->missing[onnx->missing_count++] = name;
    return CR_OK;
}

/* Name, operator and domain, and the graphs and numbers of the attributes. */
static cr_status read_node_parts(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                                 struct onnx_node *node)
{
    struct wire_field field;
    node->name = node->type = node->domain = "";
    for (struct wire pass = message; wire_next(&pass, &field);) {
        if (field.number == 3)
            node->name = keep_name(onnx, &field);
        else if (field.number == 4)
            node->type = keep_name(onnx, &field);
        else if (field.number == 7)
            node->domain = keep_name(onnx, &field);
    }
    if (cr_failed())
        return cr_error_status();
    if (strcmp(node->domain, "ai.onnx") == 0)
        node->domain = "";
    node->version = import_version(onnx, node->domain);
    node->op = onnx_operator_find(node->domain, node->type);
    if (!node->op && !is_constant(node) && note_missing(onnx, node) != CR_OK)
        return cr_error_status();
    while (wire_next(&message, &field)) {
        if (field.number == 5 && is_message(onnx, &field) &&
            read_attribute(onnx, wire_inside(&message, &field), graph,
                           &node->attributes[node->attribute_count]) == CR_OK)
            node->attribute_count++;
    }
    return cr_error_status();
}

static cr_status use_input(cr_onnx *onnx, const struct onnx_graph *graph, struct onnx_node *node,
                           const char *name)
{
    int value = name[0] ? find_value(onnx, graph, name) : -1;
    char shown[2][ONNX_SHOWN];
    if (name[0] && value < 0)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s: the node \"%s\" (%s) reads \"%s\", which nothing before it makes",
                            onnx->source.path, onnx_show(node->name, shown[0]), node->type,
                            onnx_show(name, shown[1]));
    node->inputs[node->input_count++] = value;
    return CR_OK;
}

static cr_status read_node(cr_onnx *onnx, struct wire message, struct onnx_graph *graph, int index)
{
    struct onnx_node *node = &graph->nodes[index];
    int64_t counts[FIELD_ROOM];
    if (count_fields(message, counts) != CR_OK)
        return cr_error_status();
    if (counts[2] == 0)
        return refuse(onnx, "a node has no outputs");
    if (counts[1] > ONNX_MAX_PORTS || counts[2] > ONNX_MAX_PORTS || counts[5] > ONNX_MAX_PORTS)
        return refuse(onnx, "a node has too many inputs, outputs or attributes");
    node->inputs = onnx_keep(onnx, (size_t)counts[1], sizeof *node->inputs);
    node->outputs = onnx_keep(onnx, (size_t)counts[2], sizeof *node->outputs);
    node->attributes = onnx_keep(onnx, (size_t)counts[5], sizeof *node->attributes);
    if (cr_failed() || read_node_parts(onnx, message, graph, node) != CR_OK)
        return cr_error_status();
    struct wire_field field;
    for (struct wire pass = message; wire_next(&pass, &field);) {
        const char *name = field.number == 1 ? keep_name(onnx, &field) : NULL;
        if (name && use_input(onnx, graph, node, name) != CR_OK)
            return cr_error_status();
    }
    while (wire_next(&message, &field)) {
        const char *name = field.number == 2 ? keep_name(onnx, &field) : NULL;
        if (name)
            node->outputs[node->output_count++] =
                name[0] ? define_value(onnx, graph, name, index) : -1;
    }
    return cr_error_status();
}

/* ---- constants ---- */

/* The tensor of a Constant node. */
static cr_tensor *constant_of(cr_onnx *onnx, const struct onnx_node *node, int *type)
{
    for (int i = 0; i < node->attribute_count; i++) {
        const struct onnx_attribute *a = &node->attributes[i];
        if (strcmp(a->name, "value") == 0 && a->t) {
            *type = a->t->type;
            return onnx_tensor_load(onnx, a->t);
        }
        float f = (float)a->f;
        if (strcmp(a->name, "value_float") == 0)
            return cr_from_buffer(&f, cr_shape_scalar(), CR_F32);
        if (strcmp(a->name, "value_int") == 0)
            return cr_from_buffer(&a->i, cr_shape_scalar(), CR_I64);
        if (strcmp(a->name, "value_floats") == 0 && a->floats)
            return cr_from_buffer(a->floats, CR_SHAPE(a->count), CR_F32);
        if (strcmp(a->name, "value_ints") == 0 && a->ints)
            return cr_from_buffer(a->ints, CR_SHAPE(a->count), CR_I64);
    }
    refuse_name(onnx, "the constant", node->name, "has no value that is supported");
    return NULL;
}

static cr_status keep_constant(cr_onnx *onnx, const struct onnx_node *node)
{
    cr_frame frame = cr_frame_begin();
    int type = 0;
    cr_tensor *tensor = constant_of(onnx, node, &type);
    if (tensor && node->output_count == 1 && node->outputs[0] >= 0) {
        struct onnx_value_record *value = &onnx->values[node->outputs[0]];
        value->constant = cr_retain(tensor);
        value->constant_type = type;
        value->node = -1;
    }
    cr_frame_end(frame);
    return cr_error_status();
}

/* ---- graphs ---- */

static cr_status read_initializers(cr_onnx *onnx, struct wire message, struct onnx_graph *graph)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == 15)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "%s: it has sparse initializers, which are not supported",
                                onnx->source.path);
        if (field.number != 5 || !is_message(onnx, &field))
            continue;
        struct onnx_tensor *tensor = onnx_keep(onnx, 1, sizeof *tensor);
        if (!tensor || onnx_tensor_parse(onnx, wire_inside(&message, &field), tensor) != CR_OK)
            return cr_error_status();
        if (!tensor->name[0])
            return refuse(onnx, "an initializer has no name");
        int value = define_value(onnx, graph, tensor->name, -1);
        if (value < 0)
            return cr_error_status();
        onnx->values[value].initializer = tensor;
    }
    return cr_error_status();
}

/* Inputs that an initializer gives are none. */
static cr_status read_inputs(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                             cr_onnx_port *ports)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number != 11 || !is_message(onnx, &field))
            continue;
        cr_onnx_port *port = &ports[graph->input_count];
        if (read_port(onnx, wire_inside(&message, &field), port) != CR_OK)
            return cr_error_status();
        int value = find_value(onnx, graph, port->name);
        if (value >= 0 && onnx->values[value].graph == graph && onnx->values[value].initializer)
            continue;
        graph->inputs[graph->input_count++] = define_value(onnx, graph, port->name, -1);
    }
    return cr_error_status();
}

static cr_status read_outputs(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                              cr_onnx_port *ports)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number != 12 || !is_message(onnx, &field))
            continue;
        cr_onnx_port *port = &ports[graph->output_count];
        if (read_port(onnx, wire_inside(&message, &field), port) != CR_OK)
            return cr_error_status();
        int value = find_value(onnx, graph, port->name);
        if (value < 0)
            return refuse_name(onnx, "the output", port->name, "is made by no node");
        graph->outputs[graph->output_count++] = value;
    }
    return cr_error_status();
}

/* A copy of an initializer is one of its own: exporters write equal weights once, and what is equal
 * at first is not so after training. */
static bool copies_initializer(cr_onnx *onnx, const struct onnx_node *node)
{
    if (strcmp(node->type, "Identity") != 0 || node->domain[0] || node->input_count != 1 ||
        node->output_count != 1 || node->inputs[0] < 0 || node->outputs[0] < 0)
        return false;
    const struct onnx_tensor *original = onnx->values[node->inputs[0]].initializer;
    struct onnx_tensor *copy = original ? onnx_keep(onnx, 1, sizeof *copy) : NULL;
    if (!copy)
        return false;
    struct onnx_value_record *value = &onnx->values[node->outputs[0]];
    *copy = *original;
    copy->name = value->name;
    value->initializer = copy;
    value->node = -1;
    return true;
}

static cr_status read_nodes(cr_onnx *onnx, struct wire message, struct onnx_graph *graph)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number != 1 || !is_message(onnx, &field))
            continue;
        struct onnx_node *node = &graph->nodes[graph->node_count];
        if (read_node(onnx, wire_inside(&message, &field), graph, graph->node_count) != CR_OK)
            return cr_error_status();
        if (is_constant(node)) {
            if (keep_constant(onnx, node) != CR_OK)
                return cr_error_status();
            *node = (struct onnx_node){ 0 };
        } else if (copies_initializer(onnx, node)) {
            *node = (struct onnx_node){ 0 };
        } else {
            graph->node_count++;
        }
    }
    return cr_error_status();
}

/* Marks what a node reads, in graphs of its own too, and lists what is read for the last time. */
static void note_uses(const cr_onnx *onnx, const struct onnx_graph *graph,
                      const struct onnx_node *reader, struct onnx_node *node, char *seen)
{
    for (int i = 0; i < reader->input_count; i++) {
        int value = reader->inputs[i];
        if (value < 0 || seen[value] || onnx->values[value].graph != graph)
            continue;
        seen[value] = 1;
        node->releases[node->release_count++] = value;
    }
    for (int a = 0; a < reader->attribute_count; a++) {
        const struct onnx_graph *inner = reader->attributes[a].g;
        for (int i = 0; inner && i < inner->node_count; i++)
            note_uses(onnx, graph, &inner->nodes[i], node, seen);
        for (int i = 0; inner && i < inner->output_count; i++) {
            int value = inner->outputs[i];
            if (seen[value] || onnx->values[value].graph != graph)
                continue;
            seen[value] = 1;
            node->releases[node->release_count++] = value;
        }
    }
}

static int64_t count_uses(const struct onnx_node *node)
{
    int64_t count = node->input_count;
    for (int a = 0; a < node->attribute_count; a++) {
        const struct onnx_graph *inner = node->attributes[a].g;
        for (int i = 0; inner && i < inner->node_count; i++)
            count += count_uses(&inner->nodes[i]);
        count += inner ? inner->output_count : 0;
    }
    return count;
}

/* From the last node to the first: what was not seen yet is read for the last time. What a node
 * gives and nobody reads is let go by the node itself. */
static cr_status plan_releases(cr_onnx *onnx, struct onnx_graph *graph)
{
    char *seen = cr_alloc_zeroed((size_t)onnx->value_count + 1, 1);
    if (!seen)
        return cr_error_status();
    for (int i = 0; i < graph->output_count; i++)
        seen[graph->outputs[i]] = 1;
    for (int n = graph->node_count - 1; n >= 0 && !cr_failed(); n--) {
        struct onnx_node *node = &graph->nodes[n];
        size_t room = (size_t)(count_uses(node) + node->output_count);
        node->releases = onnx_keep(onnx, room, sizeof *node->releases);
        if (!node->releases)
            break;
        for (int i = 0; i < node->output_count; i++) {
            int value = node->outputs[i];
            if (value >= 0 && !seen[value])
                node->releases[node->release_count++] = value;
        }
        note_uses(onnx, graph, node, node, seen);
    }
    cr_free(seen);
    return cr_error_status();
}

static cr_status read_graph(cr_onnx *onnx, struct wire message, struct onnx_graph *graph,
                            cr_onnx_port **inputs, cr_onnx_port **outputs)
{
    int64_t counts[FIELD_ROOM];
    if (count_fields(message, counts) != CR_OK)
        return cr_error_status();
    if (counts[11] > ONNX_MAX_PORTS || counts[12] > ONNX_MAX_PORTS)
        return refuse(onnx, "a graph has too many inputs or outputs");
    onnx->node_count += counts[1];
    if (onnx->node_count > ONNX_MAX_NODES)
        return cr_error_set(CR_ERROR_FORMAT, "%s has over %d nodes", onnx->source.path,
                            ONNX_MAX_NODES);
    graph->nodes = onnx_keep(onnx, (size_t)counts[1], sizeof *graph->nodes);
    graph->inputs = onnx_keep(onnx, (size_t)counts[11], sizeof *graph->inputs);
    graph->outputs = onnx_keep(onnx, (size_t)counts[12], sizeof *graph->outputs);
    *inputs = onnx_keep(onnx, (size_t)counts[11], sizeof **inputs);
    *outputs = onnx_keep(onnx, (size_t)counts[12], sizeof **outputs);
    if (cr_failed() || read_initializers(onnx, message, graph) != CR_OK ||
        read_inputs(onnx, message, graph, *inputs) != CR_OK ||
        read_nodes(onnx, message, graph) != CR_OK ||
        read_outputs(onnx, message, graph, *outputs) != CR_OK)
        return cr_error_status();
    return plan_releases(onnx, graph);
}

/* ---- the model ---- */

static cr_status read_import(cr_onnx *onnx, struct wire message)
{
    struct wire_field field;
    const char *domain = "";
    uint64_t version = 0;
    while (wire_next(&message, &field)) {
        if (field.number == 1)
            domain = keep_name(onnx, &field);
        else if (field.number == 2 && field.type == WIRE_VARINT)
            version = field.value;
    }
    if (cr_failed())
        return cr_error_status();
    if (strcmp(domain, "ai.onnx") == 0)
        domain = "";
    if (!domain[0] && (version < ONNX_OLDEST || version > ONNX_NEWEST))
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s uses operator set %llu, and %d to %d are supported; export it at "
                            "opset 17",
                            onnx->source.path, (unsigned long long)version, ONNX_OLDEST,
                            ONNX_NEWEST);
    if (onnx->import_count == CR_COUNT_OF(onnx->imports))
        return refuse(onnx, "it imports too many operator sets");
    onnx->imports[onnx->import_count].domain = domain;
    onnx->imports[onnx->import_count++].version = (int)CR_MIN(version, 1000);
    if (!domain[0])
        onnx->opset = (int)version;
    return CR_OK;
}

static cr_status read_property(cr_onnx *onnx, struct wire message, cr_string_pair *pair)
{
    struct wire_field field;
    pair->key = pair->value = "";
    while (wire_next(&message, &field)) {
        if (field.number == 1)
            pair->key = keep_text(onnx, &field);
        else if (field.number == 2)
            pair->value = keep_text(onnx, &field);
    }
    return cr_error_status();
}

static cr_status read_model_fields(cr_onnx *onnx, struct wire message)
{
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number == 1 && field.type == WIRE_VARINT)
            onnx->ir_version = (int64_t)field.value;
        else if (field.number == 2)
            onnx->producer_name = keep_text(onnx, &field);
        else if (field.number == 3)
            onnx->producer_version = keep_text(onnx, &field);
        else if (field.number == 7 && is_message(onnx, &field))
            onnx->graph_message = wire_inside(&message, &field);
        else if (field.number == 8 && is_message(onnx, &field))
            read_import(onnx, wire_inside(&message, &field));
        else if (field.number == 14 && is_message(onnx, &field))
            read_property(onnx, wire_inside(&message, &field),
                          &onnx->metadata[onnx->metadata_count++]);
    }
    return cr_error_status();
}

static cr_status refuse_missing(const cr_onnx *onnx)
{
    cr_text names = { 0 };
    for (int i = 0; i < onnx->missing_count; i++) {
        char shown[ONNX_SHOWN];
        cr_text_printf(&names, "%s%s", i ? ", " : "", onnx_show(onnx->missing[i], shown));
    }
    bool more = onnx->missing_count == ONNX_MAX_MISSING;
    cr_error_set(CR_ERROR_UNSUPPORTED, "%s cannot be run: it uses %s that %s not supported: %s%s",
                 onnx->source.path, onnx->missing_count == 1 ? "an operator" : "operators",
                 onnx->missing_count == 1 ? "is" : "are", names.data, more ? " …" : "");
    cr_text_free(&names);
    return cr_error_status();
}

static cr_status read_model(cr_onnx *onnx)
{
    static _Atomic uint64_t serials;
    struct wire message = { &onnx->source, 0, onnx->source.size };
    int64_t counts[FIELD_ROOM];
    onnx->serial = ++serials;
    onnx->producer_name = onnx->producer_version = "";
    if (count_fields(message, counts) != CR_OK)
        return cr_error_status();
    if (counts[7] != 1 || !counts[8])
        return refuse(onnx, "it is not an ONNX file: it has no graph, or no operator set");
    onnx->metadata = onnx_keep(onnx, (size_t)counts[14], sizeof *onnx->metadata);
    onnx->graph = onnx_keep(onnx, 1, sizeof *onnx->graph);
    if (cr_failed() || read_model_fields(onnx, message) != CR_OK)
        return cr_error_status();
    if (read_graph(onnx, onnx->graph_message, onnx->graph, &onnx->inputs, &onnx->outputs) != CR_OK)
        return cr_error_status();
    if (onnx->missing_count)
        return refuse_missing(onnx);
    return onnx_choose_parameters(onnx) == CR_OK ? onnx_find_head(onnx) : cr_error_status();
}

static cr_onnx *finish_open(cr_onnx *onnx)
{
    if (!cr_failed() && read_model(onnx) == CR_OK)
        return onnx;
    cr_onnx_close(onnx);
    return NULL;
}

static cr_onnx *onnx_new(void)
{
    cr_onnx *onnx = cr_failed() ? NULL : cr_alloc_zeroed(1, sizeof *onnx);
    if (onnx)
        onnx->source.descriptor = -1;
    return onnx;
}

cr_onnx *cr_onnx_open(const char *path)
{
    cr_onnx *onnx = onnx_new();
    if (!onnx)
        return NULL;
    source_open(&onnx->source, path);
    return finish_open(onnx);
}

cr_onnx *cr_onnx_open_memory(const void *data, size_t size, const char *name)
{
    cr_onnx *onnx = onnx_new();
    if (!onnx)
        return NULL;
    source_open_memory(&onnx->source, data, size, name);
    return finish_open(onnx);
}

cr_onnx *cr_onnx_open_graph(const void *data, size_t size, const char *name)
{
    cr_onnx *onnx = onnx_new();
    if (!onnx)
        return NULL;
    onnx->weights_absent = true;
    source_open_memory(&onnx->source, data, size, name);
    return finish_open(onnx);
}

void cr_onnx_close(cr_onnx *onnx)
{
    if (!onnx)
        return;
    for (int i = 0; i < onnx->value_count; i++)
        cr_release(onnx->values[i].constant);
    cr_free(onnx->values);
    cr_free(onnx->value_next);
    cr_free(onnx->buckets);
    for (struct onnx_external *external = onnx->externals; external; external = external->next)
        source_close(&external->source);
    for (struct onnx_block *block = onnx->blocks; block;) {
        struct onnx_block *next = block->next;
        cr_free(block);
        block = next;
    }
    source_close(&onnx->source);
    cr_free(onnx);
}

/* ---- what it is ---- */

int cr_onnx_input_count(const cr_onnx *onnx)
{
    return onnx->graph->input_count;
}

int cr_onnx_output_count(const cr_onnx *onnx)
{
    return onnx->graph->output_count;
}

cr_onnx_port cr_onnx_input(const cr_onnx *onnx, int index)
{
    return onnx->inputs[index];
}

cr_onnx_port cr_onnx_output(const cr_onnx *onnx, int index)
{
    return onnx->outputs[index];
}

const char *cr_onnx_path(const cr_onnx *onnx)
{
    return onnx->source.path;
}

int64_t cr_onnx_ir_version(const cr_onnx *onnx)
{
    return onnx->ir_version;
}

int cr_onnx_opset(const cr_onnx *onnx)
{
    return onnx->opset;
}

const char *cr_onnx_producer(const cr_onnx *onnx)
{
    return onnx->producer_name;
}

const char *cr_onnx_producer_version(const cr_onnx *onnx)
{
    return onnx->producer_version;
}

int64_t cr_onnx_node_count(const cr_onnx *onnx)
{
    return onnx->node_count;
}

int cr_onnx_metadata_count(const cr_onnx *onnx)
{
    return onnx->metadata_count;
}

cr_string_pair cr_onnx_metadata_at(const cr_onnx *onnx, int index)
{
    return onnx->metadata[index];
}

const char *cr_onnx_metadata(const cr_onnx *onnx, const char *key)
{
    for (int i = 0; i < onnx->metadata_count; i++) {
        if (strcmp(onnx->metadata[i].key, key) == 0)
            return onnx->metadata[i].value;
    }
    return NULL;
}
