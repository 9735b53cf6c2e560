/* Products: convolutions, linear layers, products of matrices, attention. Weights are written in
 * the order in which the code reads them, with batch norm folded in. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cresset/creation.h"
#include "cresset/pointwise.h"
#include "graph/plain_c/plain_c.h"

/* ---- weights ---- */

struct product_weights {
    int64_t groups, out, in, taps; /* out and in of one group */
    const float *data;             /* by output channel, input channel and tap */
    const float *bias;             /* by output channel; NULL: none */
    bool is_transposed;            /* data lies by input channel, output channel and tap */
    float *scale, *shift;          /* of batch norm, by output channel; NULL: none */
};

static float weight_at(const struct product_weights *w, int64_t group, int64_t out, int64_t in,
                       int64_t tap)
{
    int64_t channel = group * w->out + out;
    int64_t at = w->is_transposed ? (((group * w->in + in) * w->out + out) * w->taps + tap)
                                  : ((channel * w->in + in) * w->taps + tap);
    return w->data[at] * (w->scale ? w->scale[channel] : 1);
}

static float bias_at(const struct product_weights *w, int64_t channel)
{
    float bias = w->bias ? w->bias[channel] : 0;
    return w->scale ? bias * w->scale[channel] + w->shift[channel] : bias;
}

/* For each group and each block of lanes: the biases, then the weights by tap and input channel. */
static struct place add_weights(struct lowering *l, const struct product_weights *w)
{
    struct place place = { .buffer = -1 };
    int64_t lanes = l->args.lanes, blocks = CR_DIV_UP(w->out, lanes);
    float *to = weights_add(l, w->groups * blocks * (w->taps * w->in + 1) * lanes, &place);
    if (!to)
        return place;
    for (int64_t group = 0; group < w->groups; group++) {
        for (int64_t first = 0; first < w->out; first += lanes) {
            int64_t count = CR_MIN(lanes, w->out - first);
            for (int64_t i = 0; i < count; i++)
                to[i] = bias_at(w, group * w->out + first + i);
            to += lanes;
            for (int64_t tap = 0; tap < w->taps; tap++) {
                for (int64_t in = 0; in < w->in; in++, to += lanes) {
                    for (int64_t i = 0; i < count; i++)
                        to[i] = weight_at(w, group, first + i, in, tap);
                }
            }
        }
    }
    return place;
}

/* Of a depthwise convolution: for each block of channels the biases, then the weights by tap. The
 * last block ends with the last channel. */
static struct place add_depthwise_weights(struct lowering *l, const struct product_weights *w)
{
    struct place place = { .buffer = -1 };
    int64_t lanes = l->args.lanes, channels = w->groups, count = CR_MIN(lanes, channels);
    float *to = weights_add(l, CR_DIV_UP(channels, lanes) * (w->taps + 1) * lanes, &place);
    for (int64_t block = 0; to && block < channels; block += lanes) {
        int64_t first = CR_MIN(block, channels - count);
        for (int64_t i = 0; i < count; i++)
            to[i] = bias_at(w, first + i);
        to += lanes;
        for (int64_t tap = 0; tap < w->taps; tap++, to += lanes) {
            for (int64_t i = 0; i < count; i++)
                to[i] = weight_at(w, first + i, 0, 0, tap);
        }
    }
    return place;
}

/* What batch norm multiplies the channels by and what it adds, in one block to be freed. */
static float *norm_factors(const struct lowering *l, int node, int64_t channels)
{
    const float *parts[4];
    for (int i = 0; i < 4; i++)
        parts[i] = floats_of_constant(node_constant(l, node, i + 1));
    float *factors = cr_failed() ? NULL : cr_alloc_array((size_t)channels * 2, sizeof *factors);
    double eps = node_float(l, node, "eps");
    for (int64_t i = 0; factors && i < channels; i++) {
        double scale = 1 / sqrt((double)parts[3][i] + eps) * (parts[0] ? (double)parts[0][i] : 1);
        factors[i] = (float)scale;
        factors[channels + i] =
            (float)((parts[1] ? (double)parts[1][i] : 0) - (double)parts[2][i] * scale);
    }
    return factors;
}

/* ---- convolutions ---- */

/* (N, C, L) as (N, C, 1, L). */
static struct place as_picture(struct place place)
{
    if (place.buffer < 0 || place.shape.ndim != 3)
        return place;
    const int64_t *dim = place.shape.dim, *stride = place.stride.dim;
    place.stride = CR_SHAPE(stride[0], stride[1], 0, stride[2]);
    place.shape = CR_SHAPE(dim[0], dim[1], 1, dim[2]);
    return place;
}

static struct place without_height(struct place place, int ndim)
{
    if (ndim == 4)
        return place;
    place.shape = CR_SHAPE(place.shape.dim[0], place.shape.dim[1], place.shape.dim[3]);
    place.stride = CR_SHAPE(place.stride.dim[0], place.stride.dim[1], place.stride.dim[3]);
    return place;
}

/* The value of a setting along height and width; `usual` for the height of a line. */
static void setting(const struct lowering *l, int node, const char *name, int64_t usual,
                    int64_t to[2])
{
    cr_shape list = node_ints(l, node, name);
    to[0] = list.ndim > 1 ? list.dim[0] : usual;
    to[1] = list.ndim > 0 ? list.dim[list.ndim - 1] : usual;
}

struct convolution {
    struct place x, y, residual, w;
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
    const char *activation;
};

static void conv_step(struct lowering *l, const char *part, const char *about,
                      const struct convolution *c)
{
    char x[MARK_SIZE], y[MARK_SIZE], w[MARK_SIZE], r[MARK_SIZE];
    const int64_t *in = c->x.shape.dim, *out = c->y.shape.dim;
    int64_t depth = strcmp(part, "depthwise") == 0 ? in[1] : in[1] / c->groups;
    l->zeros = CR_MAX(l->zeros, depth);
    l->taps = CR_MAX(l->taps, c->kernel[0] * c->kernel[1]);
    step(l, part, about,
         "%s(&(struct conv){ %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, "
         "%lld, %lld, %lld, %lld, %s },\n         %s, %s, %s, %s);",
         part, (long long)in[2], (long long)in[3], (long long)in[1], (long long)out[2],
         (long long)out[3], (long long)out[1], (long long)c->kernel[0], (long long)c->kernel[1],
         (long long)c->stride[0], (long long)c->stride[1], (long long)c->padding[0],
         (long long)c->padding[1], (long long)c->dilation[0], (long long)c->dilation[1],
         (long long)c->groups, c->activation ? c->activation : "NULL", reads(l, &c->x, x),
         reads(l, &c->w, w), reads(l, &c->residual, r), writes(l, &c->y, y));
}

static void linear_step(struct lowering *l, const char *about, int64_t rows, int64_t in,
                        int64_t out, const struct convolution *c)
{
    char x[MARK_SIZE], y[MARK_SIZE], w[MARK_SIZE], r[MARK_SIZE];
    step(l, "linear", about, "linear(%lld, %lld, %lld, %s, %s, %s, %s, %s);", (long long)rows,
         (long long)in, (long long)out, c->activation ? c->activation : "NULL", reads(l, &c->x, x),
         reads(l, &c->w, w), reads(l, &c->residual, r), writes(l, &c->y, y));
}

/* A kernel of one pixel that visits every pixel. */
static bool is_pointwise(const struct convolution *c)
{
    return c->kernel[0] * c->kernel[1] == 1 && c->stride[0] == 1 && c->stride[1] == 1 &&
           c->padding[0] == 0 && c->padding[1] == 0 && c->groups == 1;
}

static void write_convolution(struct lowering *l, const char *about, bool is_transposed,
                              struct convolution *c, const struct product_weights *w)
{
    const int64_t *in = c->x.shape.dim, *out = c->y.shape.dim;
    if (!is_transposed && c->groups > 1 && c->groups == in[1] && in[1] == out[1]) {
        c->w = add_depthwise_weights(l, w);
        conv_step(l, "depthwise", about, c);
        return;
    }
    c->w = add_weights(l, w);
    if (!is_transposed && is_pointwise(c))
        linear_step(l, about, out[2] * out[3], in[1], out[1], c);
    else
        conv_step(l, is_transposed ? "conv_transpose" : "conv", about, c);
}

static void lower_convolution(struct lowering *l, int node)
{
    if (!fuse_product(l, node, true))
        return;
    const struct fused *fused = &l->fused[node];
    const struct graph_node *n = &l->graph->nodes[node];
    bool is_transposed = strncmp(n->op->name, "conv_transpose", strlen("conv_transpose")) == 0;
    cr_tensor *weight = node_constant(l, node, 1), *bias = node_constant(l, node, 2);
    if (!weight || (node_input(l, node, 2) >= 0 && !bias)) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "a convolution by weights that are computed cannot be written as C");
        return;
    }
    cr_shape shape = value_shape(l, fused->result), kernel = cr_shape_of(weight);
    struct convolution c = {
        .x = place_as_last(l, as_picture(place_of(l, n->inputs[0]))),
        .residual = place_as_last(l, as_picture(place_of(l, fused->residual))),
        .kernel = { kernel.ndim > 3 ? kernel.dim[2] : 1, kernel.dim[kernel.ndim - 1] },
        .groups = node_int(l, node, "groups"),
        .activation = fused->activation,
    };
    c.groups = CR_MAX(c.groups, 1);
    setting(l, node, "stride", 1, c.stride);
    setting(l, node, "padding", 0, c.padding);
    setting(l, node, "dilation", 1, c.dilation);
    struct place y = { .shape = shape };
    y = as_picture(y);
    c.y = place_new(l, &y.shape, true);
    struct product_weights w = { .groups = c.groups,
                                 .out = c.y.shape.dim[1] / c.groups,
                                 .in = c.x.shape.dim[1] / c.groups,
                                 .taps = c.kernel[0] * c.kernel[1],
                                 .data = floats_of_constant(weight),
                                 .bias = floats_of_constant(bias),
                                 .is_transposed = is_transposed };
    if (fused->norm >= 0) {
        w.scale = norm_factors(l, fused->norm, c.y.shape.dim[1]);
        w.shift = w.scale ? w.scale + c.y.shape.dim[1] : NULL;
    }
    char *about = describe(l, node, fused->result);
    if (!cr_failed()) {
        use_part(l, fused->activation);
        write_convolution(l, about, is_transposed, &c, &w);
    }
    l->values[fused->result].place = without_height(c.y, shape.ndim);
    cr_free(about);
    cr_free(w.scale);
}

/* ---- linear layers ---- */

static void lower_linear(struct lowering *l, int node)
{
    bool gelu = graph_is(&l->graph->nodes[node], "native_linear_gelu");
    if (!fuse_product(l, node, false))
        return;
    const struct fused *fused = &l->fused[node];
    cr_tensor *weight = node_constant(l, node, 1), *bias = node_constant(l, node, 2);
    if (!weight || (node_input(l, node, 2) >= 0 && !bias)) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "a linear layer with weights that are computed cannot be written as C");
        return;
    }
    cr_shape shape = value_shape(l, fused->result), size = cr_shape_of(weight);
    struct convolution c = { .x = place_as_dense(l, place_of(l, node_input(l, node, 0))),
                             .residual = place_as_dense(l, place_of(l, fused->residual)),
                             .y = place_new(l, &shape, false),
                             .activation = gelu ? "gelu" : fused->activation };
    struct product_weights w = { .groups = 1,
                                 .out = size.dim[0],
                                 .in = size.dim[1],
                                 .taps = 1,
                                 .data = floats_of_constant(weight),
                                 .bias = floats_of_constant(bias) };
    char *about = describe(l, node, fused->result);
    if (!cr_failed()) {
        use_part(l, c.activation);
        c.w = add_weights(l, &w);
        linear_step(l, about, cr_shape_numel(&shape) / size.dim[0], size.dim[1], size.dim[0], &c);
    }
    l->values[fused->result].place = c.y;
    cr_free(about);
}

static void lower_linear_gelu(struct lowering *l, int node)
{
    l->fused[node] = (struct fused){ .is_found = true,
                                     .norm = -1,
                                     .residual = -1,
                                     .result = l->graph->nodes[node].outputs[0],
                                     .last = node };
    lower_linear(l, node);
}

/* ---- products of matrices ---- */

static void lower_matmul(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place a = place_of(l, n->inputs[0]), b = place_of(l, n->inputs[1]);
    cr_shape shape = value_shape(l, n->outputs[0]);
    struct place y = place_new(l, &shape, false);
    int row = shape.ndim - 2, column = shape.ndim - 1;
    int64_t count = shape.ndim == 3 ? shape.dim[0] : 1;
    char x[MARK_SIZE], w[MARK_SIZE], to[MARK_SIZE], *about = describe(l, node, n->outputs[0]);
    step(l, "matmul", about,
         "{\n        int i;\n        for (i = 0; i < %lld; i++)\n            matmul(%lld, %lld, "
         "%lld, "
         "%s + i * %lld, %lld, %lld,\n                   %s + i * %lld, %lld, %lld, %s + i * "
         "%lld);\n    }",
         (long long)count, (long long)shape.dim[row], (long long)a.shape.dim[column],
         (long long)shape.dim[column], reads(l, &a, x), (long long)(row ? a.stride.dim[0] : 0),
         (long long)a.stride.dim[row], (long long)a.stride.dim[column], reads(l, &b, w),
         (long long)(row ? b.stride.dim[0] : 0), (long long)b.stride.dim[row],
         (long long)b.stride.dim[column], writes(l, &y, to),
         (long long)(shape.dim[row] * shape.dim[column]));
    l->values[n->outputs[0]].place = y;
    cr_free(about);
}

/* ---- attention ---- */

/* The step from one head to the next: over the one batch dimension of more than one element. */
static int64_t head_step(const struct place *place)
{
    int64_t step = 0;
    for (int d = 0; d < place->shape.ndim - 2; d++) {
        if (place->shape.dim[d] > 1)
            step = place->stride.dim[d];
    }
    return step;
}

static bool has_one_batch_dim(const struct place *place)
{
    int count = 0;
    for (int d = 0; d < place->shape.ndim - 2; d++)
        count += place->shape.dim[d] > 1;
    return count <= 1;
}

/* Rows whose elements lie side by side. */
static struct place with_rows(struct lowering *l, struct place place)
{
    int last = place.shape.ndim - 1;
    return place.buffer >= 0 && place.stride.dim[last] != 1 && place.shape.dim[last] > 1
               ? place_as_dense(l, place)
               : place;
}

/* A mask of booleans, which is constant, as what is added to the scores. */
static struct place mask_place(struct lowering *l, int node)
{
    cr_tensor *mask = node_constant(l, node, 3);
    if (mask && cr_dtype_of(mask) == CR_BOOL) {
        cr_tensor *added = cr_where(mask, cr_zeros_like(cr_to_dtype(mask, CR_F32)),
                                    cr_full_like(cr_to_dtype(mask, CR_F32), -INFINITY));
        struct made *made = &l->values[node_input(l, node, 3)];
        if (!added)
            return (struct place){ .buffer = -1 };
        cr_release(made->data);
        made->data = cr_retain(added);
    }
    struct place place = place_of(l, node_input(l, node, 3));
    return place.buffer < 0 ? place : place_as_dense(l, place);
}

static void lower_attention(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place q = with_rows(l, place_of(l, n->inputs[0]));
    struct place k = with_rows(l, place_of(l, n->inputs[1]));
    struct place v = with_rows(l, place_of(l, n->inputs[2]));
    struct place mask = mask_place(l, node);
    cr_shape shape = value_shape(l, n->outputs[0]);
    int row = shape.ndim - 2, column = shape.ndim - 1;
    int64_t queries = shape.dim[row], keys = k.shape.dim[row], depth = k.shape.dim[column];
    int64_t width = shape.dim[column], heads = cr_shape_numel(&shape) / (queries * width);
    bool is_square = mask.buffer < 0 || cr_shape_numel(&mask.shape) == queries * keys;
    if (!has_one_batch_dim(&q) || !has_one_batch_dim(&k) || !has_one_batch_dim(&v) || !is_square) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "attention over several batch dimensions, or with a "
                                           "mask for each head, cannot be written as C");
        return;
    }
    /* Heads lie side by side, as they will be joined. */
    struct place y = place_new(l, &shape, false);
    for (int d = 0; d < row; d++)
        y.stride.dim[d] = width;
    y.stride.dim[row] = heads * width;
    cr_shape room = CR_SHAPE((depth + 1) * keys);
    struct place scratch = place_new(l, &room, false);
    char a[MARK_SIZE], b[MARK_SIZE], c[MARK_SIZE], m[MARK_SIZE], s[MARK_SIZE], t[MARK_SIZE];
    char *about = describe(l, node, n->outputs[0]);
    step(l, "attend", about,
         "{\n        int i;\n        for (i = 0; i < %lld; i++)\n"
         "            attend(&(struct attention){ %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, "
         "(float)%.9g, %d },\n                   %s + i * %lld, %s + i * %lld, %s + i * %lld,\n"
         "                   NULL, NULL, %s, %s, %s + i * %lld);\n    }",
         (long long)heads, (long long)queries, (long long)keys, (long long)depth, (long long)width,
         (long long)q.stride.dim[row], (long long)k.stride.dim[row], (long long)v.stride.dim[row],
         (long long)(heads * width), node_float(l, node, "scale"),
         (int)node_int(l, node, "is_causal"), reads(l, &q, a), (long long)head_step(&q),
         reads(l, &k, b), (long long)head_step(&k), reads(l, &v, c), (long long)head_step(&v),
         reads(l, &mask, m), writes(l, &scratch, s), writes(l, &y, t), (long long)width);
    l->values[n->outputs[0]].place = y;
    cr_free(about);
}

/* Query, key and value stand in one row: qkv (1, rows, 3, heads, depth). */
static void lower_window_attention(struct lowering *l, int node)
{
    const struct graph_node *n = &l->graph->nodes[node];
    struct place qkv = place_as_dense(l, place_of(l, n->inputs[0]));
    struct place bias = place_as_dense(l, place_of(l, node_input(l, node, 2)));
    struct place mask = place_as_dense(l, place_of(l, node_input(l, node, 3)));
    cr_tensor *windows = node_constant(l, node, 1);
    if (node_input(l, node, 1) >= 0 && !windows) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "windows that are computed cannot be written as C");
        return;
    }
    int64_t rows = qkv.shape.dim[1], heads = qkv.shape.dim[3], depth = qkv.shape.dim[4];
    int64_t count = windows ? cr_dim(windows, 0) : 1, size = windows ? cr_dim(windows, 1) : rows;
    int64_t width = heads * depth;
    cr_shape shape = value_shape(l, n->outputs[0]);
    struct place y = place_new(l, &shape, false);
    cr_shape room = CR_SHAPE((depth + 1) * size);
    struct place scratch = place_new(l, &room, false);
    char x[MARK_SIZE], b[MARK_SIZE + 32] = "NULL", m[MARK_SIZE + 32] = "NULL", s[MARK_SIZE];
    char t[MARK_SIZE], table[MARK_SIZE] = "NULL", each[MARK_SIZE + 32] = "NULL", at[MARK_SIZE];
    if (windows) {
        table_of(l, windows, table);
        snprintf(each, sizeof each, "%s + i * %lld", table, (long long)size);
    }
    if (bias.buffer >= 0)
        snprintf(b, sizeof b, "%s + j * %lld", reads(l, &bias, at), (long long)(size * size));
    if (mask.buffer >= 0)
        snprintf(m, sizeof m, "%s + i * %lld", reads(l, &mask, at), (long long)(size * size));
    char *about = describe(l, node, n->outputs[0]);
    reads(l, &qkv, x);
    step(
        l, "attend", about,
        "{\n        int i, j;\n        for (i = 0; i < %lld; i++) {\n"
        "            for (j = 0; j < %lld; j++)\n"
        "                attend(&(struct attention){ %lld, %lld, %lld, %lld, %lld, %lld, %lld, "
        "%lld, (float)%.9g, 0 },\n                       %s + j * %lld, %s + %lld + j * %lld, %s + "
        "%lld + j * %lld,\n                       %s, %s, %s, %s, %s + j * %lld);\n        }\n"
        "    }",
        (long long)count, (long long)heads, (long long)size, (long long)size, (long long)depth,
        (long long)depth, (long long)(3 * width), (long long)(3 * width), (long long)(3 * width),
        (long long)width, node_float(l, node, "scale"), x, (long long)depth, x, (long long)width,
        (long long)depth, x, (long long)(2 * width), (long long)depth, each, b, m,
        writes(l, &scratch, s), writes(l, &y, t), (long long)depth);
    l->values[n->outputs[0]].place = y;
    cr_free(about);
}

const struct lowered_op product_lowerings[] = {
    { "conv1d", lower_convolution },
    { "conv2d", lower_convolution },
    { "conv_transpose1d", lower_convolution },
    { "conv_transpose2d", lower_convolution },
    { "linear", lower_linear },
    { "native_linear_gelu", lower_linear_gelu },
    { "mm", lower_matmul },
    { "bmm", lower_matmul },
    { "_scaled_dot_product_flash_attention", lower_attention },
    { "_window_attention", lower_window_attention },
    { NULL, NULL },
};
