/* Several ops that are one kernel: what follows a convolution or a product is done while a piece of
 * the result is in registers. A node that is taken in must be read by the next one only. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/conv_norm.h"
#include "graph/graph.h"

/* The one node that reads a value; -1 if there are none or several, or the graph gives it. */
static int only_reader(const cr_graph *graph, int value)
{
    int reader = -1;
    return graph_users(graph, value, &reader, 1) == 1 ? reader : -1;
}

static bool is_type(const cr_graph *graph, int value, cr_dtype dtype, int ndim)
{
    return graph->values[value].dtype == dtype && graph->values[value].shape.ndim == ndim;
}

static bool is_same_shape(const cr_graph *graph, int a, int b)
{
    const struct graph_value *x = &graph->values[a], *y = &graph->values[b];
    return x->dtype == y->dtype && cr_shape_equal(&x->shape, &y->shape) &&
           cr_shape_equal(&x->factor, &y->factor);
}

/* ---- convolutions ---- */

enum { IN_X, IN_WEIGHT, IN_BIAS, IN_SCALE, IN_SHIFT, IN_MEAN, IN_VAR, IN_RESIDUAL, IN_COUNT };

struct conv_chain {
    int inputs[IN_COUNT];
    double eps;
    int activation;
    int last; /* the node whose result the whole gives */
    int result;
};

static int fused_activation(const struct graph_node *node)
{
    if (graph_is(node, "relu"))
        return CR_FUSED_RELU;
    if (graph_is(node, "silu"))
        return CR_FUSED_SILU;
    if (graph_is(node, "hardswish"))
        return CR_FUSED_HARDSWISH;
    if (graph_is(node, "hardtanh") && graph_float(node, "min_val") == 0 &&
        graph_float(node, "max_val") == 6)
        return CR_FUSED_RELU6;
    return CR_FUSED_NONE;
}

static void take_norm(const cr_graph *graph, struct conv_chain *chain)
{
    int reader = only_reader(graph, chain->result);
    const struct graph_node *node = reader < 0 ? NULL : &graph->nodes[reader];
    if (!node || !graph_is(node, "native_batch_norm") || node->inputs[0] != chain->result ||
        graph_int(node, "training") || graph_int(node, "relu") || node->inputs[3] < 0 ||
        node->inputs[4] < 0 || (node->input_count > 5 && node->inputs[5] >= 0))
        return;
    for (int i = 0; i < 4; i++)
        chain->inputs[IN_SCALE + i] = node->inputs[1 + i];
    chain->eps = graph_float(node, "eps");
    chain->last = reader;
    chain->result = node->outputs[0];
}

/* The other summand must be there when the sum is made; then it is made in its place. */
static void take_residual(const cr_graph *graph, struct conv_chain *chain)
{
    int reader = only_reader(graph, chain->result);
    const struct graph_node *node = reader < 0 ? NULL : &graph->nodes[reader];
    if (!node || !graph_is(node, "add") || node->inputs[0] == node->inputs[1])
        return;
    int other = node->inputs[node->inputs[0] == chain->result];
    if (!is_same_shape(graph, other, chain->result))
        return;
    const struct graph_node *maker = graph_maker(graph, other);
    if (maker && graph->values[other].node > graph->values[chain->result].node)
        return; /* the later of two convolutions takes the sum */
    chain->inputs[IN_RESIDUAL] = other;
    chain->last = reader;
    chain->result = node->outputs[0];
}

static void take_activation(const cr_graph *graph, struct conv_chain *chain)
{
    int reader = only_reader(graph, chain->result);
    int activation = reader < 0 ? CR_FUSED_NONE : fused_activation(&graph->nodes[reader]);
    if (activation == CR_FUSED_NONE)
        return;
    chain->activation = activation;
    chain->last = reader;
    chain->result = graph->nodes[reader].outputs[0];
}

/* Where the kernels take channels-last tensors. */
static bool can_be_last(const cr_graph *graph, const struct graph_node *conv)
{
    const struct graph_value *x = &graph->values[conv->inputs[0]];
    const struct graph_value *weight = &graph->values[conv->inputs[1]];
    int64_t groups = graph_int(conv, "groups"), channels = x->shape.dim[1];
    return groups == 1 || (groups == channels && groups == weight->shape.dim[0]);
}

static cr_status fuse_convolution(cr_graph *graph, int i, const cr_op *fused)
{
    const struct graph_node *conv = &graph->nodes[i];
    struct conv_chain chain = { .last = i, .result = conv->outputs[0] };
    if (!graph_is(conv, "conv2d") || conv->symbol_count ||
        !is_type(graph, conv->inputs[0], CR_F32, 4) || !graph->values[conv->inputs[1]].data ||
        !graph_users(graph, conv->outputs[0], NULL, 0))
        return CR_OK;
    for (int j = 0; j < IN_COUNT; j++)
        chain.inputs[j] = j <= IN_BIAS && j < conv->input_count ? conv->inputs[j] : -1;
    take_norm(graph, &chain);
    take_residual(graph, &chain);
    take_activation(graph, &chain);
    cr_shape stride = graph_ints(conv, "stride"), padding = graph_ints(conv, "padding");
    cr_shape dilation = graph_ints(conv, "dilation");
    void *attributes = cr_alloc_zeroed(1, fused->attribute_size);
    if (!attributes)
        return CR_ERROR_MEMORY;
    graph_set_ints(fused, attributes, "stride", &stride);
    graph_set_ints(fused, attributes, "padding", &padding);
    graph_set_ints(fused, attributes, "dilation", &dilation);
    graph_set_int(fused, attributes, "groups", graph_int(conv, "groups"));
    graph_set_float(fused, attributes, "eps", chain.eps);
    graph_set_int(fused, attributes, "activation", chain.activation);
    graph_set_int(fused, attributes, "channels_last", can_be_last(graph, conv));
    int value = graph_insert(graph, chain.last, fused, attributes, NULL, 0, chain.inputs, IN_COUNT,
                             conv->scope);
    cr_free(attributes);
    if (value >= 0)
        graph_replace(graph, chain.result, value);
    return cr_error_status();
}

/* ---- products ---- */

static cr_status fuse_linear(cr_graph *graph, int i, const cr_op *fused)
{
    const struct graph_node *linear = &graph->nodes[i];
    int reader = graph_is(linear, "linear") ? only_reader(graph, linear->outputs[0]) : -1;
    if (reader < 0 || !graph_is(&graph->nodes[reader], "gelu_none"))
        return CR_OK;
    int result = graph->nodes[reader].outputs[0];
    int value = graph_insert(graph, reader, fused, NULL, NULL, 0, linear->inputs,
                             linear->input_count, linear->scope);
    if (value >= 0)
        graph_replace(graph, result, value);
    return cr_error_status();
}

/* ---- x * sigmoid(x) ---- */

static cr_status fuse_silu(cr_graph *graph, int i)
{
    const struct graph_node *mul = &graph->nodes[i];
    for (int j = 0; graph_is(mul, "mul") && j < 2; j++) {
        const struct graph_node *gate = graph_maker(graph, mul->inputs[1 - j]);
        if (!gate || !graph_is(gate, "sigmoid") || gate->inputs[0] != mul->inputs[j])
            continue;
        int x = mul->inputs[j], result = mul->outputs[0];
        int value = graph_insert(graph, i, cr_op_find("silu"), NULL, NULL, 0, &x, 1, mul->scope);
        if (value >= 0)
            graph_replace(graph, result, value);
        break;
    }
    return cr_error_status();
}

cr_status cr_graph_fuse(cr_graph *graph)
{
    if (cr_failed())
        return cr_error_status();
    const cr_op *convolution = cr_op_find("native_conv_norm_activation");
    const cr_op *linear = cr_op_find("native_linear_gelu");
    bool grad_was = cr_set_grad_enabled(false);
    for (int i = 0; i < graph->node_count && !cr_failed(); i++)
        fuse_silu(graph, i);
    graph_prune(graph);
    for (int i = 0; i < graph->node_count && !cr_failed(); i++) {
        if (fuse_linear(graph, i, linear) == CR_OK)
            fuse_convolution(graph, i, convolution);
    }
    graph_prune(graph);
    cr_set_grad_enabled(grad_was);
    return cr_error_status();
}
