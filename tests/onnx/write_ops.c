/* A graph for nearly every op that has an ONNX form, with its results: write_ops FOLDER [NAME…].
 *
 * A case is an expression in two inputs a and b, (N, 4, 6, 6), and parameters, which is traced,
 * written, and run here; ONNX Runtime then runs the file with the whole batch and with one sample.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cresset/attention.h"
#include "cresset/autograd.h"
#include "cresset/nn.h"
#include "cresset/ops.h"
#include "cresset/recurrent.h"
#include "cresset/sequence_layers.h"
#include "written.h"

#define BATCH 3

typedef cr_tensor *(*case_function)(cr_scope at, cr_tensor *a, cr_tensor *b);

/* A parameter, normally distributed; one above 0.5; and a list of integers as a constant. */
#define WEIGHT(name, ...)                                                                          \
    cr_parameter(at, name, CR_SHAPE(__VA_ARGS__), (cr_init){ CR_INIT_NORMAL, 0, 1 })
#define POSITIVE(name, ...) cr_add_scalar(cr_abs(WEIGHT(name, __VA_ARGS__)), 0.5)
#define INTEGERS(...)                                                                              \
    cr_from_buffer((const int64_t[]){ __VA_ARGS__ },                                               \
                   CR_SHAPE((int64_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / 8)), CR_I64)
#define POINTWISE   cr_add_scalar(cr_abs(a), 0.1) /* for functions of positive numbers */
#define AS_INTEGERS cr_to_dtype(cr_mul_scalar(a, 10), CR_I64)

/* Names, and expressions. One a line. */
#define CASES(X)                                                                                   \
    X(neg, cr_neg(a))                                                                              \
    X(abs, cr_abs(a))                                                                              \
    X(sign, cr_sign(a))                                                                            \
    X(exp, cr_exp(a))                                                                              \
    X(expm1, cr_expm1(a))                                                                          \
    X(log, cr_log(POINTWISE))                                                                      \
    X(log2, cr_log2(POINTWISE))                                                                    \
    X(log10, cr_log10(POINTWISE))                                                                  \
    X(log1p, cr_log1p(POINTWISE))                                                                  \
    X(sqrt, cr_sqrt(POINTWISE))                                                                    \
    X(rsqrt, cr_rsqrt(POINTWISE))                                                                  \
    X(reciprocal, cr_reciprocal(POINTWISE))                                                        \
    X(square, cr_square(a))                                                                        \
    X(sin, cr_sin(a))                                                                              \
    X(cos, cr_cos(a))                                                                              \
    X(tan, cr_tan(cr_mul_scalar(a, 0.2)))                                                          \
    X(asin, cr_asin(cr_tanh(a)))                                                                   \
    X(acos, cr_acos(cr_tanh(a)))                                                                   \
    X(atan, cr_atan(a))                                                                            \
    X(sinh, cr_sinh(a))                                                                            \
    X(cosh, cr_cosh(a))                                                                            \
    X(tanh, cr_tanh(a))                                                                            \
    X(erf, cr_erf(a))                                                                              \
    X(sigmoid, cr_sigmoid(a))                                                                      \
    X(floor, cr_floor(a))                                                                          \
    X(ceil, cr_ceil(a))                                                                            \
    X(round, cr_round(cr_mul_scalar(a, 3)))                                                        \
    X(trunc, cr_trunc(cr_mul_scalar(a, 3)))                                                        \
    X(trunc_integers, cr_trunc(AS_INTEGERS))                                                       \
    X(isnan, cr_isnan(cr_sqrt(a)))                                                                 \
    X(isinf, cr_isinf(cr_div(a, cr_sub(b, b))))                                                    \
    X(isfinite, cr_isfinite(cr_log(a)))                                                            \
    X(logical_not, cr_logical_not(cr_trunc(a)))                                                    \
    X(bitwise_not, cr_bitwise_not(cr_gt(a, b)))                                                    \
    X(relu, cr_relu(a))                                                                            \
    X(relu6, cr_relu6(cr_mul_scalar(a, 5)))                                                        \
    X(leaky_relu, cr_leaky_relu(a, 0.1))                                                           \
    X(prelu, cr_functional_prelu(a, WEIGHT("w", 4)))                                               \
    X(hardtanh, cr_hardtanh(a, -0.5, 0.75))                                                        \
    X(hardsigmoid, cr_hardsigmoid(cr_mul_scalar(a, 3)))                                            \
    X(hardswish, cr_hardswish(cr_mul_scalar(a, 3)))                                                \
    X(threshold, cr_threshold(a, 0.3, -2))                                                         \
    X(hardshrink, cr_hardshrink(a, 0.5))                                                           \
    X(softshrink, cr_softshrink(a, 0.5))                                                           \
    X(elu, cr_elu(a, 0.7))                                                                         \
    X(celu, cr_celu(a, 0.7))                                                                       \
    X(selu, cr_selu(a))                                                                            \
    X(gelu, cr_gelu(a, CR_GELU_NONE))                                                              \
    X(gelu_tanh, cr_gelu(a, CR_GELU_TANH))                                                         \
    X(silu, cr_silu(a))                                                                            \
    X(mish, cr_mish(a))                                                                            \
    X(softplus, cr_softplus(a, 1, 20))                                                             \
    X(softplus_beta, cr_softplus(a, 2, 1.5))                                                       \
    X(logsigmoid, cr_logsigmoid(a))                                                                \
    X(softsign, cr_softsign(a))                                                                    \
    X(tanhshrink, cr_tanhshrink(a))                                                                \
    X(glu, cr_glu(a, 1))                                                                           \
    X(add, cr_add(a, b))                                                                           \
    X(add_bool, cr_add(cr_gt(a, b), cr_lt(a, b)))                                                  \
    X(sub_broadcast, cr_sub(a, WEIGHT("w", 4, 1, 6)))                                              \
    X(mul, cr_mul(a, b))                                                                           \
    X(div, cr_div(a, b))                                                                           \
    X(div_integers, cr_div(AS_INTEGERS, INTEGERS(3)))                                              \
    X(pow, cr_pow(POINTWISE, b))                                                                   \
    X(pow_scalar, cr_pow_scalar(a, 3))                                                             \
    X(maximum, cr_maximum(a, b))                                                                   \
    X(minimum, cr_minimum(a, b))                                                                   \
    X(fmod, cr_fmod(a, POSITIVE("w", 6)))                                                          \
    X(remainder, cr_remainder(a, POSITIVE("w", 6)))                                                \
    X(remainder_integers, cr_remainder(AS_INTEGERS, INTEGERS(-3)))                                 \
    X(floor_divide, cr_floor_divide(a, POSITIVE("w", 6)))                                          \
    X(floor_divide_integers, cr_floor_divide(AS_INTEGERS, INTEGERS(-3)))                           \
    X(lerp, cr_lerp(a, b, cr_scalar(0.3)))                                                         \
    X(addcmul, cr_addcmul(a, a, b, 0.5))                                                           \
    X(addcdiv, cr_addcdiv(a, b, POINTWISE, 0.5))                                                   \
    X(clamp, cr_clamp(a, -0.5, 0.25))                                                              \
    X(clamp_min, cr_clamp(a, -0.5, INFINITY))                                                      \
    X(where, cr_where(cr_gt(a, b), a, cr_scalar(0)))                                               \
    X(masked_fill, cr_masked_fill(a, cr_lt(a, b), -3))                                             \
    X(eq, cr_eq(cr_trunc(a), cr_trunc(b)))                                                         \
    X(ne, cr_ne(cr_trunc(a), cr_trunc(b)))                                                         \
    X(le, cr_le(a, b))                                                                             \
    X(ge, cr_ge(a, b))                                                                             \
    X(logical_and, cr_logical_and(cr_trunc(a), cr_trunc(b)))                                       \
    X(logical_or, cr_logical_or(cr_trunc(a), cr_trunc(b)))                                         \
    X(logical_xor, cr_logical_xor(cr_trunc(a), cr_trunc(b)))                                       \
    X(bitwise_and, cr_bitwise_and(cr_gt(a, b), cr_gt(a, cr_scalar(0))))                            \
    X(sum, cr_sum_dims(a, CR_SHAPE(1, 3), false))                                                  \
    X(sum_bool, cr_sum_dims(cr_gt(a, b), CR_SHAPE(1), true))                                       \
    X(mean, cr_mean_dims(a, CR_SHAPE(2, 3), true))                                                 \
    X(prod, cr_prod_dims(a, CR_SHAPE(1), false))                                                   \
    X(amax, cr_amax(a, CR_SHAPE(1, 2), false))                                                     \
    X(amin, cr_amin(a, CR_SHAPE(-1), true))                                                        \
    X(any, cr_any(cr_gt(a, cr_scalar(1)), CR_SHAPE(1), false))                                     \
    X(all, cr_all(cr_gt(a, cr_scalar(-1)), CR_SHAPE(1), false))                                    \
    X(count_nonzero, cr_count_nonzero(cr_trunc(a), CR_SHAPE(1, 2)))                                \
    X(nansum, cr_nansum(cr_sqrt(a), CR_SHAPE(1), false))                                           \
    X(norm1, cr_norm_dims(a, 1, CR_SHAPE(1), false))                                               \
    X(norm2, cr_norm_dims(a, 2, CR_SHAPE(1, 2), true))                                             \
    X(norm3, cr_norm_dims(a, 3, CR_SHAPE(1), false))                                               \
    X(norm_inf, cr_norm_dims(a, INFINITY, CR_SHAPE(1), false))                                     \
    X(logsumexp, cr_logsumexp(cr_mul_scalar(a, 50), CR_SHAPE(1), false))                           \
    X(var, cr_var(a, .dims = CR_SHAPE(1, 2)))                                                      \
    X(std, cr_std(a, .dims = CR_SHAPE(1), .keepdim = true, .biased = true))                        \
    X(cumsum, cr_cumsum(a, 1))                                                                     \
    X(max_dim, cr_max_dim(a, 1, false, NULL))                                                      \
    X(max_indices, max_places(a))                                                                  \
    X(sort, cr_sort(a, -1, true, NULL))                                                            \
    X(argsort, cr_argsort(a, 1, false))                                                            \
    X(topk, cr_topk(a, 3, 3, false, NULL))                                                         \
    X(kthvalue, cr_kthvalue(a, 2, 2, false, NULL))                                                 \
    X(argmax, cr_argmax(a, 1, false))                                                              \
    X(argmin, cr_argmin(a, -1, true))                                                              \
    X(flatten, cr_flatten(a, 1, -1))                                                               \
    X(fold_batch, cr_reshape(cr_mul_scalar(cr_reshape(a, CR_SHAPE(-1, 36)), 2), cr_shape_of(a)))   \
    X(windows, windows_of(a))                                                                      \
    X(expand, cr_expand(cr_unsqueeze(cr_select(a, 1, 2), 1), cr_shape_of(a)))                      \
    X(expand_parameter, expand_over(a, WEIGHT("w", 1, 6)))                                         \
    X(permute, cr_permute(a, CR_SHAPE(0, 2, 3, 1)))                                                \
    X(permute_back, cr_permute(cr_permute(a, CR_SHAPE(0, 2, 3, 1)), CR_SHAPE(0, 3, 1, 2)))         \
    X(squeeze, cr_squeeze_dims(cr_narrow(a, 1, 2, 1), CR_SHAPE(1)))                                \
    X(unsqueeze, cr_unsqueeze(a, 1))                                                               \
    X(narrow, cr_narrow(a, 1, 1, 2))                                                               \
    X(slice, cr_slice(a, 2, 1, 6, 2))                                                              \
    X(select, cr_select(a, 1, -1))                                                                 \
    X(cat, cr_cat_of(1, a, cr_narrow(b, 1, 0, 2)))                                                 \
    X(stack, cr_stack_of(2, a, b))                                                                 \
    X(flip, cr_flip(a, CR_SHAPE(1, 3)))                                                            \
    X(roll, cr_roll(a, CR_SHAPE(2, -1), CR_SHAPE(2, 3)))                                           \
    X(tril, cr_tril(a, 1))                                                                         \
    X(triu, cr_triu(a, -1))                                                                        \
    X(pad, cr_pad(a, CR_SHAPE(1, 2, 0, 1), CR_PAD_CONSTANT, 0.5))                                  \
    X(pad_crop, cr_pad(a, CR_SHAPE(-1, 2), CR_PAD_CONSTANT, 0))                                    \
    X(pad_reflect, cr_pad(a, CR_SHAPE(1, 2, 3, 1), CR_PAD_REFLECT, 0))                             \
    X(pad_replicate, cr_pad(a, CR_SHAPE(1, 2, 3, 1), CR_PAD_REPLICATE, 0))                         \
    X(repeat, cr_repeat(a, CR_SHAPE(1, 2, 1, 3)))                                                  \
    X(repeat_interleave, cr_repeat_interleave(a, 2, 1))                                            \
    X(index_select, cr_index_select(a, 2, INTEGERS(4, 0, 0, 5)))                                   \
    X(gather, cr_gather(a, 3, cr_argsort(b, 3, false)))                                            \
    X(scatter, cr_scatter(a, 3, cr_argsort(b, 3, false), b))                                       \
    X(scatter_add, cr_scatter_add(a, 1, cr_argsort(b, 1, false), b))                               \
    X(index_copy, cr_index_copy(a, 1, INTEGERS(3, 1), cr_narrow(b, 1, 0, 2)))                      \
    X(index_add, cr_index_add(a, 1, INTEGERS(3, 3), cr_narrow(b, 1, 0, 2), 0.5))                   \
    X(embedding, cr_functional_embedding(WEIGHT("w", 5, 3), cr_argmax(a, 1, false), -1))           \
    X(one_hot, cr_one_hot(cr_argmax(a, 1, false), 4))                                              \
    X(mm, cr_mm(cr_flatten(a, 1, -1), WEIGHT("w", 144, 5)))                                        \
    X(bmm, cr_matmul(a, b))                                                                        \
    X(matmul, cr_matmul(a, WEIGHT("w", 6, 5)))                                                     \
    X(linear, cr_functional_linear(cr_flatten(a, 1, -1), WEIGHT("w", 5, 144), WEIGHT("b", 5)))     \
    X(linear_deep, cr_functional_linear(a, WEIGHT("w", 5, 6), WEIGHT("b", 5)))                     \
    X(linear_gelu, cr_functional_linear_gelu(a, WEIGHT("w", 5, 6), NULL))                          \
    X(bilinear,                                                                                    \
      cr_functional_bilinear(cr_select(a, 1, 0), cr_select(b, 1, 0), WEIGHT("w", 3, 6, 6), NULL))  \
    X(einsum, cr_einsum_of("nchw,ncvw->nhv", a, b))                                                \
    X(softmax, cr_softmax(a, 1))                                                                   \
    X(log_softmax, cr_log_softmax(a, -1))                                                          \
    X(batch_norm,                                                                                  \
      cr_functional_batch_norm(a, .running_mean = WEIGHT("m", 4), .running_var = POSITIVE("v", 4), \
                               .weight = WEIGHT("w", 4), .bias = WEIGHT("b", 4), .eps = 1e-5))     \
    X(batch_norm_plain, cr_functional_batch_norm(a, .running_mean = WEIGHT("m", 4),                \
                                                 .running_var = POSITIVE("v", 4), .eps = 1e-5))    \
    X(batch_norm_add_relu,                                                                         \
      cr_functional_batch_norm(a, .running_mean = WEIGHT("m", 4), .running_var = POSITIVE("v", 4), \
                               .eps = 1e-5, .residual = b, .relu = true))                          \
    X(layer_norm,                                                                                  \
      cr_functional_layer_norm(a, CR_SHAPE(6, 6), WEIGHT("w", 6, 6), WEIGHT("b", 6, 6), 1e-5))     \
    X(layer_norm_plain, cr_functional_layer_norm(a, CR_SHAPE(6), NULL, NULL, 1e-5))                \
    X(rms_norm, cr_functional_rms_norm(a, CR_SHAPE(6), WEIGHT("w", 6), 1e-5))                      \
    X(group_norm, cr_functional_group_norm(a, 2, WEIGHT("w", 4), WEIGHT("b", 4), 1e-5))            \
    X(instance_norm, cr_functional_instance_norm(a, .eps = 1e-5))                                  \
    X(normalize, cr_normalize(a, 2, 1, 1e-12))                                                     \
    X(local_response_norm, cr_local_response_norm(a, 3, 1e-4, 0.75, 1))                            \
    X(conv1d, cr_conv1d(at, "c", cr_select(a, 2, 0), .out = 5, .kernel = 3, .padding = 1))         \
    X(conv2d, cr_conv2d(at, "c", a, .out = 6, .kernel_size = CR_SHAPE(3, 2), .stride = 2,          \
                        .padding_size = CR_SHAPE(1, 0), .groups = 2))                              \
    X(conv2d_dilated,                                                                              \
      cr_conv2d(at, "c", a, .out = 6, .kernel = 3, .dilation = 2, .no_bias = true))                \
    X(conv2d_norm, cr_batch_norm(at, "n", cr_conv2d(at, "c", a, .out = 5, .kernel = 3)))           \
    X(conv3d, cr_conv3d(at, "c", cr_unsqueeze(a, 2), .out = 3, .kernel = 3, .padding = 1))         \
    X(conv_single,                                                                                 \
      cr_stack_of(0, cr_conv2d(at, "c", WEIGHT("x", 4, 6, 6), .out = 5, .kernel = 3)))             \
    X(conv_transpose1d, cr_conv_transpose1d(at, "c", cr_select(a, 2, 0), .out = 3, .kernel = 3))   \
    X(conv_transpose2d, cr_conv_transpose2d(at, "c", a, .out = 4, .kernel = 3, .stride = 2,        \
                                            .padding = 1, .output_padding = 1, .groups = 2))       \
    X(max_pool1d, cr_max_pool1d(cr_select(a, 2, 0), .kernel = 2))                                  \
    X(max_pool2d, cr_max_pool2d(a, .kernel = 3, .stride = 2, .padding = 1))                        \
    X(max_pool2d_ceil, cr_max_pool2d(a, .kernel = 3, .stride = 2, .ceil_mode = true))              \
    X(max_pool2d_dilated, cr_max_pool2d(a, .kernel = 2, .stride = 1, .dilation = 2))               \
    X(max_pool3d, cr_max_pool3d(cr_unsqueeze(a, 1), .kernel = 2))                                  \
    X(avg_pool1d, cr_avg_pool1d(cr_select(a, 2, 0), .kernel = 2, .stride = 1))                     \
    X(avg_pool2d, cr_avg_pool2d(a, .kernel = 3, .stride = 2, .padding = 1))                        \
    X(avg_pool2d_exclude,                                                                          \
      cr_avg_pool2d(a, .kernel = 3, .stride = 2, .padding = 1, .count_exclude_pad = true))         \
    X(adaptive_avg_pool2d, cr_adaptive_avg_pool2d(a, CR_SHAPE(3, 2)))                              \
    X(adaptive_avg_pool2d_1, cr_adaptive_avg_pool2d(a, CR_SHAPE(1, 1)))                            \
    X(adaptive_avg_pool2d_uneven, cr_adaptive_avg_pool2d(a, CR_SHAPE(4, 7)))                       \
    X(adaptive_avg_pool1d_uneven, cr_adaptive_avg_pool1d(cr_select(a, 1, 0), CR_SHAPE(4)))         \
    X(adaptive_max_pool2d, cr_adaptive_max_pool2d(a, CR_SHAPE(2, 3), NULL))                        \
    X(lp_pool2d, cr_lp_pool2d(2, a, .kernel = 2))                                                  \
    X(nearest, cr_interpolate(a, .size = CR_SHAPE(9, 11)))                                         \
    X(nearest_scale, cr_interpolate(a, .scale_factor = 2))                                         \
    X(nearest_exact,                                                                               \
      cr_interpolate(a, .size = CR_SHAPE(9, 4), .mode = CR_INTERPOLATE_NEAREST_EXACT))             \
    X(bilinear_size, cr_interpolate(a, .size = CR_SHAPE(9, 11), .mode = CR_INTERPOLATE_BILINEAR))  \
    X(bilinear_corners, cr_interpolate(a, .size = CR_SHAPE(9, 4), .align_corners = true,           \
                                       .mode = CR_INTERPOLATE_BILINEAR))                           \
    X(bilinear_scale, cr_interpolate(a, .scale_factor = 1.5, .mode = CR_INTERPOLATE_BILINEAR))     \
    X(bicubic, cr_interpolate(a, .size = CR_SHAPE(9, 11), .mode = CR_INTERPOLATE_BICUBIC))         \
    X(grid_sample, cr_grid_sample(a, .grid = grid_of(b)))                                          \
    X(grid_sample_border, cr_grid_sample(a, .grid = grid_of(b), .align_corners = true,             \
                                         .padding_mode = CR_SAMPLE_BORDER))                        \
    X(pixel_shuffle, cr_pixel_shuffle(a, 2))                                                       \
    X(pixel_unshuffle, cr_pixel_unshuffle(a, 3))                                                   \
    X(channel_shuffle, cr_channel_shuffle(a, 2))                                                   \
    X(attention, cr_scaled_dot_product_attention(a, .key = b, .value = a))                         \
    X(attention_mask,                                                                              \
      cr_scaled_dot_product_attention(a, .key = b, .value = a, .attn_mask = WEIGHT("w", 6, 6)))    \
    X(attention_bool,                                                                              \
      cr_scaled_dot_product_attention(a, .key = b, .value = a, .attn_mask = cr_ge(b, b)))          \
    X(attention_causal,                                                                            \
      cr_scaled_dot_product_attention(a, .key = b, .value = a, .is_causal = true))                 \
    X(attention_layer, attention_of(at, a))                                                        \
    X(window_attention, window_attention_of(at, a, b, true))                                       \
    X(window_attention_whole, window_attention_of(at, a, b, false))                                \
    X(rnn, cr_rnn(at, "r", cr_select(a, 1, 0), .hidden = 5, .batch_first = true).output)           \
    X(rnn_relu,                                                                                    \
      cr_rnn(at, "r", cr_select(a, 1, 0), .hidden = 5, .relu = true, .batch_first = true).output)  \
    X(lstm, cr_lstm(at, "r", cr_select(a, 1, 0), .hidden = 5, .bidirectional = true, .layers = 2,  \
                    .batch_first = true)                                                           \
                .output)                                                                           \
    X(lstm_cell,                                                                                   \
      cr_transpose(cr_lstm(at, "r", cr_select(a, 1, 0), .hidden = 5, .batch_first = true).c_n, 0,  \
                   1))                                                                             \
    X(gru,                                                                                         \
      cr_gru(at, "r", cr_select(a, 1, 0), .hidden = 5, .bidirectional = true, .batch_first = true) \
          .output)

/* ---- expressions that need more than a line ---- */

static cr_tensor *max_places(cr_tensor *a)
{
    cr_tensor *places;
    return cr_max_dim(a, 1, true, &places) ? places : NULL;
}

/* Windows of 3 by 3 as a larger batch, as Swin cuts them, and together again. */
static cr_tensor *windows_of(cr_tensor *a)
{
    cr_shape cut = CR_SHAPE(-1, 4, 2, 3, 2, 3), cuts = CR_SHAPE(-1, 2, 2, 4, 3, 3);
    cr_tensor *x = cr_permute(cr_reshape(a, cut), CR_SHAPE(0, 2, 4, 1, 3, 5));
    x = cr_softmax(cr_reshape(x, CR_SHAPE(-1, 4, 9)), -1);
    x = cr_permute(cr_reshape(x, cuts), CR_SHAPE(0, 3, 1, 4, 2, 5));
    return cr_reshape(x, CR_SHAPE(-1, 4, 6, 6));
}

static cr_tensor *expand_over(cr_tensor *a, cr_tensor *w)
{
    cr_tensor *tokens = cr_expand(cr_unsqueeze(w, 0), CR_SHAPE(cr_dim(a, 0), 1, 6));
    return cr_cat_of(1, tokens, cr_select(a, 1, 0));
}

/* Points of two coordinates within and around the image. */
static cr_tensor *grid_of(cr_tensor *b)
{
    return cr_reshape(cr_mul_scalar(b, 0.6), CR_SHAPE(-1, 8, 9, 2));
}

static cr_tensor *attention_of(cr_scope at, cr_tensor *a)
{
    return cr_multihead_attention(at, "m", cr_reshape(a, CR_SHAPE(-1, 12, 12)), .heads = 3).output;
}

/* 12 rows of 2 heads of 2 features: in windows of 4, with a bias and a mask, or as one window. */
static cr_tensor *window_attention_of(cr_scope at, cr_tensor *a, cr_tensor *b, bool has_windows)
{
    static const int64_t rows[12] = { 5, 0, 1, 7, 2, 3, 4, 6, 11, 8, 10, 9 };
    cr_tensor *qkv = cr_reshape(a, CR_SHAPE(-1, 12, 3, 2, 2));
    (void)b;
    if (!has_windows)
        return cr_window_attention(qkv, .bias = WEIGHT("b", 2, 12, 12));
    return cr_window_attention(qkv, .windows = cr_from_buffer(rows, CR_SHAPE(3, 4), CR_I64),
                               .bias = WEIGHT("b", 2, 4, 4), .mask = WEIGHT("m", 3, 4, 4));
}

/* ---- the cases ---- */

#define DEFINE(name, expression)                                                                   \
    static cr_tensor *case_##name(cr_scope at, cr_tensor *a, cr_tensor *b)                         \
    {                                                                                              \
        (void)a;                                                                                   \
        (void)at;                                                                                  \
        (void)b;                                                                                   \
        return expression;                                                                         \
    }
CASES(DEFINE)

#define LIST(name, expression) { #name, case_##name },
static const struct one_case {
    const char *name;
    case_function function;
} cases[] = { CASES(LIST) };

static cr_status call_case(cr_scope at, cr_tensor *const *inputs, int input_count,
                           cr_tensor **outputs, int *output_count, const void *settings)
{
    const struct one_case *one = settings;
    (void)input_count;
    outputs[0] = one->function(at, inputs[0], inputs[1]);
    *output_count = 1;
    return cr_error_status();
}

static bool write_one(const char *folder, const struct one_case *one)
{
    static const cr_graph_input ports[] = { { "a", { 3, { 4, 6, 6 } }, CR_F32, false },
                                            { "b", { 3, { 4, 6, 6 } }, CR_F32, false } };
    cr_model *model = cr_model_new(.seed = 1);
    cr_model_train(model, false);
    cr_graph *graph = cr_graph_trace(model, .many = call_case, .settings = one, .inputs = ports,
                                     .input_count = 2);
    cr_tensor *inputs[] = { cr_randn(CR_SHAPE(BATCH, 4, 6, 6)),
                            cr_randn(CR_SHAPE(BATCH, 4, 6, 6)) };
    bool is_batched = graph && cr_graph_output_at(graph, 0).shape.dim[0] == -1;
    bool good = graph
                    ? write_case(folder, one->name, graph, inputs, is_batched, (cr_onnx_args){ 0 })
                    : write_failure(one->name);
    cr_graph_free(graph);
    cr_model_free(model);
    cr_frame_end_all();
    return good;
}

static bool is_asked(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return count == 0;
}

int main(int argc, char **argv)
{
    bool good = true;
    if (argc < 2) {
        fprintf(stderr, "write_ops FOLDER [NAME...]\n");
        return 2;
    }
    cr_set_grad_enabled(false);
    cr_manual_seed(7);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (is_asked(cases[i].name, argc - 2, argv + 2))
            good = write_one(argv[1], &cases[i]) && good;
    }
    return good ? 0 : 1;
}
