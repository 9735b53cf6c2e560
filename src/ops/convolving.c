/* Convolutions and transposed convolutions over one to three dimensions.
 *
 * Three kernels make a closed family: the convolution, its gradient by the input (which is the
 * transposed convolution) and its gradient by the weight. The gradients of each are written with
 * the others, so they have gradients of any order. */
#include <math.h>
#include <string.h>

#include "cresset/conv_norm.h"
#include "kernels/conv/conv.h"
#include "ops/ops.h"

#define WORKSPACE_UNIT 64

struct convolution_attributes {
    cr_shape stride;
    cr_shape padding;
    cr_shape dilation;
    int64_t groups;
    cr_shape output_padding; /* of a transposed convolution */
    cr_shape kernel;         /* of a gradient by the weight */
};

static const cr_attribute convolution_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE_END,
};

static const cr_attribute transpose_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, output_padding),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE_END,
};

static const cr_attribute weight_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, kernel),
    CR_ATTRIBUTE_END,
};

/* ---- checks ---- */

/* The most that a stride, a padding or a dilation may be: far above use, and products fit. */
#define SETTING_MAX (1 << 30)

/* A list of settings with one value for each spatial dimension, none below `least`. */
static cr_status complete_list(cr_shape *list, int spatial, int64_t otherwise, int64_t least,
                               const char *what)
{
    if (list->ndim > 1 && list->ndim != spatial)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "%s has %d values, but there must be one, or one for each of the "
                            "spatial dimensions, which are %d",
                            what, list->ndim, spatial);
    int64_t first = list->ndim ? list->dim[0] : otherwise;
    for (int d = 0; d < spatial; d++) {
        if (list->ndim <= 1)
            list->dim[d] = first;
        if (list->dim[d] < least)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s must be at least %lld, not %lld", what,
                                (long long)least, (long long)list->dim[d]);
        if (list->dim[d] > SETTING_MAX)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s must be at most %d, not %lld", what,
                                SETTING_MAX, (long long)list->dim[d]);
    }
    list->ndim = spatial;
    return CR_OK;
}

static cr_status complete_attributes(struct convolution_attributes *a, int spatial)
{
    if (a->groups == 0)
        a->groups = 1;
    if (a->groups < 0 || a->groups > SETTING_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "groups must be between 1 and %d, not %lld",
                            SETTING_MAX, (long long)a->groups);
    if (complete_list(&a->stride, spatial, 1, 1, "stride") != CR_OK ||
        complete_list(&a->padding, spatial, 0, 0, "padding") != CR_OK ||
        complete_list(&a->output_padding, spatial, 0, 0, "output_padding") != CR_OK)
        return cr_error_status();
    return complete_list(&a->dilation, spatial, 1, 1, "dilation");
}

/* Checks the dtypes and numbers of dimensions of x and weight. */
static cr_status check_operands(const cr_infer_call *call, int spatial, const char *names[2],
                                int other_least)
{
    const cr_tensor *x = call->inputs[0], *other = call->inputs[1];
    if (require_ndim(x, names[0], spatial + 1, spatial + 2) != CR_OK ||
        require_ndim(other, names[1], other_least, spatial + 2) != CR_OK ||
        require_floating(x, names[0]) != CR_OK)
        return cr_error_status();
    for (int i = 1; i < call->input_count; i++) {
        if (call->inputs[i] && call->inputs[i]->dtype != x->dtype)
            return cr_error_set(CR_ERROR_DTYPE,
                                "operands must have one dtype, not %s and %s; convert one with "
                                "cr_to_dtype",
                                cr_dtype_name((cr_dtype)x->dtype),
                                cr_dtype_name((cr_dtype)call->inputs[i]->dtype));
    }
    return CR_OK;
}

static cr_status check_bias(const cr_infer_call *call, int64_t channels)
{
    const cr_tensor *bias = CALL_INPUT(call, 2);
    if (!bias || (bias->shape.ndim == 1 && bias->shape.dim[0] == channels))
        return CR_OK;
    char text[CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "bias must have shape (%lld,), one for each output "
                        "channel, not %s",
                        (long long)channels, cr_shape_format(&bias->shape, text, CR_SHAPE_TEXT));
}

static cr_status refuse_channels(const cr_tensor *x, const cr_tensor *weight, int64_t groups)
{
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "the channels of x %s do not fit weight %s in %lld groups",
                        cr_shape_format(&x->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(&weight->shape, text[1], CR_SHAPE_TEXT), (long long)groups);
}

/* How far a kernel reaches along dimension d. */
static int64_t kernel_span(const struct convolution_attributes *a, int64_t kernel, int d)
{
    return (kernel - 1) * a->dilation.dim[d] + 1;
}

/* ---- which convolution an op computes ---- */

/* The number of spatial dimensions of an op: the records of a kind stand in order. */
static const cr_op convolution_records[3], transpose_records[3], weight_records[3];

static int spatial_of(const cr_op *op, const cr_op records[3])
{
    return (int)(op - records) + 1;
}

/* The convolution for which `in` and `out` are the shapes of input and output, with or without a
 * batch; sizes of unused dimensions are 1. */
static cr_conv conv_of(const struct convolution_attributes *a, int spatial, const cr_tensor *in,
                       const cr_tensor *out, const int64_t *kernel)
{
    int first = in->shape.ndim - spatial;
    cr_conv c = { .type = cr_gemm_type_of((cr_dtype)in->dtype),
                  .batch = first == 2 ? in->shape.dim[0] : 1,
                  .in_channels = in->shape.dim[first - 1],
                  .out_channels = out->shape.dim[first - 1],
                  .groups = a->groups };
    for (int d = 0; d < CR_CONV_DIMS; d++)
        c.input[d] = c.output[d] = c.kernel[d] = c.stride[d] = c.dilation[d] = 1;
    for (int d = 0; d < spatial; d++) {
        int to = CR_CONV_DIMS - spatial + d;
        c.input[to] = in->shape.dim[first + d];
        c.output[to] = out->shape.dim[first + d];
        c.kernel[to] = kernel[d];
        c.stride[to] = a->stride.dim[d];
        c.padding[to] = a->padding.dim[d];
        c.dilation[to] = a->dilation.dim[d];
    }
    return c;
}

static size_t round_workspace(size_t size)
{
    return (size + WORKSPACE_UNIT - 1) / WORKSPACE_UNIT * WORKSPACE_UNIT;
}

static cr_epilogue bias_epilogue(const cr_call *call)
{
    const cr_tensor *bias = CALL_INPUT(call, 2);
    return (cr_epilogue){ .row_bias = bias ? tensor_bytes(bias) : NULL };
}

/* ---- forms of weights that inference keeps with their storages ---- */

/* What such a form was made of. The storages' versions move when they are written. */
struct prepared_key {
    unsigned form;
    unsigned versions[4];
    const struct storage *storages[4];
    int64_t offsets[4];
    cr_shape shape;
    double eps;
};

/* Kept with the storage of the weight, and held by those who read it meanwhile. */
struct prepared {
    int references;
    struct prepared_key key;
    size_t bytes;
    float *data;
};

/* Guards what storages keep, and the counts of references. */
static atomic_flag prepared_lock = ATOMIC_FLAG_INIT;

static void lock_prepared(void)
{
    while (atomic_flag_test_and_set_explicit(&prepared_lock, memory_order_acquire))
        ;
}

static void unlock_prepared(void)
{
    atomic_flag_clear_explicit(&prepared_lock, memory_order_release);
}

static void release_prepared(void *context)
{
    struct prepared *prepared = context;
    lock_prepared();
    bool is_last = prepared && --prepared->references == 0;
    unlock_prepared();
    if (!is_last)
        return;
    cr_buffer_free(prepared->data, prepared->bytes);
    cr_free(prepared);
}

/* Training writes the weight next, and needs the memory. */
static void forget_prepared(struct storage *storage)
{
    if (storage->is_foreign)
        return;
    lock_prepared();
    struct prepared *before = storage->context;
    storage->context = NULL;
    unlock_prepared();
    release_prepared(before);
}

/* ---- conv1d, conv2d, conv3d ---- */

static cr_status infer_convolution(cr_infer_call *call, struct convolution_attributes *a,
                                   int spatial)
{
    static const char *names[] = { "x", "weight" };
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    cr_tensor_spec *out = &call->outputs[0];
    int first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, spatial + 2) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK)
        return cr_error_status();
    int64_t channels = weight->shape.dim[0];
    if (x->shape.dim[first - 1] != weight->shape.dim[1] * a->groups || channels % a->groups != 0)
        return refuse_channels(x, weight, a->groups);
    if (check_bias(call, channels) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    out->shape.dim[first - 1] = channels;
    for (int d = 0; d < spatial; d++) {
        int64_t padded = x->shape.dim[first + d] + 2 * a->padding.dim[d];
        int64_t span = kernel_span(a, weight->shape.dim[2 + d], d);
        if (weight->shape.dim[2 + d] < 1)
            return cr_error_set(CR_ERROR_SHAPE,
                                "the kernel has no elements along spatial dimension %d", d);
        if (span > padded)
            return cr_error_set(CR_ERROR_SHAPE,
                                "the kernel spans %lld along spatial dimension %d, the padded x "
                                "only %lld",
                                (long long)span, d, (long long)padded);
        out->shape.dim[first + d] = (padded - span) / a->stride.dim[d] + 1;
    }
    return CR_OK;
}

static cr_status convolution_infer(cr_infer_call *call)
{
    return infer_convolution(call, call->attributes, spatial_of(call->op, convolution_records));
}

static cr_conv convolution_of(const cr_call *call)
{
    int spatial = spatial_of(call->op, convolution_records);
    return conv_of(call->attributes, spatial, call->inputs[0], call->outputs[0],
                   call->inputs[1]->shape.dim + 2);
}

static size_t convolution_workspace(const cr_call *call)
{
    cr_conv c = convolution_of(call);
    return cr_conv_forward_workspace(&c);
}

static void convolution_forward(const cr_call *call)
{
    cr_conv c = convolution_of(call);
    if (cr_grad_enabled())
        forget_prepared(call->inputs[1]->storage);
    cr_epilogue epilogue = bias_epilogue(call);
    cr_conv_forward(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]), NULL,
                    &epilogue, tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t convolution_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[1]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->outputs[0]) * each;
}

/* ---- conv_transpose1d, 2d, 3d ---- */

static cr_status transpose_infer(cr_infer_call *call)
{
    static const char *names[] = { "x", "weight" };
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    struct convolution_attributes *a = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    int spatial = spatial_of(call->op, transpose_records), first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, spatial + 2) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK)
        return cr_error_status();
    if (x->shape.dim[first - 1] != weight->shape.dim[0] || weight->shape.dim[0] % a->groups != 0)
        return refuse_channels(x, weight, a->groups);
    if (check_bias(call, weight->shape.dim[1] * a->groups) != CR_OK)
        return cr_error_status();
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    out->shape.dim[first - 1] = weight->shape.dim[1] * a->groups;
    for (int d = 0; d < spatial; d++) {
        int64_t more = a->output_padding.dim[d];
        if (more >= CR_MAX(a->stride.dim[d], a->dilation.dim[d]))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "output_padding %lld must be less than stride or dilation",
                                (long long)more);
        int64_t size = (x->shape.dim[first + d] - 1) * a->stride.dim[d] - 2 * a->padding.dim[d] +
                       kernel_span(a, weight->shape.dim[2 + d], d) + more;
        if (size < 1)
            return cr_error_set(CR_ERROR_SHAPE,
                                "x is too small: spatial dimension %d of the result would be %lld",
                                d, (long long)size);
        out->shape.dim[first + d] = size;
    }
    return CR_OK;
}

static cr_conv transpose_of(const cr_call *call)
{
    int spatial = spatial_of(call->op, transpose_records);
    return conv_of(call->attributes, spatial, call->outputs[0], call->inputs[0],
                   call->inputs[1]->shape.dim + 2);
}

static size_t transpose_workspace(const cr_call *call)
{
    cr_conv c = transpose_of(call);
    return cr_conv_backward_data_workspace(&c);
}

static void transpose_forward(const cr_call *call)
{
    cr_conv c = transpose_of(call);
    cr_epilogue epilogue = bias_epilogue(call);
    cr_conv_backward_data(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]),
                          &epilogue, tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t transpose_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[1]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->inputs[0]) * each;
}

/* ---- gradients by the weight ---- */

static cr_status weight_infer(cr_infer_call *call)
{
    static const char *names[] = { "x", "grad" };
    const cr_tensor *x = call->inputs[0], *grad = call->inputs[1];
    struct convolution_attributes *a = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    int spatial = spatial_of(call->op, weight_records), first = x->shape.ndim - spatial;
    if (check_operands(call, spatial, names, x->shape.ndim) != CR_OK ||
        complete_attributes(a, spatial) != CR_OK ||
        complete_list(&a->kernel, spatial, 1, 1, "kernel") != CR_OK)
        return cr_error_status();
    int64_t in = x->shape.dim[first - 1], channels = grad->shape.dim[first - 1];
    if (in % a->groups != 0 || channels % a->groups != 0 ||
        (first == 2 && x->shape.dim[0] != grad->shape.dim[0]))
        return refuse_channels(x, grad, a->groups);
    out->dtype = (cr_dtype)x->dtype;
    out->shape.dim[0] = channels;
    out->shape.dim[1] = in / a->groups;
    out->shape.ndim = spatial + 2;
    for (int d = 0; d < spatial; d++)
        out->shape.dim[2 + d] = a->kernel.dim[d];
    return CR_OK;
}

static cr_conv weight_of(const cr_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, weight_records);
    return conv_of(a, spatial, call->inputs[0], call->inputs[1], a->kernel.dim);
}

static size_t weight_workspace(const cr_call *call)
{
    cr_conv c = weight_of(call);
    return cr_conv_backward_weight_workspace(&c);
}

static void weight_forward(const cr_call *call)
{
    cr_conv c = weight_of(call);
    cr_conv_backward_weight(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]),
                            tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t weight_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->outputs[0]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->inputs[1]) * each;
}

/* ---- the family by each other ---- */

static cr_tensor *convolve(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                           cr_tensor *weight)
{
    struct convolution_attributes settings = *a;
    settings.output_padding = cr_shape_scalar();
    return cr_apply(&convolution_records[spatial - 1], CR_INPUTS(x, weight), &settings);
}

/* The transposed convolution whose result has the spatial sizes of `shape`. */
static cr_tensor *convolve_back(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                                cr_tensor *weight, const int64_t *kernel, const cr_shape *shape)
{
    if (!x || !weight)
        return NULL;
    struct convolution_attributes settings = *a;
    settings.output_padding.ndim = spatial;
    int first = shape->ndim - spatial;
    for (int d = 0; d < spatial; d++)
        settings.output_padding.dim[d] = shape->dim[first + d] -
                                         (x->shape.dim[first + d] - 1) * a->stride.dim[d] +
                                         2 * a->padding.dim[d] - kernel_span(a, kernel[d], d);
    return cr_apply(&transpose_records[spatial - 1], CR_INPUTS(x, weight), &settings);
}

static cr_tensor *weight_gradient(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                                  cr_tensor *grad, const int64_t *kernel)
{
    struct convolution_attributes settings = *a;
    settings.kernel = cr_shape_make(spatial, kernel);
    return cr_apply(&weight_records[spatial - 1], CR_INPUTS(x, grad), &settings);
}

/* Sizes beyond those of `shape` cut off: a convolution may read a step further than it was asked.
 */
static cr_tensor *cut_to(cr_tensor *x, const cr_shape *shape)
{
    for (int d = 0; x && d < shape->ndim; d++) {
        if (x->shape.dim[d] > shape->dim[d])
            x = cr_narrow(x, d, 0, shape->dim[d]);
    }
    return x;
}

/* The sum over everything but the channels. */
static cr_tensor *bias_gradient(cr_tensor *grad, int spatial)
{
    cr_shape dims = { 0 };
    for (int d = 0; grad && d < grad->shape.ndim; d++) {
        if (d != grad->shape.ndim - spatial - 1)
            dims.dim[dims.ndim++] = d;
    }
    return cr_sum_dims(grad, dims, false);
}

static cr_status convolution_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, convolution_records);
    cr_tensor *grad = call->grad_outputs[0];
    const int64_t *kernel = call->input_specs[1].shape.dim + 2;
    if (call->needs[0])
        call->grad_inputs[0] =
            convolve_back(a, spatial, grad, call->inputs[1], kernel, &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] = weight_gradient(a, spatial, call->inputs[0], grad, kernel);
    if (call->input_count > 2 && call->needs[2])
        call->grad_inputs[2] = bias_gradient(grad, spatial);
    return CR_OK;
}

static cr_status transpose_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, transpose_records);
    cr_tensor *grad = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] =
            cut_to(convolve(a, spatial, grad, call->inputs[1]), &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] =
            weight_gradient(a, spatial, grad, call->inputs[0], call->input_specs[1].shape.dim + 2);
    if (call->input_count > 2 && call->needs[2])
        call->grad_inputs[2] = bias_gradient(grad, spatial);
    return CR_OK;
}

/* The gradient by the weight is linear in both x and grad; its own gradient has a weight's shape.
 */
static cr_status weight_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, weight_records);
    cr_tensor *weight = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = convolve_back(a, spatial, call->inputs[1], weight, a->kernel.dim,
                                             &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] =
            cut_to(convolve(a, spatial, call->inputs[0], weight), &call->input_specs[1].shape);
    return CR_OK;
}

/* ---- the records ---- */

#define CONVOLUTION(op_name)                                                                       \
    {                                                                                              \
        .name = op_name,                                                                           \
        .summary = "the convolution of x with a kernel for each pair of channels",                 \
        .input_names = "x weight bias", .attributes = convolution_table,                           \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2, .max_inputs = 3, \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = convolution_infer, \
        .workspace = convolution_workspace, .forward = { [CR_CPU] = convolution_forward },         \
        .backward = convolution_backward, .multiply_adds = convolution_multiply_adds,              \
    }

static const cr_op convolution_records[3] = {
    CONVOLUTION("conv1d"),
    CONVOLUTION("conv2d"),
    CONVOLUTION("conv3d"),
};

#define TRANSPOSE(op_name)                                                                         \
    {                                                                                              \
        .name = op_name, .summary = "the transposed convolution of x, as a gradient of one",       \
        .input_names = "x weight bias", .attributes = transpose_table,                             \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2, .max_inputs = 3, \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = transpose_infer,   \
        .workspace = transpose_workspace, .forward = { [CR_CPU] = transpose_forward },             \
        .backward = transpose_backward, .multiply_adds = transpose_multiply_adds,                  \
    }

static const cr_op transpose_records[3] = {
    TRANSPOSE("conv_transpose1d"),
    TRANSPOSE("conv_transpose2d"),
    TRANSPOSE("conv_transpose3d"),
};

#define WEIGHT_GRADIENT(op_name)                                                                   \
    {                                                                                              \
        .name = op_name, .summary = "the gradient of a convolution by its weight",                 \
        .input_names = "x grad", .attributes = weight_table,                                       \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2,                  \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = weight_infer,      \
        .workspace = weight_workspace, .forward = { [CR_CPU] = weight_forward },                   \
        .backward = weight_backward, .multiply_adds = weight_multiply_adds,                        \
    }

static const cr_op weight_records[3] = {
    WEIGHT_GRADIENT("conv1d_backward"),
    WEIGHT_GRADIENT("conv2d_backward"),
    WEIGHT_GRADIENT("conv3d_backward"),
};

/* ---- with batch norm, a residual and an activation ----
 *
 * Where a gradient is wanted, and in other dtypes than float32, this is written with the ops of
 * these names. Else one kernel does it. */

enum { IN_X, IN_WEIGHT, IN_BIAS, IN_SCALE, IN_SHIFT, IN_MEAN, IN_VAR, IN_RESIDUAL, IN_COUNT };

struct conv_norm_attributes {
    struct convolution_attributes conv;
    double eps;
    int activation; /* cr_fused_activation */
};

#define SETTING(kind, field)                                                                       \
    {                                                                                              \
#field, CR_ATTRIBUTE_##kind, offsetof(struct conv_norm_attributes, conv.field)             \
    }

static const cr_attribute conv_norm_table[] = {
    SETTING(INTS, stride),
    SETTING(INTS, padding),
    SETTING(INTS, dilation),
    SETTING(INT, groups),
    CR_ATTRIBUTE(struct conv_norm_attributes, FLOAT, eps),
    CR_ATTRIBUTE(struct conv_norm_attributes, ENUM, activation),
    CR_ATTRIBUTE_END,
};

/* ---- in one kernel: float32, without gradients ---- */

static int spatial_of_weight(const cr_tensor *weight)
{
    return weight->shape.ndim - 2;
}

static cr_status native_infer(cr_infer_call *call)
{
    struct conv_norm_attributes *a = call->attributes;
    if (infer_convolution(call, &a->conv, spatial_of_weight(call->inputs[IN_WEIGHT])) != CR_OK)
        return cr_error_status();
    const cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    if (residual && !cr_shape_equal(&residual->shape, &call->outputs[0].shape))
        return cr_error_set(CR_ERROR_SHAPE, "the residual must have the shape of the result");
    for (int i = IN_SCALE; i <= IN_VAR; i++) {
        const cr_tensor *vector = CALL_INPUT(call, i);
        if (vector && tensor_numel(vector) != call->inputs[IN_WEIGHT]->shape.dim[0])
            return cr_error_set(CR_ERROR_SHAPE, "norm must have one value for each output channel");
    }
    return CR_OK;
}

static cr_conv conv_of_call(const cr_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    return conv_of(&a->conv, spatial_of_weight(weight), call->inputs[IN_X], call->outputs[0],
                   weight->shape.dim + 2);
}

/* ---- weights with norm folded in, in the form that the kernel reads ---- */

static struct prepared_key key_of(const cr_call *call, unsigned form)
{
    static const int parts[4] = { IN_WEIGHT, IN_SCALE, IN_MEAN, IN_VAR };
    const struct conv_norm_attributes *a = call->attributes;
    struct prepared_key key;
    memset(&key, 0, sizeof key); /* gaps, too: keys are compared as bytes */
    key.form = form;
    key.shape = call->inputs[IN_WEIGHT]->shape;
    key.eps = a->eps;
    for (int i = 0; i < 4; i++) {
        const cr_tensor *part = CALL_INPUT(call, parts[i]);
        if (!part)
            continue;
        key.versions[i] = tensor_version(part);
        key.storages[i] = part->storage;
        key.offsets[i] = part->offset;
    }
    return key;
}

/* What the weight's storage keeps, if it was made of the same; to be released. */
static struct prepared *find_prepared(struct storage *storage, const struct prepared_key *key)
{
    lock_prepared();
    struct prepared *kept = storage->is_foreign ? NULL : storage->context;
    if (kept && memcmp(&kept->key, key, sizeof *key) == 0)
        kept->references++;
    else
        kept = NULL;
    unlock_prepared();
    return kept;
}

static void keep_prepared(struct storage *storage, struct prepared *prepared)
{
    if (storage->is_foreign)
        return;
    lock_prepared();
    struct prepared *before = storage->context;
    storage->context = prepared;
    storage->release = release_prepared;
    prepared->references++;
    unlock_prepared();
    release_prepared(before);
}

static const float *floats_of(const cr_call *call, int i)
{
    const cr_tensor *tensor = CALL_INPUT(call, i);
    return tensor ? TENSOR_DATA(float, tensor) : NULL;
}

/* What norm multiplies a channel by. */
static float scale_of(const cr_call *call, int64_t channel)
{
    const struct conv_norm_attributes *a = call->attributes;
    const float *weight = floats_of(call, IN_SCALE), *var = floats_of(call, IN_VAR);
    float invstd = (float)(1 / sqrt((double)var[channel] + a->eps));
    return weight ? weight[channel] * invstd : invstd;
}

static void fold_weights(const cr_call *call, float *to)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    const float *from = TENSOR_DATA(float, weight);
    int64_t channels = weight->shape.dim[0], each = channels ? tensor_numel(weight) / channels : 0;
    for (int64_t channel = 0; channel < channels; channel++) {
        float scale = scale_of(call, channel);
        for (int64_t i = 0; i < each; i++)
            *to++ = scale * *from++;
    }
}

/* Fills in `prepared`: the folded weights, packed where the kernel has a form of its own. */
static void prepare(const cr_call *call, const cr_conv *c, struct prepared *prepared)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    bool is_packed = cr_conv_prepared_size(c) > 0;
    if (!CALL_INPUT(call, IN_MEAN)) {
        cr_conv_prepare(c, tensor_bytes(weight), prepared->data);
        return;
    }
    size_t bytes = (size_t)tensor_numel(weight) * sizeof(float);
    float *folded = is_packed ? cr_buffer_alloc(bytes) : prepared->data;
    if (!folded)
        return;
    fold_weights(call, folded);
    if (!is_packed)
        return;
    cr_conv_prepare(c, folded, prepared->data);
    cr_buffer_free(folded, bytes);
}

/* The weights as cr_conv_forward reads them, to be released. NULL on failure, or where they are
 * read as they are. */
static struct prepared *prepared_weights(const cr_call *call, const cr_conv *c)
{
    const cr_tensor *weight = call->inputs[IN_WEIGHT];
    size_t bytes = cr_conv_prepared_size(c);
    if (!bytes && CALL_INPUT(call, IN_MEAN))
        bytes = (size_t)tensor_numel(weight) * sizeof(float);
    if (!bytes)
        return NULL;
    struct prepared_key key = key_of(call, cr_conv_prepared_form(c));
    struct prepared *prepared = find_prepared(weight->storage, &key);
    if (prepared)
        return prepared;
    prepared = cr_alloc(sizeof *prepared);
    float *data = prepared ? cr_buffer_alloc(bytes) : NULL;
    if (!data) {
        cr_free(prepared);
        return NULL;
    }
    *prepared = (struct prepared){ .references = 1, .bytes = bytes, .data = data };
    memcpy(&prepared->key, &key, sizeof key);
    prepare(call, c, prepared);
    if (!cr_failed())
        keep_prepared(weight->storage, prepared);
    return prepared;
}

/* ---- the kernel ---- */

static size_t shift_size(const cr_call *call)
{
    return round_workspace((size_t)call->inputs[IN_WEIGHT]->shape.dim[0] * sizeof(float));
}

static size_t native_workspace(const cr_call *call)
{
    cr_conv c = conv_of_call(call);
    return shift_size(call) + cr_conv_forward_workspace(&c);
}

/* What norm adds to a channel of the convolution by folded weights. */
static void fold_shift(const cr_call *call, float *shift)
{
    const float *bias = floats_of(call, IN_BIAS), *mean = floats_of(call, IN_MEAN);
    const float *added = floats_of(call, IN_SHIFT);
    for (int64_t i = 0; i < call->inputs[IN_WEIGHT]->shape.dim[0]; i++)
        shift[i] = ((bias ? bias[i] : 0) - mean[i]) * scale_of(call, i) + (added ? added[i] : 0);
}

static cr_epilogue fused_epilogue(const cr_call *call)
{
    static const cr_activation activations[CR_FUSED_COUNT] = {
        CR_ACTIVATION_NONE, CR_ACTIVATION_RELU, CR_ACTIVATION_RELU6, CR_ACTIVATION_HARDSWISH,
        CR_ACTIVATION_SILU
    };
    const struct conv_norm_attributes *a = call->attributes;
    cr_epilogue e = { .row_bias = floats_of(call, IN_BIAS),
                      .residual = floats_of(call, IN_RESIDUAL),
                      .activation = activations[a->activation] };
    if (CALL_INPUT(call, IN_MEAN)) {
        fold_shift(call, call->workspace);
        e.row_bias = call->workspace;
    }
    return e;
}

static void native_forward(const cr_call *call)
{
    cr_conv c = conv_of_call(call);
    cr_epilogue epilogue = fused_epilogue(call);
    struct prepared *prepared = prepared_weights(call, &c);
    const void *weight = prepared ? prepared->data : TENSOR_DATA(float, call->inputs[IN_WEIGHT]);
    if (!cr_failed())
        cr_conv_forward(&c, tensor_bytes(call->inputs[IN_X]), weight,
                        cr_conv_prepared_size(&c) ? weight : NULL, &epilogue,
                        tensor_bytes(call->outputs[0]), (char *)call->workspace + shift_size(call));
    release_prepared(prepared);
}

static int64_t fused_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[IN_WEIGHT]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    int64_t norm = CALL_INPUT(call, IN_MEAN) ? 1 : 0;
    return tensor_numel(call->outputs[0]) * (each + norm);
}

#define CONV_NORM                                                                                  \
    .input_names = "x weight bias norm_weight norm_bias running_mean running_var residual",        \
    .attributes = conv_norm_table, .attribute_size = sizeof(struct conv_norm_attributes),          \
    .min_inputs = 2, .max_inputs = IN_COUNT

static const cr_op native_conv_norm_activation_op = {
    .name = "native_conv_norm_activation",
    .summary = "conv_norm_activation in one pass, without gradients",
    CONV_NORM,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = native_infer,
    .workspace = native_workspace,
    .forward = { [CR_CPU] = native_forward },
    .multiply_adds = fused_multiply_adds,
};

/* ---- the choice ---- */

static bool is_native(const cr_compose_call *call)
{
    if (cr_autocast_dtype() != CR_F32)
        return false;
    for (int i = 0; i < call->input_count; i++) {
        const cr_tensor *input = call->inputs[i];
        if (input && (input->dtype != CR_F32 || !input->storage ||
                      (cr_grad_enabled() && input->requires_grad)))
            return false;
    }
    return true;
}

static cr_tensor *activate(cr_tensor *x, cr_fused_activation activation)
{
    switch (activation) {
    case CR_FUSED_RELU:
        return cr_relu(x);
    case CR_FUSED_RELU6:
        return cr_relu6(x);
    case CR_FUSED_HARDSWISH:
        return cr_hardswish(x);
    case CR_FUSED_SILU:
        return cr_silu(x);
    default:
        return x;
    }
}

static cr_tensor *compose_with_ops(cr_compose_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    cr_fused_activation activation = (cr_fused_activation)a->activation;
    cr_tensor *residual = CALL_INPUT(call, IN_RESIDUAL);
    bool relu = activation == CR_FUSED_RELU;
    cr_tensor *y =
        cr_functional_conv(call->inputs[IN_X], call->inputs[IN_WEIGHT], CALL_INPUT(call, IN_BIAS),
                           (cr_functional_conv_args){ .stride = a->conv.stride,
                                                      .padding = a->conv.padding,
                                                      .dilation = a->conv.dilation,
                                                      .groups = a->conv.groups });
    if (!CALL_INPUT(call, IN_MEAN))
        return activate(residual ? cr_add(y, residual) : y, activation);
    y = cr_functional_batch_norm(
        y, .weight = CALL_INPUT(call, IN_SCALE), .bias = CALL_INPUT(call, IN_SHIFT),
        .running_mean = CALL_INPUT(call, IN_MEAN), .running_var = CALL_INPUT(call, IN_VAR),
        .eps = a->eps, .relu = relu, .residual = residual);
    return relu ? y : activate(y, activation);
}

static cr_status conv_norm_compose(cr_compose_call *call)
{
    const struct conv_norm_attributes *a = call->attributes;
    if (!CALL_INPUT(call, IN_MEAN) != !CALL_INPUT(call, IN_VAR))
        return cr_error_set(CR_ERROR_ARGUMENT, "running_mean and running_var go together");
    if (a->activation < 0 || a->activation >= CR_FUSED_COUNT)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no activation %d", a->activation);
    int spatial = spatial_of_weight(call->inputs[IN_WEIGHT]);
    if (spatial < 1 || spatial > CR_CONV_DIMS)
        return require_ndim(call->inputs[IN_WEIGHT], "weight", 3, 5);
    if (is_native(call))
        call->outputs[0] = cr_apply(&native_conv_norm_activation_op,
                                    (cr_inputs){ call->input_count, call->inputs }, a);
    else
        call->outputs[0] = compose_with_ops(call);
    return cr_error_status();
}

static const cr_op conv_norm_activation_op = {
    .name = "conv_norm_activation",
    .summary = "a convolution, batch norm by running statistics, a residual and an activation",
    CONV_NORM,
    .compose = conv_norm_compose,
};

OP_FAMILY(convolution_ops) = {
    &convolution_records[0],
    &convolution_records[1],
    &convolution_records[2],
    &transpose_records[0],
    &transpose_records[1],
    &transpose_records[2],
    &weight_records[0],
    &weight_records[1],
    &weight_records[2],
    &conv_norm_activation_op,
    &native_conv_norm_activation_op,
    NULL,
};

/* ---- as functions ---- */

static cr_tensor *apply_by_weight(const cr_op records[3], cr_tensor *x, cr_tensor *weight,
                                  cr_tensor *bias, const cr_functional_conv_args *args)
{
    if (!x || !weight)
        return NULL;
    int spatial = weight->shape.ndim - 2;
    if (spatial < 1 || spatial > 3) {
        require_ndim(weight, "convolution: weight", 3, 5);
        return NULL;
    }
    struct convolution_attributes attributes = { .stride = args->stride,
                                                 .padding = args->padding,
                                                 .dilation = args->dilation,
                                                 .groups = args->groups,
                                                 .output_padding = args->output_padding };
    return cr_apply(&records[spatial - 1],
                    (cr_inputs){ bias ? 3 : 2, (cr_tensor *[]){ x, weight, bias } }, &attributes);
}

cr_tensor *cr_functional_conv(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                              cr_functional_conv_args args)
{
    return apply_by_weight(convolution_records, x, weight, bias, &args);
}

cr_tensor *cr_functional_conv_transpose(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                                        cr_functional_conv_args args)
{
    return apply_by_weight(transpose_records, x, weight, bias, &args);
}

cr_tensor *cr_functional_conv_norm_activation_with(cr_functional_conv_norm_activation_args args)
{
    struct conv_norm_attributes attributes = { .conv = { .stride = args.conv.stride,
                                                         .padding = args.conv.padding,
                                                         .dilation = args.conv.dilation,
                                                         .groups = args.conv.groups },
                                               .eps = args.eps == 0 ? 1e-5 : args.eps,
                                               .activation = args.activation };
    return cr_apply(&conv_norm_activation_op,
                    CR_INPUTS(args.x, args.weight, args.bias, args.norm_weight, args.norm_bias,
                              args.running_mean, args.running_var, args.residual),
                    &attributes);
}
