/* Norms, pooling, softmax, reductions and resizing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cresset/vision.h"
#include "graph/plain_c/plain_c.h"

static void give(struct lowering *l, int node, struct place place)
{
    l->values[l->graph->nodes[node].outputs[0]].place = place;
}

/* ---- norms ---- */

/* Batch norm that no convolution takes up. */
static void lower_batch_norm(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]), w = { .buffer = -1 };
    bool is_picture = x.shape.ndim == 4;
    cr_tensor *vectors[4] = { NULL };
    const float *parts[4];
    for (int i = 0; i < 4; i++) {
        vectors[i] = node_constant(l, node, i + 1);
        parts[i] = floats_of_constant(vectors[i]);
    }
    if (node_int(l, node, "training") || !vectors[2] || !vectors[3] ||
        (!is_picture && x.shape.ndim != 2)) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "only batch norm of pictures or rows by running statistics can be written as "
                     "C");
        return;
    }
    int64_t channels = x.shape.dim[1];
    x = is_picture ? place_as_last(l, x) : place_as_dense(l, x);
    struct place y = place_new(l, &x.shape, is_picture);
    float *factors = cr_failed() ? NULL : weights_add(l, 2 * channels, &w);
    if (!factors)
        return;
    double eps = node_float(l, node, "eps");
    for (int64_t i = 0; i < channels; i++) {
        double scale = 1 / sqrt((double)parts[3][i] + eps) * (parts[0] ? (double)parts[0][i] : 1);
        factors[i] = (float)scale;
        factors[channels + i] =
            (float)((parts[1] ? (double)parts[1][i] : 0) - (double)parts[2][i] * scale);
    }
    struct place residual = place_of(l, node_input(l, node, 5));
    residual = is_picture ? place_as_last(l, residual) : place_as_dense(l, residual);
    char from[MARK_SIZE], to[MARK_SIZE], at[MARK_SIZE], more[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    bool relu = node_int(l, node, "relu");
    if (relu)
        use_part(l, "relu");
    step(l, "scale_shift", about, "scale_shift(%lld, %lld, %s, %s, %s, %s, %s);",
         (long long)(cr_shape_numel(&x.shape) / channels), (long long)channels,
         relu ? "relu" : "NULL", reads(l, &x, from), reads(l, &w, at), reads(l, &residual, more),
         writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

static void lower_layer_norm(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_as_dense(l, place_of(l, n->inputs[0]));
    struct place scale = place_as_dense(l, place_of(l, node_input(l, node, 1)));
    struct place shift = place_as_dense(l, place_of(l, node_input(l, node, 2)));
    struct place y = place_new(l, &x.shape, false);
    const char *part = node_int(l, node, "rms") ? "rms_norm" : "layer_norm";
    int64_t size = 1, dims = node_int(l, node, "dims");
    for (int d = 0; d < dims; d++)
        size *= x.shape.dim[x.shape.ndim - 1 - d];
    char from[MARK_SIZE], to[MARK_SIZE], p[MARK_SIZE], q[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    step(l, part, about, "%s(%lld, %lld, (float)%.9g, %s, %s, %s, %s);", part,
         (long long)(cr_shape_numel(&x.shape) / size), (long long)size, node_float(l, node, "eps"),
         reads(l, &x, from), reads(l, &scale, p), reads(l, &shift, q), writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

/* (1, C, …): the pixels come first. */
static void lower_group_norm(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]);
    if (x.shape.ndim == 4) {
        x = place_as_last(l, x);
    } else if (x.shape.ndim != 2) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "only group norm of pictures or rows can be written as "
                                           "C");
        return;
    }
    struct place scale = place_as_dense(l, place_of(l, node_input(l, node, 1)));
    struct place shift = place_as_dense(l, place_of(l, node_input(l, node, 2)));
    struct place y = place_new(l, &x.shape, x.shape.ndim == 4);
    char from[MARK_SIZE], to[MARK_SIZE], p[MARK_SIZE], q[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    step(l, "group_norm", about, "group_norm(%lld, %lld, %lld, (float)%.9g, %s, %s, %s, %s);",
         (long long)(cr_shape_numel(&x.shape) / x.shape.dim[1]), (long long)x.shape.dim[1],
         (long long)node_int(l, node, "num_groups"), node_float(l, node, "eps"), reads(l, &x, from),
         reads(l, &scale, p), reads(l, &shift, q), writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

/* ---- pooling ---- */

static void lower_pool(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    bool is_max = graph_is(n, "max_pool2d");
    struct place x = place_as_last(l, place_of(l, n->inputs[0]));
    cr_shape shape = value_shape(l, n->outputs[0]), dilation = node_ints(l, node, "dilation");
    cr_shape kernel = node_ints(l, node, "kernel_size"), stride = node_ints(l, node, "stride");
    cr_shape padding = node_ints(l, node, "padding");
    if (kernel.ndim != 2 || stride.ndim != 2 || padding.ndim != 2 || x.shape.ndim != 4) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "this %s cannot be written as C", n->op->name);
        return;
    }
    struct place y = place_new(l, &shape, true);
    const char *part = is_max ? "max_pool" : "avg_pool";
    char from[MARK_SIZE], to[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, part, about,
         "%s(&(struct pool){ %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, "
         "%lld, %lld, %lld, %lld },\n             %s, %s);",
         part, (long long)x.shape.dim[2], (long long)x.shape.dim[3], (long long)x.shape.dim[1],
         (long long)shape.dim[2], (long long)shape.dim[3], (long long)kernel.dim[0],
         (long long)kernel.dim[1], (long long)stride.dim[0], (long long)stride.dim[1],
         (long long)padding.dim[0], (long long)padding.dim[1],
         (long long)(dilation.ndim == 2 ? dilation.dim[0] : 1),
         (long long)(dilation.ndim == 2 ? dilation.dim[1] : 1),
         (long long)(is_max ? 0 : node_int(l, node, "divisor_override")),
         (long long)(is_max ? 0 : node_int(l, node, "count_include_pad")), reads(l, &x, from),
         writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

static void lower_adaptive_pool(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_as_last(l, place_of(l, n->inputs[0]));
    cr_shape shape = value_shape(l, n->outputs[0]);
    if (x.shape.ndim != 4) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s without a batch cannot be written as C",
                     n->op->name);
        return;
    }
    struct place y = place_new(l, &shape, true);
    const char *part =
        graph_is(n, "adaptive_max_pool2d") ? "adaptive_max_pool" : "adaptive_avg_pool";
    char from[MARK_SIZE], to[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, part, about, "%s(%lld, %lld, %lld, %lld, %lld, %s, %s);", part,
         (long long)x.shape.dim[2], (long long)x.shape.dim[3], (long long)x.shape.dim[1],
         (long long)shape.dim[2], (long long)shape.dim[3], reads(l, &x, from), writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

/* ---- along the last dimension ---- */

static void lower_softmax(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]);
    int dim = (int)node_int(l, node, "dim"), order[CR_MAX_DIMS], ndim = x.shape.ndim;
    dim += dim < 0 ? ndim : 0;
    for (int d = 0; d < ndim; d++)
        order[d] = d;
    order[dim] = ndim - 1; /* an exchange, which is its own inverse */
    order[ndim - 1] = dim;
    x = place_as_dense(l, place_permuted(&x, order));
    struct place y = place_new(l, &x.shape, false);
    const char *part = graph_is(n, "_softmax") ? "softmax" : "log_softmax";
    int64_t size = x.shape.dim[ndim - 1];
    char from[MARK_SIZE], to[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, part, about, "%s(%lld, %lld, %s, %s);", part,
         (long long)(cr_shape_numel(&x.shape) / size), (long long)size, reads(l, &x, from),
         writes(l, &y, to));
    give(l, node, place_permuted(&y, order));
    cr_free(about);
}

/* ---- reductions ---- */

/* Dimensions in the order of memory, reduced ones marked. */
struct reduction {
    int order[CR_MAX_DIMS];
    bool is_reduced[CR_MAX_DIMS]; /* by dimension */
    int64_t outer, count, inner;
};

static void mark_reduced(const cr_shape *dims, int ndim, struct reduction *r)
{
    for (int d = 0; d < ndim; d++) {
        r->is_reduced[d] = dims->ndim == 0;
        r->order[d] = d;
    }
    for (int i = 0; i < dims->ndim; i++)
        r->is_reduced[dims->dim[i] + (dims->dim[i] < 0 ? ndim : 0)] = true;
}

/* Sorts the dimensions by their steps; true if there are no gaps and the reduced ones stand side by
 * side. */
static bool stands_together(const struct place *x, struct reduction *r)
{
    int ndim = x->shape.ndim, changes = 0;
    for (int i = 1; i < ndim; i++) {
        for (int k = i; k > 0 && x->stride.dim[r->order[k - 1]] < x->stride.dim[r->order[k]]; k--) {
            int held = r->order[k];
            r->order[k] = r->order[k - 1];
            r->order[k - 1] = held;
        }
    }
    int64_t expected = 1;
    bool was = false;
    r->outer = r->count = r->inner = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        int d = r->order[i];
        if (x->shape.dim[d] == 1)
            continue;
        if (x->stride.dim[d] != expected)
            return false;
        expected *= x->shape.dim[d];
        changes += r->is_reduced[d] != was;
        was = r->is_reduced[d];
        *(was ? &r->count : changes ? &r->outer : &r->inner) *= x->shape.dim[d];
    }
    return changes <= 2;
}

/* The place of the result: kept dimensions in the order in which they lay. */
static struct place reduced_place(struct lowering *l, const struct place *x,
                                  const struct reduction *r, const cr_shape *shape)
{
    struct place y = place_new(l, shape, false);
    int64_t stride[CR_MAX_DIMS] = { 0 }, step = 1;
    bool keeps = shape->ndim == x->shape.ndim;
    for (int i = x->shape.ndim - 1; i >= 0; i--) {
        int d = r->order[i];
        stride[d] = step;
        step *= r->is_reduced[d] ? 1 : x->shape.dim[d];
    }
    for (int d = 0, to = 0; d < x->shape.ndim; d++) {
        if (keeps || !r->is_reduced[d])
            y.stride.dim[to++] = stride[d];
    }
    return y;
}

static void lower_reduction(struct lowering *l, int node)
{
    static const struct {
        const char *op, *part;
    } parts[] = { { "sum", "reduce_sum" },  { "mean", "reduce_sum" }, { "norm", "reduce_norm" },
                  { "amax", "reduce_max" }, { "max", "reduce_max" },  { "amin", "reduce_min" },
                  { "min", "reduce_min" } };
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]);
    cr_shape shape = value_shape(l, n->outputs[0]), dims = node_ints(l, node, "dims");
    const char *part = "";
    for (int i = 0; i < CR_COUNT_OF(parts); i++)
        part = graph_is(n, parts[i].op) ? parts[i].part : part;
    if (graph_is(n, "norm") && node_float(l, node, "p") != 2) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "norms other than 2 cannot be written as C");
        return;
    }
    struct reduction r;
    mark_reduced(&dims, x.shape.ndim, &r);
    if (!stands_together(&x, &r)) {
        int order[CR_MAX_DIMS], count = 0;
        bool was[CR_MAX_DIMS];
        for (int pass = 0; pass < 2; pass++) {
            for (int d = 0; d < x.shape.ndim; d++) {
                if (r.is_reduced[d] == (pass == 1))
                    order[count++] = d;
            }
        }
        memcpy(was, r.is_reduced, sizeof was);
        struct place turned = place_as_dense(l, place_permuted(&x, order));
        for (int d = 0; d < x.shape.ndim; d++) /* the copy under its old dimensions */
            x.stride.dim[order[d]] = turned.stride.dim[d];
        x.buffer = turned.buffer;
        x.offset = turned.offset;
        stands_together(&x, &r);
    }
    struct place y = reduced_place(l, &x, &r, &shape);
    char from[MARK_SIZE], to[MARK_SIZE], factor[48] = "", *about = describe(l, node, n->outputs[0]);
    if (strcmp(part, "reduce_sum") == 0)
        snprintf(factor, sizeof factor, "(float)%.9g, ",
                 graph_is(n, "mean") ? 1 / (double)r.count : 1.0);
    step(l, part, about, "%s(%lld, %lld, %lld, %s%s, %s);", part, (long long)r.outer,
         (long long)r.count, (long long)r.inner, factor, reads(l, &x, from), writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

/* ---- resizing ---- */

static double scale_of(int64_t in, int64_t out, double factor, bool aligned)
{
    if (aligned)
        return out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
    return factor > 0 ? 1 / factor : (double)in / (double)out;
}

static void lower_upsample(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place x = place_of(l, n->inputs[0]);
    cr_shape shape = value_shape(l, n->outputs[0]);
    cr_interpolate_mode mode = (cr_interpolate_mode)node_int(l, node, "mode");
    bool is_linear = mode == CR_INTERPOLATE_BILINEAR;
    if (x.shape.ndim != 4 || (!is_linear && mode != CR_INTERPOLATE_NEAREST)) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "only nearest and bilinear interpolation of pictures can be written as C");
        return;
    }
    x = place_as_last(l, x);
    struct place y = place_new(l, &shape, true);
    bool aligned = is_linear && node_int(l, node, "align_corners");
    double factor =
        node_int(l, node, "recompute_scale_factor") ? 0 : node_float(l, node, "scale_factor");
    const char *part = is_linear ? "upsample_bilinear" : "upsample_nearest";
    char from[MARK_SIZE], to[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, part, about, "%s(%lld, %lld, %lld, %lld, %lld, (float)%.9g, (float)%.9g, %s%s, %s);",
         part, (long long)x.shape.dim[2], (long long)x.shape.dim[3], (long long)x.shape.dim[1],
         (long long)shape.dim[2], (long long)shape.dim[3],
         scale_of(x.shape.dim[2], shape.dim[2], factor, aligned),
         scale_of(x.shape.dim[3], shape.dim[3], factor, aligned),
         !is_linear ? ""
         : aligned  ? "1, "
                    : "0, ",
         reads(l, &x, from), writes(l, &y, to));
    give(l, node, y);
    cr_free(about);
}

const struct lowered_op layer_lowerings[] = {
    { "native_batch_norm", lower_batch_norm },
    { "native_batch_norm_add_relu", lower_batch_norm },
    { "native_layer_norm", lower_layer_norm },
    { "native_group_norm", lower_group_norm },
    { "max_pool2d", lower_pool },
    { "avg_pool2d", lower_pool },
    { "adaptive_avg_pool2d", lower_adaptive_pool },
    { "adaptive_max_pool2d", lower_adaptive_pool },
    { "_softmax", lower_softmax },
    { "_log_softmax", lower_softmax },
    { "sum", lower_reduction },
    { "mean", lower_reduction },
    { "norm", lower_reduction },
    { "amax", lower_reduction },
    { "amin", lower_reduction },
    { "max", lower_reduction },
    { "min", lower_reduction },
    { "_upsample", lower_upsample },
    { NULL, NULL },
};
