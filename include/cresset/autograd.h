/* Automatic differentiation: a graph is recorded while ops run, and walked backwards.
 *
 * A tensor that requires a gradient and was not made by an op is a leaf; cr_backward adds to its
 * gradient. Grad mode, anomaly mode and autocast belong to the calling thread. */
#ifndef CRESSET_AUTOGRAD_H
#define CRESSET_AUTOGRAD_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a leaf record (or not record) what is done with it. Floating dtypes only. Returns tensor.
 */
cr_tensor *cr_set_requires_grad(cr_tensor *tensor, bool requires_grad);
bool cr_requires_grad(const cr_tensor *tensor);
bool cr_is_leaf(const cr_tensor *tensor);

/* The gradient that backward left: borrowed from the tensor, NULL if there is none. */
cr_tensor *cr_grad_of(const cr_tensor *tensor);

/* Replaces the gradient (NULL clears it); shape and dtype must be the tensor's. */
cr_status cr_set_grad(cr_tensor *tensor, cr_tensor *grad);

/* Keeps the gradient of a tensor that is not a leaf, too. Returns tensor. */
cr_tensor *cr_retain_grad(cr_tensor *tensor);

/* Shares the storage, outside the graph. */
cr_tensor *cr_detach(cr_tensor *tensor);

/* Called with each gradient of `tensor` before it goes further; returns the gradient to use instead
 * (or `grad` itself). Hooks run in the order they were added and live as long as the graph or leaf.
 */
typedef cr_tensor *(*cr_grad_hook)(cr_tensor *grad, void *context);
cr_status cr_register_hook(cr_tensor *tensor, cr_grad_hook hook, void *context);

/* Walks the graph back from `output` and adds to the gradients of the leaves. */
typedef struct cr_backward_args {
    cr_tensor *output;
    cr_tensor *gradient; /* the seed; needed unless output has one element; its shape is output's */
    bool retain_graph;   /* keep what is saved, so that backward can run again */
    bool create_graph;   /* record backward itself, for second-order gradients; implies retain */
} cr_backward_args;
#define cr_backward(...) cr_backward_with((cr_backward_args){ .output = __VA_ARGS__ })
cr_status cr_backward_with(cr_backward_args args);

/* The gradients of sum(output * gradient) with respect to `inputs`, into `grads` (owned by the
 * frame; NULL where the output does not depend on the input). Leaves keep their own gradients. */
cr_status cr_grad(cr_backward_args args, cr_tensor *const *inputs, int count, cr_tensor **grads);

/* Recording on or off; returns what it was:
 *     bool was = cr_set_grad_enabled(false); … cr_set_grad_enabled(was); */
bool cr_set_grad_enabled(bool enabled);
bool cr_grad_enabled(void);

/* While on, every op's result and gradient is searched for NaN, and the first op that makes one
 * fails with its name. Slow; returns what it was. */
bool cr_set_anomaly_mode(bool enabled);
bool cr_anomaly_mode(void);

/* Autocast: ops that gain from it compute in `dtype` (CR_BF16, CR_F16), those that need it in
 * float32. CR_F32 turns it off. Returns what it was. */
cr_dtype cr_set_autocast(cr_dtype dtype);
cr_dtype cr_autocast_dtype(void);

/* What to autocast inference to where `dtype` is asked for: CR_F32 in place of CR_BF16 where the
 * kernels in use have no bfloat16 instructions, so that lowering could only cost time (training
 * still saves memory by it); else `dtype`. */
cr_dtype cr_autocast_for_inference(cr_dtype dtype);

/* Activation checkpointing (Chen et al., "Training deep nets with sublinear memory cost", 2016):
 * runs function(inputs, count, context) without recording, and again, recording, when backward
 * comes to it, with the same random numbers. `context` must live until then. */
typedef cr_tensor *(*cr_checkpoint_function)(cr_tensor *const *inputs, int count, void *context);
cr_tensor *cr_checkpoint(cr_checkpoint_function function, cr_tensor *const *inputs, int count,
                         void *context);

/* The same with a context of `size` bytes that is copied, at most CR_CHECKPOINT_CONTEXT of them, so
 * that it need not live until backward. */
#define CR_CHECKPOINT_CONTEXT 512
cr_tensor *cr_checkpoint_with(cr_checkpoint_function function, cr_tensor *const *inputs, int count,
                              const void *context, size_t size);

/* True inside the second run; batch norm leaves its running statistics alone then. */
bool cr_is_recomputing(void);

#ifdef __cplusplus
}
#endif
#endif
