/* Which layers of a graph become layers of bytes, with what is done on their sums, and which
 * activations therefore have a range. */
#include "graph/graph.h"

/* The one node that reads a value; -1 if there are others, or another layer has taken it. */
static int only_user(const struct quantize_plan *plan, const cr_graph *graph, int value)
{
    int users[2];
    if (graph_users(graph, value, users, 2) != 1 || graph_is_output(graph, value))
        return -1;
    return plan->inside[users[0]] >= 0 ? -1 : users[0];
}

static cr_tensor *constant_of(const cr_graph *graph, const struct graph_node *node, int i)
{
    int value = i < node->input_count ? node->inputs[i] : -1;
    return value < 0 ? NULL : graph->values[value].data;
}

/* A convolution of one group or depthwise, or a linear layer, whose weights are float32. */
static bool is_layer(const cr_graph *graph, const struct graph_node *node)
{
    cr_tensor *weight = constant_of(graph, node, 1);
    bool conv = graph_is(node, "conv2d");
    if ((!conv && !graph_is(node, "linear")) || !weight || weight->dtype != CR_F32 ||
        graph->values[node->inputs[0]].data)
        return false;
    if (node->input_count > 2 && node->inputs[2] >= 0 && !constant_of(graph, node, 2))
        return false;
    if (!conv)
        return true;
    int64_t groups = graph_int(node, "groups");
    return weight->shape.dim[2] * weight->shape.dim[3] <= 256 &&
           (groups <= 1 || (groups == weight->shape.dim[0] && weight->shape.dim[1] == 1));
}

static void take_norm(const struct quantize_plan *plan, const cr_graph *graph,
                      struct quantize_layer *layer)
{
    int user = only_user(plan, graph, layer->result);
    const struct graph_node *node = user < 0 ? NULL : &graph->nodes[user];
    if (!node || node->inputs[0] != layer->result || graph_is(&graph->nodes[layer->node], "linear"))
        return;
    if ((!graph_is(node, "native_batch_norm") && !graph_is(node, "native_batch_norm_add_relu")) ||
        graph_int(node, "training") || !constant_of(graph, node, 3) || !constant_of(graph, node, 4))
        return;
    layer->norm = user;
    layer->residual = node->input_count > 5 ? node->inputs[5] : -1;
    layer->is_bounded = graph_int(node, "relu");
    layer->result = node->outputs[0];
    layer->last = user;
}

static void take_residual(const struct quantize_plan *plan, const cr_graph *graph,
                          struct quantize_layer *layer)
{
    int user = only_user(plan, graph, layer->result);
    if (user < 0 || layer->is_bounded || layer->residual >= 0 ||
        !graph_is(&graph->nodes[user], "add"))
        return;
    const struct graph_node *add = &graph->nodes[user];
    int other = add->inputs[add->inputs[0] == layer->result];
    const struct graph_value *own = &graph->values[layer->result], *its = &graph->values[other];
    if (its->data || its->dtype != CR_F32 || !cr_shape_equal(&own->shape, &its->shape) ||
        !cr_shape_equal(&own->factor, &its->factor))
        return;
    layer->residual = other;
    layer->result = add->outputs[0];
    layer->last = user;
}

static void take_bounds(const struct quantize_plan *plan, const cr_graph *graph,
                        struct quantize_layer *layer)
{
    int user = only_user(plan, graph, layer->result);
    const struct graph_node *node = user < 0 ? NULL : &graph->nodes[user];
    if (!node || layer->is_bounded)
        return;
    if (graph_is(node, "hardtanh") && graph_float(node, "min_val") == 0)
        layer->high = graph_float(node, "max_val");
    else if (!graph_is(node, "relu"))
        return;
    layer->is_bounded = true;
    layer->result = node->outputs[0];
    layer->last = user;
}

/* The number of the range of a value, which is a new one if it has none. */
static int range_of(struct quantize_plan *plan, int value)
{
    if (value >= 0 && plan->range[value] < 0)
        plan->range[value] = plan->range_count++;
    return value < 0 ? -1 : plan->range[value];
}

cr_status quantize_plan_make(const cr_graph *graph, struct quantize_plan *plan)
{
    size_t nodes = (size_t)graph->node_count + 1, values = (size_t)graph->value_count + 1;
    *plan = (struct quantize_plan){ 0 };
    plan->layers = cr_alloc_array(nodes, sizeof *plan->layers);
    plan->inside = cr_alloc_array(nodes, sizeof *plan->inside);
    plan->range = cr_alloc_array(values, sizeof *plan->range);
    if (cr_failed())
        return cr_error_status();
    for (size_t i = 0; i < values; i++)
        plan->range[i] = -1;
    for (size_t i = 0; i < nodes; i++)
        plan->inside[i] = -1;
    for (int i = 0; i < graph->node_count; i++) {
        const struct graph_node *node = &graph->nodes[i];
        if (!is_layer(graph, node))
            continue;
        struct quantize_layer layer = {
            .node = i, .norm = -1, .residual = -1, .result = node->outputs[0], .last = i
        };
        take_norm(plan, graph, &layer);
        take_residual(plan, graph, &layer);
        take_bounds(plan, graph, &layer);
        for (int value = node->outputs[0]; value != layer.result;) {
            int user = only_user(plan, graph, value);
            plan->inside[user] = plan->layer_count;
            value = graph->nodes[user].outputs[0];
        }
        plan->inside[i] = plan->layer_count;
        layer.x_range = range_of(plan, node->inputs[0]);
        layer.residual_range = range_of(plan, layer.residual);
        layer.range = range_of(plan, layer.result);
        plan->layers[plan->layer_count++] = layer;
    }
    return CR_OK;
}

void quantize_plan_free(struct quantize_plan *plan)
{
    cr_free(plan->layers);
    cr_free(plan->inside);
    cr_free(plan->range);
    *plan = (struct quantize_plan){ 0 };
}
