/* Operators of ONNX that read and write by index, and order. Indices that count from the end, and
 * int32 ones, are made what the library takes. */
#include <string.h>

#include "io/onnx/onnx.h"

/* int64 indices into a dimension of this size, counted from the front. */
static cr_tensor *from_front(cr_tensor *index, int64_t size)
{
    index = cr_to_dtype(index, CR_I64);
    if (cr_device_of(index) == CR_META)
        return index;
    return cr_where(cr_lt_scalar(index, 0), cr_add(index, cr_scalar_int(size)), index);
}

/* ---- reading ---- */

static void run_gather(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *index = onnx_need(call, 1);
    int axis;
    if (!x || !index || !onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    index = from_front(index, cr_dim(x, axis));
    cr_shape inner = cr_shape_of(index), own = cr_shape_of(x), shape = { 0 };
    if (inner.ndim + own.ndim - 1 > CR_MAX_DIMS) {
        onnx_refuse(call, "its result has more than 8 dimensions");
        return;
    }
    if (axis == 0 && own.ndim == 2 && cr_dtype_is_floating(cr_dtype_of(x))) {
        onnx_give(call, 0, cr_functional_embedding(x, index, -1));
        return;
    }
    for (int d = 0; d < axis; d++)
        shape.dim[shape.ndim++] = own.dim[d];
    for (int d = 0; d < inner.ndim; d++)
        shape.dim[shape.ndim++] = inner.dim[d];
    for (int d = axis + 1; d < own.ndim; d++)
        shape.dim[shape.ndim++] = own.dim[d];
    if (inner.ndim == 0 && cr_device_of(index) == CR_CPU) {
        onnx_give(call, 0, cr_select(x, axis, cr_item_int64(index)));
        return;
    }
    cr_tensor *taken = cr_index_select(x, axis, cr_reshape(index, CR_SHAPE(cr_numel(index))));
    onnx_give(call, 0, cr_reshape(taken, shape));
}

static void run_gather_elements(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *index = onnx_need(call, 1);
    int axis;
    if (x && index && onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        onnx_give(call, 0, cr_gather(x, axis, from_front(index, cr_dim(x, axis))));
}

/* Row numbers (tuples) of an index (…, k) into the dimensions from `first` on of a shape. */
static cr_tensor *flat_rows(cr_tensor *index, const cr_shape *shape, int first)
{
    int64_t k = cr_dim(index, -1);
    cr_tensor *flat = NULL;
    for (int64_t i = 0; i < k; i++) {
        int64_t size = shape->dim[first + i];
        cr_tensor *at = from_front(cr_select(index, -1, i), size);
        flat = flat ? cr_add(cr_mul(flat, cr_scalar_int(size)), at) : at;
    }
    return flat;
}

static bool check_tuples(const struct onnx_call *call, cr_tensor *x, cr_tensor *index, int batch)
{
    if (!x || !index || cr_failed())
        return false;
    if (cr_ndim(index) > batch && batch >= 0 && cr_dim(index, -1) >= 1 &&
        batch + cr_dim(index, -1) <= cr_ndim(x))
        return true;
    onnx_refuse(call, "its indices do not fit its input");
    return false;
}

static int64_t product(const cr_shape *shape, int first, int end)
{
    int64_t count = 1;
    for (int d = first; d < end; d++)
        count *= shape->dim[d];
    return count;
}

static void run_gather_nd(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *index = onnx_need(call, 1);
    int batch = (int)onnx_int(call, "batch_dims", 0);
    if (!check_tuples(call, x, index, batch))
        return;
    cr_shape own = cr_shape_of(x), inner = cr_shape_of(index), shape = { 0 };
    int k = (int)inner.dim[inner.ndim - 1];
    int64_t batches = product(&own, 0, batch), rows = product(&own, batch, batch + k);
    int64_t rest = product(&own, batch + k, own.ndim);
    cr_tensor *flat = flat_rows(index, &own, batch);
    int64_t each = batches ? cr_numel(flat) / batches : 0;
    cr_tensor *offset = cr_mul(cr_arange(0, (double)batches, .dtype = CR_I64), cr_scalar_int(rows));
    flat = cr_add(cr_reshape(flat, CR_SHAPE(batches, each)), cr_unsqueeze(offset, 1));
    cr_tensor *table = cr_reshape(x, CR_SHAPE(batches * rows, rest));
    cr_tensor *taken = cr_index_select(table, 0, cr_reshape(flat, CR_SHAPE(batches * each)));
    if (inner.ndim - 1 + own.ndim - batch - k > CR_MAX_DIMS) {
        onnx_refuse(call, "its result has more than 8 dimensions");
        return;
    }
    for (int d = 0; d < inner.ndim - 1; d++)
        shape.dim[shape.ndim++] = inner.dim[d];
    for (int d = batch + k; d < own.ndim; d++)
        shape.dim[shape.ndim++] = own.dim[d];
    onnx_give(call, 0, cr_reshape(taken, shape));
}

/* ---- writing ---- */

/* What is combined with what was there; false for plain writing. */
static bool reduction_of(const struct onnx_call *call, cr_scatter_reduction *reduction)
{
    static const char *const words[] = { "add", "mul", "mean", "max", "min" };
    const char *word = onnx_string(call, "reduction", "none");
    if (strcmp(word, "none") == 0)
        return false;
    int found = cr_word_find("reduction", word, words, CR_COUNT_OF(words));
    *reduction = (cr_scatter_reduction)CR_MAX(found, 0);
    return true;
}

static cr_tensor *scatter(const struct onnx_call *call, cr_tensor *x, int axis, cr_tensor *index,
                          cr_tensor *source)
{
    cr_scatter_reduction reduction;
    if (!reduction_of(call, &reduction))
        return cr_scatter(x, axis, index, source);
    return cr_scatter_reduce(x, axis, index, source, reduction, true);
}

static void run_scatter_elements(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *index = onnx_need(call, 1);
    int axis;
    if (x && index && onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        onnx_give(call, 0,
                  scatter(call, x, axis, from_front(index, cr_dim(x, axis)), onnx_need(call, 2)));
}

static void run_scatter_nd(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *index = onnx_need(call, 1), *source = onnx_need(call, 2);
    if (!source || !check_tuples(call, x, index, 0))
        return;
    cr_shape own = cr_shape_of(x);
    int k = (int)cr_dim(index, -1);
    int64_t rows = product(&own, 0, k), rest = product(&own, k, own.ndim);
    cr_tensor *flat = flat_rows(index, &own, 0);
    int64_t count = cr_numel(flat);
    flat = cr_expand(cr_reshape(flat, CR_SHAPE(count, 1)), CR_SHAPE(count, rest));
    cr_tensor *written = scatter(call, cr_reshape(x, CR_SHAPE(rows, rest)), 0, cr_contiguous(flat),
                                 cr_reshape(source, CR_SHAPE(count, rest)));
    onnx_give(call, 0, cr_reshape(written, own));
}

/* ---- masks and counts ---- */

static void run_one_hot(struct onnx_call *call)
{
    cr_tensor *index = onnx_need(call, 0), *values = onnx_need(call, 2);
    int64_t depth;
    int axis;
    if (!index || !values || !onnx_read_int(call, onnx_need(call, 1), &depth) ||
        !onnx_axis(call, onnx_int(call, "axis", -1), cr_ndim(index) + 1, &axis))
        return;
    index = from_front(cr_to_dtype(index, CR_I64), depth);
    cr_tensor *hot = cr_eq(cr_unsqueeze(index, -1), cr_arange(0, (double)depth, .dtype = CR_I64));
    hot = cr_movedim(hot, CR_SHAPE(-1), CR_SHAPE(axis));
    onnx_give(call, 0, cr_where(hot, cr_select(values, 0, 1), cr_select(values, 0, 0)));
}

static void run_nonzero(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    onnx_give(call, 0, cr_t(cr_nonzero(cr_ndim(x) ? x : cr_reshape(x, CR_SHAPE(1)))));
}

static void run_compress(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *keep = onnx_need(call, 1);
    int axis = 0;
    if (!x || !keep)
        return;
    if (!onnx_attribute(call, "axis"))
        x = cr_reshape(x, CR_SHAPE(-1));
    else if (!onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    cr_tensor *index = cr_nonzero(keep);
    onnx_give(call, 0, cr_index_select(x, axis, cr_reshape(index, CR_SHAPE(-1))));
}

static void run_top_k(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *indices = NULL;
    int64_t k = onnx_int(call, "k", 1);
    int axis;
    if (!x || (onnx_input(call, 1) && !onnx_read_int(call, onnx_input(call, 1), &k)) ||
        !onnx_axis(call, onnx_int(call, "axis", -1), cr_ndim(x), &axis))
        return;
    onnx_give(call, 0, cr_topk(x, k, axis, !onnx_int(call, "largest", 1), &indices));
    onnx_give(call, 1, indices);
    if (call->output_count > 1)
        call->outputs[1].type = ONNX_INT64;
}

/* The sequences of a batch, each reversed in its own length. */
static void run_reverse_sequence(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *lengths = onnx_need(call, 1);
    int time = (int)onnx_int(call, "time_axis", 0), batch = (int)onnx_int(call, "batch_axis", 1);
    if (!x || !lengths || time < 0 || time > 1 || batch != 1 - time || cr_ndim(x) < 2) {
        onnx_refuse(call, "its axes are not those of a batch of sequences");
        return;
    }
    cr_shape along = { .ndim = cr_ndim(x), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } }, across = along;
    along.dim[time] = cr_dim(x, time);
    across.dim[batch] = cr_dim(x, batch);
    cr_tensor *at = cr_reshape(cr_arange(0, (double)cr_dim(x, time), .dtype = CR_I64), along);
    cr_tensor *length = cr_reshape(cr_to_dtype(lengths, CR_I64), across);
    cr_tensor *back = cr_sub(cr_sub(length, cr_scalar_int(1)), at);
    cr_tensor *index = cr_where(cr_lt(at, length), back, at);
    onnx_give(call, 0, cr_gather(x, time, cr_contiguous(cr_expand(index, cr_shape_of(x)))));
}

const struct onnx_operator onnx_index_operators[] = {
    ONNX_OPERATOR("Gather", run_gather, .flags = ONNX_KEEPS, .weights = 1),
    ONNX_OPERATOR("GatherElements", run_gather_elements, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("GatherND", run_gather_nd, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Scatter", run_scatter_elements, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("ScatterElements", run_scatter_elements, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("ScatterND", run_scatter_nd, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("OneHot", run_one_hot),
    ONNX_OPERATOR("NonZero", run_nonzero),
    ONNX_OPERATOR("Compress", run_compress, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("TopK", run_top_k, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("ReverseSequence", run_reverse_sequence, .flags = ONNX_KEEPS),
    ONNX_OPERATORS_END
};
