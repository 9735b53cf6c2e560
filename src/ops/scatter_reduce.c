/* scatter_reduce: sums and means by scatter_add; products, maxima and minima by an op of their own.
 */
#include <math.h>

#include "cresset/indexing.h"
#include "kernels/indexing/indexing.h"
#include "ops/ops.h"

struct scatter_reduce_attributes {
    int64_t dim;
    int reduce; /* cr_scatter_reduction */
    bool include_self;
};

static const cr_attribute scatter_reduce_table[] = {
    CR_ATTRIBUTE(struct scatter_reduce_attributes, INT, dim),
    CR_ATTRIBUTE(struct scatter_reduce_attributes, ENUM, reduce),
    CR_ATTRIBUTE(struct scatter_reduce_attributes, BOOL, include_self),
    CR_ATTRIBUTE_END,
};

/* ---- the op of products, maxima and minima ---- */

/* The shapes were checked by the scatter of the same arguments before. */
static cr_status combine_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *index = call->inputs[1], *source = call->inputs[2];
    struct scatter_reduce_attributes *attributes = call->attributes;
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (dim < 0)
        return cr_error_status();
    attributes->dim = dim;
    if (source->dtype != x->dtype)
        return cr_error_set(CR_ERROR_DTYPE, "the source is %s but x %s",
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

static void combine_forward(const cr_call *call)
{
    const struct scatter_reduce_attributes *attributes = call->attributes;
    enum index_kind kind = attributes->reduce == CR_SCATTER_PROD   ? INDEX_MULTIPLY
                           : attributes->reduce == CR_SCATTER_AMAX ? INDEX_MAXIMUM
                                                                   : INDEX_MINIMUM;
    copy_tensor(call->outputs[0], call->inputs[0]);
    if (tensor_numel(call->inputs[1]))
        index_elements(kind, call->outputs[0], (int)attributes->dim, call->inputs[1],
                       call->inputs[2]);
}

/* All elements that equal the extreme share its gradient. */
static void extreme_backward(cr_gradient_call *call, int dim)
{
    cr_tensor *x = call->inputs[0], *index = call->inputs[1], *source = call->inputs[2];
    cr_tensor *out = call->outputs[0];
    cr_dtype dtype = call->output_specs[0].dtype;
    cr_tensor *x_wins = cr_to_dtype(cr_eq(x, out), dtype);
    cr_tensor *source_wins = cr_to_dtype(cr_eq(source, cr_gather(out, dim, index)), dtype);
    cr_tensor *winners = cr_scatter_add(x_wins, dim, index, source_wins);
    cr_tensor *share = cr_div(call->grad_outputs[0], winners);
    if (call->needs[0])
        call->grad_inputs[0] = cr_mul(x_wins, share);
    if (call->needs[2])
        call->grad_inputs[2] = cr_mul(source_wins, cr_gather(share, dim, index));
}

static cr_tensor *nonzero_or_one(cr_tensor *x, cr_tensor *is_zero)
{
    return cr_masked_fill(x, is_zero, 1);
}

/* The product of the others. Where an element is 0 it is computed without it. */
static void product_backward(cr_gradient_call *call, int dim)
{
    cr_tensor *x = call->inputs[0], *index = call->inputs[1], *source = call->inputs[2];
    cr_tensor *grad = call->grad_outputs[0], *out = call->outputs[0];
    if (call->needs[0]) {
        cr_tensor *base = nonzero_or_one(x, cr_eq_scalar(x, 0));
        cr_tensor *without = cr_scatter_reduce(base, dim, index, source, CR_SCATTER_PROD, true);
        call->grad_inputs[0] = cr_div(cr_mul(grad, without), base);
    }
    if (!call->needs[2])
        return;
    cr_tensor *is_zero = cr_eq_scalar(source, 0);
    cr_tensor *zeros = cr_zeros_with((cr_tensor_args){ .shape = call->input_specs[0].shape,
                                                       .dtype = call->input_specs[0].dtype,
                                                       .device = (cr_device)grad->device });
    cr_tensor *zero_count =
        cr_scatter_add(zeros, dim, index, cr_to_dtype(is_zero, call->input_specs[0].dtype));
    cr_tensor *is_only_zero =
        cr_logical_and(is_zero, cr_eq_scalar(cr_gather(zero_count, dim, index), 1));
    cr_tensor *without = cr_scatter_reduce(x, dim, index, nonzero_or_one(source, is_only_zero),
                                           CR_SCATTER_PROD, true);
    cr_tensor *usual =
        cr_div(cr_gather(cr_mul(grad, out), dim, index), nonzero_or_one(source, is_zero));
    call->grad_inputs[2] =
        cr_where(is_only_zero, cr_gather(cr_mul(grad, without), dim, index), usual);
}

static cr_status combine_backward(cr_gradient_call *call)
{
    const struct scatter_reduce_attributes *attributes = call->attributes;
    if (call->needs[2] && !cr_shape_equal(&call->input_specs[1].shape, &call->input_specs[2].shape))
        return cr_error_set(CR_ERROR_SHAPE, "scatter_reduce: the gradient of a source that is "
                                            "larger than the index is not defined; narrow it");
    if (attributes->reduce == CR_SCATTER_PROD)
        product_backward(call, (int)attributes->dim);
    else
        extreme_backward(call, (int)attributes->dim);
    return CR_OK;
}

static const cr_op combine_op = {
    .name = "scatter_combine",
    .summary = "elements multiplied, or maxima or minima taken, along a dimension by index",
    .input_names = "x index source",
    .attributes = scatter_reduce_table,
    .attribute_size = sizeof(struct scatter_reduce_attributes),
    .min_inputs = 3,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1) | CR_SAVE(2),
    .save_outputs = CR_SAVE(0),
    .infer = combine_infer,
    .forward = { [CR_CPU] = combine_forward },
    .backward = combine_backward,
};

/* ---- scatter_reduce ---- */

/* What a place that forgets x begins with. */
static double identity_of(int reduce, cr_dtype dtype)
{
    bool is_floating = cr_dtype_is_floating(dtype);
    int bits = (int)cr_dtype_size(dtype) * 8;
    bool is_unsigned = dtype == CR_U8 || dtype == CR_BOOL;
    switch (reduce) {
    case CR_SCATTER_PROD:
        return 1;
    case CR_SCATTER_AMAX:
        return is_floating ? -(double)INFINITY : is_unsigned ? 0 : -ldexp(1, bits - 1);
    case CR_SCATTER_AMIN:
        return is_floating ? (double)INFINITY : ldexp(1, is_unsigned ? bits : bits - 1) - 1;
    default:
        return 0;
    }
}

/* The mean: the sum divided by how many there were, at least 1. */
static cr_tensor *scatter_mean(cr_tensor *sum, int dim, cr_tensor *index, bool include_self)
{
    cr_tensor_args args = { .shape = sum->shape,
                            .dtype = (cr_dtype)sum->dtype,
                            .device = (cr_device)sum->device };
    cr_tensor *ones = cr_ones_with(args);
    cr_tensor *counts = include_self ? ones : cr_scatter_value(ones, dim, index, 0);
    args.shape = index->shape;
    return cr_div(sum, cr_scatter_add(counts, dim, index, cr_ones_with(args)));
}

static cr_status scatter_reduce_compose(cr_compose_call *call)
{
    const struct scatter_reduce_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0], *index = call->inputs[1], *source = call->inputs[2];
    int dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "scatter_reduce: dim");
    if (dim < 0)
        return cr_error_status();
    if ((unsigned)attributes->reduce > CR_SCATTER_AMIN)
        return cr_error_set(CR_ERROR_ARGUMENT, "scatter_reduce: %d is no reduction",
                            attributes->reduce);
    if (attributes->reduce == CR_SCATTER_MEAN && require_floating(x, "scatter_reduce: x") != CR_OK)
        return cr_error_status();
    if (!attributes->include_self)
        x = cr_scatter_value(x, dim, index, identity_of(attributes->reduce, (cr_dtype)x->dtype));
    if (attributes->reduce == CR_SCATTER_SUM || attributes->reduce == CR_SCATTER_MEAN)
        x = cr_scatter_add(x, dim, index, source);
    else
        x = cr_apply(&combine_op, CR_INPUTS(x, index, source), attributes);
    if (!x)
        cr_error_prefix("scatter_reduce");
    if (x && attributes->reduce == CR_SCATTER_MEAN)
        x = scatter_mean(x, dim, index, attributes->include_self);
    call->outputs[0] = x;
    return CR_OK;
}

static const cr_op scatter_reduce_op = {
    .name = "scatter_reduce",
    .summary = "elements combined along a dimension by index",
    .input_names = "x index source",
    .attributes = scatter_reduce_table,
    .attribute_size = sizeof(struct scatter_reduce_attributes),
    .min_inputs = 3,
    .cast = CR_CAST_PROMOTE,
    .compose = scatter_reduce_compose,
};

cr_tensor *cr_scatter_reduce(cr_tensor *x, int dim, cr_tensor *index, cr_tensor *source,
                             cr_scatter_reduction reduction, bool include_self)
{
    struct scatter_reduce_attributes attributes = { dim, (int)reduction, include_self };
    return cr_apply(&scatter_reduce_op, CR_INPUTS(x, index, source), &attributes);
}

OP_FAMILY(scatter_reduce_ops) = { &combine_op, &scatter_reduce_op, NULL };
