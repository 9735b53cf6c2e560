/* The dispatcher: the one way in which an op runs.
 *
 * check → autocast → compose, or: infer → allocate → kernel → record. Everything that is true of
 * all ops (errors that stick, contiguous inputs for kernels, the meta device, observers, anomaly
 * mode) is decided here and nowhere else. */
#include <string.h>

#include "autograd/autograd.h"
#include "cresset/pointwise.h"
#include "kernels/elementwise/elementwise.h"
#include "profile/profile.h"

#define MAX_ATTRIBUTE_BYTES 1024

static CR_THREAD_LOCAL cr_observation observation;

cr_observation cr_observe(cr_observation next)
{
    cr_observation was = observation;
    observation = next;
    return was;
}

static int op_output_count(const cr_op *op)
{
    return op->output_count ? op->output_count : 1;
}

/* ---- checks ---- */

static cr_status refuse_count(const cr_op *op, int most, int count)
{
    if (most < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "takes at least %d inputs (%s), not %d",
                            op->min_inputs, op->input_names, count);
    if (most == op->min_inputs)
        return cr_error_set(CR_ERROR_ARGUMENT, "takes %d input%s (%s), not %d", most,
                            most == 1 ? "" : "s", op->input_names, count);
    return cr_error_set(CR_ERROR_ARGUMENT, "takes %d to %d inputs (%s), not %d", op->min_inputs,
                        most, op->input_names, count);
}

static cr_status check_inputs(const cr_op *op, cr_inputs inputs)
{
    int most = op->max_inputs ? op->max_inputs : op->min_inputs;
    if (inputs.count < op->min_inputs || (most >= 0 && inputs.count > most))
        return refuse_count(op, most, inputs.count);
    int required = most < 0 ? inputs.count : op->min_inputs;
    for (int i = 0; i < required; i++) {
        if (!inputs.at[i])
            return cr_error_set(CR_ERROR_ARGUMENT, "input %d (of %s) is NULL", i, op->input_names);
    }
    return CR_OK;
}

/* ---- dtypes ---- */

/* Converts all inputs to the dtype of the result. */
static cr_status promote_all(const cr_op *op, cr_tensor **inputs, int count)
{
    cr_dtype dtype = promote_tensors(inputs, count);
    if ((op->flags & CR_OP_PROMOTE_FLOATING) && !cr_dtype_is_floating(dtype))
        dtype = CR_F32;
    for (int i = 0; i < count; i++) {
        cr_tensor *input = inputs[i];
        if (!input || (input->dtype == (uint8_t)dtype && !input->is_number))
            continue;
        /* A number has taken its dtype; as backward reads it, it must weigh as a tensor does. */
        inputs[i] = input->dtype == (uint8_t)dtype
                        ? tensor_view(input, dtype, &input->shape, input->stride, 0)
                        : cr_to_dtype(input, dtype);
        if (!inputs[i])
            return cr_error_status();
    }
    return CR_OK;
}

/* ---- running one op with a kernel, or a view ---- */

struct invocation {
    const cr_op *op;
    cr_inputs inputs;
    cr_device device;
    int output_count;
    cr_infer_call inferred;
    cr_tensor *outputs[CR_MAX_OUTPUTS];
};

/* One input without data is enough to make the results be without, so that a model can be run for
 * its shapes on parameters that exist. */
static cr_device inputs_device(cr_inputs inputs)
{
    for (int i = 0; i < inputs.count; i++) {
        if (inputs.at[i] && inputs.at[i]->device == CR_META)
            return CR_META;
    }
    return CR_CPU;
}

static bool gradient_wanted(const cr_op *op, cr_inputs inputs)
{
    if (!cr_grad_enabled() || (op->flags & CR_OP_NOT_DIFFERENTIABLE))
        return false;
    for (int i = 0; i < inputs.count; i++) {
        if (inputs.at[i] && inputs.at[i]->requires_grad)
            return true;
    }
    return false;
}

static cr_tensor *make_output(const struct invocation *run, const cr_tensor_spec *spec)
{
    size_t bytes;
    if (!(run->op->flags & CR_OP_VIEW)) {
        cr_tensor *output = tensor_new(run->device, spec->dtype, &spec->shape);
        if (output && spec->stride.ndim)
            memcpy(output->stride, spec->stride.dim, sizeof output->stride);
        return output;
    }
    if (shape_check(&spec->shape, spec->dtype, &bytes) != CR_OK)
        return NULL;
    return tensor_view(run->inputs.at[0], spec->dtype, &spec->shape, spec->stride.dim,
                       spec->offset);
}

static cr_status allocate_outputs(struct invocation *run)
{
    for (int i = 0; i < run->output_count; i++) {
        run->outputs[i] = make_output(run, &run->inferred.outputs[i]);
        if (!run->outputs[i])
            return cr_error_status();
    }
    return CR_OK;
}

/* A contiguous tensor with the same elements, owned by the frame. */
static cr_tensor *contiguous_copy(cr_tensor *tensor)
{
    cr_tensor *copy =
        tensor_new((cr_device)tensor->device, (cr_dtype)tensor->dtype, &tensor->shape);
    if (copy && copy->storage)
        copy_tensor(copy, tensor);
    return copy;
}

static cr_status kernel_inputs(const struct invocation *run, cr_tensor **ready)
{
    for (int i = 0; i < run->inputs.count; i++) {
        cr_tensor *input = run->inputs.at[i];
        ready[i] = input;
        if (!input || (run->op->flags & CR_OP_STRIDED) || tensor_is_contiguous(input))
            continue;
        ready[i] = contiguous_copy(input);
        if (!ready[i])
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status run_kernel(struct invocation *run, cr_call *call, cr_tensor **ready)
{
    const cr_op *op = run->op;
    if (!op->forward[run->device])
        return cr_error_set(CR_ERROR_UNSUPPORTED, "there is no kernel for this device");
    if (kernel_inputs(run, ready) != CR_OK)
        return cr_error_status();
    call->inputs = ready;
    call->workspace_size = op->workspace ? op->workspace(call) : 0;
    if (call->workspace_size) {
        call->workspace = cr_buffer_alloc(call->workspace_size);
        if (!call->workspace)
            return cr_error_status();
        if (profile_mode())
            memory_trace_tag(call->workspace, CR_MEMORY_WORKSPACE);
    }
    op->forward[run->device](call);
    if (call->workspace)
        cr_buffer_free(call->workspace, call->workspace_size);
    call->inputs = run->inputs.at;
    call->workspace = NULL;
    return CR_OK;
}

static cr_status run_compute(struct invocation *run)
{
    cr_tensor *few[16];
    cr_tensor **ready = few;
    cr_call call = { .op = run->op,
                     .attributes = run->inferred.attributes,
                     .inputs = run->inputs.at,
                     .input_count = run->inputs.count,
                     .outputs = run->outputs };
    cr_status status = CR_OK;
    if (!(run->op->flags & CR_OP_VIEW) && run->device != CR_META) {
        if (run->inputs.count > CR_COUNT_OF(few))
            ready = cr_alloc_array((size_t)run->inputs.count, sizeof *ready);
        status = ready ? run_kernel(run, &call, ready) : CR_ERROR_MEMORY;
        if (ready != few)
            cr_free(ready);
    }
    if (status == CR_OK && profile_mode())
        profile_note_op(&call);
    if (status == CR_OK && observation.observer)
        observation.observer(&call, observation.context);
    return status;
}

static cr_status record(struct invocation *run)
{
    struct node *node = node_new(run->op, run->inferred.attributes, run->inputs.at,
                                 run->inputs.count, run->output_count);
    if (!node)
        return CR_ERROR_MEMORY;
    cr_status status = node_adopt_outputs(node, run->outputs);
    node_release(node);
    return status;
}

static cr_status run_primitive(struct invocation *run)
{
    const cr_op *op = run->op;
    cr_status status = op->infer(&run->inferred);
    if (status != CR_OK)
        return status;
    if (allocate_outputs(run) != CR_OK || run_compute(run) != CR_OK)
        return cr_error_status();
    if (gradient_wanted(op, run->inputs) && record(run) != CR_OK)
        return cr_error_status();
    if (cr_anomaly_mode()) {
        for (int i = 0; i < run->output_count; i++) {
            if (anomaly_check(op, run->outputs[i], "result") != CR_OK)
                return cr_error_status();
        }
    }
    return CR_OK;
}

static cr_status run_composed(struct invocation *run)
{
    cr_compose_call call = { .op = run->op,
                             .attributes = run->inferred.attributes,
                             .inputs = run->inputs.at,
                             .input_count = run->inputs.count };
    cr_status status = run->op->compose(&call);
    if (status == CR_OK && cr_failed())
        status = cr_error_status();
    if (status == CR_OK)
        memcpy(run->outputs, call.outputs, sizeof run->outputs);
    return status;
}

/* ---- the way in ---- */

static cr_status convert_inputs(const cr_op *op, cr_tensor **inputs, int count)
{
    if (op->cast != CR_CAST_NONE && cr_autocast_dtype() != CR_F32 &&
        autocast_inputs(op, inputs, count) != CR_OK)
        return cr_error_status();
    if (op->flags & (CR_OP_PROMOTE | CR_OP_PROMOTE_FLOATING))
        return promote_all(op, inputs, count);
    return CR_OK;
}

static cr_status run_in_frame(struct invocation *run)
{
    cr_tensor *few[16];
    cr_tensor **inputs = few;
    int count = run->inputs.count;
    if (count > CR_COUNT_OF(few)) {
        inputs = cr_alloc_array((size_t)count, sizeof *inputs);
        if (!inputs)
            return CR_ERROR_MEMORY;
    }
    if (count)
        memcpy(inputs, run->inputs.at, (size_t)count * sizeof *inputs);
    cr_status status = convert_inputs(run->op, inputs, count);
    run->inputs.at = inputs;
    run->inferred.inputs = inputs;
    if (status == CR_OK)
        status = run->op->compose ? run_composed(run) : run_primitive(run);
    if (inputs != few)
        cr_free(inputs);
    return status;
}

/* Puts the op's name before the standing message, unless it begins with it. A failure inside an op
 * that is written with others names both; ops that only stand behind others are not worth it. */
static cr_status name_op_in_error(const cr_op *op)
{
    const char *message = cr_error_message();
    size_t length = strlen(op->name);
    bool is_inner = op->name[0] == '_' || strncmp(op->name, "native_", 7) == 0;
    bool is_named = strncmp(message, op->name, length) == 0 &&
                    (message[length] == ':' || message[length] == ' ');
    if (!is_inner && !is_named)
        cr_error_prefix("%s", op->name);
    return cr_error_status();
}

cr_status cr_apply_all(const cr_op *op, cr_inputs inputs, const void *attributes,
                       cr_tensor *outputs[CR_MAX_OUTPUTS])
{
    _Alignas(16) char copy[MAX_ATTRIBUTE_BYTES];
    memset(outputs, 0, CR_MAX_OUTPUTS * sizeof *outputs);
    if (cr_failed())
        return cr_error_status();
    if (check_inputs(op, inputs) != CR_OK)
        return name_op_in_error(op);
    if (op->attribute_size > sizeof copy)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: attributes of over %zu bytes", op->name,
                            sizeof copy);
    if (op->attribute_size)
        memcpy(copy, attributes, op->attribute_size);
    struct invocation run = {
        .op = op,
        .inputs = inputs,
        .device = inputs_device(inputs),
        .output_count = op_output_count(op),
        .inferred = { .op = op,
                      .attributes = copy,
                      .inputs = inputs.at,
                      .input_count = inputs.count },
    };
    cr_frame frame = cr_frame_begin();
    uint32_t profiled = profile_mode() && !op->compose ? profile_push(PROFILE_OP, op->name) : 0;
    cr_status status = run_in_frame(&run);
    if (status == CR_OK)
        memcpy(outputs, run.outputs, sizeof run.outputs);
    cr_frame_end_with_all(frame, outputs, CR_MAX_OUTPUTS);
    if (CR_UNLIKELY(profiled))
        profile_pop(profiled);
    if (status == CR_OK && cr_failed()) {
        memset(outputs, 0, CR_MAX_OUTPUTS * sizeof *outputs);
        status = cr_error_status();
    }
    return status == CR_OK ? CR_OK : name_op_in_error(op);
}

cr_tensor *cr_apply(const cr_op *op, cr_inputs inputs, const void *attributes)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_apply_all(op, inputs, attributes, outputs);
    return outputs[0];
}
