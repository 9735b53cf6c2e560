/* Runs a graph: node after node in the order of the file, each in a frame of its own.
 *
 * What a node gives is kept by a reference and let go after the last node that reads it, as was
 * planned when the file was read, so that only what backward needs lives longer. A node with
 * weights counts as a layer of the model, for summaries and for who watches layers. */
#include <string.h>

#include "io/onnx/onnx.h"

/* ---- values ---- */

static void list_release(struct onnx_list *list)
{
    if (!list || --list->references > 0)
        return;
    for (int i = 0; i < list->count; i++)
        onnx_value_clear(&list->items[i]);
    cr_free(list);
}

void onnx_value_set(struct onnx_value *to, struct onnx_value value)
{
    cr_retain(value.tensor);
    if (value.list)
        value.list->references++;
    onnx_value_clear(to);
    *to = value;
}

void onnx_value_clear(struct onnx_value *value)
{
    cr_release(value->tensor);
    list_release(value->list);
    *value = (struct onnx_value){ 0 };
}

struct onnx_value onnx_value_get(const struct onnx_run *run, int value)
{
    if (value < 0)
        return (struct onnx_value){ 0 };
    if (run->values[value].tensor || run->values[value].list)
        return run->values[value];
    const struct onnx_value_record *record = &run->onnx->values[value];
    if (record->parameter >= 0)
        return (struct onnx_value){ .tensor = run->parameters[record->parameter] };
    return (struct onnx_value){ .tensor = record->constant, .type = record->constant_type };
}

/* ---- nodes ---- */

#define FEW 16 /* inputs or outputs that need no memory of their own */

static cr_status name_node(const struct onnx_run *run, const struct onnx_node *node)
{
    char shown[ONNX_SHOWN];
    const char *name = node->name[0] ? node->name
                       : node->output_count && node->outputs[0] >= 0
                           ? run->onnx->values[node->outputs[0]].name
                           : "";
    cr_error_prefix("node \"%s\" (%s)", onnx_show(name, shown), node->type);
    return cr_error_status();
}

/* Outputs of operators that pass elements on have the foreign type that these have. */
static void keep_types(const struct onnx_call *call)
{
    int type = 0;
    for (int i = 0; i < call->input_count && !type; i++) {
        const struct onnx_type_record *record = onnx_type_find(call->inputs[i].type);
        type = record && record->is_foreign ? record->type : 0;
    }
    const struct onnx_type_record *record = onnx_type_find(type);
    for (int i = 0; type && i < call->output_count; i++) {
        struct onnx_value *output = &call->outputs[i];
        if (!output->tensor || output->type || cr_dtype_of(output->tensor) != record->dtype)
            continue;
        output->tensor = onnx_round_to_type(output->tensor, type, true);
        output->type = type;
    }
}

static int64_t count_parameters(const struct onnx_run *run, const struct onnx_node *node)
{
    int64_t count = 0;
    for (int i = 0; i < node->input_count; i++) {
        int parameter = node->inputs[i] < 0 ? -1 : run->onnx->values[node->inputs[i]].parameter;
        if (parameter >= 0 && !run->onnx->parameters[parameter].is_buffer)
            count += cr_numel(run->parameters[parameter]);
    }
    return count;
}

static void call_operator(struct onnx_call *call)
{
    const struct onnx_node *node = call->node;
    bool is_layer = node->layer && call->input_count && call->inputs[0].tensor;
    if (!is_layer) {
        node->op->run(call);
    } else {
        struct layer layer =
            layer_begin(call->run->at, node->layer, node->op->name, call->inputs[0].tensor);
        layer.parameters = count_parameters(call->run, node);
        node->op->run(call);
        cr_tensor *outputs[CR_MAX_OUTPUTS] = { NULL };
        for (int i = 1; i < call->output_count && i < CR_MAX_OUTPUTS; i++)
            outputs[i - 1] = cr_retain(call->outputs[i].tensor);
        layer_end(layer, call->outputs[0].tensor);
        for (int i = 0; i < CR_MAX_OUTPUTS; i++) {
            if (outputs[i])
                cr_frame_add(outputs[i]);
        }
    }
    if (!cr_failed() && (node->op->flags & ONNX_KEEPS))
        keep_types(call);
}

static cr_status run_node(struct onnx_run *run, const struct onnx_node *node)
{
    struct onnx_value few[2 * FEW] = { { 0 } };
    int count = node->input_count + node->output_count;
    struct onnx_value *values = few;
    if (count > CR_COUNT_OF(few)) {
        values = cr_alloc_zeroed((size_t)count, sizeof *values);
        if (!values)
            return cr_error_status();
    }
    struct onnx_call call = { .run = run,
                              .node = node,
                              .version = node->version,
                              .inputs = values,
                              .input_count = node->input_count,
                              .outputs = values + node->input_count,
                              .output_count = node->output_count };
    for (int i = 0; i < node->input_count; i++)
        values[i] = onnx_value_get(run, node->inputs[i]);
    cr_frame frame = cr_frame_begin();
    call_operator(&call);
    for (int i = 0; i < node->output_count && !cr_failed(); i++) {
        if (node->outputs[i] >= 0)
            onnx_value_set(&run->values[node->outputs[i]], call.outputs[i]);
        if (node->outputs[i] >= 0 && !call.outputs[i].tensor && !call.outputs[i].list)
            cr_error_set(CR_ERROR_UNSUPPORTED, "its output %d is not supported", i);
    }
    for (int i = 0; i < node->output_count; i++) /* lists begin with a reference of the call */
        list_release(call.outputs[i].list);
    cr_frame_end(frame);
    if (values != few)
        cr_free(values);
    return cr_failed() ? name_node(run, node) : CR_OK;
}

/* The first `count` nodes. */
static cr_status run_nodes(struct onnx_run *run, const struct onnx_graph *graph, int count)
{
    for (int n = 0; n < count; n++) {
        const struct onnx_node *node = &graph->nodes[n];
        if (run_node(run, node) != CR_OK)
            return cr_error_status();
        for (int i = 0; i < node->release_count; i++)
            onnx_value_clear(&run->values[node->releases[i]]);
    }
    return cr_error_status();
}

cr_status onnx_run_graph(struct onnx_run *run, const struct onnx_graph *graph)
{
    return run_nodes(run, graph, graph->node_count);
}

void onnx_clear_graph(struct onnx_run *run, const struct onnx_graph *graph)
{
    for (int i = 0; i < graph->input_count; i++)
        onnx_value_clear(&run->values[graph->inputs[i]]);
    for (int i = 0; i < graph->output_count; i++) {
        if (run->onnx->values[graph->outputs[i]].graph == graph)
            onnx_value_clear(&run->values[graph->outputs[i]]);
    }
}

/* ---- the model ---- */

static cr_status check_port(const cr_onnx *onnx, const cr_onnx_port *port, const cr_tensor *x)
{
    cr_shape shape = cr_shape_of(x);
    char text[CR_SHAPE_TEXT], name[ONNX_SHOWN];
    onnx_show(port->name, name);
    if (!port->is_tensor)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "%s: the input \"%s\" is a %s, no tensor",
                            onnx->source.path, name, port->type);
    if (port->has_dtype && cr_dtype_of(x) != port->dtype)
        return cr_error_set(CR_ERROR_DTYPE, "%s: the input \"%s\" is %s and was given %s",
                            onnx->source.path, name, cr_dtype_name(port->dtype),
                            cr_dtype_name(cr_dtype_of(x)));
    bool fits = !port->has_shape || port->shape.ndim == shape.ndim;
    for (int d = 1; fits && port->has_shape && d < shape.ndim; d++)
        fits = port->shape.dim[d] < 0 || port->shape.dim[d] == shape.dim[d];
    if (fits)
        return CR_OK;
    char wanted[CR_SHAPE_TEXT];
    return cr_error_set(
        CR_ERROR_SHAPE, "%s: the input \"%s\" has shape %s (-1: any) and was given %s",
        onnx->source.path, name, cr_shape_format(&port->shape, wanted, sizeof wanted),
        cr_shape_format(&shape, text, sizeof text));
}

static cr_status check_inputs(const cr_onnx *onnx, cr_tensor *const *inputs, int count)
{
    if (count != onnx->graph->input_count)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has %d inputs and was given %d",
                            onnx->source.path, onnx->graph->input_count, count);
    for (int i = 0; i < count; i++) {
        if (inputs[i] && check_port(onnx, &onnx->inputs[i], inputs[i]) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status begin_run(struct onnx_run *run, cr_scope at, const cr_onnx *onnx, bool body_only)
{
    *run = (struct onnx_run){ .onnx = onnx, .at = at };
    run->parameters = onnx_bind(onnx, at, body_only);
    if (!run->parameters)
        return cr_error_status();
    run->is_training = cr_model_is_training(at.model);
    run->values = cr_alloc_zeroed((size_t)onnx->value_count + 1, sizeof *run->values);
    return cr_error_status();
}

static void end_run(struct onnx_run *run)
{
    for (int i = 0; i < run->onnx->value_count && run->values; i++)
        onnx_value_clear(&run->values[i]);
    cr_free(run->values);
    if (cr_failed())
        cr_error_prefix("%s", run->onnx->source.path);
}

static struct onnx_value take(const struct onnx_run *run, int number)
{
    struct onnx_value value = onnx_value_get(run, number);
    if (value.tensor)
        cr_frame_add(cr_retain(value.tensor));
    if (value.list)
        value.list->references++;
    return value;
}

cr_status onnx_run_values(cr_scope at, const cr_onnx *onnx, const struct onnx_value *inputs,
                          int input_count, struct onnx_value *outputs, int output_count)
{
    struct onnx_run run;
    if (begin_run(&run, at, onnx, false) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < input_count; i++)
        onnx_value_set(&run.values[onnx->graph->inputs[i]], inputs[i]);
    onnx_run_graph(&run, onnx->graph);
    for (int i = 0; i < output_count && !cr_failed(); i++)
        outputs[i] = take(&run, onnx->graph->outputs[i]);
    end_run(&run);
    return cr_error_status();
}

cr_tensor *onnx_run_to(cr_scope at, cr_tensor *x, const cr_onnx *onnx, int value, bool body_only)
{
    struct onnx_run run;
    if (!x || cr_failed() || check_inputs(onnx, &x, 1) != CR_OK ||
        begin_run(&run, at, onnx, body_only) != CR_OK)
        return NULL;
    onnx_value_set(&run.values[onnx->graph->inputs[0]], (struct onnx_value){ .tensor = x });
    run_nodes(&run, onnx->graph, onnx->values[value].node + 1);
    cr_tensor *result = cr_failed() ? NULL : take(&run, value).tensor;
    end_run(&run);
    return result;
}

cr_status cr_onnx_run_all(cr_scope at, const cr_onnx *onnx, cr_tensor *const *inputs,
                          int input_count, cr_tensor **outputs, int output_count)
{
    for (int i = 0; i < output_count; i++)
        outputs[i] = NULL;
    if (cr_failed() || check_inputs(onnx, inputs, input_count) != CR_OK)
        return cr_error_status();
    if (output_count > onnx->graph->output_count)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has %d outputs, and %d were asked for",
                            onnx->source.path, onnx->graph->output_count, output_count);
    size_t count = (size_t)input_count + (size_t)output_count;
    struct onnx_value *values = cr_alloc_zeroed(count + 1, sizeof *values);
    struct onnx_value *results = values ? values + input_count : NULL;
    for (int i = 0; i < input_count && values; i++)
        values[i].tensor = inputs[i];
    if (values && onnx_run_values(at, onnx, values, input_count, results, output_count) == CR_OK) {
        for (int i = 0; i < output_count; i++) {
            outputs[i] = results[i].tensor;
            list_release(results[i].list);
            if (!outputs[i])
                cr_error_set(CR_ERROR_UNSUPPORTED, "%s: the output \"%s\" is no tensor",
                             onnx->source.path, onnx->outputs[i].name);
        }
    }
    cr_free(values);
    for (int i = 0; i < output_count && cr_failed(); i++)
        outputs[i] = NULL;
    return cr_error_status();
}

cr_tensor *cr_onnx_run(cr_scope at, cr_tensor *x, const void *onnx)
{
    const cr_onnx *model = onnx;
    if (!x || cr_failed())
        return NULL;
    if (cr_onnx_input_count(model) != 1) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s has %d inputs, so that it cannot be run on one tensor",
                     model->source.path, cr_onnx_input_count(model));
        return NULL;
    }
    cr_tensor *output;
    cr_onnx_run_all(at, model, &x, 1, &output, 1);
    return output;
}
