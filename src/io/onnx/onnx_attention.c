/* Attention, what surrounds it in transformers, and losses. */
#include <math.h>
#include <string.h>

#include "cresset/attention.h"
#include "cresset/loss.h"
#include "cresset/normalization.h"
#include "io/onnx/onnx.h"

/* ---- Attention ---- */

struct attention {
    cr_tensor *q; /* (N, heads, L, E) */
    cr_tensor *k; /* (N, groups, S, E) */
    cr_tensor *v;
    cr_tensor *mask;    /* broadcasts to (N, heads, L, S), bool or added */
    cr_tensor *lengths; /* (N): how many keys are no padding; or NULL */
    int64_t past;       /* keys before the first query */
    bool is_causal;
    bool is_flat; /* inputs were (N, L, heads E) */
    double scale;
    double cap;
};

static cr_tensor *split_heads(cr_tensor *x, int64_t heads)
{
    if (cr_ndim(x) != 3)
        return x;
    x = cr_reshape(x, CR_SHAPE(cr_dim(x, 0), cr_dim(x, 1), heads, -1));
    return cr_transpose(x, 1, 2);
}

static cr_tensor *join_past(cr_tensor *past, cr_tensor *x)
{
    return past ? cr_cat_of(2, past, x) : x;
}

static bool read_attention(struct onnx_call *call, struct attention *a)
{
    cr_tensor *q = onnx_need(call, 0), *k = onnx_need(call, 1), *v = onnx_need(call, 2);
    if (!q || !k || !v)
        return false;
    int64_t heads = onnx_int(call, "q_num_heads", 0), groups = onnx_int(call, "kv_num_heads", 0);
    *a = (struct attention){ .mask = onnx_input(call, 3),
                             .lengths = onnx_input(call, 6),
                             .is_causal = onnx_int(call, "is_causal", 0),
                             .is_flat = cr_ndim(q) == 3,
                             .cap = onnx_float(call, "softcap", 0) };
    if (a->is_flat && (heads < 1 || groups < 1)) {
        onnx_refuse(call, "its numbers of heads are missing");
        return false;
    }
    a->q = split_heads(q, heads);
    a->past = onnx_input(call, 4) ? cr_dim(onnx_input(call, 4), 2) : 0;
    a->k = join_past(onnx_input(call, 4), split_heads(k, groups));
    a->v = join_past(onnx_input(call, 5), split_heads(v, groups));
    a->scale = onnx_float(call, "scale", 1 / sqrt((double)cr_dim(a->q, -1)));
    return !cr_failed();
}

/* Each group of keys serves several heads in a row. */
static cr_tensor *widen(cr_tensor *x, int64_t heads)
{
    int64_t groups = cr_dim(x, 1);
    return groups == heads || groups < 1 ? x : cr_repeat_interleave(x, heads / groups, 1);
}

/* The mask as numbers that are added, over all keys: what it does not reach is left out. */
static cr_tensor *full_bias(const struct attention *a)
{
    int64_t rows = cr_dim(a->q, 2), keys = cr_dim(a->k, 2);
    cr_dtype dtype = cr_dtype_of(a->q);
    cr_tensor *bias = NULL;
    if (a->mask && cr_dtype_of(a->mask) == CR_BOOL)
        bias = cr_masked_fill(cr_zeros(cr_shape_of(a->mask), .dtype = dtype),
                              cr_logical_not(a->mask), -INFINITY);
    else if (a->mask)
        bias = a->mask;
    if (bias && cr_dim(bias, -1) < keys)
        bias = cr_pad(bias, CR_SHAPE(0, keys - cr_dim(bias, -1)), CR_PAD_CONSTANT, -INFINITY);
    cr_tensor *column = cr_arange(0, (double)keys, .dtype = CR_I64);
    cr_tensor *hidden = NULL;
    if (a->is_causal) { /* the row of the first query comes after the past, or before the end */
        cr_tensor *row = cr_unsqueeze(cr_arange(0, (double)rows, .dtype = CR_I64), 1);
        row = cr_add(row, cr_scalar_int(a->past));
        if (a->lengths && !a->past) {
            cr_tensor *first = cr_sub(cr_to_dtype(a->lengths, CR_I64), cr_scalar_int(rows));
            row = cr_add(row, cr_reshape(first, CR_SHAPE(-1, 1, 1, 1)));
        }
        hidden = cr_gt(column, row);
    }
    if (a->lengths) {
        cr_tensor *beyond =
            cr_ge(column, cr_reshape(cr_to_dtype(a->lengths, CR_I64), CR_SHAPE(-1, 1, 1, 1)));
        hidden = hidden ? cr_logical_or(hidden, beyond) : beyond;
    }
    if (!hidden)
        return bias;
    cr_tensor *lost =
        cr_masked_fill(cr_zeros(cr_shape_of(hidden), .dtype = dtype), hidden, -INFINITY);
    return bias ? cr_add(bias, lost) : lost;
}

/* Scores in the open, for who asks for them or caps them. */
static cr_tensor *attend(struct onnx_call *call, const struct attention *a, cr_tensor *bias)
{
    int64_t mode = onnx_int(call, "qk_matmul_output_mode", 0), heads = cr_dim(a->q, 1);
    double root = sqrt(a->scale);
    cr_tensor *k = widen(a->k, heads), *v = widen(a->v, heads);
    cr_tensor *scores =
        cr_matmul(cr_mul_scalar(a->q, root), cr_transpose(cr_mul_scalar(k, root), -1, -2));
    cr_tensor *stages[4] = { scores };
    if (a->cap != 0)
        scores = cr_mul_scalar(cr_tanh(cr_div_scalar(scores, a->cap)), a->cap);
    stages[1] = scores;
    scores = bias ? cr_add(scores, bias) : scores;
    stages[2] = scores;
    const struct onnx_type_record *precision =
        onnx_type_find((int)onnx_int(call, "softmax_precision", 0));
    cr_dtype dtype = cr_dtype_of(scores);
    if (precision && cr_dtype_is_floating(precision->dtype))
        scores = cr_to_dtype(scores, precision->dtype);
    cr_tensor *weights = cr_softmax(scores, -1);
    cr_tensor *alone = cr_isnan(weights); /* rows to which no key is left */
    weights = cr_to_dtype(cr_masked_fill(weights, alone, 0), dtype);
    stages[3] = weights;
    if (onnx_wants(call, 3) && mode >= 0 && mode < 4)
        onnx_give(call, 3, stages[mode]);
    return cr_matmul(weights, v);
}

static void run_attention(struct onnx_call *call)
{
    struct attention a;
    if (!read_attention(call, &a))
        return;
    cr_tensor *y;
    bool plain_causal = a.is_causal && !a.mask && !a.lengths && a.past == 0;
    cr_tensor *bias = plain_causal ? NULL : full_bias(&a);
    if (onnx_wants(call, 3) || a.cap != 0 || onnx_int(call, "softmax_precision", 0)) {
        y = attend(call, &a, plain_causal ? full_bias(&a) : bias);
    } else {
        y = cr_scaled_dot_product_attention(a.q, .key = widen(a.k, cr_dim(a.q, 1)),
                                            .value = widen(a.v, cr_dim(a.q, 1)), .attn_mask = bias,
                                            .is_causal = plain_causal, .scale = a.scale);
    }
    if (a.is_flat && y)
        y = cr_reshape(cr_transpose(y, 1, 2), CR_SHAPE(cr_dim(y, 0), cr_dim(y, 2), -1));
    onnx_give(call, 0, y);
    onnx_give(call, 1, a.k);
    onnx_give(call, 2, a.v);
}

/* ---- around attention ---- */

/* Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021. */
static void run_rotary(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *cosines = onnx_need(call, 1), *sines = onnx_need(call, 2);
    cr_tensor *positions = onnx_input(call, 3);
    bool interleaved = onnx_int(call, "interleaved", 0);
    int64_t heads = onnx_int(call, "num_heads", 0),
            width = onnx_int(call, "rotary_embedding_dim", 0);
    if (!x || !cosines || !sines)
        return;
    bool flat = cr_ndim(x) == 3;
    cr_tensor *y = split_heads(x, CR_MAX(heads, 1)); /* (N, heads, L, E) */
    int64_t size = cr_dim(y, -1);
    width = width ? width : size;
    if (positions) {
        cosines = cr_functional_embedding(cosines, cr_to_dtype(positions, CR_I64), -1);
        sines = cr_functional_embedding(sines, cr_to_dtype(positions, CR_I64), -1);
    }
    cosines = cr_unsqueeze(cr_narrow(cosines, -1, 0, width / 2), 1);
    sines = cr_unsqueeze(cr_narrow(sines, -1, 0, width / 2), 1);
    cr_tensor *turned = cr_narrow(y, -1, 0, width);
    cr_tensor *a = interleaved ? cr_slice(turned, -1, 0, CR_SLICE_END, 2)
                               : cr_narrow(turned, -1, 0, width / 2);
    cr_tensor *b = interleaved ? cr_slice(turned, -1, 1, CR_SLICE_END, 2)
                               : cr_narrow(turned, -1, width / 2, width / 2);
    cr_tensor *real = cr_sub(cr_mul(cosines, a), cr_mul(sines, b));
    cr_tensor *imaginary = cr_add(cr_mul(sines, a), cr_mul(cosines, b));
    turned = interleaved ? cr_flatten(cr_stack_of(-1, real, imaginary), -2, -1)
                         : cr_cat_of(-1, real, imaginary);
    if (width < size)
        turned = cr_cat_of(-1, turned, cr_narrow(y, -1, width, size - width));
    onnx_give(call, 0, flat ? cr_reshape(cr_transpose(turned, 1, 2), cr_shape_of(x)) : turned);
}

/* x1 sigmoid(alpha x1) x2 of the two halves of the last dimension. */
static void run_swiglu(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *halves[2] = { x, onnx_input(call, 1) };
    double alpha = onnx_float(call, "alpha", 1);
    if (!halves[1] && cr_chunk(x, 2, -1, halves, 2) != 2)
        return;
    cr_tensor *turned = alpha == 1 ? halves[0] : cr_mul_scalar(halves[0], alpha);
    onnx_give(call, 0, cr_mul(cr_mul(halves[0], cr_sigmoid(turned)), halves[1]));
}

/* Writes an update into a cache from a place in each sequence on. */
static void run_tensor_scatter(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *update = onnx_need(call, 1), *first = onnx_input(call, 2);
    bool circular = strcmp(onnx_string(call, "mode", "linear"), "circular") == 0;
    int axis;
    if (!x || !update || !onnx_axis(call, onnx_int(call, "axis", -2), cr_ndim(x), &axis))
        return;
    int64_t length = cr_dim(update, axis);
    cr_shape along = { .ndim = cr_ndim(x), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
    along.dim[axis] = length;
    cr_tensor *index = cr_reshape(cr_arange(0, (double)length, .dtype = CR_I64), along);
    if (first) {
        along.dim[axis] = 1;
        along.dim[0] = cr_numel(first);
        index = cr_add(index, cr_reshape(cr_to_dtype(first, CR_I64), along));
    }
    if (circular)
        index = cr_remainder(index, cr_scalar_int(cr_dim(x, axis)));
    index = cr_contiguous(cr_expand(index, cr_shape_of(update)));
    onnx_give(call, 0, cr_scatter(x, axis, index, update));
}

/* ---- losses ---- */

static bool read_loss(const struct onnx_call *call, cr_nll_loss_args *args)
{
    const char *reduction = onnx_string(call, "reduction", "mean");
    *args = (cr_nll_loss_args){ .target = cr_to_dtype(onnx_need(call, 1), CR_I64),
                                .weight = onnx_input(call, 2),
                                .ignore_index = -1,
                                .reduction = strcmp(reduction, "sum") == 0    ? CR_REDUCTION_SUM
                                             : strcmp(reduction, "none") == 0 ? CR_REDUCTION_NONE
                                                                              : CR_REDUCTION_MEAN };
    int64_t ignored = onnx_int(call, "ignore_index", INT64_MIN);
    if (onnx_attribute(call, "ignore_index")) {
        args->ignore_index = ignored;
        args->ignore_zero = ignored == 0;
    } else {
        args->ignore_index = INT64_MIN; /* no class is ignored */
    }
    return !cr_failed();
}

static void run_nll_loss(struct onnx_call *call)
{
    cr_nll_loss_args args;
    if (!read_loss(call, &args))
        return;
    args.log_probs = onnx_need(call, 0);
    onnx_give(call, 0, cr_nll_loss_with(args));
}

static void run_cross_entropy(struct onnx_call *call)
{
    cr_nll_loss_args args;
    if (!read_loss(call, &args))
        return;
    args.log_probs = cr_log_softmax(onnx_need(call, 0), 1);
    onnx_give(call, 0, cr_nll_loss_with(args));
    onnx_give(call, 1, args.log_probs);
}

const struct onnx_operator onnx_attention_operators[] = {
    ONNX_OPERATOR("Attention", run_attention),
    ONNX_OPERATOR("RotaryEmbedding", run_rotary),
    ONNX_OPERATOR("SwiGLU", run_swiglu),
    ONNX_OPERATOR("TensorScatter", run_tensor_scatter),
    ONNX_OPERATOR("NegativeLogLikelihoodLoss", run_nll_loss),
    ONNX_OPERATOR("SoftmaxCrossEntropyLoss", run_cross_entropy),
    ONNX_OPERATORS_END
};
