/* Making tensors from shapes, numbers and buffers, and getting buffers back. Ranges and random
 * tensors are ops/creation's. */
#include <string.h>

#include "tensor/tensor.h"

/* A fresh tensor still has one owner, so the flag can be set without asking autograd. */
static cr_tensor *with_options(cr_tensor *tensor, const cr_tensor_args *args)
{
    if (!tensor || !args->requires_grad)
        return tensor;
    if (!cr_dtype_is_floating(args->dtype)) {
        cr_error_set(CR_ERROR_DTYPE, "requires_grad: only floating tensors have gradients, not %s",
                     cr_dtype_name(args->dtype));
        return NULL;
    }
    tensor->requires_grad = true;
    return tensor;
}

CR_THREAD_LOCAL bool tensor_is_traced;

cr_tensor *cr_empty_with(cr_tensor_args args)
{
    if (cr_failed())
        return NULL;
    cr_device device = tensor_is_traced ? CR_CPU : args.device;
    return with_options(tensor_new(device, args.dtype, &args.shape), &args);
}

cr_tensor *cr_zeros_with(cr_tensor_args args)
{
    cr_tensor *tensor = cr_empty_with(args);
    if (tensor && tensor->storage)
        memset(tensor->storage->data, 0, tensor->storage->bytes);
    return tensor;
}

cr_tensor *cr_ones_with(cr_tensor_args args)
{
    return cr_full_with(args, 1.0);
}

union element {
    float f32;
    double f64;
    uint16_t half;
    int64_t i64;
    int32_t i32;
    int16_t i16;
    int8_t i8;
    uint8_t u8;
    bool truth;
};

static int64_t integer_of(double value)
{
    if (value != value)
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

static union element element_of(cr_dtype dtype, double value)
{
    union element element = { 0 };
    switch (dtype) {
    case CR_F32:
        element.f32 = (float)value;
        break;
    case CR_F64:
        element.f64 = value;
        break;
    case CR_BF16:
        element.half = bf16_from_float((float)value);
        break;
    case CR_F16:
        element.half = f16_from_float((float)value);
        break;
    case CR_I64:
        element.i64 = integer_of(value);
        break;
    case CR_I32:
        element.i32 = (int32_t)integer_of(value);
        break;
    case CR_I16:
        element.i16 = (int16_t)integer_of(value);
        break;
    case CR_I8:
        element.i8 = (int8_t)integer_of(value);
        break;
    case CR_U8:
        element.u8 = (uint8_t)integer_of(value);
        break;
    default:
        element.truth = value != 0;
    }
    return element;
}

void element_write(cr_dtype dtype, double value, void *at)
{
    union element element = element_of(dtype, value);
    memcpy(at, &element, cr_dtype_size(dtype));
}

/* Repeats the first `size` bytes through the block, doubling what is written each time. */
static void fill_pattern(char *block, size_t bytes, const void *pattern, size_t size)
{
    if (!bytes)
        return;
    memcpy(block, pattern, size);
    for (size_t done = size; done < bytes;) {
        size_t more = CR_MIN(CR_MIN(done, (size_t)65536), bytes - done);
        memcpy(block + done, block, more);
        done += more;
    }
}

cr_tensor *cr_full_with(cr_tensor_args args, double value)
{
    cr_tensor *tensor = cr_empty_with(args);
    if (tensor && tensor->storage) {
        union element element = element_of(args.dtype, value);
        fill_pattern(tensor->storage->data, tensor->storage->bytes, &element,
                     cr_dtype_size(args.dtype));
    }
    return tensor;
}

static cr_tensor *number(cr_dtype dtype, const void *value)
{
    cr_tensor *tensor = cr_from_buffer(value, cr_shape_scalar(), dtype);
    if (tensor)
        tensor->is_number = true;
    return tensor;
}

cr_tensor *cr_scalar(double value)
{
    return number(CR_F64, &value);
}

cr_tensor *cr_scalar_int(int64_t value)
{
    return number(CR_I64, &value);
}

cr_tensor *cr_from_buffer(const void *data, cr_shape shape, cr_dtype dtype)
{
    cr_tensor *tensor = cr_empty_with((cr_tensor_args){ .shape = shape, .dtype = dtype });
    if (tensor && tensor->storage->bytes)
        memcpy(tensor->storage->data, data, tensor->storage->bytes);
    return tensor;
}

/* Copies elements in row-major order from any strides. */
static void gather_elements(const cr_tensor *tensor, char *out)
{
    int64_t size = (int64_t)cr_dtype_size((cr_dtype)tensor->dtype);
    int64_t index[CR_MAX_DIMS] = { 0 };
    const char *from = tensor_bytes(tensor);
    int last = tensor->shape.ndim - 1;
    int64_t count = tensor_numel(tensor);
    for (int64_t i = 0; i < count; i++) {
        memcpy(out + i * size, from, (size_t)size);
        for (int d = last; d >= 0; d--) {
            from += tensor->stride[d] * size;
            if (++index[d] < tensor->shape.dim[d])
                break;
            from -= tensor->stride[d] * size * tensor->shape.dim[d];
            index[d] = 0;
        }
    }
}

cr_status cr_to_buffer(const cr_tensor *tensor, void *data, size_t bytes)
{
    if (!tensor)
        return cr_error_set(CR_ERROR_ARGUMENT, "to_buffer: the tensor is NULL");
    if (!tensor->storage)
        return cr_error_set(CR_ERROR_STATE, "to_buffer: a tensor on the meta device has no data");
    size_t need = (size_t)tensor_numel(tensor) * cr_dtype_size((cr_dtype)tensor->dtype);
    if (bytes != need)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "to_buffer: the tensor has %zu bytes but the buffer %zu", need, bytes);
    if (need && tensor_is_contiguous(tensor))
        memcpy(data, tensor_bytes(tensor), need);
    else
        gather_elements(tensor, data);
    return CR_OK;
}
