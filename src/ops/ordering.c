/* Sorting, selection and the positions of extremes. */
#include "cresset/ordering.h"
#include "cresset/indexing.h"
#include "kernels/sorting/sorting.h"
#include "ops/ops.h"

struct sort_attributes {
    int64_t k; /* topk, kthvalue */
    int64_t dim;
    bool descending;
    bool smallest;
    bool keepdim;
};

static int64_t product(const cr_shape *shape, int64_t begin, int64_t end)
{
    int64_t count = 1;
    for (int64_t d = begin; d < end; d++)
        count *= shape->dim[d];
    return count;
}

static cr_status wrap_dim(cr_infer_call *call, int64_t *dim)
{
    int wrapped = shape_wrap_dim(*dim, call->inputs[0]->shape.ndim, "dim");
    if (wrapped < 0)
        return cr_error_status();
    *dim = wrapped;
    return CR_OK;
}

static int64_t dim_size(const cr_shape *shape, int64_t dim)
{
    return shape->ndim ? shape->dim[dim] : 1;
}

/* Values of x's dtype and int64 indices, of one shape. */
static void set_outputs(cr_infer_call *call, cr_shape shape)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[1].dtype = CR_I64;
    call->outputs[0].shape = call->outputs[1].shape = shape;
}

static struct sort_lines lines_of(const cr_call *call, int64_t dim, int64_t k, bool descending)
{
    const cr_tensor *x = call->inputs[0];
    return (struct sort_lines){ .x = x,
                                .values = call->outputs[0],
                                .indices = call->outputs[1],
                                .outer = product(&x->shape, 0, dim),
                                .n = dim_size(&x->shape, dim),
                                .inner = product(&x->shape, dim + 1, x->shape.ndim),
                                .k = k,
                                .descending = descending,
                                .workspace = call->workspace };
}

/* The gradient of a choice goes back to where it was chosen. */
static cr_tensor *give_back(cr_gradient_call *call, int64_t dim, cr_tensor *grad,
                            cr_tensor *indices)
{
    const cr_tensor_spec *spec = &call->input_specs[0];
    cr_tensor *zeros =
        cr_zeros(spec->shape, .dtype = (cr_dtype)grad->dtype, .device = (cr_device)grad->device);
    return cr_scatter(zeros, (int)dim, indices, grad);
}

static cr_tensor *values_and_indices(const cr_op *op, cr_tensor *x,
                                     const struct sort_attributes *attributes, cr_tensor **indices)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_apply_all(op, CR_INPUTS(x), attributes, outputs);
    if (indices)
        *indices = outputs[1];
    return outputs[0];
}

/* ---- sort ---- */

static const cr_attribute sort_table[] = {
    CR_ATTRIBUTE(struct sort_attributes, INT, dim),
    CR_ATTRIBUTE(struct sort_attributes, BOOL, descending),
    CR_ATTRIBUTE_END,
};

static cr_status sort_infer(cr_infer_call *call)
{
    struct sort_attributes *attributes = call->attributes;
    set_outputs(call, call->inputs[0]->shape);
    return wrap_dim(call, &attributes->dim);
}

static struct sort_lines sort_lines_of(const cr_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    return lines_of(call, attributes->dim, dim_size(&call->inputs[0]->shape, attributes->dim),
                    attributes->descending);
}

static size_t sort_room(const cr_call *call)
{
    struct sort_lines lines = sort_lines_of(call);
    return sort_workspace(&lines);
}

static void sort_forward(const cr_call *call)
{
    struct sort_lines lines = sort_lines_of(call);
    sort_run(&lines);
}

static cr_status sort_backward(cr_gradient_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        give_back(call, attributes->dim, call->grad_outputs[0], call->outputs[1]);
    return CR_OK;
}

static cr_status top(cr_onnx_call *call, int64_t k, bool largest)
{
    const struct sort_attributes *attributes = call->attributes;
    if (call->input_specs[0].ndim == 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of a tensor without dimensions");
    call->outputs[0] = cr_onnx_add(
        call, "TopK", .inputs = { call->inputs[0], cr_onnx_integers(call, CR_SHAPE(k)) },
        .outputs = 2,
        .attributes = { CR_ONNX_INT("axis", attributes->dim), CR_ONNX_INT("largest", largest) });
    call->outputs[1] = call->outputs[0] ? call->outputs[0] + 1 : 0;
    return cr_error_status();
}

static cr_status sort_onnx(cr_onnx_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    int64_t n = call->input_specs[0].ndim ? cr_onnx_fixed_size(call, 0, (int)attributes->dim) : 1;
    return cr_failed() ? cr_error_status() : top(call, n, attributes->descending);
}

static const cr_op sort_op = {
    .name = "sort",
    .summary = "the elements along a dimension in order, and where they were",
    .input_names = "x",
    .attributes = sort_table,
    .attribute_size = sizeof(struct sort_attributes),
    .min_inputs = 1,
    .output_count = 2,
    .save_outputs = CR_SAVE(1),
    .infer = sort_infer,
    .workspace = sort_room,
    .forward = { [CR_CPU] = sort_forward },
    .backward = sort_backward,
    .onnx = sort_onnx,
};

cr_tensor *cr_sort(cr_tensor *x, int dim, bool descending, cr_tensor **indices)
{
    struct sort_attributes attributes = { .dim = dim, .descending = descending };
    return values_and_indices(&sort_op, x, &attributes, indices);
}

/* ---- argsort ---- */

static cr_status argsort_compose(cr_compose_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    cr_sort(cr_detach(call->inputs[0]), (int)attributes->dim, attributes->descending,
            &call->outputs[0]);
    return CR_OK;
}

static const cr_op argsort_op = {
    .name = "argsort",
    .summary = "where the elements along a dimension are, in order",
    .input_names = "x",
    .attributes = sort_table,
    .attribute_size = sizeof(struct sort_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = argsort_compose,
};

cr_tensor *cr_argsort(cr_tensor *x, int dim, bool descending)
{
    return cr_apply(&argsort_op, CR_INPUTS(x),
                    &(struct sort_attributes){ .dim = dim, .descending = descending });
}

/* ---- topk ---- */

static const cr_attribute topk_table[] = {
    CR_ATTRIBUTE(struct sort_attributes, INT, k),
    CR_ATTRIBUTE(struct sort_attributes, INT, dim),
    CR_ATTRIBUTE(struct sort_attributes, BOOL, smallest),
    CR_ATTRIBUTE_END,
};

static cr_status topk_infer(cr_infer_call *call)
{
    struct sort_attributes *attributes = call->attributes;
    cr_shape shape = call->inputs[0]->shape;
    if (wrap_dim(call, &attributes->dim) != CR_OK)
        return cr_error_status();
    int64_t n = dim_size(&shape, attributes->dim);
    if (attributes->k < 0 || attributes->k > n)
        return cr_error_set(CR_ERROR_ARGUMENT, "k = %lld is out of range for size %lld",
                            (long long)attributes->k, (long long)n);
    if (shape.ndim)
        shape.dim[attributes->dim] = attributes->k;
    else if (attributes->k == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "k = 0 of a tensor of no dimensions");
    set_outputs(call, shape);
    return CR_OK;
}

static struct sort_lines topk_lines_of(const cr_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    return lines_of(call, attributes->dim, attributes->k, !attributes->smallest);
}

static size_t topk_room(const cr_call *call)
{
    struct sort_lines lines = topk_lines_of(call);
    return sort_workspace(&lines);
}

static void topk_forward(const cr_call *call)
{
    struct sort_lines lines = topk_lines_of(call);
    sort_run(&lines);
}

static cr_status topk_onnx(cr_onnx_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    return top(call, attributes->k, !attributes->smallest);
}

static const cr_op topk_op = {
    .name = "topk",
    .summary = "the k greatest along a dimension, and where they were",
    .input_names = "x",
    .attributes = topk_table,
    .attribute_size = sizeof(struct sort_attributes),
    .min_inputs = 1,
    .output_count = 2,
    .save_outputs = CR_SAVE(1),
    .infer = topk_infer,
    .workspace = topk_room,
    .forward = { [CR_CPU] = topk_forward },
    .backward = sort_backward,
    .onnx = topk_onnx,
};

cr_tensor *cr_topk(cr_tensor *x, int64_t k, int dim, bool smallest, cr_tensor **indices)
{
    struct sort_attributes attributes = { .k = k, .dim = dim, .smallest = smallest };
    return values_and_indices(&topk_op, x, &attributes, indices);
}

/* ---- kthvalue ---- */

static const cr_attribute kthvalue_table[] = {
    CR_ATTRIBUTE(struct sort_attributes, INT, k),
    CR_ATTRIBUTE(struct sort_attributes, INT, dim),
    CR_ATTRIBUTE(struct sort_attributes, BOOL, keepdim),
    CR_ATTRIBUTE_END,
};

static cr_status kthvalue_compose(cr_compose_call *call)
{
    const struct sort_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "kthvalue: dim");
    if (dim < 0)
        return cr_error_status();
    if (attributes->k < 1 || attributes->k > dim_size(&x->shape, dim))
        return cr_error_set(CR_ERROR_ARGUMENT, "kthvalue: k = %lld is out of range for size %lld",
                            (long long)attributes->k, (long long)dim_size(&x->shape, dim));
    cr_tensor *both[2];
    both[0] = cr_topk(x, attributes->k, dim, true, &both[1]);
    for (int i = 0; i < 2; i++) {
        if (x->shape.ndim == 0)
            call->outputs[i] = both[i];
        else if (attributes->keepdim)
            call->outputs[i] = cr_narrow(both[i], dim, attributes->k - 1, 1);
        else
            call->outputs[i] = cr_select(both[i], dim, attributes->k - 1);
    }
    return CR_OK;
}

static const cr_op kthvalue_op = {
    .name = "kthvalue",
    .summary = "the k-th smallest along a dimension, and where it was",
    .input_names = "x",
    .attributes = kthvalue_table,
    .attribute_size = sizeof(struct sort_attributes),
    .min_inputs = 1,
    .output_count = 2,
    .compose = kthvalue_compose,
};

cr_tensor *cr_kthvalue(cr_tensor *x, int64_t k, int dim, bool keepdim, cr_tensor **indices)
{
    struct sort_attributes attributes = { .k = k, .dim = dim, .keepdim = keepdim };
    return values_and_indices(&kthvalue_op, x, &attributes, indices);
}

/* ---- argmax and argmin ---- */

struct extreme_attributes {
    cr_shape dims; /* one, or none for all elements */
    bool keepdim;
};

static const cr_attribute extreme_table[] = {
    CR_ATTRIBUTE(struct extreme_attributes, INTS, dims),
    CR_ATTRIBUTE(struct extreme_attributes, BOOL, keepdim),
    CR_ATTRIBUTE_END,
};

static cr_status extreme_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct extreme_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    bool all = attributes->dims.ndim == 0;
    if (attributes->dims.ndim > 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "takes one dim, not %d", attributes->dims.ndim);
    if (!all && wrap_dim(call, &attributes->dims.dim[0]) != CR_OK)
        return cr_error_status();
    int64_t n = all ? tensor_numel(x) : dim_size(&x->shape, attributes->dims.dim[0]);
    if (n == 0)
        return cr_error_set(CR_ERROR_SHAPE, "there are no elements to choose from");
    out->dtype = CR_I64;
    for (int d = 0; d < x->shape.ndim; d++) {
        bool reduced = all || attributes->dims.dim[0] == d;
        if (!reduced || attributes->keepdim)
            out->shape.dim[out->shape.ndim++] = reduced ? 1 : x->shape.dim[d];
    }
    return CR_OK;
}

static void extreme_run(const cr_call *call, bool least)
{
    const struct extreme_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    int64_t *out = TENSOR_DATA(int64_t, call->outputs[0]);
    int64_t dim = attributes->dims.dim[0];
    if (attributes->dims.ndim == 0)
        sort_extreme(out, x, 1, tensor_numel(x), 1, least);
    else
        sort_extreme(out, x, product(&x->shape, 0, dim), dim_size(&x->shape, dim),
                     product(&x->shape, dim + 1, x->shape.ndim), least);
}

static void argmax_forward(const cr_call *call)
{
    extreme_run(call, false);
}

static void argmin_forward(const cr_call *call)
{
    extreme_run(call, true);
}

/* Of all elements: those in a row. */
static cr_status extreme_onnx(cr_onnx_call *call, const char *type)
{
    const struct extreme_attributes *attributes = call->attributes;
    bool is_all = attributes->dims.ndim == 0;
    cr_onnx_value x = call->inputs[0];
    if (is_all)
        x = cr_onnx_binary(call, "Reshape", x, cr_onnx_integers(call, CR_SHAPE(-1)));
    cr_onnx_value y =
        cr_onnx_add(call, type, .inputs = { x },
                    .attributes = { CR_ONNX_INT("axis", is_all ? 0 : attributes->dims.dim[0]),
                                    CR_ONNX_INT("keepdims", is_all ? 0 : attributes->keepdim) });
    if (is_all && attributes->keepdim)
        y = cr_onnx_reshape(call, y, NULL, call->output_specs[0].dim, call->output_specs[0].ndim);
    return onnx_result(call, y);
}

static cr_status argmax_onnx(cr_onnx_call *call)
{
    return extreme_onnx(call, "ArgMax");
}

static cr_status argmin_onnx(cr_onnx_call *call)
{
    return extreme_onnx(call, "ArgMin");
}

static const cr_op argmax_op = {
    .name = "argmax",
    .summary = "where the greatest element is",
    .input_names = "x",
    .attributes = extreme_table,
    .attribute_size = sizeof(struct extreme_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = extreme_infer,
    .forward = { [CR_CPU] = argmax_forward },
    .onnx = argmax_onnx,
};

static const cr_op argmin_op = {
    .name = "argmin",
    .summary = "where the least element is",
    .input_names = "x",
    .attributes = extreme_table,
    .attribute_size = sizeof(struct extreme_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = extreme_infer,
    .forward = { [CR_CPU] = argmin_forward },
    .onnx = argmin_onnx,
};

static cr_tensor *extreme(const cr_op *op, cr_tensor *x, cr_shape dims, bool keepdim)
{
    return cr_apply(op, CR_INPUTS(x), &(struct extreme_attributes){ dims, keepdim });
}

cr_tensor *cr_argmax(cr_tensor *x, int dim, bool keepdim)
{
    return extreme(&argmax_op, x, CR_SHAPE(dim), keepdim);
}

cr_tensor *cr_argmin(cr_tensor *x, int dim, bool keepdim)
{
    return extreme(&argmin_op, x, CR_SHAPE(dim), keepdim);
}

cr_tensor *cr_argmax_all(cr_tensor *x)
{
    return extreme(&argmax_op, x, cr_shape_scalar(), false);
}

cr_tensor *cr_argmin_all(cr_tensor *x)
{
    return extreme(&argmin_op, x, cr_shape_scalar(), false);
}

OP_FAMILY(order_ops) = {
    &sort_op, &argsort_op, &topk_op, &kthvalue_op, &argmax_op, &argmin_op, NULL,
};
