/* A graph of floats to one of bytes: nodes are copied one by one, layers of the plan as layers of
 * bytes. A value may exist as floats, as bytes, or as both; who reads it has the other made. */
#include "cresset/quantize.h"

#include <math.h>
#include <string.h>

#include "cresset/creation.h"
#include "cresset/pointwise.h"
#include "graph/graph.h"

#define BYTE_LEVELS   255
#define WEIGHT_LEVELS 127

struct point {
    double scale;
    int64_t zero;
};

struct build {
    const cr_graph *from;
    cr_graph *to;
    struct quantize_plan plan;
    const cr_range *ranges;
    int *floats; /* by value of `from`: the value of `to`; -1: none */
    int *bytes;
};

/* ---- points ---- */

/* Zero is a byte exactly. */
static struct point point_of(cr_range range)
{
    double low = fmin(range.low, 0), high = fmax(range.high, 0);
    double scale = (double)(float)((high - low) / BYTE_LEVELS);
    if (!(scale > 1e-30))
        return (struct point){ 1, 0 };
    double zero = fmin(fmax(rint(-low / scale), 0), BYTE_LEVELS);
    return (struct point){ scale, (int64_t)zero };
}

static struct point point_of_range(const struct build *b, int range)
{
    return range < 0 ? (struct point){ 0, 0 } : point_of(b->ranges[range]);
}

/* ---- attributes ---- */

/* Room for the attributes of an op, zeros. */
static char *attributes_new(const cr_op *op)
{
    return cr_alloc_zeroed(op->attribute_size + 1, 1);
}

static void set_float(const cr_op *op, char *attributes, const char *name, double value)
{
    int row = graph_attribute(op, name);
    memcpy(attributes + op->attributes[row].offset, &value, sizeof value);
}

static void set_int(const cr_op *op, char *attributes, const char *name, int64_t value)
{
    int row = graph_attribute(op, name);
    memcpy(attributes + op->attributes[row].offset, &value, sizeof value);
}

static void set_ints(const cr_op *op, char *attributes, const char *name, cr_shape value)
{
    int row = graph_attribute(op, name);
    memcpy(attributes + op->attributes[row].offset, &value, sizeof value);
}

/* ---- values ---- */

static int convert(struct build *b, const char *name, int value, int range)
{
    const cr_op *op = cr_op_find(name);
    struct point point = point_of_range(b, range);
    char *attributes = attributes_new(op);
    int made = -1;
    if (attributes) {
        set_float(op, attributes, "scale", point.scale);
        set_int(op, attributes, "zero_point", point.zero);
        made = graph_insert(b->to, b->to->node_count, op, attributes, NULL, 0, &value, 1, NULL);
    }
    cr_free(attributes);
    return made;
}

static int as_floats(struct build *b, int value)
{
    if (b->floats[value] < 0)
        b->floats[value] = convert(b, "dequantize", b->bytes[value], b->plan.range[value]);
    return b->floats[value];
}

static int as_bytes(struct build *b, int value)
{
    if (b->bytes[value] < 0)
        b->bytes[value] = convert(b, "quantize_per_tensor", b->floats[value], b->plan.range[value]);
    return b->bytes[value];
}

/* ---- weights ---- */

static const float *constant_floats(const cr_graph *graph, int value)
{
    cr_tensor *data = value < 0 ? NULL : cr_contiguous(graph->values[value].data);
    return data ? TENSOR_DATA(const float, data) : NULL;
}

static int input_of(const struct graph_node *node, int i)
{
    return i < node->input_count ? node->inputs[i] : -1;
}

/* Weight, scales and bias of a layer as constants of the new graph, with norm folded in. */
static cr_status add_weights(struct build *b, const struct quantize_layer *layer, int inputs[3])
{
    const struct graph_node *node = &b->from->nodes[layer->node];
    const struct graph_node *norm = layer->norm < 0 ? NULL : &b->from->nodes[layer->norm];
    cr_shape shape = b->from->values[node->inputs[1]].data->shape;
    int64_t channels = shape.dim[0], each = cr_shape_numel(&shape) / CR_MAX(channels, 1);
    const float *weight = constant_floats(b->from, node->inputs[1]);
    const float *bias = constant_floats(b->from, input_of(node, 2)), *parts[4] = { NULL };
    for (int i = 0; norm && i < 4; i++)
        parts[i] = constant_floats(b->from, input_of(norm, i + 1));
    double eps = norm ? graph_float(norm, "eps") : 0;
    cr_tensor *bytes = cr_empty(shape, .dtype = CR_I8), *scales = cr_empty(CR_SHAPE(channels));
    cr_tensor *shifts = cr_empty(CR_SHAPE(channels));
    if (cr_failed())
        return cr_error_status();
    for (int64_t o = 0; o < channels; o++) {
        double factor = norm ? 1 / sqrt((double)parts[3][o] + eps) : 1, most = 0;
        double shift = bias ? (double)bias[o] : 0;
        factor *= norm && parts[0] ? (double)parts[0][o] : 1;
        if (norm)
            shift = (shift - (double)parts[2][o]) * factor + (parts[1] ? (double)parts[1][o] : 0);
        for (int64_t i = 0; i < each; i++)
            most = fmax(most, fabs(factor * (double)weight[o * each + i]));
        double scale = most > 1e-30 ? most / WEIGHT_LEVELS : 1;
        for (int64_t i = 0; i < each; i++)
            TENSOR_DATA(int8_t, bytes)
        [o * each + i] = (int8_t)rint(factor * (double)weight[o * each + i] / scale);
        TENSOR_DATA(float, scales)[o] = (float)scale;
        TENSOR_DATA(float, shifts)[o] = (float)shift;
    }
    inputs[0] = graph_add_constant(b->to, NULL, bytes);
    inputs[1] = graph_add_constant(b->to, NULL, scales);
    inputs[2] = graph_add_constant(b->to, NULL, shifts);
    return cr_error_status();
}

/* ---- layers ---- */

/* Whether some layer of bytes reads the value, and whether anything else does. */
static void find_readers(const struct build *b, int value, bool *bytes, bool *floats)
{
    *bytes = false;
    *floats = graph_is_output(b->from, value);
    for (int i = 0; i < b->from->node_count; i++) {
        const struct graph_node *node = &b->from->nodes[i];
        int inside = b->plan.inside[i];
        const struct quantize_layer *layer = inside < 0 ? NULL : &b->plan.layers[inside];
        for (int k = 0; k < node->input_count; k++) {
            if (node->inputs[k] != value)
                continue;
            bool as_byte = layer && ((layer->node == i && k == 0) || (layer->residual == value));
            *(as_byte ? bytes : floats) = true;
        }
    }
}

static void set_points(const struct build *b, const cr_op *op, char *attributes,
                       const struct quantize_layer *layer, bool gives_bytes)
{
    struct point x = point_of_range(b, layer->x_range);
    struct point residual = point_of_range(b, layer->residual_range);
    struct point result = point_of_range(b, layer->range);
    set_float(op, attributes, "x_scale", x.scale);
    set_int(op, attributes, "x_zero_point", x.zero);
    set_float(op, attributes, "residual_scale", residual.scale);
    set_int(op, attributes, "residual_zero_point", residual.zero);
    if (gives_bytes) {
        set_float(op, attributes, "scale", result.scale);
        set_int(op, attributes, "zero_point", result.zero);
    }
    if (layer->is_bounded)
        set_float(op, attributes, "high", layer->high > 0 ? layer->high : (double)INFINITY);
}

static void add_layer(struct build *b, const struct quantize_layer *layer)
{
    const struct graph_node *node = &b->from->nodes[layer->node];
    bool conv = graph_is(node, "conv2d"), bytes, floats;
    const cr_op *op = cr_op_find(conv ? "quantized_conv2d" : "quantized_linear");
    int inputs[5] = { as_bytes(b, node->inputs[0]) };
    inputs[4] = layer->residual < 0 ? -1 : as_bytes(b, layer->residual);
    find_readers(b, layer->result, &bytes, &floats);
    char *attributes = attributes_new(op);
    if (attributes && add_weights(b, layer, inputs + 1) == CR_OK) {
        static const char *const lists[] = { "stride", "padding", "dilation" };
        for (int i = 0; conv && i < CR_COUNT_OF(lists); i++)
            set_ints(op, attributes, lists[i], graph_ints(node, lists[i]));
        if (conv)
            set_int(op, attributes, "groups", graph_int(node, "groups"));
        set_points(b, op, attributes, layer, bytes);
        int made = graph_insert(b->to, b->to->node_count, op, attributes, NULL, 0, inputs,
                                layer->residual < 0 ? 4 : 5, node->scope);
        *(bytes ? &b->bytes[layer->result] : &b->floats[layer->result]) = made;
    }
    cr_free(attributes);
}

static void copy_node(struct build *b, const struct graph_node *node)
{
    int *inputs = cr_alloc_array((size_t)node->input_count + 1, sizeof *inputs);
    for (int i = 0; inputs && i < node->input_count; i++)
        inputs[i] = node->inputs[i] < 0 ? -1 : as_floats(b, node->inputs[i]);
    if (inputs && !cr_failed() &&
        graph_insert(b->to, b->to->node_count, node->op, node->attributes, node->symbols,
                     node->symbol_count, inputs, node->input_count, node->scope) >= 0) {
        const struct graph_node *made = &b->to->nodes[b->to->node_count - 1];
        for (int i = 0; i < node->output_count; i++)
            b->floats[node->outputs[i]] = made->outputs[i];
    }
    cr_free(inputs);
}

/* ---- the whole ---- */

static void copy_ports(struct build *b)
{
    const cr_graph *from = b->from;
    for (int i = 0; i < from->value_count; i++) {
        const struct graph_value *value = &from->values[i];
        if (value->data) {
            b->floats[i] = graph_add_constant(b->to, value->name, value->data);
            if (b->floats[i] >= 0)
                b->to->values[b->floats[i]].is_parameter = value->is_parameter;
        }
    }
    for (int i = 0; i < from->input_count; i++) {
        const struct graph_value *value = &from->values[from->inputs[i]];
        int made = graph_add_value(b->to, value->name, value->dtype, &value->shape, &value->factor);
        b->floats[from->inputs[i]] = made;
        b->to->inputs[b->to->input_count++] = made;
    }
}

static void copy_outputs(struct build *b)
{
    for (int i = 0; i < b->from->output_count && !cr_failed(); i++) {
        int value = as_floats(b, b->from->outputs[i]);
        const char *name = b->from->values[b->from->outputs[i]].name;
        if (value >= 0 && name && !b->to->values[value].name)
            b->to->values[value].name = cr_string_copy(name);
        b->to->outputs[b->to->output_count++] = value;
    }
}

static cr_graph *build(struct build *b)
{
    size_t count = (size_t)b->from->value_count + 1;
    b->to = graph_new();
    b->floats = cr_alloc_array(count, sizeof *b->floats);
    b->bytes = cr_alloc_array(count, sizeof *b->bytes);
    if (cr_failed())
        return NULL;
    for (size_t i = 0; i < count; i++)
        b->floats[i] = b->bytes[i] = -1;
    copy_ports(b);
    for (int i = 0; i < b->from->node_count && !cr_failed(); i++) {
        int inside = b->plan.inside[i];
        if (inside < 0)
            copy_node(b, &b->from->nodes[i]);
        else if (b->plan.layers[inside].last == i)
            add_layer(b, &b->plan.layers[inside]);
    }
    copy_outputs(b);
    if (cr_failed())
        return NULL;
    graph_prune(b->to);
    return b->to;
}

cr_graph *cr_graph_quantize(const cr_graph *graph, const cr_range *ranges)
{
    struct build b = { .from = graph, .ranges = ranges };
    cr_frame frame = cr_frame_begin();
    cr_graph *result = quantize_plan_make(graph, &b.plan) == CR_OK ? build(&b) : NULL;
    if (!result)
        cr_graph_free(b.to);
    quantize_plan_free(&b.plan);
    cr_free(b.floats);
    cr_free(b.bytes);
    cr_frame_end(frame);
    return result;
}

int cr_quantize_range_count(const cr_graph *graph)
{
    struct quantize_plan plan;
    int count = quantize_plan_make(graph, &plan) == CR_OK ? plan.range_count : -1;
    quantize_plan_free(&plan);
    return count;
}
