/* Running totals, extremes with their places, and medians along a dimension. The kernels compute in
 * float32, float64 and int64; what users call converts to those and back. */
#include <math.h>

#include "kernels/reduce/reduce.h"
#include "ops/ops.h"

struct along_attributes {
    int64_t dim;
    bool keepdim;
    bool reverse; /* native scans: from the end */
    int kind;     /* native records: an along_kind */
};

static const cr_attribute dim_table[] = {
    CR_ATTRIBUTE(struct along_attributes, INT, dim),
    CR_ATTRIBUTE_END,
};

static const cr_attribute keepdim_table[] = {
    CR_ATTRIBUTE(struct along_attributes, INT, dim),
    CR_ATTRIBUTE(struct along_attributes, BOOL, keepdim),
    CR_ATTRIBUTE_END,
};

static const cr_attribute native_table[] = {
    CR_ATTRIBUTE(struct along_attributes, INT, dim),
    CR_ATTRIBUTE(struct along_attributes, BOOL, keepdim),
    CR_ATTRIBUTE(struct along_attributes, BOOL, reverse),
    CR_ATTRIBUTE(struct along_attributes, ENUM, kind),
    CR_ATTRIBUTE_END,
};

/* The dtype that the kernels compute x in. */
static cr_dtype computed_dtype(const cr_tensor *x)
{
    if (x->dtype == CR_F64)
        return CR_F64;
    return tensor_is_floating(x) ? CR_F32 : CR_I64;
}

static cr_status infer_dim(cr_infer_call *call)
{
    struct along_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if ((cr_dtype)x->dtype != computed_dtype(x))
        return cr_error_set(CR_ERROR_DTYPE, "x must be float32, float64 or int64, not %s",
                            cr_dtype_name((cr_dtype)x->dtype));
    attributes->dim = shape_wrap_dim(attributes->dim, x->shape.ndim, "dim");
    if (attributes->dim < 0)
        return cr_error_status();
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    call->outputs[1].dtype = CR_I64;
    return CR_OK;
}

static void job_of(const cr_call *call, struct along_job *job)
{
    const struct along_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    job->type = x->dtype == CR_F32 ? REDUCE_F32 : x->dtype == CR_F64 ? REDUCE_F64 : REDUCE_I64;
    job->kind = (enum along_kind)attributes->kind;
    job->reverse = attributes->reverse;
    job->outer = job->size = job->inner = 1;
    for (int d = 0; d < x->shape.ndim; d++) {
        int64_t *size = d < attributes->dim   ? &job->outer
                        : d > attributes->dim ? &job->inner
                                              : &job->size;
        *size *= x->shape.dim[d];
    }
    job->x = tensor_bytes(x);
    job->workspace = call->workspace;
    job->out = call->outputs[0] ? tensor_bytes(call->outputs[0]) : NULL;
}

/* ---- scans of sums, products and log-sum-exp ---- */

static const cr_op native_scan_op;

static cr_tensor *scan(cr_tensor *x, int64_t dim, enum along_kind kind, bool reverse)
{
    struct along_attributes attributes = { .dim = dim, .reverse = reverse, .kind = (int)kind };
    return cr_apply(&native_scan_op, CR_INPUTS(x), &attributes);
}

static cr_status scan_infer(cr_infer_call *call)
{
    call->outputs[0].shape = call->inputs[0]->shape;
    return infer_dim(call);
}

static void scan_forward(const cr_call *call)
{
    struct along_job job = { 0 };
    job_of(call, &job);
    along_scan(&job);
}

/* The gradient of running products where something is zero: for each k, the products that reach
 * beyond k without x_k. Slow, but differentiable. */
static cr_tensor *products_without(cr_tensor *x, cr_tensor *grad, int dim)
{
    int64_t size = x->shape.dim[dim];
    cr_tensor *before = NULL; /* the product of all before k */
    cr_tensor *result = NULL;
    for (int64_t k = 0; k < size; k++) {
        cr_tensor *one = cr_ones_like(cr_detach(cr_narrow(x, dim, k, 1)));
        cr_tensor *after = scan(cr_cat_of(dim, one, cr_narrow(x, dim, k + 1, size - 1 - k)), dim,
                                ALONG_PROD, false);
        cr_tensor *products = before ? cr_mul(after, before) : after;
        cr_tensor *own =
            cr_sum_dims(cr_mul(products, cr_narrow(grad, dim, k, size - k)), CR_SHAPE(dim), true);
        cr_tensor *here = cr_narrow(x, dim, k, 1);
        before = before ? cr_mul(before, here) : here;
        result = result ? cr_cat_of(dim, result, own) : own;
    }
    return result ? result : grad;
}

static cr_tensor *prod_gradient(cr_gradient_call *call, int dim, bool reverse)
{
    cr_tensor *x = call->inputs[0];
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *count = cr_count_nonzero(x, cr_shape_scalar());
    if (!count)
        return NULL;
    if (!count->storage || cr_item_int64(count) == tensor_numel(x))
        return cr_div(scan(cr_mul(grad, call->outputs[0]), dim, ALONG_SUM, !reverse), x);
    cr_shape dims = CR_SHAPE(dim);
    if (reverse)
        return cr_flip(products_without(cr_flip(x, dims), cr_flip(grad, dims), dim), dims);
    return x->shape.ndim ? products_without(x, grad, dim) : grad;
}

/* With the positive and the negative part of the gradient apart, so that nothing overflows. */
static cr_tensor *logsumexp_gradient(cr_gradient_call *call, int dim, bool reverse)
{
    cr_tensor *none = cr_scalar(-(double)INFINITY);
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *x = call->inputs[0];
    cr_tensor *total = NULL;
    for (int sign = 1; sign >= -1; sign -= 2) {
        cr_tensor *part = sign > 0 ? grad : cr_neg(grad);
        cr_tensor *is_positive = cr_gt_scalar(part, 0);
        cr_tensor *logs = cr_log(cr_where(is_positive, part, cr_scalar(1)));
        cr_tensor *shifted = cr_where(is_positive, cr_sub(logs, call->outputs[0]), none);
        cr_tensor *sums = cr_add(scan(shifted, dim, ALONG_LOGSUMEXP, !reverse), x);
        cr_tensor *share = cr_exp(sums);
        total = total ? cr_sub(total, share) : share;
    }
    return total;
}

static cr_status scan_backward(cr_gradient_call *call)
{
    const struct along_attributes *attributes = call->attributes;
    int dim = (int)attributes->dim;
    bool reverse = attributes->reverse;
    switch (attributes->kind) {
    case ALONG_SUM:
        call->grad_inputs[0] = scan(call->grad_outputs[0], dim, ALONG_SUM, !reverse);
        break;
    case ALONG_PROD:
        call->grad_inputs[0] = prod_gradient(call, dim, reverse);
        break;
    default:
        call->grad_inputs[0] = logsumexp_gradient(call, dim, reverse);
    }
    return CR_OK;
}

static cr_status scan_onnx(cr_onnx_call *call)
{
    const struct along_attributes *attributes = call->attributes;
    if (attributes->kind != ALONG_SUM)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of products or log-sum-exp");
    return onnx_result(
        call, cr_onnx_add(call, "CumSum",
                          .inputs = { call->inputs[0],
                                      cr_onnx_number(call, CR_I64, (double)attributes->dim) },
                          .attributes = { CR_ONNX_INT("reverse", attributes->reverse) }));
}

static const cr_op native_scan_op = {
    .name = "native_scan",
    .summary = "running sums, products or log-sum-exp of float32, float64 or int64",
    .input_names = "x",
    .attributes = native_table,
    .attribute_size = sizeof(struct along_attributes),
    .min_inputs = 1,
    .save_inputs = CR_SAVE(0),
    .save_outputs = CR_SAVE(0),
    .infer = scan_infer,
    .forward = { [CR_CPU] = scan_forward },
    .backward = scan_backward,
    .onnx = scan_onnx,
};

/* A scan that gives back 16-bit floats as what they were, and integers as int64. */
static cr_status compose_scan(cr_compose_call *call, enum along_kind kind)
{
    const struct along_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_dtype dtype = (cr_dtype)x->dtype;
    if (kind == ALONG_LOGSUMEXP && require_floating(x, "logcumsumexp: x") != CR_OK)
        return cr_error_status();
    cr_tensor *y = scan(cr_to_dtype(x, computed_dtype(x)), attributes->dim, kind, false);
    if (!y) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    call->outputs[0] = cr_dtype_is_floating(dtype) ? cr_to_dtype(y, dtype) : y;
    return CR_OK;
}

static cr_status cumsum_compose(cr_compose_call *call)
{
    return compose_scan(call, ALONG_SUM);
}

static cr_status cumprod_compose(cr_compose_call *call)
{
    return compose_scan(call, ALONG_PROD);
}

static cr_status logcumsumexp_compose(cr_compose_call *call)
{
    return compose_scan(call, ALONG_LOGSUMEXP);
}

#define SCAN(function, word, words)                                                                \
    .name = word, .summary = words, .input_names = "x", .attributes = dim_table,                   \
    .attribute_size = sizeof(struct along_attributes), .min_inputs = 1, .cast = CR_CAST_F32,       \
    .compose = function

static const cr_op cumsum_op = { SCAN(cumsum_compose, "cumsum", "running sums") };
static const cr_op cumprod_op = { SCAN(cumprod_compose, "cumprod", "running products") };
static const cr_op logcumsumexp_op = { SCAN(logcumsumexp_compose, "logcumsumexp",
                                            "the logarithm of running sums of exp(x)") };

static cr_tensor *apply(const cr_op *op, cr_tensor *x, int64_t dim)
{
    struct along_attributes attributes = { .dim = dim };
    return cr_apply(op, CR_INPUTS(x), &attributes);
}

cr_tensor *cr_cumsum(cr_tensor *x, int64_t dim)
{
    return apply(&cumsum_op, x, dim);
}

cr_tensor *cr_cumprod(cr_tensor *x, int64_t dim)
{
    return apply(&cumprod_op, x, dim);
}

cr_tensor *cr_logcumsumexp(cr_tensor *x, int64_t dim)
{
    return apply(&logcumsumexp_op, x, dim);
}

/* ---- values with their places ---- */

/* The gradient goes to where the values came from. */
static cr_status picked_backward(cr_gradient_call *call)
{
    const struct along_attributes *attributes = call->attributes;
    const cr_tensor_spec *spec = &call->input_specs[0];
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *indices = call->outputs[1];
    if (!grad)
        return CR_OK;
    if (indices->shape.ndim < spec->shape.ndim) {
        cr_shape kept = spec->shape;
        kept.dim[attributes->dim] = 1;
        grad = cr_reshape(grad, kept);
        indices = cr_reshape(indices, kept);
    }
    cr_tensor *zeros =
        cr_zeros_with((cr_tensor_args){ .shape = spec->shape, .dtype = spec->dtype });
    call->grad_inputs[0] = cr_scatter_add(zeros, (int)attributes->dim, indices, grad);
    return CR_OK;
}

#define PICKS(word, words, infers, runs)                                                           \
    .name = word, .summary = words, .input_names = "x", .attributes = native_table,                \
    .attribute_size = sizeof(struct along_attributes), .min_inputs = 1, .output_count = 2,         \
    .save_outputs = CR_SAVE(1), .infer = infers, .forward = { [CR_CPU] = runs },                   \
    .backward = picked_backward

static cr_status scan_extreme_infer(cr_infer_call *call)
{
    call->outputs[0].shape = call->outputs[1].shape = call->inputs[0]->shape;
    return infer_dim(call);
}

static void scan_extreme_forward(const cr_call *call)
{
    struct along_job job = { 0 };
    job_of(call, &job);
    job.indices = TENSOR_DATA(int64_t, call->outputs[1]);
    along_scan(&job);
}

static const cr_op native_scan_extreme_op = {
    PICKS("native_scan_extreme", "running extremes of float32, float64 or int64, with their places",
          scan_extreme_infer, scan_extreme_forward),
};

/* One value of each row. */
static cr_status pick_infer(cr_infer_call *call)
{
    struct along_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    if (infer_dim(call) != CR_OK)
        return cr_error_status();
    if (x->shape.ndim && x->shape.dim[attributes->dim] == 0)
        return cr_error_set(CR_ERROR_SHAPE, "dimension %lld has no elements to choose from",
                            (long long)attributes->dim);
    cr_shape dims = CR_SHAPE(attributes->dim);
    if (infer_reduced(&x->shape, &dims, attributes->keepdim, &call->outputs[0].shape) != CR_OK)
        return cr_error_status();
    call->outputs[1].shape = call->outputs[0].shape;
    return CR_OK;
}

static void extreme_forward(const cr_call *call)
{
    struct along_job job = { 0 };
    job_of(call, &job);
    job.indices = TENSOR_DATA(int64_t, call->outputs[1]);
    along_extreme(&job);
}

static cr_status extreme_onnx(cr_onnx_call *call)
{
    const struct along_attributes *attributes = call->attributes;
    bool is_max = attributes->kind == ALONG_MAX;
    cr_shape dims = CR_SHAPE(attributes->dim);
    if (call->wanted[0])
        call->outputs[0] = onnx_reduce(call, is_max ? "ReduceMax" : "ReduceMin", call->inputs[0],
                                       &dims, attributes->keepdim);
    if (call->wanted[1])
        call->outputs[1] =
            cr_onnx_add(call, is_max ? "ArgMax" : "ArgMin", .inputs = { call->inputs[0] },
                        .attributes = { CR_ONNX_INT("axis", attributes->dim),
                                        CR_ONNX_INT("keepdims", attributes->keepdim) });
    return cr_error_status();
}

static const cr_op native_extreme_op = {
    PICKS("native_extreme", "the extreme of float32, float64 or int64 rows, with its place",
          pick_infer, extreme_forward),
    .onnx = extreme_onnx,
};

static size_t median_workspace(const cr_call *call)
{
    struct along_job job = { 0 };
    job_of(call, &job);
    return along_workspace(&job);
}

static void median_forward(const cr_call *call)
{
    struct along_job job = { 0 };
    job_of(call, &job);
    job.indices = TENSOR_DATA(int64_t, call->outputs[1]);
    along_median(&job);
}

static const cr_op native_median_op = {
    PICKS("native_median", "the lower median of float32, float64 or int64 rows, with its place",
          pick_infer, median_forward),
    .workspace = median_workspace,
};

/* Converts to what the kernel computes, and the values back. */
static cr_status compose_picked(cr_compose_call *call, const cr_op *op, enum along_kind kind)
{
    struct along_attributes attributes = *(const struct along_attributes *)call->attributes;
    cr_tensor *x = call->inputs[0];
    attributes.kind = (int)kind;
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    if (cr_apply_all(op, CR_INPUTS(cr_to_dtype(x, computed_dtype(x))), &attributes, outputs) !=
        CR_OK) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    call->outputs[0] = cr_to_dtype(outputs[0], (cr_dtype)x->dtype);
    call->outputs[1] = outputs[1];
    return CR_OK;
}

static cr_status cummax_compose(cr_compose_call *call)
{
    return compose_picked(call, &native_scan_extreme_op, ALONG_MAX);
}

static cr_status cummin_compose(cr_compose_call *call)
{
    return compose_picked(call, &native_scan_extreme_op, ALONG_MIN);
}

static cr_status max_compose(cr_compose_call *call)
{
    return compose_picked(call, &native_extreme_op, ALONG_MAX);
}

static cr_status min_compose(cr_compose_call *call)
{
    return compose_picked(call, &native_extreme_op, ALONG_MIN);
}

static cr_status median_dim_compose(cr_compose_call *call)
{
    return compose_picked(call, &native_median_op, ALONG_MAX);
}

#define PICKED(function, word, words, table)                                                       \
    .name = word, .summary = words, .input_names = "x", .attributes = table,                       \
    .attribute_size = sizeof(struct along_attributes), .min_inputs = 1, .output_count = 2,         \
    .compose = function

static const cr_op cummax_op = {
    PICKED(cummax_compose, "cummax", "running maxima, with their places", dim_table),
};
static const cr_op cummin_op = {
    PICKED(cummin_compose, "cummin", "running minima, with their places", dim_table),
};
static const cr_op max_dim_op = {
    PICKED(max_compose, "max.dim", "the largest along a dimension, with its place", keepdim_table),
};
static const cr_op min_dim_op = {
    PICKED(min_compose, "min.dim", "the smallest along a dimension, with its place", keepdim_table),
};
static const cr_op median_dim_op = {
    PICKED(median_dim_compose, "median.dim", "the lower median along a dimension, with its place",
           keepdim_table),
};

static cr_tensor *apply_picked(const cr_op *op, cr_tensor *x, int64_t dim, bool keepdim,
                               cr_tensor **indices)
{
    struct along_attributes attributes = { .dim = dim, .keepdim = keepdim };
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_apply_all(op, CR_INPUTS(x), &attributes, outputs);
    if (indices)
        *indices = outputs[1];
    return outputs[0];
}

cr_tensor *cr_cummax(cr_tensor *x, int64_t dim, cr_tensor **indices)
{
    return apply_picked(&cummax_op, x, dim, false, indices);
}

cr_tensor *cr_cummin(cr_tensor *x, int64_t dim, cr_tensor **indices)
{
    return apply_picked(&cummin_op, x, dim, false, indices);
}

cr_tensor *cr_max_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices)
{
    return apply_picked(&max_dim_op, x, dim, keepdim, indices);
}

cr_tensor *cr_min_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices)
{
    return apply_picked(&min_dim_op, x, dim, keepdim, indices);
}

cr_tensor *cr_median_dim(cr_tensor *x, int64_t dim, bool keepdim, cr_tensor **indices)
{
    return apply_picked(&median_dim_op, x, dim, keepdim, indices);
}

/* ---- the median of everything ---- */

static cr_status median_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_median_dim(cr_reshape(call->inputs[0], CR_SHAPE(-1)), 0, false, NULL);
    return CR_OK;
}

static const cr_op median_op = {
    .name = "median",
    .summary = "the lower median of all elements",
    .input_names = "x",
    .min_inputs = 1,
    .compose = median_compose,
};

cr_tensor *cr_median(cr_tensor *x)
{
    return cr_apply(&median_op, CR_INPUTS(x), NULL);
}

OP_FAMILY(along_ops) = {
    &cumsum_op,
    &cumprod_op,
    &logcumsumexp_op,
    &native_scan_op,
    &cummax_op,
    &cummin_op,
    &native_scan_extreme_op,
    &max_dim_op,
    &min_dim_op,
    &native_extreme_op,
    &median_op,
    &median_dim_op,
    &native_median_op,
    NULL,
};
