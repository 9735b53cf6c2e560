/* Operators of ONNX that reduce dimensions, or run along one. */
#include <math.h>
#include <string.h>

#include "io/onnx/onnx.h"

enum {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_PROD,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP,
    REDUCE_SUM_SQUARE
};

/* ReduceSum takes its axes as an input from 13 on, the others from 18. */
static bool reduced_dims(const struct onnx_call *call, cr_tensor *x, cr_shape *dims, bool *nothing)
{
    if (!x || !onnx_axes(call, 1, "axes", dims))
        return false;
    *nothing = dims->ndim == 0 && onnx_int(call, "noop_with_empty_axes", 0);
    int ndim = cr_ndim(x);
    for (int i = 0; i < dims->ndim; i++) {
        int axis;
        if (!onnx_axis(call, dims->dim[i], ndim, &axis))
            return false;
        dims->dim[i] = axis;
    }
    for (int d = 0; d < ndim && dims->ndim == 0 && !*nothing; d++)
        dims->dim[d] = d;
    dims->ndim = dims->ndim || *nothing ? dims->ndim : ndim;
    return true;
}

/* The extreme of nothing is the identity of the comparison. */
static cr_tensor *extreme(cr_tensor *x, cr_shape dims, bool keepdim, bool largest)
{
    cr_dtype dtype = cr_dtype_of(x);
    if (dtype == CR_BOOL)
        return largest ? cr_any(x, dims, keepdim) : cr_all(x, dims, keepdim);
    bool empty = false;
    for (int i = 0; i < dims.ndim; i++)
        empty |= cr_dim(x, (int)dims.dim[i]) == 0;
    if (!empty)
        return largest ? cr_amax(x, dims, keepdim) : cr_amin(x, dims, keepdim);
    cr_tensor *shape = cr_sum_dims(x, dims, keepdim);
    return cr_full_like(shape, largest ? -INFINITY : INFINITY);
}

static void run_reduce(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *y = NULL;
    cr_shape dims;
    bool nothing, keepdim = onnx_int(call, "keepdims", 1);
    if (!reduced_dims(call, x, &dims, &nothing))
        return;
    int kind = call->node->op->variant;
    if (kind == REDUCE_L1)
        x = cr_abs(x);
    else if (kind == REDUCE_L2 || kind == REDUCE_SUM_SQUARE)
        x = cr_mul(x, x);
    cr_dtype dtype = cr_dtype_of(x);
    if (nothing || dims.ndim == 0)
        y = kind == REDUCE_LOG_SUM_EXP ? cr_log(cr_exp(x)) : x;
    else if (kind == REDUCE_MEAN)
        y = cr_mean_dims(cr_dtype_is_floating(dtype) ? x : cr_to_dtype(x, CR_F64), dims, keepdim);
    else if (kind == REDUCE_PROD)
        y = cr_prod_dims(x, dims, keepdim);
    else if (kind == REDUCE_MAX || kind == REDUCE_MIN)
        y = extreme(x, dims, keepdim, kind == REDUCE_MAX);
    else if (kind == REDUCE_LOG_SUM_EXP)
        y = cr_logsumexp(x, dims, keepdim);
    else
        y = cr_sum_dims(x, dims, keepdim);
    if (kind == REDUCE_L2)
        y = cr_sqrt(y);
    else if (kind == REDUCE_LOG_SUM)
        y = cr_log(y);
    onnx_give(call, 0, cr_to_dtype(y, dtype));
}

/* ---- positions of extremes ---- */

static void run_arg(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool largest = call->node->op->variant == REDUCE_MAX;
    bool keepdim = onnx_int(call, "keepdims", 1);
    bool last = onnx_int(call, "select_last_index", 0);
    int axis;
    if (!x || !onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    if (last)
        x = cr_flip(x, CR_SHAPE(axis));
    cr_tensor *y = largest ? cr_argmax(x, axis, keepdim) : cr_argmin(x, axis, keepdim);
    if (last) {
        cr_tensor *end = cr_full((double)cr_dim(x, axis) - 1, cr_shape_scalar(), .dtype = CR_I64);
        y = cr_sub(end, y);
    }
    onnx_give(call, 0, y);
}

/* ---- along a dimension ---- */

/* CumSum and CumProd. Exclusive ones begin with the neutral element and leave out the last. */
static void run_cumulative(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool product = call->node->op->variant == REDUCE_PROD;
    int64_t given;
    int axis;
    if (!x || !onnx_read_int(call, onnx_need(call, 1), &given) ||
        !onnx_axis(call, given, cr_ndim(x), &axis))
        return;
    bool reverse = onnx_int(call, "reverse", 0);
    cr_tensor *y = reverse ? cr_flip(x, CR_SHAPE(axis)) : x;
    if (onnx_int(call, "exclusive", 0)) {
        cr_tensor *first = cr_full_like(cr_narrow(y, axis, 0, CR_MIN(1, cr_dim(y, axis))), product);
        y = cr_cat_of(axis, first, cr_narrow(y, axis, 0, CR_MAX(0, cr_dim(y, axis) - 1)));
    }
    y = product ? cr_cumprod(y, axis) : cr_cumsum(y, axis);
    y = reverse ? cr_flip(y, CR_SHAPE(axis)) : y;
    onnx_give(call, 0, cr_to_dtype(y, cr_dtype_of(x)));
}

/* Softmax and its kin: before 13 over all dimensions from the axis on as one. */
enum { SOFTMAX, LOG_SOFTMAX, HARDMAX };

static cr_tensor *softmax_of(int kind, cr_tensor *x, int axis)
{
    if (kind == SOFTMAX)
        return cr_softmax(x, axis);
    if (kind == LOG_SOFTMAX)
        return cr_log_softmax(x, axis);
    cr_tensor *hot = cr_one_hot(cr_argmax(x, axis, false), cr_dim(x, axis));
    return cr_to_dtype(cr_movedim(hot, CR_SHAPE(-1), CR_SHAPE(axis)), cr_dtype_of(x));
}

static void run_softmax(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool flat = call->version < 13;
    int axis, kind = call->node->op->variant;
    if (!x || !onnx_axis(call, onnx_int(call, "axis", flat ? 1 : -1), cr_ndim(x), &axis))
        return;
    if (!flat || axis == cr_ndim(x) - 1) {
        onnx_give(call, 0, softmax_of(kind, x, axis));
        return;
    }
    int64_t rows = 1;
    for (int d = 0; d < axis; d++)
        rows *= cr_dim(x, d);
    cr_tensor *rest = cr_reshape(x, CR_SHAPE(rows, rows ? cr_numel(x) / rows : 0));
    onnx_give(call, 0, cr_reshape(softmax_of(kind, rest, 1), cr_shape_of(x)));
}

static void run_lp_normalization(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    double p = (double)onnx_int(call, "p", 2);
    onnx_give(call, 0, cr_normalize(x, p, onnx_int(call, "axis", -1), 1e-30));
}

#define REDUCTION(name, kind) ONNX_OPERATOR(name, run_reduce, .flags = ONNX_KEEPS, .variant = kind)

const struct onnx_operator onnx_reduce_operators[] = {
    REDUCTION("ReduceSum", REDUCE_SUM),
    REDUCTION("ReduceMean", REDUCE_MEAN),
    REDUCTION("ReduceProd", REDUCE_PROD),
    REDUCTION("ReduceMax", REDUCE_MAX),
    REDUCTION("ReduceMin", REDUCE_MIN),
    REDUCTION("ReduceL1", REDUCE_L1),
    REDUCTION("ReduceL2", REDUCE_L2),
    REDUCTION("ReduceLogSum", REDUCE_LOG_SUM),
    REDUCTION("ReduceLogSumExp", REDUCE_LOG_SUM_EXP),
    REDUCTION("ReduceSumSquare", REDUCE_SUM_SQUARE),
    ONNX_OPERATOR("ArgMax", run_arg, .variant = REDUCE_MAX),
    ONNX_OPERATOR("ArgMin", run_arg, .variant = REDUCE_MIN),
    ONNX_OPERATOR("CumSum", run_cumulative, .variant = REDUCE_SUM),
    ONNX_OPERATOR("CumProd", run_cumulative, .variant = REDUCE_PROD),
    ONNX_OPERATOR("Softmax", run_softmax, .variant = SOFTMAX),
    ONNX_OPERATOR("LogSoftmax", run_softmax, .variant = LOG_SOFTMAX),
    ONNX_OPERATOR("Hardmax", run_softmax, .variant = HARDMAX),
    ONNX_OPERATOR("LpNormalization", run_lp_normalization),
    ONNX_OPERATORS_END
};
