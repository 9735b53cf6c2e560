/* Views with other axes: permute and its kin, squeeze and unsqueeze, flatten and unflatten. */
#include "ops/ops.h"

/* ---- permute ---- */

struct permute_attributes {
    cr_shape dims;
};

static const cr_attribute permute_table[] = {
    CR_ATTRIBUTE(struct permute_attributes, INTS, dims),
    CR_ATTRIBUTE_END,
};

/* Makes a full list of dimensions non-negative and checks that each stands there once. */
static cr_status check_permutation(cr_shape *dims, int ndim)
{
    bool seen[CR_MAX_DIMS] = { false };
    if (dims->ndim != ndim)
        return cr_error_set(CR_ERROR_SHAPE, "%d dims are given for a tensor of %d dimensions",
                            dims->ndim, ndim);
    for (int i = 0; i < ndim; i++) {
        int dim = shape_wrap_dim(dims->dim[i], ndim, "dim");
        if (dim < 0)
            return cr_error_status();
        if (seen[dim])
            return cr_error_set(CR_ERROR_ARGUMENT, "dim %d is given twice", dim);
        seen[dim] = true;
        dims->dim[i] = dim;
    }
    return CR_OK;
}

static cr_status permute_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct permute_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (check_permutation(&attributes->dims, x->shape.ndim) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape.ndim = x->shape.ndim;
    for (int i = 0; i < x->shape.ndim; i++) {
        out->shape.dim[i] = x->shape.dim[attributes->dims.dim[i]];
        out->stride.dim[i] = x->stride[attributes->dims.dim[i]];
    }
    return CR_OK;
}

static cr_status permute_backward(cr_gradient_call *call)
{
    const struct permute_attributes *attributes = call->attributes;
    cr_shape inverse = { .ndim = attributes->dims.ndim };
    for (int i = 0; i < inverse.ndim; i++)
        inverse.dim[attributes->dims.dim[i]] = i;
    call->grad_inputs[0] = cr_permute(call->grad_outputs[0], inverse);
    return CR_OK;
}

static cr_status permute_onnx(cr_onnx_call *call)
{
    const struct permute_attributes *attributes = call->attributes;
    return onnx_result(call, cr_onnx_permute(call, call->inputs[0], attributes->dims));
}

static const cr_op permute_op = {
    .name = "permute",
    .summary = "the dimensions in another order, without a copy",
    .input_names = "x",
    .attributes = permute_table,
    .attribute_size = sizeof(struct permute_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = permute_infer,
    .backward = permute_backward,
    .onnx = permute_onnx,
};

cr_tensor *cr_permute(cr_tensor *x, cr_shape dims)
{
    return cr_apply(&permute_op, CR_INPUTS(x), &(struct permute_attributes){ dims });
}

/* ---- transpose, t ---- */

struct transpose_attributes {
    int64_t dim0;
    int64_t dim1;
};

static const cr_attribute transpose_table[] = {
    CR_ATTRIBUTE(struct transpose_attributes, INT, dim0),
    CR_ATTRIBUTE(struct transpose_attributes, INT, dim1),
    CR_ATTRIBUTE_END,
};

static cr_shape identity_dims(int ndim)
{
    cr_shape dims = { .ndim = ndim };
    for (int i = 0; i < ndim; i++)
        dims.dim[i] = i;
    return dims;
}

static cr_status transpose_compose(cr_compose_call *call)
{
    const struct transpose_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int dim0 = shape_wrap_dim(attributes->dim0, x->shape.ndim, "transpose: dim0");
    int dim1 = dim0 < 0 ? -1 : shape_wrap_dim(attributes->dim1, x->shape.ndim, "transpose: dim1");
    if (dim1 < 0)
        return cr_error_status();
    cr_shape dims = identity_dims(x->shape.ndim);
    if (dims.ndim > 0) {
        dims.dim[dim0] = dim1;
        dims.dim[dim1] = dim0;
    }
    call->outputs[0] = cr_permute(x, dims);
    return CR_OK;
}

static const cr_op transpose_op = {
    .name = "transpose",
    .summary = "two dimensions exchanged, without a copy",
    .input_names = "x",
    .attributes = transpose_table,
    .attribute_size = sizeof(struct transpose_attributes),
    .min_inputs = 1,
    .compose = transpose_compose,
};

cr_tensor *cr_transpose(cr_tensor *x, int dim0, int dim1)
{
    return cr_apply(&transpose_op, CR_INPUTS(x), &(struct transpose_attributes){ dim0, dim1 });
}

static cr_status t_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0];
    if (require_ndim(x, "t: x", 0, 2) != CR_OK)
        return cr_error_status();
    call->outputs[0] = x->shape.ndim == 2 ? cr_transpose(x, 0, 1) : x;
    return CR_OK;
}

static const cr_op t_op = {
    .name = "t",
    .summary = "the transpose of a matrix, without a copy",
    .input_names = "x",
    .min_inputs = 1,
    .compose = t_compose,
};

cr_tensor *cr_t(cr_tensor *x)
{
    return cr_apply(&t_op, CR_INPUTS(x), NULL);
}

/* ---- movedim ---- */

struct movedim_attributes {
    cr_shape source;
    cr_shape destination;
};

static const cr_attribute movedim_table[] = {
    CR_ATTRIBUTE(struct movedim_attributes, INTS, source),
    CR_ATTRIBUTE(struct movedim_attributes, INTS, destination),
    CR_ATTRIBUTE_END,
};

/* Positions that `destination` names get the dimensions of `source`, the rest fill the gaps. */
static cr_status movedim_compose(cr_compose_call *call)
{
    const struct movedim_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int ndim = x->shape.ndim;
    int64_t dims[CR_MAX_DIMS];
    bool moved[CR_MAX_DIMS] = { false };
    if (attributes->source.ndim != attributes->destination.ndim)
        return cr_error_set(CR_ERROR_SHAPE, "movedim: %d source dims but %d destinations",
                            attributes->source.ndim, attributes->destination.ndim);
    for (int i = 0; i < ndim; i++)
        dims[i] = -1;
    for (int i = 0; i < attributes->source.ndim; i++) {
        int from = shape_wrap_dim(attributes->source.dim[i], ndim, "movedim: source");
        int to = from < 0
                     ? -1
                     : shape_wrap_dim(attributes->destination.dim[i], ndim, "movedim: destination");
        if (to < 0)
            return cr_error_status();
        if (moved[from] || dims[to] >= 0)
            return cr_error_set(CR_ERROR_ARGUMENT, "movedim: a dimension is given twice");
        moved[from] = true;
        dims[to] = from;
    }
    for (int to = 0, from = 0; to < ndim; to++) {
        if (dims[to] >= 0)
            continue;
        while (moved[from])
            from++;
        dims[to] = from++;
    }
    call->outputs[0] = cr_permute(x, cr_shape_make(ndim, dims));
    return CR_OK;
}

static const cr_op movedim_op = {
    .name = "movedim",
    .summary = "dimensions moved to other positions, without a copy",
    .input_names = "x",
    .attributes = movedim_table,
    .attribute_size = sizeof(struct movedim_attributes),
    .min_inputs = 1,
    .compose = movedim_compose,
};

cr_tensor *cr_movedim(cr_tensor *x, cr_shape source, cr_shape destination)
{
    return cr_apply(&movedim_op, CR_INPUTS(x), &(struct movedim_attributes){ source, destination });
}

/* ---- squeeze ---- */

static cr_status squeeze_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct permute_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (normalize_dims(&attributes->dims, x->shape.ndim) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    for (int d = 0, next = 0; d < x->shape.ndim; d++) {
        bool named = next < attributes->dims.ndim && attributes->dims.dim[next] == d;
        next += named;
        if (named && x->shape.dim[d] == 1)
            continue;
        out->stride.dim[out->shape.ndim] = x->stride[d];
        out->shape.dim[out->shape.ndim++] = x->shape.dim[d];
    }
    return CR_OK;
}

/* Dimensions of size 1 come and go without a copy. */
static cr_status reshape_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_reshape(call->grad_outputs[0], call->input_specs[0].shape);
    return CR_OK;
}

static cr_status squeeze_onnx(cr_onnx_call *call)
{
    const struct permute_attributes *attributes = call->attributes;
    if (call->output_specs[0].ndim == call->input_specs[0].ndim)
        return onnx_result(call, call->inputs[0]);
    return onnx_result(call, cr_onnx_squeeze(call, call->inputs[0], attributes->dims));
}

static const cr_op squeeze_op = {
    .name = "squeeze",
    .summary = "without dimensions of size 1, no copy",
    .input_names = "x",
    .attributes = permute_table,
    .attribute_size = sizeof(struct permute_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = squeeze_infer,
    .backward = reshape_backward,
    .onnx = squeeze_onnx,
};

cr_tensor *cr_squeeze_dims(cr_tensor *x, cr_shape dims)
{
    return cr_apply(&squeeze_op, CR_INPUTS(x), &(struct permute_attributes){ dims });
}

cr_tensor *cr_squeeze(cr_tensor *x)
{
    return cr_squeeze_dims(x, cr_shape_scalar());
}

/* ---- unsqueeze ---- */

struct dim_attributes {
    int64_t dim;
};

static const cr_attribute dim_table[] = {
    CR_ATTRIBUTE(struct dim_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

static cr_status unsqueeze_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct dim_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    int ndim = x->shape.ndim;
    int dim = shape_wrap_dim(attributes->dim, ndim + 1, "dim");
    if (dim < 0)
        return cr_error_status();
    if (ndim == CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_SHAPE, "a tensor has at most %d dimensions", CR_MAX_DIMS);
    attributes->dim = dim;
    out->dtype = (cr_dtype)x->dtype;
    out->shape.ndim = ndim + 1;
    for (int d = 0; d <= ndim; d++) {
        int from = d < dim ? d : d - 1;
        bool is_new = d == dim;
        out->shape.dim[d] = is_new ? 1 : x->shape.dim[from];
        out->stride.dim[d] =
            is_new ? (d < ndim ? x->stride[d] * x->shape.dim[d] : 1) : x->stride[from];
    }
    return CR_OK;
}

static cr_status unsqueeze_onnx(cr_onnx_call *call)
{
    const struct dim_attributes *attributes = call->attributes;
    return onnx_result(call, cr_onnx_unsqueeze(call, call->inputs[0], CR_SHAPE(attributes->dim)));
}

static const cr_op unsqueeze_op = {
    .name = "unsqueeze",
    .summary = "with a new dimension of size 1, no copy",
    .input_names = "x",
    .attributes = dim_table,
    .attribute_size = sizeof(struct dim_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW,
    .infer = unsqueeze_infer,
    .backward = reshape_backward,
    .onnx = unsqueeze_onnx,
};

cr_tensor *cr_unsqueeze(cr_tensor *x, int dim)
{
    return cr_apply(&unsqueeze_op, CR_INPUTS(x), &(struct dim_attributes){ dim });
}

/* ---- flatten ---- */

struct flatten_attributes {
    int64_t start_dim;
    int64_t end_dim;
};

static const cr_attribute flatten_table[] = {
    CR_ATTRIBUTE(struct flatten_attributes, INT, start_dim),
    CR_ATTRIBUTE(struct flatten_attributes, INT, end_dim),
    CR_ATTRIBUTE_END,
};

static cr_status flatten_compose(cr_compose_call *call)
{
    const struct flatten_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int ndim = x->shape.ndim;
    int start = shape_wrap_dim(attributes->start_dim, ndim, "flatten: start_dim");
    int end = start < 0 ? -1 : shape_wrap_dim(attributes->end_dim, ndim, "flatten: end_dim");
    if (end < 0)
        return cr_error_status();
    if (end < start)
        return cr_error_set(CR_ERROR_ARGUMENT, "flatten: end_dim %d comes before start_dim %d", end,
                            start);
    cr_shape shape = { .ndim = 1, .dim = { 1 } };
    if (ndim > 0) {
        shape = (cr_shape){ .ndim = start + 1 };
        for (int d = 0; d < start; d++)
            shape.dim[d] = x->shape.dim[d];
        shape.dim[start] = 1;
        for (int d = start; d <= end; d++)
            shape.dim[start] *= x->shape.dim[d];
        for (int d = end + 1; d < ndim; d++)
            shape.dim[shape.ndim++] = x->shape.dim[d];
    }
    call->outputs[0] = cr_reshape(x, shape);
    return CR_OK;
}

static const cr_op flatten_op = {
    .name = "flatten",
    .summary = "several dimensions as one",
    .input_names = "x",
    .attributes = flatten_table,
    .attribute_size = sizeof(struct flatten_attributes),
    .min_inputs = 1,
    .compose = flatten_compose,
};

cr_tensor *cr_flatten(cr_tensor *x, int start_dim, int end_dim)
{
    return cr_apply(&flatten_op, CR_INPUTS(x), &(struct flatten_attributes){ start_dim, end_dim });
}

/* ---- unflatten ---- */

struct unflatten_attributes {
    int64_t dim;
    cr_shape sizes;
};

static const cr_attribute unflatten_table[] = {
    CR_ATTRIBUTE(struct unflatten_attributes, INT, dim),
    CR_ATTRIBUTE(struct unflatten_attributes, INTS, sizes),
    CR_ATTRIBUTE_END,
};

/* Puts the size that a -1 among `sizes` stands for, so that they multiply to `total`. */
static cr_status complete_sizes(cr_shape *sizes, int64_t total)
{
    int64_t known = 1;
    int open = -1;
    for (int i = 0; i < sizes->ndim; i++) {
        if (sizes->dim[i] == -1 && open < 0)
            open = i;
        else if (sizes->dim[i] < 0 || __builtin_mul_overflow(known, sizes->dim[i], &known))
            return cr_error_set(CR_ERROR_SHAPE, "unflatten: a size of %lld is not possible",
                                (long long)sizes->dim[i]);
    }
    if (open >= 0 && known > 0 && total % known == 0)
        sizes->dim[open] = total / known;
    else if (open >= 0 || known != total)
        return cr_error_set(CR_ERROR_SHAPE, "unflatten: the sizes do not multiply to %lld",
                            (long long)total);
    return CR_OK;
}

static cr_status unflatten_compose(cr_compose_call *call)
{
    const struct unflatten_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_shape sizes = attributes->sizes;
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "unflatten: dim");
    if (dim < 0 || require_ndim(x, "unflatten: x", 1, CR_MAX_DIMS) != CR_OK ||
        complete_sizes(&sizes, x->shape.dim[dim]) != CR_OK)
        return cr_error_status();
    if (sizes.ndim == 0 || x->shape.ndim - 1 + sizes.ndim > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_SHAPE, "unflatten: %d sizes for a tensor of %d dimensions",
                            sizes.ndim, x->shape.ndim);
    cr_shape shape = { 0 };
    for (int d = 0; d < dim; d++)
        shape.dim[shape.ndim++] = x->shape.dim[d];
    for (int d = 0; d < sizes.ndim; d++)
        shape.dim[shape.ndim++] = sizes.dim[d];
    for (int d = dim + 1; d < x->shape.ndim; d++)
        shape.dim[shape.ndim++] = x->shape.dim[d];
    call->outputs[0] = cr_view(x, shape);
    return CR_OK;
}

static const cr_op unflatten_op = {
    .name = "unflatten",
    .summary = "one dimension as several, without a copy",
    .input_names = "x",
    .attributes = unflatten_table,
    .attribute_size = sizeof(struct unflatten_attributes),
    .min_inputs = 1,
    .compose = unflatten_compose,
};

cr_tensor *cr_unflatten(cr_tensor *x, int dim, cr_shape sizes)
{
    return cr_apply(&unflatten_op, CR_INPUTS(x), &(struct unflatten_attributes){ dim, sizes });
}

OP_FAMILY(axis_ops) = {
    &permute_op,   &transpose_op, &t_op,         &movedim_op, &squeeze_op,
    &unsqueeze_op, &flatten_op,   &unflatten_op, NULL,
};
