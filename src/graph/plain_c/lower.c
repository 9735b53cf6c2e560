/* A graph to steps: constants are folded, views become places, and each op that is left writes its
 * steps. What cannot be written is found before anything is. */
#include <string.h>

#include "graph/plain_c/plain_c.h"

static const struct lowered_op *const families[] = { product_lowerings, element_lowerings,
                                                     layer_lowerings };

static lower_function lowering_of(const char *op)
{
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const struct lowered_op *row = families[f]; row->name; row++) {
            if (strcmp(row->name, op) == 0)
                return row->lower;
        }
    }
    return NULL;
}

/* ---- nodes ---- */

/* A copy of the attributes of a node for batch size 1, to be freed. */
static char *attributes_of(const struct graph_node *node)
{
    char *attributes = cr_alloc_zeroed(node->op->attribute_size + 1, 1);
    if (attributes && node->op->attribute_size)
        graph_attributes(node, 1, attributes);
    return attributes;
}

/* Copies one attribute; zeros if there is none of that name. */
static cr_attribute_kind attribute_copy(const struct graph_node *node, const char *name, void *to,
                                        size_t size)
{
    int row = graph_attribute(node->op, name);
    memset(to, 0, size);
    char *attributes = row >= 0 ? attributes_of(node) : NULL;
    if (!attributes)
        return CR_ATTRIBUTE_INT;
    const cr_attribute *attribute = &node->op->attributes[row];
    static const size_t sizes[] = {
        [CR_ATTRIBUTE_INT] = sizeof(int64_t),   [CR_ATTRIBUTE_FLOAT] = sizeof(double),
        [CR_ATTRIBUTE_BOOL] = sizeof(bool),     [CR_ATTRIBUTE_ENUM] = sizeof(int),
        [CR_ATTRIBUTE_INTS] = sizeof(cr_shape), [CR_ATTRIBUTE_TEXT] = 0
    };
    memcpy(to, attributes + attribute->offset, CR_MIN(size, sizes[attribute->kind]));
    cr_free(attributes);
    return attribute->kind;
}

int64_t node_int(const struct lowering *l, int node, const char *name)
{
    union {
        int64_t whole;
        bool flag;
        int word;
    } value;
    switch (attribute_copy(&l->graph->nodes[node], name, &value, sizeof value)) {
    case CR_ATTRIBUTE_BOOL:
        return value.flag;
    case CR_ATTRIBUTE_ENUM:
        return value.word;
    default:
        return value.whole;
    }
}

double node_float(const struct lowering *l, int node, const char *name)
{
    double value;
    attribute_copy(&l->graph->nodes[node], name, &value, sizeof value);
    return value;
}

cr_shape node_ints(const struct lowering *l, int node, const char *name)
{
    cr_shape value;
    attribute_copy(&l->graph->nodes[node], name, &value, sizeof value);
    return value;
}

int node_input(const struct lowering *l, int node, int i)
{
    const struct graph_node *n = &l->graph->nodes[node];
    return i < n->input_count ? n->inputs[i] : -1;
}

cr_tensor *node_constant(const struct lowering *l, int node, int i)
{
    int value = node_input(l, node, i);
    return value < 0 ? NULL : l->values[value].data;
}

cr_shape value_shape(const struct lowering *l, int value)
{
    return graph_shape(&l->graph->values[value], 1);
}

/* ---- constants ---- */

static bool is_constant(const struct lowering *l, const struct graph_node *node)
{
    if (node->op->flags & CR_OP_RANDOM)
        return false;
    for (int i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= 0 && !l->values[node->inputs[i]].data)
            return false;
    }
    return true;
}

static void fold_constant(struct lowering *l, const struct graph_node *node)
{
    cr_tensor *inputs[CR_MAX_DIMS * 4] = { NULL }, *outputs[CR_MAX_OUTPUTS] = { NULL };
    if (node->input_count > CR_COUNT_OF(inputs)) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s of %d constants cannot be written as C",
                     node->op->name, node->input_count);
        return;
    }
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i] < 0 ? NULL : l->values[node->inputs[i]].data;
    char *attributes = attributes_of(node);
    if (attributes)
        cr_apply_all(node->op, (cr_inputs){ node->input_count, inputs },
                     node->op->attribute_size ? attributes : NULL, outputs);
    cr_free(attributes);
    for (int i = 0; i < node->output_count && !cr_failed(); i++) {
        struct made *made = &l->values[node->outputs[i]];
        made->data = cr_retain(outputs[i]);
        made->is_made = true;
    }
}

/* ---- views ---- */

static void lower_view(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place place = place_of(l, n->inputs[0]);
    char *attributes = attributes_of(n);
    if (!attributes)
        return;
    for (int try = 0; try < 2; try++) {
        cr_tensor like = { .dtype = CR_F32, .device = CR_META, .shape = place.shape };
        memcpy(like.stride, place.stride.dim, sizeof like.stride);
        cr_tensor *inputs[] = { &like };
        cr_infer_call call = {
            .op = n->op, .attributes = attributes, .inputs = inputs, .input_count = 1
        };
        bool was_good = !cr_failed();
        if (n->op->infer(&call) == CR_OK) {
            struct place result = { .buffer = place.buffer,
                                    .offset = place.offset + call.outputs[0].offset,
                                    .shape = call.outputs[0].shape,
                                    .stride = call.outputs[0].stride };
            l->values[n->outputs[0]] = (struct made){ .is_made = true,
                                                      .place = result,
                                                      .users = l->values[n->outputs[0]].users };
            break;
        }
        if (try == 0 && was_good) { /* such a view is only possible of a row-major place */
            cr_error_clear();
            place = place_as_dense(l, place);
        }
    }
    cr_free(attributes);
}

/* ---- what cannot be written ---- */

static bool is_float(const struct lowering *l, int value)
{
    return value < 0 || l->graph->values[value].dtype == CR_F32 || l->values[value].data;
}

static bool can_write(const struct lowering *l, const struct graph_node *node)
{
    if (!(node->op->flags & CR_OP_VIEW) && !lowering_of(node->op->name))
        return false;
    for (int i = 0; i < node->input_count; i++) {
        if (!is_float(l, node->inputs[i]))
            return false;
    }
    return l->graph->values[node->outputs[0]].dtype == CR_F32;
}

/* Whether an earlier node has the op of this one. */
static bool was_seen(const struct lowering *l, int node)
{
    for (int i = 0; i < node; i++) {
        if (l->graph->nodes[i].op == l->graph->nodes[node].op && !can_write(l, &l->graph->nodes[i]))
            return true;
    }
    return false;
}

/* Folds constants, and names every op that cannot be written. */
static cr_status prepare_nodes(struct lowering *l)
{
    cr_text missing = { 0 };
    for (int i = 0; i < l->graph->node_count && !cr_failed(); i++) {
        const struct graph_node *node = &l->graph->nodes[i];
        if (is_constant(l, node)) {
            fold_constant(l, node);
            continue;
        }
        if (!can_write(l, node) && !was_seen(l, i))
            cr_text_printf(&missing, "%s%s", missing.length ? ", " : "", node->op->name);
    }
    if (missing.length)
        cr_error_set(CR_ERROR_UNSUPPORTED, "the model cannot be written as C: it needs %s",
                     missing.data);
    cr_text_free(&missing);
    return cr_error_status();
}

/* ---- the whole ---- */

static cr_status check_ports(const cr_graph *graph)
{
    if (graph->input_count == 1 && graph->output_count == 1 &&
        graph->values[graph->inputs[0]].dtype == CR_F32 &&
        graph->values[graph->outputs[0]].dtype == CR_F32)
        return CR_OK;
    return cr_error_set(CR_ERROR_UNSUPPORTED,
                        "a model that is written as C has one float32 input and one float32 "
                        "output; this one has %d inputs and %d outputs",
                        graph->input_count, graph->output_count);
}

static void count_users(struct lowering *l)
{
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct graph_node *node = &l->graph->nodes[i];
        l->deferred[i] = -1;
        for (int k = 0; k < node->input_count; k++) {
            if (node->inputs[k] >= 0)
                l->values[node->inputs[k]].users++;
        }
    }
    for (int i = 0; i < l->graph->output_count; i++)
        l->values[l->graph->outputs[i]].users += 2; /* never only of one other node */
}

static void lower_node(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    if (l->deferred[node] >= 0)
        lowering_of(l->graph->nodes[l->deferred[node]].op->name)(l, l->deferred[node]);
    else if (l->absorbed[node] || l->values[n->outputs[0]].data)
        return;
    else if (n->op->flags & CR_OP_VIEW)
        lower_view(l, node);
    else
        lowering_of(n->op->name)(l, node);
}

/* The result goes to where the caller wants it: its buffer is that, or it is copied there. */
static void lower_result(struct lowering *l)
{
    struct place place = place_of(l, l->graph->outputs[0]);
    if (cr_failed())
        return;
    struct buffer *buffer = &l->buffers[place.buffer];
    int64_t size = cr_shape_numel(&place.shape);
    if (buffer->kind == BUFFER_ARENA && place_is_dense(&place) && place.offset == 0 &&
        buffer->size == size) {
        buffer->kind = BUFFER_OUTPUT;
        l->output = place.buffer;
        return;
    }
    struct place to = place_new(l, &place.shape, false);
    if (to.buffer < 0)
        return;
    l->output = to.buffer;
    l->buffers[to.buffer].kind = BUFFER_OUTPUT;
    copy_step(l, "the result", &place, &to);
}

cr_status lower_graph(struct lowering *l)
{
    const cr_graph *graph = l->graph;
    l->values = cr_alloc_zeroed((size_t)graph->value_count + 1, sizeof *l->values);
    l->absorbed = cr_alloc_zeroed((size_t)graph->node_count + 1, sizeof *l->absorbed);
    l->deferred = cr_alloc_zeroed((size_t)graph->node_count + 1, sizeof *l->deferred);
    l->fused = cr_alloc_zeroed((size_t)graph->node_count + 1, sizeof *l->fused);
    if (parts_open(&l->parts) == CR_OK)
        l->wanted = cr_alloc_zeroed((size_t)l->parts.count + 1, sizeof *l->wanted);
    if (cr_failed() || check_ports(graph) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < graph->value_count; i++) {
        if (graph->values[i].data)
            l->values[i].data = cr_retain(graph->values[i].data);
    }
    count_users(l);
    if (prepare_nodes(l) != CR_OK)
        return cr_error_status();
    cr_shape shape = value_shape(l, graph->inputs[0]);
    struct made *input = &l->values[graph->inputs[0]];
    input->place = place_new(l, &shape, false);
    if (input->place.buffer < 0)
        return cr_error_status();
    l->input = input->place.buffer;
    l->buffers[l->input].kind = BUFFER_INPUT;
    for (int i = 0; i < graph->node_count && !cr_failed(); i++)
        lower_node(l, i);
    lower_result(l);
    return cr_failed() ? cr_error_status() : pack_buffers(l);
}

void lowering_free(struct lowering *l)
{
    for (int i = 0; l->values && i < l->graph->value_count; i++)
        cr_release(l->values[i].data);
    for (int i = 0; i < l->step_count; i++)
        cr_free(l->steps[i]);
    cr_free(l->values);
    cr_free(l->absorbed);
    cr_free(l->deferred);
    cr_free(l->fused);
    cr_free(l->parts.at);
    cr_free(l->wanted);
    cr_free(l->buffers);
    cr_free(l->steps);
    cr_free(l->weights);
    cr_free(l->table_data);
    cr_text_free(&l->tables);
}
