/* Activation checkpointing: a node that holds a function and its inputs instead of what the
 * function computed, and computes it again when backward comes by. */
#include <string.h>

#include "autograd/autograd.h"

struct checkpoint_attributes {
    cr_checkpoint_function function;
    void *context;          /* the caller's; NULL: the copy */
    cr_generator generator; /* as it stood before the first run */
    cr_dtype autocast;
    _Alignas(16) char copy[CR_CHECKPOINT_CONTEXT];
};

/* The first input that is the same tensor as input i. */
static int first_like(const cr_gradient_call *call, int i)
{
    int first = 0;
    while (call->inputs[first] != call->inputs[i])
        first++;
    return first;
}

/* The inputs as leaves of a graph of their own, with the gradients that they have so far. */
static cr_status detach_inputs(const cr_gradient_call *call, cr_tensor **detached)
{
    for (int i = 0; i < call->input_count; i++) {
        if (!call->inputs[i])
            continue;
        int first = first_like(call, i);
        detached[i] = first < i ? detached[first] : cr_detach(call->inputs[i]);
        if (!detached[i])
            return cr_error_status();
        if (first < i || !call->needs[i])
            continue;
        detached[i]->requires_grad = true;
        detached[i]->grad = backward_take_gradient(i);
    }
    return CR_OK;
}

static void *context_of(const struct checkpoint_attributes *attributes)
{
    return attributes->context ? attributes->context : (void *)(uintptr_t)attributes->copy;
}

static cr_status recompute(cr_gradient_call *call, cr_tensor **detached)
{
    const struct checkpoint_attributes *attributes = call->attributes;
    cr_generator *generator = cr_default_generator();
    cr_generator generator_was = *generator;
    struct grad_modes modes_was = grad_modes_swap((struct grad_modes){
        .grad_enabled = true, .is_recomputing = true, .autocast = attributes->autocast });
    *generator = attributes->generator;
    /* Only the graph holds what the function makes, so that it goes as backward consumes it. */
    cr_frame frame = cr_frame_begin();
    cr_tensor *output = cr_frame_end_with(
        frame, attributes->function(detached, call->input_count, context_of(attributes)));
    *generator = generator_was;
    grad_modes_swap(modes_was);
    if (!output)
        return cr_failed() ? cr_error_status()
                           : cr_error_set(CR_ERROR_STATE, "the function returned NULL");
    if (!output->requires_grad)
        return CR_OK;
    return cr_backward(output, .gradient = call->grad_outputs[0]);
}

static cr_status checkpoint_backward(cr_gradient_call *call)
{
    if (cr_grad_enabled())
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "checkpoint: has no second-order gradient; run the function without "
                            "cr_checkpoint where create_graph is wanted");
    size_t count = (size_t)CR_MAX(call->input_count, 1);
    cr_tensor **detached = cr_alloc_zeroed(count, sizeof *detached);
    if (!detached)
        return CR_ERROR_MEMORY;
    cr_status status = detach_inputs(call, detached);
    if (status == CR_OK)
        status = recompute(call, detached);
    for (int i = 0; i < call->input_count && status == CR_OK; i++) {
        if (call->needs[i] && detached[i]->grad && first_like(call, i) == i)
            call->grad_inputs[i] = cr_frame_add(cr_retain(detached[i]->grad));
    }
    cr_free(detached);
    if (status != CR_OK)
        cr_error_prefix("checkpoint");
    return status;
}

/* Not in the table of ops: it cannot be run by name. */
static const cr_op checkpoint_op = {
    .name = "checkpoint",
    .input_names = "inputs*",
    .attribute_size = sizeof(struct checkpoint_attributes),
    .max_inputs = -1,
    .save_inputs = ~(uint64_t)0,
    .backward = checkpoint_backward,
};

static cr_tensor *checkpoint_record(const struct checkpoint_attributes *attributes,
                                    cr_tensor *const *inputs, int count, cr_tensor *output)
{
    /* The result may be an input or a parameter; the graph needs a handle of its own. */
    cr_tensor *result = cr_detach(output);
    struct node *node = node_new(&checkpoint_op, attributes, inputs, count, 1);
    if (!result || !node) {
        node_release(node);
        return NULL;
    }
    cr_status status = node_adopt_outputs(node, &result);
    node_release(node);
    return status == CR_OK ? result : NULL;
}

static cr_tensor *run_checkpoint(const struct checkpoint_attributes *attributes,
                                 cr_tensor *const *inputs, int count)
{
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_tensor *output = attributes->function(inputs, count, context_of(attributes));
    cr_set_grad_enabled(was);
    if (!output)
        cr_error_set(CR_ERROR_STATE, "checkpoint: the function returned NULL");
    else if (was)
        output = checkpoint_record(attributes, inputs, count, output);
    return cr_frame_end_with(frame, output);
}

cr_tensor *cr_checkpoint(cr_checkpoint_function function, cr_tensor *const *inputs, int count,
                         void *context)
{
    if (cr_failed())
        return NULL;
    struct checkpoint_attributes attributes = { .function = function,
                                                .context = context,
                                                .generator = *cr_default_generator(),
                                                .autocast = cr_autocast_dtype() };
    return run_checkpoint(&attributes, inputs, count);
}

cr_tensor *cr_checkpoint_with(cr_checkpoint_function function, cr_tensor *const *inputs, int count,
                              const void *context, size_t size)
{
    if (cr_failed())
        return NULL;
    struct checkpoint_attributes attributes = { .function = function,
                                                .generator = *cr_default_generator(),
                                                .autocast = cr_autocast_dtype() };
    if (size > sizeof attributes.copy) {
        cr_error_set(CR_ERROR_ARGUMENT, "checkpoint: a context of over %zu bytes",
                     sizeof attributes.copy);
        return NULL;
    }
    memcpy(attributes.copy, context, size);
    return run_checkpoint(&attributes, inputs, count);
}
