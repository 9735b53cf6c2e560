/* Resize and Upsample. What the library's interpolation does as well goes to it; everything else is
 * done one dimension after the other: by picking elements (nearest), or by a product with a matrix
 * that has the weights of each element of the result in a row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/vision.h"
#include "io/onnx/onnx.h"

#define MAX_MATRIX ((int64_t)1 << 28) /* elements of a matrix of weights */

enum mode { NEAREST, LINEAR, CUBIC };

struct resize {
    enum mode mode;
    const char *coordinates;
    const char *nearest;
    double cubic_a;
    double outside; /* the value there, with tf_crop_and_resize */
    bool exclude_outside;
    bool antialias;
    int count; /* of dimensions that are resized */
    int axes[CR_MAX_DIMS];
    double scale[CR_MAX_DIMS];
    double start[CR_MAX_DIMS]; /* region of interest */
    double end[CR_MAX_DIMS];
    int64_t size[CR_MAX_DIMS]; /* of the result */
};

/* Where element i of the result lies in the input. */
static double source_of(const struct resize *r, int k, int64_t in, int64_t i)
{
    double length = (double)in, scale = r->scale[k], at = (double)i;
    double out = scale * length; /* not rounded */
    if (strcmp(r->coordinates, "asymmetric") == 0)
        return at / scale;
    if (strcmp(r->coordinates, "align_corners") == 0)
        return out <= 1 ? 0 : at * (length - 1) / (out - 1);
    if (strcmp(r->coordinates, "pytorch_half_pixel") == 0 && r->size[k] <= 1)
        return 0;
    if (strcmp(r->coordinates, "tf_half_pixel_for_nn") == 0)
        return (at + 0.5) / scale;
    if (strcmp(r->coordinates, "tf_crop_and_resize") == 0) {
        if (r->size[k] <= 1)
            return 0.5 * (r->start[k] + r->end[k]) * (length - 1);
        return r->start[k] * (length - 1) +
               at * (r->end[k] - r->start[k]) * (length - 1) / (out - 1);
    }
    if (strcmp(r->coordinates, "half_pixel_symmetric") == 0) {
        double offset = length / 2 * (1 - out / (scale * length));
        return offset + (at + 0.5) / scale - 0.5;
    }
    return (at + 0.5) / scale - 0.5;
}

static int64_t nearest_of(const struct resize *r, double x)
{
    if (strcmp(r->nearest, "floor") == 0)
        return (int64_t)floor(x);
    if (strcmp(r->nearest, "ceil") == 0)
        return (int64_t)ceil(x);
    if (strcmp(r->nearest, "round_prefer_ceil") == 0)
        return (int64_t)floor(x + 0.5);
    return (int64_t)ceil(x - 0.5);
}

static bool is_outside(const struct resize *r, double x, int64_t in)
{
    return strcmp(r->coordinates, "tf_crop_and_resize") == 0 && (x < 0 || x > (double)in - 1);
}

static double cubic(double x, double a)
{
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? a * (((x - 5) * x + 8) * x - 4) : 0;
}

/* Row i of the matrix: the neighbours of a point, those beyond the border standing at it. */
static void fill_row(const struct resize *r, int k, int64_t in, double x, float *row)
{
    double reach = r->mode == CUBIC ? 2 : 1;
    double scale = r->antialias ? CR_MIN(r->scale[k], 1) : 1;
    int64_t first = (int64_t)floor(x) + (int64_t)floor(-reach / scale) + 1;
    int64_t last = (int64_t)floor(x) + (int64_t)ceil(reach / scale);
    double sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = first; j <= last; j++) {
            double distance = (x - (double)j) * scale;
            double weight =
                r->mode == CUBIC ? cubic(distance, r->cubic_a) : fmax(0, 1 - fabs(distance));
            if (r->exclude_outside && (j < 0 || j >= in))
                continue;
            if (pass == 0)
                sum += weight;
            else if (sum != 0)
                row[CR_MIN(CR_MAX(j, 0), in - 1)] += (float)(weight / sum);
        }
    }
}

static cr_tensor *pick(const struct resize *r, int k, cr_tensor *x, bool *outside)
{
    int64_t in = cr_dim(x, r->axes[k]);
    cr_tensor *index = cr_empty(CR_SHAPE(r->size[k]), .dtype = CR_I64);
    int64_t *at = cr_data(index);
    for (int64_t i = 0; at && i < r->size[k]; i++) {
        double from = source_of(r, k, in, i);
        at[i] = CR_MIN(CR_MAX(nearest_of(r, from), 0), in - 1);
        outside[i] = is_outside(r, from, in);
    }
    return cr_index_select(x, r->axes[k], index);
}

static cr_tensor *blend(const struct resize *r, int k, cr_tensor *x, bool *outside)
{
    int64_t in = cr_dim(x, r->axes[k]);
    if (in > MAX_MATRIX / CR_MAX(r->size[k], 1)) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "it resizes %lld elements to %lld, which is too many",
                     (long long)in, (long long)r->size[k]);
        return NULL;
    }
    cr_tensor *matrix = cr_zeros(CR_SHAPE(r->size[k], in));
    float *rows = cr_data(matrix);
    for (int64_t i = 0; rows && i < r->size[k]; i++) {
        double from = source_of(r, k, in, i);
        fill_row(r, k, in, from, rows + i * in);
        outside[i] = is_outside(r, from, in);
    }
    cr_dtype dtype = cr_dtype_of(x);
    cr_dtype computed = cr_dtype_is_floating(dtype) ? dtype : CR_F32;
    x = cr_movedim(cr_to_dtype(x, computed), CR_SHAPE(r->axes[k]), CR_SHAPE(-1));
    x = cr_matmul(x, cr_t(cr_to_dtype(matrix, computed)));
    x = cr_movedim(x, CR_SHAPE(-1), CR_SHAPE(r->axes[k]));
    return cr_to_dtype(cr_dtype_is_floating(dtype) ? x : cr_round(x), dtype);
}

static cr_tensor *resize_dim(const struct resize *r, int k, cr_tensor *x)
{
    bool *outside = cr_alloc_zeroed((size_t)r->size[k] + 1, sizeof *outside), any = false;
    if (!outside)
        return NULL;
    x = r->mode == NEAREST ? pick(r, k, x, outside) : blend(r, k, x, outside);
    for (int64_t i = 0; i < r->size[k]; i++)
        any |= outside[i];
    if (any) {
        cr_tensor *mask = cr_from_buffer(outside, CR_SHAPE(r->size[k]), CR_BOOL);
        cr_shape shape = { .ndim = cr_ndim(x), .dim = { 1, 1, 1, 1, 1, 1, 1, 1 } };
        shape.dim[r->axes[k]] = r->size[k];
        x = cr_masked_fill(x, cr_reshape(mask, shape), r->outside);
    }
    cr_free(outside);
    return x;
}

/* Whether the library's interpolation of (N, C, H, W) gives the same. */
static bool is_plain(const struct resize *r, const cr_tensor *x, cr_interpolate_args *args)
{
    bool last_two = cr_ndim(x) == 4 && cr_dtype_of(x) == CR_F32;
    for (int k = 0; k < r->count; k++) {
        int64_t in = cr_dim(x, r->axes[k]);
        if (r->axes[k] < 2)
            last_two &= r->size[k] == in && r->scale[k] == 1;
        else
            args->size.dim[r->axes[k] - 2] = r->size[k];
        last_two &= r->size[k] > 0 && fabs(r->scale[k] * (double)in - (double)r->size[k]) < 1e-4;
    }
    bool centres = strcmp(r->coordinates, "half_pixel") == 0 ||
                   strcmp(r->coordinates, "pytorch_half_pixel") == 0;
    args->align_corners = strcmp(r->coordinates, "align_corners") == 0;
    if (!last_two || r->antialias || r->exclude_outside)
        return false;
    for (int k = 0; k < r->count && !args->align_corners; k++)
        last_two &= r->size[k] > 1 || strcmp(r->coordinates, "half_pixel") == 0;
    if (r->mode == NEAREST) {
        args->mode = CR_INTERPOLATE_NEAREST;
        return strcmp(r->coordinates, "asymmetric") == 0 && strcmp(r->nearest, "floor") == 0;
    }
    args->mode = r->mode == LINEAR ? CR_INTERPOLATE_BILINEAR : CR_INTERPOLATE_BICUBIC;
    return last_two && (centres || args->align_corners) &&
           (r->mode == LINEAR || r->cubic_a == -0.75);
}

/* ---- settings ---- */

/* One scale for all dimensions: the smallest or the largest that was asked for. */
static void keep_aspect(const struct onnx_call *call, struct resize *r, const cr_tensor *x)
{
    const char *policy = onnx_string(call, "keep_aspect_ratio_policy", "stretch");
    bool larger = strcmp(policy, "not_smaller") == 0;
    if (!larger && strcmp(policy, "not_larger") != 0)
        return;
    double scale = larger ? 0 : INFINITY;
    for (int k = 0; k < r->count; k++)
        scale = larger ? fmax(scale, r->scale[k]) : fmin(scale, r->scale[k]);
    for (int k = 0; k < r->count; k++) {
        r->scale[k] = scale;
        r->size[k] = (int64_t)floor(scale * (double)cr_dim(x, r->axes[k]) + 0.5);
    }
}

static bool read_factors(const struct onnx_call *call, struct resize *r, const cr_tensor *x,
                         cr_tensor *scales, cr_tensor *sizes)
{
    cr_tensor *given = sizes ? sizes : scales;
    if (cr_device_of(given) == CR_META) {
        onnx_refuse(call, "its size depends on the input, in a run that has only shapes");
        return false;
    }
    if (cr_numel(given) != r->count) {
        onnx_refuse(call, "its sizes are not one for each dimension");
        return false;
    }
    for (int k = 0; k < r->count; k++) {
        double value = cr_element(given, k), in = (double)cr_dim(x, r->axes[k]);
        r->scale[k] = sizes ? value / in : value;
        double size = sizes ? value : floor(value * in + 1e-9);
        if (!(size >= 0 && size < 1e9) || !(in > 0)) {
            onnx_refuse(call, "its result has a size out of range");
            return false;
        }
        r->size[k] = (int64_t)size;
    }
    if (sizes)
        keep_aspect(call, r, x);
    return true;
}

static bool read_region(const struct onnx_call *call, struct resize *r, cr_tensor *roi)
{
    if (strcmp(r->coordinates, "tf_crop_and_resize") != 0)
        return true;
    if (!roi || cr_numel(roi) != 2 * r->count || cr_device_of(roi) == CR_META) {
        onnx_refuse(call, "its region of interest is missing");
        return false;
    }
    for (int k = 0; k < r->count; k++) {
        r->start[k] = cr_element(roi, k);
        r->end[k] = cr_element(roi, r->count + k);
    }
    return true;
}

static bool read_settings(const struct onnx_call *call, struct resize *r, const cr_tensor *x)
{
    static const char *const words[] = { "nearest", "linear", "cubic" };
    bool old = call->version < 11;
    const char *word = onnx_string(call, "mode", "nearest");
    *r = (struct resize){ .count = cr_ndim(x) };
    int mode = strcmp(word, "bilinear") == 0
                   ? LINEAR
                   : cr_word_find("mode of Resize", word, words, CR_COUNT_OF(words));
    if (mode < 0)
        return false;
    r->mode = (enum mode)mode;
    r->coordinates =
        onnx_string(call, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    r->nearest = onnx_string(call, "nearest_mode", old ? "floor" : "round_prefer_floor");
    r->cubic_a = onnx_float(call, "cubic_coeff_a", -0.75);
    r->outside = onnx_float(call, "extrapolation_value", 0);
    r->exclude_outside = onnx_int(call, "exclude_outside", 0);
    r->antialias = onnx_int(call, "antialias", 0);
    cr_shape axes;
    bool has_axes = onnx_ints(call, "axes", &axes);
    if (has_axes)
        r->count = axes.ndim;
    for (int k = 0; k < r->count; k++) {
        r->axes[k] = k;
        if (has_axes && !onnx_axis(call, axes.dim[k], cr_ndim(x), &r->axes[k]))
            return false;
    }
    return true;
}

static cr_tensor *attribute_scales(const struct onnx_call *call)
{
    const struct onnx_attribute *scales = onnx_attribute(call, "scales");
    if (!scales || !scales->floats || scales->type != ONNX_ATTRIBUTE_FLOATS)
        return NULL;
    return cr_from_buffer(scales->floats, CR_SHAPE(scales->count), CR_F32);
}

static void run_resize(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0);
    bool old = call->version < 11 || strcmp(call->node->type, "Upsample") == 0;
    cr_tensor *scales = old ? onnx_input(call, 1) : onnx_input(call, 2);
    cr_tensor *sizes = old ? NULL : onnx_input(call, 3);
    struct resize r;
    if (!x || !read_settings(call, &r, x))
        return;
    if (old && !scales)
        scales = attribute_scales(call);
    if (sizes && cr_numel(sizes) == 0)
        sizes = NULL;
    if (!sizes && (!scales || cr_numel(scales) == 0)) {
        onnx_refuse(call, "it has neither scales nor sizes");
        return;
    }
    if (!read_factors(call, &r, x, scales, sizes) ||
        (!old && !read_region(call, &r, onnx_input(call, 1))))
        return;
    cr_interpolate_args args = { .x = x, .size = { .ndim = 2 } };
    for (int d = 0; d < 2 && cr_ndim(x) == 4; d++)
        args.size.dim[d] = cr_dim(x, 2 + d);
    if (is_plain(&r, x, &args)) {
        onnx_give(call, 0, cr_interpolate_with(args));
        return;
    }
    bool crops = strcmp(r.coordinates, "tf_crop_and_resize") == 0;
    for (int k = 0; k < r.count; k++) {
        if (r.size[k] != cr_dim(x, r.axes[k]) || r.scale[k] != 1 || crops)
            x = resize_dim(&r, k, x);
    }
    onnx_give(call, 0, x);
}

const struct onnx_operator onnx_resize_operators[] = { ONNX_OPERATOR("Resize", run_resize),
                                                       ONNX_OPERATOR("Upsample", run_resize),
                                                       ONNX_OPERATORS_END };
