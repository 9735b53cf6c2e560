/* What each thread has switched on or off, and the flags and gradients of single tensors. */
#include <math.h>

#include "autograd/autograd.h"
#include "kernels/gemm/gemm.h"

static CR_THREAD_LOCAL struct grad_modes modes = { .grad_enabled = true, .autocast = CR_F32 };
static CR_THREAD_LOCAL bool anomaly_mode;

struct grad_modes grad_modes_now(void)
{
    return modes;
}

struct grad_modes grad_modes_swap(struct grad_modes next)
{
    struct grad_modes was = modes;
    modes = next;
    return was;
}

bool cr_set_grad_enabled(bool enabled)
{
    bool was = modes.grad_enabled;
    modes.grad_enabled = enabled;
    return was;
}

bool cr_grad_enabled(void)
{
    return modes.grad_enabled;
}

bool cr_set_anomaly_mode(bool enabled)
{
    bool was = anomaly_mode;
    anomaly_mode = enabled;
    return was;
}

bool cr_anomaly_mode(void)
{
    return anomaly_mode;
}

cr_dtype cr_set_autocast(cr_dtype dtype)
{
    cr_dtype was = modes.autocast;
    modes.autocast = dtype;
    return was;
}

cr_dtype cr_autocast_dtype(void)
{
    return modes.autocast;
}

cr_dtype cr_autocast_for_inference(cr_dtype dtype)
{
    bool is_slow = dtype == CR_BF16 && !cr_gemm_kernels_of(CR_GEMM_BF16)->pairs;
    return is_slow ? CR_F32 : dtype;
}

bool cr_is_recomputing(void)
{
    return modes.is_recomputing;
}

/* ---- single tensors ---- */

cr_tensor *cr_set_requires_grad(cr_tensor *tensor, bool requires_grad)
{
    if (!tensor)
        return NULL;
    if (requires_grad && !tensor_is_floating(tensor)) {
        cr_error_set(CR_ERROR_DTYPE,
                     "set_requires_grad: only floating tensors have gradients, not %s",
                     cr_dtype_name((cr_dtype)tensor->dtype));
        return NULL;
    }
    if (tensor->node && !requires_grad) {
        cr_error_set(CR_ERROR_STATE, "set_requires_grad: a tensor made by an op cannot stop "
                                     "requiring a gradient; use cr_detach");
        return NULL;
    }
    tensor->requires_grad = requires_grad;
    return tensor;
}

bool cr_requires_grad(const cr_tensor *tensor)
{
    return tensor && tensor->requires_grad;
}

bool cr_is_leaf(const cr_tensor *tensor)
{
    return tensor && !tensor->node;
}

cr_tensor *cr_grad_of(const cr_tensor *tensor)
{
    return tensor ? tensor->grad : NULL;
}

cr_status cr_set_grad(cr_tensor *tensor, cr_tensor *grad)
{
    if (!tensor)
        return cr_error_set(CR_ERROR_ARGUMENT, "set_grad: the tensor is NULL");
    if (grad && (grad->dtype != tensor->dtype || !cr_shape_equal(&grad->shape, &tensor->shape))) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE, "set_grad: the gradient is %s %s but the tensor %s %s",
                            cr_dtype_name((cr_dtype)grad->dtype),
                            cr_shape_format(&grad->shape, text[0], sizeof text[0]),
                            cr_dtype_name((cr_dtype)tensor->dtype),
                            cr_shape_format(&tensor->shape, text[1], sizeof text[1]));
    }
    cr_retain(grad);
    cr_tensor *old = tensor->grad;
    tensor->grad = grad;
    cr_release(old);
    return CR_OK;
}

cr_tensor *cr_retain_grad(cr_tensor *tensor)
{
    if (!tensor || !tensor->node)
        return tensor;
    tensor->retains_grad = true;
    tensor->node->watched[tensor->output_index] = tensor;
    return tensor;
}

cr_tensor *cr_detach(cr_tensor *tensor)
{
    if (!tensor || cr_failed())
        return NULL;
    return cr_frame_add(tensor_is_traced ? cr_retain(tensor) : tensor_alias_owned(tensor));
}

cr_status cr_register_hook(cr_tensor *tensor, cr_grad_hook function, void *context)
{
    if (!tensor || !tensor->requires_grad)
        return cr_error_set(CR_ERROR_STATE,
                            "register_hook: the tensor does not require a gradient");
    struct grad_hook *hook = cr_alloc(sizeof *hook);
    if (!hook)
        return CR_ERROR_MEMORY;
    *hook = (struct grad_hook){ .output = tensor->output_index,
                                .function = function,
                                .context = context };
    struct grad_hook **end = tensor->node ? &tensor->node->hooks : &tensor->hooks;
    while (*end)
        end = &(*end)->next;
    *end = hook;
    return CR_OK;
}

cr_status anomaly_check(const cr_op *op, const cr_tensor *tensor, const char *what)
{
    if (!tensor || !tensor->storage || !tensor_is_floating(tensor))
        return CR_OK;
    int64_t count = tensor_numel(tensor);
    for (int64_t i = 0; i < count; i++) {
        if (isnan(cr_element(tensor, i))) {
            char text[CR_SHAPE_TEXT];
            return cr_error_set(
                CR_ERROR_NUMERIC, "%s made a NaN in its %s of shape %s (element %lld)", op->name,
                what, cr_shape_format(&tensor->shape, text, sizeof text), (long long)i);
        }
    }
    return CR_OK;
}
