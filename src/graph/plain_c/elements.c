/* Element-wise ops, and those that only move elements. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/plain_c/plain_c.h"

static void give(struct lowering *l, int node, struct place place)
{
    l->values[l->graph->nodes[node].outputs[0]].place = place;
}

/* ---- of one input ---- */

/* In an order that both it and its result may have: channels-last or row-major. */
static struct place ordered(struct lowering *l, struct place place)
{
    return place_is_last(&place) ? place : place_as_dense(l, place);
}

/* Copies input 0, and changes it in place by a call "name(settings, x, n)". */
static void change(struct lowering *l, int node, const char *part, const char *call,
                   const char *settings)
{
    struct place x = ordered(l, place_of(l, node_input(l, node, 0)));
    struct place y = place_new(l, &x.shape, place_is_last(&x));
    char from[MARK_SIZE], to[MARK_SIZE];
    char *about = describe(l, node, l->graph->nodes[node].outputs[0]);
    long long count = (long long)cr_shape_numel(&x.shape);
    writes(l, &y, to);
    step(l, part, about, "memcpy(%s, %s, %lld * sizeof(float));\n    %s(%s%s, %lld);", to,
         reads(l, &x, from), count, call, settings, to, count);
    give(l, node, y);
    cr_free(about);
}

static void lower_function_op(struct lowering *l, int node)
{
    const char *function = function_of(l->graph->nodes[node].op->name);
    change(l, node, function, function, "");
}

static const char *number_text(double value, char *text, size_t size)
{
    if (isinf(value))
        snprintf(text, size, value < 0 ? "-INFINITY" : "INFINITY");
    else
        snprintf(text, size, "(float)%.9g", value);
    return text;
}

/* An op with up to three numbers, which come first in the call. */
static void change_by(struct lowering *l, int node, const char *part, const char *const *names)
{
    char settings[192] = "", number[40];
    for (int i = 0; names[i]; i++) {
        size_t used = strlen(settings);
        snprintf(settings + used, sizeof settings - used, "%s, ",
                 number_text(node_float(l, node, names[i]), number, sizeof number));
    }
    change(l, node, part, part, settings);
}

static void lower_clamp(struct lowering *l, int node)
{
    bool hardtanh = graph_is(&l->graph->nodes[node], "hardtanh");
    change_by(l, node, "clamp",
              hardtanh ? (const char *const[]){ "min_val", "max_val", NULL }
                       : (const char *const[]){ "min", "max", NULL });
}

static void lower_leaky_relu(struct lowering *l, int node)
{
    change_by(l, node, "leaky_relu", (const char *const[]){ "negative_slope", NULL });
}

static void lower_elu(struct lowering *l, int node)
{
    change_by(l, node, "elu", (const char *const[]){ "alpha", "scale", "input_scale", NULL });
}

static void lower_softplus(struct lowering *l, int node)
{
    change_by(l, node, "softplus", (const char *const[]){ "beta", "threshold", NULL });
}

/* The same elements. */
static void lower_same(struct lowering *l, int node)
{
    give(l, node, place_of(l, node_input(l, node, 0)));
}

/* ---- of two inputs ---- */

/* The place read as one of a shape that it broadcasts to. */
static struct place broadcast(struct place place, const cr_shape *shape)
{
    struct place result = place;
    result.shape = *shape;
    result.stride.ndim = shape->ndim;
    int missing = shape->ndim - place.shape.ndim;
    for (int d = 0; d < shape->ndim; d++) {
        bool repeats = d < missing || place.shape.dim[d - missing] == 1;
        result.stride.dim[d] = repeats ? 0 : place.stride.dim[d - missing];
    }
    return result;
}

static void lower_binary(struct lowering *l, int node)
{
    static const struct {
        const char *op, *function;
    } names[] = { { "add", "add" },         { "sub", "sub" },
                  { "mul", "mul" },         { "div", "divide" },
                  { "pow", "power" },       { "maximum", "maximum" },
                  { "minimum", "minimum" }, { "_prelu_kernel", "prelu_line" } };
    const struct graph_node *n = &l->graph->nodes[node];
    const char *function = "";
    for (int i = 0; i < CR_COUNT_OF(names); i++)
        function = graph_is(n, names[i].op) ? names[i].function : function;
    cr_shape shape = value_shape(l, n->outputs[0]);
    struct place a = broadcast(place_of(l, n->inputs[0]), &shape);
    struct place b = broadcast(place_of(l, n->inputs[1]), &shape);
    struct place y = place_new(l, &shape, place_is_last(&a) || place_is_last(&b));
    char p[MARK_SIZE], q[MARK_SIZE], to[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    cr_text loops = { 0 };
    if (cr_failed())
        goto done;
    if (!loops_text(&shape, &y, &a, &b, &loops)) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s over more than %d dimensions cannot be written as C",
                     n->op->name, LOOP_DIMS);
        goto done;
    }
    step(l, function, about, "each_line(&(struct loops)%s,\n              %s, %s, %s, %s);",
         loops.data, function, reads(l, &a, p), reads(l, &b, q), writes(l, &y, to));
    give(l, node, y);
done:
    cr_text_free(&loops);
    cr_free(about);
}

/* ---- moving ---- */

/* The part of a place that begins at `start` along a dimension. */
static struct place part_of(struct place place, int dim, int64_t start, const cr_shape *shape)
{
    place.offset += start * place.stride.dim[dim];
    place.shape = *shape;
    return place;
}

static void lower_cat(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    cr_shape shape = value_shape(l, n->outputs[0]);
    int dim = (int)node_int(l, node, "dim");
    struct place first = place_of(l, n->inputs[0]);
    struct place y = place_new(l, &shape, place_is_last(&first));
    char *about = describe(l, node, n->outputs[0]);
    int64_t start = 0;
    dim += dim < 0 ? shape.ndim : 0;
    for (int i = 0; i < n->input_count && !cr_failed(); i++) {
        struct place x = place_of(l, n->inputs[i]);
        if (cr_shape_numel(&x.shape) == 0)
            continue;
        struct place to = part_of(y, dim, start, &x.shape);
        copy_step(l, i ? NULL : about, &x, &to);
        start += x.shape.dim[dim];
    }
    give(l, node, y);
    cr_free(about);
}

static void lower_flip(struct lowering *l, int node)
{
    struct place place = place_of(l, node_input(l, node, 0));
    cr_shape dims = node_ints(l, node, "dims");
    for (int i = 0; i < dims.ndim; i++) {
        int64_t d = dims.dim[i] + (dims.dim[i] < 0 ? place.shape.ndim : 0);
        place.offset += (place.shape.dim[d] - 1) * place.stride.dim[d];
        place.stride.dim[d] = -place.stride.dim[d];
    }
    give(l, node, place);
}

/* Zeros (or another value) with the input in their midst. */
static void lower_pad(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]);
    cr_shape shape = value_shape(l, n->outputs[0]), pad = node_ints(l, node, "pad");
    if (node_int(l, node, "mode") != 0) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "padding by other than a constant cannot be written as "
                                           "C");
        return;
    }
    struct place y = place_new(l, &shape, place_is_last(&x)), to = y;
    for (int i = 0; i < pad.ndim; i++) {
        int d = shape.ndim - 1 - i / 2;
        bool before = i % 2 == 0;
        int64_t cut = CR_MAX(-pad.dim[i], 0), added = CR_MAX(pad.dim[i], 0);
        x.shape.dim[d] -= cut;
        if (before) {
            x.offset += cut * x.stride.dim[d];
            to.offset += added * to.stride.dim[d];
        }
    }
    to.shape = x.shape;
    char number[40], at[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, "fill", about, "fill(%s, %s, %lld);",
         number_text(node_float(l, node, "value"), number, sizeof number), writes(l, &y, at),
         (long long)cr_shape_numel(&shape));
    copy_step(l, NULL, &x, &to);
    give(l, node, y);
    cr_free(about);
}

static void order_with_first(int dim, int ndim, int *order)
{
    int at = 0;
    order[at++] = dim;
    for (int d = 0; d < ndim; d++) {
        if (d != dim)
            order[at++] = d;
    }
}

/* Rows along the dimension, which is brought to the front. */
static void lower_index_select(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    cr_tensor *index = node_constant(l, node, 1);
    cr_shape shape = value_shape(l, n->outputs[0]);
    int dim = (int)node_int(l, node, "dim"), order[CR_MAX_DIMS], back[CR_MAX_DIMS];
    if (!index) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "indices that are computed cannot be written as C");
        return;
    }
    dim += dim < 0 ? shape.ndim : 0;
    order_with_first(dim, shape.ndim, order);
    for (int d = 0; d < shape.ndim; d++)
        back[order[d]] = d;
    struct place x = place_of(l, n->inputs[0]);
    x = place_as_dense(l, place_permuted(&x, order));
    cr_shape turned = x.shape;
    turned.dim[0] = shape.dim[dim];
    struct place y = place_new(l, &turned, false);
    char table[MARK_SIZE], from[MARK_SIZE], to[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    step(l, "take", about, "take(%lld, %lld, %s, %s, %s);", (long long)turned.dim[0],
         (long long)(cr_shape_numel(&turned) / CR_MAX(turned.dim[0], 1)), table_of(l, index, table),
         reads(l, &x, from), writes(l, &y, to));
    give(l, node, place_permuted(&y, back));
    cr_free(about);
}

const struct lowered_op element_lowerings[] = {
    { "relu", lower_function_op },
    { "sigmoid", lower_function_op },
    { "silu", lower_function_op },
    { "hardsigmoid", lower_function_op },
    { "hardswish", lower_function_op },
    { "gelu_none", lower_function_op },
    { "gelu_tanh", lower_function_op },
    { "mish", lower_function_op },
    { "softsign", lower_function_op },
    { "tanh", lower_function_op },
    { "exp", lower_function_op },
    { "log", lower_function_op },
    { "sqrt", lower_function_op },
    { "rsqrt", lower_function_op },
    { "erf", lower_function_op },
    { "abs", lower_function_op },
    { "neg", lower_function_op },
    { "square", lower_function_op },
    { "reciprocal", lower_function_op },
    { "clamp", lower_clamp },
    { "hardtanh", lower_clamp },
    { "leaky_relu", lower_leaky_relu },
    { "elu_scaled", lower_elu },
    { "softplus", lower_softplus },
    { "clone", lower_same },
    { "to_dtype", lower_same },
    { "add", lower_binary },
    { "sub", lower_binary },
    { "mul", lower_binary },
    { "div", lower_binary },
    { "pow", lower_binary },
    { "maximum", lower_binary },
    { "minimum", lower_binary },
    { "_prelu_kernel", lower_binary },
    { "cat", lower_cat },
    { "flip", lower_flip },
    { "pad", lower_pad },
    { "index_select", lower_index_select },
    { NULL, NULL },
};
