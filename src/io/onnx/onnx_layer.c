/* Operators of ONNX with weights, and pooling: convolution, products of matrices, norms.
 *
 * Padding that differs on both sides, and windows that reach over the end, are made by padding
 * first; what the library's own layers can do goes to them as it is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/activation.h"
#include "cresset/conv_norm.h"
#include "cresset/normalization.h"
#include "cresset/pooling.h"
#include "io/onnx/onnx.h"

#define MAX_SPATIAL 3

/* ---- windows: kernel, stride, dilation and padding of a node ---- */

struct windows {
    int spatial;
    int64_t kernel[CR_MAX_DIMS];
    int64_t stride[CR_MAX_DIMS];
    int64_t dilation[CR_MAX_DIMS];
    int64_t before[CR_MAX_DIMS]; /* padding */
    int64_t after[CR_MAX_DIMS];
    int64_t size[CR_MAX_DIMS];   /* of the input */
    int64_t output[CR_MAX_DIMS]; /* number of windows */
    bool is_symmetric;
};

static bool read_setting(const struct onnx_call *call, const char *name, int spatial,
                         int64_t otherwise, int64_t *values)
{
    int64_t list[CR_MAX_DIMS];
    int count = onnx_long_list(call, name, list, CR_MAX_DIMS);
    if (cr_failed())
        return false;
    if (count != 0 && count != spatial) {
        cr_error_set(CR_ERROR_FORMAT, "its attribute %s has %d numbers for %d dimensions", name,
                     count, spatial);
        return false;
    }
    for (int d = 0; d < spatial; d++) {
        values[d] = count ? list[d] : otherwise;
        if (values[d] < 1 || values[d] > INT32_MAX) {
            cr_error_set(CR_ERROR_FORMAT, "its attribute %s has a number out of range", name);
            return false;
        }
    }
    return true;
}

static bool read_pads(const struct onnx_call *call, struct windows *w)
{
    int64_t pads[2 * CR_MAX_DIMS];
    int count = onnx_long_list(call, "pads", pads, 2 * CR_MAX_DIMS);
    if (cr_failed())
        return false;
    if (count != 0 && count != 2 * w->spatial) {
        cr_error_set(CR_ERROR_FORMAT, "its attribute pads has %d numbers for %d dimensions", count,
                     w->spatial);
        return false;
    }
    for (int d = 0; d < w->spatial; d++) {
        w->before[d] = count ? pads[d] : 0;
        w->after[d] = count ? pads[w->spatial + d] : 0;
        if (llabs(w->before[d]) > INT32_MAX || llabs(w->after[d]) > INT32_MAX) {
            cr_error_set(CR_ERROR_FORMAT, "its attribute pads has a number out of range");
            return false;
        }
    }
    return true;
}

static int64_t extent(const struct windows *w, int d)
{
    return w->dilation[d] * (w->kernel[d] - 1) + 1;
}

/* Windows that reach beyond the end count, unless they begin in the padding after it. */
static int64_t count_windows(const struct windows *w, int d, bool ceil_mode)
{
    int64_t room = w->size[d] + w->before[d] + w->after[d] - extent(w, d);
    if (room < 0)
        return ceil_mode && room + w->stride[d] > 0 ? 1 : 0;
    int64_t count = room / w->stride[d] + 1;
    if (ceil_mode && room % w->stride[d] != 0 && count * w->stride[d] < w->size[d] + w->before[d])
        count++;
    return count;
}

static void pad_same(struct windows *w, int d, bool upper)
{
    w->output[d] = CR_DIV_UP(w->size[d], w->stride[d]);
    int64_t total = CR_MAX((w->output[d] - 1) * w->stride[d] + extent(w, d) - w->size[d], 0);
    w->before[d] = upper ? total / 2 : total - total / 2;
    w->after[d] = total - w->before[d];
}

/* The kernel is that of the weight (dimensions from 2 on), or kernel_shape's. */
static bool read_windows(const struct onnx_call *call, cr_tensor *x, cr_tensor *weight,
                         bool ceil_mode, struct windows *w)
{
    *w = (struct windows){ .spatial = cr_ndim(x) - 2, .is_symmetric = true };
    if (!x || cr_failed())
        return false;
    if (w->spatial < 1 || w->spatial > MAX_SPATIAL || (weight && cr_ndim(weight) != cr_ndim(x))) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "its input has %d dimensions, and 3 to 5 are supported",
                     cr_ndim(x));
        return false;
    }
    if (!read_setting(call, "kernel_shape", w->spatial, 1, w->kernel) ||
        !read_setting(call, "strides", w->spatial, 1, w->stride) ||
        !read_setting(call, "dilations", w->spatial, 1, w->dilation) || !read_pads(call, w))
        return false;
    const char *automatic = onnx_string(call, "auto_pad", "NOTSET");
    for (int d = 0; d < w->spatial; d++) {
        w->size[d] = cr_dim(x, d + 2);
        if (weight)
            w->kernel[d] = cr_dim(weight, d + 2);
        if (strcmp(automatic, "VALID") == 0)
            w->before[d] = w->after[d] = 0;
        if (strncmp(automatic, "SAME", 4) == 0)
            pad_same(w, d, strcmp(automatic, "SAME_UPPER") == 0);
        else
            w->output[d] = count_windows(w, d, ceil_mode);
        w->is_symmetric &= w->before[d] == w->after[d] && w->before[d] >= 0;
    }
    return true;
}

static cr_shape list_of(const int64_t *values, int count)
{
    return cr_shape_make(count, values);
}

/* x with this padding (which may crop) around its spatial dimensions. */
static cr_tensor *pad_around(cr_tensor *x, int spatial, const int64_t *before, const int64_t *after,
                             double value)
{
    cr_shape padding = { .ndim = 2 * spatial };
    bool any = false;
    for (int d = 0; d < spatial; d++) {
        padding.dim[2 * (spatial - 1 - d)] = before[d];
        padding.dim[2 * (spatial - 1 - d) + 1] = after[d];
        any |= before[d] || after[d];
    }
    return any ? cr_pad(x, padding, CR_PAD_CONSTANT, value) : x;
}

/* ---- convolution ---- */

static cr_functional_conv_args conv_settings(const struct onnx_call *call, const struct windows *w)
{
    return (cr_functional_conv_args){ .stride = list_of(w->stride, w->spatial),
                                      .dilation = list_of(w->dilation, w->spatial),
                                      .groups = onnx_int(call, "group", 1) };
}

static cr_tensor *convolve(const struct onnx_call *call, cr_tensor *x, cr_tensor *weight,
                           cr_tensor *bias)
{
    struct windows w;
    if (!weight || !read_windows(call, x, weight, false, &w))
        return NULL;
    cr_functional_conv_args args = conv_settings(call, &w);
    if (w.is_symmetric)
        args.padding = list_of(w.before, w.spatial);
    else
        x = pad_around(x, w.spatial, w.before, w.after, 0);
    return cr_functional_conv(x, weight, bias, args);
}

static void run_conv(struct onnx_call *call)
{
    onnx_give(call, 0, convolve(call, onnx_need(call, 0), onnx_need(call, 1), onnx_input(call, 2)));
}

/* Products of small integers in float64, which holds them exactly. */
static cr_tensor *shifted(const struct onnx_call *call, int input, int zero_point)
{
    cr_tensor *x = cr_to_dtype(onnx_need(call, input), CR_F64);
    cr_tensor *zero = onnx_input(call, zero_point);
    return zero ? cr_sub(x, cr_to_dtype(zero, CR_F64)) : x;
}

static void run_conv_integer(struct onnx_call *call)
{
    cr_tensor *x = shifted(call, 0, 2), *weight = cr_to_dtype(onnx_need(call, 1), CR_F64);
    cr_tensor *zero = onnx_input(call, 3);
    if (zero && cr_numel(zero) > 1) { /* one for each channel of the result */
        cr_shape shape = { .ndim = cr_ndim(weight), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
        shape.dim[0] = cr_numel(zero);
        zero = cr_reshape(zero, shape);
    }
    if (zero)
        weight = cr_sub(weight, cr_to_dtype(zero, CR_F64));
    onnx_give(call, 0, cr_to_dtype(convolve(call, x, weight, NULL), CR_I32));
}

/* The padding that gives the size asked for, or the usual one. */
static bool transposed_padding(const struct onnx_call *call, struct windows *w,
                               const int64_t *extra)
{
    int64_t wanted[CR_MAX_DIMS];
    int count = onnx_long_list(call, "output_shape", wanted, CR_MAX_DIMS);
    const char *automatic = onnx_string(call, "auto_pad", "NOTSET");
    bool same = strncmp(automatic, "SAME", 4) == 0;
    if (cr_failed() || (count && count < w->spatial))
        return false;
    for (int d = 0; d < w->spatial; d++) {
        int64_t full = w->stride[d] * (w->size[d] - 1) + extra[d] + extent(w, d);
        if (count || same) {
            int64_t size = count ? wanted[count - w->spatial + d] : w->size[d] * w->stride[d];
            int64_t total = full - size;
            int64_t half = (total - (total & 1)) / 2; /* rounded down, also below 0 */
            w->before[d] = strcmp(automatic, "SAME_UPPER") == 0 ? half : total - half;
            w->after[d] = total - w->before[d];
        }
        w->output[d] = full - w->before[d] - w->after[d];
        w->is_symmetric &= w->before[d] == w->after[d] && w->before[d] >= 0;
    }
    return true;
}

static void run_conv_transpose(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *weight = onnx_need(call, 1), *bias = onnx_input(call, 2);
    struct windows w;
    int64_t extra[CR_MAX_DIMS] = { 0 };
    if (!weight || !read_windows(call, x, weight, false, &w))
        return;
    int count = onnx_long_list(call, "output_padding", extra, CR_MAX_DIMS);
    if (cr_failed() || (count && count != w.spatial))
        return;
    w.is_symmetric = true;
    if (!transposed_padding(call, &w, extra))
        return;
    cr_functional_conv_args args = conv_settings(call, &w);
    bool fits = w.is_symmetric;
    for (int d = 0; d < w.spatial; d++)
        fits &= extra[d] < CR_MAX(w.stride[d], w.dilation[d]);
    if (fits) {
        args.padding = list_of(w.before, w.spatial);
        args.output_padding = list_of(extra, w.spatial);
        onnx_give(call, 0, cr_functional_conv_transpose(x, weight, bias, args));
        return;
    }
    /* The whole result, cut or widened, and then the bias, which stands also where it was widened.
     */
    cr_tensor *y = cr_functional_conv_transpose(x, weight, NULL, args);
    int64_t before[CR_MAX_DIMS] = { 0 }, after[CR_MAX_DIMS] = { 0 };
    for (int d = 0; d < w.spatial; d++) {
        before[d] = -w.before[d];
        after[d] = w.output[d] - cr_dim(y, d + 2) + w.before[d];
    }
    y = pad_around(y, w.spatial, before, after, 0);
    if (bias) {
        cr_shape shape = { .ndim = cr_ndim(y), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
        shape.dim[1] = cr_numel(bias);
        y = cr_add(y, cr_reshape(bias, shape));
    }
    onnx_give(call, 0, y);
}

/* ---- pooling ---- */

/* Padding in full, so that the windows counted fit exactly. */
static cr_tensor *pad_for_windows(cr_tensor *x, struct windows *w, double value)
{
    int64_t after[CR_MAX_DIMS] = { 0 };
    for (int d = 0; d < w->spatial; d++)
        after[d] = (w->output[d] - 1) * w->stride[d] + extent(w, d) - w->size[d] - w->before[d];
    return pad_around(x, w->spatial, w->before, after, value);
}

static bool is_plain_pool(const struct windows *w)
{
    bool plain = w->is_symmetric;
    for (int d = 0; d < w->spatial; d++)
        plain &= 2 * w->before[d] <= w->kernel[d];
    return plain;
}

static cr_pool_args pool_settings(cr_tensor *x, const struct windows *w, bool padded)
{
    cr_pool_args args = { .x = x,
                          .kernel_size = list_of(w->kernel, w->spatial),
                          .stride_size = list_of(w->stride, w->spatial) };
    if (padded)
        args.padding_size = list_of(w->before, w->spatial);
    return args;
}

/* Positions in the padded plane as positions in the tensor; with storage_order 1 columns first. */
static cr_tensor *whole_positions(const struct onnx_call *call, cr_tensor *x, cr_tensor *indices,
                                  const struct windows *w, bool padded)
{
    int64_t wide[CR_MAX_DIMS];
    int last = w->spatial - 1;
    for (int d = 0; d < w->spatial; d++)
        wide[d] = padded ? (w->output[d] - 1) * w->stride[d] + extent(w, d) : w->size[d];
    bool columns = onnx_int(call, "storage_order", 0) && w->spatial == 2;
    cr_tensor *rest = indices, *plane = NULL;
    int64_t step = 1;
    for (int i = last; i >= 0; i--) {
        cr_tensor *size = cr_full_like(rest, (double)wide[i]);
        cr_tensor *at = cr_remainder(rest, size);
        rest = cr_floor_divide(rest, size);
        if (padded)
            at = cr_sub(at, cr_full_like(at, (double)w->before[i]));
        int64_t factor = !columns ? step : i == last ? w->size[0] : 1;
        at = cr_mul(at, cr_full_like(at, (double)factor));
        plane = plane ? cr_add(plane, at) : at;
        step *= w->size[i];
    }
    int64_t planes = cr_dim(x, 0) * cr_dim(x, 1);
    cr_shape shape = { .ndim = cr_ndim(x), .dim = { cr_dim(x, 0), cr_dim(x, 1), 1, 1, 1 } };
    cr_tensor *offsets = cr_arange(0, (double)planes, .dtype = CR_I64, .device = cr_device_of(x));
    offsets = cr_mul(offsets, cr_full_like(offsets, (double)step));
    return cr_add(plane, cr_reshape(offsets, shape));
}

static void run_max_pool(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *indices = NULL;
    cr_dtype dtype = cr_dtype_of(x);
    struct windows w;
    bool ceil_mode = onnx_int(call, "ceil_mode", 0);
    if (!read_windows(call, x, NULL, ceil_mode, &w))
        return;
    if (!cr_dtype_is_floating(dtype))
        x = cr_to_dtype(x, CR_F32);
    bool plain = is_plain_pool(&w);
    cr_pool_args args = pool_settings(plain ? x : pad_for_windows(x, &w, -INFINITY), &w, plain);
    args.dilation_size = list_of(w.dilation, w.spatial);
    args.ceil_mode = plain && ceil_mode;
    args.indices = onnx_wants(call, 1) ? &indices : NULL;
    onnx_give(call, 0, cr_to_dtype(cr_max_pool_with(w.spatial, args), dtype));
    if (indices)
        onnx_give(call, 1, whole_positions(call, x, indices, &w, !plain));
}

/* All windows as further dimensions: (N, C, outputs…, kernel…). */
static cr_tensor *unfold_windows(cr_tensor *x, const struct windows *w)
{
    for (int d = 0; d < w->spatial; d++) {
        x = cr_unfold_dim(x, d + 2, extent(w, d), w->stride[d]);
        x = cr_slice(x, -1, 0, CR_SLICE_END, w->dilation[d]);
    }
    return x;
}

static cr_tensor *sum_windows(cr_tensor *x, const struct windows *w)
{
    cr_shape dims = { .ndim = w->spatial };
    for (int d = 0; d < w->spatial; d++)
        dims.dim[d] = 2 + w->spatial + d;
    return cr_sum_dims(unfold_windows(x, w), dims, false);
}

/* By sums of windows, where padding and dilation are not those of the library's pooling. */
static cr_tensor *average_windows(cr_tensor *x, struct windows *w, bool count_pad)
{
    cr_tensor *ones = cr_ones_like(cr_narrow(cr_narrow(x, 0, 0, 1), 1, 0, 1));
    if (count_pad)
        ones = pad_around(ones, w->spatial, w->before, w->after, 1);
    struct windows counted = *w;
    for (int d = 0; d < w->spatial && count_pad; d++) {
        counted.size[d] += w->before[d] + w->after[d];
        counted.before[d] = 0;
    }
    cr_tensor *sum = sum_windows(pad_for_windows(x, w, 0), w);
    return cr_div(sum, sum_windows(pad_for_windows(ones, &counted, 0), &counted));
}

static void run_average_pool(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    struct windows w;
    bool ceil_mode = onnx_int(call, "ceil_mode", 0);
    bool count_pad = onnx_int(call, "count_include_pad", 0);
    if (!read_windows(call, x, NULL, ceil_mode, &w))
        return;
    bool plain = is_plain_pool(&w);
    for (int d = 0; d < w.spatial; d++)
        plain &= w.dilation[d] == 1;
    if (!plain) {
        onnx_give(call, 0, average_windows(x, &w, count_pad));
        return;
    }
    cr_pool_args args = pool_settings(x, &w, true);
    args.ceil_mode = ceil_mode;
    args.count_exclude_pad = !count_pad;
    onnx_give(call, 0, cr_avg_pool_with(w.spatial, args));
}

static void run_lp_pool(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    double p = (double)onnx_int(call, "p", 2);
    struct windows w;
    if (!read_windows(call, x, NULL, onnx_int(call, "ceil_mode", 0), &w))
        return;
    cr_tensor *powers = cr_pow_scalar(cr_abs(pad_for_windows(x, &w, 0)), p);
    onnx_give(call, 0, cr_pow_scalar(sum_windows(powers, &w), 1 / p));
}

enum { GLOBAL_AVERAGE, GLOBAL_MAX, GLOBAL_LP };

static void run_global_pool(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape dims = { .ndim = CR_MAX(cr_ndim(x) - 2, 0) };
    for (int d = 0; d < dims.ndim; d++)
        dims.dim[d] = d + 2;
    if (!x || dims.ndim == 0)
        onnx_give(call, 0, x);
    else if (call->node->op->variant == GLOBAL_AVERAGE)
        onnx_give(call, 0, cr_mean_dims(x, dims, true));
    else if (call->node->op->variant == GLOBAL_MAX)
        onnx_give(call, 0, cr_amax(x, dims, true));
    else
        onnx_give(call, 0, cr_norm_dims(x, (double)onnx_int(call, "p", 2), dims, true));
}

/* ---- products of matrices ---- */

static void run_mat_mul(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = onnx_need(call, 1);
    cr_dtype dtype = cr_dtype_of(a);
    if (cr_dtype_is_floating(dtype))
        onnx_give(call, 0, cr_matmul(a, b));
    else
        onnx_give(call, 0,
                  cr_to_dtype(cr_matmul(cr_to_dtype(a, CR_F64), cr_to_dtype(b, CR_F64)), dtype));
}

/* One zero point for all, or one for each row of the first and each column of the second. */
static cr_tensor *shift_rows(const struct onnx_call *call, int input, int zero_point)
{
    cr_tensor *x = cr_to_dtype(onnx_need(call, input), CR_F64);
    cr_tensor *zero = cr_to_dtype(onnx_input(call, zero_point), CR_F64);
    if (zero && input == 0 && cr_ndim(zero) == 1 && cr_numel(zero) > 1)
        zero = cr_unsqueeze(zero, -1);
    return zero ? cr_sub(x, zero) : x;
}

static void run_mat_mul_integer(struct onnx_call *call)
{
    cr_tensor *a = onnx_input(call, 2) ? shift_rows(call, 0, 2) : shifted(call, 0, 9);
    cr_tensor *b = onnx_input(call, 3) ? shift_rows(call, 1, 3) : shifted(call, 1, 9);
    onnx_give(call, 0, cr_to_dtype(cr_matmul(a, b), CR_I32));
}

static void run_gemm(struct onnx_call *call)
{
    cr_tensor *a = onnx_need(call, 0), *b = onnx_need(call, 1), *c = onnx_input(call, 2);
    double alpha = onnx_float(call, "alpha", 1), beta = onnx_float(call, "beta", 1);
    bool trans_b = onnx_int(call, "transB", 0);
    if (onnx_int(call, "transA", 0))
        a = cr_t(a);
    cr_dtype dtype = cr_dtype_of(a);
    if (a && b && !cr_dtype_is_floating(dtype)) {
        a = cr_to_dtype(a, CR_F64);
        b = cr_to_dtype(b, CR_F64);
    }
    bool is_bias = !c || (cr_ndim(c) == 1 && beta == 1 && cr_dim(c, 0) == cr_dim(b, !trans_b));
    if (trans_b && alpha == 1 && is_bias && cr_dtype_is_floating(dtype)) {
        onnx_give(call, 0, cr_functional_linear(a, b, c));
        return;
    }
    cr_tensor *y = cr_mm(a, trans_b ? cr_t(b) : b);
    if (alpha != 1)
        y = cr_mul_scalar(y, alpha);
    if (c && beta != 0)
        y = cr_add(y, beta == 1 ? c : cr_mul_scalar(c, beta));
    onnx_give(call, 0, cr_to_dtype(y, dtype));
}

static void run_einsum(struct onnx_call *call)
{
    cr_tensor *tensors[CR_MAX_DIMS];
    char equation[CR_ATTRIBUTE_TEXT_SIZE];
    const char *given = onnx_string(call, "equation", "");
    size_t length = 0;
    if (call->input_count > CR_MAX_DIMS || strlen(given) >= sizeof equation) {
        onnx_refuse(call, "it has more inputs or a longer equation than is supported");
        return;
    }
    for (; *given; given++) {
        if (*given != ' ')
            equation[length++] = *given;
    }
    equation[length] = '\0';
    for (int i = 0; i < call->input_count; i++)
        tensors[i] = onnx_need(call, i);
    onnx_give(call, 0, cr_einsum(equation, tensors, call->input_count));
}

/* ---- norms ---- */

/* What a node that says training_mode gives: statistics of the batch, averaged with the old ones.
 */
static void give_statistics(struct onnx_call *call, cr_tensor *x, double momentum)
{
    cr_shape dims = { .ndim = cr_ndim(x) - 1 };
    for (int d = 1; d < dims.ndim; d++)
        dims.dim[d] = d + 1;
    cr_tensor *mean, *variance = cr_var_mean(&mean, x, .dims = dims, .biased = true);
    cr_tensor *batch[] = { mean, variance };
    for (int i = 0; i < 2; i++) {
        cr_tensor *old = cr_mul_scalar(onnx_need(call, 3 + i), momentum);
        onnx_give(call, 1 + i, cr_add(old, cr_mul_scalar(batch[i], 1 - momentum)));
    }
}

/* Whether input i is a tensor of the model, or constant. */
static bool is_fixed(const struct onnx_call *call, int i)
{
    int value = i < call->input_count ? call->node->inputs[i] : -1;
    const struct onnx_value_record *record = value < 0 ? NULL : &call->run->onnx->values[value];
    return record && (record->parameter >= 0 || record->constant);
}

/* The mode is the model's where the statistics are; else the node's, which then gives new ones. */
static void run_batch_norm(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    double momentum = onnx_float(call, "momentum", 0.9), eps = onnx_float(call, "epsilon", 1e-5);
    bool owns = is_fixed(call, 3) && is_fixed(call, 4);
    bool node_trains = !owns && call->version >= 14 && onnx_int(call, "training_mode", 0);
    bool model_trains = call->run->is_training && !node_trains;
    cr_functional_batch_norm_args args = { .x = x,
                                           .weight = onnx_need(call, 1),
                                           .bias = onnx_need(call, 2),
                                           .training = model_trains || node_trains,
                                           .momentum = 1 - momentum,
                                           .eps = eps };
    if (!args.training || (model_trains && cr_device_of(x) != CR_META && !cr_is_recomputing())) {
        args.running_mean = onnx_need(call, 3);
        args.running_var = onnx_need(call, 4);
    }
    onnx_give(call, 0, cr_functional_batch_norm_with(args));
    if (node_trains && call->output_count > 1) {
        give_statistics(call, x, momentum);
        return;
    }
    for (int i = 1; i < call->output_count; i++) /* those that are running, also before 14 */
        onnx_give(call, i, onnx_need(call, i % 2 ? 3 : 4));
}

static void run_instance_norm(struct onnx_call *call)
{
    onnx_give(call, 0,
              cr_functional_instance_norm(onnx_need(call, 0), .weight = onnx_need(call, 1),
                                          .bias = onnx_need(call, 2),
                                          .eps = onnx_float(call, "epsilon", 1e-5)));
}

/* Scale and bias are those of groups before 21, those of channels from there on. */
static void run_group_norm(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *scale = onnx_need(call, 1), *bias = onnx_need(call, 2);
    int64_t groups = onnx_int(call, "num_groups", 1);
    if (call->version < 21 && groups > 0 && cr_dim(x, 1) % groups == 0 &&
        cr_dim(scale, 0) == groups) {
        scale = cr_repeat_interleave(scale, cr_dim(x, 1) / groups, 0);
        bias = cr_repeat_interleave(bias, cr_dim(x, 1) / groups, 0);
    }
    onnx_give(call, 0,
              cr_functional_group_norm(x, groups, scale, bias, onnx_float(call, "epsilon", 1e-5)));
}

/* The dimensions from the axis on. */
static bool last_sizes(const struct onnx_call *call, cr_tensor *x, cr_shape *sizes)
{
    int axis;
    if (!x || !onnx_axis(call, onnx_int(call, "axis", -1), cr_ndim(x), &axis))
        return false;
    *sizes = (cr_shape){ .ndim = cr_ndim(x) - axis };
    for (int d = 0; d < sizes->ndim; d++)
        sizes->dim[d] = cr_dim(x, axis + d);
    return true;
}

static cr_tensor *as_sizes(cr_tensor *weight, const cr_shape *sizes)
{
    cr_shape shape = cr_shape_of(weight);
    return !weight || cr_shape_equal(&shape, sizes) ? weight : cr_broadcast_to(weight, *sizes);
}

static void run_layer_norm(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    double eps = onnx_float(call, "epsilon", 1e-5);
    cr_shape sizes;
    if (!last_sizes(call, x, &sizes))
        return;
    cr_tensor *weight = as_sizes(onnx_need(call, 1), &sizes);
    cr_tensor *bias = as_sizes(onnx_input(call, 2), &sizes);
    onnx_give(call, 0, cr_functional_layer_norm(x, sizes, weight, bias, eps));
    if (!onnx_wants(call, 1) && !onnx_wants(call, 2))
        return;
    cr_shape dims = { .ndim = sizes.ndim };
    for (int d = 0; d < dims.ndim; d++)
        dims.dim[d] = d - dims.ndim;
    cr_tensor *mean,
        *variance = cr_var_mean(&mean, x, .dims = dims, .keepdim = true, .biased = true);
    onnx_give(call, 1, mean);
    onnx_give(call, 2, cr_rsqrt(cr_add_scalar(variance, eps)));
}

static void run_rms_norm(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    cr_shape sizes;
    if (last_sizes(call, x, &sizes))
        onnx_give(call, 0,
                  cr_functional_rms_norm(x, sizes, as_sizes(onnx_need(call, 1), &sizes),
                                         onnx_float(call, "epsilon", 1e-5)));
}

static void run_lrn(struct onnx_call *call)
{
    onnx_give(call, 0,
              cr_local_response_norm(onnx_need(call, 0), onnx_int(call, "size", 1),
                                     onnx_float(call, "alpha", 1e-4),
                                     onnx_float(call, "beta", 0.75), onnx_float(call, "bias", 1)));
}

static void run_mean_variance_norm(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *mean;
    cr_shape dims;
    if (!onnx_ints(call, "axes", &dims))
        dims = CR_SHAPE(0, 2, 3);
    cr_tensor *variance = cr_var_mean(&mean, x, .dims = dims, .keepdim = true, .biased = true);
    onnx_give(call, 0, cr_div(cr_sub(x, mean), cr_add_scalar(cr_sqrt(variance), 1e-9)));
}

/* Drops in training mode only: that of the model, or of the node where an input says so. */
static void run_dropout(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *training = onnx_input(call, 2);
    double p = onnx_float(call, "ratio", 0.5), mode = 0;
    if (onnx_input(call, 1) && !onnx_read_float(call, onnx_input(call, 1), &p))
        return;
    if (training && !onnx_read_float(call, training, &mode))
        return;
    bool told = training && !is_fixed(call, 2) && mode != 0;
    bool drops = (call->run->is_training || told) && p > 0;
    cr_tensor *ones = onnx_wants(call, 1) ? cr_ones_like(x) : NULL;
    if (!ones) {
        onnx_give(call, 0, cr_functional_dropout(x, p, drops));
        return;
    }
    cr_tensor *kept = cr_functional_dropout(ones, p, drops);
    onnx_give(call, 0, drops ? cr_mul(x, kept) : x);
    onnx_give(call, 1, cr_ne_scalar(kept, 0));
}

const struct onnx_operator onnx_layer_operators[] = {
    ONNX_OPERATOR("Conv", run_conv, .weights = 6),
    ONNX_OPERATOR("ConvTranspose", run_conv_transpose, .weights = 6),
    ONNX_OPERATOR("ConvInteger", run_conv_integer),
    ONNX_OPERATOR("Gemm", run_gemm, .weights = 7),
    ONNX_OPERATOR("MatMul", run_mat_mul, .weights = 3),
    ONNX_OPERATOR("MatMulInteger", run_mat_mul_integer),
    ONNX_OPERATOR("Einsum", run_einsum, .weights = ~0u),
    ONNX_OPERATOR("MaxPool", run_max_pool),
    ONNX_OPERATOR("AveragePool", run_average_pool),
    ONNX_OPERATOR("LpPool", run_lp_pool),
    ONNX_OPERATOR("GlobalAveragePool", run_global_pool, .variant = GLOBAL_AVERAGE),
    ONNX_OPERATOR("GlobalMaxPool", run_global_pool, .variant = GLOBAL_MAX),
    ONNX_OPERATOR("GlobalLpPool", run_global_pool, .variant = GLOBAL_LP),
    ONNX_OPERATOR("BatchNormalization", run_batch_norm, .weights = 30, .buffers = 24),
    ONNX_OPERATOR("InstanceNormalization", run_instance_norm, .weights = 6),
    ONNX_OPERATOR("GroupNormalization", run_group_norm, .weights = 6),
    ONNX_OPERATOR("LayerNormalization", run_layer_norm, .weights = 6),
    ONNX_OPERATOR("RMSNormalization", run_rms_norm, .weights = 2),
    ONNX_OPERATOR("LRN", run_lrn),
    ONNX_OPERATOR("MeanVarianceNormalization", run_mean_variance_norm),
    ONNX_OPERATOR("Dropout", run_dropout),
    ONNX_OPERATORS_END
};
