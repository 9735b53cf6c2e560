/* Unique: the different elements, or slices along an axis, with where they first stand, which of
 * them each is, and how many there are. And BitCast. */
#include <stdlib.h>
#include <string.h>

#include "io/onnx/onnx.h"

/* A row of the input, to be sorted by its numbers. */
struct row {
    const double *numbers;
    int64_t width;
    int64_t index; /* in the input */
    int64_t group; /* which of the results */
};

static int compare_numbers(const struct row *a, const struct row *b)
{
    for (int64_t i = 0; i < a->width; i++) {
        if (a->numbers[i] != b->numbers[i])
            return a->numbers[i] < b->numbers[i] ? -1 : 1;
    }
    return 0;
}

static int by_numbers(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    int order = compare_numbers(a, b);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

static int by_index(const void *left, const void *right)
{
    const struct row *a = left, *b = right;
    return (a->index > b->index) - (a->index < b->index);
}

/* Numbers the groups of sorted rows; how many there are. firsts[g] is the first row of group g. */
static int64_t number_groups(struct row *rows, int64_t count, int64_t *firsts)
{
    int64_t groups = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || compare_numbers(&rows[i - 1], &rows[i]) != 0)
            firsts[groups++] = rows[i].index;
        rows[i].group = groups - 1;
    }
    return groups;
}

/* In the order in which they first stand. */
static void number_by_place(struct row *rows, int64_t count, int64_t *firsts, int64_t *renamed)
{
    int64_t groups = 0;
    for (int64_t i = 0; i < count; i++)
        renamed[i] = -1;
    qsort(rows, (size_t)count, sizeof *rows, by_index);
    for (int64_t i = 0; i < count; i++) {
        if (renamed[rows[i].group] < 0) {
            firsts[groups] = rows[i].index;
            renamed[rows[i].group] = groups++;
        }
        rows[i].group = renamed[rows[i].group];
    }
}

static void give_groups(struct onnx_call *call, cr_tensor *x, int axis, struct row *rows,
                        int64_t count, int64_t *firsts)
{
    int64_t groups = number_groups(rows, count, firsts);
    int64_t *numbers = cr_alloc_zeroed((size_t)count + 1, sizeof *numbers);
    if (!numbers)
        return;
    if (!onnx_int(call, "sorted", 1))
        number_by_place(rows, count, firsts, numbers);
    cr_tensor *places = cr_from_buffer(firsts, CR_SHAPE(groups), CR_I64);
    onnx_give(call, 0, cr_index_select(x, axis, places));
    onnx_give(call, 1, places);
    for (int64_t i = 0; i < count; i++)
        numbers[rows[i].index] = rows[i].group;
    onnx_give(call, 2, cr_from_buffer(numbers, CR_SHAPE(count), CR_I64));
    memset(numbers, 0, (size_t)count * sizeof *numbers);
    for (int64_t i = 0; i < count; i++)
        numbers[rows[i].group]++;
    onnx_give(call, 3, cr_from_buffer(numbers, CR_SHAPE(groups), CR_I64));
    for (int i = 1; i < call->output_count; i++)
        call->outputs[i].type = ONNX_INT64;
    cr_free(numbers);
}

static void run_unique(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int axis = 0;
    if (!x)
        return;
    if (cr_device_of(x) == CR_META) {
        onnx_refuse(call, "its size depends on the input, in a run that has only shapes");
        return;
    }
    if (!onnx_attribute(call, "axis"))
        x = cr_reshape(x, CR_SHAPE(cr_numel(x)));
    else if (!onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    int64_t count = cr_dim(x, axis), width = count ? cr_numel(x) / count : 0;
    cr_tensor *numbers = cr_movedim(cr_to_dtype(x, CR_F64), CR_SHAPE(axis), CR_SHAPE(0));
    const double *data = cr_data(cr_contiguous(numbers));
    struct row *rows = cr_alloc_zeroed((size_t)count + 1, sizeof *rows);
    int64_t *firsts = cr_alloc_zeroed((size_t)count + 1, sizeof *firsts);
    if (rows && firsts && !cr_failed()) {
        for (int64_t i = 0; i < count; i++)
            rows[i] = (struct row){ data + i * width, width, i, 0 };
        qsort(rows, (size_t)count, sizeof *rows, by_numbers);
        give_groups(call, x, axis, rows, count, firsts);
    }
    cr_free(rows);
    cr_free(firsts);
}

/* The same bits as another type of the same size. */
static void run_bit_cast(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    const struct onnx_type_record *from = onnx_type_find(onnx_input_type(call, 0));
    const struct onnx_type_record *to = onnx_type_find((int)onnx_int(call, "to", 0));
    if (!x || !from || !to || from->bits != to->bits || from->bits < 8 ||
        cr_device_of(x) == CR_META || (from->is_foreign && from->dtype == CR_F32)) {
        onnx_refuse(call, "it reinterprets between types that are not supported");
        return;
    }
    x = cr_contiguous(x);
    cr_tensor *y = cr_empty(cr_shape_of(x), .dtype = to->dtype);
    size_t own = cr_dtype_size(from->dtype);
    const char *data = cr_data(x);
    for (int64_t i = 0; y && i < cr_numel(x); i++) {
        uint64_t bits = 0; /* of a wider holder the low ones */
        memcpy(&bits, data + (size_t)i * own, CR_MIN(own, (size_t)from->bits / 8));
        onnx_store_bits(to, bits, cr_data(y), i);
    }
    onnx_give(call, 0, y);
    call->outputs[0].type = to->type;
}

const struct onnx_operator onnx_unique_operators[] = {
    ONNX_OPERATOR("Unique", run_unique, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("BitCast", run_bit_cast), ONNX_OPERATORS_END
};
