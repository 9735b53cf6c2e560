/* Graphs as lists: values, nodes, and what passes do with them.
 *
 * A node refers to values by number, and a value to the node that makes it; whatever moves either
 * keeps both right. Nothing here knows what an op means. */
#include "graph/graph.h"

#include <string.h>

/* ---- for a batch size ---- */

cr_shape graph_shape(const struct graph_value *value, int64_t n)
{
    cr_shape shape = value->shape;
    for (int d = 0; d < shape.ndim; d++)
        shape.dim[d] += value->factor.dim[d] * n;
    return shape;
}

bool graph_is_fixed(const struct graph_value *value)
{
    for (int d = 0; d < value->shape.ndim; d++) {
        if (value->factor.dim[d])
            return false;
    }
    return true;
}

static int64_t *integer_at(const cr_op *op, void *attributes, const struct graph_symbol *symbol)
{
    const cr_attribute *row = &op->attributes[symbol->attribute];
    void *at = (char *)attributes + row->offset;
    return row->kind == CR_ATTRIBUTE_INTS ? &((cr_shape *)at)->dim[symbol->element] : at;
}

void graph_attributes(const struct graph_node *node, int64_t n, void *to)
{
    if (node->op->attribute_size)
        memcpy(to, node->attributes, node->op->attribute_size);
    for (int i = 0; i < node->symbol_count; i++) {
        const struct graph_symbol *symbol = &node->symbols[i];
        *integer_at(node->op, to, symbol) = symbol->base + symbol->factor * n;
    }
}

bool graph_solve(const int64_t at[3], int64_t *base, int64_t *factor)
{
    *factor = at[1] - at[0];
    *base = at[0] - 2 * *factor;
    return *base + 5 * *factor == at[2];
}

static cr_status refuse_shape(const struct graph_value *value, const cr_tensor *tensor, int64_t n)
{
    char is[CR_SHAPE_TEXT], wanted[CR_SHAPE_TEXT];
    cr_shape shape = graph_shape(value, n);
    return cr_error_set(
        CR_ERROR_SHAPE, "the input %s has shape %s (%s), but the graph was made for %s (%s)",
        value->name, cr_shape_format(&tensor->shape, is, sizeof is),
        cr_dtype_name((cr_dtype)tensor->dtype), cr_shape_format(&shape, wanted, sizeof wanted),
        cr_dtype_name(value->dtype));
}

/* What N must be by one input; -1 if the input does not say. */
static int64_t batch_by(const struct graph_value *value, const cr_tensor *tensor)
{
    for (int d = 0; d < value->shape.ndim && d < tensor->shape.ndim; d++) {
        if (value->factor.dim[d])
            return (tensor->shape.dim[d] - value->shape.dim[d]) / value->factor.dim[d];
    }
    return -1;
}

int64_t graph_batch(const cr_graph *graph, cr_tensor *const *inputs)
{
    int64_t n = -1;
    for (int i = 0; i < graph->input_count && n < 0; i++) {
        if (!inputs[i]) {
            cr_error_set(CR_ERROR_ARGUMENT, "input %d of the graph is NULL", i);
            return -1;
        }
        n = batch_by(&graph->values[graph->inputs[i]], inputs[i]);
    }
    n = n < 0 ? 1 : n;
    for (int i = 0; i < graph->input_count; i++) {
        const struct graph_value *value = &graph->values[graph->inputs[i]];
        cr_shape shape = graph_shape(value, n);
        if (!inputs[i] || !cr_shape_equal(&shape, &inputs[i]->shape) ||
            inputs[i]->dtype != (uint8_t)value->dtype || inputs[i]->device != CR_CPU) {
            if (inputs[i])
                refuse_shape(value, inputs[i], n);
            else
                cr_error_set(CR_ERROR_ARGUMENT, "input %d of the graph is NULL", i);
            return -1;
        }
    }
    return n;
}

/* ---- attributes by name ---- */

int graph_attribute(const cr_op *op, const char *name)
{
    for (int i = 0; op->attributes && op->attributes[i].name; i++) {
        if (strcmp(op->attributes[i].name, name) == 0)
            return i;
    }
    return -1;
}

static const void *attribute_of(const struct graph_node *node, const char *name)
{
    int row = graph_attribute(node->op, name);
    return row < 0 ? NULL : (const char *)node->attributes + node->op->attributes[row].offset;
}

int64_t graph_int(const struct graph_node *node, const char *name)
{
    int row = graph_attribute(node->op, name);
    const void *at = attribute_of(node, name);
    if (!at)
        return 0;
    switch (node->op->attributes[row].kind) {
    case CR_ATTRIBUTE_INT:
        return *(const int64_t *)at;
    case CR_ATTRIBUTE_ENUM:
        return *(const int *)at;
    case CR_ATTRIBUTE_BOOL:
        return *(const bool *)at;
    default:
        return 0;
    }
}

double graph_float(const struct graph_node *node, const char *name)
{
    const double *at = attribute_of(node, name);
    return at ? *at : 0;
}

cr_shape graph_ints(const struct graph_node *node, const char *name)
{
    const cr_shape *at = attribute_of(node, name);
    return at ? *at : (cr_shape){ 0 };
}

bool graph_has_symbol(const struct graph_node *node, const char *name)
{
    int row = graph_attribute(node->op, name);
    for (int i = 0; i < node->symbol_count; i++) {
        if (node->symbols[i].attribute == row)
            return true;
    }
    return false;
}

static void *attribute_in(const cr_op *op, void *attributes, const char *name,
                          cr_attribute_kind *kind)
{
    int row = graph_attribute(op, name);
    if (row < 0)
        return NULL;
    *kind = op->attributes[row].kind;
    return (char *)attributes + op->attributes[row].offset;
}

void graph_set_int(const cr_op *op, void *attributes, const char *name, int64_t value)
{
    cr_attribute_kind kind;
    void *at = attribute_in(op, attributes, name, &kind);
    if (!at)
        return;
    if (kind == CR_ATTRIBUTE_INT)
        *(int64_t *)at = value;
    else if (kind == CR_ATTRIBUTE_ENUM)
        *(int *)at = (int)value;
    else if (kind == CR_ATTRIBUTE_BOOL)
        *(bool *)at = value != 0;
}

void graph_set_float(const cr_op *op, void *attributes, const char *name, double value)
{
    cr_attribute_kind kind;
    double *at = attribute_in(op, attributes, name, &kind);
    if (at)
        *at = value;
}

void graph_set_ints(const cr_op *op, void *attributes, const char *name, const cr_shape *value)
{
    cr_attribute_kind kind;
    cr_shape *at = attribute_in(op, attributes, name, &kind);
    if (at)
        *at = *value;
}

bool graph_is(const struct graph_node *node, const char *op)
{
    return strcmp(node->op->name, op) == 0;
}

/* ---- making and freeing ---- */

cr_graph *graph_new(void)
{
    return cr_alloc_zeroed(1, sizeof(cr_graph));
}

static void node_clear(struct graph_node *node)
{
    cr_free(node->attributes);
    cr_free(node->inputs);
    cr_free(node->symbols);
    cr_free(node->scope);
    *node = (struct graph_node){ 0 };
}

static void value_clear(struct graph_value *value)
{
    cr_release(value->data);
    cr_free(value->name);
    *value = (struct graph_value){ 0 };
}

void cr_graph_free(cr_graph *graph)
{
    if (!graph)
        return;
    for (int i = 0; i < graph->node_count; i++)
        node_clear(&graph->nodes[i]);
    for (int i = 0; i < graph->value_count; i++)
        value_clear(&graph->values[i]);
    cr_free(graph->nodes);
    cr_free(graph->values);
    cr_free(graph);
}

/* Room for one element more in a list. */
static bool grow(void *list, int count, int *capacity, size_t size)
{
    void **block = list;
    if (count < *capacity)
        return true;
    int larger = *capacity ? 2 * *capacity : 64;
    void *grown = cr_resize(*block, (size_t)larger, size);
    if (!grown)
        return false;
    *block = grown;
    *capacity = larger;
    return true;
}

int graph_add_value(cr_graph *graph, const char *name, cr_dtype dtype, const cr_shape *shape,
                    const cr_shape *factor)
{
    if (!grow(&graph->values, graph->value_count, &graph->value_capacity, sizeof *graph->values))
        return -1;
    struct graph_value *value = &graph->values[graph->value_count];
    *value = (struct graph_value){ .dtype = dtype, .shape = *shape, .node = -1 };
    value->factor.ndim = shape->ndim;
    if (factor)
        value->factor = *factor;
    if (name) {
        value->name = cr_string_copy(name);
        if (!value->name)
            return -1;
    }
    return graph->value_count++;
}

int graph_add_constant(cr_graph *graph, const char *name, cr_tensor *data)
{
    int value = graph_add_value(graph, name, (cr_dtype)data->dtype, &data->shape, NULL);
    if (value >= 0)
        graph->values[value].data = cr_retain(data);
    return value;
}

/* ---- nodes ---- */

static void *copy_of(const void *from, size_t count, size_t size)
{
    void *copy = cr_alloc_array(count ? count : 1, size);
    if (copy && count)
        memcpy(copy, from, count * size);
    return copy;
}

static bool node_fill(struct graph_node *node, const struct graph_node *from)
{
    *node = *from;
    node->attributes = copy_of(from->attributes, from->op->attribute_size, 1);
    node->inputs = copy_of(from->inputs, (size_t)from->input_count, sizeof *node->inputs);
    node->symbols = copy_of(from->symbols, (size_t)from->symbol_count, sizeof *node->symbols);
    node->scope = cr_string_copy(from->scope ? from->scope : "");
    if (node->attributes && node->inputs && node->symbols && node->scope)
        return true;
    node_clear(node);
    return false;
}

/* An input as infer sees it for N: a constant itself, else a tensor without data. Owned. */
static cr_tensor *stand_in(const cr_graph *graph, int value, int64_t n)
{
    if (value < 0)
        return NULL;
    const struct graph_value *own = &graph->values[value];
    if (own->data)
        return cr_retain(own->data);
    cr_shape shape = graph_shape(own, n);
    return tensor_new_owned(CR_META, own->dtype, &shape);
}

/* What the outputs of a node are for N. */
static cr_status infer_node(const cr_graph *graph, const struct graph_node *node, int64_t n,
                            cr_tensor_spec *outputs)
{
    cr_infer_call call = { .op = node->op, .input_count = node->input_count };
    void *attributes = cr_alloc(node->op->attribute_size);
    cr_tensor **inputs = cr_alloc_zeroed((size_t)node->input_count + 1, sizeof *inputs);
    cr_status status = attributes && inputs ? CR_OK : CR_ERROR_MEMORY;
    for (int i = 0; i < node->input_count && status == CR_OK; i++) {
        inputs[i] = stand_in(graph, node->inputs[i], n);
        status = inputs[i] || node->inputs[i] < 0 ? CR_OK : cr_error_status();
    }
    if (status == CR_OK) {
        graph_attributes(node, n, attributes);
        call.attributes = attributes;
        call.inputs = inputs;
        status = node->op->infer(&call);
        memcpy(outputs, call.outputs, sizeof call.outputs);
    }
    for (int i = 0; inputs && i < node->input_count; i++)
        cr_release(inputs[i]);
    cr_free(inputs);
    cr_free(attributes);
    return status;
}

/* Makes the values that a node gives, from what infer says of them for three batch sizes. */
static cr_status add_outputs(cr_graph *graph, struct graph_node *node)
{
    static const int64_t sizes[3] = { 2, 3, 5 };
    cr_tensor_spec specs[3][CR_MAX_OUTPUTS];
    for (int i = 0; i < 3; i++) {
        if (infer_node(graph, node, sizes[i], specs[i]) != CR_OK)
            return cr_error_status();
    }
    for (int o = 0; o < node->output_count; o++) {
        cr_shape shape = specs[0][o].shape, factor = { .ndim = shape.ndim };
        for (int d = 0; d < shape.ndim; d++) {
            int64_t at[3] = { specs[0][o].shape.dim[d], specs[1][o].shape.dim[d],
                              specs[2][o].shape.dim[d] };
            if (!graph_solve(at, &shape.dim[d], &factor.dim[d]))
                return cr_error_set(CR_ERROR_SHAPE,
                                    "%s: its result is no function of the batch "
                                    "size",
                                    node->op->name);
        }
        node->outputs[o] = graph_add_value(graph, NULL, specs[0][o].dtype, &shape, &factor);
        if (node->outputs[o] < 0)
            return cr_error_status();
    }
    return CR_OK;
}

int graph_insert(cr_graph *graph, int at, const cr_op *op, const void *attributes,
                 const struct graph_symbol *symbols, int symbol_count, const int *inputs,
                 int input_count, const char *scope)
{
    struct graph_node node, given = { .op = op,
                                      .attributes = (void *)(uintptr_t)attributes,
                                      .symbols = (struct graph_symbol *)(uintptr_t)symbols,
                                      .symbol_count = symbol_count,
                                      .inputs = (int *)(uintptr_t)inputs,
                                      .input_count = input_count,
                                      .output_count = op->output_count ? op->output_count : 1,
                                      .scope = (char *)(uintptr_t)scope };
    if (!grow(&graph->nodes, graph->node_count, &graph->node_capacity, sizeof *graph->nodes) ||
        !node_fill(&node, &given))
        return -1;
    if (add_outputs(graph, &node) != CR_OK) {
        node_clear(&node);
        return -1;
    }
    memmove(&graph->nodes[at + 1], &graph->nodes[at],
            (size_t)(graph->node_count - at) * sizeof *graph->nodes);
    graph->nodes[at] = node;
    graph->node_count++;
    for (int i = 0; i < graph->value_count; i++)
        graph->values[i].node += graph->values[i].node >= at;
    for (int o = 0; o < node.output_count; o++) {
        graph->values[node.outputs[o]].node = at;
        graph->values[node.outputs[o]].output = o;
    }
    return node.outputs[0];
}

/* ---- copying ---- */

static bool copy_lists(cr_graph *copy, const cr_graph *graph)
{
    for (int i = 0; i < graph->value_count; i++) {
        const struct graph_value *from = &graph->values[i];
        int value = graph_add_value(copy, from->name, from->dtype, &from->shape, &from->factor);
        if (value < 0)
            return false;
        char *name = copy->values[value].name;
        copy->values[value] = *from;
        copy->values[value].name = name;
        cr_retain(from->data);
    }
    for (int i = 0; i < graph->node_count; i++) {
        if (!grow(&copy->nodes, copy->node_count, &copy->node_capacity, sizeof *copy->nodes) ||
            !node_fill(&copy->nodes[i], &graph->nodes[i]))
            return false;
        copy->node_count++;
    }
    return true;
}

cr_graph *cr_graph_copy(const cr_graph *graph)
{
    cr_graph *copy = graph_new();
    if (!copy)
        return NULL;
    if (!copy_lists(copy, graph)) {
        cr_graph_free(copy);
        return NULL;
    }
    memcpy(copy->inputs, graph->inputs, sizeof copy->inputs);
    memcpy(copy->outputs, graph->outputs, sizeof copy->outputs);
    copy->input_count = graph->input_count;
    copy->output_count = graph->output_count;
    return copy;
}

/* ---- editing ---- */

struct graph_node *graph_maker(const cr_graph *graph, int value)
{
    int node = value < 0 ? -1 : graph->values[value].node;
    return node < 0 ? NULL : &graph->nodes[node];
}

int graph_users(const cr_graph *graph, int value, int *users, int room)
{
    int count = 0, kept = 0;
    for (int i = 0; i < graph->node_count; i++) {
        bool reads = false;
        for (int j = 0; j < graph->nodes[i].input_count; j++) {
            if (graph->nodes[i].inputs[j] != value)
                continue;
            count++;
            reads = true;
        }
        if (reads && users && kept < room)
            users[kept++] = i;
    }
    for (int i = 0; i < graph->output_count; i++)
        count += graph->outputs[i] == value;
    return count;
}

bool graph_is_output(const cr_graph *graph, int value)
{
    for (int i = 0; i < graph->output_count; i++) {
        if (graph->outputs[i] == value)
            return true;
    }
    return false;
}

void graph_replace(cr_graph *graph, int from, int to)
{
    for (int i = 0; i < graph->node_count; i++) {
        for (int j = 0; j < graph->nodes[i].input_count; j++) {
            if (graph->nodes[i].inputs[j] == from)
                graph->nodes[i].inputs[j] = to;
        }
    }
    /* An output is a value of its own, that a node makes. */
    if (graph->values[to].node < 0 || graph_is_output(graph, to))
        return;
    for (int i = 0; i < graph->output_count; i++) {
        if (graph->outputs[i] != from)
            continue;
        graph->outputs[i] = to;
        cr_free(graph->values[to].name);
        graph->values[to].name = graph->values[from].name;
        graph->values[from].name = NULL;
    }
}

/* Marks the values that are read on the way to the outputs, and the inputs; marks are as many as
 * values. */
static void mark_read(const cr_graph *graph, bool *is_read)
{
    for (int i = 0; i < graph->output_count; i++)
        is_read[graph->outputs[i]] = true;
    for (int i = graph->node_count - 1; i >= 0; i--) {
        const struct graph_node *node = &graph->nodes[i];
        bool wanted = false;
        for (int o = 0; o < node->output_count; o++)
            wanted = wanted || is_read[node->outputs[o]];
        for (int j = 0; wanted && j < node->input_count; j++) {
            if (node->inputs[j] >= 0)
                is_read[node->inputs[j]] = true;
        }
    }
    for (int i = 0; i < graph->input_count; i++)
        is_read[graph->inputs[i]] = true;
}

static bool is_wanted(const struct graph_node *node, const bool *is_read)
{
    for (int o = 0; o < node->output_count; o++) {
        if (is_read[node->outputs[o]])
            return true;
    }
    return false;
}

static void prune_nodes(cr_graph *graph, bool *is_read)
{
    int kept = 0;
    for (int i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        if (!is_wanted(node, is_read)) {
            node_clear(node);
            continue;
        }
        for (int o = 0; o < node->output_count; o++) {
            graph->values[node->outputs[o]].node = kept;
            is_read[node->outputs[o]] = true;
        }
        graph->nodes[kept++] = *node;
    }
    graph->node_count = kept;
}

/* Drops values without a mark; numbers[i] becomes the new number of value i. */
static void prune_values(cr_graph *graph, const bool *is_read, int *numbers)
{
    int kept = 0;
    for (int i = 0; i < graph->value_count; i++) {
        numbers[i] = kept;
        if (is_read[i])
            graph->values[kept++] = graph->values[i];
        else
            value_clear(&graph->values[i]);
    }
    graph->value_count = kept;
    for (int i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        for (int j = 0; j < node->input_count; j++)
            node->inputs[j] = node->inputs[j] < 0 ? -1 : numbers[node->inputs[j]];
        for (int o = 0; o < node->output_count; o++)
            node->outputs[o] = numbers[node->outputs[o]];
    }
    for (int i = 0; i < graph->input_count; i++)
        graph->inputs[i] = numbers[graph->inputs[i]];
    for (int i = 0; i < graph->output_count; i++)
        graph->outputs[i] = numbers[graph->outputs[i]];
}

void graph_prune(cr_graph *graph)
{
    size_t count = (size_t)graph->value_count + 1;
    bool *is_read = cr_alloc_zeroed(count, sizeof *is_read);
    int *numbers = cr_alloc_array(count, sizeof *numbers);
    if (is_read && numbers) {
        mark_read(graph, is_read);
        prune_nodes(graph, is_read);
        prune_values(graph, is_read, numbers);
    }
    cr_free(is_read);
    cr_free(numbers);
}

/* ---- ports ---- */

static cr_graph_port port_of(const cr_graph *graph, const int *list, int count, int index)
{
    if (index < 0 || index >= count)
        return (cr_graph_port){ 0 };
    const struct graph_value *value = &graph->values[list[index]];
    cr_graph_port port = { .name = value->name, .dtype = value->dtype, .shape = value->shape };
    for (int d = 0; d < port.shape.ndim; d++)
        port.shape.dim[d] = value->factor.dim[d] ? -1 : port.shape.dim[d];
    return port;
}

int cr_graph_input_count(const cr_graph *graph)
{
    return graph->input_count;
}

int cr_graph_output_count(const cr_graph *graph)
{
    return graph->output_count;
}

cr_graph_port cr_graph_input_at(const cr_graph *graph, int index)
{
    return port_of(graph, graph->inputs, graph->input_count, index);
}

cr_graph_port cr_graph_output_at(const cr_graph *graph, int index)
{
    return port_of(graph, graph->outputs, graph->output_count, index);
}
