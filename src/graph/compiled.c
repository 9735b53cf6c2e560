/* Compiled graphs: contexts for the batch sizes that come, and running one.
 *
 * A context serves one run at a time. A run takes one that waits for its batch size, or makes one,
 * and gives it back; a few wait at most, those that were used last. Weights, and the forms of them
 * that kernels read, are the same for all. */
#include <pthread.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/pointwise.h"
#include "cresset/shaping.h"
#include "graph/graph.h"
#include "kernels/elementwise/elementwise.h"
#include "profile/profile.h"

#define MOST_WAITING 16

struct cr_compiled {
    cr_graph *graph;
    pthread_mutex_t lock;
    struct graph_context *waiting; /* the last used first */
};

cr_compiled *cr_graph_compile(const cr_graph *graph)
{
    if (!graph || cr_failed())
        return NULL;
    cr_compiled *compiled = cr_alloc_zeroed(1, sizeof *compiled);
    if (!compiled)
        return NULL;
    pthread_mutex_init(&compiled->lock, NULL);
    compiled->graph = cr_graph_copy(graph);
    if (compiled->graph && cr_graph_simplify(compiled->graph) == CR_OK)
        cr_graph_fuse(compiled->graph);
    if (!cr_failed())
        return compiled;
    cr_compiled_free(compiled);
    return NULL;
}

void cr_compiled_free(cr_compiled *compiled)
{
    if (!compiled)
        return;
    while (compiled->waiting) {
        struct graph_context *next = compiled->waiting->next;
        graph_context_free(compiled->waiting);
        compiled->waiting = next;
    }
    cr_graph_free(compiled->graph);
    pthread_mutex_destroy(&compiled->lock);
    cr_free(compiled);
}

const cr_graph *cr_compiled_graph(const cr_compiled *compiled)
{
    return compiled->graph;
}

/* ---- contexts ---- */

static struct graph_context *take_context(cr_compiled *compiled, int64_t n)
{
    int threads = cr_num_threads();
    pthread_mutex_lock(&compiled->lock);
    struct graph_context **at = &compiled->waiting;
    while (*at && ((*at)->n != n || (*at)->threads != threads))
        at = &(*at)->next;
    struct graph_context *context = *at;
    if (context)
        *at = context->next;
    pthread_mutex_unlock(&compiled->lock);
    if (context)
        return context;
    bool grad_was = cr_set_grad_enabled(false);
    context = graph_context_new(compiled->graph, n);
    cr_set_grad_enabled(grad_was);
    return context;
}

static void give_context(cr_compiled *compiled, struct graph_context *context)
{
    struct graph_context *surplus = NULL;
    int count = 1;
    pthread_mutex_lock(&compiled->lock);
    context->next = compiled->waiting;
    compiled->waiting = context;
    for (struct graph_context *at = context; at->next; at = at->next, count++) {
        if (count < MOST_WAITING)
            continue;
        surplus = at->next;
        at->next = surplus->next;
        break;
    }
    pthread_mutex_unlock(&compiled->lock);
    graph_context_free(surplus);
}

/* ---- running ---- */

/* Indices that come with the run must lie within what they index. */
static cr_status check_step(struct graph_step *step)
{
    cr_infer_call call = { .op = step->call.op,
                           .attributes = step->attributes,
                           .inputs = step->inputs,
                           .input_count = step->call.input_count };
    if (step->call.op->infer(&call) == CR_OK)
        return CR_OK;
    cr_error_prefix("%s", step->call.op->name);
    return cr_error_status();
}

static void run_profiled(const cr_graph *graph, const struct graph_step *step)
{
    const char *scope = step->node >= 0 ? graph->nodes[step->node].scope : "";
    const char *was = profile_set_layer(profile_layer_name(scope));
    uint32_t token = profile_push(PROFILE_OP, step->call.op ? step->call.op->name : "copy");
    if (step->call.op)
        step->call.op->forward[CR_CPU](&step->call);
    else
        copy_tensor(step->outputs[0], step->inputs[0]);
    if (step->call.op)
        profile_note_op(&step->call);
    profile_pop(token);
    profile_set_layer(was);
}

static void run_steps(const cr_graph *graph, struct graph_context *context)
{
    for (int i = 0; i < context->step_count; i++) {
        struct graph_step *step = &context->steps[i];
        if (CR_UNLIKELY(step->is_checked) && check_step(step) != CR_OK)
            return;
        if (CR_UNLIKELY(profile_mode()))
            run_profiled(graph, step);
        else if (step->call.op)
            step->call.op->forward[CR_CPU](&step->call);
        else
            copy_tensor(step->outputs[0], step->inputs[0]);
    }
}

/* Lets the input handles read the caller's memory; a tensor that is not contiguous is copied. */
static cr_status set_inputs(struct graph_context *context, const cr_graph *graph,
                            cr_tensor *const *inputs)
{
    for (int i = 0; i < graph->input_count; i++) {
        cr_tensor *input = tensor_is_contiguous(inputs[i]) ? inputs[i] : cr_contiguous(inputs[i]);
        if (!input)
            return cr_error_status();
        context->inputs[i]->storage->data = tensor_bytes(input);
    }
    return CR_OK;
}

static cr_status check_outputs(const cr_graph *graph, int64_t n, cr_tensor *const *outputs)
{
    for (int i = 0; i < graph->output_count; i++) {
        const struct graph_value *value = &graph->values[graph->outputs[i]];
        cr_shape shape = graph_shape(value, n);
        char wanted[CR_SHAPE_TEXT];
        if (outputs[i] && outputs[i]->storage && cr_shape_equal(&outputs[i]->shape, &shape) &&
            outputs[i]->dtype == (uint8_t)value->dtype)
            continue;
        return cr_error_set(CR_ERROR_SHAPE, "output %s must be a %s tensor of shape %s",
                            value->name, cr_dtype_name(value->dtype),
                            cr_shape_format(&shape, wanted, sizeof wanted));
    }
    return CR_OK;
}

static cr_status run_for(cr_compiled *compiled, int64_t n, cr_tensor *const *inputs,
                         cr_tensor *const *outputs)
{
    const cr_graph *graph = compiled->graph;
    struct graph_context *context = take_context(compiled, n);
    if (!context)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    if (set_inputs(context, graph, inputs) == CR_OK)
        run_steps(graph, context);
    for (int i = 0; i < graph->output_count && !cr_failed(); i++) {
        copy_tensor(outputs[i], context->outputs[i]);
        tensor_bump_version(outputs[i]);
    }
    cr_frame_end(frame);
    give_context(compiled, context);
    return cr_error_status();
}

cr_status cr_compiled_run_into(cr_compiled *compiled, cr_tensor *const *inputs,
                               cr_tensor *const *outputs)
{
    if (cr_failed())
        return cr_error_status();
    int64_t n = graph_batch(compiled->graph, inputs);
    if (n < 0 || check_outputs(compiled->graph, n, outputs) != CR_OK)
        return cr_error_status();
    return run_for(compiled, n, inputs, outputs);
}

cr_status cr_compiled_run(cr_compiled *compiled, cr_tensor *const *inputs, cr_tensor **outputs)
{
    const cr_graph *graph = compiled->graph;
    memset(outputs, 0, (size_t)graph->output_count * sizeof *outputs);
    if (cr_failed())
        return cr_error_status();
    int64_t n = graph_batch(graph, inputs);
    if (n < 0)
        return cr_error_status();
    cr_tensor *made[CR_GRAPH_OUTPUTS] = { NULL };
    for (int i = 0; i < graph->output_count; i++) {
        const struct graph_value *value = &graph->values[graph->outputs[i]];
        cr_shape shape = graph_shape(value, n);
        made[i] = tensor_new(CR_CPU, value->dtype, &shape);
        if (!made[i])
            return cr_error_status();
    }
    if (run_for(compiled, n, inputs, made) == CR_OK)
        memcpy(outputs, made, (size_t)graph->output_count * sizeof *outputs);
    return cr_error_status();
}

cr_compiled_memory cr_compiled_memory_for(cr_compiled *compiled, int64_t n)
{
    cr_compiled_memory memory = { 0 };
    struct graph_context *context = cr_failed() ? NULL : take_context(compiled, n);
    if (!context)
        return memory;
    memory = (cr_compiled_memory){ .arena_bytes = context->arena_bytes,
                                   .apart_bytes = context->apart_bytes,
                                   .steps = context->step_count };
    give_context(compiled, context);
    return memory;
}
