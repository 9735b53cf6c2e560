/* What a graph can do without: computing of constants, ops that change nothing, the same thing
 * twice, results that nobody reads. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/pointwise.h"
#include "cresset/shaping.h"
#include "graph/graph.h"

/* ---- constant folding ---- */

static bool is_foldable(const cr_graph *graph, const struct graph_node *node)
{
    /* Expanding computes nothing, and takes memory when it is kept. */
    if ((node->op->flags & CR_OP_RANDOM) || node->symbol_count || graph_is(node, "expand"))
        return false;
    for (int i = 0; i < node->input_count; i++) {
        int value = node->inputs[i];
        if (value >= 0 && (!graph->values[value].data || !graph->values[value].data->storage))
            return false;
    }
    for (int o = 0; o < node->output_count; o++) {
        if (graph_is_output(graph, node->outputs[o]))
            return false;
    }
    return true;
}

static cr_status fold_node(cr_graph *graph, int i)
{
    struct graph_node *node = &graph->nodes[i];
    cr_tensor *outputs[CR_MAX_OUTPUTS] = { NULL };
    cr_tensor **inputs = cr_alloc_zeroed((size_t)node->input_count + 1, sizeof *inputs);
    if (!inputs)
        return CR_ERROR_MEMORY;
    for (int j = 0; j < node->input_count; j++)
        inputs[j] = node->inputs[j] < 0 ? NULL : graph->values[node->inputs[j]].data;
    cr_frame frame = cr_frame_begin();
    if (graph_is(node, "view"))
        outputs[0] = cr_reshape(inputs[0], graph_ints(node, "shape"));
    else
        cr_apply_all(node->op, (cr_inputs){ node->input_count, inputs }, node->attributes, outputs);
    for (int o = 0; o < node->output_count && !cr_failed(); o++) {
        if (!graph_users(graph, node->outputs[o], NULL, 0))
            continue;
        int value = graph_add_constant(graph, NULL, cr_contiguous(outputs[o]));
        if (value >= 0)
            graph_replace(graph, graph->nodes[i].outputs[o], value);
    }
    cr_frame_end(frame);
    cr_free(inputs);
    return cr_error_status();
}

static cr_status fold_constants(cr_graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        if (is_foldable(graph, &graph->nodes[i]) && fold_node(graph, i) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

/* ---- ops that change nothing ---- */

static bool is_same_type(const cr_graph *graph, int a, int b)
{
    const struct graph_value *x = &graph->values[a], *y = &graph->values[b];
    return x->dtype == y->dtype && cr_shape_equal(&x->shape, &y->shape) &&
           cr_shape_equal(&x->factor, &y->factor);
}

static bool is_in_order(const cr_shape *dims)
{
    for (int d = 0; d < dims->ndim; d++) {
        if (dims->dim[d] != d)
            return false;
    }
    return true;
}

/* Values have no layout of their own here, so a copy is the same value. */
static bool is_identity(const cr_graph *graph, const struct graph_node *node)
{
    if (node->input_count < 1 || node->inputs[0] < 0 ||
        !is_same_type(graph, node->inputs[0], node->outputs[0]))
        return false;
    if (graph_is(node, "permute")) {
        cr_shape dims = graph_ints(node, "dims");
        return is_in_order(&dims);
    }
    return graph_is(node, "clone") || graph_is(node, "view") || graph_is(node, "expand") ||
           graph_is(node, "to_dtype") || (graph_is(node, "slice") && graph_int(node, "step") == 1);
}

static void drop_identities(cr_graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        struct graph_node *node = &graph->nodes[i];
        struct graph_node *before = node->input_count ? graph_maker(graph, node->inputs[0]) : NULL;
        if (is_identity(graph, node))
            graph_replace(graph, node->outputs[0], node->inputs[0]);
        else if (graph_is(node, "view") && before && graph_is(before, "view"))
            node->inputs[0] = before->inputs[0];
    }
}

/* ---- the same thing twice ---- */

static bool is_same_constant(const struct graph_value *a, const struct graph_value *b)
{
    if (!a->data || !b->data || a->is_parameter || b->is_parameter)
        return false;
    if (a->data == b->data)
        return true;
    return a->dtype == b->dtype && cr_shape_equal(&a->shape, &b->shape) && a->data->storage &&
           b->data->storage && a->data->is_number == b->data->is_number &&
           tensor_is_contiguous(a->data) && tensor_is_contiguous(b->data) &&
           memcmp(tensor_bytes(a->data), tensor_bytes(b->data),
                  (size_t)tensor_numel(a->data) * cr_dtype_size(a->dtype)) == 0;
}

static void join_constants(cr_graph *graph)
{
    for (int i = 0; i < graph->value_count; i++) {
        for (int j = i + 1; graph->values[i].data && j < graph->value_count; j++) {
            if (!is_same_constant(&graph->values[i], &graph->values[j]))
                continue;
            for (int k = 0; k < graph->node_count; k++) {
                for (int in = 0; in < graph->nodes[k].input_count; in++) {
                    if (graph->nodes[k].inputs[in] == j)
                        graph->nodes[k].inputs[in] = i;
                }
            }
            cr_release(graph->values[j].data);
            graph->values[j].data = NULL;
        }
    }
}

static bool is_same_node(const struct graph_node *a, const struct graph_node *b)
{
    return a->op == b->op && !(a->op->flags & CR_OP_RANDOM) && a->input_count == b->input_count &&
           a->symbol_count == b->symbol_count &&
           memcmp(a->inputs, b->inputs, (size_t)a->input_count * sizeof *a->inputs) == 0 &&
           memcmp(a->symbols, b->symbols, (size_t)a->symbol_count * sizeof *a->symbols) == 0 &&
           memcmp(a->attributes, b->attributes, a->op->attribute_size) == 0;
}

static void join_nodes(cr_graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        for (int j = i + 1; j < graph->node_count; j++) {
            if (!is_same_node(&graph->nodes[i], &graph->nodes[j]))
                continue;
            for (int o = 0; o < graph->nodes[i].output_count; o++) {
                if (graph_users(graph, graph->nodes[j].outputs[o], NULL, 0))
                    graph_replace(graph, graph->nodes[j].outputs[o], graph->nodes[i].outputs[o]);
            }
        }
    }
}

cr_status cr_graph_simplify(cr_graph *graph)
{
    if (cr_failed())
        return cr_error_status();
    bool grad_was = cr_set_grad_enabled(false);
    if (fold_constants(graph) == CR_OK) {
        graph_prune(graph);
        drop_identities(graph);
        join_constants(graph);
        graph_prune(graph);
        join_nodes(graph);
        graph_prune(graph);
    }
    cr_set_grad_enabled(grad_was);
    return cr_error_status();
}
