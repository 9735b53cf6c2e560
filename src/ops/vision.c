/* Images read at other places: resizing, sampling at the points of a grid, patches as columns, and
 * shuffles between channels and pixels. Half precision is computed in float32. */
#include "cresset/vision.h"

#include <math.h>

#include "kernels/vision/vision_kernels.h"
#include "ops/ops.h"

/* ---- interpolate ---- */

struct interpolate_attributes {
    cr_shape size;
    double scale_factor; /* 0: from the size */
    int mode;
    bool align_corners;
    bool recompute_scale_factor;
};

struct interpolate_backward_attributes {
    struct interpolate_attributes forward;
    cr_shape input;
};

static const cr_attribute interpolate_table[] = {
    CR_ATTRIBUTE(struct interpolate_attributes, INTS, size),
    CR_ATTRIBUTE(struct interpolate_attributes, FLOAT, scale_factor),
    CR_ATTRIBUTE(struct interpolate_attributes, ENUM, mode),
    CR_ATTRIBUTE(struct interpolate_attributes, BOOL, align_corners),
    CR_ATTRIBUTE(struct interpolate_attributes, BOOL, recompute_scale_factor),
    CR_ATTRIBUTE_END,
};

/* The modes of the kernel, and for how many spatial dimensions each is (0: any). */
static const struct {
    enum resize_mode kernel;
    int spatial;
} interpolate_modes[] = {
    [CR_INTERPOLATE_NEAREST] = { RESIZE_NEAREST, 0 },
    [CR_INTERPOLATE_LINEAR] = { RESIZE_LINEAR, 1 },
    [CR_INTERPOLATE_BILINEAR] = { RESIZE_LINEAR, 2 },
    [CR_INTERPOLATE_BICUBIC] = { RESIZE_CUBIC, 2 },
    [CR_INTERPOLATE_TRILINEAR] = { RESIZE_LINEAR, 3 },
    [CR_INTERPOLATE_AREA] = { RESIZE_NEAREST, 0 },
    [CR_INTERPOLATE_NEAREST_EXACT] = { RESIZE_NEAREST_EXACT, 0 },
};

/* The size asked for, one value for each spatial dimension. */
static cr_status complete_size(const struct interpolate_attributes *attributes,
                               const cr_shape *input, cr_shape *size)
{
    int spatial = input->ndim - 2;
    *size = attributes->size;
    if ((size->ndim > 0) == (attributes->scale_factor > 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "give either size or a positive scale_factor");
    if (size->ndim > 1 && size->ndim != spatial)
        return cr_error_set(CR_ERROR_ARGUMENT, "size has %d values for %d dimensions", size->ndim,
                            spatial);
    for (int i = 0; i < spatial; i++) {
        int64_t in = input->dim[i + 2];
        double scaled = floor((double)in * attributes->scale_factor);
        if (attributes->scale_factor > 0)
            size->dim[i] = scaled <= INT32_MAX ? (int64_t)scaled : INT64_MAX;
        else
            size->dim[i] = size->dim[attributes->size.ndim == 1 ? 0 : i];
        if (in < 1 || size->dim[i] < 1 || in > INT32_MAX || size->dim[i] > INT32_MAX)
            return cr_error_set(CR_ERROR_SHAPE, "spatial dimension %d goes from %lld to %lld", i,
                                (long long)in, (long long)size->dim[i]);
    }
    size->ndim = spatial;
    return CR_OK;
}

static struct resize_plan resize_plan_of(const struct interpolate_attributes *attributes,
                                         const cr_shape *input, const cr_shape *size)
{
    struct resize_plan plan = { .mode = interpolate_modes[attributes->mode].kernel,
                                .align_corners = attributes->align_corners,
                                .planes = input->dim[0] * input->dim[1] };
    for (int i = 0; i < 3; i++)
        plan.axis[i] = (struct resize_axis){ .in = 1, .out = 1 };
    for (int i = 0; i < size->ndim; i++)
        plan.axis[3 - size->ndim + i] = (struct resize_axis){
            .in = input->dim[i + 2],
            .out = size->dim[i],
            .scale = attributes->recompute_scale_factor ? 0 : attributes->scale_factor,
        };
    return plan;
}

static cr_status upsample_infer(cr_infer_call *call)
{
    const struct interpolate_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[0];
    cr_shape size;
    if (require_floating(x, "the input") != CR_OK || require_ndim(x, "the input", 3, 5) != CR_OK ||
        complete_size(attributes, &x->shape, &size) != CR_OK)
        return cr_error_status();
    int spatial = interpolate_modes[attributes->mode].spatial;
    if (spatial && spatial != x->shape.ndim - 2)
        return cr_error_set(CR_ERROR_SHAPE, "this mode takes %d spatial dimensions, not %d",
                            spatial, x->shape.ndim - 2);
    infer_same(call);
    for (int i = 0; i < size.ndim; i++)
        call->outputs[0].shape.dim[i + 2] = size.dim[i];
    return CR_OK;
}

/* The plan of a call: the larger side of the two shapes may be the input or the output. */
static struct resize_plan plan_from_shapes(const struct interpolate_attributes *attributes,
                                           const cr_shape *input, const cr_shape *output)
{
    cr_shape size = { .ndim = output->ndim - 2 };
    for (int i = 0; i < size.ndim; i++)
        size.dim[i] = output->dim[i + 2];
    return resize_plan_of(attributes, input, &size);
}

static size_t upsample_workspace(const cr_call *call)
{
    struct resize_plan plan =
        plan_from_shapes(call->attributes, &call->inputs[0]->shape, &call->outputs[0]->shape);
    return resize_table_size(&plan) + half_workspace(call);
}

static void upsample_forward(const cr_call *call)
{
    struct half_call half;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *x = computed->inputs[0];
    struct resize_plan plan =
        plan_from_shapes(call->attributes, &x->shape, &computed->outputs[0]->shape);
    resize_make_tables(&plan, (cr_dtype)x->dtype, call->workspace);
    resize_forward(&plan, (cr_dtype)x->dtype, tensor_bytes(x), tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

static cr_status upsample_backward_infer(cr_infer_call *call)
{
    const struct interpolate_backward_attributes *attributes = call->attributes;
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = attributes->input;
    return CR_OK;
}

static size_t upsample_backward_workspace(const cr_call *call)
{
    const struct interpolate_backward_attributes *attributes = call->attributes;
    struct resize_plan plan =
        plan_from_shapes(&attributes->forward, &attributes->input, &call->inputs[0]->shape);
    return resize_table_size(&plan) + half_workspace(call);
}

static void upsample_backward_forward(const cr_call *call)
{
    const struct interpolate_backward_attributes *attributes = call->attributes;
    struct half_call half;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *grad = computed->inputs[0];
    struct resize_plan plan =
        plan_from_shapes(&attributes->forward, &attributes->input, &grad->shape);
    resize_make_tables(&plan, (cr_dtype)grad->dtype, call->workspace);
    resize_backward(&plan, (cr_dtype)grad->dtype, tensor_bytes(grad),
                    tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

static const cr_op upsample_op;

static cr_status upsample_backward_backward(cr_gradient_call *call)
{
    const struct interpolate_backward_attributes *attributes = call->attributes;
    call->grad_inputs[0] =
        cr_apply(&upsample_op, CR_INPUTS(call->grad_outputs[0]), &attributes->forward);
    return CR_OK;
}

static const cr_op upsample_backward_op = {
    .name = "_upsample_backward",
    .summary = "the gradient of interpolate",
    .input_names = "grad",
    .attribute_size = sizeof(struct interpolate_backward_attributes),
    .min_inputs = 1,
    .infer = upsample_backward_infer,
    .workspace = upsample_backward_workspace,
    .forward = { [CR_CPU] = upsample_backward_forward },
    .backward = upsample_backward_backward,
};

static cr_status upsample_backward(cr_gradient_call *call)
{
    struct interpolate_backward_attributes attributes = {
        .forward = *(const struct interpolate_attributes *)call->attributes,
        .input = call->input_specs[0].shape,
    };
    call->grad_inputs[0] =
        cr_apply(&upsample_backward_op, CR_INPUTS(call->grad_outputs[0]), &attributes);
    return CR_OK;
}

/* Sizes, or one scale for the spatial dimensions, which then may depend on the input's size. */
static void set_resized(cr_onnx_call *call, const struct interpolate_attributes *attributes,
                        cr_onnx_operator *resize)
{
    const cr_onnx_spec *to = &call->output_specs[0];
    float scales[CR_MAX_DIMS] = { 1, 1 };
    if (attributes->scale_factor <= 0 || attributes->recompute_scale_factor) {
        resize->inputs[3] = cr_onnx_sizes(call, to->dim, to->ndim);
        return;
    }
    for (int d = 2; d < to->ndim; d++)
        scales[d] = (float)attributes->scale_factor;
    cr_frame frame = cr_frame_begin();
    resize->inputs[2] = cr_onnx_tensor(call, cr_from_buffer(scales, CR_SHAPE(to->ndim), CR_F32));
    cr_frame_end(frame);
}

static cr_status upsample_onnx(cr_onnx_call *call)
{
    const struct interpolate_attributes *attributes = call->attributes;
    enum resize_mode mode = interpolate_modes[attributes->mode].kernel;
    bool is_nearest = mode == RESIZE_NEAREST || mode == RESIZE_NEAREST_EXACT;
    const char *coordinates = attributes->align_corners ? "align_corners" : "half_pixel";
    if (mode == RESIZE_NEAREST)
        coordinates = "asymmetric";
    cr_onnx_operator resize = {
        .type = "Resize",
        .inputs = { call->inputs[0] },
        .attributes = { CR_ONNX_TEXT("mode", is_nearest             ? "nearest"
                                             : mode == RESIZE_CUBIC ? "cubic"
                                                                    : "linear"),
                        CR_ONNX_TEXT("coordinate_transformation_mode", coordinates),
                        CR_ONNX_TEXT("nearest_mode",
                                     mode == RESIZE_NEAREST ? "floor" : "round_prefer_ceil"),
                        CR_ONNX_FLOAT("cubic_coeff_a", -0.75) },
    };
    set_resized(call, attributes, &resize);
    return onnx_result(call, cr_onnx_add_with(call, resize));
}

static const cr_op upsample_op = {
    .name = "_upsample",
    .summary = "interpolate, but for the mode area",
    .input_names = "x",
    .attributes = interpolate_table,
    .attribute_size = sizeof(struct interpolate_attributes),
    .min_inputs = 1,
    .infer = upsample_infer,
    .workspace = upsample_workspace,
    .forward = { [CR_CPU] = upsample_forward },
    .backward = upsample_backward,
    .onnx = upsample_onnx,
};

static cr_status interpolate_area(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0];
    cr_shape size;
    if (require_ndim(x, "interpolate: the input", 3, 5) != CR_OK ||
        complete_size(call->attributes, &x->shape, &size) != CR_OK)
        return cr_error_status();
    if (size.ndim == 1)
        call->outputs[0] = cr_adaptive_avg_pool1d(x, size);
    else if (size.ndim == 2)
        call->outputs[0] = cr_adaptive_avg_pool2d(x, size);
    else
        call->outputs[0] = cr_adaptive_avg_pool3d(x, size);
    return cr_error_status();
}

static cr_status interpolate_compose(cr_compose_call *call)
{
    const struct interpolate_attributes *attributes = call->attributes;
    int mode = attributes->mode;
    if ((unsigned)mode >= (unsigned)CR_COUNT_OF(interpolate_modes))
        return cr_error_set(CR_ERROR_ARGUMENT, "interpolate: %d is not a mode", mode);
    bool is_linear = mode == CR_INTERPOLATE_LINEAR || mode == CR_INTERPOLATE_BILINEAR ||
                     mode == CR_INTERPOLATE_BICUBIC || mode == CR_INTERPOLATE_TRILINEAR;
    if (attributes->align_corners && !is_linear)
        return cr_error_set(CR_ERROR_ARGUMENT, "interpolate: align_corners is for the linear modes "
                                               "and bicubic only");
    if (mode == CR_INTERPOLATE_AREA)
        return interpolate_area(call);
    call->outputs[0] = cr_apply(&upsample_op, CR_INPUTS(call->inputs[0]), attributes);
    return cr_error_status();
}

static const cr_op interpolate_op = {
    .name = "interpolate",
    .summary = "images resized",
    .input_names = "x",
    .attributes = interpolate_table,
    .attribute_size = sizeof(struct interpolate_attributes),
    .min_inputs = 1,
    .compose = interpolate_compose,
};

cr_tensor *cr_interpolate_with(cr_interpolate_args args)
{
    struct interpolate_attributes attributes = {
        .size = args.size,
        .scale_factor = args.scale_factor,
        .mode = (int)args.mode,
        .align_corners = args.align_corners,
        .recompute_scale_factor = args.recompute_scale_factor,
    };
    return cr_apply(&interpolate_op, CR_INPUTS(args.x), &attributes);
}

/* ---- grid_sample ---- */

struct grid_attributes {
    int mode;
    int padding_mode;
    bool align_corners;
};

static const cr_attribute grid_table[] = {
    CR_ATTRIBUTE(struct grid_attributes, ENUM, mode),
    CR_ATTRIBUTE(struct grid_attributes, ENUM, padding_mode),
    CR_ATTRIBUTE(struct grid_attributes, BOOL, align_corners),
    CR_ATTRIBUTE_END,
};

static cr_status check_grid(const struct grid_attributes *attributes, const cr_tensor *x,
                            const cr_tensor *grid)
{
    if ((unsigned)attributes->mode > CR_SAMPLE_BICUBIC ||
        (unsigned)attributes->padding_mode > CR_SAMPLE_REFLECTION)
        return cr_error_set(CR_ERROR_ARGUMENT, "unknown mode or padding_mode");
    if (require_floating(x, "the input") != CR_OK || require_ndim(x, "the input", 4, 5) != CR_OK)
        return cr_error_status();
    if (x->dtype != grid->dtype)
        return cr_error_set(CR_ERROR_DTYPE, "the input is %s but the grid %s",
                            cr_dtype_name((cr_dtype)x->dtype),
                            cr_dtype_name((cr_dtype)grid->dtype));
    int last = grid->shape.ndim - 1;
    if (grid->shape.ndim != x->shape.ndim || grid->shape.dim[0] != x->shape.dim[0] ||
        grid->shape.dim[last] != x->shape.ndim - 2) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(CR_ERROR_SHAPE,
                            "a grid of shape %s does not fit an input of shape %s: it must have "
                            "the same N and hold %d coordinates a point",
                            cr_shape_format(&grid->shape, text[0], sizeof text[0]),
                            cr_shape_format(&x->shape, text[1], sizeof text[1]), x->shape.ndim - 2);
    }
    if (attributes->mode == CR_SAMPLE_BICUBIC && x->shape.ndim != 4)
        return cr_error_set(CR_ERROR_SHAPE, "bicubic takes 2 spatial dimensions, not 3");
    for (int d = 2; d < x->shape.ndim; d++) {
        if (x->shape.dim[d] < 1)
            return cr_error_set(CR_ERROR_SHAPE, "the input has no pixels");
    }
    return CR_OK;
}

static cr_status grid_sample_infer(cr_infer_call *call)
{
    const cr_tensor *grid = call->inputs[1];
    if (check_grid(call->attributes, call->inputs[0], grid) != CR_OK)
        return cr_error_status();
    infer_same(call);
    for (int d = 2; d < grid->shape.ndim; d++)
        call->outputs[0].shape.dim[d] = grid->shape.dim[d - 1];
    return CR_OK;
}

static struct sample_plan sample_plan_of(const struct grid_attributes *attributes,
                                         const cr_shape *x, const cr_shape *grid)
{
    struct sample_plan plan = { .mode = (enum sample_mode)attributes->mode,
                                .padding = (enum sample_padding)attributes->padding_mode,
                                .align_corners = attributes->align_corners,
                                .dims = x->ndim - 2,
                                .batch = x->dim[0],
                                .channels = x->dim[1],
                                .in = { 1 },
                                .points = 1 };
    for (int d = 0; d < plan.dims; d++) {
        plan.in[3 - plan.dims + d] = x->dim[d + 2];
        plan.points *= grid->dim[d + 1];
    }
    return plan;
}

static void grid_sample_forward(const cr_call *call)
{
    struct half_call half;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *x = computed->inputs[0];
    const cr_tensor *grid = computed->inputs[1];
    struct sample_plan plan = sample_plan_of(call->attributes, &x->shape, &grid->shape);
    sample_forward(&plan, (cr_dtype)x->dtype, tensor_bytes(x), tensor_bytes(grid),
                   tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

/* Of the input (grad, grid) and of the grid (grad, grid, x); both know the shape of the input. */
struct grid_backward_attributes {
    struct grid_attributes grid;
    cr_shape input;
};

static cr_status grid_input_infer(cr_infer_call *call)
{
    const struct grid_backward_attributes *attributes = call->attributes;
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = attributes->input;
    return CR_OK;
}

static cr_status grid_grid_infer(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[1]->dtype;
    call->outputs[0].shape = call->inputs[1]->shape;
    return CR_OK;
}

static void grid_backward_forward(const cr_call *call)
{
    const struct grid_backward_attributes *attributes = call->attributes;
    struct half_call half;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *grad = computed->inputs[0];
    const cr_tensor *grid = computed->inputs[1];
    cr_dtype dtype = (cr_dtype)grad->dtype;
    struct sample_plan plan = sample_plan_of(&attributes->grid, &attributes->input, &grid->shape);
    if (computed->input_count == 2)
        sample_backward_input(&plan, dtype, tensor_bytes(grad), tensor_bytes(grid),
                              tensor_bytes(computed->outputs[0]));
    else
        sample_backward_grid(&plan, dtype, tensor_bytes(grad), tensor_bytes(computed->inputs[2]),
                             tensor_bytes(grid), tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

/* Without gradients of their own, as in PyTorch. */
static const cr_op grid_input_op = {
    .name = "grid_sample_backward_input",
    .summary = "the gradient of grid_sample by its input",
    .input_names = "grad grid",
    .attribute_size = sizeof(struct grid_backward_attributes),
    .min_inputs = 2,
    .infer = grid_input_infer,
    .workspace = half_workspace,
    .forward = { [CR_CPU] = grid_backward_forward },
};

static const cr_op grid_grid_op = {
    .name = "grid_sample_backward_grid",
    .summary = "the gradient of grid_sample by its grid",
    .input_names = "grad grid x",
    .attribute_size = sizeof(struct grid_backward_attributes),
    .min_inputs = 3,
    .infer = grid_grid_infer,
    .workspace = half_workspace,
    .forward = { [CR_CPU] = grid_backward_forward },
};

static cr_status grid_sample_backward(cr_gradient_call *call)
{
    struct grid_backward_attributes attributes = {
        .grid = *(const struct grid_attributes *)call->attributes,
        .input = call->input_specs[0].shape,
    };
    cr_tensor *grad = call->grad_outputs[0];
    cr_tensor *grid = call->inputs[1];
    if (call->needs[0])
        call->grad_inputs[0] = cr_apply(&grid_input_op, CR_INPUTS(grad, grid), &attributes);
    if (call->needs[1])
        call->grad_inputs[1] =
            cr_apply(&grid_grid_op, CR_INPUTS(grad, grid, call->inputs[0]), &attributes);
    return CR_OK;
}

static cr_status grid_sample_onnx(cr_onnx_call *call)
{
    static const char *const modes[] = { "bilinear", "nearest", "bicubic" };
    static const char *const paddings[] = { "zeros", "border", "reflection" };
    const struct grid_attributes *a = call->attributes;
    if (call->input_specs[0].ndim != 4)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "of volumes");
    return onnx_result(
        call, cr_onnx_add(call, "GridSample", .inputs = { call->inputs[0], call->inputs[1] },
                          .attributes = { CR_ONNX_TEXT("mode", modes[a->mode]),
                                          CR_ONNX_TEXT("padding_mode", paddings[a->padding_mode]),
                                          CR_ONNX_INT("align_corners", a->align_corners) }));
}

static const cr_op grid_sample_op = {
    .name = "grid_sample",
    .summary = "images sampled at the points of a grid",
    .input_names = "x grid",
    .attributes = grid_table,
    .attribute_size = sizeof(struct grid_attributes),
    .min_inputs = 2,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .cast = CR_CAST_F32,
    .infer = grid_sample_infer,
    .workspace = half_workspace,
    .forward = { [CR_CPU] = grid_sample_forward },
    .backward = grid_sample_backward,
    .onnx = grid_sample_onnx,
};

cr_tensor *cr_grid_sample_with(cr_grid_sample_args args)
{
    struct grid_attributes attributes = { (int)args.mode, (int)args.padding_mode,
                                          args.align_corners };
    return cr_apply(&grid_sample_op, CR_INPUTS(args.x, args.grid), &attributes);
}

/* ---- affine_grid ---- */

struct affine_attributes {
    cr_shape size;
    bool align_corners;
};

static const cr_attribute affine_table[] = {
    CR_ATTRIBUTE(struct affine_attributes, INTS, size),
    CR_ATTRIBUTE(struct affine_attributes, BOOL, align_corners),
    CR_ATTRIBUTE_END,
};

/* Coordinate i of n in [-1, 1]: corners or centres of pixels at the ends. */
static double even_coordinate(int64_t i, int64_t n, bool align_corners)
{
    if (n <= 1)
        return 0.0;
    double aligned = -1.0 + 2.0 * (double)i / (double)(n - 1);
    return align_corners ? aligned : aligned * (double)(n - 1) / (double)n;
}

/* The points (x, y, 1) or (x, y, z, 1) of all pixels, (points, dims + 1). */
static cr_tensor *base_points(const struct affine_attributes *attributes, const cr_tensor *theta)
{
    int dims = attributes->size.ndim - 2;
    const int64_t *size = attributes->size.dim + 2;
    int64_t points = 1;
    for (int d = 0; d < dims; d++)
        points *= size[d];
    cr_tensor *base =
        cr_empty(CR_SHAPE(points, dims + 1), .dtype = CR_F64, .device = (cr_device)theta->device);
    if (!base || !base->storage)
        return cr_to_dtype(base, (cr_dtype)theta->dtype);
    double *at = TENSOR_DATA(double, base);
    for (int64_t p = 0; p < points; p++, at += dims + 1) {
        int64_t rest = p;
        for (int d = dims - 1; d >= 0; d--) {
            at[dims - 1 - d] = even_coordinate(rest % size[d], size[d], attributes->align_corners);
            rest /= size[d];
        }
        at[dims] = 1.0;
    }
    return cr_to_dtype(base, (cr_dtype)theta->dtype);
}

static cr_status affine_grid_compose(cr_compose_call *call)
{
    const struct affine_attributes *attributes = call->attributes;
    cr_tensor *theta = call->inputs[0];
    int dims = attributes->size.ndim - 2;
    cr_shape shape = { .ndim = dims + 2 };
    if (require_floating(theta, "affine_grid: theta") != CR_OK)
        return cr_error_status();
    bool fits = (dims == 2 || dims == 3) && theta->shape.ndim == 3 &&
                theta->shape.dim[0] == attributes->size.dim[0] && theta->shape.dim[1] == dims &&
                theta->shape.dim[2] == dims + 1;
    for (int d = 0; d < attributes->size.ndim; d++)
        fits = fits && attributes->size.dim[d] > 0;
    fits = fits && cr_shape_numel(&attributes->size) > 0;
    if (!fits) {
        char text[2][CR_SHAPE_TEXT];
        return cr_error_set(
            CR_ERROR_SHAPE,
            "affine_grid: theta of shape %s does not fit the size %s: for (N, C, H, "
            "W) it must be (N, 2, 3), for (N, C, D, H, W) (N, 3, 4)",
            cr_shape_format(&theta->shape, text[0], sizeof text[0]),
            cr_shape_format(&attributes->size, text[1], sizeof text[1]));
    }
    shape.dim[0] = attributes->size.dim[0];
    for (int d = 0; d < dims; d++)
        shape.dim[d + 1] = attributes->size.dim[d + 2];
    shape.dim[dims + 1] = dims;
    cr_tensor *points = base_points(attributes, theta);
    call->outputs[0] = cr_reshape(cr_matmul(points, cr_transpose(theta, 1, 2)), shape);
    return cr_error_status();
}

static const cr_op affine_grid_op = {
    .name = "affine_grid",
    .summary = "the grid of an affine map of an image",
    .input_names = "theta",
    .attributes = affine_table,
    .attribute_size = sizeof(struct affine_attributes),
    .min_inputs = 1,
    .compose = affine_grid_compose,
};

cr_tensor *cr_affine_grid(cr_tensor *theta, cr_shape size, bool align_corners)
{
    return cr_apply(&affine_grid_op, CR_INPUTS(theta),
                    &(struct affine_attributes){ size, align_corners });
}

/* ---- shuffles ---- */

struct factor_attributes {
    int64_t factor;
};

#define FACTOR_MAX (1 << 15) /* its square fits */

#define FACTOR_TABLE(name, word)                                                                   \
    static const cr_attribute name[] = {                                                           \
        { word, CR_ATTRIBUTE_INT, offsetof(struct factor_attributes, factor) },                    \
        CR_ATTRIBUTE_END,                                                                          \
    };
FACTOR_TABLE(upscale_table, "upscale_factor")
FACTOR_TABLE(downscale_table, "downscale_factor")
FACTOR_TABLE(groups_table, "groups")

/* x (…, C, H, W) as (N, C, H, W); the sizes into out[4]. */
static cr_status image_sizes(const char *name, const cr_tensor *x, int64_t *out)
{
    int lead = x->shape.ndim - 3;
    if (lead < 0)
        return cr_error_set(CR_ERROR_SHAPE, "%s: the input must have 3 dimensions or more, not %d",
                            name, x->shape.ndim);
    out[0] = 1;
    for (int d = 0; d < lead; d++)
        out[0] *= x->shape.dim[d];
    for (int i = 0; i < 3; i++)
        out[i + 1] = x->shape.dim[lead + i];
    return CR_OK;
}

/* The leading dimensions of x with other C, H and W. */
static cr_shape image_shape(const cr_tensor *x, int64_t channels, int64_t height, int64_t width)
{
    cr_shape shape = x->shape;
    shape.dim[shape.ndim - 3] = channels;
    shape.dim[shape.ndim - 2] = height;
    shape.dim[shape.ndim - 1] = width;
    return shape;
}

static cr_status pixel_shuffle_compose(cr_compose_call *call)
{
    int64_t r = ((const struct factor_attributes *)call->attributes)->factor;
    cr_tensor *x = call->inputs[0];
    int64_t size[4] = { 0 };
    if (image_sizes("pixel_shuffle", x, size) != CR_OK)
        return cr_error_status();
    if (r < 1 || r > FACTOR_MAX || size[1] % (r * r))
        return cr_error_set(CR_ERROR_SHAPE,
                            "pixel_shuffle: %lld channels do not divide by the square of the "
                            "factor %lld",
                            (long long)size[1], (long long)r);
    int64_t c = size[1] / (r * r);
    cr_tensor *parts = cr_reshape(x, CR_SHAPE(size[0], c, r, r, size[2], size[3]));
    call->outputs[0] = cr_reshape(cr_permute(parts, CR_SHAPE(0, 1, 4, 2, 5, 3)),
                                  image_shape(x, c, size[2] * r, size[3] * r));
    return cr_error_status();
}

static cr_status pixel_unshuffle_compose(cr_compose_call *call)
{
    int64_t r = ((const struct factor_attributes *)call->attributes)->factor;
    cr_tensor *x = call->inputs[0];
    int64_t size[4] = { 0 };
    if (image_sizes("pixel_unshuffle", x, size) != CR_OK)
        return cr_error_status();
    if (r < 1 || r > FACTOR_MAX || size[2] % r || size[3] % r)
        return cr_error_set(CR_ERROR_SHAPE,
                            "pixel_unshuffle: %lld x %lld pixels do not divide by the factor %lld",
                            (long long)size[2], (long long)size[3], (long long)r);
    int64_t h = size[2] / r;
    int64_t w = size[3] / r;
    cr_tensor *parts = cr_reshape(x, CR_SHAPE(size[0], size[1], h, r, w, r));
    call->outputs[0] = cr_reshape(cr_permute(parts, CR_SHAPE(0, 1, 3, 5, 2, 4)),
                                  image_shape(x, size[1] * r * r, h, w));
    return cr_error_status();
}

static cr_status channel_shuffle_compose(cr_compose_call *call)
{
    int64_t groups = ((const struct factor_attributes *)call->attributes)->factor;
    cr_tensor *x = call->inputs[0];
    if (x->shape.ndim < 3)
        return cr_error_set(CR_ERROR_SHAPE,
                            "channel_shuffle: the input must have 3 dimensions or more, not %d",
                            x->shape.ndim);
    int64_t channels = x->shape.dim[1];
    if (groups < 1 || channels % groups)
        return cr_error_set(CR_ERROR_SHAPE,
                            "channel_shuffle: %lld channels do not divide into %lld groups",
                            (long long)channels, (long long)groups);
    int64_t pixels = 1;
    for (int d = 2; d < x->shape.ndim; d++)
        pixels *= x->shape.dim[d];
    cr_tensor *parts = cr_reshape(x, CR_SHAPE(x->shape.dim[0], groups, channels / groups, pixels));
    call->outputs[0] = cr_reshape(cr_transpose(parts, 1, 2), x->shape);
    return cr_error_status();
}

#define SHUFFLE(function, text, table)                                                             \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = table,                                                                       \
        .attribute_size = sizeof(struct factor_attributes),                                        \
        .min_inputs = 1,                                                                           \
        .compose = function##_compose,                                                             \
    };                                                                                             \
    cr_tensor *cr_##function(cr_tensor *x, int64_t factor)                                         \
    {                                                                                              \
        return cr_apply(&function##_op, CR_INPUTS(x), &(struct factor_attributes){ factor });      \
    }

SHUFFLE(pixel_shuffle, "(…, C r², H, W) as (…, C, H r, W r)", upscale_table)
SHUFFLE(pixel_unshuffle, "(…, C, H r, W r) as (…, C r², H, W)", downscale_table)
SHUFFLE(channel_shuffle, "the channels of all groups taken in turn", groups_table)

/* ---- patches as columns ---- */

struct patch_attributes {
    cr_shape output_size; /* of col2im */
    cr_shape kernel_size;
    cr_shape dilation;
    cr_shape padding;
    cr_shape stride;
};

/* The table of im2col is that of col2im without its first row. */
static const cr_attribute patch_table[] = {
    CR_ATTRIBUTE(struct patch_attributes, INTS, output_size),
    CR_ATTRIBUTE(struct patch_attributes, INTS, kernel_size),
    CR_ATTRIBUTE(struct patch_attributes, INTS, dilation),
    CR_ATTRIBUTE(struct patch_attributes, INTS, padding),
    CR_ATTRIBUTE(struct patch_attributes, INTS, stride),
    CR_ATTRIBUTE_END,
};

static int64_t setting(const cr_shape *list, int i, int64_t usual)
{
    return list->ndim == 0 ? usual : list->dim[list->ndim == 1 ? 0 : i];
}

static bool is_setting(int64_t value, int64_t least)
{
    return value >= least && value <= INT32_MAX;
}

static cr_status patch_axis_make(const struct patch_attributes *attributes, int i, int64_t in,
                                 struct patch_axis *axis)
{
    *axis = (struct patch_axis){ .in = in,
                                 .kernel = setting(&attributes->kernel_size, i, 0),
                                 .stride = setting(&attributes->stride, i, 1),
                                 .padding = setting(&attributes->padding, i, 0),
                                 .dilation = setting(&attributes->dilation, i, 1) };
    if (!is_setting(axis->kernel, 1) || !is_setting(axis->stride, 1) ||
        !is_setting(axis->dilation, 1) || !is_setting(axis->padding, 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "kernel_size, stride and dilation must be positive "
                                               "32-bit numbers, and padding not negative");
    int64_t room = in + 2 * axis->padding - axis->dilation * (axis->kernel - 1) - 1;
    if (in < 1 || room < 0)
        return cr_error_set(CR_ERROR_SHAPE,
                            "a kernel of %lld with dilation %lld does not fit into %lld with "
                            "padding %lld",
                            (long long)axis->kernel, (long long)axis->dilation, (long long)in,
                            (long long)axis->padding);
    axis->out = room / axis->stride + 1;
    return CR_OK;
}

/* The plan for images of `planes` planes of height x width. */
static cr_status patch_plan_make(const struct patch_attributes *attributes, int64_t planes,
                                 int64_t height, int64_t width, struct patch_plan *plan)
{
    plan->planes = planes;
    if (patch_axis_make(attributes, 0, height, &plan->height) != CR_OK ||
        patch_axis_make(attributes, 1, width, &plan->width) != CR_OK)
        return cr_error_status();
    return CR_OK;
}

static int64_t leading(const cr_tensor *x, int trailing)
{
    int64_t count = 1;
    for (int d = 0; d < x->shape.ndim - trailing; d++)
        count *= x->shape.dim[d];
    return count;
}

static cr_status im2col_plan(const struct patch_attributes *attributes, const cr_tensor *x,
                             struct patch_plan *plan)
{
    int ndim = x->shape.ndim;
    return patch_plan_make(attributes, leading(x, 2), x->shape.dim[ndim - 2],
                           x->shape.dim[ndim - 1], plan);
}

/* Of columns (N, C kernel, L) or (C kernel, L). */
static cr_status col2im_plan(const struct patch_attributes *attributes, const cr_tensor *columns,
                             struct patch_plan *plan)
{
    if (patch_plan_make(attributes, 0, setting(&attributes->output_size, 0, 0),
                        setting(&attributes->output_size, 1, 0), plan) != CR_OK)
        return cr_error_status();
    plan->planes = leading(columns, 1) / (plan->height.kernel * plan->width.kernel);
    return CR_OK;
}

static cr_status im2col_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0];
    struct patch_plan plan;
    if (require_floating(x, "the input") != CR_OK || require_ndim(x, "the input", 3, 4) != CR_OK ||
        im2col_plan(call->attributes, x, &plan) != CR_OK)
        return cr_error_status();
    int channel = x->shape.ndim - 3;
    infer_same(call);
    cr_shape *shape = &call->outputs[0].shape;
    shape->ndim--;
    shape->dim[channel + 1] = plan.height.out * plan.width.out;
    if (__builtin_mul_overflow(shape->dim[channel], plan.height.kernel * plan.width.kernel,
                               &shape->dim[channel]))
        return cr_error_set(CR_ERROR_SHAPE, "the columns have too many elements");
    return CR_OK;
}

static cr_status col2im_infer(cr_infer_call *call)
{
    const cr_tensor *columns = call->inputs[0];
    struct patch_plan plan;
    if (require_floating(columns, "the input") != CR_OK ||
        require_ndim(columns, "the input", 2, 3) != CR_OK ||
        col2im_plan(call->attributes, columns, &plan) != CR_OK)
        return cr_error_status();
    int channel = columns->shape.ndim - 2;
    int64_t taps = plan.height.kernel * plan.width.kernel;
    int64_t patches = plan.height.out * plan.width.out;
    if (columns->shape.dim[channel] % taps || columns->shape.dim[channel + 1] != patches)
        return cr_error_set(CR_ERROR_SHAPE,
                            "columns of %lld elements and %lld patches do not fit kernels of %lld "
                            "elements and %lld patches of the output",
                            (long long)columns->shape.dim[channel],
                            (long long)columns->shape.dim[channel + 1], (long long)taps,
                            (long long)patches);
    infer_same(call);
    cr_shape *shape = &call->outputs[0].shape;
    shape->ndim++;
    shape->dim[channel] /= taps;
    shape->dim[channel + 1] = plan.height.in;
    shape->dim[channel + 2] = plan.width.in;
    return CR_OK;
}

static void im2col_forward(const cr_call *call)
{
    struct half_call half;
    struct patch_plan plan;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *x = computed->inputs[0];
    if (im2col_plan(call->attributes, x, &plan) == CR_OK)
        patch_unfold(&plan, (cr_dtype)x->dtype, tensor_bytes(x),
                     tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

static void col2im_forward(const cr_call *call)
{
    struct half_call half;
    struct patch_plan plan;
    const cr_call *computed = half_begin(&half, call);
    const cr_tensor *columns = computed->inputs[0];
    if (col2im_plan(call->attributes, columns, &plan) == CR_OK)
        patch_fold(&plan, (cr_dtype)columns->dtype, tensor_bytes(columns),
                   tensor_bytes(computed->outputs[0]));
    half_end(computed, call);
}

static const cr_op im2col_op;
static const cr_op col2im_op;

/* Each is the gradient of the other. */
static cr_status im2col_backward(cr_gradient_call *call)
{
    struct patch_attributes attributes = *(const struct patch_attributes *)call->attributes;
    const cr_shape *shape = &call->input_specs[0].shape;
    attributes.output_size = CR_SHAPE(shape->dim[shape->ndim - 2], shape->dim[shape->ndim - 1]);
    call->grad_inputs[0] = cr_apply(&col2im_op, CR_INPUTS(call->grad_outputs[0]), &attributes);
    return CR_OK;
}

static cr_status col2im_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] = cr_apply(&im2col_op, CR_INPUTS(call->grad_outputs[0]), call->attributes);
    return CR_OK;
}

#define PATCH_RECORD(function, text, table)                                                        \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = table,                                                                       \
        .attribute_size = sizeof(struct patch_attributes),                                         \
        .min_inputs = 1,                                                                           \
        .infer = function##_infer,                                                                 \
        .workspace = half_workspace,                                                               \
        .forward = { [CR_CPU] = function##_forward },                                              \
        .backward = function##_backward,                                                           \
    };

PATCH_RECORD(im2col, "the patches of an image as columns", patch_table + 1)
PATCH_RECORD(col2im, "columns added up to an image", patch_table)

/* One value for both dimensions, or a list of two. */
static cr_status check_pairs(const char *name, const struct patch_attributes *attributes)
{
    const cr_shape *lists[] = { &attributes->output_size, &attributes->kernel_size,
                                &attributes->dilation, &attributes->padding, &attributes->stride };
    for (int i = 0; i < CR_COUNT_OF(lists); i++) {
        if (lists[i]->ndim > 2)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s: a setting has %d values for 2 dimensions",
                                name, lists[i]->ndim);
    }
    return CR_OK;
}

static struct patch_attributes patch_attributes_of(const cr_patch_args *args)
{
    struct patch_attributes attributes = { .output_size = args->output_size,
                                           .kernel_size = args->kernel_size,
                                           .dilation = args->dilation,
                                           .padding = args->padding,
                                           .stride = args->stride };
    return attributes;
}

cr_tensor *cr_functional_unfold_with(cr_patch_args args)
{
    struct patch_attributes attributes = patch_attributes_of(&args);
    if (check_pairs("im2col", &attributes) != CR_OK)
        return NULL;
    return cr_apply(&im2col_op, CR_INPUTS(args.x), &attributes);
}

cr_tensor *cr_functional_fold_with(cr_patch_args args)
{
    struct patch_attributes attributes = patch_attributes_of(&args);
    if (check_pairs("col2im", &attributes) != CR_OK)
        return NULL;
    return cr_apply(&col2im_op, CR_INPUTS(args.x), &attributes);
}

OP_FAMILY(vision_ops) = {
    &interpolate_op,
    &upsample_op,
    &upsample_backward_op,
    &grid_sample_op,
    &grid_input_op,
    &grid_grid_op,
    &affine_grid_op,
    &pixel_shuffle_op,
    &pixel_unshuffle_op,
    &channel_shuffle_op,
    &im2col_op,
    &col2im_op,
    NULL,
};
