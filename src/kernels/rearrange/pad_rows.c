/* Padding: rows of the last dimension are copied whole, their ends element by element; the gradient
 * adds them back to where they came from. Leading dimensions without padding go to threads. */
#include <string.h>

#include "kernels/rearrange/rearrange.h"

struct padding {
    char *out;
    const char *x;
    int ndim;
    int lead;           /* dimensions in front that have no padding */
    int64_t wide_outer; /* elements of one item (the other dimensions) of the wide tensor */
    int64_t narrow_outer;
    int64_t wide[CR_MAX_DIMS]; /* sizes with padding */
    int64_t narrow[CR_MAX_DIMS];
    int64_t narrow_stride[CR_MAX_DIMS];
    const int64_t *before;
    enum pad_source mode;
    int64_t size;  /* bytes of an element */
    char value[8]; /* the constant as an element */
    cr_dtype dtype;
};

/* The position in a dimension of n that position i (before padding it: from below 0 to above n)
 * takes its element from; -1 for none. */
static int64_t source_of(enum pad_source mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    switch (mode) {
    case PAD_REFLECT:
        return i < 0 ? -i : 2 * n - 2 - i;
    case PAD_REPLICATE:
        return i < 0 ? 0 : n - 1;
    case PAD_CIRCULAR:
        return i < 0 ? i + n : i - n;
    default:
        return -1;
    }
}

/* The first element of the narrow row that a row of the wide item takes from; -1 for none. */
static int64_t row_source(const struct padding *p, int64_t row)
{
    int64_t offset = 0;
    for (int d = p->ndim - 2; d >= p->lead; d--) {
        int64_t from = source_of(p->mode, row % p->wide[d] - p->before[d], p->narrow[d]);
        if (from < 0)
            return -1;
        offset += from * p->narrow_stride[d];
        row /= p->wide[d];
    }
    return offset;
}

/* ---- forward ---- */

static void put(const struct padding *p, char *to, const char *from)
{
    memcpy(to, from, (size_t)p->size);
}

static void pad_row(const struct padding *p, char *out, const char *row)
{
    int last = p->ndim - 1;
    int64_t n = p->narrow[last], wide = p->wide[last], before = p->before[last];
    int64_t begin = CR_MIN(CR_MAX(before, 0), wide);
    int64_t end = row ? CR_MIN(CR_MAX(before + n, begin), wide) : begin;
    for (int64_t i = 0; i < wide; i++) {
        if (i == begin && end > begin) {
            memcpy(out + begin * p->size, row + (begin - before) * p->size,
                   (size_t)((end - begin) * p->size));
            i = end - 1;
            continue;
        }
        int64_t from = row ? source_of(p->mode, i - before, n) : -1;
        put(p, out + i * p->size, from < 0 ? p->value : row + from * p->size);
    }
}

static void pad_items(int64_t begin, int64_t end, void *context)
{
    const struct padding *p = context;
    int64_t wide = p->wide[p->ndim - 1];
    int64_t rows = wide ? p->wide_outer / wide : 0;
    for (int64_t item = begin; item < end; item++) {
        char *out = p->out + item * p->wide_outer * p->size;
        const char *x = p->x + item * p->narrow_outer * p->size;
        for (int64_t r = 0; r < rows; r++) {
            int64_t from = row_source(p, r);
            pad_row(p, out + r * wide * p->size, from < 0 ? NULL : x + from * p->size);
        }
    }
}

static void padding_plan(struct padding *p, const cr_tensor *wide, const cr_tensor *narrow,
                         const int64_t *before, enum pad_source mode)
{
    p->ndim = wide->shape.ndim;
    p->before = before;
    p->mode = mode;
    p->dtype = (cr_dtype)wide->dtype;
    p->size = (int64_t)cr_dtype_size(p->dtype);
    p->wide_outer = p->narrow_outer = 1;
    int64_t stride[CR_MAX_DIMS];
    shape_contiguous_strides(&narrow->shape, stride);
    for (int d = 0; d < p->ndim; d++) {
        p->wide[d] = wide->shape.dim[d];
        p->narrow[d] = narrow->shape.dim[d];
        p->narrow_stride[d] = stride[d];
    }
    while (p->lead < p->ndim - 1 && p->wide[p->lead] == p->narrow[p->lead] && before[p->lead] == 0)
        p->lead++;
    for (int d = p->lead; d < p->ndim; d++) {
        p->wide_outer *= p->wide[d];
        p->narrow_outer *= p->narrow[d];
    }
}

static int64_t padding_items(const struct padding *p)
{
    int64_t items = 1;
    for (int d = 0; d < p->lead; d++)
        items *= p->wide[d];
    return items;
}

void rearrange_pad(cr_tensor *out, const cr_tensor *x, const int64_t *before, enum pad_source mode,
                   double value)
{
    struct padding p = { .out = tensor_bytes(out), .x = tensor_bytes(x) };
    padding_plan(&p, out, x, before, mode);
    element_write(p.dtype, value, p.value);
    cr_parallel_for(padding_items(&p), CR_MAX(16384 / CR_MAX(p.wide_outer, 1), 1), pad_items, &p);
}

/* ---- backward ---- */

#define ADD_ROW(type, load, store)                                                                 \
    do {                                                                                           \
        type *to = (type *)(void *)grad_x;                                                         \
        const type *from = (const type *)(const void *)grad;                                       \
        for (int64_t i = 0; i < wide; i++) {                                                       \
            int64_t at = source_of(p->mode, i - before, n);                                        \
            if (at >= 0)                                                                           \
                to[at] = store(load(to[at]) + load(from[i]));                                      \
        }                                                                                          \
    } while (0)

static void add_row(const struct padding *p, char *grad_x, const char *grad)
{
    int last = p->ndim - 1;
    int64_t n = p->narrow[last], wide = p->wide[last], before = p->before[last];
    switch (p->dtype) {
    case CR_F32:
        ADD_ROW(float, , );
        break;
    case CR_F64:
        ADD_ROW(double, , );
        break;
    case CR_BF16:
        ADD_ROW(uint16_t, bf16_to_float, bf16_from_float);
        break;
    default:
        ADD_ROW(uint16_t, f16_to_float, f16_from_float);
    }
}

static void add_items(int64_t begin, int64_t end, void *context)
{
    const struct padding *p = context;
    int64_t wide = p->wide[p->ndim - 1];
    int64_t rows = wide ? p->wide_outer / wide : 0;
    for (int64_t item = begin; item < end; item++) {
        char *grad_x = p->out + item * p->narrow_outer * p->size;
        const char *grad = p->x + item * p->wide_outer * p->size;
        for (int64_t r = 0; r < rows; r++) {
            int64_t to = row_source(p, r);
            if (to >= 0)
                add_row(p, grad_x + to * p->size, grad + r * wide * p->size);
        }
    }
}

void rearrange_pad_backward(cr_tensor *grad_x, const cr_tensor *grad, const int64_t *before,
                            enum pad_source mode)
{
    struct padding p = { .out = tensor_bytes(grad_x), .x = tensor_bytes(grad) };
    padding_plan(&p, grad, grad_x, before, mode);
    memset(p.out, 0, (size_t)(tensor_numel(grad_x) * p.size));
    cr_parallel_for(padding_items(&p), CR_MAX(16384 / CR_MAX(p.wide_outer, 1), 1), add_items, &p);
}
