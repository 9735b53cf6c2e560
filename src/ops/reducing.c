/* Reductions over dimensions besides sums and means: products, extremes, truth, counts, norms,
 * variances and log-sum-exp. */
#include <math.h>

#include "kernels/reduce/reduce.h"
#include "ops/ops.h"

/* Of which each op's table shows its own. */
struct reduce_attributes {
    cr_shape dims;
    bool keepdim;
    bool root;         /* native_var_mean: the deviation instead of the variance */
    double correction; /* what the count is lessened by */
    double p;
};

#define DIMS    CR_ATTRIBUTE(struct reduce_attributes, INTS, dims)
#define KEEPDIM CR_ATTRIBUTE(struct reduce_attributes, BOOL, keepdim)

static const cr_attribute plain_table[] = { DIMS, KEEPDIM, CR_ATTRIBUTE_END };

static const cr_attribute var_table[] = {
    DIMS,
    KEEPDIM,
    CR_ATTRIBUTE(struct reduce_attributes, FLOAT, correction),
    CR_ATTRIBUTE_END,
};

static const cr_attribute native_var_table[] = {
    DIMS,
    KEEPDIM,
    CR_ATTRIBUTE(struct reduce_attributes, BOOL, root),
    CR_ATTRIBUTE(struct reduce_attributes, FLOAT, correction),
    CR_ATTRIBUTE_END,
};

static const cr_attribute norm_table[] = {
    DIMS,
    KEEPDIM,
    CR_ATTRIBUTE(struct reduce_attributes, FLOAT, p),
    CR_ATTRIBUTE_END,
};

/* ---- what they share ---- */

/* One output of input 0's dtype; the dims are completed. */
static cr_status reduce_infer(cr_infer_call *call)
{
    struct reduce_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    call->outputs[0].dtype = (cr_dtype)x->dtype;
    return infer_reduced(&x->shape, &attributes->dims, attributes->keepdim,
                         &call->outputs[0].shape);
}

/* For reductions that nothing has no value of. */
static cr_status extreme_infer(cr_infer_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    if (reduce_infer(call) != CR_OK)
        return cr_error_status();
    if (reduced_count(&call->inputs[0]->shape, &attributes->dims) == 0)
        return cr_error_set(CR_ERROR_SHAPE, "no elements have no largest or smallest; choose "
                                            "dimensions of at least one element");
    return CR_OK;
}

static cr_status wide_infer(cr_infer_call *call)
{
    cr_status status = reduce_infer(call);
    if (!tensor_is_floating(call->inputs[0]))
        call->outputs[0].dtype = CR_I64;
    return status;
}

static cr_status floating_infer(cr_infer_call *call)
{
    if (require_floating(call->inputs[0], "x") != CR_OK)
        return cr_error_status();
    return reduce_infer(call);
}

static size_t reduce_room(const cr_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    return reduce_workspace(call->inputs[0], &attributes->dims);
}

static void run(const cr_call *call, enum reduce_kind kind, enum reduce_finish finish,
                double parameter)
{
    const struct reduce_attributes *attributes = call->attributes;
    reduce_run(&(struct reduce_job){
        .out = call->outputs[0],
        .x = call->inputs[0],
        .dims = &attributes->dims,
        .kind = kind,
        .finish = finish,
        .parameter = parameter,
        .workspace = call->workspace,
    });
}

/* The result, or its gradient, shaped to broadcast against the input. */
static cr_tensor *kept(const cr_gradient_call *call, cr_tensor *reduced)
{
    const struct reduce_attributes *attributes = call->attributes;
    return keep_reduced(reduced, &call->input_specs[0].shape, &attributes->dims);
}

#define REDUCTION(function, word, words, shown)                                                    \
    .name = word, .summary = words, .input_names = "x", .attributes = shown,                       \
    .attribute_size = sizeof(struct reduce_attributes), .min_inputs = 1, .workspace = reduce_room, \
    .forward = { [CR_CPU] = function }

static cr_tensor *apply(const cr_op *op, cr_tensor *x, cr_shape dims, bool keepdim)
{
    struct reduce_attributes attributes = { .dims = dims, .keepdim = keepdim };
    return cr_apply(op, CR_INPUTS(x), &attributes);
}

/* ---- in ONNX ---- */

static cr_onnx_value reduced(cr_onnx_call *call, const char *type, cr_onnx_value x)
{
    const struct reduce_attributes *attributes = call->attributes;
    return onnx_reduce(call, type, x, &attributes->dims, attributes->keepdim);
}

static cr_status prod_onnx(cr_onnx_call *call)
{
    cr_onnx_value x = onnx_as(call, 0, call->output_specs[0].dtype);
    return onnx_result(call, reduced(call, "ReduceProd", x));
}

static cr_status amax_onnx(cr_onnx_call *call)
{
    return onnx_result(call, reduced(call, "ReduceMax", call->inputs[0]));
}

static cr_status amin_onnx(cr_onnx_call *call)
{
    return onnx_result(call, reduced(call, "ReduceMin", call->inputs[0]));
}

/* Which elements are not zero, as int64. */
static cr_onnx_value nonzero(cr_onnx_call *call)
{
    return cr_onnx_cast(call, onnx_as(call, 0, CR_BOOL), CR_I64);
}

static cr_status any_onnx(cr_onnx_call *call)
{
    return onnx_result(call, cr_onnx_cast(call, reduced(call, "ReduceMax", nonzero(call)),
                                          call->output_specs[0].dtype));
}

static cr_status all_onnx(cr_onnx_call *call)
{
    return onnx_result(call, cr_onnx_cast(call, reduced(call, "ReduceMin", nonzero(call)),
                                          call->output_specs[0].dtype));
}

static cr_status count_nonzero_onnx(cr_onnx_call *call)
{
    return onnx_result(call, reduced(call, "ReduceSum", nonzero(call)));
}

static cr_status nansum_onnx(cr_onnx_call *call)
{
    cr_dtype dtype = call->output_specs[0].dtype;
    cr_onnx_value x = onnx_as(call, 0, dtype);
    if (cr_dtype_is_floating(dtype))
        x = cr_onnx_add(
            call, "Where",
            .inputs = { cr_onnx_unary(call, "IsNaN", x), cr_onnx_number(call, dtype, 0), x });
    return onnx_result(call, reduced(call, "ReduceSum", x));
}

static cr_status norm_onnx(cr_onnx_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    cr_dtype dtype = call->output_specs[0].dtype;
    cr_onnx_value x = call->inputs[0];
    double p = attributes->p;
    if (p == 1 || p == 2)
        return onnx_result(call, reduced(call, p == 1 ? "ReduceL1" : "ReduceL2", x));
    if (p == 0)
        return onnx_result(call,
                           cr_onnx_cast(call, reduced(call, "ReduceSum", nonzero(call)), dtype));
    x = cr_onnx_unary(call, "Abs", x);
    if (isinf(p))
        return onnx_result(call, reduced(call, p > 0 ? "ReduceMax" : "ReduceMin", x));
    x = reduced(call, "ReduceSum", cr_onnx_with_number(call, "Pow", x, dtype, p));
    return onnx_result(call, cr_onnx_with_number(call, "Pow", x, dtype, 1 / p));
}

static cr_status logsumexp_onnx(cr_onnx_call *call)
{
    return onnx_result(call, reduced(call, "ReduceLogSumExp", call->inputs[0]));
}

/* How many elements go into one; 0 with an error if that depends on the batch. */
static double fixed_count(cr_onnx_call *call, const cr_shape *dims)
{
    double count = 1;
    for (int d = 0; d < dims->ndim; d++)
        count *= (double)cr_onnx_fixed_size(call, 0, (int)dims->dim[d]);
    return count;
}

static cr_status var_mean_onnx(cr_onnx_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    cr_dtype dtype = call->output_specs[0].dtype;
    cr_onnx_value x = call->inputs[0];
    double count = attributes->correction == 0 ? 1 : fixed_count(call, &attributes->dims);
    cr_onnx_value mean = onnx_reduce(call, "ReduceMean", x, &attributes->dims, true);
    cr_onnx_value off = cr_onnx_binary(call, "Sub", x, mean);
    cr_onnx_value y = reduced(call, "ReduceMean", cr_onnx_binary(call, "Mul", off, off));
    if (attributes->correction != 0)
        y = cr_onnx_with_number(call, "Mul", y, dtype,
                                count / CR_MAX(count - attributes->correction, 0));
    call->outputs[0] = attributes->root ? cr_onnx_unary(call, "Sqrt", y) : y;
    call->outputs[1] = call->wanted[1] ? reduced(call, "ReduceMean", x) : 0;
    return cr_error_status();
}

/* ---- prod ---- */

static void prod_forward(const cr_call *call)
{
    run(call, REDUCE_PROD, REDUCE_AS_IS, 0);
}

/* x with the reduced dims, as one, first. */
static cr_tensor *fold_reduced(cr_tensor *x, const cr_shape *dims, cr_shape *order)
{
    bool is_reduced[CR_MAX_DIMS] = { false };
    *order = *dims;
    for (int i = 0; i < dims->ndim; i++)
        is_reduced[dims->dim[i]] = true;
    for (int d = 0; d < x->shape.ndim; d++) {
        if (!is_reduced[d])
            order->dim[order->ndim++] = d;
    }
    int64_t rows = reduced_count(&x->shape, dims);
    return cr_reshape(cr_permute(x, *order), CR_SHAPE(rows, tensor_numel(x) / CR_MAX(rows, 1)));
}

/* fold_reduced undone. */
static cr_tensor *unfold_reduced(cr_tensor *folded, const cr_shape *shape, const cr_shape *order)
{
    cr_shape permuted = { .ndim = shape->ndim };
    cr_shape back = { .ndim = shape->ndim };
    for (int d = 0; d < shape->ndim; d++) {
        permuted.dim[d] = shape->dim[order->dim[d]];
        back.dim[order->dim[d]] = d;
    }
    return cr_permute(cr_reshape(folded, permuted), back);
}

/* The rows before (or after) each row of (n, m) multiplied: doubling steps, so that it takes
 * log2 n products and is differentiable whatever is zero. */
static cr_tensor *exclusive_products(cr_tensor *x, bool after)
{
    int64_t n = x->shape.dim[0];
    int64_t m = x->shape.dim[1];
    cr_tensor_args ones = { .shape = CR_SHAPE(1, m), .dtype = (cr_dtype)x->dtype };
    cr_tensor *product = x;
    for (int64_t step = 1; step <= n; step *= 2) {
        /* Shifted by one row first, then by what is covered already. */
        int64_t by = step == 1 ? 1 : step / 2;
        ones.shape.dim[0] = CR_MIN(by, n);
        cr_tensor *fill = cr_ones_with(ones);
        cr_tensor *rest = cr_narrow(product, 0, after ? CR_MIN(by, n) : 0, n - CR_MIN(by, n));
        cr_tensor *shifted = after ? cr_cat_of(0, rest, fill) : cr_cat_of(0, fill, rest);
        product = step == 1 ? shifted : cr_mul(product, shifted);
    }
    return product;
}

/* The product of all others, for each element. */
static cr_tensor *products_of_others(cr_tensor *x, const cr_shape *dims)
{
    cr_shape order;
    cr_tensor *folded = fold_reduced(x, dims, &order);
    if (!folded || tensor_numel(folded) == 0)
        return folded ? x : NULL;
    cr_tensor *others = cr_mul(exclusive_products(folded, false), exclusive_products(folded, true));
    return unfold_reduced(others, &x->shape, &order);
}

static bool has_zero(cr_tensor *x)
{
    cr_tensor *count = cr_count_nonzero(x, cr_shape_scalar());
    return count && count->storage && cr_item_int64(count) < tensor_numel(x);
}

static cr_status prod_backward(cr_gradient_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_tensor *others = has_zero(x) ? products_of_others(x, &attributes->dims)
                                    : cr_div(kept(call, call->outputs[0]), x);
    call->grad_inputs[0] = cr_mul(kept(call, call->grad_outputs[0]), others);
    return CR_OK;
}

static const cr_op prod_op = {
    REDUCTION(prod_forward, "prod", "the product over dimensions", plain_table),
    .flags = CR_OP_STRIDED,
    .cast = CR_CAST_F32,
    .save_inputs = CR_SAVE(0),
    .save_outputs = CR_SAVE(0),
    .infer = wide_infer,
    .backward = prod_backward,
    .onnx = prod_onnx,
};

cr_tensor *cr_prod_dims(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&prod_op, x, dims, keepdim);
}

cr_tensor *cr_prod(cr_tensor *x)
{
    return cr_prod_dims(x, cr_shape_scalar(), false);
}

/* ---- amax and amin; max and min of everything ---- */

static void amax_forward(const cr_call *call)
{
    run(call, REDUCE_MAX, REDUCE_AS_IS, 0);
}

static void amin_forward(const cr_call *call)
{
    run(call, REDUCE_MIN, REDUCE_AS_IS, 0);
}

/* Those that are the extreme share its gradient. */
static cr_status extreme_backward(cr_gradient_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    cr_tensor *x = cr_detach(call->inputs[0]);
    cr_tensor *is_extreme = cr_eq(x, kept(call, cr_detach(call->outputs[0])));
    cr_tensor *share = cr_to_dtype(is_extreme, call->input_specs[0].dtype);
    cr_tensor *count = cr_sum_dims(share, attributes->dims, true);
    call->grad_inputs[0] = cr_mul(cr_div(share, count), kept(call, call->grad_outputs[0]));
    return CR_OK;
}

#define EXTREME(function, word, words, written)                                                    \
    REDUCTION(function, word, words, plain_table),                                                 \
        .flags = CR_OP_STRIDED, .save_inputs = CR_SAVE(0), .save_outputs = CR_SAVE(0),             \
        .infer = extreme_infer, .backward = extreme_backward, .onnx = written

static const cr_op amax_op = { EXTREME(amax_forward, "amax", "the largest over dimensions",
                                       amax_onnx) };
static const cr_op amin_op = { EXTREME(amin_forward, "amin", "the smallest over dimensions",
                                       amin_onnx) };
static const cr_op max_op = { EXTREME(amax_forward, "max", "the largest of all elements",
                                      amax_onnx) };
static const cr_op min_op = { EXTREME(amin_forward, "min", "the smallest of all elements",
                                      amin_onnx) };

cr_tensor *cr_amax(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&amax_op, x, dims, keepdim);
}

cr_tensor *cr_amin(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&amin_op, x, dims, keepdim);
}

cr_tensor *cr_max(cr_tensor *x)
{
    return apply(&max_op, x, cr_shape_scalar(), false);
}

cr_tensor *cr_min(cr_tensor *x)
{
    return apply(&min_op, x, cr_shape_scalar(), false);
}

/* ---- truth and counts ---- */

/* bool, but uint8 of uint8, as PyTorch. */
static cr_status truth_infer(cr_infer_call *call)
{
    cr_status status = reduce_infer(call);
    call->outputs[0].dtype = call->inputs[0]->dtype == CR_U8 ? CR_U8 : CR_BOOL;
    return status;
}

static cr_status count_infer(cr_infer_call *call)
{
    cr_status status = reduce_infer(call);
    call->outputs[0].dtype = CR_I64;
    return status;
}

static void any_forward(const cr_call *call)
{
    run(call, REDUCE_NONZERO, REDUCE_NOT_ZERO, 0);
}

static void all_forward(const cr_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    run(call, REDUCE_NONZERO, REDUCE_EQUALS,
        (double)reduced_count(&call->inputs[0]->shape, &attributes->dims));
}

static void count_nonzero_forward(const cr_call *call)
{
    run(call, REDUCE_NONZERO, REDUCE_AS_IS, 0);
}

static const cr_op any_op = {
    REDUCTION(any_forward, "any", "whether an element is not zero", plain_table),
    .flags = CR_OP_STRIDED | CR_OP_NOT_DIFFERENTIABLE,
    .infer = truth_infer,
    .onnx = any_onnx,
};

static const cr_op all_op = {
    REDUCTION(all_forward, "all", "whether no element is zero", plain_table),
    .flags = CR_OP_STRIDED | CR_OP_NOT_DIFFERENTIABLE,
    .infer = truth_infer,
    .onnx = all_onnx,
};

static const cr_op count_nonzero_op = {
    REDUCTION(count_nonzero_forward, "count_nonzero", "how many elements are not zero",
              plain_table),
    .flags = CR_OP_STRIDED | CR_OP_NOT_DIFFERENTIABLE,
    .infer = count_infer,
    .onnx = count_nonzero_onnx,
};

cr_tensor *cr_any(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&any_op, x, dims, keepdim);
}

cr_tensor *cr_all(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&all_op, x, dims, keepdim);
}

cr_tensor *cr_count_nonzero(cr_tensor *x, cr_shape dims)
{
    return apply(&count_nonzero_op, x, dims, false);
}

/* ---- sums without NaN ---- */

static void nansum_forward(const cr_call *call)
{
    bool floating = tensor_is_floating(call->inputs[0]);
    run(call, floating ? REDUCE_NANSUM : REDUCE_SUM, REDUCE_AS_IS, 0);
}

static cr_tensor *numbers_of(cr_tensor *x, cr_dtype dtype)
{
    return cr_to_dtype(cr_logical_not(cr_isnan(x)), dtype);
}

static cr_status nansum_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_mul(kept(call, call->grad_outputs[0]),
                                  numbers_of(call->inputs[0], call->input_specs[0].dtype));
    return CR_OK;
}

static const cr_op nansum_op = {
    REDUCTION(nansum_forward, "nansum", "the sum over dimensions of what is not NaN", plain_table),
    .flags = CR_OP_STRIDED,
    .cast = CR_CAST_F32,
    .save_inputs = CR_SAVE(0),
    .infer = wide_infer,
    .backward = nansum_backward,
    .onnx = nansum_onnx,
};

cr_tensor *cr_nansum(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&nansum_op, x, dims, keepdim);
}

static cr_status nanmean_compose(cr_compose_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    if (require_floating(x, "nanmean: x") != CR_OK)
        return cr_error_status();
    cr_tensor *numbers = numbers_of(x, CR_I64);
    cr_tensor *count = cr_sum_dims(numbers, attributes->dims, attributes->keepdim);
    cr_tensor *sum = cr_nansum(x, attributes->dims, attributes->keepdim);
    call->outputs[0] = cr_div(sum, cr_to_dtype(count, (cr_dtype)x->dtype));
    return CR_OK;
}

static const cr_op nanmean_op = {
    .name = "nanmean",
    .summary = "the mean over dimensions of what is not NaN",
    .input_names = "x",
    .attributes = plain_table,
    .attribute_size = sizeof(struct reduce_attributes),
    .min_inputs = 1,
    .compose = nanmean_compose,
};

cr_tensor *cr_nanmean(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&nanmean_op, x, dims, keepdim);
}

/* ---- norm ---- */

static void norm_forward(const cr_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    double p = attributes->p;
    if (p == 0)
        run(call, REDUCE_NONZERO, REDUCE_AS_IS, 0);
    else if (p == 1)
        run(call, REDUCE_ABSOLUTES, REDUCE_AS_IS, 0);
    else if (p == 2)
        run(call, REDUCE_SQUARES, REDUCE_SQRT, 0);
    else if (isinf(p))
        run(call, p > 0 ? REDUCE_LARGEST : REDUCE_SMALLEST, REDUCE_AS_IS, 0);
    else
        run(call, REDUCE_POWERS, REDUCE_ROOT, p);
}

static cr_status norm_infer(cr_infer_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    if (floating_infer(call) != CR_OK)
        return cr_error_status();
    if (attributes->p != attributes->p)
        return cr_error_set(CR_ERROR_ARGUMENT, "p is not a number");
    if (isinf(attributes->p) && reduced_count(&call->inputs[0]->shape, &attributes->dims) == 0)
        return cr_error_set(CR_ERROR_SHAPE, "no elements have no norm of infinite order");
    return CR_OK;
}

/* a with 0 where b is 0. */
static cr_tensor *zero_where_zero(cr_tensor *a, cr_tensor *b)
{
    return cr_where(cr_eq_scalar(b, 0), cr_scalar(0), a);
}

/* d norm / d x, by the order. */
static cr_tensor *norm_slope(cr_gradient_call *call, cr_tensor *x, cr_tensor *norm)
{
    const struct reduce_attributes *attributes = call->attributes;
    double p = attributes->p;
    if (p == 0)
        return cr_mul_scalar(x, 0);
    if (p == 1)
        return cr_sign(x);
    if (p == 2)
        return cr_mul(x, zero_where_zero(cr_reciprocal(norm), norm));
    if (isinf(p)) {
        cr_tensor *is_norm = cr_eq(cr_abs(x), norm);
        cr_tensor *share = cr_to_dtype(is_norm, (cr_dtype)x->dtype);
        cr_tensor *count = cr_sum_dims(share, attributes->dims, true);
        return cr_mul(cr_sign(x), cr_div(share, count));
    }
    cr_tensor *powers = cr_mul(cr_sign(x), cr_pow_scalar(cr_abs(x), p - 1));
    if (p < 2)
        powers = zero_where_zero(powers, x);
    return cr_mul(powers, zero_where_zero(cr_pow_scalar(norm, 1 - p), norm));
}

static cr_status norm_backward(cr_gradient_call *call)
{
    cr_tensor *slope = norm_slope(call, call->inputs[0], kept(call, call->outputs[0]));
    call->grad_inputs[0] = cr_mul(kept(call, call->grad_outputs[0]), slope);
    return CR_OK;
}

static const cr_op norm_op = {
    REDUCTION(norm_forward, "norm", "the norm of order p over dimensions", norm_table),
    .flags = CR_OP_STRIDED,
    .cast = CR_CAST_F32,
    .save_inputs = CR_SAVE(0),
    .save_outputs = CR_SAVE(0),
    .infer = norm_infer,
    .backward = norm_backward,
    .onnx = norm_onnx,
};

cr_tensor *cr_norm_dims(cr_tensor *x, double p, cr_shape dims, bool keepdim)
{
    struct reduce_attributes attributes = { .dims = dims, .keepdim = keepdim, .p = p };
    return cr_apply(&norm_op, CR_INPUTS(x), &attributes);
}

cr_tensor *cr_norm(cr_tensor *x)
{
    return cr_norm_dims(x, 2, cr_shape_scalar(), false);
}

/* ---- logsumexp ---- */

/* Outputs: the result, and the largest element, finite, that was taken off before. */
static cr_status logsumexp_infer(cr_infer_call *call)
{
    if (require_computed(call->inputs[0], "x") != CR_OK || reduce_infer(call) != CR_OK)
        return cr_error_status();
    call->outputs[1] = call->outputs[0];
    return CR_OK;
}

#define FINITE_OR_ZERO(type, tensor)                                                               \
    for (int64_t i = 0; i < tensor_numel(tensor); i++) {                                           \
        type *at = TENSOR_DATA(type, tensor) + i;                                                  \
        *at = isinf(*at) ? 0 : *at;                                                                \
    }

#define LOG_AND_ADD(type, tensor, other)                                                           \
    for (int64_t i = 0; i < tensor_numel(tensor); i++) {                                           \
        type *at = TENSOR_DATA(type, tensor) + i;                                                  \
        *at = (type)(log((double)*at) + (double)TENSOR_DATA(type, other)[i]);                      \
    }

static void logsumexp_forward(const cr_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    struct reduce_job job = { .out = call->outputs[1],
                              .x = call->inputs[0],
                              .dims = &attributes->dims,
                              .kind = REDUCE_MAX,
                              .workspace = call->workspace };
    bool is_f64 = call->inputs[0]->dtype == CR_F64;
    reduce_run(&job);
    if (is_f64)
        FINITE_OR_ZERO(double, job.out)
    else
        FINITE_OR_ZERO(float, job.out)
    job.center = job.out;
    job.out = call->outputs[0];
    job.kind = REDUCE_EXPS;
    reduce_run(&job);
    if (is_f64)
        LOG_AND_ADD(double, job.out, job.center)
    else
        LOG_AND_ADD(float, job.out, job.center)
}

static cr_status logsumexp_backward(cr_gradient_call *call)
{
    if (!call->grad_outputs[0])
        return CR_OK;
    cr_tensor *share = cr_exp(cr_sub(call->inputs[0], kept(call, call->outputs[0])));
    call->grad_inputs[0] = cr_mul(kept(call, call->grad_outputs[0]), share);
    return CR_OK;
}

static const cr_op native_logsumexp_op = {
    REDUCTION(logsumexp_forward, "native_logsumexp",
              "log(sum(exp(x))) of float32 or float64, with the largest element", plain_table),
    .output_count = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0),
    .save_outputs = CR_SAVE(0),
    .infer = logsumexp_infer,
    .backward = logsumexp_backward,
    .onnx = logsumexp_onnx,
};

static cr_status logsumexp_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0];
    cr_dtype dtype = (cr_dtype)x->dtype;
    if (require_floating(x, "logsumexp: x") != CR_OK)
        return cr_error_status();
    x = cr_to_dtype(x, dtype == CR_F64 ? CR_F64 : CR_F32);
    call->outputs[0] =
        cr_to_dtype(cr_apply(&native_logsumexp_op, CR_INPUTS(x), call->attributes), dtype);
    return CR_OK;
}

static const cr_op logsumexp_op = {
    .name = "logsumexp",
    .summary = "log(sum(exp(x))) over dimensions, without overflow",
    .input_names = "x",
    .attributes = plain_table,
    .attribute_size = sizeof(struct reduce_attributes),
    .min_inputs = 1,
    .cast = CR_CAST_F32,
    .compose = logsumexp_compose,
};

cr_tensor *cr_logsumexp(cr_tensor *x, cr_shape dims, bool keepdim)
{
    return apply(&logsumexp_op, x, dims, keepdim);
}

/* ---- variance and deviation ---- */

/* Outputs: variance (or deviation) and mean. */
static cr_status var_infer(cr_infer_call *call)
{
    if (require_computed(call->inputs[0], "x") != CR_OK || reduce_infer(call) != CR_OK)
        return cr_error_status();
    call->outputs[1] = call->outputs[0];
    return CR_OK;
}

/* The count less the correction, but not below 0: then the result is NaN or infinite. */
static double freedom(const struct reduce_attributes *attributes, const cr_shape *shape)
{
    double count = (double)reduced_count(shape, &attributes->dims);
    return CR_MAX(count - attributes->correction, 0);
}

#define TAKE_ROOTS(type, tensor)                                                                   \
    for (int64_t i = 0; i < tensor_numel(tensor); i++) {                                           \
        type *at = TENSOR_DATA(type, tensor) + i;                                                  \
        *at = (type)sqrt((double)*at);                                                             \
    }

static void var_forward(const cr_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    struct reduce_job job = { .out = call->outputs[1],
                              .x = x,
                              .dims = &attributes->dims,
                              .kind = REDUCE_SUM,
                              .finish = REDUCE_DIVIDE,
                              .parameter = (double)reduced_count(&x->shape, &attributes->dims),
                              .workspace = call->workspace };
    reduce_run(&job);
    job.center = job.out;
    job.out = call->outputs[0];
    job.kind = REDUCE_CENTERED;
    job.parameter = freedom(attributes, &x->shape);
    reduce_run(&job);
    if (attributes->root && x->dtype == CR_F64)
        TAKE_ROOTS(double, job.out)
    else if (attributes->root)
        TAKE_ROOTS(float, job.out)
}

static cr_status var_backward(cr_gradient_call *call)
{
    const struct reduce_attributes *attributes = call->attributes;
    const cr_shape *shape = &call->input_specs[0].shape;
    cr_tensor *x = call->inputs[0];
    cr_tensor *total = NULL;
    if (call->grad_outputs[0]) {
        cr_tensor *grad = kept(call, call->grad_outputs[0]);
        if (attributes->root) {
            cr_tensor *root = kept(call, call->outputs[0]);
            grad = zero_where_zero(cr_div(grad, cr_mul_scalar(root, 2)), root);
        }
        cr_tensor *centered = cr_sub(x, cr_mean_dims(x, attributes->dims, true));
        total = cr_mul(cr_mul_scalar(grad, 2 / freedom(attributes, shape)), centered);
    }
    if (call->grad_outputs[1]) {
        double count = (double)reduced_count(shape, &attributes->dims);
        cr_tensor *grad = cr_mul_scalar(call->grad_outputs[1], 1 / count);
        grad = spread_reduced(grad, shape, &attributes->dims);
        total = total ? cr_add(total, grad) : grad;
    }
    call->grad_inputs[0] = total;
    return CR_OK;
}

static const cr_op native_var_mean_op = {
    REDUCTION(var_forward, "native_var_mean",
              "variance (or deviation) and mean of float32 or float64", native_var_table),
    .output_count = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0),
    .save_outputs = CR_SAVE(0),
    .infer = var_infer,
    .backward = var_backward,
    .onnx = var_mean_onnx,
};

static cr_status compose_var(cr_compose_call *call, bool root, int outputs)
{
    struct reduce_attributes attributes = *(const struct reduce_attributes *)call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_dtype dtype = (cr_dtype)x->dtype;
    cr_tensor *results[CR_MAX_OUTPUTS];
    attributes.root = root;
    if (require_floating(x, "x") != CR_OK) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    x = cr_to_dtype(x, dtype == CR_F64 ? CR_F64 : CR_F32);
    if (cr_apply_all(&native_var_mean_op, CR_INPUTS(x), &attributes, results) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < outputs; i++)
        call->outputs[i] = cr_to_dtype(results[i], dtype);
    return CR_OK;
}

static cr_status var_compose(cr_compose_call *call)
{
    return compose_var(call, false, 1);
}

static cr_status std_compose(cr_compose_call *call)
{
    return compose_var(call, true, 1);
}

static cr_status var_mean_compose(cr_compose_call *call)
{
    return compose_var(call, false, 2);
}

static cr_status std_mean_compose(cr_compose_call *call)
{
    return compose_var(call, true, 2);
}

#define VARIANCE(function, word, words)                                                            \
    .name = word, .summary = words, .input_names = "x", .attributes = var_table,                   \
    .attribute_size = sizeof(struct reduce_attributes), .min_inputs = 1, .compose = function

static const cr_op var_op = { VARIANCE(var_compose, "var", "the variance over dimensions") };
static const cr_op std_op = { VARIANCE(std_compose, "std", "the deviation over dimensions") };
static const cr_op var_mean_op = {
    VARIANCE(var_mean_compose, "var_mean", "the variance and the mean over dimensions"),
    .output_count = 2,
};
static const cr_op std_mean_op = {
    VARIANCE(std_mean_compose, "std_mean", "the deviation and the mean over dimensions"),
    .output_count = 2,
};

static cr_tensor *apply_var(const cr_op *op, cr_var_args args, cr_tensor **mean)
{
    struct reduce_attributes attributes = { .dims = args.dims,
                                            .keepdim = args.keepdim,
                                            .correction = args.biased ? 0 : 1 };
    cr_tensor *results[CR_MAX_OUTPUTS];
    cr_apply_all(op, CR_INPUTS(args.x), &attributes, results);
    if (mean)
        *mean = results[1];
    return results[0];
}

cr_tensor *cr_var_with(cr_var_args args)
{
    return apply_var(&var_op, args, NULL);
}

cr_tensor *cr_std_with(cr_var_args args)
{
    return apply_var(&std_op, args, NULL);
}

cr_tensor *cr_var_mean_with(cr_tensor **mean, cr_var_args args)
{
    return apply_var(&var_mean_op, args, mean);
}

cr_tensor *cr_std_mean_with(cr_tensor **mean, cr_var_args args)
{
    return apply_var(&std_mean_op, args, mean);
}

OP_FAMILY(reduce_ops) = {
    &prod_op,     &amax_op,     &amin_op,
    &max_op,      &min_op,      &any_op,
    &all_op,      &nansum_op,   &count_nonzero_op,
    &nanmean_op,  &norm_op,     &logsumexp_op,
    &var_op,      &std_op,      &native_logsumexp_op,
    &var_mean_op, &std_mean_op, &native_var_mean_op,
    NULL,
};
