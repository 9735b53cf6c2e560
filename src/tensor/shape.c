/* Shapes: making, comparing, printing, broadcasting and checking them. */
#include <stdio.h>
#include <string.h>

#include "tensor/tensor.h"

cr_shape cr_shape_make(int ndim, const int64_t *dim)
{
    cr_shape shape = { 0 };
    shape.ndim = ndim;
    for (int i = 0; i < CR_MIN(ndim, CR_MAX_DIMS); i++)
        shape.dim[i] = dim[i];
    return shape;
}

cr_shape cr_shape_scalar(void)
{
    return (cr_shape){ 0 };
}

bool cr_shape_equal(const cr_shape *a, const cr_shape *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++) {
        if (a->dim[i] != b->dim[i])
            return false;
    }
    return true;
}

int64_t cr_shape_numel(const cr_shape *shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape->ndim; i++) {
        if (__builtin_mul_overflow(count, shape->dim[i], &count))
            return -1;
    }
    return count;
}

char *cr_shape_format(const cr_shape *shape, char *text, size_t room)
{
    size_t used = 0;
    if (!room)
        return text;
    text[0] = '\0';
    for (int i = 0; i <= CR_MIN(shape->ndim, CR_MAX_DIMS) && used < room; i++) {
        int more;
        if (i == shape->ndim || i == CR_MAX_DIMS)
            more = snprintf(text + used, room - used, "%s", i == 0 ? "()" : i == 1 ? ",)" : ")");
        else
            more = snprintf(text + used, room - used, "%s%lld", i ? ", " : "(",
                            (long long)shape->dim[i]);
        used += more > 0 ? (size_t)more : 0;
    }
    return text;
}

void shape_contiguous_strides(const cr_shape *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int i = shape->ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= CR_MAX(shape->dim[i], 1);
    }
}

int shape_wrap_dim(int64_t dim, int ndim, const char *what)
{
    int range = CR_MAX(ndim, 1);
    if (dim < -range || dim >= range) {
        cr_error_set(CR_ERROR_SHAPE,
                     "%s %lld is out of range for a tensor of %d dimensions (use %d to %d)", what,
                     (long long)dim, ndim, -range, range - 1);
        return -1;
    }
    return (int)(dim < 0 ? dim + range : dim);
}

cr_status shape_broadcast(const cr_shape *a, const cr_shape *b, cr_shape *result)
{
    cr_shape wide = { .ndim = CR_MAX(a->ndim, b->ndim) };
    for (int i = 1; i <= wide.ndim; i++) {
        int64_t size_a = i <= a->ndim ? a->dim[a->ndim - i] : 1;
        int64_t size_b = i <= b->ndim ? b->dim[b->ndim - i] : 1;
        if (size_a != size_b && size_a != 1 && size_b != 1) {
            char text_a[CR_SHAPE_TEXT];
            char text_b[CR_SHAPE_TEXT];
            return cr_error_set(
                CR_ERROR_SHAPE,
                "shapes %s and %s do not broadcast: sizes %lld and %lld at dimension "
                "-%d must be equal or 1",
                cr_shape_format(a, text_a, sizeof text_a),
                cr_shape_format(b, text_b, sizeof text_b), (long long)size_a, (long long)size_b, i);
        }
        wide.dim[wide.ndim - i] = size_a == 1 ? size_b : size_a;
    }
    *result = wide;
    return CR_OK;
}

cr_status shape_check(const cr_shape *shape, cr_dtype dtype, size_t *bytes)
{
    if ((unsigned)dtype >= CR_DTYPE_COUNT)
        return cr_error_set(CR_ERROR_DTYPE, "%d is not a dtype", (int)dtype);
    if (shape->ndim < 0 || shape->ndim > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_SHAPE, "a tensor has at most %d dimensions, not %d",
                            CR_MAX_DIMS, shape->ndim);
    size_t total = cr_dtype_size(dtype);
    size_t count = 1;
    bool fits = true;
    bool is_empty = false;
    for (int i = 0; i < shape->ndim; i++) {
        if (shape->dim[i] < 0) {
            char text[CR_SHAPE_TEXT];
            return cr_error_set(CR_ERROR_SHAPE, "shape %s has a negative size",
                                cr_shape_format(shape, text, sizeof text));
        }
        is_empty = is_empty || shape->dim[i] == 0;
        fits = fits && cr_multiply_checked(count, (size_t)CR_MAX(shape->dim[i], 1), &count);
    }
    fits = fits && cr_multiply_checked(total, count, &total) && total <= (size_t)INT64_MAX;
    if (!fits) {
        char text[CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE, "shape %s has more elements than memory can hold",
                            cr_shape_format(shape, text, sizeof text));
    }
    *bytes = is_empty ? 0 : total;
    return CR_OK;
}
