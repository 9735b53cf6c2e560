/* Autocast: the inputs of an op brought to the dtype that its policy asks for.
 *
 * A parameter is cast once for each of its values: the copy is kept with the tensor, under the
 * version that it was made of, so a step of training casts each weight once however often it is
 * used, and inference casts it once at all. Only the numbers are kept. Every use has a node of its
 * own, so a kept copy holds no graph, and gradients are added up in the parameter's dtype. */
#include <pthread.h>

#include "autograd/autograd.h"
#include "cresset/pointwise.h"
#include "kernels/elementwise/elementwise.h"

static pthread_mutex_t casts = PTHREAD_MUTEX_INITIALIZER;

/* The kept copy, if it is one of the present value; the caller owns it. */
static cr_tensor *cast_find(const cr_tensor *leaf, cr_dtype target, unsigned version)
{
    cr_tensor *found = NULL;
    pthread_mutex_lock(&casts);
    if (leaf->cast && leaf->cast->dtype == (uint8_t)target && leaf->cast_version == version)
        found = cr_retain(leaf->cast);
    pthread_mutex_unlock(&casts);
    return found;
}

static void cast_keep(cr_tensor *leaf, cr_tensor *copy, unsigned version)
{
    cr_retain(copy);
    pthread_mutex_lock(&casts);
    cr_tensor *old = leaf->cast;
    leaf->cast = copy;
    leaf->cast_version = version;
    pthread_mutex_unlock(&casts);
    cr_release(old);
}

static cr_tensor *cast_make(cr_tensor *leaf, cr_dtype target, unsigned version)
{
    cr_tensor *copy = tensor_new_owned((cr_device)leaf->device, target, &leaf->shape);
    if (!copy)
        return NULL;
    copy_tensor(copy, leaf);
    cr_memory_tag(copy, CR_MEMORY_PARAMETER);
    cast_keep(leaf, copy, version);
    return copy;
}

/* The engine converts a gradient to the dtype of its input. */
static cr_status cast_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = call->grad_outputs[0];
    return CR_OK;
}

/* Not in the table of ops: what can be called is to_dtype. */
static const cr_op cast_op = {
    .name = "to_dtype",
    .input_names = "x",
    .min_inputs = 1,
    .backward = cast_backward,
};

static cr_tensor *cast_parameter(cr_tensor *leaf, cr_dtype target)
{
    unsigned version = tensor_version(leaf);
    cr_tensor *copy = cast_find(leaf, target, version);
    if (!copy)
        copy = cast_make(leaf, target, version);
    if (!copy)
        return NULL;
    cr_tensor *use = cr_frame_add(tensor_alias_owned(copy));
    cr_release(copy);
    if (!use || !leaf->requires_grad || !cr_grad_enabled())
        return use;
    struct node *node = node_new(&cast_op, NULL, &leaf, 1, 1);
    cr_status status = node ? node_adopt_outputs(node, &use) : CR_ERROR_MEMORY;
    node_release(node);
    return status == CR_OK ? use : NULL;
}

static bool is_parameter(const cr_tensor *tensor)
{
    return !tensor->node && tensor->storage && (tensor->requires_grad || tensor->is_parameter);
}

static cr_dtype cast_target(const cr_op *op, cr_tensor *const *inputs, int count)
{
    cr_dtype widest = cr_autocast_dtype();
    if (op->cast == CR_CAST_LOWER)
        return widest;
    if (op->cast == CR_CAST_F32)
        return CR_F32;
    for (int i = 0; i < count; i++) {
        if (inputs[i] && tensor_is_floating(inputs[i]) && !inputs[i]->is_number)
            widest = cr_promote_types(widest, (cr_dtype)inputs[i]->dtype);
    }
    return widest;
}

cr_status autocast_inputs(const cr_op *op, cr_tensor **inputs, int count)
{
    cr_dtype target = cast_target(op, inputs, count);
    for (int i = 0; i < count; i++) {
        cr_tensor *input = inputs[i];
        if (!input || input->is_number || !tensor_is_floating(input) || input->dtype == CR_F64 ||
            input->dtype == (uint8_t)target)
            continue;
        bool is_kept = op->cast == CR_CAST_LOWER && is_parameter(input);
        inputs[i] = is_kept ? cast_parameter(input, target) : cr_to_dtype(input, target);
        if (!inputs[i])
            return cr_error_status();
    }
    return CR_OK;
}
