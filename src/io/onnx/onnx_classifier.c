/* What makes an imported graph a classifier that can be trained: where its logits are, which layer
 * makes them, and the file without its weights, which stand elsewhere once it has been trained. */
#include <string.h>

#include "io/onnx/onnx.h"

/* ---- the last layer ---- */

static bool is_op(const struct onnx_node *node, const char *type)
{
    return node && strcmp(node->type, type) == 0 && !node->domain[0] && node->input_count > 0;
}

static const struct onnx_node *maker(const cr_onnx *onnx, int value)
{
    int node = value < 0 ? -1 : onnx->values[value].node;
    bool own = node >= 0 && onnx->values[value].graph == onnx->graph;
    return own ? &onnx->graph->nodes[node] : NULL;
}

static const struct onnx_tensor *weight_of(const cr_onnx *onnx, const struct onnx_node *node, int i)
{
    int value = node && i < node->input_count ? node->inputs[i] : -1;
    return value >= 0 && onnx->values[value].parameter >= 0 ? onnx->values[value].initializer
                                                            : NULL;
}

/* The name of the layer: that of its weight or bias without the last part. */
static const char *head_name(cr_onnx *onnx, const struct onnx_tensor *weight,
                             const struct onnx_tensor *bias)
{
    const struct onnx_tensor *tensors[] = { weight, bias };
    for (int i = 0; i < 2; i++) {
        const char *name = tensors[i] ? tensors[i]->name : "";
        const char *dot = strrchr(name, '.');
        if (!dot || dot == name || name[0] == '.' || strchr(name, ':'))
            continue;
        char *layer = onnx_keep(onnx, (size_t)(dot - name) + 1, 1);
        if (layer)
            memcpy(layer, name, (size_t)(dot - name));
        return layer;
    }
    return "classifier";
}

/* What only the last layer reads is not needed where another one takes its place. */
static void note_head(cr_onnx *onnx, int features_node)
{
    for (int n = 0; n <= features_node; n++) {
        const struct onnx_node *node = &onnx->graph->nodes[n];
        for (int i = 0; i < node->input_count; i++) {
            int parameter = node->inputs[i] < 0 ? -1 : onnx->values[node->inputs[i]].parameter;
            if (parameter >= 0)
                onnx->parameters[parameter].is_body = true;
        }
    }
}

cr_status onnx_find_head(cr_onnx *onnx)
{
    struct onnx_head *head = &onnx->head;
    *head = (struct onnx_head){ .logits = -1, .features = -1 };
    if (onnx->graph->output_count == 0)
        return CR_OK;
    head->logits = onnx->graph->outputs[0];
    const struct onnx_node *node = maker(onnx, head->logits);
    while (is_op(node, "Softmax") || is_op(node, "LogSoftmax") || is_op(node, "Sigmoid") ||
           is_op(node, "Identity")) {
        head->logits = node->inputs[0];
        node = maker(onnx, head->logits);
    }
    const struct onnx_tensor *weight = NULL, *bias = NULL;
    if (is_op(node, "Gemm")) {
        weight = weight_of(onnx, node, 1);
        bias = weight_of(onnx, node, 2);
    } else if (is_op(node, "Add") && node->input_count == 2) {
        bias = weight_of(onnx, node, 0) ? weight_of(onnx, node, 0) : weight_of(onnx, node, 1);
        node = maker(onnx, node->inputs[weight_of(onnx, node, 0) ? 1 : 0]);
    }
    if (!weight && is_op(node, "MatMul"))
        weight = weight_of(onnx, node, 1);
    if (!weight || weight->shape.ndim != 2)
        return CR_OK;
    const struct onnx_node *before = maker(onnx, node->inputs[0]);
    if (!before)
        return CR_OK;
    head->features = node->inputs[0];
    bool transposed = false;
    for (int i = 0; i < node->attribute_count; i++)
        transposed |= strcmp(node->attributes[i].name, "transB") == 0 && node->attributes[i].i;
    head->classes = weight->shape.dim[transposed ? 0 : 1];
    head->name = head_name(onnx, weight, bias);
    note_head(onnx, (int)(before - onnx->graph->nodes));
    return cr_error_status();
}

cr_onnx_classifier cr_onnx_as_classifier(const cr_onnx *onnx)
{
    cr_onnx_classifier result = { 0 };
    if (cr_onnx_input_count(onnx) != 1 || cr_onnx_output_count(onnx) < 1)
        return result;
    cr_onnx_port output = cr_onnx_output(onnx, 0);
    result.head = onnx->head.features >= 0 ? onnx->head.name : NULL;
    result.classes = onnx->head.classes;
    if (!result.classes && output.has_shape && output.shape.ndim == 2)
        result.classes = CR_MAX(output.shape.dim[1], 0);
    return result;
}

cr_tensor *cr_onnx_run_logits(cr_scope at, cr_tensor *x, const cr_onnx *onnx)
{
    return onnx_run_to(at, x, onnx, onnx->head.logits, false);
}

cr_tensor *cr_onnx_run_features(cr_scope at, cr_tensor *x, const cr_onnx *onnx)
{
    if (onnx->head.features < 0) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s: its last layer is not a linear one",
                     onnx->source.path);
        return NULL;
    }
    return onnx_run_to(at, x, onnx, onnx->head.features, true);
}

/* ---- the file without its weights ---- */

static void put_varint(cr_text *text, uint64_t value)
{
    for (; value > 127; value >>= 7)
        cr_text_append_bytes(text, &(unsigned char){ (unsigned char)(value & 127) | 128 }, 1);
    cr_text_append_bytes(text, &(unsigned char){ (unsigned char)value }, 1);
}

static void put_bytes(cr_text *text, uint32_t number, const void *bytes, size_t count)
{
    put_varint(text, number << 3 | WIRE_BYTES);
    put_varint(text, count);
    cr_text_append_bytes(text, bytes, count);
}

/* The bytes of the file as they are. */
static cr_status copy_range(const struct onnx_source *source, uint64_t begin, uint64_t end,
                            cr_text *text)
{
    size_t count = (size_t)(end - begin);
    void *bytes = cr_alloc(count);
    if (bytes && source_read_much(source, begin, bytes, count) == CR_OK)
        cr_text_append_bytes(text, bytes, count);
    cr_free(bytes);
    return cr_error_status();
}

/* Whether every value that has these data is a parameter. */
static bool is_only_weight(const cr_onnx *onnx, uint64_t at, const struct onnx_tensor **tensor)
{
    bool only = true;
    *tensor = NULL;
    for (int i = 0; i < onnx->value_count; i++) {
        const struct onnx_value_record *value = &onnx->values[i];
        if (!value->initializer || value->initializer->message.at != at)
            continue;
        *tensor = value->initializer;
        only &= value->parameter >= 0;
    }
    return only && *tensor;
}

/* Shape, type and name; and the data of a constant that lie in another file. */
static cr_status put_bare_tensor(const cr_onnx *onnx, struct wire message, cr_text *text,
                                 const struct onnx_tensor *external)
{
    struct wire_field field;
    struct onnx_source *source = message.source;
    while (wire_next(&message, &field)) {
        if (field.number == 1 || field.number == 2 || field.number == 8)
            copy_range(source, field.start, message.at, text);
    }
    (void)onnx;
    if (!external || cr_failed())
        return cr_error_status();
    put_varint(text, 9 << 3 | WIRE_BYTES);
    put_varint(text, external->raw_bytes);
    return copy_range(external->external, external->raw_begin,
                      external->raw_begin + external->raw_bytes, text);
}

static cr_status put_graph(const cr_onnx *onnx, cr_text *text)
{
    struct wire message = onnx->graph_message;
    struct wire_field field;
    while (wire_next(&message, &field)) {
        const struct onnx_tensor *tensor = NULL;
        bool bare = field.number == 5 && is_only_weight(onnx, field.begin, &tensor);
        bool outside = tensor && tensor->external && !bare;
        if (!bare && !outside) {
            copy_range(message.source, field.start, message.at, text);
            continue;
        }
        cr_text inner = { 0 };
        put_bare_tensor(onnx, wire_inside(&message, &field), &inner, outside ? tensor : NULL);
        if (!cr_failed())
            put_bytes(text, 5, inner.data ? inner.data : "", inner.length);
        cr_text_free(&inner);
    }
    return cr_error_status();
}

char *cr_onnx_graph_bytes(const cr_onnx *onnx, size_t *size)
{
    cr_text text = { 0 }, graph = { 0 };
    struct wire message = { (struct onnx_source *)&onnx->source, 0, onnx->source.size };
    struct wire_field field;
    while (wire_next(&message, &field)) {
        if (field.number != 7) {
            copy_range(&onnx->source, field.start, message.at, &text);
            continue;
        }
        if (put_graph(onnx, &graph) == CR_OK)
            put_bytes(&text, 7, graph.data ? graph.data : "", graph.length);
    }
    cr_text_free(&graph);
    *size = text.length;
    if (!cr_failed())
        return cr_text_take(&text);
    cr_text_free(&text);
    return NULL;
}
