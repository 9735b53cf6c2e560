/* What cases draw: numbers, operands, shapes and strides. The generator of a trial depends on its
 * family and number alone. */
#include "trials.h"

#include <math.h>
#include <string.h>

#include "guarded.h"

int64_t draw(struct trial *t, int64_t low, int64_t high)
{
    t->state = t->state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((t->state >> 33) % (uint64_t)(high - low + 1));
}

bool flip(struct trial *t)
{
    return draw(t, 0, 1) == 1;
}

double draw_real(struct trial *t, double low, double high)
{
    return low + (high - low) * (double)draw(t, 0, 1 << 20) / (1 << 20);
}

static void put(void *data, cr_dtype dtype, int64_t i, double value)
{
    switch (dtype) {
    case CR_F32:
        ((float *)data)[i] = (float)value;
        break;
    case CR_F64:
        ((double *)data)[i] = value;
        break;
    case CR_BF16:
        ((uint16_t *)data)[i] = bf16_from_float((float)value);
        break;
    case CR_F16:
        ((uint16_t *)data)[i] = f16_from_float((float)value);
        break;
    case CR_I64:
        ((int64_t *)data)[i] = (int64_t)value;
        break;
    case CR_I32:
        ((int32_t *)data)[i] = (int32_t)value;
        break;
    case CR_I16:
        ((int16_t *)data)[i] = (int16_t)value;
        break;
    case CR_I8:
        ((int8_t *)data)[i] = (int8_t)value;
        break;
    default:
        ((uint8_t *)data)[i] = (uint8_t)(dtype == CR_BOOL ? value > 0 : fabs(value));
        break;
    }
}

static void fill(struct trial *t, void *data, cr_dtype dtype, int64_t count, double low,
                 double high)
{
    for (int64_t i = 0; i < count; i++)
        put(data, dtype, i, draw_real(t, low, high));
}

static void *buffer(struct trial *t, cr_dtype dtype, int64_t count)
{
    size_t size = cr_dtype_size(dtype);
    return guarded_new(t, dtype, (size_t)count * size, (int)size, false);
}

void *operand_within(struct trial *t, cr_dtype dtype, int64_t count, double low, double high)
{
    void *data = buffer(t, dtype, count);
    if (!data)
        return NULL;
    fill(t, data, dtype, count, low, high);
    guarded_is_operand();
    return data;
}

void *operand(struct trial *t, cr_dtype dtype, int64_t count)
{
    double most = cr_dtype_is_floating(dtype) || dtype == CR_BOOL ? 2 : 100;
    return operand_within(t, dtype, count, -most, most);
}

void *operand_of(struct trial *t, const void *data, size_t bytes)
{
    void *copy = guarded_new(t, CR_U8, bytes, 8, false);
    if (!copy)
        return NULL;
    memcpy(copy, data, bytes);
    guarded_is_operand();
    return copy;
}

static void *result(struct trial *t, cr_dtype dtype, int64_t count, bool begins, bool exact,
                    double relative, double absolute)
{
    void *data = buffer(t, dtype, count);
    if (!data)
        return NULL;
    if (begins)
        fill(t, data, dtype, count, -2, 2);
    guarded_compare(exact, relative, absolute);
    return data;
}

void *exact_result(struct trial *t, cr_dtype dtype, int64_t count)
{
    return result(t, dtype, count, false, true, 0, 0);
}

void *exact_update(struct trial *t, cr_dtype dtype, int64_t count)
{
    return result(t, dtype, count, true, true, 0, 0);
}

void *close_result(struct trial *t, cr_dtype dtype, int64_t count, double relative, double absolute)
{
    return result(t, dtype, count, false, false, relative, absolute);
}

void *close_update(struct trial *t, cr_dtype dtype, int64_t count, double relative, double absolute)
{
    return result(t, dtype, count, true, false, relative, absolute);
}

void *workspace(struct trial *t, size_t bytes)
{
    return guarded_new(t, CR_U8, bytes, 64, true);
}

double one_unit(cr_dtype dtype)
{
    switch (dtype) {
    case CR_F64:
        return 0x1p-52;
    case CR_BF16:
        return 0x1p-7;
    case CR_F16:
        return 0x1p-10;
    default:
        return 0x1p-23;
    }
}

double sum_error(cr_dtype dtype, int64_t terms)
{
    /* Products are 1 in the mean; and 16-bit floats are summed in float32. */
    return 8 * one_unit(dtype == CR_F64 ? CR_F64 : CR_F32) * (double)(terms + 8);
}

void tensor_of(struct test_tensor *x, void *data, cr_dtype dtype, const cr_shape *shape)
{
    *x = (struct test_tensor){ .storage = { .references = 1, .data = data, .is_foreign = true } };
    x->tensor = (cr_tensor){ .references = 1, .dtype = (uint8_t)dtype, .shape = *shape };
    x->tensor.storage = &x->storage;
    int64_t step = 1;
    for (int d = shape->ndim - 1; d >= 0; d--) {
        x->tensor.stride[d] = step;
        step *= shape->dim[d];
    }
}

cr_shape draw_shape(struct trial *t, int dims, int64_t most)
{
    cr_shape shape = { .ndim = (int)draw(t, 0, dims) };
    for (int d = shape.ndim - 1; d >= 0; d--) {
        shape.dim[d] = draw(t, 1, CR_MIN(most, flip(t) ? 8 : 70));
        most = CR_MAX(most / shape.dim[d], 1);
    }
    return shape;
}

void strided_operand(struct trial *t, struct test_tensor *x, cr_dtype dtype, const cr_shape *shape,
                     double low, double high)
{
    int order[CR_MAX_DIMS];
    int64_t stride[CR_MAX_DIMS] = { 0 }, step = draw(t, 0, 5) ? 1 : 2;
    for (int d = 0; d < shape->ndim; d++)
        order[d] = shape->ndim - 1 - d;
    if (shape->ndim > 1 && draw(t, 0, 2) == 0) { /* the first is the fastest */
        order[0] = 0;
        order[shape->ndim - 1] = shape->ndim - 1;
    }
    for (int d = 0; d < shape->ndim; d++) {
        bool repeats = draw(t, 0, 7) == 0;
        stride[order[d]] = repeats ? 0 : step;
        if (!repeats)
            step *= shape->dim[order[d]] + (draw(t, 0, 5) ? 0 : 3);
    }
    int64_t count = 1;
    for (int d = 0; d < shape->ndim; d++)
        count += (shape->dim[d] - 1) * stride[d];
    tensor_of(x, operand_within(t, dtype, count, low, high), dtype, shape);
    memcpy(x->tensor.stride, stride, sizeof(stride));
}
