/* From a graph of ops to one of ONNX operators: every node is written by its op (onnx_node.h), what
 * is constant is computed at once, batch norms are folded, and the rest is onnx_write.c's.
 *
 * Sizes are functions of the batch. With graphs of the same model for other heights and widths, a
 * size that differs between them is a symbol: sizes that are equal in all of them share one. */
#include "cresset/onnx_export.h"

#include <string.h>

#include "graph/graph.h"
#include "ops/ops.h"

#define MOST_REASONS 64 /* that are told */
#define MOST_COMPUTED                                                                              \
    (1 << 18) /* elements of a constant that is larger than what it is made of                     \
               */

struct export
{
    const cr_graph *graph;
    const cr_onnx_args *args;
    cr_onnx_graph onnx;
    cr_onnx_value *values; /* of graph->values; 0: not written yet */
    cr_tensor **data;      /* of graph->values: constants, held */
    int64_t *signatures;   /* of symbols: base and factor in each graph, one after the other */
    int symbol_count;
    char *reasons[MOST_REASONS];
    int reason_count;
};

/* ---- sizes ---- */

/* The number of the symbol whose base and factor are these in the graphs; 0 on failure. */
static int symbol_of(struct export *export, const int64_t *signature)
{
    size_t width = 2 * (size_t)(export->args->other_count + 1);
    for (int i = 0; i < export->symbol_count; i++) {
        if (memcmp(export->signatures + (size_t)i * width, signature, width * sizeof *signature) ==
            0)
            return i + 1;
    }
    int64_t *grown =
        cr_resize(export->signatures, (size_t)(export->symbol_count + 1) * width, sizeof *grown);
    if (!grown)
        return 0;
    export->signatures = grown;
    memcpy(grown + (size_t) export->symbol_count * width, signature, width * sizeof *signature);
    return ++export->symbol_count;
}

/* A size that is base + factor * N in each of the graphs. */
static cr_onnx_size size_of(struct export *export, const int64_t *signature)
{
    bool differs = false;
    for (int g = 1; g <= export->args->other_count; g++)
        differs = differs || memcmp(signature, signature + 2 * g, 2 * sizeof *signature) != 0;
    return (cr_onnx_size){ signature[0], signature[1], differs ? symbol_of(export, signature) : 0 };
}

#define MOST_SIZES 8 /* graphs at once */

static const cr_graph *graph_at(const struct export *export, int g)
{
    return g == 0 ? export->graph : export->args->other_sizes[g - 1];
}

static cr_onnx_spec spec_of(struct export *export, int value)
{
    cr_onnx_spec spec = { 0 };
    if (value < 0)
        return spec;
    const struct graph_value *own = &export->graph->values[value];
    spec.dtype = own->dtype;
    spec.ndim = own->shape.ndim;
    for (int d = 0; d < spec.ndim; d++) {
        int64_t signature[2 * MOST_SIZES];
        for (int g = 0; g <= export->args->other_count; g++) {
            const struct graph_value *there = &graph_at(export, g)->values[value];
            signature[2 * g] = there->shape.dim[d];
            signature[2 * g + 1] = there->factor.dim[d];
        }
        spec.dim[d] = size_of(export, signature);
    }
    return spec;
}

/* ---- attributes ---- */

static const int64_t *integers_at(const struct graph_node *node, int row, int *count)
{
    const cr_attribute *attribute = &node->op->attributes[row];
    const void *at = (const char *)node->attributes + attribute->offset;
    *count = 0;
    if (attribute->kind == CR_ATTRIBUTE_INT) {
        *count = 1;
        return at;
    }
    if (attribute->kind != CR_ATTRIBUTE_INTS)
        return NULL;
    *count = ((const cr_shape *)at)->ndim;
    return ((const cr_shape *)at)->dim;
}

static int64_t symbol_factor(const struct graph_node *node, int row, int element)
{
    for (int i = 0; i < node->symbol_count; i++) {
        if (node->symbols[i].attribute == row && node->symbols[i].element == element)
            return node->symbols[i].factor;
    }
    return 0;
}

#define MOST_VARYING 16

/* The integers of a node that are not fixed; how many, -1 on failure. */
static int varying_of(struct export *export, int index, cr_onnx_attribute_size *varying)
{
    const struct graph_node *node = &export->graph->nodes[index];
    int found = 0;
    for (int row = 0; node->op->attributes && node->op->attributes[row].name; row++) {
        int count;
        integers_at(node, row, &count);
        for (int e = 0; e < count; e++) {
            int64_t signature[2 * MOST_SIZES];
            for (int g = 0; g <= export->args->other_count; g++) {
                const struct graph_node *there = &graph_at(export, g)->nodes[index];
                int there_count;
                const int64_t *integers = integers_at(there, row, &there_count);
                signature[2 * g] = e < there_count ? integers[e] : 0;
                signature[2 * g + 1] = symbol_factor(there, row, e);
            }
            cr_onnx_size size = size_of(export, signature);
            if (!cr_onnx_is_fixed(size) && found < MOST_VARYING)
                varying[found++] =
                    (cr_onnx_attribute_size){ node->op->attributes[row].name, e, size };
        }
    }
    return found;
}

/* Graphs of other sizes are the same but for integers. */
static cr_status check_others(const struct export *export)
{
    const cr_graph *graph = export->graph;
    if (export->args->other_count >= MOST_SIZES)
        return cr_error_set(CR_ERROR_ARGUMENT, "graphs of at most %d other sizes are compared",
                            MOST_SIZES - 1);
    for (int g = 1; g <= export->args->other_count; g++) {
        const cr_graph *other = graph_at(export, g);
        bool is_alike =
            other->node_count == graph->node_count && other->value_count == graph->value_count;
        for (int i = 0; i < graph->node_count && is_alike; i++)
            is_alike = other->nodes[i].op == graph->nodes[i].op;
        for (int v = 0; v < graph->value_count && is_alike; v++)
            is_alike = other->values[v].shape.ndim == graph->values[v].shape.ndim &&
                       !graph->values[v].data == !other->values[v].data;
        if (!is_alike)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "the model does other operations on inputs of other heights and "
                                "widths, so one ONNX file cannot serve them");
    }
    return CR_OK;
}

/* ---- nodes ---- */

static void add_reason(struct export *export, const char *reason)
{
    for (int i = 0; i < export->reason_count; i++) {
        if (strcmp(export->reasons[i], reason) == 0)
            return;
    }
    if (export->reason_count < MOST_REASONS)
        export->reasons[export->reason_count++] = cr_string_copy(reason);
}

/* Keeps the standing message, if it is of what ONNX cannot say, as the node's reason. */
static cr_status take_reason(struct export *export, const cr_op *op)
{
    if (cr_error_status() != CR_ERROR_UNSUPPORTED)
        return cr_error_status();
    char *reason = cr_string_format("%s (%s)", op->name, cr_error_message());
    cr_error_clear();
    if (reason)
        add_reason(export, reason);
    cr_free(reason);
    return cr_error_status();
}

/* The ONNX value of a value of the graph; constants are written when they are first read. */
static cr_onnx_value value_of(struct export *export, int value)
{
    if (value < 0)
        return 0;
    if (export->values[value] || !export->data[value])
        return export->values[value];
    const struct graph_value *own = &export->graph->values[value];
    cr_onnx_call call = { .graph = &export->onnx };
    if (cr_device_of(export->data[value]) == CR_META)
        return (cr_error_set(CR_ERROR_STATE,
                             "%s has a shape and no data: the model was built for "
                             "shapes alone",
                             own->name ? own->name : "a constant"),
                0);
    cr_frame frame = cr_frame_begin();
    if (own->is_parameter && own->data)
        export->values[value] =
            onnx_graph_value(&export->onnx, own->name, cr_contiguous(export->data[value]));
    else
        export->values[value] = cr_onnx_tensor(&call, export->data[value]);
    cr_frame_end(frame);
    return export->values[value];
}

/* Whether results are computed now: of constants alone, and small or no larger than these. */
static bool is_constant(struct export *export, int index)
{
    const struct graph_node *node = &export->graph->nodes[index];
    cr_onnx_attribute_size varying[MOST_VARYING];
    int64_t read = 0, made = 0;
    if (export->args->no_fold || (node->op->flags & CR_OP_RANDOM) ||
        varying_of(export, index, varying) > 0)
        return false;
    for (int i = 0; i < node->input_count; i++) {
        int value = node->inputs[i];
        if (value >= 0 && !export->data[value])
            return false;
        read += value >= 0 ? cr_numel(export->data[value]) : 0;
    }
    for (int i = 0; i < node->output_count; i++)
        made += cr_shape_numel(&export->graph->values[node->outputs[i]].shape);
    return node->input_count > 0 && made <= CR_MAX(read, MOST_COMPUTED);
}

static cr_status compute(struct export *export, const struct graph_node *node)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_tensor **inputs = cr_alloc_array((size_t)node->input_count, sizeof *inputs);
    if (!inputs)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    for (int i = 0; i < node->input_count; i++)
        inputs[i] = node->inputs[i] >= 0 ? cr_detach(export->data[node->inputs[i]]) : NULL;
    cr_apply_all(node->op, (cr_inputs){ node->input_count, inputs }, node->attributes, outputs);
    for (int i = 0; i < node->output_count && !cr_failed(); i++)
        export->data[node->outputs[i]] = cr_retain(outputs[i]);
    cr_frame_end(frame);
    cr_free(inputs);
    return cr_error_status();
}

static cr_status call_op(struct export *export, int index, cr_onnx_call *call)
{
    const struct graph_node *node = &export->graph->nodes[index];
    cr_onnx_attribute_size varying[MOST_VARYING];
    call->varying = varying;
    call->varying_count = varying_of(export, index, varying);
    export->onnx.scope = node->scope;
    if (!node->op->onnx)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "no operator is like it");
    cr_frame frame = cr_frame_begin();
    node->op->onnx(call);
    cr_frame_end(frame);
    if (cr_failed())
        return cr_error_status();
    if (call->varying_count && !call->minds_varying)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "its %s depends on the size of the input",
                            varying[0].name);
    for (int i = 0; i < node->output_count; i++) {
        if (call->wanted[i] && !call->outputs[i])
            return cr_error_set(CR_ERROR_UNSUPPORTED, "its result %d", i);
    }
    return CR_OK;
}

static cr_status write_node(struct export *export, int index, const bool *is_read)
{
    const struct graph_node *node = &export->graph->nodes[index];
    size_t count = (size_t)node->input_count + 1;
    cr_onnx_value *inputs = cr_alloc_zeroed(count, sizeof *inputs);
    cr_onnx_spec *specs = cr_alloc_zeroed(count + CR_MAX_OUTPUTS, sizeof *specs);
    bool wanted[CR_MAX_OUTPUTS] = { false };
    cr_onnx_call call = { .op = node->op,
                          .attributes = node->attributes,
                          .inputs = inputs,
                          .input_count = node->input_count,
                          .input_specs = specs,
                          .output_specs = specs ? specs + count : NULL,
                          .wanted = wanted,
                          .graph = &export->onnx };
    for (int i = 0; i < node->input_count && inputs && specs; i++) {
        inputs[i] = value_of(export, node->inputs[i]);
        specs[i] = spec_of(export, node->inputs[i]);
    }
    for (int i = 0; i < node->output_count && specs; i++) {
        specs[count + (size_t)i] = spec_of(export, node->outputs[i]);
        wanted[i] = is_read[node->outputs[i]];
    }
    if (cr_failed() || call_op(export, index, &call) != CR_OK)
        take_reason(export, node->op);
    for (int i = 0; i < node->output_count && !cr_failed(); i++) {
        export->values[node->outputs[i]] = call.outputs[i];
        if (call.outputs[i] && !export->onnx.values[call.outputs[i]].has_spec)
            onnx_graph_describe(&export->onnx, call.outputs[i], &specs[count + (size_t)i]);
    }
    cr_free(inputs);
    cr_free(specs);
    return cr_error_status();
}

/* Whether each value is read by a node or is an output. */
static bool *find_read(const cr_graph *graph)
{
    bool *is_read = cr_alloc_zeroed((size_t)graph->value_count + 1, sizeof *is_read);
    for (int n = 0; n < graph->node_count && is_read; n++) {
        for (int i = 0; i < graph->nodes[n].input_count; i++) {
            if (graph->nodes[n].inputs[i] >= 0)
                is_read[graph->nodes[n].inputs[i]] = true;
        }
    }
    for (int i = 0; i < graph->output_count && is_read; i++)
        is_read[graph->outputs[i]] = true;
    return is_read;
}

static bool is_wanted(const struct graph_node *node, const bool *is_read)
{
    for (int i = 0; i < node->output_count; i++) {
        if (is_read[node->outputs[i]])
            return true;
    }
    return false;
}

static cr_status write_nodes(struct export *export)
{
    const cr_graph *graph = export->graph;
    bool *is_read = find_read(graph);
    for (int n = 0; n < graph->node_count && is_read && !cr_failed(); n++) {
        const struct graph_node *node = &graph->nodes[n];
        if (!is_wanted(node, is_read))
            continue;
        if (is_constant(export, n))
            compute(export, node);
        else
            write_node(export, n, is_read);
    }
    cr_free(is_read);
    return cr_error_status();
}

/* ---- the whole ---- */

static cr_status export_begin(struct export *export)
{
    const cr_graph *graph = export->graph;
    export->onnx.keeps_parameters = export->args->no_fold;
    export->values = cr_alloc_zeroed((size_t)graph->value_count + 1, sizeof *export->values);
    export->data = cr_alloc_zeroed((size_t)graph->value_count + 1, sizeof *export->data);
    if (!export->values || !export->data)
        return cr_error_status();
    for (int v = 0; v < graph->value_count; v++)
        export->data[v] = cr_retain(graph->values[v].data);
    for (int i = 0; i < graph->input_count && !cr_failed(); i++) {
        int value = graph->inputs[i];
        cr_onnx_spec spec = spec_of(export, value);
        export->values[value] = onnx_graph_value(&export->onnx, graph->values[value].name, NULL);
        if (export->values[value])
            onnx_graph_describe(&export->onnx, export->values[value], &spec);
    }
    return cr_error_status();
}

static void export_end(struct export *export)
{
    for (int v = 0; v < export->graph->value_count && export->data; v++)
        cr_release(export->data[v]);
    for (int i = 0; i < export->reason_count; i++)
        cr_free(export->reasons[i]);
    onnx_graph_free(&export->onnx);
    cr_free(export->values);
    cr_free(export->data);
    cr_free(export->signatures);
}

static cr_status refuse(const struct export *export)
{
    cr_text text = { 0 };
    for (int i = 0; i < export->reason_count; i++)
        cr_text_printf(&text, "%s%s", i ? ", " : "", export->reasons[i]);
    if (text.data)
        cr_error_set(CR_ERROR_UNSUPPORTED, "ONNX opset %d has no form for: %s", CR_ONNX_OPSET,
                     text.data);
    cr_text_free(&text);
    return cr_error_status();
}

static cr_status finish(struct export *export, const char *path, cr_onnx_report *report)
{
    const cr_graph *graph = export->graph;
    struct onnx_file file = { .args = export->args,
                              .graph = &export->onnx,
                              .input_count = graph->input_count,
                              .output_count = graph->output_count };
    for (int i = 0; i < graph->input_count; i++)
        file.inputs[i] = export->values[graph->inputs[i]];
    for (int i = 0; i < graph->output_count; i++) {
        file.outputs[i] = value_of(export, graph->outputs[i]);
        file.output_names[i] = graph->values[graph->outputs[i]].name;
        file.output_specs[i] = spec_of(export, graph->outputs[i]);
    }
    if (!cr_failed() && !export->args->no_fold)
        onnx_fold(&file, report);
    return cr_failed() ? cr_error_status() : onnx_write(&file, path, report);
}

cr_status cr_graph_save_onnx(const cr_graph *graph, const char *path, cr_onnx_args args,
                             cr_onnx_report *report)
{
    cr_onnx_report own;
    struct export export = { .graph = graph, .args = &args };
    if (cr_failed())
        return cr_error_status();
    report = report ? report : &own;
    *report = (cr_onnx_report){ 0 };
    if (check_others(&export) == CR_OK && export_begin(&export) == CR_OK &&
        write_nodes(&export) == CR_OK) {
        if (export.reason_count)
            refuse(&export);
        else
            finish(&export, path, report);
    }
    export_end(&export);
    return cr_error_status();
}
