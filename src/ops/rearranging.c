/* Copies in another arrangement: repeats, flips, rolls and triangles; coordinate grids, which are
 * views. */
#include <string.h>

#include "kernels/rearrange/rearrange.h"
#include "ops/ops.h"

/* ---- repeat and tile ---- */

struct repeat_attributes {
    cr_shape repeats;
};

static const cr_attribute repeat_table[] = {
    CR_ATTRIBUTE(struct repeat_attributes, INTS, repeats),
    CR_ATTRIBUTE_END,
};

/* Above this a repeat is taken for a mistake. */
#define MOST_REPEATS INT32_MAX

/* x seen as (outer, inner), with `times` copies of each inner block, as `shape`. */
static cr_tensor *repeat_blocks(cr_tensor *x, int64_t outer, int64_t inner, int64_t times,
                                cr_shape shape)
{
    cr_tensor *blocks = cr_reshape(x, CR_SHAPE(outer, 1, inner));
    return cr_reshape(cr_expand(blocks, CR_SHAPE(outer, times, inner)), shape);
}

static int64_t product(const cr_shape *shape, int begin, int end)
{
    int64_t count = 1;
    for (int d = begin; d < end; d++)
        count *= shape->dim[d];
    return count;
}

static cr_tensor *repeat_dims(cr_tensor *x, const cr_shape *repeats)
{
    cr_shape shape = { .ndim = repeats->ndim };
    for (int d = 0; d < shape.ndim; d++) {
        int own = d - (shape.ndim - x->shape.ndim);
        shape.dim[d] = own >= 0 ? x->shape.dim[own] : 1;
    }
    cr_tensor *y = cr_reshape(x, shape);
    bool is_copied = false;
    for (int d = shape.ndim - 1; d >= 0; d--) {
        if (repeats->dim[d] == 1)
            continue;
        int64_t outer = product(&shape, 0, d), inner = product(&shape, d, shape.ndim);
        if (__builtin_mul_overflow(shape.dim[d], repeats->dim[d], &shape.dim[d]) ||
            cr_shape_numel(&shape) < 0) {
            cr_error_set(CR_ERROR_SHAPE, "repeat: the result has more elements than memory holds");
            return NULL;
        }
        y = repeat_blocks(y, outer, inner, repeats->dim[d], shape);
        is_copied = true;
    }
    return is_copied ? cr_contiguous(y) : cr_clone(y);
}

static cr_status repeat_compose(cr_compose_call *call)
{
    const struct repeat_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    if (attributes->repeats.ndim < x->shape.ndim)
        return cr_error_set(CR_ERROR_SHAPE, "repeat: %d repeats for a tensor of %d dimensions",
                            attributes->repeats.ndim, x->shape.ndim);
    for (int d = 0; d < attributes->repeats.ndim; d++) {
        if (attributes->repeats.dim[d] < 0 || attributes->repeats.dim[d] > MOST_REPEATS)
            return cr_error_set(CR_ERROR_ARGUMENT, "repeat: %lld times is not possible",
                                (long long)attributes->repeats.dim[d]);
    }
    call->outputs[0] = repeat_dims(x, &attributes->repeats);
    return CR_OK;
}

static const cr_op repeat_op = {
    .name = "repeat",
    .summary = "whole copies along each dimension",
    .input_names = "x",
    .attributes = repeat_table,
    .attribute_size = sizeof(struct repeat_attributes),
    .min_inputs = 1,
    .compose = repeat_compose,
};

cr_tensor *cr_repeat(cr_tensor *x, cr_shape repeats)
{
    return cr_apply(&repeat_op, CR_INPUTS(x), &(struct repeat_attributes){ repeats });
}

static cr_status tile_compose(cr_compose_call *call)
{
    const struct repeat_attributes *attributes = call->attributes;
    const cr_shape *given = &attributes->repeats;
    cr_shape repeats = { .ndim = CR_MAX(given->ndim, call->inputs[0]->shape.ndim) };
    int lead = repeats.ndim - given->ndim;
    for (int d = 0; d < repeats.ndim; d++)
        repeats.dim[d] = d >= lead ? given->dim[d - lead] : 1;
    call->outputs[0] = cr_repeat(call->inputs[0], repeats);
    return CR_OK;
}

static const cr_op tile_op = {
    .name = "tile",
    .summary = "whole copies along the last dimensions",
    .input_names = "x",
    .attributes = repeat_table,
    .attribute_size = sizeof(struct repeat_attributes),
    .min_inputs = 1,
    .compose = tile_compose,
};

cr_tensor *cr_tile(cr_tensor *x, cr_shape repeats)
{
    return cr_apply(&tile_op, CR_INPUTS(x), &(struct repeat_attributes){ repeats });
}

/* ---- repeat_interleave ---- */

struct interleave_attributes {
    int64_t repeats;
    int64_t dim;
};

static const cr_attribute interleave_table[] = {
    CR_ATTRIBUTE(struct interleave_attributes, INT, repeats),
    CR_ATTRIBUTE(struct interleave_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

static cr_status interleave_compose(cr_compose_call *call)
{
    const struct interleave_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "repeat_interleave: dim");
    if (dim < 0)
        return cr_error_status();
    if (attributes->repeats < 0 || attributes->repeats > MOST_REPEATS)
        return cr_error_set(CR_ERROR_ARGUMENT, "repeat_interleave: %lld times is not possible",
                            (long long)attributes->repeats);
    cr_shape shape = x->shape;
    if (shape.ndim == 0)
        shape = CR_SHAPE(1);
    int64_t outer = product(&shape, 0, dim + 1), inner = product(&shape, dim + 1, shape.ndim);
    if (__builtin_mul_overflow(shape.dim[dim], attributes->repeats, &shape.dim[dim]))
        return cr_error_set(CR_ERROR_SHAPE, "repeat_interleave: the result has more elements than "
                                            "memory holds");
    call->outputs[0] = cr_contiguous(repeat_blocks(x, outer, inner, attributes->repeats, shape));
    return CR_OK;
}

static const cr_op interleave_op = {
    .name = "repeat_interleave",
    .summary = "each element of a dimension repeated",
    .input_names = "x",
    .attributes = interleave_table,
    .attribute_size = sizeof(struct interleave_attributes),
    .min_inputs = 1,
    .compose = interleave_compose,
};

cr_tensor *cr_repeat_interleave(cr_tensor *x, int64_t repeats, int dim)
{
    return cr_apply(&interleave_op, CR_INPUTS(x), &(struct interleave_attributes){ repeats, dim });
}

/* ---- flip ---- */

struct flip_attributes {
    cr_shape dims;
};

static const cr_attribute flip_table[] = {
    CR_ATTRIBUTE(struct flip_attributes, INTS, dims),
    CR_ATTRIBUTE_END,
};

static cr_status flip_infer(cr_infer_call *call)
{
    struct flip_attributes *attributes = call->attributes;
    int ndim = call->inputs[0]->shape.ndim;
    if (attributes->dims.ndim && normalize_dims(&attributes->dims, ndim) != CR_OK)
        return cr_error_status();
    if (ndim == 0)
        attributes->dims.ndim = 0;
    return infer_same(call);
}

/* A copy from strides that run backwards. */
static void flip_forward(const cr_call *call)
{
    const struct flip_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    cr_tensor from = {
        .dtype = x->dtype, .shape = x->shape, .offset = x->offset, .storage = x->storage
    };
    memcpy(from.stride, x->stride, sizeof from.stride);
    for (int i = 0; i < attributes->dims.ndim; i++) {
        int64_t d = attributes->dims.dim[i];
        from.offset += from.stride[d] * (from.shape.dim[d] - 1);
        from.stride[d] = -from.stride[d];
    }
    if (tensor_numel(x))
        copy_tensor(call->outputs[0], &from);
}

static cr_status flip_backward(cr_gradient_call *call)
{
    const struct flip_attributes *attributes = call->attributes;
    call->grad_inputs[0] = cr_flip(call->grad_outputs[0], attributes->dims);
    return CR_OK;
}

static cr_status flip_onnx(cr_onnx_call *call)
{
    const struct flip_attributes *attributes = call->attributes;
    cr_onnx_value y = call->inputs[0];
    for (int i = 0; i < attributes->dims.ndim; i++)
        y = cr_onnx_slice(call, y, attributes->dims.dim[i], -1, INT64_MIN, -1);
    return onnx_result(call, y);
}

static const cr_op flip_op = {
    .name = "flip",
    .summary = "dimensions in reverse order",
    .input_names = "x",
    .attributes = flip_table,
    .attribute_size = sizeof(struct flip_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .infer = flip_infer,
    .forward = { [CR_CPU] = flip_forward },
    .backward = flip_backward,
    .onnx = flip_onnx,
};

cr_tensor *cr_flip(cr_tensor *x, cr_shape dims)
{
    return cr_apply(&flip_op, CR_INPUTS(x), &(struct flip_attributes){ dims });
}

/* ---- roll ---- */

struct roll_attributes {
    cr_shape shifts;
    cr_shape dims;
};

static const cr_attribute roll_table[] = {
    CR_ATTRIBUTE(struct roll_attributes, INTS, shifts),
    CR_ATTRIBUTE(struct roll_attributes, INTS, dims),
    CR_ATTRIBUTE_END,
};

static cr_tensor *roll_one(cr_tensor *x, int64_t shift, int dim)
{
    int64_t n = cr_dim(x, dim);
    int64_t moved = n ? ((shift % n) + n) % n : 0;
    if (!moved)
        return x;
    return cr_cat_of(dim, cr_narrow(x, dim, n - moved, moved), cr_narrow(x, dim, 0, n - moved));
}

static cr_status roll_compose(cr_compose_call *call)
{
    const struct roll_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_tensor *y = x;
    if (attributes->dims.ndim == 0) {
        if (attributes->shifts.ndim != 1)
            return cr_error_set(CR_ERROR_ARGUMENT, "roll: %d shifts of the flattened tensor",
                                attributes->shifts.ndim);
        y = cr_reshape(roll_one(cr_flatten(x, 0, -1), attributes->shifts.dim[0], 0), x->shape);
    } else if (attributes->dims.ndim != attributes->shifts.ndim) {
        return cr_error_set(CR_ERROR_ARGUMENT, "roll: %d shifts but %d dims",
                            attributes->shifts.ndim, attributes->dims.ndim);
    }
    for (int i = 0; i < attributes->dims.ndim; i++) {
        int dim = shape_wrap_dim(attributes->dims.dim[i], x->shape.ndim, "roll: dim");
        if (dim < 0)
            return cr_error_status();
        y = x->shape.ndim ? roll_one(y, attributes->shifts.dim[i], dim) : y;
    }
    call->outputs[0] = y && y->storage == x->storage ? cr_clone(y) : y;
    return CR_OK;
}

static const cr_op roll_op = {
    .name = "roll",
    .summary = "elements moved around a ring",
    .input_names = "x",
    .attributes = roll_table,
    .attribute_size = sizeof(struct roll_attributes),
    .min_inputs = 1,
    .compose = roll_compose,
};

cr_tensor *cr_roll(cr_tensor *x, cr_shape shifts, cr_shape dims)
{
    return cr_apply(&roll_op, CR_INPUTS(x), &(struct roll_attributes){ shifts, dims });
}

/* ---- tril and triu ---- */

struct triangle_attributes {
    int64_t diagonal;
};

static const cr_attribute triangle_table[] = {
    CR_ATTRIBUTE(struct triangle_attributes, INT, diagonal),
    CR_ATTRIBUTE_END,
};

/* A diagonal far outside is no other than one just outside. */
static cr_status triangle_infer(cr_infer_call *call)
{
    struct triangle_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->inputs[0]->shape;
    if (require_ndim(call->inputs[0], "x", 2, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    attributes->diagonal = CR_MIN(CR_MAX(attributes->diagonal, -shape->dim[shape->ndim - 2] - 1),
                                  shape->dim[shape->ndim - 1] + 1);
    return infer_same(call);
}

static void tril_forward(const cr_call *call)
{
    const struct triangle_attributes *attributes = call->attributes;
    rearrange_triangle(call->outputs[0], call->inputs[0], attributes->diagonal, false);
}

static void triu_forward(const cr_call *call)
{
    const struct triangle_attributes *attributes = call->attributes;
    rearrange_triangle(call->outputs[0], call->inputs[0], attributes->diagonal, true);
}

static cr_status tril_backward(cr_gradient_call *call)
{
    const struct triangle_attributes *attributes = call->attributes;
    call->grad_inputs[0] = cr_tril(call->grad_outputs[0], attributes->diagonal);
    return CR_OK;
}

static cr_status triu_backward(cr_gradient_call *call)
{
    const struct triangle_attributes *attributes = call->attributes;
    call->grad_inputs[0] = cr_triu(call->grad_outputs[0], attributes->diagonal);
    return CR_OK;
}

static cr_status triangle_onnx(cr_onnx_call *call, bool is_upper)
{
    const struct triangle_attributes *attributes = call->attributes;
    cr_onnx_value diagonal = cr_onnx_number(call, CR_I64, (double)attributes->diagonal);
    return onnx_result(call, cr_onnx_add(call, "Trilu", .inputs = { call->inputs[0], diagonal },
                                         .attributes = { CR_ONNX_INT("upper", is_upper) }));
}

static cr_status tril_onnx(cr_onnx_call *call)
{
    return triangle_onnx(call, false);
}

static cr_status triu_onnx(cr_onnx_call *call)
{
    return triangle_onnx(call, true);
}

static const cr_op tril_op = {
    .name = "tril",
    .summary = "the lower triangle of matrices",
    .input_names = "x",
    .attributes = triangle_table,
    .attribute_size = sizeof(struct triangle_attributes),
    .min_inputs = 1,
    .infer = triangle_infer,
    .forward = { [CR_CPU] = tril_forward },
    .backward = tril_backward,
    .onnx = tril_onnx,
};

static const cr_op triu_op = {
    .name = "triu",
    .summary = "the upper triangle of matrices",
    .input_names = "x",
    .attributes = triangle_table,
    .attribute_size = sizeof(struct triangle_attributes),
    .min_inputs = 1,
    .infer = triangle_infer,
    .forward = { [CR_CPU] = triu_forward },
    .backward = triu_backward,
    .onnx = triu_onnx,
};

cr_tensor *cr_tril(cr_tensor *x, int64_t diagonal)
{
    return cr_apply(&tril_op, CR_INPUTS(x), &(struct triangle_attributes){ diagonal });
}

cr_tensor *cr_triu(cr_tensor *x, int64_t diagonal)
{
    return cr_apply(&triu_op, CR_INPUTS(x), &(struct triangle_attributes){ diagonal });
}

/* ---- diag ---- */

static cr_status diag_compose(cr_compose_call *call)
{
    const struct triangle_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    if (require_ndim(x, "diag: x", 1, 2) != CR_OK)
        return cr_error_status();
    if (x->shape.ndim == 1)
        call->outputs[0] = cr_diag_embed(x, attributes->diagonal, 0, 1);
    else
        call->outputs[0] = cr_clone(cr_diagonal(x, attributes->diagonal, 0, 1));
    return CR_OK;
}

static const cr_op diag_op = {
    .name = "diag",
    .summary = "a vector as a diagonal matrix, or the diagonal of a matrix",
    .input_names = "x",
    .attributes = triangle_table,
    .attribute_size = sizeof(struct triangle_attributes),
    .min_inputs = 1,
    .compose = diag_compose,
};

cr_tensor *cr_diag(cr_tensor *x, int64_t diagonal)
{
    return cr_apply(&diag_op, CR_INPUTS(x), &(struct triangle_attributes){ diagonal });
}

OP_FAMILY(rearrange_ops) = {
    &repeat_op, &tile_op, &interleave_op, &flip_op, &roll_op, &tril_op, &triu_op, &diag_op, NULL,
};

/* ---- meshgrid: a function without a record, as its number of results is open ---- */

static cr_status meshgrid_views(cr_tensor *const *vectors, int count, bool xy, cr_tensor **grids)
{
    cr_shape whole = { .ndim = count };
    for (int i = 0; i < count; i++) {
        if (!vectors[i] || vectors[i]->shape.ndim > 1)
            return cr_error_set(CR_ERROR_SHAPE, "meshgrid: input %d is no vector", i);
        whole.dim[i] = tensor_numel(vectors[i]);
    }
    for (int i = 0; i < count; i++) {
        cr_shape lying = { .ndim = count };
        for (int d = 0; d < count; d++)
            lying.dim[d] = d == i ? whole.dim[i] : 1;
        grids[i] = cr_expand(cr_reshape(vectors[i], lying), whole);
        if (xy && count >= 2)
            grids[i] = cr_transpose(grids[i], 0, 1);
    }
    return cr_error_status();
}

cr_status cr_meshgrid(cr_tensor *const *vectors, int count, bool xy, cr_tensor **grids)
{
    memset(grids, 0, (size_t)CR_MAX(count, 0) * sizeof *grids);
    if (cr_failed())
        return cr_error_status();
    if (count < 1 || count > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_ARGUMENT, "meshgrid: takes 1 to %d vectors, not %d",
                            CR_MAX_DIMS, count);
    cr_status status = meshgrid_views(vectors, count, xy, grids);
    if (status != CR_OK)
        memset(grids, 0, (size_t)count * sizeof *grids);
    return status;
}
