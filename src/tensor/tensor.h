/* What a tensor is made of, for the folders that compute with it. */
#ifndef CR_TENSOR_TENSOR_H
#define CR_TENSOR_TENSOR_H

#include <stdatomic.h>

#include "base/base.h"
#include "cresset/tensor.h"

/* ---- dtype ---- */

CR_INLINE float bf16_to_float(uint16_t bits)
{
    union {
        uint32_t bits;
        float value;
    } wide = { (uint32_t)bits << 16 };
    return wide.value;
}

/* Rounds to nearest even; NaN stays a quiet NaN. Without a branch, so that loops become vectors. */
CR_INLINE uint16_t bf16_from_float(float value)
{
    union {
        float value;
        uint32_t bits;
    } wide = { value };
    uint32_t rounded = (wide.bits + 0x7fffu + ((wide.bits >> 16) & 1u)) >> 16;
    return (uint16_t)(value != value ? (wide.bits >> 16) | 0x40u : rounded);
}

float f16_to_float(uint16_t bits);
uint16_t f16_from_float(float value);

/* 0 bool, 1 integer, 2 floating. */
int dtype_kind(cr_dtype dtype);

/* ---- storage ---- */

struct storage {
    atomic_int references;
    atomic_uint version; /* counts in-place edits */
    size_t bytes;
    void *data;
    bool is_foreign;                /* data is the caller's, not from cr_buffer_alloc */
    void (*release)(void *context); /* of foreign data, or of what an op keeps with ours; or NULL */
    void *context;
};

/* ---- tensor ---- */

struct node;
struct grad_hook;

struct cr_tensor {
    atomic_int references;
    uint8_t dtype;  /* cr_dtype */
    uint8_t device; /* cr_device */
    bool requires_grad;
    bool is_number;       /* cr_scalar: does not raise the dtype of its kind */
    bool retains_grad;    /* not a leaf, but keeps its gradient */
    bool is_parameter;    /* of a model, frozen or not: autocast keeps its cast */
    uint8_t output_index; /* which output of node */
    cr_shape shape;
    int64_t stride[CR_MAX_DIMS]; /* elements */
    int64_t offset;              /* elements */
    struct storage *storage;     /* NULL on CR_META */
    struct node *node;           /* what made it; NULL for a leaf. Owned */
    cr_tensor *grad;             /* owned */
    struct grad_hook *hooks;     /* of a leaf */
    cr_tensor *cast;             /* autocast's copy in another dtype, which no graph holds. Owned */
    unsigned cast_version;       /* of the storage, when it was made */
};

/* Set by autograd: gives back what a dying tensor holds of the graph (node, grad, hooks). */
extern void (*tensor_release_graph)(cr_tensor *tensor);

/* Makes a tensor owned by the frame, not initialised, its strides contiguous. NULL on failure. */
cr_tensor *tensor_new(cr_device device, cr_dtype dtype, const cr_shape *shape);

/* The same without a frame: the caller owns one reference. */
cr_tensor *tensor_new_owned(cr_device device, cr_dtype dtype, const cr_shape *shape);

/* Set while the calling thread runs a model on CR_META to know its graph (graph/trace.c): what
 * cr_empty and its kin and ranges make on CR_META has data then, since it is constant, and what can
 * be one op or several is several. */
extern CR_THREAD_LOCAL bool tensor_is_traced;

/* A tensor that shares `base`'s storage; offset counts from base's first element. Frame-owned. */
cr_tensor *tensor_view(cr_tensor *base, cr_dtype dtype, const cr_shape *shape,
                       const int64_t *stride, int64_t offset);

/* The same, owned by the caller. */
cr_tensor *tensor_alias_owned(cr_tensor *base);

/* True if all elements lie in row-major order without gaps. */
bool tensor_is_contiguous(const cr_tensor *tensor);

CR_INLINE char *tensor_bytes(const cr_tensor *tensor)
{
    return tensor->storage ? (char *)tensor->storage->data +
                                 tensor->offset * (int64_t)cr_dtype_size((cr_dtype)tensor->dtype)
                           : NULL;
}

/* The first element, typed: TENSOR_DATA(float, x). */
#define TENSOR_DATA(type, tensor) ((type *)(void *)tensor_bytes(tensor))

CR_INLINE int64_t tensor_numel(const cr_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->shape.ndim; i++)
        count *= tensor->shape.dim[i];
    return count;
}

CR_INLINE void tensor_bump_version(cr_tensor *tensor)
{
    if (tensor->storage)
        atomic_fetch_add_explicit(&tensor->storage->version, 1u, memory_order_relaxed);
}

CR_INLINE unsigned tensor_version(const cr_tensor *tensor)
{
    return tensor->storage ? atomic_load_explicit(&tensor->storage->version, memory_order_relaxed)
                           : 0;
}

CR_INLINE bool tensor_is_floating(const cr_tensor *tensor)
{
    return cr_dtype_is_floating((cr_dtype)tensor->dtype);
}

/* The dtype of a result computed from all of them (NULLs skipped), by PyTorch's rules: tensors with
 * dimensions decide; those without, and then numbers, only raise the kind. */
cr_dtype promote_tensors(cr_tensor *const *tensors, int count);

/* Writes a number as one element of dtype; what does not fit an integer is clamped to 64 bits and
 * then cut. */
void element_write(cr_dtype dtype, double value, void *at);

/* Row-major strides of a shape. */
void shape_contiguous_strides(const cr_shape *shape, int64_t *stride);

/* A dimension that may count from the end, checked and made non-negative: -1 and an error (naming
 * `what`) if it is out of range. A tensor of no dimensions has dimensions 0 and -1. */
int shape_wrap_dim(int64_t dim, int ndim, const char *what);

/* The shape that a and b broadcast to, by PyTorch's rules. */
cr_status shape_broadcast(const cr_shape *a, const cr_shape *b, cr_shape *result);

/* Refuses shapes with negative sizes, too many dimensions or too many elements. */
cr_status shape_check(const cr_shape *shape, cr_dtype dtype, size_t *bytes);

#endif
