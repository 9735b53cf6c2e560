/* Joins (cat, stack) and splits (split, chunk, unbind, which are views). */
#include <string.h>

#include "ops/ops.h"

struct join_attributes {
    int64_t dim;
};

static const cr_attribute join_table[] = {
    CR_ATTRIBUTE(struct join_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

/* ---- cat ---- */

/* Tensors of shape (0,) join anything, as they always have in PyTorch. */
static bool is_skipped(const cr_shape *shape)
{
    return shape->ndim == 1 && shape->dim[0] == 0;
}

static cr_status check_joins(const cr_shape *first, const cr_shape *other, int dim, int i)
{
    bool fits = first->ndim == other->ndim;
    for (int d = 0; fits && d < first->ndim; d++)
        fits = d == dim || first->dim[d] == other->dim[d];
    if (fits)
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "shape %s of tensor %d does not join %s along dimension %d: all other "
                        "sizes must be equal",
                        cr_shape_format(other, text[0], CR_SHAPE_TEXT), i,
                        cr_shape_format(first, text[1], CR_SHAPE_TEXT), dim);
}

static cr_status cat_infer(cr_infer_call *call)
{
    struct join_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    const cr_shape *first = NULL;
    out->dtype = promote_tensors(call->inputs, call->input_count);
    if (call->input_count == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is nothing to join");
    for (int i = 0; i < call->input_count; i++) {
        const cr_shape *shape = &call->inputs[i]->shape;
        if (require_ndim(call->inputs[i], "each tensor", 1, CR_MAX_DIMS) != CR_OK)
            return cr_error_status();
        if (is_skipped(shape))
            continue;
        if (first) {
            if (check_joins(first, shape, (int)attributes->dim, i) != CR_OK)
                return cr_error_status();
            out->shape.dim[attributes->dim] += shape->dim[attributes->dim];
            continue;
        }
        first = shape;
        out->shape = *shape;
        int dim = shape_wrap_dim(attributes->dim, shape->ndim, "dim");
        if (dim < 0)
            return cr_error_status();
        attributes->dim = dim;
    }
    if (!first)
        out->shape = call->inputs[0]->shape;
    return CR_OK;
}

static void cat_forward(const cr_call *call)
{
    const struct join_attributes *attributes = call->attributes;
    cr_tensor *out = call->outputs[0];
    cr_tensor part = { .dtype = out->dtype, .offset = out->offset, .storage = out->storage };
    memcpy(part.stride, out->stride, sizeof part.stride);
    for (int i = 0; i < call->input_count; i++) {
        const cr_tensor *input = call->inputs[i];
        if (tensor_numel(input) == 0)
            continue;
        part.shape = input->shape;
        copy_tensor(&part, input);
        part.offset += input->shape.dim[attributes->dim] * part.stride[attributes->dim];
    }
}

static cr_status cat_backward(cr_gradient_call *call)
{
    const struct join_attributes *attributes = call->attributes;
    int64_t start = 0;
    for (int i = 0; i < call->input_count; i++) {
        const cr_shape *shape = &call->input_specs[i].shape;
        if (is_skipped(shape))
            continue;
        int64_t length = shape->dim[attributes->dim];
        if (call->needs[i])
            call->grad_inputs[i] =
                cr_narrow(call->grad_outputs[0], (int)attributes->dim, start, length);
        start += length;
    }
    return CR_OK;
}

static cr_status cat_onnx(cr_onnx_call *call)
{
    const struct join_attributes *attributes = call->attributes;
    return onnx_result(call, cr_onnx_add(call, "Concat", .many = call->inputs,
                                         .many_count = call->input_count,
                                         .attributes = { CR_ONNX_INT("axis", attributes->dim) }));
}

static const cr_op cat_op = {
    .name = "cat",
    .summary = "tensors joined along a dimension",
    .input_names = "tensors*",
    .attributes = join_table,
    .attribute_size = sizeof(struct join_attributes),
    .min_inputs = 1,
    .max_inputs = -1,
    .flags = CR_OP_STRIDED | CR_OP_PROMOTE,
    .cast = CR_CAST_PROMOTE,
    .infer = cat_infer,
    .forward = { [CR_CPU] = cat_forward },
    .backward = cat_backward,
    .onnx = cat_onnx,
};

cr_tensor *cr_cat(cr_tensor *const *tensors, int count, int dim)
{
    return cr_apply(&cat_op, (cr_inputs){ count, tensors }, &(struct join_attributes){ dim });
}

/* ---- stack ---- */

static cr_status stack_views(cr_compose_call *call, int dim, cr_tensor **rows)
{
    for (int i = 0; i < call->input_count; i++) {
        rows[i] = cr_unsqueeze(call->inputs[i], dim);
        if (!rows[i])
            return cr_error_status();
        if (!cr_shape_equal(&call->inputs[i]->shape, &call->inputs[0]->shape)) {
            char text[2][CR_SHAPE_TEXT];
            return cr_error_set(CR_ERROR_SHAPE, "stack: tensor %d has shape %s, the first one %s",
                                i, cr_shape_format(&call->inputs[i]->shape, text[0], CR_SHAPE_TEXT),
                                cr_shape_format(&call->inputs[0]->shape, text[1], CR_SHAPE_TEXT));
        }
    }
    call->outputs[0] = cr_cat(rows, call->input_count, dim);
    return CR_OK;
}

static cr_status stack_compose(cr_compose_call *call)
{
    const struct join_attributes *attributes = call->attributes;
    int dim = shape_wrap_dim(attributes->dim, call->inputs[0]->shape.ndim + 1, "stack: dim");
    if (dim < 0)
        return cr_error_status();
    cr_tensor **rows = cr_alloc_array((size_t)call->input_count, sizeof *rows);
    if (!rows)
        return CR_ERROR_MEMORY;
    cr_status status = stack_views(call, dim, rows);
    cr_free(rows);
    return status;
}

static const cr_op stack_op = {
    .name = "stack",
    .summary = "tensors of one shape joined along a new dimension",
    .input_names = "tensors*",
    .attributes = join_table,
    .attribute_size = sizeof(struct join_attributes),
    .min_inputs = 1,
    .max_inputs = -1,
    .cast = CR_CAST_PROMOTE,
    .compose = stack_compose,
};

cr_tensor *cr_stack(cr_tensor *const *tensors, int count, int dim)
{
    return cr_apply(&stack_op, (cr_inputs){ count, tensors }, &(struct join_attributes){ dim });
}

OP_FAMILY(join_ops) = { &cat_op, &stack_op, NULL };

/* ---- splits: functions without a record, as their number of results is open ---- */

/* The dimension made non-negative; -1 with an error if x or the list does not fit. */
static int split_dim(const char *name, const cr_tensor *x, int dim)
{
    if (cr_failed())
        return -1;
    if (!x || x->shape.ndim == 0) {
        cr_error_set(CR_ERROR_SHAPE, "%s: %s", name,
                     x ? "a tensor of no dimensions does not split" : "the tensor is NULL");
        return -1;
    }
    dim = shape_wrap_dim(dim, x->shape.ndim, "dim");
    if (dim < 0)
        cr_error_prefix("%s", name);
    return dim;
}

/* All parts or none: what failed leaves NULLs. */
static int parts_or_none(cr_tensor **parts, int64_t count, int room)
{
    if (!cr_failed())
        return (int)count;
    memset(parts, 0, (size_t)CR_MAX(room, 0) * sizeof *parts);
    return 0;
}

static bool parts_fit(const char *name, int64_t count, int room)
{
    if (count <= room)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "%s: there are %lld parts, but room for %d", name,
                 (long long)count, room);
    return false;
}

int cr_split(cr_tensor *x, int64_t size, int dim, cr_tensor **parts, int room)
{
    int64_t count = 0;
    dim = split_dim("split", x, dim);
    if (dim >= 0 && size < 1)
        cr_error_set(CR_ERROR_ARGUMENT, "split: a size of %lld is not positive", (long long)size);
    if (!cr_failed()) {
        int64_t length = x->shape.dim[dim];
        count = CR_MAX(CR_DIV_UP(length, size), 1);
        for (int64_t i = 0; parts_fit("split", count, room) && i < count; i++)
            parts[i] = cr_narrow(x, dim, i * size, CR_MIN(size, length - i * size));
    }
    return parts_or_none(parts, count, room);
}

int cr_split_sizes(cr_tensor *x, const int64_t *sizes, int count, int dim, cr_tensor **parts)
{
    int64_t start = 0;
    dim = split_dim("split", x, dim);
    for (int i = 0; !cr_failed() && i < count; i++) {
        parts[i] = cr_narrow(x, dim, start, sizes[i]);
        start += sizes[i];
    }
    if (!cr_failed() && start != x->shape.dim[dim])
        cr_error_set(CR_ERROR_SHAPE, "split: the sizes add up to %lld, dimension %d has %lld",
                     (long long)start, dim, (long long)x->shape.dim[dim]);
    return parts_or_none(parts, count, count);
}

int cr_chunk(cr_tensor *x, int chunks, int dim, cr_tensor **parts, int room)
{
    dim = split_dim("chunk", x, dim);
    if (dim >= 0 && chunks < 1)
        cr_error_set(CR_ERROR_ARGUMENT, "chunk: %d chunks are not possible", chunks);
    if (cr_failed())
        return parts_or_none(parts, 0, room);
    return cr_split(x, CR_MAX(CR_DIV_UP(x->shape.dim[dim], chunks), 1), dim, parts, room);
}

int cr_unbind(cr_tensor *x, int dim, cr_tensor **parts, int room)
{
    int64_t count = 0;
    dim = split_dim("unbind", x, dim);
    if (dim >= 0) {
        count = x->shape.dim[dim];
        for (int64_t i = 0; parts_fit("unbind", count, room) && i < count; i++)
            parts[i] = cr_select(x, dim, i);
    }
    return parts_or_none(parts, count, room);
}
