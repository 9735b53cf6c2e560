/* Operators of ONNX for detectors and for images read at other places. NonMaxSuppression, RoiAlign
 * and DeformConv have loops of their own and no gradients. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/vision.h"
#include "io/onnx/onnx.h"

static bool has_data(const struct onnx_call *call, cr_tensor *const *tensors, int count)
{
    for (int i = 0; i < count; i++) {
        if (!tensors[i] || cr_failed())
            return false;
        if (cr_device_of(tensors[i]) == CR_META ||
            (cr_grad_enabled() && cr_requires_grad(tensors[i]))) {
            onnx_refuse(call, "it has no gradient, and is not run for shapes alone");
            return false;
        }
    }
    return true;
}

/* ---- NonMaxSuppression ---- */

struct candidate {
    float score;
    int64_t box;
};

static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->box > b->box) - (a->box < b->box);
}

/* Corners in order, from any two opposite ones or from centre and size. */
static void corners(const float *box, bool centre, float out[4])
{
    if (centre) {
        out[0] = box[0] - box[2] / 2;
        out[1] = box[1] - box[3] / 2;
        out[2] = box[0] + box[2] / 2;
        out[3] = box[1] + box[3] / 2;
        return;
    }
    for (int i = 0; i < 2; i++) {
        out[i] = fminf(box[i], box[i + 2]);
        out[i + 2] = fmaxf(box[i], box[i + 2]);
    }
}

static float overlap(const float *a, const float *b, bool centre)
{
    float p[4], q[4];
    corners(a, centre, p);
    corners(b, centre, q);
    float width = fminf(p[2], q[2]) - fmaxf(p[0], q[0]);
    float height = fminf(p[3], q[3]) - fmaxf(p[1], q[1]);
    if (width <= 0 || height <= 0)
        return 0;
    float common = width * height;
    float all = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - common;
    return common / all;
}

struct suppression {
    const float *boxes;  /* (N, 4) */
    const float *scores; /* (N) */
    int64_t count;
    int64_t most;
    float iou;
    float least;
    bool has_least;
    bool centre;
};

/* The kept boxes of one class of one image; returns how many. */
static int64_t suppress(const struct suppression *s, struct candidate *candidates, int64_t *kept)
{
    int64_t count = 0, result = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (!s->has_least || s->scores[i] > s->least)
            candidates[count++] = (struct candidate){ s->scores[i], i };
    }
    qsort(candidates, (size_t)count, sizeof *candidates, compare_candidates);
    for (int64_t i = 0; i < count && result < s->most; i++) {
        const float *box = s->boxes + 4 * candidates[i].box;
        bool free = true;
        for (int64_t k = 0; k < result && free; k++)
            free = overlap(s->boxes + 4 * kept[k], box, s->centre) <= s->iou;
        if (free)
            kept[result++] = candidates[i].box;
    }
    return result;
}

static void run_suppression(struct onnx_call *call)
{
    cr_tensor *tensors[] = { cr_contiguous(onnx_need(call, 0)), cr_contiguous(onnx_need(call, 1)) };
    struct suppression s = { .centre = onnx_int(call, "center_point_box", 0) };
    double iou = 0, least = 0;
    if (!has_data(call, tensors, 2) ||
        (onnx_input(call, 2) && !onnx_read_int(call, onnx_input(call, 2), &s.most)) ||
        (onnx_input(call, 3) && !onnx_read_float(call, onnx_input(call, 3), &iou)) ||
        (onnx_input(call, 4) && !onnx_read_float(call, onnx_input(call, 4), &least)))
        return;
    int64_t batch = cr_dim(tensors[0], 0), classes = cr_dim(tensors[1], 1);
    s.count = cr_dim(tensors[0], 1);
    if (cr_ndim(tensors[0]) != 3 || cr_ndim(tensors[1]) != 3 || cr_dim(tensors[0], 2) != 4 ||
        cr_dim(tensors[1], 0) != batch || cr_dim(tensors[1], 2) != s.count ||
        cr_dtype_of(tensors[0]) != CR_F32 || cr_dtype_of(tensors[1]) != CR_F32) {
        cr_error_set(CR_ERROR_SHAPE, "its boxes and scores do not fit each other");
        return;
    }
    s.iou = (float)iou;
    s.least = (float)least;
    s.has_least = onnx_input(call, 4) != NULL;
    struct candidate *candidates = cr_alloc_array((size_t)s.count + 1, sizeof *candidates);
    int64_t *kept = cr_alloc_array((size_t)s.count + 1, sizeof *kept);
    cr_text rows = { 0 };
    for (int64_t c = 0; candidates && kept && c < batch * classes; c++) {
        s.boxes = (const float *)cr_data(tensors[0]) + c / classes * s.count * 4;
        s.scores = (const float *)cr_data(tensors[1]) + c * s.count;
        int64_t count = suppress(&s, candidates, kept);
        for (int64_t i = 0; i < count; i++) {
            int64_t row[3] = { c / classes, c % classes, kept[i] };
            cr_text_append_bytes(&rows, row, sizeof row);
        }
    }
    int64_t count = (int64_t)(rows.length / (3 * sizeof(int64_t)));
    onnx_give(call, 0, cr_from_buffer(count ? rows.data : "", CR_SHAPE(count, 3), CR_I64));
    cr_text_free(&rows);
    cr_free(candidates);
    cr_free(kept);
}

/* ---- RoiAlign ---- */

/* A plane at a point between its pixels, as He et al., "Mask R-CNN", 2017; with `peak` the greatest
 * of the four weighted pixels instead of their sum. */
static float sample(const float *plane, int64_t height, int64_t width, float y, float x, bool peak)
{
    if (y < -1 || y > (float)height || x < -1 || x > (float)width)
        return 0;
    y = fmaxf(y, 0);
    x = fmaxf(x, 0);
    int64_t y0 = CR_MIN((int64_t)y, height - 1), x0 = CR_MIN((int64_t)x, width - 1);
    int64_t y1 = CR_MIN(y0 + 1, height - 1), x1 = CR_MIN(x0 + 1, width - 1);
    float dy = y0 == height - 1 ? 0 : y - (float)y0, dx = x0 == width - 1 ? 0 : x - (float)x0;
    float parts[] = { (1 - dy) * (1 - dx) * plane[y0 * width + x0],
                      (1 - dy) * dx * plane[y0 * width + x1],
                      dy * (1 - dx) * plane[y1 * width + x0], dy * dx * plane[y1 * width + x1] };
    if (peak)
        return fmaxf(fmaxf(parts[0], parts[1]), fmaxf(parts[2], parts[3]));
    return parts[0] + parts[1] + parts[2] + parts[3];
}

struct alignment {
    int64_t channels, height, width; /* of x */
    int64_t out_height, out_width;
    int64_t ratio;
    float scale;
    float shift;
    bool peak;
};

/* One region of all channels of an image. */
static void align_region(const struct alignment *a, const float *image, const float *roi,
                         float *out)
{
    float left = roi[0] * a->scale - a->shift, top = roi[1] * a->scale - a->shift;
    float width = roi[2] * a->scale - a->shift - left, height = roi[3] * a->scale - a->shift - top;
    if (a->shift == 0) {
        width = fmaxf(width, 1);
        height = fmaxf(height, 1);
    }
    float step_y = height / (float)a->out_height, step_x = width / (float)a->out_width;
    int64_t rows = a->ratio > 0 ? a->ratio : (int64_t)CR_MAX(ceilf(step_y), 1);
    int64_t columns = a->ratio > 0 ? a->ratio : (int64_t)CR_MAX(ceilf(step_x), 1);
    for (int64_t i = 0; i < a->channels * a->out_height * a->out_width; i++) {
        int64_t h = i / a->out_width % a->out_height, w = i % a->out_width;
        const float *plane = image + i / (a->out_width * a->out_height) * a->height * a->width;
        float sum = 0, most = -INFINITY;
        for (int64_t k = 0; k < rows * columns; k++) {
            float y = top + step_y * ((float)h + ((float)(k / columns) + 0.5f) / (float)rows);
            float x = left + step_x * ((float)w + ((float)(k % columns) + 0.5f) / (float)columns);
            float value = sample(plane, a->height, a->width, y, x, a->peak);
            sum += value;
            most = fmaxf(most, value);
        }
        out[i] = a->peak ? most : sum / (float)(rows * columns);
    }
}

static void run_roi_align(struct onnx_call *call)
{
    cr_tensor *tensors[] = { cr_contiguous(onnx_need(call, 0)), cr_contiguous(onnx_need(call, 1)),
                             cr_contiguous(cr_to_dtype(onnx_need(call, 2), CR_I64)) };
    if (!has_data(call, tensors, 3))
        return;
    cr_tensor *x = tensors[0], *rois = tensors[1];
    int64_t count = cr_dim(rois, 0);
    const char *mode = onnx_string(call, "coordinate_transformation_mode",
                                   call->version < 16 ? "output_half_pixel" : "half_pixel");
    struct alignment a = { .channels = cr_dim(x, 1),
                           .height = cr_dim(x, 2),
                           .width = cr_dim(x, 3),
                           .out_height = onnx_int(call, "output_height", 1),
                           .out_width = onnx_int(call, "output_width", 1),
                           .ratio = onnx_int(call, "sampling_ratio", 0),
                           .scale = (float)onnx_float(call, "spatial_scale", 1),
                           .shift = strcmp(mode, "half_pixel") == 0 ? 0.5f : 0,
                           .peak = strcmp(onnx_string(call, "mode", "avg"), "max") == 0 };
    if (cr_ndim(x) != 4 || cr_ndim(rois) != 2 || cr_dim(rois, 1) != 4 || a.ratio > 1024 ||
        cr_numel(tensors[2]) != count || cr_dtype_of(x) != CR_F32 || cr_dtype_of(rois) != CR_F32) {
        cr_error_set(CR_ERROR_SHAPE, "its image, regions and numbers do not fit each other");
        return;
    }
    cr_tensor *y = cr_empty(CR_SHAPE(count, a.channels, a.out_height, a.out_width));
    for (int64_t i = 0; y && i < count; i++) {
        int64_t image = ((const int64_t *)cr_data(tensors[2]))[i];
        if (image < 0 || image >= cr_dim(x, 0)) {
            cr_error_set(CR_ERROR_ARGUMENT, "region %lld is of an image that there is none of",
                         (long long)i);
            return;
        }
        align_region(&a, (const float *)cr_data(x) + image * a.channels * a.height * a.width,
                     (const float *)cr_data(rois) + 4 * i,
                     (float *)cr_data(y) + i * a.channels * a.out_height * a.out_width);
    }
    onnx_give(call, 0, y);
}

/* ---- DeformConv ---- */

/* Image columns at shifted places, (C K, H' W') for each sample, then a product: Zhu et al.,
 * "Deformable ConvNets v2", 2019. */
struct deformation {
    int64_t channels, height, width, kernel_h, kernel_w, out_h, out_w;
    int64_t stride[2], dilation[2], pad[2];
    int64_t groups; /* of offsets */
};

static void gather_columns(const struct deformation *d, const float *image, const float *offsets,
                           const float *mask, float *columns)
{
    int64_t kernel = d->kernel_h * d->kernel_w, places = d->out_h * d->out_w;
    for (int64_t i = 0; i < d->channels * kernel * places; i++) {
        int64_t c = i / (kernel * places), k = i / places % kernel, p = i % places;
        int64_t group = c / (d->channels / d->groups);
        const float *shift = offsets + (group * kernel + k) * 2 * places + p;
        float y =
            (float)(p / d->out_w * d->stride[0] - d->pad[0] + k / d->kernel_w * d->dilation[0]) +
            shift[0];
        float x =
            (float)(p % d->out_w * d->stride[1] - d->pad[1] + k % d->kernel_w * d->dilation[1]) +
            shift[places];
        int64_t y0 = (int64_t)floorf(y), x0 = (int64_t)floorf(x);
        float sum = 0;
        for (int n = 0; n < 4; n++) {
            int64_t row = y0 + n / 2, column = x0 + n % 2;
            float weight = (1 - fabsf(y - (float)row)) * (1 - fabsf(x - (float)column));
            if (row >= 0 && row < d->height && column >= 0 && column < d->width)
                sum += weight * image[(c * d->height + row) * d->width + column];
        }
        columns[i] = mask ? sum * mask[(group * kernel + k) * places + p] : sum;
    }
}

static bool pair(const struct onnx_call *call, const char *name, int64_t otherwise, int64_t *values)
{
    int64_t list[2];
    int count = onnx_long_list(call, name, list, 2);
    values[0] = count == 2 ? list[0] : otherwise;
    values[1] = count == 2 ? list[1] : otherwise;
    return !cr_failed() && values[0] >= 1 && values[1] >= 1;
}

static void run_deform_conv(struct onnx_call *call)
{
    cr_tensor *mask = onnx_input(call, 4), *bias = onnx_input(call, 3);
    cr_tensor *tensors[] = { cr_contiguous(onnx_need(call, 0)), cr_contiguous(onnx_need(call, 1)),
                             cr_contiguous(onnx_need(call, 2)) };
    int64_t pads[4] = { 0 };
    struct deformation d = { .groups = onnx_int(call, "offset_group", 1) };
    onnx_long_list(call, "pads", pads, 4);
    mask = mask ? cr_contiguous(mask) : NULL;
    if (!has_data(call, tensors, 3) || !pair(call, "strides", 1, d.stride) ||
        !pair(call, "dilations", 1, d.dilation))
        return;
    cr_tensor *x = tensors[0], *w = tensors[1], *offsets = tensors[2];
    int64_t batch = cr_dim(x, 0), groups = onnx_int(call, "group", 1), out = cr_dim(w, 0);
    d.channels = cr_dim(x, 1);
    d.height = cr_dim(x, 2);
    d.width = cr_dim(x, 3);
    d.kernel_h = cr_dim(w, 2);
    d.kernel_w = cr_dim(w, 3);
    d.pad[0] = pads[0];
    d.pad[1] = pads[1];
    d.out_h = cr_dim(offsets, 2);
    d.out_w = cr_dim(offsets, 3);
    int64_t kernel = d.kernel_h * d.kernel_w, places = d.out_h * d.out_w;
    cr_shape wanted = CR_SHAPE(batch, 2 * d.groups * kernel, d.out_h, d.out_w);
    cr_shape given = cr_shape_of(offsets);
    if (cr_ndim(x) != 4 || cr_ndim(w) != 4 || !cr_shape_equal(&wanted, &given) || groups < 1 ||
        d.groups < 1 || d.channels % d.groups || d.channels % groups || out % groups ||
        cr_dim(w, 1) != d.channels / groups || cr_dtype_of(x) != CR_F32 ||
        cr_dtype_of(offsets) != CR_F32 ||
        (mask && cr_numel(mask) != batch * d.groups * kernel * places)) {
        cr_error_set(CR_ERROR_SHAPE, "its image, weights and offsets do not fit each other");
        return;
    }
    cr_tensor *columns = cr_empty(CR_SHAPE(batch, d.channels * kernel, places));
    for (int64_t n = 0; columns && n < batch; n++)
        gather_columns(&d, (const float *)cr_data(x) + n * d.channels * d.height * d.width,
                       (const float *)cr_data(offsets) + n * 2 * d.groups * kernel * places,
                       mask ? (const float *)cr_data(mask) + n * d.groups * kernel * places : NULL,
                       (float *)cr_data(columns) + n * d.channels * kernel * places);
    columns = cr_reshape(columns, CR_SHAPE(batch, groups, d.channels / groups * kernel, places));
    cr_tensor *rows = cr_reshape(w, CR_SHAPE(groups, out / groups, d.channels / groups * kernel));
    cr_tensor *y = cr_reshape(cr_matmul(rows, columns), CR_SHAPE(batch, out, d.out_h, d.out_w));
    onnx_give(call, 0, bias ? cr_add(y, cr_reshape(bias, CR_SHAPE(-1, 1, 1))) : y);
}

/* ---- images at other places ---- */

static void run_grid_sample(struct onnx_call *call)
{
    const char *mode = onnx_string(call, "mode", "linear");
    const char *padding = onnx_string(call, "padding_mode", "zeros");
    cr_grid_sample_args args = { .x = onnx_need(call, 0),
                                 .grid = onnx_need(call, 1),
                                 .align_corners = onnx_int(call, "align_corners", 0) };
    args.mode = strcmp(mode, "nearest") == 0                                 ? CR_SAMPLE_NEAREST
                : strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0 ? CR_SAMPLE_BICUBIC
                                                                             : CR_SAMPLE_BILINEAR;
    args.padding_mode = strcmp(padding, "border") == 0       ? CR_SAMPLE_BORDER
                        : strcmp(padding, "reflection") == 0 ? CR_SAMPLE_REFLECTION
                                                             : CR_SAMPLE_ZEROS;
    onnx_give(call, 0, cr_grid_sample_with(args));
}

static void run_affine_grid(struct onnx_call *call)
{
    cr_shape size;
    if (onnx_read_ints(call, onnx_need(call, 1), &size))
        onnx_give(call, 0,
                  cr_affine_grid(onnx_need(call, 0), size, onnx_int(call, "align_corners", 0)));
}

/* fold of PyTorch, of images. */
static void run_col2im(struct onnx_call *call)
{
    cr_patch_args args = { .x = onnx_need(call, 0) };
    cr_shape pads;
    if (!onnx_read_ints(call, onnx_need(call, 1), &args.output_size) ||
        !onnx_read_ints(call, onnx_need(call, 2), &args.kernel_size))
        return;
    onnx_ints(call, "dilations", &args.dilation);
    onnx_ints(call, "strides", &args.stride);
    onnx_ints(call, "pads", &pads);
    if (args.output_size.ndim != 2 || (pads.ndim && (pads.ndim != 4 || pads.dim[0] != pads.dim[2] ||
                                                     pads.dim[1] != pads.dim[3]))) {
        onnx_refuse(call, "it is supported for images with the same padding on both sides");
        return;
    }
    if (pads.ndim)
        args.padding = CR_SHAPE(pads.dim[0], pads.dim[1]);
    onnx_give(call, 0, cr_functional_fold_with(args));
}

/* Writes each value where MaxPool found it. */
static void run_max_unpool(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *indices = onnx_need(call, 1);
    cr_shape shape = cr_shape_of(x), kernel, strides, pads;
    if (!x || !indices)
        return;
    onnx_ints(call, "kernel_shape", &kernel);
    onnx_ints(call, "strides", &strides);
    onnx_ints(call, "pads", &pads);
    cr_shape plain = shape;
    for (int d = 0; d + 2 < shape.ndim && d < kernel.ndim; d++) {
        int64_t stride = d < strides.ndim ? strides.dim[d] : 1;
        int64_t padding =
            pads.ndim == 2 * kernel.ndim ? pads.dim[d] + pads.dim[kernel.ndim + d] : 0;
        plain.dim[d + 2] = (shape.dim[d + 2] - 1) * stride + kernel.dim[d] - padding;
    }
    cr_shape out = plain;
    if (onnx_input(call, 2) && !onnx_read_ints(call, onnx_input(call, 2), &out))
        return;
    cr_tensor *zeros = cr_zeros(CR_SHAPE(cr_shape_numel(&out)), .dtype = cr_dtype_of(x));
    if (!cr_shape_equal(&plain, &out) &&
        cr_ndim(x) == 4) { /* positions are those of the plain one */
        cr_tensor *width = cr_full_like(indices, (double)plain.dim[3]);
        cr_tensor *column = cr_remainder(indices, width), *rest = cr_floor_divide(indices, width);
        cr_tensor *height = cr_full_like(indices, (double)plain.dim[2]);
        cr_tensor *row = cr_remainder(rest, height), *planes = cr_floor_divide(rest, height);
        planes = cr_add(cr_mul(planes, cr_full_like(indices, (double)out.dim[2])), row);
        indices = cr_add(cr_mul(planes, cr_full_like(indices, (double)out.dim[3])), column);
    }
    zeros = cr_scatter(zeros, 0, cr_reshape(indices, CR_SHAPE(-1)), cr_reshape(x, CR_SHAPE(-1)));
    onnx_give(call, 0, cr_reshape(zeros, out));
}

const struct onnx_operator onnx_detection_operators[] = {
    ONNX_OPERATOR("NonMaxSuppression", run_suppression),
    ONNX_OPERATOR("RoiAlign", run_roi_align),
    ONNX_OPERATOR("DeformConv", run_deform_conv, .weights = 10),
    ONNX_OPERATOR("GridSample", run_grid_sample),
    ONNX_OPERATOR("AffineGrid", run_affine_grid),
    ONNX_OPERATOR("Col2Im", run_col2im),
    ONNX_OPERATOR("MaxUnpool", run_max_unpool),
    ONNX_OPERATORS_END
};
