/* Operators of ONNX that make, reshape, join and convert tensors. Those of integers run on real
 * numbers also where the input of the model has none, since shapes are known there. */
#include <math.h>
#include <string.h>

#include "cresset/vision.h"
#include "io/onnx/onnx.h"

/* ---- shapes as numbers ---- */

static void run_shape(struct onnx_call *call)
{
    cr_shape shape = cr_shape_of(onnx_need(call, 0)), part = { 0 };
    int64_t start = onnx_int(call, "start", 0), end = onnx_int(call, "end", shape.ndim);
    start = CR_MIN(CR_MAX(start < 0 ? start + shape.ndim : start, 0), shape.ndim);
    end = CR_MIN(CR_MAX(end < 0 ? end + shape.ndim : end, 0), shape.ndim);
    for (int64_t d = start; d < end; d++)
        part.dim[part.ndim++] = shape.dim[d];
    onnx_give(call, 0, onnx_int_vector(part));
}

static void run_size(struct onnx_call *call)
{
    int64_t count = cr_numel(onnx_need(call, 0));
    onnx_give(call, 0, cr_from_buffer(&count, cr_shape_scalar(), CR_I64));
}

/* ---- another shape for the same elements ---- */

static void run_reshape(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape shape;
    if (!x || !onnx_read_ints(call, onnx_need(call, 1), &shape))
        return;
    for (int d = 0; d < shape.ndim && !onnx_int(call, "allowzero", 0); d++) {
        if (shape.dim[d] == 0 && d < cr_ndim(x))
            shape.dim[d] = cr_dim(x, d);
    }
    onnx_give(call, 0, cr_reshape(x, shape));
}

static void run_flatten(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int64_t axis = onnx_int(call, "axis", 1), rows = 1, columns = 1;
    if (!x || axis < -cr_ndim(x) || axis > cr_ndim(x)) {
        onnx_refuse(call, "its axis is outside of the dimensions of its input");
        return;
    }
    axis = axis < 0 ? axis + cr_ndim(x) : axis;
    for (int d = 0; d < cr_ndim(x); d++)
        *(d < axis ? &rows : &columns) *= cr_dim(x, d);
    onnx_give(call, 0, cr_reshape(x, CR_SHAPE(rows, columns)));
}

static void run_squeeze(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape dims;
    if (!x || !onnx_axes(call, 1, "axes", &dims))
        return;
    onnx_give(call, 0, dims.ndim ? cr_squeeze_dims(x, dims) : cr_squeeze(x));
}

static void run_unsqueeze(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape dims, shape = { 0 };
    if (!x || !onnx_axes(call, 1, "axes", &dims))
        return;
    bool is_new[CR_MAX_DIMS] = { false };
    shape.ndim = cr_ndim(x) + dims.ndim;
    for (int i = 0; i < dims.ndim; i++) {
        int axis;
        if (shape.ndim > CR_MAX_DIMS || !onnx_axis(call, dims.dim[i], shape.ndim, &axis) ||
            is_new[axis]) {
            onnx_refuse(call, "its axes do not fit into 8 dimensions, or repeat");
            return;
        }
        is_new[axis] = true;
    }
    for (int d = 0, from = 0; d < shape.ndim; d++)
        shape.dim[d] = is_new[d] ? 1 : cr_dim(x, from++);
    onnx_give(call, 0, cr_reshape(x, shape));
}

static void run_transpose(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape order;
    if (!onnx_ints(call, "perm", &order)) {
        order.ndim = cr_ndim(x);
        for (int d = 0; d < order.ndim; d++)
            order.dim[d] = order.ndim - 1 - d;
    }
    onnx_give(call, 0, cr_permute(x, order));
}

static void run_expand(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape shape, own = cr_shape_of(x), both = { 0 };
    if (!x || !onnx_read_ints(call, onnx_need(call, 1), &shape))
        return;
    both.ndim = CR_MAX(shape.ndim, own.ndim); /* either may be the one that is repeated */
    for (int d = 0; d < both.ndim; d++) {
        int a = d - (both.ndim - own.ndim), b = d - (both.ndim - shape.ndim);
        int64_t have = a < 0 ? 1 : own.dim[a], want = b < 0 ? 1 : shape.dim[b];
        both.dim[d] = want == 1 ? have : want;
    }
    onnx_give(call, 0, cr_expand(x, both));
}

/* DCR: the block is the outer part of the channels, CRD: the inner. */
static void run_depth_to_space(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int64_t b = onnx_int(call, "blocksize", 1);
    if (!x || cr_ndim(x) != 4 || b < 1 || cr_dim(x, 1) % (b * b)) {
        onnx_refuse(call, "its input is no (N, C, H, W) with channels for each pixel of a block");
        return;
    }
    if (strcmp(onnx_string(call, "mode", "DCR"), "CRD") == 0) {
        onnx_give(call, 0, cr_pixel_shuffle(x, b));
        return;
    }
    int64_t n = cr_dim(x, 0), c = cr_dim(x, 1) / (b * b), h = cr_dim(x, 2), w = cr_dim(x, 3);
    x = cr_permute(cr_reshape(x, CR_SHAPE(n, b, b, c, h, w)), CR_SHAPE(0, 3, 4, 1, 5, 2));
    onnx_give(call, 0, cr_reshape(x, CR_SHAPE(n, c, h * b, w * b)));
}

static void run_space_to_depth(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int64_t b = onnx_int(call, "blocksize", 1);
    if (!x || cr_ndim(x) != 4 || b < 1 || cr_dim(x, 2) % b || cr_dim(x, 3) % b) {
        onnx_refuse(call, "its input is no (N, C, H, W) of whole blocks");
        return;
    }
    int64_t n = cr_dim(x, 0), c = cr_dim(x, 1), h = cr_dim(x, 2) / b, w = cr_dim(x, 3) / b;
    x = cr_permute(cr_reshape(x, CR_SHAPE(n, c, h, b, w, b)), CR_SHAPE(0, 3, 5, 1, 2, 4));
    onnx_give(call, 0, cr_reshape(x, CR_SHAPE(n, c * b * b, h, w)));
}

/* ---- joining and cutting ---- */

static void run_concat(struct onnx_call *call)
{
    cr_tensor *few[16], **tensors = few;
    int axis;
    if (!onnx_need(call, 0) ||
        !onnx_axis(call, onnx_int(call, "axis", 1), cr_ndim(onnx_input(call, 0)), &axis))
        return;
    if (call->input_count > CR_COUNT_OF(few))
        tensors = cr_alloc_array((size_t)call->input_count, sizeof *tensors);
    for (int i = 0; tensors && i < call->input_count; i++)
        tensors[i] = onnx_need(call, i);
    if (tensors)
        onnx_give(call, 0, cr_cat(tensors, call->input_count, axis));
    if (tensors != few)
        cr_free(tensors);
}

/* Sizes that are given, or parts of equal size, the last of which may be smaller. */
static void run_split(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int axis, count = call->output_count;
    if (!x || !onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    int64_t *sizes = cr_alloc_zeroed((size_t)count, sizeof *sizes);
    if (!sizes)
        return;
    int given = onnx_input(call, 1) ? onnx_read_long_list(call, onnx_input(call, 1), sizes, count)
                                    : onnx_long_list(call, "split", sizes, count);
    int64_t size = cr_dim(x, axis), part = CR_DIV_UP(size, CR_MAX(count, 1)), start = 0;
    if (given && given != count)
        cr_error_set(CR_ERROR_FORMAT, "it has %d sizes for %d outputs", given, count);
    for (int i = 0; i < count && !cr_failed(); i++) {
        int64_t length = given ? sizes[i] : CR_MAX(CR_MIN(part, size - start), 0);
        if (onnx_wants(call, i))
            onnx_give(call, i, cr_narrow(x, axis, start, length));
        start += length;
    }
    cr_free(sizes);
}

/* One dimension as x[start:end:step] in Python. */
static cr_tensor *slice_one(cr_tensor *x, int axis, int64_t start, int64_t end, int64_t step)
{
    int64_t size = cr_dim(x, axis);
    if (step > 0)
        return cr_slice(x, axis, start, end, step);
    if (step == 0 || step == INT64_MIN) {
        cr_error_set(CR_ERROR_ARGUMENT, "its step is 0");
        return NULL;
    }
    /* Backwards: the same of the flipped dimension, whose element i is element size - 1 - i. */
    start = CR_MIN(CR_MAX(start < 0 ? start + size : start, -1), size - 1);
    end = end < -size ? -1 : CR_MIN(CR_MAX(end < 0 ? end + size : end, -1), size - 1);
    x = cr_flip(x, CR_SHAPE(axis));
    if (start <= end)
        return cr_narrow(x, axis, 0, 0);
    return cr_slice(x, axis, size - 1 - start, size - 1 - end, -step);
}

static void run_slice(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape starts, ends, axes, steps = { 0 };
    if (!x || !onnx_axes(call, 1, "starts", &starts) || !onnx_axes(call, 2, "ends", &ends) ||
        !onnx_axes(call, 3, "axes", &axes) ||
        (onnx_input(call, 4) && !onnx_read_ints(call, onnx_input(call, 4), &steps)))
        return;
    if (ends.ndim != starts.ndim || (axes.ndim && axes.ndim != starts.ndim) ||
        (steps.ndim && steps.ndim != starts.ndim)) {
        onnx_refuse(call, "its starts, ends, axes and steps differ in number");
        return;
    }
    for (int i = 0; i < starts.ndim; i++) {
        int axis;
        if (!onnx_axis(call, axes.ndim ? axes.dim[i] : i, cr_ndim(x), &axis))
            return;
        x = slice_one(x, axis, starts.dim[i], ends.dim[i], steps.ndim ? steps.dim[i] : 1);
    }
    onnx_give(call, 0, x);
}

static void run_tile(struct onnx_call *call)
{
    cr_shape repeats;
    if (onnx_read_ints(call, onnx_need(call, 1), &repeats))
        onnx_give(call, 0, cr_repeat(onnx_need(call, 0), repeats));
}

/* ---- padding ---- */

static bool pad_mode(const struct onnx_call *call, cr_pad_mode *mode)
{
    static const char *const words[] = { "constant", "reflect", "edge", "wrap" };
    const char *word = onnx_string(call, "mode", "constant");
    int found = cr_word_find("mode of Pad", word, words, CR_COUNT_OF(words));
    *mode = (cr_pad_mode)found;
    return found >= 0;
}

/* The library reflects, replicates and wraps the last three dimensions; others take their turn at
 * the end. */
static cr_tensor *pad_dim(cr_tensor *x, int d, int64_t before, int64_t after, cr_pad_mode mode)
{
    int ndim = cr_ndim(x);
    cr_shape shape = cr_shape_of(cr_movedim(x, CR_SHAPE(d), CR_SHAPE(-1)));
    cr_tensor *rows =
        cr_reshape(cr_movedim(x, CR_SHAPE(d), CR_SHAPE(-1)), CR_SHAPE(1, -1, cr_dim(x, d)));
    rows = cr_pad(rows, CR_SHAPE(before, after), mode, 0);
    shape.dim[ndim - 1] = cr_dim(rows, -1);
    return cr_movedim(cr_reshape(rows, shape), CR_SHAPE(-1), CR_SHAPE(d));
}

static cr_tensor *pad_by(cr_tensor *x, const int64_t *before, const int64_t *after,
                         cr_pad_mode mode, double value)
{
    int ndim = cr_ndim(x);
    for (int d = 0; d < ndim && mode != CR_PAD_CONSTANT; d++) {
        if (before[d] || after[d])
            x = pad_dim(x, d, before[d], after[d], mode);
    }
    for (int d = 0; d < ndim && mode == CR_PAD_CONSTANT; d++) {
        if (!before[d] && !after[d])
            continue;
        cr_shape padding = { .ndim = 2 * (ndim - d) };
        if (padding.ndim <= CR_MAX_DIMS) {
            padding.dim[padding.ndim - 2] = before[d];
            padding.dim[padding.ndim - 1] = after[d];
            x = cr_pad(x, padding, mode, value);
            continue;
        }
        x = cr_movedim(x, CR_SHAPE(d), CR_SHAPE(-1));
        x = cr_pad(x, CR_SHAPE(before[d], after[d]), mode, value);
        x = cr_movedim(x, CR_SHAPE(-1), CR_SHAPE(d));
    }
    return x;
}

static void run_pad(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int64_t pads[2 * CR_MAX_DIMS], before[CR_MAX_DIMS] = { 0 }, after[CR_MAX_DIMS] = { 0 };
    cr_shape axes = { 0 };
    cr_pad_mode mode;
    double value = onnx_float(call, "value", 0);
    int count = onnx_input(call, 1)
                    ? onnx_read_long_list(call, onnx_input(call, 1), pads, 2 * CR_MAX_DIMS)
                    : onnx_long_list(call, "pads", pads, 2 * CR_MAX_DIMS);
    if (!x || cr_failed() || !pad_mode(call, &mode) ||
        (onnx_input(call, 2) && !onnx_read_float(call, onnx_input(call, 2), &value)) ||
        (onnx_input(call, 3) && !onnx_read_ints(call, onnx_input(call, 3), &axes)))
        return;
    int dims = axes.ndim ? axes.ndim : cr_ndim(x);
    if (count != 2 * dims) {
        onnx_refuse(call, "its pads are not two for each dimension");
        return;
    }
    for (int i = 0; i < dims; i++) {
        int axis = i;
        if (axes.ndim && !onnx_axis(call, axes.dim[i], cr_ndim(x), &axis))
            return;
        before[axis] = pads[i];
        after[axis] = pads[dims + i];
    }
    onnx_give(call, 0, pad_by(x, before, after, mode, value));
}

/* The middle of a dimension, or the dimension in the middle of zeros. */
static void run_center_crop_pad(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape sizes, axes;
    int64_t before[CR_MAX_DIMS] = { 0 }, after[CR_MAX_DIMS] = { 0 };
    if (!x || !onnx_read_ints(call, onnx_need(call, 1), &sizes))
        return;
    bool has_axes = onnx_ints(call, "axes", &axes);
    for (int i = 0; i < sizes.ndim; i++) {
        int axis;
        if (!onnx_axis(call, has_axes && i < axes.ndim ? axes.dim[i] : i, cr_ndim(x), &axis))
            return;
        int64_t more = sizes.dim[i] - cr_dim(x, axis);
        before[axis] = more >= 0 ? more / 2 : -(-more / 2);
        after[axis] = more - before[axis];
    }
    onnx_give(call, 0, pad_by(x, before, after, CR_PAD_CONSTANT, 0));
}

/* ---- new tensors ---- */

static void run_constant_of_shape(struct onnx_call *call)
{
    const struct onnx_attribute *value = onnx_attribute(call, "value");
    cr_shape shape;
    if (!onnx_read_ints(call, onnx_need(call, 0), &shape))
        return;
    if (!value || !value->t) {
        onnx_give(call, 0, cr_zeros(shape));
        return;
    }
    cr_tensor *element = onnx_tensor_load((cr_onnx *)call->run->onnx, value->t);
    onnx_give(call, 0, cr_expand(cr_reshape(element, cr_shape_scalar()), shape));
    call->outputs[0].type = value->t->type;
}

static void run_range(struct onnx_call *call)
{
    cr_tensor *first = onnx_need(call, 0);
    double start, limit, delta;
    if (!onnx_read_float(call, first, &start) ||
        !onnx_read_float(call, onnx_need(call, 1), &limit) ||
        !onnx_read_float(call, onnx_need(call, 2), &delta))
        return;
    double count = ceil((limit - start) / delta);
    if (!(count <= 1e12)) {
        onnx_refuse(call, "its range has no end");
        return;
    }
    cr_tensor *steps = cr_arange(0, count > 0 ? count : 0, .dtype = CR_F64);
    steps = cr_add_scalar(cr_mul_scalar(steps, delta), start);
    onnx_give(call, 0, cr_to_dtype(steps, cr_dtype_of(first)));
}

static void run_eye_like(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    const struct onnx_type_record *record =
        onnx_type_find((int)onnx_int(call, "dtype", onnx_input_type(call, 0)));
    if (!x || !record || cr_ndim(x) != 2) {
        onnx_refuse(call, "its input is no matrix of a dtype that is supported");
        return;
    }
    int64_t rows = cr_dim(x, 0), columns = cr_dim(x, 1), k = onnx_int(call, "k", 0);
    cr_tensor *row = cr_arange(0, (double)rows, .dtype = CR_I64);
    cr_tensor *column = cr_arange(0, (double)columns, .dtype = CR_I64);
    row = cr_add(cr_unsqueeze(row, 1), cr_scalar_int(k));
    onnx_give(call, 0, cr_to_dtype(cr_eq(row, column), record->dtype));
}

static void run_trilu(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    int64_t k = 0;
    if (onnx_input(call, 1) && !onnx_read_int(call, onnx_input(call, 1), &k))
        return;
    onnx_give(call, 0, onnx_int(call, "upper", 1) ? cr_triu(x, k) : cr_tril(x, k));
}

/* ---- types ---- */

/* Values that a wide type holds as those of another type. */
static void cast(struct onnx_call *call, cr_tensor *x, int from, int to)
{
    const struct onnx_type_record *record = onnx_type_find(to);
    bool saturate = onnx_int(call, "saturate", 1);
    if (!x || !record) {
        onnx_refuse(call, "it converts to a type that is not supported");
        return;
    }
    if (to == ONNX_BOOL)
        x = cr_ne_scalar(x, 0);
    else if (record->is_foreign && record->dtype != CR_F32 &&
             cr_dtype_is_floating(cr_dtype_of(x)) && record->bits < 8)
        x = cr_round(x);
    x = cr_to_dtype(x, record->dtype);
    (void)from;
    onnx_give(call, 0, onnx_round_to_type(x, to, saturate));
    call->outputs[0].type = to;
}

static void run_cast(struct onnx_call *call)
{
    cast(call, onnx_need(call, 0), onnx_input_type(call, 0), (int)onnx_int(call, "to", 0));
}

static void run_cast_like(struct onnx_call *call)
{
    cast(call, onnx_need(call, 0), onnx_input_type(call, 0), onnx_input_type(call, 1));
}

static void run_identity(struct onnx_call *call)
{
    if (call->input_count < 1 || call->output_count < 1) {
        cr_error_set(CR_ERROR_FORMAT, "its input or output is missing");
        return;
    }
    call->outputs[0] = call->inputs[0];
    if (call->inputs[0].list)
        call->inputs[0].list->references++;
}

const struct onnx_operator onnx_shape_operators[] = {
    ONNX_OPERATOR("Shape", run_shape),
    ONNX_OPERATOR("Size", run_size),
    ONNX_OPERATOR("Reshape", run_reshape, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("Flatten", run_flatten, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("Squeeze", run_squeeze, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("Unsqueeze", run_unsqueeze, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("Transpose", run_transpose, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("Expand", run_expand, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = 1),
    ONNX_OPERATOR("DepthToSpace", run_depth_to_space, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("SpaceToDepth", run_space_to_depth, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Concat", run_concat, .flags = ONNX_KEEPS | ONNX_ELEMENTWISE, .weights = ~0u),
    ONNX_OPERATOR("Split", run_split, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Slice", run_slice, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Tile", run_tile, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Pad", run_pad, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("CenterCropPad", run_center_crop_pad, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("ConstantOfShape", run_constant_of_shape),
    ONNX_OPERATOR("Range", run_range, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("EyeLike", run_eye_like),
    ONNX_OPERATOR("Trilu", run_trilu, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("Cast", run_cast),
    ONNX_OPERATOR("CastLike", run_cast_like),
    ONNX_OPERATOR("Identity", run_identity, .flags = ONNX_KEEPS),
    ONNX_OPERATORS_END
};
