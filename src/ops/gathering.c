/* Reading by index: index_select, gather, take and take_along_dim; and the check of indices that
 * all indexing ops share. */
#include "cresset/indexing.h"
#include "kernels/indexing/indexing.h"
#include "ops/ops.h"

/* ---- the check ---- */

/* Names the first index that is out of range. */
static cr_status index_error(const cr_tensor *index, int64_t below, int64_t size, int dim)
{
    int64_t position = 0, value = 0;
    for (int64_t i = 0; i < tensor_numel(index); i++) {
        value = cr_element_int64(index, i);
        position = i;
        if (value < -below || value >= size)
            break;
    }
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "index %lld at position %lld is out of range for dimension %d of size %lld",
                        (long long)value, (long long)position, dim, (long long)size);
}

cr_status require_index(const cr_tensor *index, int64_t below, int64_t size, int dim)
{
    if (index->dtype != CR_I64)
        return cr_error_set(CR_ERROR_DTYPE,
                            "the index must be int64, not %s; convert it with "
                            "cr_to_dtype",
                            cr_dtype_name((cr_dtype)index->dtype));
    if (!index->storage || index_in_range(index, below, size))
        return CR_OK;
    return index_error(index, below, size, dim);
}

static int64_t dim_size(const cr_shape *shape, int64_t dim)
{
    return shape->ndim ? shape->dim[dim] : 1;
}

static int64_t product(const cr_shape *shape, int64_t begin, int64_t end)
{
    int64_t count = 1;
    for (int64_t d = begin; d < end; d++)
        count *= shape->dim[d];
    return count;
}

struct dim_attributes {
    int64_t dim;
};

static const cr_attribute dim_table[] = {
    CR_ATTRIBUTE(struct dim_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

/* ---- index_select ---- */

static cr_status index_select_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1];
    struct dim_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0 || require_ndim(index, "the index", 0, 1) != CR_OK ||
        require_index(index, 0, dim_size(&x->shape, dim), dim) != CR_OK)
        return cr_error_status();
    if (x->shape.ndim == 0 && tensor_numel(index) != 1)
        return cr_error_set(CR_ERROR_SHAPE, "a tensor of no dimensions takes one index, not %lld",
                            (long long)tensor_numel(index));
    attributes->dim = dim;
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    if (x->shape.ndim)
        out->shape.dim[dim] = tensor_numel(index);
    return CR_OK;
}

static void index_select_forward(const cr_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1];
    int64_t dim = attributes->dim;
    index_rows(call->outputs[0], x, product(&x->shape, 0, dim), dim_size(&x->shape, dim),
               product(&x->shape, dim + 1, x->shape.ndim), TENSOR_DATA(const int64_t, index),
               tensor_numel(index));
}

static cr_tensor *zeros_for(const cr_tensor *grad, const cr_shape *shape)
{
    return cr_zeros_with((cr_tensor_args){
        .shape = *shape, .dtype = (cr_dtype)grad->dtype, .device = (cr_device)grad->device });
}

static cr_status index_select_backward(cr_gradient_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    cr_tensor *grad = call->grad_outputs[0];
    call->grad_inputs[0] = cr_index_add(zeros_for(grad, &call->input_specs[0].shape),
                                        (int)attributes->dim, call->inputs[1], grad, 1.0);
    return CR_OK;
}

static cr_status gather_along(cr_onnx_call *call, const char *type)
{
    const struct dim_attributes *attributes = call->attributes;
    return onnx_result(call, cr_onnx_add(call, type, .inputs = { call->inputs[0], call->inputs[1] },
                                         .attributes = { CR_ONNX_INT("axis", attributes->dim) }));
}

static cr_status index_select_onnx(cr_onnx_call *call)
{
    return gather_along(call, "Gather");
}

static const cr_op index_select_op = {
    .name = "index_select",
    .summary = "entries of a dimension by index",
    .input_names = "x index",
    .attributes = dim_table,
    .attribute_size = sizeof(struct dim_attributes),
    .min_inputs = 2,
    .save_inputs = CR_SAVE(1),
    .infer = index_select_infer,
    .forward = { [CR_CPU] = index_select_forward },
    .backward = index_select_backward,
    .onnx = index_select_onnx,
};

cr_tensor *cr_index_select(cr_tensor *x, int dim, cr_tensor *index)
{
    return cr_apply(&index_select_op, CR_INPUTS(x, index), &(struct dim_attributes){ dim });
}

/* ---- gather ---- */

cr_status check_index_shape(const cr_shape *index, const cr_shape *shape, int64_t dim,
                            const char *what)
{
    bool fits = index->ndim == shape->ndim;
    for (int d = 0; fits && d < shape->ndim; d++)
        fits = d == dim || index->dim[d] <= shape->dim[d];
    if (fits)
        return CR_OK;
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "an index of shape %s does not fit into %s of shape %s",
                        cr_shape_format(index, text[0], CR_SHAPE_TEXT), what,
                        cr_shape_format(shape, text[1], CR_SHAPE_TEXT));
}

static cr_status gather_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1];
    struct dim_attributes *attributes = call->attributes;
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0)
        return cr_error_status();
    attributes->dim = dim;
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    call->outputs[0].shape = index->shape;
    if (tensor_numel(index) && check_index_shape(&index->shape, &x->shape, dim, "x") != CR_OK)
        return cr_error_status();
    return require_index(index, 0, dim_size(&x->shape, dim), dim);
}

static void gather_forward(const cr_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    index_elements(INDEX_GATHER, call->inputs[0], (int)attributes->dim, call->inputs[1],
                   call->outputs[0]);
}

static cr_status gather_backward(cr_gradient_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    cr_tensor *grad = call->grad_outputs[0];
    call->grad_inputs[0] = cr_scatter_add(zeros_for(grad, &call->input_specs[0].shape),
                                          (int)attributes->dim, call->inputs[1], grad);
    return CR_OK;
}

static cr_status gather_onnx(cr_onnx_call *call)
{
    return gather_along(call, "GatherElements");
}

static const cr_op gather_op = {
    .name = "gather",
    .summary = "elements along a dimension by index",
    .input_names = "x index",
    .attributes = dim_table,
    .attribute_size = sizeof(struct dim_attributes),
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(1),
    .infer = gather_infer,
    .forward = { [CR_CPU] = gather_forward },
    .backward = gather_backward,
    .onnx = gather_onnx,
};

cr_tensor *cr_gather(cr_tensor *x, int dim, cr_tensor *index)
{
    return cr_apply(&gather_op, CR_INPUTS(x, index), &(struct dim_attributes){ dim });
}

/* ---- indices that count from the end ---- */

cr_tensor *index_from_front(const char *name, cr_tensor *index, int64_t size, int dim)
{
    int64_t least, greatest;
    if (require_index(index, size, size, dim) != CR_OK) {
        cr_error_prefix("%s", name);
        return NULL;
    }
    if (!index->storage || !index_range(index, &least, &greatest) || least >= 0)
        return index;
    cr_tensor *wrapped = cr_clone(index);
    int64_t count = wrapped ? tensor_numel(wrapped) : 0;
    int64_t *at = wrapped ? TENSOR_DATA(int64_t, wrapped) : NULL;
    for (int64_t i = 0; i < count; i++)
        at[i] += at[i] < 0 ? size : 0;
    return wrapped;
}

/* ---- take_along_dim ---- */

static cr_status take_along_dim_compose(cr_compose_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0], *index = call->inputs[1];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "take_along_dim: dim");
    if (dim < 0)
        return cr_error_status();
    if (x->shape.ndim != index->shape.ndim || x->shape.ndim == 0)
        return cr_error_set(CR_ERROR_SHAPE,
                            "take_along_dim: x has %d dimensions, the index %d; both need the same "
                            "number, at least 1",
                            x->shape.ndim, index->shape.ndim);
    index = index_from_front("take_along_dim", index, x->shape.dim[dim], dim);
    if (!index)
        return cr_error_status();
    cr_shape shape = x->shape, index_shape = index->shape;
    shape.dim[dim] = index_shape.dim[dim] = 1;
    if (shape_broadcast(&shape, &index_shape, &shape) != CR_OK) {
        cr_error_prefix("take_along_dim");
        return cr_error_status();
    }
    index_shape = shape;
    shape.dim[dim] = x->shape.dim[dim];
    index_shape.dim[dim] = index->shape.dim[dim];
    call->outputs[0] = cr_gather(cr_expand(x, shape), dim, cr_expand(index, index_shape));
    return CR_OK;
}

static const cr_op take_along_dim_op = {
    .name = "take_along_dim",
    .summary = "elements along a dimension by index, both broadcast",
    .input_names = "x index",
    .attributes = dim_table,
    .attribute_size = sizeof(struct dim_attributes),
    .min_inputs = 2,
    .compose = take_along_dim_compose,
};

cr_tensor *cr_take_along_dim(cr_tensor *x, cr_tensor *index, int dim)
{
    return cr_apply(&take_along_dim_op, CR_INPUTS(x, index), &(struct dim_attributes){ dim });
}

/* ---- take ---- */

static cr_status take_compose(cr_compose_call *call)
{
    cr_tensor *flat = cr_reshape(call->inputs[0], CR_SHAPE(-1));
    cr_tensor *index = flat ? index_from_front("take", call->inputs[1], cr_numel(flat), 0) : NULL;
    if (!index)
        return cr_error_status();
    call->outputs[0] =
        cr_reshape(cr_index_select(flat, 0, cr_reshape(index, CR_SHAPE(-1))), index->shape);
    return CR_OK;
}

static const cr_op take_op = {
    .name = "take",
    .summary = "elements of the flattened tensor by index",
    .input_names = "x index",
    .min_inputs = 2,
    .compose = take_compose,
};

cr_tensor *cr_take(cr_tensor *x, cr_tensor *index)
{
    return cr_apply(&take_op, CR_INPUTS(x, index), NULL);
}

OP_FAMILY(gather_ops) = { &index_select_op, &gather_op, &take_along_dim_op, &take_op, NULL };
