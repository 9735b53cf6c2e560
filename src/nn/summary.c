/* What a model is made of, found by running it on a tensor without data. */
#include "nn/nn.h"

struct summary_walk {
    cr_summary summary;
    int capacity;
};

static void count_op(const cr_call *call, void *context)
{
    struct summary_walk *walk = context;
    if (call->op->multiply_adds)
        walk->summary.multiply_adds += call->op->multiply_adds(call);
    if (call->op->flags & CR_OP_VIEW)
        return;
    walk->summary.activation_bytes +=
        tensor_numel(call->outputs[0]) * (int64_t)cr_dtype_size((cr_dtype)call->outputs[0]->dtype);
}

static int64_t multiply_adds_so_far(void *context)
{
    return ((struct summary_walk *)context)->summary.multiply_adds;
}

static void add_row(const struct layer *layer, cr_tensor *output, void *context)
{
    struct summary_walk *walk = context;
    cr_summary *summary = &walk->summary;
    if (summary->count == walk->capacity) {
        int capacity = walk->capacity ? 2 * walk->capacity : 64;
        cr_layer_row *rows = cr_resize(summary->rows, (size_t)capacity, sizeof *rows);
        if (!rows)
            return;
        summary->rows = rows;
        walk->capacity = capacity;
    }
    char *name = cr_string_copy(cr_scope_name(layer->at));
    if (!name)
        return;
    summary->rows[summary->count++] = (cr_layer_row){
        .name = name,
        .kind = layer->kind,
        .input = cr_shape_of(layer->input),
        .output = cr_shape_of(output),
        .parameters = layer->parameters ? layer->parameters : scope_parameter_count(layer->at),
        .multiply_adds = summary->multiply_adds - layer->multiply_adds_before,
    };
}

cr_status cr_model_build(cr_model *model, cr_model_function function, const void *settings,
                         cr_shape input, cr_dtype dtype, cr_summary *summary)
{
    if (cr_failed())
        return cr_error_status();
    struct summary_walk walk = { 0 };
    struct layer_observer observer = { add_row, multiply_adds_so_far, &walk };
    struct layer_observer *observer_was = layer_observer;
    cr_observation observation_was = cr_observe((cr_observation){ count_op, &walk });
    bool grad_was = cr_set_grad_enabled(false);
    cr_frame frame = cr_frame_begin();
    layer_observer = &observer;
    cr_tensor *x =
        cr_empty_with((cr_tensor_args){ .shape = input, .dtype = dtype, .device = CR_META });
    cr_tensor *y = x ? function(cr_root(model), x, settings) : NULL;
    walk.summary.output = cr_shape_of(y);
    walk.summary.parameters = cr_model_parameter_count(model, false);
    layer_observer = observer_was;
    cr_frame_end(frame);
    cr_set_grad_enabled(grad_was);
    cr_observe(observation_was);
    if (!y && !cr_failed())
        cr_error_set(CR_ERROR_STATE, "the model function returned NULL without an error");
    if (summary && !cr_failed())
        *summary = walk.summary;
    else
        cr_summary_free(&walk.summary);
    return cr_error_status();
}

void cr_summary_free(cr_summary *summary)
{
    for (int i = 0; i < summary->count; i++)
        cr_free(summary->rows[i].name);
    cr_free(summary->rows);
    *summary = (cr_summary){ 0 };
}
