/* Operators of ONNX on signals, and random numbers. A Fourier transform is a product with the
 * matrices of cosines and sines: exact, differentiable, and short enough for the lengths that
 * models have. */
#include <math.h>
#include <string.h>

#include "io/onnx/onnx.h"

#define MAX_TRANSFORM 65536 /* points */
#define TURN          6.283185307179586476925

/* ---- Fourier transforms ---- */

/* cos or sin of 2 pi n k / N, (N, bins). */
static cr_tensor *waves(int64_t length, int64_t bins, bool sines, cr_dtype dtype)
{
    cr_tensor *matrix = cr_empty(CR_SHAPE(length, bins), .dtype = CR_F64);
    double *at = cr_data(matrix);
    for (int64_t i = 0; at && i < length * bins; i++) {
        double angle = TURN * (double)(i / bins * (i % bins) % length) / (double)length;
        at[i] = sines ? sin(angle) : cos(angle);
    }
    return cr_to_dtype(matrix, dtype);
}

static bool check_length(const struct onnx_call *call, int64_t length)
{
    if (length >= 1 && length <= MAX_TRANSFORM)
        return true;
    onnx_refuse(call, "its transform has no points, or over %d", MAX_TRANSFORM);
    return false;
}

/* x (…, N) real and imaginary (or NULL) → (…, bins, 2). */
static cr_tensor *transform(cr_tensor *real, cr_tensor *imaginary, int64_t bins, bool inverse)
{
    int64_t length = cr_dim(real, -1);
    cr_tensor *cosines = waves(length, bins, false, cr_dtype_of(real));
    cr_tensor *sines = waves(length, bins, true, cr_dtype_of(real));
    if (!inverse)
        sines = cr_neg(sines);
    cr_tensor *re = cr_matmul(real, cosines), *im = cr_matmul(real, sines);
    if (imaginary) {
        re = cr_sub(re, cr_matmul(imaginary, sines));
        im = cr_add(im, cr_matmul(imaginary, cosines));
    }
    cr_tensor *both = cr_stack_of(-1, re, im);
    return inverse ? cr_div_scalar(both, (double)length) : both;
}

/* The whole of a spectrum whose first half is given: the rest is its conjugate, backwards. */
static cr_tensor *complete(cr_tensor *half, int64_t length, bool conjugate)
{
    int64_t rest = length - cr_dim(half, -1);
    if (rest <= 0)
        return cr_narrow(half, -1, 0, length);
    cr_tensor *mirrored = cr_flip(cr_narrow(half, -1, 1, rest), CR_SHAPE(-1));
    return cr_cat_of(-1, half, conjugate ? cr_neg(mirrored) : mirrored);
}

static cr_tensor *fit_length(cr_tensor *x, int64_t length)
{
    int64_t more = length - cr_dim(x, -1);
    return more ? cr_pad(x, CR_SHAPE(0, more), CR_PAD_CONSTANT, 0) : x;
}

static void run_dft(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool inverse = onnx_int(call, "inverse", 0), onesided = onnx_int(call, "onesided", 0);
    int64_t given = onnx_int(call, "axis", call->version < 20 ? 1 : -2), length;
    int axis;
    if (!x || (onnx_input(call, 2) && !onnx_read_int(call, onnx_input(call, 2), &given)) ||
        !onnx_axis(call, given, cr_ndim(x), &axis))
        return;
    if (axis == cr_ndim(x) - 1 || !cr_dtype_is_floating(cr_dtype_of(x))) {
        onnx_refuse(call, "its input has no dimension of real and imaginary parts");
        return;
    }
    bool complex_input = cr_dim(x, -1) == 2;
    cr_tensor *real = cr_movedim(cr_select(x, -1, 0), CR_SHAPE(axis), CR_SHAPE(-1));
    cr_tensor *imaginary =
        complex_input ? cr_movedim(cr_select(x, -1, 1), CR_SHAPE(axis), CR_SHAPE(-1)) : NULL;
    bool halved = inverse && onesided;
    length = halved ? 2 * (cr_dim(real, -1) - 1) : cr_dim(real, -1);
    if ((onnx_input(call, 1) && !onnx_read_int(call, onnx_input(call, 1), &length)) ||
        !check_length(call, length))
        return;
    real = halved ? complete(real, length, false) : fit_length(real, length);
    if (imaginary)
        imaginary = halved ? complete(imaginary, length, true) : fit_length(imaginary, length);
    cr_tensor *y =
        transform(real, imaginary, onesided && !inverse ? length / 2 + 1 : length, inverse);
    if (halved)
        y = cr_narrow(y, -1, 0, 1);
    onnx_give(call, 0, cr_movedim(y, CR_SHAPE(-2), CR_SHAPE(axis)));
}

static void run_stft(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *window = onnx_input(call, 2);
    int64_t step, length = window ? cr_numel(window) : 0;
    if (!x || !onnx_read_int(call, onnx_need(call, 1), &step) ||
        (onnx_input(call, 3) && !onnx_read_int(call, onnx_input(call, 3), &length)) ||
        !check_length(call, length))
        return;
    if (cr_ndim(x) != 3 || cr_dim(x, 2) != 1 || step < 1) {
        onnx_refuse(call, "its signal is not (N, length, 1) of real numbers");
        return;
    }
    cr_tensor *frames = cr_unfold_dim(cr_select(x, -1, 0), 1, length, step);
    if (window)
        frames = cr_mul(frames, window);
    int64_t bins = onnx_int(call, "onesided", 1) ? length / 2 + 1 : length;
    onnx_give(call, 0, transform(frames, NULL, bins, false));
}

/* a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) */
static void run_window(struct onnx_call *call)
{
    static const double terms[][3] = { { 0.5, 0.5, 0 },
                                       { 25.0 / 46, 21.0 / 46, 0 },
                                       { 0.42, 0.5, 0.08 } };
    const double *a = terms[call->node->op->variant];
    const struct onnx_type_record *record =
        onnx_type_find((int)onnx_int(call, "output_datatype", ONNX_FLOAT));
    int64_t size;
    if (!onnx_read_int(call, onnx_need(call, 0), &size))
        return;
    if (!record || size < 0 || size > (int64_t)1 << 32) {
        onnx_refuse(call, "its size or dtype is out of range");
        return;
    }
    double period = (double)(onnx_int(call, "periodic", 1) ? size : size - 1);
    cr_tensor *angle =
        cr_mul_scalar(cr_arange(0, (double)size, .dtype = CR_F64), period > 0 ? TURN / period : 0);
    cr_tensor *y = cr_mul_scalar(cr_cos(angle), -a[1]);
    y = cr_add(y, cr_mul_scalar(cr_cos(cr_mul_scalar(angle, 2)), a[2]));
    onnx_give(call, 0, cr_to_dtype(cr_add_scalar(y, a[0]), record->dtype));
}

/* ---- random numbers, from the generator of the thread; a seed in the file is not followed ---- */

enum { UNIFORM, NORMAL };

static void run_random(struct onnx_call *call)
{
    bool like = call->input_count > 0;
    cr_tensor *x = onnx_input(call, 0);
    int64_t type = onnx_int(call, "dtype", like ? onnx_input_type(call, 0) : ONNX_FLOAT);
    const struct onnx_type_record *record = onnx_type_find((int)type);
    cr_shape shape = cr_shape_of(x);
    if ((like && !x) || !record || !cr_dtype_is_floating(record->dtype) || record->is_foreign ||
        (!like && !onnx_ints(call, "shape", &shape))) {
        onnx_refuse(call, "its shape or dtype is not supported");
        return;
    }
    cr_tensor_args args = { .shape = shape, .dtype = record->dtype, .device = cr_device_of(x) };
    if (call->node->op->variant == UNIFORM)
        onnx_give(call, 0,
                  cr_uniform_with(onnx_float(call, "low", 0), onnx_float(call, "high", 1), args));
    else
        onnx_give(call, 0,
                  cr_normal_with(onnx_float(call, "mean", 0), onnx_float(call, "scale", 1), args));
}

static void run_bernoulli(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    const struct onnx_type_record *record =
        onnx_type_find((int)onnx_int(call, "dtype", onnx_input_type(call, 0)));
    if (x && record && !record->is_foreign)
        onnx_give(call, 0, cr_to_dtype(cr_bernoulli(x), record->dtype));
    else
        onnx_refuse(call, "its dtype is not supported");
}

const struct onnx_operator onnx_signal_operators[] = {
    ONNX_OPERATOR("DFT", run_dft),
    ONNX_OPERATOR("STFT", run_stft),
    ONNX_OPERATOR("HannWindow", run_window, .variant = 0),
    ONNX_OPERATOR("HammingWindow", run_window, .variant = 1),
    ONNX_OPERATOR("BlackmanWindow", run_window, .variant = 2),
    ONNX_OPERATOR("RandomUniform", run_random, .variant = UNIFORM),
    ONNX_OPERATOR("RandomUniformLike", run_random, .variant = UNIFORM),
    ONNX_OPERATOR("RandomNormal", run_random, .variant = NORMAL),
    ONNX_OPERATOR("RandomNormalLike", run_random, .variant = NORMAL),
    ONNX_OPERATOR("Bernoulli", run_bernoulli),
    ONNX_OPERATORS_END
};
