/* The way of kernels that compute in float32 and float64 only with bfloat16 and float16: float32
 * copies of the inputs, and a float32 result that is rounded at the end, in the workspace. */
#include "ops/ops.h"

#define ALIGNMENT 64

static bool is_half(const cr_tensor *x)
{
    return x->dtype == CR_BF16 || x->dtype == CR_F16;
}

static size_t copy_size(const cr_tensor *x)
{
    size_t bytes = (size_t)tensor_numel(x) * sizeof(float);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

size_t half_workspace(const cr_call *call)
{
    if (!is_half(call->outputs[0]))
        return 0;
    size_t size = copy_size(call->outputs[0]);
    for (int i = 0; i < call->input_count; i++)
        size += call->inputs[i] ? copy_size(call->inputs[i]) : 0;
    return size;
}

/* A float32 tensor of the shape of x over `at`, made in the i-th place. */
static cr_tensor *float_copy(struct half_call *half, int i, const cr_tensor *x, char *at)
{
    cr_tensor *copy = &half->tensors[i];
    copy->dtype = CR_F32;
    copy->shape = x->shape;
    copy->storage = &half->storages[i];
    copy->storage->data = at;
    copy->storage->bytes = copy_size(x);
    shape_contiguous_strides(&copy->shape, copy->stride);
    return copy;
}

const cr_call *half_begin(struct half_call *half, const cr_call *call)
{
    if (!is_half(call->outputs[0]))
        return call;
    *half = (struct half_call){ .call = *call };
    size_t used = half_workspace(call);
    char *at = (char *)call->workspace + call->workspace_size - used;
    half->call.workspace_size -= used;
    for (int i = 0; i < call->input_count; i++) {
        if (!call->inputs[i])
            continue;
        half->inputs[i] = float_copy(half, i, call->inputs[i], at);
        copy_tensor(half->inputs[i], call->inputs[i]);
        at += copy_size(call->inputs[i]);
    }
    half->output = float_copy(half, HALF_INPUTS, call->outputs[0], at);
    half->call.inputs = half->inputs;
    half->call.outputs = &half->output;
    return &half->call;
}

void half_end(const cr_call *computed, const cr_call *call)
{
    if (computed != call)
        copy_tensor(call->outputs[0], computed->outputs[0]);
}
