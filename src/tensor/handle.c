/* Tensor handles: making them, what they share, and their end. */
#include <string.h>

#include "tensor/tensor.h"

void (*tensor_release_graph)(cr_tensor *tensor);

static struct storage *storage_new(size_t bytes)
{
    struct storage *storage = cr_alloc(sizeof *storage);
    if (!storage)
        return NULL;
    *storage = (struct storage){ .bytes = bytes };
    atomic_init(&storage->references, 1);
    storage->data = cr_buffer_alloc(bytes);
    if (!storage->data) {
        cr_free(storage);
        return NULL;
    }
    return storage;
}

static void storage_release(struct storage *storage)
{
    if (!storage || atomic_fetch_sub_explicit(&storage->references, 1, memory_order_acq_rel) != 1)
        return;
    /* Of foreign data this gives the data back, of our own what an op keeps with it. */
    if (storage->release)
        storage->release(storage->context);
    if (!storage->is_foreign)
        cr_buffer_free(storage->data, storage->bytes);
    cr_free(storage);
}

static cr_tensor *handle_new(cr_device device, cr_dtype dtype, const cr_shape *shape)
{
    cr_tensor *tensor = cr_alloc(sizeof *tensor);
    if (!tensor)
        return NULL;
    *tensor = (cr_tensor){ .dtype = (uint8_t)dtype, .device = (uint8_t)device, .shape = *shape };
    atomic_init(&tensor->references, 1);
    shape_contiguous_strides(shape, tensor->stride);
    return tensor;
}

cr_tensor *tensor_new_owned(cr_device device, cr_dtype dtype, const cr_shape *shape)
{
    size_t bytes;
    if (shape_check(shape, dtype, &bytes) != CR_OK)
        return NULL;
    cr_tensor *tensor = handle_new(device, dtype, shape);
    if (!tensor || device == CR_META)
        return tensor;
    tensor->storage = storage_new(bytes);
    if (!tensor->storage) {
        cr_free(tensor);
        return NULL;
    }
    return tensor;
}

cr_tensor *tensor_new(cr_device device, cr_dtype dtype, const cr_shape *shape)
{
    return cr_frame_add(tensor_new_owned(device, dtype, shape));
}

cr_tensor *tensor_alias_owned(cr_tensor *base)
{
    cr_tensor *alias = cr_alloc(sizeof *alias);
    if (!alias)
        return NULL;
    *alias = (cr_tensor){ .dtype = base->dtype,
                          .device = base->device,
                          .is_number = base->is_number,
                          .shape = base->shape,
                          .offset = base->offset,
                          .storage = base->storage };
    atomic_init(&alias->references, 1);
    memcpy(alias->stride, base->stride, sizeof alias->stride);
    if (alias->storage)
        atomic_fetch_add_explicit(&alias->storage->references, 1, memory_order_relaxed);
    return alias;
}

cr_tensor *tensor_view(cr_tensor *base, cr_dtype dtype, const cr_shape *shape,
                       const int64_t *stride, int64_t offset)
{
    cr_tensor *view = tensor_alias_owned(base);
    if (!view)
        return NULL;
    view->dtype = (uint8_t)dtype;
    view->is_number = false;
    view->shape = *shape;
    view->offset += offset;
    for (int i = 0; i < shape->ndim; i++)
        view->stride[i] = stride[i];
    return cr_frame_add(view);
}

cr_tensor *cr_retain(cr_tensor *tensor)
{
    if (tensor)
        atomic_fetch_add_explicit(&tensor->references, 1, memory_order_relaxed);
    return tensor;
}

void cr_release(cr_tensor *tensor)
{
    if (!tensor || atomic_fetch_sub_explicit(&tensor->references, 1, memory_order_acq_rel) != 1)
        return;
    if (tensor->node || tensor->grad || tensor->hooks)
        tensor_release_graph(tensor);
    cr_release(tensor->cast);
    storage_release(tensor->storage);
    cr_free(tensor);
}

/* ---- what a tensor is ---- */

cr_dtype cr_dtype_of(const cr_tensor *tensor)
{
    return tensor ? (cr_dtype)tensor->dtype : CR_F32;
}

cr_device cr_device_of(const cr_tensor *tensor)
{
    return tensor ? (cr_device)tensor->device : CR_CPU;
}

cr_shape cr_shape_of(const cr_tensor *tensor)
{
    return tensor ? tensor->shape : cr_shape_scalar();
}

int cr_ndim(const cr_tensor *tensor)
{
    return tensor ? tensor->shape.ndim : 0;
}

static int handle_dim(const cr_tensor *tensor, int dim)
{
    if (!tensor)
        return -1;
    int wrapped = dim < 0 ? dim + tensor->shape.ndim : dim;
    return wrapped >= 0 && wrapped < tensor->shape.ndim ? wrapped : -1;
}

int64_t cr_dim(const cr_tensor *tensor, int dim)
{
    int wrapped = handle_dim(tensor, dim);
    return wrapped < 0 ? 0 : tensor->shape.dim[wrapped];
}

int64_t cr_stride(const cr_tensor *tensor, int dim)
{
    int wrapped = handle_dim(tensor, dim);
    return wrapped < 0 ? 0 : tensor->stride[wrapped];
}

int64_t cr_numel(const cr_tensor *tensor)
{
    return tensor ? tensor_numel(tensor) : 0;
}

bool tensor_is_contiguous(const cr_tensor *tensor)
{
    int64_t step = 1;
    for (int i = tensor->shape.ndim - 1; i >= 0; i--) {
        if (tensor->shape.dim[i] == 0)
            return true;
        if (tensor->shape.dim[i] != 1 && tensor->stride[i] != step)
            return tensor_numel(tensor) == 0;
        step *= tensor->shape.dim[i];
    }
    return true;
}

bool cr_is_contiguous(const cr_tensor *tensor)
{
    return tensor && tensor_is_contiguous(tensor);
}

bool cr_shares_storage(const cr_tensor *a, const cr_tensor *b)
{
    return a && b && a->storage && a->storage == b->storage;
}

void *cr_data(const cr_tensor *tensor)
{
    return tensor ? tensor_bytes(tensor) : NULL;
}

void cr_mark_written(cr_tensor *tensor)
{
    if (tensor)
        tensor_bump_version(tensor);
}

/* ---- over memory of the caller's ---- */

cr_tensor *cr_wrap_buffer(void *data, cr_shape shape, cr_dtype dtype,
                          void (*release)(void *context), void *context)
{
    size_t bytes = 0;
    cr_tensor *tensor = NULL;
    struct storage *storage = NULL;
    if (shape_check(&shape, dtype, &bytes) == CR_OK) {
        tensor = handle_new(CR_CPU, dtype, &shape);
        storage = tensor ? cr_alloc(sizeof *storage) : NULL;
    }
    if (!storage) {
        cr_free(tensor);
        if (release)
            release(context);
        return NULL;
    }
    *storage = (struct storage){
        .bytes = bytes, .data = data, .is_foreign = true, .release = release, .context = context
    };
    atomic_init(&storage->references, 1);
    tensor->storage = storage;
    return cr_frame_add(tensor);
}
