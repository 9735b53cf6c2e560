/* Running a graph node by node through the dispatcher: what faster ways are measured against. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/shaping.h"
#include "graph/graph.h"

/* The values of one run: held until their last reader has run. */
struct run {
    const cr_graph *graph;
    int64_t n;
    cr_tensor **tensors;
    int *last;         /* node that reads a value last; node_count: an output of the graph */
    graph_watch watch; /* NULL: nobody watches */
    void *context;
};

static void find_last_readers(struct run *run)
{
    const cr_graph *graph = run->graph;
    for (int i = 0; i < graph->node_count; i++) {
        for (int o = 0; o < graph->nodes[i].output_count; o++)
            run->last[graph->nodes[i].outputs[o]] = i;
        for (int j = 0; j < graph->nodes[i].input_count; j++) {
            if (graph->nodes[i].inputs[j] >= 0)
                run->last[graph->nodes[i].inputs[j]] = i;
        }
    }
    for (int i = 0; i < graph->output_count; i++)
        run->last[graph->outputs[i]] = graph->node_count;
}

static void drop_read(struct run *run, int i)
{
    const struct graph_node *node = &run->graph->nodes[i];
    for (int k = 0; k < node->input_count + node->output_count; k++) {
        int value = k < node->input_count ? node->inputs[k] : node->outputs[k - node->input_count];
        if (value < 0 || run->last[value] != i)
            continue;
        cr_release(run->tensors[value]);
        run->tensors[value] = NULL;
    }
}

/* A view of elements that lie in another order than when the graph was made takes a copy. */
static cr_status apply(const struct graph_node *node, cr_inputs inputs, const void *attributes,
                       cr_tensor **outputs)
{
    if (!graph_is(node, "view"))
        return cr_apply_all(node->op, inputs, attributes, outputs);
    outputs[0] = cr_reshape(inputs.at[0], *(const cr_shape *)attributes);
    return cr_error_status();
}

static cr_status run_node(struct run *run, int i, void *attributes, cr_tensor **inputs)
{
    const struct graph_node *node = &run->graph->nodes[i];
    cr_tensor *outputs[CR_MAX_OUTPUTS] = { NULL };
    for (int j = 0; j < node->input_count; j++)
        inputs[j] = node->inputs[j] < 0 ? NULL : run->tensors[node->inputs[j]];
    graph_attributes(node, run->n, attributes);
    cr_frame frame = cr_frame_begin();
    if (apply(node, (cr_inputs){ node->input_count, inputs }, attributes, outputs) == CR_OK) {
        for (int o = 0; o < node->output_count; o++)
            run->tensors[node->outputs[o]] = cr_retain(outputs[o]);
        if (run->watch)
            run->watch(node->outputs[0], outputs[0], run->context);
    }
    cr_frame_end(frame);
    drop_read(run, i);
    return cr_error_status();
}

static cr_status run_nodes(struct run *run)
{
    size_t bytes = 1, most = 1;
    for (int i = 0; i < run->graph->node_count; i++) {
        bytes = CR_MAX(bytes, run->graph->nodes[i].op->attribute_size);
        most = CR_MAX(most, (size_t)run->graph->nodes[i].input_count);
    }
    void *attributes = cr_alloc(bytes);
    cr_tensor **inputs = cr_alloc_array(most, sizeof *inputs);
    cr_status status = attributes && inputs ? CR_OK : CR_ERROR_MEMORY;
    for (int i = 0; i < run->graph->node_count && status == CR_OK; i++)
        status = run_node(run, i, attributes, inputs);
    cr_free(inputs);
    cr_free(attributes);
    return status;
}

cr_status cr_graph_run(const cr_graph *graph, cr_tensor *const *inputs, cr_tensor **outputs)
{
    return graph_run_watched(graph, inputs, outputs, NULL, NULL);
}

cr_status graph_run_watched(const cr_graph *graph, cr_tensor *const *inputs, cr_tensor **outputs,
                            graph_watch watch, void *context)
{
    memset(outputs, 0, (size_t)graph->output_count * sizeof *outputs);
    if (cr_failed())
        return cr_error_status();
    struct run run = {
        .graph = graph, .n = graph_batch(graph, inputs), .watch = watch, .context = context
    };
    if (run.n < 0)
        return cr_error_status();
    run.tensors = cr_alloc_zeroed((size_t)graph->value_count, sizeof *run.tensors);
    run.last = cr_alloc_zeroed((size_t)graph->value_count, sizeof *run.last);
    bool grad_was = cr_set_grad_enabled(false);
    if (run.tensors && run.last) {
        find_last_readers(&run);
        for (int i = 0; i < graph->value_count; i++)
            run.tensors[i] = cr_retain(graph->values[i].data);
        for (int i = 0; i < graph->input_count; i++)
            run.tensors[graph->inputs[i]] = cr_retain(inputs[i]);
        for (int i = 0; watch && i < graph->input_count; i++)
            watch(graph->inputs[i], inputs[i], context);
        if (run_nodes(&run) == CR_OK) {
            for (int i = 0; i < graph->output_count; i++)
                outputs[i] = cr_frame_add(cr_retain(run.tensors[graph->outputs[i]]));
        }
        for (int i = 0; i < graph->value_count; i++)
            cr_release(run.tensors[i]);
    }
    cr_set_grad_enabled(grad_was);
    cr_free(run.tensors);
    cr_free(run.last);
    return cr_error_status();
}
