/* Views of a part of the elements: narrow, select, slice, diagonal and unfold.
 *
 * Each says by a `place` function where its elements lie, given a shape and strides. The view is
 * that place in the input; its gradient is written to the same place in a block of zeros
 * (slice_backward), whose own gradient is the view of that place again. */
#include <string.h>

#include "ops/ops.h"

/* ---- where a part lies ---- */

struct part_attributes {
    int64_t dim;
    int64_t dim2;   /* diagonal only */
    int64_t start;  /* select: the index; diagonal: the offset */
    int64_t length; /* slice: the end; unfold: the size of a window */
    int64_t step;
};

/* Fills the shape, stride and offset of the part of a tensor of this shape and these strides. */
typedef void (*place_function)(const struct part_attributes *part, const cr_shape *shape,
                               const int64_t *stride, cr_tensor_spec *out);

static void place_all(const cr_shape *shape, const int64_t *stride, cr_tensor_spec *out)
{
    out->shape = *shape;
    out->offset = 0;
    for (int d = 0; d < shape->ndim; d++)
        out->stride.dim[d] = stride[d];
    out->stride.ndim = shape->ndim;
}

static void drop_dim(cr_tensor_spec *out, int64_t dim)
{
    out->shape.ndim--;
    out->stride.ndim--;
    for (int64_t d = dim; d < out->shape.ndim; d++) {
        out->shape.dim[d] = out->shape.dim[d + 1];
        out->stride.dim[d] = out->stride.dim[d + 1];
    }
}

static void append_dim(cr_tensor_spec *out, int64_t size, int64_t stride)
{
    out->shape.dim[out->shape.ndim++] = size;
    out->stride.dim[out->stride.ndim++] = stride;
}

static void place_slice(const struct part_attributes *part, const cr_shape *shape,
                        const int64_t *stride, cr_tensor_spec *out)
{
    place_all(shape, stride, out);
    out->offset = part->start * stride[part->dim];
    out->shape.dim[part->dim] = CR_DIV_UP(part->length - part->start, part->step);
    out->stride.dim[part->dim] *= part->step;
}

static void place_select(const struct part_attributes *part, const cr_shape *shape,
                         const int64_t *stride, cr_tensor_spec *out)
{
    place_all(shape, stride, out);
    out->offset = part->start * stride[part->dim];
    drop_dim(out, part->dim);
}

static void place_diagonal(const struct part_attributes *part, const cr_shape *shape,
                           const int64_t *stride, cr_tensor_spec *out)
{
    int64_t rows = shape->dim[part->dim] - CR_MAX(-part->start, 0);
    int64_t columns = shape->dim[part->dim2] - CR_MAX(part->start, 0);
    int64_t length = CR_MAX(CR_MIN(rows, columns), 0);
    place_all(shape, stride, out);
    if (length > 0)
        out->offset =
            part->start >= 0 ? part->start * stride[part->dim2] : -part->start * stride[part->dim];
    drop_dim(out, CR_MAX(part->dim, part->dim2));
    drop_dim(out, CR_MIN(part->dim, part->dim2));
    append_dim(out, length, stride[part->dim] + stride[part->dim2]);
}

static void place_unfold(const struct part_attributes *part, const cr_shape *shape,
                         const int64_t *stride, cr_tensor_spec *out)
{
    place_all(shape, stride, out);
    if (shape->ndim == 0) {
        append_dim(out, part->length, 1);
        return;
    }
    out->shape.dim[part->dim] = (shape->dim[part->dim] - part->length) / part->step + 1;
    out->stride.dim[part->dim] = stride[part->dim] * part->step;
    append_dim(out, part->length, stride[part->dim]);
}

/* ---- the gradient of all of them ---- */

struct slice_backward_attributes {
    cr_shape shape;  /* of the result, contiguous */
    cr_shape size;   /* the place of the part in it: the shape of the input */
    cr_shape stride; /* elements */
    int64_t offset;
};

static const cr_attribute slice_backward_table[] = {
    CR_ATTRIBUTE(struct slice_backward_attributes, INTS, shape),
    CR_ATTRIBUTE(struct slice_backward_attributes, INTS, size),
    CR_ATTRIBUTE(struct slice_backward_attributes, INTS, stride),
    CR_ATTRIBUTE(struct slice_backward_attributes, INT, offset),
    CR_ATTRIBUTE_END,
};

static cr_status slice_backward_infer(cr_infer_call *call)
{
    const struct slice_backward_attributes *attributes = call->attributes;
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = attributes->shape;
    return CR_OK;
}

/* True unless sorting by strides shows that no two elements of the part are one. */
static bool part_overlaps(const cr_shape *size, const cr_shape *stride)
{
    bool done[CR_MAX_DIMS] = { false };
    int64_t reach = 0;
    for (int i = 0; i < size->ndim; i++) {
        int least = -1;
        for (int d = 0; d < size->ndim; d++) {
            if (!done[d] && (least < 0 || stride->dim[d] < stride->dim[least]))
                least = d;
        }
        done[least] = true;
        if (size->dim[least] <= 1)
            continue;
        if (stride->dim[least] <= reach)
            return true;
        reach += stride->dim[least] * (size->dim[least] - 1);
    }
    return false;
}

/* Windows of an unfold may overlap; their elements are added up, by one thread. */
static void add_in_order(cr_tensor *part, const cr_tensor *grad)
{
    map_run_serial(pointwise_map(MAP_ADD), part, (const cr_tensor *const[]){ part, grad }, 2, NULL);
}

static void slice_backward_forward(const cr_call *call)
{
    const struct slice_backward_attributes *attributes = call->attributes;
    cr_tensor *out = call->outputs[0];
    cr_tensor part = { .dtype = out->dtype,
                       .shape = attributes->size,
                       .offset = out->offset + attributes->offset,
                       .storage = out->storage };
    memcpy(part.stride, attributes->stride.dim, sizeof part.stride);
    memset(tensor_bytes(out), 0, (size_t)tensor_numel(out) * cr_dtype_size((cr_dtype)out->dtype));
    if (part_overlaps(&attributes->size, &attributes->stride))
        add_in_order(&part, call->inputs[0]);
    else
        copy_tensor(&part, call->inputs[0]);
}

static cr_status slice_backward_backward(cr_gradient_call *call);

static const cr_op slice_backward_op = {
    .name = "slice_backward",
    .summary = "a part written to its place among zeros",
    .input_names = "grad",
    .attributes = slice_backward_table,
    .attribute_size = sizeof(struct slice_backward_attributes),
    .min_inputs = 1,
    .flags = CR_OP_STRIDED,
    .infer = slice_backward_infer,
    .forward = { [CR_CPU] = slice_backward_forward },
    .backward = slice_backward_backward,
};

static cr_status slice_place_infer(cr_infer_call *call)
{
    const struct slice_backward_attributes *attributes = call->attributes;
    call->outputs[0] = (cr_tensor_spec){ .dtype = (cr_dtype)call->inputs[0]->dtype,
                                         .shape = attributes->size,
                                         .stride = attributes->stride,
                                         .offset = attributes->offset };
    if (!tensor_is_contiguous(call->inputs[0]))
        return cr_error_set(CR_ERROR_SHAPE, "the tensor must be contiguous");
    return CR_OK;
}

static cr_status slice_place_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] =
        cr_apply(&slice_backward_op, CR_INPUTS(call->grad_outputs[0]), call->attributes);
    return CR_OK;
}

/* The view that slice_backward is the gradient of, over a contiguous tensor. */
static const cr_op slice_place_op = {
    .name = "_slice_place",
    .summary = "a part of a contiguous tensor, by strides",
    .input_names = "x",
    .attributes = slice_backward_table,
    .attribute_size = sizeof(struct slice_backward_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = slice_place_infer,
    .backward = slice_place_backward,
};

static cr_status slice_backward_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_apply(
        &slice_place_op, CR_INPUTS(cr_contiguous(call->grad_outputs[0])), call->attributes);
    return CR_OK;
}

static cr_status part_backward(cr_gradient_call *call, place_function place)
{
    const cr_shape *shape = &call->input_specs[0].shape;
    int64_t stride[CR_MAX_DIMS] = { 0 };
    cr_tensor_spec part = { .dtype = call->input_specs[0].dtype };
    shape_contiguous_strides(shape, stride);
    place(call->attributes, shape, stride, &part);
    struct slice_backward_attributes attributes = {
        .shape = *shape, .size = part.shape, .stride = part.stride, .offset = part.offset
    };
    call->grad_inputs[0] =
        cr_apply(&slice_backward_op, CR_INPUTS(call->grad_outputs[0]), &attributes);
    return CR_OK;
}

/* ---- checks that they share ---- */

static cr_status check_dim(cr_infer_call *call, const char *what, int64_t *dim)
{
    const cr_tensor *x = call->inputs[0];
    if (require_ndim(x, "x", 1, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    int wrapped = shape_wrap_dim(*dim, x->shape.ndim, what);
    if (wrapped < 0)
        return cr_error_status();
    *dim = wrapped;
    return CR_OK;
}

static cr_status place_part(cr_infer_call *call, place_function place)
{
    const cr_tensor *x = call->inputs[0];
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    place(call->attributes, &x->shape, x->stride, &call->outputs[0]);
    return CR_OK;
}

/* ---- slice ---- */

static const cr_attribute slice_table[] = {
    { "dim", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, dim) },
    { "start", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, start) },
    { "end", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, length) },
    { "step", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, step) },
    CR_ATTRIBUTE_END,
};

static int64_t clamp_bound(int64_t bound, int64_t size)
{
    if (bound < 0)
        bound += size;
    return CR_MIN(CR_MAX(bound, 0), size);
}

static cr_status slice_infer(cr_infer_call *call)
{
    struct part_attributes *part = call->attributes;
    if (check_dim(call, "dim", &part->dim) != CR_OK)
        return cr_error_status();
    if (part->step < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "step %lld is not positive; reverse a dimension with cr_flip",
                            (long long)part->step);
    int64_t size = call->inputs[0]->shape.dim[part->dim];
    part->step = CR_MIN(part->step, CR_MAX(size, 1)); /* so that strides stay small */
    part->start = clamp_bound(part->start, size);
    part->length = CR_MAX(clamp_bound(part->length, size), part->start);
    return place_part(call, place_slice);
}

static cr_status slice_gradient(cr_gradient_call *call)
{
    return part_backward(call, place_slice);
}

/* A bound as a vector of one; the end of the dimension as the largest number, which says the same
 * of any batch. */
static cr_onnx_value slice_bound(cr_onnx_call *call, const char *name, int64_t value,
                                 cr_onnx_size whole)
{
    cr_onnx_size size = cr_onnx_attribute_size_of(call, name, 0, value);
    if (cr_onnx_size_equal(size, whole))
        size = (cr_onnx_size){ .base = INT64_MAX };
    return cr_onnx_sizes(call, &size, 1);
}

static cr_status slice_onnx(cr_onnx_call *call)
{
    const struct part_attributes *part = call->attributes;
    cr_onnx_size whole = call->input_specs[0].dim[part->dim];
    if (cr_onnx_size_equal(whole, call->output_specs[0].dim[part->dim]))
        return onnx_result(call, call->inputs[0]);
    cr_onnx_value step = part->step == 1 ? 0 : cr_onnx_integers(call, CR_SHAPE(part->step));
    cr_onnx_value start = slice_bound(call, "start", part->start, (cr_onnx_size){ .base = -1 });
    cr_onnx_value end = slice_bound(call, "end", part->length, whole);
    cr_onnx_value dim = cr_onnx_integers(call, CR_SHAPE(part->dim));
    return onnx_result(
        call, cr_onnx_add(call, "Slice", .inputs = { call->inputs[0], start, end, dim, step }));
}

static const cr_op slice_op = {
    .name = "slice",
    .summary = "every step-th element of a dimension, without a copy",
    .input_names = "x",
    .attributes = slice_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = slice_infer,
    .backward = slice_gradient,
    .onnx = slice_onnx,
};

cr_tensor *cr_slice(cr_tensor *x, int dim, int64_t start, int64_t end, int64_t step)
{
    struct part_attributes part = { .dim = dim, .start = start, .length = end, .step = step };
    return cr_apply(&slice_op, CR_INPUTS(x), &part);
}

/* ---- narrow ---- */

static const cr_attribute narrow_table[] = {
    CR_ATTRIBUTE(struct part_attributes, INT, dim),
    CR_ATTRIBUTE(struct part_attributes, INT, start),
    CR_ATTRIBUTE(struct part_attributes, INT, length),
    CR_ATTRIBUTE_END,
};

static cr_status narrow_compose(cr_compose_call *call)
{
    const struct part_attributes *part = call->attributes;
    const cr_tensor *x = call->inputs[0];
    int dim = shape_wrap_dim(part->dim, x->shape.ndim, "narrow: dim");
    if (dim < 0 || require_ndim(x, "narrow: x", 1, CR_MAX_DIMS) != CR_OK)
        return cr_error_status();
    int64_t size = x->shape.dim[dim];
    int64_t start = part->start < 0 ? part->start + size : part->start;
    if (start < 0 || start > size || part->length < 0 || part->length > size - start)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "narrow: %lld elements from %lld on do not lie in dimension %d of "
                            "size %lld",
                            (long long)part->length, (long long)part->start, dim, (long long)size);
    call->outputs[0] = cr_slice(call->inputs[0], dim, start, start + part->length, 1);
    return CR_OK;
}

static const cr_op narrow_op = {
    .name = "narrow",
    .summary = "a range of a dimension, without a copy",
    .input_names = "x",
    .attributes = narrow_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .compose = narrow_compose,
};

cr_tensor *cr_narrow(cr_tensor *x, int dim, int64_t start, int64_t length)
{
    struct part_attributes part = { .dim = dim, .start = start, .length = length };
    return cr_apply(&narrow_op, CR_INPUTS(x), &part);
}

/* ---- select ---- */

static const cr_attribute select_table[] = {
    CR_ATTRIBUTE(struct part_attributes, INT, dim),
    { "index", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, start) },
    CR_ATTRIBUTE_END,
};

static cr_status select_infer(cr_infer_call *call)
{
    struct part_attributes *part = call->attributes;
    if (check_dim(call, "dim", &part->dim) != CR_OK)
        return cr_error_status();
    int64_t size = call->inputs[0]->shape.dim[part->dim];
    if (part->start < -size || part->start >= size)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "index %lld is out of range for dimension %lld of size %lld",
                            (long long)part->start, (long long)part->dim, (long long)size);
    part->start += part->start < 0 ? size : 0;
    return place_part(call, place_select);
}

static cr_status select_gradient(cr_gradient_call *call)
{
    return part_backward(call, place_select);
}

static cr_status select_onnx(cr_onnx_call *call)
{
    const struct part_attributes *part = call->attributes;
    cr_onnx_value index = cr_onnx_number(call, CR_I64, (double)part->start);
    return onnx_result(call, cr_onnx_add(call, "Gather", .inputs = { call->inputs[0], index },
                                         .attributes = { CR_ONNX_INT("axis", part->dim) }));
}

static const cr_op select_op = {
    .name = "select",
    .summary = "one element of a dimension, without a copy",
    .input_names = "x",
    .attributes = select_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = select_infer,
    .backward = select_gradient,
    .onnx = select_onnx,
};

cr_tensor *cr_select(cr_tensor *x, int dim, int64_t index)
{
    return cr_apply(&select_op, CR_INPUTS(x),
                    &(struct part_attributes){ .dim = dim, .start = index });
}

/* ---- diagonal ---- */

static const cr_attribute diagonal_table[] = {
    { "offset", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, start) },
    { "dim1", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, dim) },
    { "dim2", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, dim2) },
    CR_ATTRIBUTE_END,
};

static cr_status diagonal_infer(cr_infer_call *call)
{
    struct part_attributes *part = call->attributes;
    if (check_dim(call, "dim1", &part->dim) != CR_OK ||
        check_dim(call, "dim2", &part->dim2) != CR_OK)
        return cr_error_status();
    if (part->dim == part->dim2)
        return cr_error_set(CR_ERROR_ARGUMENT, "dim1 and dim2 are both %lld", (long long)part->dim);
    part->start = CR_MIN(CR_MAX(part->start, -call->inputs[0]->shape.dim[part->dim]),
                         call->inputs[0]->shape.dim[part->dim2]);
    return place_part(call, place_diagonal);
}

static cr_status diagonal_gradient(cr_gradient_call *call)
{
    return part_backward(call, place_diagonal);
}

static const cr_op diagonal_op = {
    .name = "diagonal",
    .summary = "the diagonal of two dimensions, without a copy",
    .input_names = "x",
    .attributes = diagonal_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = diagonal_infer,
    .backward = diagonal_gradient,
};

cr_tensor *cr_diagonal(cr_tensor *x, int64_t offset, int dim1, int dim2)
{
    struct part_attributes part = { .dim = dim1, .dim2 = dim2, .start = offset };
    return cr_apply(&diagonal_op, CR_INPUTS(x), &part);
}

/* ---- diag_embed: a tensor written to the diagonal of zeros ---- */

/* The shape whose diagonal is x, with dim1 and dim2 made non-negative. */
static cr_status embedded_shape(const cr_tensor *x, struct part_attributes *part, cr_shape *shape)
{
    if (require_ndim(x, "diag_embed: x", 1, CR_MAX_DIMS - 1) != CR_OK)
        return cr_error_status();
    int ndim = x->shape.ndim + 1;
    int dim1 = shape_wrap_dim(part->dim, ndim, "diag_embed: dim1");
    int dim2 = dim1 < 0 ? -1 : shape_wrap_dim(part->dim2, ndim, "diag_embed: dim2");
    if (dim2 < 0)
        return cr_error_status();
    if (dim1 == dim2)
        return cr_error_set(CR_ERROR_ARGUMENT, "diag_embed: dim1 and dim2 are both %d", dim1);
    int64_t length = x->shape.dim[ndim - 2];
    if (part->start < -INT32_MAX || part->start > INT32_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "diag_embed: an offset of %lld is too large",
                            (long long)part->start);
    int64_t size = length + (part->start < 0 ? -part->start : part->start);
    part->dim = dim1;
    part->dim2 = dim2;
    shape->ndim = ndim;
    for (int d = 0, from = 0; d < ndim; d++)
        shape->dim[d] = d == dim1 || d == dim2 ? size : x->shape.dim[from++];
    return CR_OK;
}

static cr_status diag_embed_compose(cr_compose_call *call)
{
    struct part_attributes part = *(const struct part_attributes *)call->attributes;
    struct slice_backward_attributes place = { 0 };
    cr_tensor_spec spec = { 0 };
    int64_t stride[CR_MAX_DIMS] = { 0 };
    if (embedded_shape(call->inputs[0], &part, &place.shape) != CR_OK)
        return cr_error_status();
    shape_contiguous_strides(&place.shape, stride);
    place_diagonal(&part, &place.shape, stride, &spec);
    place.size = spec.shape;
    place.stride = spec.stride;
    place.offset = spec.offset;
    call->outputs[0] = cr_apply(&slice_backward_op, CR_INPUTS(call->inputs[0]), &place);
    return CR_OK;
}

static const cr_op diag_embed_op = {
    .name = "diag_embed",
    .summary = "the last dimension on the diagonal of two new ones",
    .input_names = "x",
    .attributes = diagonal_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .compose = diag_embed_compose,
};

cr_tensor *cr_diag_embed(cr_tensor *x, int64_t offset, int dim1, int dim2)
{
    struct part_attributes part = { .dim = dim1, .dim2 = dim2, .start = offset };
    return cr_apply(&diag_embed_op, CR_INPUTS(x), &part);
}

/* ---- unfold ---- */

static const cr_attribute unfold_table[] = {
    { "dimension", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, dim) },
    { "size", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, length) },
    { "step", CR_ATTRIBUTE_INT, offsetof(struct part_attributes, step) },
    CR_ATTRIBUTE_END,
};

static cr_status unfold_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct part_attributes *part = call->attributes;
    int dim = shape_wrap_dim(part->dim, x->shape.ndim, "dimension");
    if (dim < 0 || require_ndim(x, "x", 0, CR_MAX_DIMS - 1) != CR_OK)
        return cr_error_status();
    part->dim = dim;
    int64_t size = x->shape.ndim ? x->shape.dim[dim] : 1;
    if (part->length < 0 || part->length > size)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "windows of %lld do not fit dimension %d of size %lld",
                            (long long)part->length, dim, (long long)size);
    if (part->step < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "step %lld is not positive", (long long)part->step);
    part->step = CR_MIN(part->step, CR_MAX(size, 1));
    return place_part(call, place_unfold);
}

static cr_status unfold_gradient(cr_gradient_call *call)
{
    return part_backward(call, place_unfold);
}

static const cr_op unfold_op = {
    .name = "unfold_dim",
    .summary = "all windows along a dimension, without a copy (Tensor.unfold)",
    .input_names = "x",
    .attributes = unfold_table,
    .attribute_size = sizeof(struct part_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = unfold_infer,
    .backward = unfold_gradient,
};

cr_tensor *cr_unfold_dim(cr_tensor *x, int dim, int64_t size, int64_t step)
{
    struct part_attributes part = { .dim = dim, .length = size, .step = step };
    return cr_apply(&unfold_op, CR_INPUTS(x), &part);
}

OP_FAMILY(slice_ops) = {
    &slice_op,          &narrow_op,      &select_op,     &diagonal_op, &unfold_op,
    &slice_backward_op, &slice_place_op, &diag_embed_op, NULL,
};
