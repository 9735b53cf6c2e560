/* Writing by index: scatter, scatter_add, index_copy, index_add and index_fill. Each begins with a
 * copy of x, which stays as it is. */
#include "cresset/indexing.h"
#include "kernels/indexing/indexing.h"
#include "ops/ops.h"

struct scatter_attributes {
    int64_t dim;
};

static const cr_attribute scatter_table[] = {
    CR_ATTRIBUTE(struct scatter_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

/* ---- scatter and scatter_add ---- */

static cr_status scatter_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1], *source = call->inputs[2];
    struct scatter_attributes *attributes = call->attributes;
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0)
        return cr_error_status();
    attributes->dim = dim;
    if (source->dtype != x->dtype)
        return cr_error_set(CR_ERROR_DTYPE,
                            "the source is %s but x %s; convert it with "
                            "cr_to_dtype",
                            cr_dtype_name((cr_dtype)source->dtype),
                            cr_dtype_name((cr_dtype)x->dtype));
    if (tensor_numel(index) &&
        (check_index_shape(&index->shape, &x->shape, dim, "x") != CR_OK ||
         check_index_shape(&index->shape, &source->shape, CR_MAX_DIMS, "the source") != CR_OK))
        return cr_error_status();
    if (require_index(index, 0, x->shape.ndim ? x->shape.dim[dim] : 1, dim) != CR_OK)
        return cr_error_status();
    return infer_same(call);
}

static void scatter_run(const cr_call *call, enum index_kind kind)
{
    const struct scatter_attributes *attributes = call->attributes;
    copy_tensor(call->outputs[0], call->inputs[0]);
    if (tensor_numel(call->inputs[1]))
        index_elements(kind, call->outputs[0], (int)attributes->dim, call->inputs[1],
                       call->inputs[2]);
}

/* The gradient of the source, which may be larger than the index: what was not read gets zeros. */
static cr_tensor *source_gradient(cr_gradient_call *call, int dim)
{
    const cr_shape *shape = &call->input_specs[2].shape;
    cr_tensor *grad = cr_gather(call->grad_outputs[0], dim, call->inputs[1]);
    if (!grad || cr_shape_equal(&grad->shape, shape))
        return grad;
    for (int d = 0; grad && d < shape->ndim; d++) {
        cr_shape rest = grad->shape;
        rest.dim[d] = shape->dim[d] - rest.dim[d];
        if (rest.dim[d] > 0)
            grad = cr_cat_of(
                d, grad,
                cr_zeros(rest, .dtype = (cr_dtype)grad->dtype, .device = (cr_device)grad->device));
    }
    return grad;
}

static void scatter_forward(const cr_call *call)
{
    scatter_run(call, INDEX_SCATTER);
}

static cr_status scatter_backward(cr_gradient_call *call)
{
    const struct scatter_attributes *attributes = call->attributes;
    int dim = (int)attributes->dim;
    if (call->needs[0])
        call->grad_inputs[0] = cr_scatter_value(call->grad_outputs[0], dim, call->inputs[1], 0);
    if (call->needs[2])
        call->grad_inputs[2] = source_gradient(call, dim);
    return CR_OK;
}

static cr_status scatter_onnx(cr_onnx_call *call)
{
    const struct scatter_attributes *attributes = call->attributes;
    return onnx_result(call, onnx_scatter(call, attributes->dim, "none", false, call->inputs[2]));
}

static const cr_op scatter_op = {
    .name = "scatter",
    .summary = "elements written along a dimension by index",
    .input_names = "x index source",
    .attributes = scatter_table,
    .attribute_size = sizeof(struct scatter_attributes),
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .cast = CR_CAST_PROMOTE,
    .infer = scatter_infer,
    .forward = { [CR_CPU] = scatter_forward },
    .backward = scatter_backward,
    .onnx = scatter_onnx,
};

cr_tensor *cr_scatter(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source)
{
    return cr_apply(&scatter_op, CR_INPUTS(x, index, source), &(struct scatter_attributes){ dim });
}

/* A number as a tensor of x's dtype and of this shape, without memory for each element. */
static cr_tensor *number_like(const cr_tensor *x, double value, cr_shape shape)
{
    cr_tensor_args args = { .dtype = (cr_dtype)x->dtype, .device = (cr_device)x->device };
    return cr_expand(cr_full_with(args, value), shape);
}

cr_tensor *cr_scatter_value(cr_tensor *x, int dim, cr_tensor *index, double value)
{
    if (!x || !index || cr_failed())
        return cr_scatter(x, dim, index, NULL);
    cr_frame frame = cr_frame_begin();
    cr_tensor *source = number_like(x, value, index->shape);
    return cr_frame_end_with(frame, cr_scatter(x, dim, index, source));
}

static void scatter_add_forward(const cr_call *call)
{
    scatter_run(call, INDEX_ADD);
}

static cr_status scatter_add_backward(cr_gradient_call *call)
{
    const struct scatter_attributes *attributes = call->attributes;
    if (call->needs[0])
        call->grad_inputs[0] = call->grad_outputs[0];
    if (call->needs[2])
        call->grad_inputs[2] = source_gradient(call, (int)attributes->dim);
    return CR_OK;
}

static cr_status scatter_add_onnx(cr_onnx_call *call)
{
    const struct scatter_attributes *attributes = call->attributes;
    return onnx_result(call, onnx_scatter(call, attributes->dim, "add", false, call->inputs[2]));
}

static const cr_op scatter_add_op = {
    .name = "scatter_add",
    .summary = "elements added along a dimension by index",
    .input_names = "x index source",
    .attributes = scatter_table,
    .attribute_size = sizeof(struct scatter_attributes),
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .cast = CR_CAST_PROMOTE,
    .infer = scatter_infer,
    .forward = { [CR_CPU] = scatter_add_forward },
    .backward = scatter_add_backward,
    .onnx = scatter_add_onnx,
};

cr_tensor *cr_scatter_add(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source)
{
    return cr_apply(&scatter_add_op, CR_INPUTS(x, index, source),
                    &(struct scatter_attributes){ dim });
}

/* ---- index_copy and index_add ---- */

struct index_add_attributes {
    int64_t dim;
    double alpha;
};

static const cr_attribute index_copy_table[] = {
    CR_ATTRIBUTE(struct index_add_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

static const cr_attribute index_add_table[] = {
    CR_ATTRIBUTE(struct index_add_attributes, INT, dim),
    CR_ATTRIBUTE(struct index_add_attributes, FLOAT, alpha),
    CR_ATTRIBUTE_END,
};

static cr_status check_source(const cr_tensor *x, const cr_tensor *source, int dim, int64_t count)
{
    bool fits = source->shape.ndim == x->shape.ndim;
    for (int d = 0; fits && d < x->shape.ndim; d++)
        fits = source->shape.dim[d] == (d == dim ? count : x->shape.dim[d]);
    if (source->dtype != x->dtype)
        return cr_error_set(CR_ERROR_DTYPE,
                            "the source is %s but x %s; convert it with "
                            "cr_to_dtype",
                            cr_dtype_name((cr_dtype)source->dtype),
                            cr_dtype_name((cr_dtype)x->dtype));
    if (fits && (x->shape.ndim || count == 1))
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "a source of shape %s does not go to %lld entries of dimension %d of %s",
                        cr_shape_format(&source->shape, text[0], CR_SHAPE_TEXT), (long long)count,
                        dim, cr_shape_format(&x->shape, text[1], CR_SHAPE_TEXT));
}

static cr_status index_entries_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1];
    struct index_add_attributes *attributes = call->attributes;
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0 || require_ndim(index, "the index", 0, 1) != CR_OK ||
        require_index(index, 0, x->shape.ndim ? x->shape.dim[dim] : 1, dim) != CR_OK ||
        check_source(x, call->inputs[2], dim, tensor_numel(index)) != CR_OK)
        return cr_error_status();
    attributes->dim = dim;
    return infer_same(call);
}

/* scatter with the index repeated over all other dimensions. */
static void index_copy_forward(const cr_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    const cr_tensor *index = call->inputs[1];
    cr_tensor *source = call->inputs[2];
    cr_tensor wide = {
        .dtype = CR_I64, .shape = source->shape, .offset = index->offset, .storage = index->storage
    };
    wide.stride[attributes->dim] = index->shape.ndim ? index->stride[0] : 0;
    copy_tensor(call->outputs[0], call->inputs[0]);
    if (tensor_numel(source))
        index_elements(INDEX_SCATTER, call->outputs[0], (int)attributes->dim, &wide, source);
}

static cr_status index_copy_backward(cr_gradient_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    cr_tensor *grad = call->grad_outputs[0];
    int dim = (int)attributes->dim;
    if (call->needs[0])
        call->grad_inputs[0] = cr_index_fill(grad, dim, call->inputs[1], 0);
    if (call->needs[2])
        call->grad_inputs[2] =
            cr_reshape(cr_index_select(grad, dim, call->inputs[1]), call->input_specs[2].shape);
    return CR_OK;
}

static cr_status index_copy_onnx(cr_onnx_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    return onnx_result(call, onnx_scatter(call, attributes->dim, "none", true, call->inputs[2]));
}

static const cr_op index_copy_op = {
    .name = "index_copy",
    .summary = "entries of a dimension replaced by index",
    .input_names = "x index source",
    .attributes = index_copy_table,
    .attribute_size = sizeof(struct index_add_attributes),
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .cast = CR_CAST_PROMOTE,
    .infer = index_entries_infer,
    .forward = { [CR_CPU] = index_copy_forward },
    .backward = index_copy_backward,
    .onnx = index_copy_onnx,
};

cr_tensor *cr_index_copy(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source)
{
    return cr_apply(&index_copy_op, CR_INPUTS(x, index, source),
                    &(struct index_add_attributes){ .dim = dim });
}

static int64_t product(const cr_shape *shape, int64_t begin, int64_t end)
{
    int64_t count = 1;
    for (int64_t d = begin; d < end; d++)
        count *= shape->dim[d];
    return count;
}

static size_t index_add_room(const cr_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->inputs[0]->shape;
    return index_add_workspace(shape->ndim ? shape->dim[attributes->dim] : 1,
                               tensor_numel(call->inputs[1]));
}

static void index_add_forward(const cr_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->inputs[0]->shape;
    int64_t dim = attributes->dim;
    struct index_add add = { .out = call->outputs[0],
                             .base = call->inputs[0],
                             .values = call->inputs[2],
                             .index = TENSOR_DATA(const int64_t, call->inputs[1]),
                             .outer = product(shape, 0, dim),
                             .n = shape->ndim ? shape->dim[dim] : 1,
                             .inner = product(shape, dim + 1, shape->ndim),
                             .count = tensor_numel(call->inputs[1]),
                             .skip = -1,
                             .alpha = attributes->alpha,
                             .workspace = call->workspace };
    index_add_rows(&add);
}

static cr_status index_add_backward(cr_gradient_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    cr_tensor *grad = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = grad;
    if (call->needs[2]) {
        cr_tensor *rows = cr_index_select(grad, (int)attributes->dim, call->inputs[1]);
        rows = attributes->alpha == 1 ? rows : cr_mul_scalar(rows, attributes->alpha);
        call->grad_inputs[2] = cr_reshape(rows, call->input_specs[2].shape);
    }
    return CR_OK;
}

static cr_status index_add_onnx(cr_onnx_call *call)
{
    const struct index_add_attributes *attributes = call->attributes;
    cr_onnx_value source = call->inputs[2];
    if (attributes->alpha != 1)
        source =
            cr_onnx_with_number(call, "Mul", source, call->input_specs[2].dtype, attributes->alpha);
    return onnx_result(call, onnx_scatter(call, attributes->dim, "add", true, source));
}

static const cr_op index_add_op = {
    .name = "index_add",
    .summary = "entries of a dimension added to by index",
    .input_names = "x index source",
    .attributes = index_add_table,
    .attribute_size = sizeof(struct index_add_attributes),
    .min_inputs = 3,
    .save_inputs = CR_SAVE(1),
    .cast = CR_CAST_PROMOTE,
    .infer = index_entries_infer,
    .workspace = index_add_room,
    .forward = { [CR_CPU] = index_add_forward },
    .backward = index_add_backward,
    .onnx = index_add_onnx,
};

cr_tensor *cr_index_add(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source, double alpha)
{
    return cr_apply(&index_add_op, CR_INPUTS(x, index, source),
                    &(struct index_add_attributes){ dim, alpha });
}

/* ---- index_fill ---- */

struct index_fill_attributes {
    int64_t dim;
    double value;
};

static const cr_attribute index_fill_table[] = {
    CR_ATTRIBUTE(struct index_fill_attributes, INT, dim),
    CR_ATTRIBUTE(struct index_fill_attributes, FLOAT, value),
    CR_ATTRIBUTE_END,
};

static cr_status index_fill_compose(cr_compose_call *call)
{
    const struct index_fill_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "index_fill: dim");
    if (dim < 0)
        return cr_error_status();
    cr_shape shape = x->shape;
    if (shape.ndim)
        shape.dim[dim] = tensor_numel(call->inputs[1]);
    call->outputs[0] =
        cr_index_copy(x, dim, call->inputs[1], number_like(x, attributes->value, shape));
    return CR_OK;
}

static const cr_op index_fill_op = {
    .name = "index_fill",
    .summary = "entries of a dimension set to a number by index",
    .input_names = "x index",
    .attributes = index_fill_table,
    .attribute_size = sizeof(struct index_fill_attributes),
    .min_inputs = 2,
    .compose = index_fill_compose,
};

cr_tensor *cr_index_fill(cr_tensor *x, int dim, cr_tensor *index, double value)
{
    return cr_apply(&index_fill_op, CR_INPUTS(x, index),
                    &(struct index_fill_attributes){ dim, value });
}

OP_FAMILY(scatter_ops) = {
    &scatter_op, &scatter_add_op, &index_copy_op, &index_add_op, &index_fill_op, NULL,
};
