/* What is done where the sums of a product are made: batch norm by folding it into the weights, a
 * residual, and an activation. */
#include <string.h>

#include "graph/plain_c/plain_c.h"

static const struct {
    const char *op, *function;
} functions[] = {
    { "relu", "relu" },
    { "sigmoid", "sigmoid" },
    { "silu", "silu" },
    { "hardsigmoid", "hardsigmoid" },
    { "hardswish", "hardswish" },
    { "gelu_none", "gelu" },
    { "gelu_tanh", "gelu_tanh" },
    { "mish", "mish" },
    { "softsign", "softsign" },
    { "tanh", "tanh_all" },
    { "exp", "exp_all" },
    { "log", "log_all" },
    { "sqrt", "sqrt_all" },
    { "rsqrt", "rsqrt_all" },
    { "erf", "erf_all" },
    { "abs", "abs_all" },
    { "neg", "neg_all" },
    { "square", "square_all" },
    { "reciprocal", "reciprocal_all" },
};

const char *function_of(const char *op)
{
    for (int i = 0; i < CR_COUNT_OF(functions); i++) {
        if (strcmp(functions[i].op, op) == 0)
            return functions[i].function;
    }
    return NULL;
}

const char *activation_of(const struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    if (graph_is(n, "hardtanh"))
        return node_float(l, node, "min_val") == 0 && node_float(l, node, "max_val") == 6 ? "relu6"
                                                                                          : NULL;
    return function_of(n->op->name);
}

/* The one node that reads a value; -1 if there are others or none, or an earlier node has taken
 * it. */
static int only_user(const struct lowering *l, int value)
{
    if (l->values[value].users != 1)
        return -1;
    for (int i = 0; i < l->graph->node_count; i++) {
        const struct graph_node *node = &l->graph->nodes[i];
        for (int k = 0; k < node->input_count; k++) {
            if (node->inputs[k] == value)
                return l->absorbed[i] ? -1 : i;
        }
    }
    return -1;
}

static bool is_foldable_norm(const struct lowering *l, int node, int value)
{
    const struct graph_node *n = &l->graph->nodes[node];
    return (graph_is(n, "native_batch_norm") || graph_is(n, "native_batch_norm_add_relu")) &&
           n->inputs[0] == value && !node_int(l, node, "training") && node_constant(l, node, 3) &&
           node_constant(l, node, 4);
}

static void take_norm(const struct lowering *l, struct fused *fused)
{
    int user = only_user(l, fused->result);
    if (user < 0 || !is_foldable_norm(l, user, fused->result))
        return;
    fused->norm = user;
    fused->residual = node_input(l, user, 5);
    fused->activation = node_int(l, user, "relu") ? "relu" : NULL;
    fused->result = l->graph->nodes[user].outputs[0];
    fused->last = user;
}

static void take_residual(const struct lowering *l, struct fused *fused)
{
    int user = only_user(l, fused->result);
    if (user < 0 || fused->activation || fused->residual >= 0 ||
        !graph_is(&l->graph->nodes[user], "add"))
        return;
    const struct graph_node *add = &l->graph->nodes[user];
    int other = add->inputs[add->inputs[0] == fused->result];
    cr_shape own = value_shape(l, fused->result), its = value_shape(l, other);
    if (l->values[other].data || !cr_shape_equal(&own, &its))
        return;
    fused->residual = other;
    fused->result = add->outputs[0];
    fused->last = user;
}

static void take_activation(const struct lowering *l, struct fused *fused)
{
    int user = only_user(l, fused->result);
    const char *activation = user < 0 || fused->activation ? NULL : activation_of(l, user);
    if (!activation)
        return;
    fused->activation = activation;
    fused->result = l->graph->nodes[user].outputs[0];
    fused->last = user;
}

static struct fused find_fused(const struct lowering *l, int node, bool norm)
{
    struct fused fused = {
        .norm = -1, .residual = -1, .result = l->graph->nodes[node].outputs[0], .last = node
    };
    if (norm)
        take_norm(l, &fused);
    take_residual(l, &fused);
    take_activation(l, &fused);
    return fused;
}

bool fuse_product(struct lowering *l, int node, bool norm)
{
    if (l->fused[node].is_found)
        return true;
    struct fused fused = find_fused(l, node, norm);
    fused.is_found = true;
    l->fused[node] = fused;
    if (fused.last == node)
        return true;
    int value = l->graph->nodes[node].outputs[0];
    while (value != fused.result) {
        int user = only_user(l, value);
        l->absorbed[user] = true;
        value = l->graph->nodes[user].outputs[0];
    }
    l->deferred[fused.last] = node;
    return false;
}
