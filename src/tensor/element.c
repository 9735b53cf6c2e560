/* Single elements, read as a double or an integer whatever the dtype: for printing, items and
 * tests, where speed does not matter. */
#include "tensor/tensor.h"

/* The address of the element at a row-major position. */
static const void *element_at(const cr_tensor *tensor, int64_t position)
{
    int64_t offset = 0;
    for (int i = tensor->shape.ndim - 1; i >= 0; i--) {
        offset += position % tensor->shape.dim[i] * tensor->stride[i];
        position /= tensor->shape.dim[i];
    }
    return tensor_bytes(tensor) + offset * (int64_t)cr_dtype_size((cr_dtype)tensor->dtype);
}

static const void *element_checked(const cr_tensor *tensor, int64_t position)
{
    if (!tensor)
        return NULL;
    if (!tensor->storage) {
        cr_error_set(CR_ERROR_STATE, "a tensor on the meta device has no elements to read");
        return NULL;
    }
    if (position < 0 || position >= tensor_numel(tensor)) {
        cr_error_set(CR_ERROR_ARGUMENT, "element %lld of a tensor of %lld elements does not exist",
                     (long long)position, (long long)tensor_numel(tensor));
        return NULL;
    }
    return element_at(tensor, position);
}

static double element_read(cr_dtype dtype, const void *at)
{
    switch (dtype) {
    case CR_F32:
        return *(const float *)at;
    case CR_F64:
        return *(const double *)at;
    case CR_BF16:
        return bf16_to_float(*(const uint16_t *)at);
    case CR_F16:
        return f16_to_float(*(const uint16_t *)at);
    case CR_I64:
        return (double)*(const int64_t *)at;
    case CR_I32:
        return *(const int32_t *)at;
    case CR_I16:
        return *(const int16_t *)at;
    case CR_I8:
        return *(const int8_t *)at;
    case CR_U8:
        return *(const uint8_t *)at;
    case CR_BOOL:
        return *(const bool *)at;
    default:
        return 0;
    }
}

double cr_element(const cr_tensor *tensor, int64_t position)
{
    const void *at = element_checked(tensor, position);
    return at ? element_read((cr_dtype)tensor->dtype, at) : 0;
}

int64_t cr_element_int64(const cr_tensor *tensor, int64_t position)
{
    const void *at = element_checked(tensor, position);
    if (!at)
        return 0;
    if (tensor->dtype == CR_I64)
        return *(const int64_t *)at;
    return (int64_t)element_read((cr_dtype)tensor->dtype, at);
}

static bool is_single(const cr_tensor *tensor)
{
    if (!tensor)
        return false;
    if (tensor_numel(tensor) == 1)
        return true;
    cr_error_set(CR_ERROR_SHAPE, "item: the tensor has %lld elements, not one",
                 (long long)tensor_numel(tensor));
    return false;
}

double cr_item(const cr_tensor *tensor)
{
    return is_single(tensor) ? cr_element(tensor, 0) : 0;
}

int64_t cr_item_int64(const cr_tensor *tensor)
{
    return is_single(tensor) ? cr_element_int64(tensor, 0) : 0;
}
