/* Pooling: maxima, means and their adaptive kinds, in 1, 2 and 3 dimensions.
 *
 * All dimensions share one implementation; the records differ in name and number of dimensions. A
 * maximum keeps where it was found as a hidden output, one byte each where the window allows it.
 * Half precision is computed in float32, in the workspace. */
#include <string.h>

#include "cresset/pooling.h"

#include <string.h>

#include "kernels/pool/pool.h"
#include "ops/ops.h"

enum index_kind { INDEX_HIDDEN, INDEX_INT64 };

struct pool_attributes {
    cr_shape kernel_size; /* of adaptive pooling: the size of the result */
    cr_shape stride;
    cr_shape padding;
    cr_shape dilation;
    int64_t divisor_override;
    bool ceil_mode;
    bool count_include_pad;
    bool is_adaptive;
    int indices; /* enum index_kind */
};

/* Of the ops of gradients: the sizes of the input besides. */
struct pool_backward_attributes {
    struct pool_attributes pool;
    cr_shape input;
};

#define FIELD(word, kind, field)                                                                   \
    {                                                                                              \
        word, CR_ATTRIBUTE_##kind, offsetof(struct pool_attributes, field)                         \
    }

static const cr_attribute max_table[] = {
    FIELD("kernel_size", INTS, kernel_size),
    FIELD("stride", INTS, stride),
    FIELD("padding", INTS, padding),
    FIELD("dilation", INTS, dilation),
    FIELD("ceil_mode", BOOL, ceil_mode),
    FIELD("return_indices", ENUM, indices),
    CR_ATTRIBUTE_END,
};

static const cr_attribute avg_table[] = {
    FIELD("kernel_size", INTS, kernel_size),
    FIELD("stride", INTS, stride),
    FIELD("padding", INTS, padding),
    FIELD("ceil_mode", BOOL, ceil_mode),
    FIELD("count_include_pad", BOOL, count_include_pad),
    FIELD("divisor_override", INT, divisor_override),
    CR_ATTRIBUTE_END,
};

static const cr_attribute adaptive_table[] = {
    FIELD("output_size", INTS, kernel_size),
    FIELD("return_indices", ENUM, indices),
    CR_ATTRIBUTE_END,
};

/* ---- settings ---- */

/* The most that a setting may be: far above use, and products fit. */
#define SETTING_MAX (1 << 30)

/* One value for each spatial dimension: a list, one value for all, or none for the usual. */
static cr_status complete_list(const char *what, cr_shape *list, int spatial, const cr_shape *usual)
{
    if (list->ndim == 0)
        *list = *usual;
    else if (list->ndim == 1)
        for (int i = 1; i < spatial; i++)
            list->dim[i] = list->dim[0];
    else if (list->ndim != spatial)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has %d values for %d dimensions", what,
                            list->ndim, spatial);
    list->ndim = spatial;
    for (int i = 0; i < spatial; i++) {
        if (list->dim[i] > SETTING_MAX)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s must be at most %d, not %lld", what,
                                SETTING_MAX, (long long)list->dim[i]);
    }
    return CR_OK;
}

static cr_shape filled(int spatial, int64_t value)
{
    cr_shape list = { .ndim = spatial };
    for (int i = 0; i < spatial; i++)
        list.dim[i] = value;
    return list;
}

static cr_status complete_settings(struct pool_attributes *pool, int spatial)
{
    cr_shape ones = filled(spatial, 1);
    cr_shape zeros = filled(spatial, 0);
    if (pool->kernel_size.ndim == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s is missing",
                            pool->is_adaptive ? "output_size" : "kernel_size");
    if (complete_list("kernel_size", &pool->kernel_size, spatial, &ones) != CR_OK ||
        complete_list("stride", &pool->stride, spatial, &pool->kernel_size) != CR_OK ||
        complete_list("padding", &pool->padding, spatial, &zeros) != CR_OK ||
        complete_list("dilation", &pool->dilation, spatial, &ones) != CR_OK)
        return cr_error_status();
    return CR_OK;
}

static cr_status check_axis(const struct pool_axis *axis, int i)
{
    if (axis->kernel < 1 || axis->stride < 1 || axis->dilation < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "kernel, stride and dilation must be positive, but are %lld, %lld and "
                            "%lld in spatial dimension %d",
                            (long long)axis->kernel, (long long)axis->stride,
                            (long long)axis->dilation, i);
    if (axis->padding < 0 || axis->padding > axis->kernel / 2)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "padding must be between 0 and half of the kernel %lld, but is %lld",
                            (long long)axis->kernel, (long long)axis->padding);
    if (axis->in < 1 || (axis->padding > 0 && axis->dilation > axis->in))
        return cr_error_set(CR_ERROR_SHAPE,
                            "spatial dimension %d of size %lld is too small for dilation %lld", i,
                            (long long)axis->in, (long long)axis->dilation);
    return CR_OK;
}

/* The number of outputs along an axis, by PyTorch's formula. */
static int64_t output_size(const struct pool_axis *axis, bool ceil_mode)
{
    int64_t room = axis->in + 2 * axis->padding - axis->dilation * (axis->kernel - 1) - 1;
    if (room < 0 && !(ceil_mode && room + axis->stride > 0))
        return 0;
    int64_t out = (room + (ceil_mode ? axis->stride - 1 : 0)) / axis->stride + 1;
    /* The last window must begin inside the input or the padding before it. */
    return ceil_mode && (out - 1) * axis->stride >= axis->in + axis->padding ? out - 1 : out;
}

/* Sizes that divide make an adaptive axis an ordinary one. */
static struct pool_axis adaptive_axis(int64_t in, int64_t out)
{
    bool divides = out > 0 && in % out == 0;
    return (struct pool_axis){ .in = in,
                               .out = out,
                               .kernel = divides ? in / out : 1,
                               .stride = divides ? in / out : 1,
                               .dilation = 1,
                               .is_adaptive = !divides };
}

/* The axes and planes of a pooling of `input` (N, C, spatial…) or (C, spatial…); completes the
 * attributes. */
static cr_status make_plan(struct pool_attributes *pool, const cr_shape *input, int spatial,
                           struct pool_plan *plan)
{
    *plan = (struct pool_plan){ .planes = 1,
                                .count_exclude_pad = !pool->count_include_pad,
                                .divisor = pool->divisor_override };
    for (int i = 0; i < 3; i++)
        plan->axis[i] = adaptive_axis(1, 1);
    for (int d = 0; d < input->ndim - spatial; d++)
        plan->planes *= input->dim[d];
    if (complete_settings(pool, spatial) != CR_OK)
        return cr_error_status();
    int64_t taps = 1;
    bool has_taps = true;
    for (int i = 0; i < spatial; i++) {
        struct pool_axis *axis = &plan->axis[3 - spatial + i];
        int64_t in = input->dim[input->ndim - spatial + i];
        if (pool->is_adaptive) {
            int64_t out = pool->kernel_size.dim[i];
            if (in < 1 || out < -1)
                return cr_error_set(CR_ERROR_SHAPE,
                                    "%lld elements along spatial dimension %d cannot become %lld",
                                    (long long)in, i, (long long)out);
            *axis = adaptive_axis(in, out == -1 ? in : out);
        } else {
            *axis = (struct pool_axis){ .in = in,
                                        .kernel = pool->kernel_size.dim[i],
                                        .stride = pool->stride.dim[i],
                                        .padding = pool->padding.dim[i],
                                        .dilation = pool->dilation.dim[i] };
            if (check_axis(axis, i) != CR_OK)
                return cr_error_status();
            axis->out = output_size(axis, pool->ceil_mode);
        }
        has_taps = has_taps && !axis->is_adaptive && axis->kernel <= 256;
        taps *= has_taps ? axis->kernel : 1;
    }
    if (pool->indices == INDEX_INT64)
        plan->index = POOL_FLAT_I64;
    else if (has_taps && taps <= 256)
        plan->index = POOL_TAP_U8;
    else
        plan->index = pool_inputs(plan) > INT32_MAX ? POOL_FLAT_I64 : POOL_FLAT_I32;
    return CR_OK;
}

static cr_dtype index_dtype(enum pool_index index)
{
    return index == POOL_TAP_U8 ? CR_U8 : index == POOL_FLAT_I32 ? CR_I32 : CR_I64;
}

/* ---- shapes ---- */

static cr_status check_outputs(const struct pool_plan *plan, const cr_tensor *x, int spatial)
{
    char text[CR_SHAPE_TEXT];
    for (int i = 3 - spatial; i < 3; i++) {
        const struct pool_axis *axis = &plan->axis[i];
        if (!axis->is_adaptive && axis->out < 1)
            return cr_error_set(CR_ERROR_SHAPE,
                                "the input of shape %s is too small: its window of %lld does not "
                                "fit into %lld with padding %lld",
                                cr_shape_format(&x->shape, text, sizeof text),
                                (long long)axis->kernel, (long long)axis->in,
                                (long long)axis->padding);
    }
    return CR_OK;
}

static cr_status pool_infer(cr_infer_call *call, int spatial, bool is_adaptive, bool gives_indices)
{
    const cr_tensor *x = call->inputs[0];
    struct pool_attributes *pool = call->attributes;
    struct pool_plan plan;
    pool->is_adaptive = is_adaptive;
    if (require_floating(x, "the input") != CR_OK ||
        require_ndim(x, "the input", spatial + 1, spatial + 2) != CR_OK ||
        make_plan(pool, &x->shape, spatial, &plan) != CR_OK ||
        check_outputs(&plan, x, spatial) != CR_OK)
        return cr_error_status();
    infer_same(call);
    cr_shape *shape = &call->outputs[0].shape;
    for (int i = 0; i < spatial; i++)
        shape->dim[shape->ndim - spatial + i] = plan.axis[3 - spatial + i].out;
    if (gives_indices) {
        call->outputs[1].dtype = index_dtype(plan.index);
        call->outputs[1].shape = *shape;
    }
    return CR_OK;
}

/* ---- kernels: x (or the gradient) is input 0, y output 0, `index` of maxima ---- */

static void run_pool(const cr_call *call, const struct pool_plan *plan, enum pool_kind kind,
                     const cr_tensor *index)
{
    const cr_tensor *x = call->inputs[0];
    struct pool_buffers buffers = { tensor_bytes(x), tensor_bytes(call->outputs[0]),
                                    index ? tensor_bytes(index) : NULL };
    pool_run(plan, kind, (cr_dtype)x->dtype, buffers, call->workspace);
}

static int64_t plane_of(const cr_tensor *tensor, int spatial)
{
    int64_t elements = 1;
    for (int d = tensor->shape.ndim - spatial; d < tensor->shape.ndim; d++)
        elements *= tensor->shape.dim[d];
    return elements;
}

static size_t forward_workspace(const cr_call *call, int spatial)
{
    const cr_tensor *x = call->inputs[0];
    return pool_workspace((cr_dtype)x->dtype, plane_of(x, spatial),
                          plane_of(call->outputs[0], spatial));
}

static size_t backward_workspace(const cr_call *call, int spatial)
{
    const cr_tensor *grad = call->inputs[0];
    return pool_workspace((cr_dtype)grad->dtype, plane_of(call->outputs[0], spatial),
                          plane_of(grad, spatial));
}

/* The plan again: infer has checked all that it is made from. */
static void forward_of(const cr_call *call, int spatial, enum pool_kind kind)
{
    struct pool_attributes pool = *(const struct pool_attributes *)call->attributes;
    struct pool_plan plan;
    if (make_plan(&pool, &call->inputs[0]->shape, spatial, &plan) == CR_OK)
        run_pool(call, &plan, kind, kind == POOL_MAX ? call->outputs[1] : NULL);
}

static void backward_of(const cr_call *call, int spatial, enum pool_kind kind)
{
    struct pool_backward_attributes attributes =
        *(const struct pool_backward_attributes *)call->attributes;
    struct pool_plan plan;
    if (make_plan(&attributes.pool, &attributes.input, spatial, &plan) == CR_OK)
        run_pool(call, &plan, kind, call->input_count > 1 ? call->inputs[1] : NULL);
}

/* ---- gradients ---- */

/* Of the shape of the input of the pooling. */
static cr_status backward_infer(cr_infer_call *call)
{
    const struct pool_backward_attributes *attributes = call->attributes;
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = attributes->input;
    return CR_OK;
}

/* Of the shape of the places that are read. */
static cr_status gather_infer(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = call->inputs[1]->shape;
    return CR_OK;
}

static struct pool_backward_attributes backward_attributes(const cr_gradient_call *call)
{
    struct pool_backward_attributes attributes = {
        .pool = *(const struct pool_attributes *)call->attributes,
        .input = call->input_specs[0].shape,
    };
    return attributes;
}

/* ---- in ONNX ---- */

/* Windows of one number of dimensions; `excludes` is for means, which count what they cover. */
static cr_onnx_value write_windows(cr_onnx_call *call, const char *type,
                                   const struct pool_attributes *a, cr_onnx_value x)
{
    int spatial = a->kernel_size.ndim;
    bool is_mean = strcmp(type, "AveragePool") == 0;
    cr_shape pads = { .ndim = 2 * spatial };
    for (int d = 0; d < spatial; d++)
        pads.dim[d] = pads.dim[spatial + d] = a->padding.dim[d];
    cr_onnx_operator operation = {
        .type = type,
        .inputs = { x },
        .attributes = { CR_ONNX_INTS("kernel_shape", a->kernel_size),
                        CR_ONNX_INTS("strides", a->stride), CR_ONNX_INTS("pads", pads),
                        CR_ONNX_INT("ceil_mode", a->ceil_mode),
                        CR_ONNX_INT("count_include_pad", a->count_include_pad) },
    };
    if (!is_mean)
        operation.attributes[4] = (cr_onnx_attribute)CR_ONNX_INTS("dilations", a->dilation);
    return cr_onnx_add_with(call, operation);
}

/* The weights (out, in) of the means of adaptive windows along one dimension. */
static cr_onnx_value mean_weights(cr_onnx_call *call, int64_t in, int64_t out, bool is_transposed)
{
    if (cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    cr_tensor *weights = cr_zeros(CR_SHAPE(out, in));
    for (int64_t o = 0; o < out && weights; o++) {
        int64_t begin = o * in / out, end = CR_DIV_UP((o + 1) * in, out);
        for (int64_t i = begin; i < end; i++)
            TENSOR_DATA(float, weights)[o * in + i] = 1 / (float)(end - begin);
    }
    if (is_transposed)
        weights = cr_transpose(weights, 0, 1);
    cr_onnx_value made = cr_onnx_tensor(call, cr_to_dtype(weights, call->input_specs[0].dtype));
    cr_frame_end(frame);
    return made;
}

/* Means of windows of different sizes are products with matrices, one a dimension. */
static cr_status write_uneven_means(cr_onnx_call *call, const cr_shape *in, const cr_shape *out)
{
    cr_onnx_value y = call->inputs[0];
    int spatial = in->ndim;
    if (spatial > 2)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "of three dimensions whose sizes are no multiples of output_size");
    if (spatial == 2)
        y = cr_onnx_binary(call, "MatMul", mean_weights(call, in->dim[0], out->dim[0], false), y);
    return onnx_result(call, cr_onnx_binary(call, "MatMul", y,
                                            mean_weights(call, in->dim[spatial - 1],
                                                         out->dim[spatial - 1], true)));
}

static cr_status write_adaptive(cr_onnx_call *call, const struct pool_attributes *a, bool is_max)
{
    int spatial = a->kernel_size.ndim, first = call->input_specs[0].ndim - spatial;
    struct pool_attributes windows = { .count_include_pad = true };
    cr_shape in = { .ndim = spatial }, out = in;
    bool is_global = true, is_even = true;
    for (int d = 0; d < spatial; d++)
        is_global = is_global && a->kernel_size.dim[d] == 1;
    if (is_global && first == 2)
        return onnx_direct(call, is_max ? "GlobalMaxPool" : "GlobalAveragePool");
    windows.kernel_size = windows.stride = windows.dilation = filled(spatial, 1);
    windows.padding = filled(spatial, 0);
    for (int d = 0; d < spatial; d++) {
        in.dim[d] = cr_onnx_fixed_size(call, 0, first + d);
        out.dim[d] = call->output_specs[0].dim[first + d].base;
        is_even = is_even && out.dim[d] > 0 && in.dim[d] % out.dim[d] == 0;
        windows.kernel_size.dim[d] = windows.stride.dim[d] = is_even ? in.dim[d] / out.dim[d] : 1;
    }
    if (cr_failed())
        return cr_error_status();
    if (cr_shape_equal(&in, &out))
        return onnx_result(call, call->inputs[0]);
    if (is_even && first == 2)
        return onnx_result(call, write_windows(call, is_max ? "MaxPool" : "AveragePool", &windows,
                                               call->inputs[0]));
    if (!is_max)
        return write_uneven_means(call, &in, &out);
    return cr_error_set(CR_ERROR_UNSUPPORTED, "of sizes that are no multiples of output_size");
}

static cr_status write_pool(cr_onnx_call *call, int spatial, bool is_adaptive, bool is_max)
{
    const struct pool_attributes *a = call->attributes;
    bool is_single = call->input_specs[0].ndim == spatial + 1;
    int64_t taps = 1;
    for (int d = 0; d < spatial; d++)
        taps *= a->kernel_size.dim[d];
    if (is_max && call->wanted[1])
        return cr_error_set(CR_ERROR_UNSUPPORTED, "with the places of the maxima");
    if (is_adaptive)
        return write_adaptive(call, a, is_max);
    if (a->divisor_override && a->divisor_override != taps)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "with divisor_override");
    cr_onnx_value x = call->inputs[0];
    if (is_single)
        x = cr_onnx_unsqueeze(call, x, CR_SHAPE(0));
    cr_onnx_value y = write_windows(call, is_max ? "MaxPool" : "AveragePool", a, x);
    return onnx_result(call, is_single ? cr_onnx_squeeze(call, y, CR_SHAPE(0)) : y);
}

/* The records of pooling in one number of dimensions: NAME, its gradient, and for maxima the
 * gradient of that, which reads where the gradient wrote. */
#define MAX_POOL(function, dims, is_adaptive, text, table)                                         \
    static const cr_op function##_backward_op;                                                     \
    static const cr_op function##_gather_op;                                                       \
    static cr_status function##_infer(cr_infer_call *call)                                         \
    {                                                                                              \
        return pool_infer(call, dims, is_adaptive, true);                                          \
    }                                                                                              \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        return write_pool(call, dims, is_adaptive, true);                                          \
    }                                                                                              \
    static size_t function##_forward_workspace(const cr_call *call)                                \
    {                                                                                              \
        return forward_workspace(call, dims);                                                      \
    }                                                                                              \
    static size_t function##_backward_workspace(const cr_call *call)                               \
    {                                                                                              \
        return backward_workspace(call, dims);                                                     \
    }                                                                                              \
    static void function##_forward(const cr_call *call)                                            \
    {                                                                                              \
        forward_of(call, dims, POOL_MAX);                                                          \
    }                                                                                              \
    static void function##_scatter_forward(const cr_call *call)                                    \
    {                                                                                              \
        backward_of(call, dims, POOL_MAX_SCATTER);                                                 \
    }                                                                                              \
    static void function##_gather_forward(const cr_call *call)                                     \
    {                                                                                              \
        backward_of(call, dims, POOL_MAX_GATHER);                                                  \
    }                                                                                              \
    static cr_status function##_backward(cr_gradient_call *call)                                   \
    {                                                                                              \
        struct pool_backward_attributes attributes = backward_attributes(call);                    \
        if (call->grad_outputs[0])                                                                 \
            call->grad_inputs[0] =                                                                 \
                cr_apply(&function##_backward_op,                                                  \
                         CR_INPUTS(call->grad_outputs[0], call->outputs[1]), &attributes);         \
        return CR_OK;                                                                              \
    }                                                                                              \
    static cr_status function##_scatter_backward(cr_gradient_call *call)                           \
    {                                                                                              \
        call->grad_inputs[0] =                                                                     \
            cr_apply(&function##_gather_op, CR_INPUTS(call->grad_outputs[0], call->inputs[1]),     \
                     call->attributes);                                                            \
        return CR_OK;                                                                              \
    }                                                                                              \
    static cr_status function##_gather_backward(cr_gradient_call *call)                            \
    {                                                                                              \
        call->grad_inputs[0] =                                                                     \
            cr_apply(&function##_backward_op, CR_INPUTS(call->grad_outputs[0], call->inputs[1]),   \
                     call->attributes);                                                            \
        return CR_OK;                                                                              \
    }                                                                                              \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = table,                                                                       \
        .attribute_size = sizeof(struct pool_attributes),                                          \
        .min_inputs = 1,                                                                           \
        .output_count = 2,                                                                         \
        .save_outputs = CR_SAVE(1),                                                                \
        .infer = function##_infer,                                                                 \
        .onnx = function##_onnx,                                                                   \
        .workspace = function##_forward_workspace,                                                 \
        .forward = { [CR_CPU] = function##_forward },                                              \
        .backward = function##_backward,                                                           \
    };                                                                                             \
    static const cr_op function##_backward_op = {                                                  \
        .name = #function "_backward",                                                             \
        .summary = "the gradient of " #function,                                                   \
        .input_names = "grad indices",                                                             \
        .attribute_size = sizeof(struct pool_backward_attributes),                                 \
        .min_inputs = 2,                                                                           \
        .save_inputs = CR_SAVE(1),                                                                 \
        .infer = backward_infer,                                                                   \
        .workspace = function##_backward_workspace,                                                \
        .forward = { [CR_CPU] = function##_scatter_forward },                                      \
        .backward = function##_scatter_backward,                                                   \
    };                                                                                             \
    static const cr_op function##_gather_op = {                                                    \
        .name = #function "_backward_backward",                                                    \
        .summary = "what " #function " chose, of another tensor",                                  \
        .input_names = "x indices",                                                                \
        .attribute_size = sizeof(struct pool_backward_attributes),                                 \
        .min_inputs = 2,                                                                           \
        .save_inputs = CR_SAVE(1),                                                                 \
        .infer = gather_infer,                                                                     \
        .workspace = function##_forward_workspace,                                                 \
        .forward = { [CR_CPU] = function##_gather_forward },                                       \
        .backward = function##_gather_backward,                                                    \
    };

MAX_POOL(max_pool1d, 1, false, "the maxima of windows of (N, C, L)", max_table)
MAX_POOL(max_pool2d, 2, false, "the maxima of windows of (N, C, H, W)", max_table)
MAX_POOL(max_pool3d, 3, false, "the maxima of windows of (N, C, D, H, W)", max_table)
MAX_POOL(adaptive_max_pool1d, 1, true, "the maxima of output_size windows of (N, C, L)",
         adaptive_table)
MAX_POOL(adaptive_max_pool2d, 2, true, "the maxima of output_size windows of (N, C, H, W)",
         adaptive_table)
MAX_POOL(adaptive_max_pool3d, 3, true, "the maxima of output_size windows of (N, C, D, H, W)",
         adaptive_table)

/* ---- means ---- */

#define AVG_POOL(function, dims, is_adaptive, text, table)                                         \
    static const cr_op function##_op;                                                              \
    static const cr_op function##_backward_op;                                                     \
    static cr_status function##_infer(cr_infer_call *call)                                         \
    {                                                                                              \
        return pool_infer(call, dims, is_adaptive, false);                                         \
    }                                                                                              \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        return write_pool(call, dims, is_adaptive, false);                                         \
    }                                                                                              \
    static size_t function##_forward_workspace(const cr_call *call)                                \
    {                                                                                              \
        return forward_workspace(call, dims);                                                      \
    }                                                                                              \
    static size_t function##_backward_workspace(const cr_call *call)                               \
    {                                                                                              \
        return backward_workspace(call, dims);                                                     \
    }                                                                                              \
    static void function##_forward(const cr_call *call)                                            \
    {                                                                                              \
        forward_of(call, dims, POOL_AVG);                                                          \
    }                                                                                              \
    static void function##_backward_forward(const cr_call *call)                                   \
    {                                                                                              \
        backward_of(call, dims, POOL_AVG_BACKWARD);                                                \
    }                                                                                              \
    static cr_status function##_backward(cr_gradient_call *call)                                   \
    {                                                                                              \
        struct pool_backward_attributes attributes = backward_attributes(call);                    \
        call->grad_inputs[0] =                                                                     \
            cr_apply(&function##_backward_op, CR_INPUTS(call->grad_outputs[0]), &attributes);      \
        return CR_OK;                                                                              \
    }                                                                                              \
    static cr_status function##_backward_backward(cr_gradient_call *call)                          \
    {                                                                                              \
        const struct pool_backward_attributes *attributes = call->attributes;                      \
        call->grad_inputs[0] =                                                                     \
            cr_apply(&function##_op, CR_INPUTS(call->grad_outputs[0]), &attributes->pool);         \
        return CR_OK;                                                                              \
    }                                                                                              \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = table,                                                                       \
        .attribute_size = sizeof(struct pool_attributes),                                          \
        .min_inputs = 1,                                                                           \
        .infer = function##_infer,                                                                 \
        .onnx = function##_onnx,                                                                   \
        .workspace = function##_forward_workspace,                                                 \
        .forward = { [CR_CPU] = function##_forward },                                              \
        .backward = function##_backward,                                                           \
    };                                                                                             \
    static const cr_op function##_backward_op = {                                                  \
        .name = #function "_backward",                                                             \
        .summary = "the gradient of " #function,                                                   \
        .input_names = "grad",                                                                     \
        .attribute_size = sizeof(struct pool_backward_attributes),                                 \
        .min_inputs = 1,                                                                           \
        .infer = backward_infer,                                                                   \
        .workspace = function##_backward_workspace,                                                \
        .forward = { [CR_CPU] = function##_backward_forward },                                     \
        .backward = function##_backward_backward,                                                  \
    };

AVG_POOL(avg_pool1d, 1, false, "the means of windows of (N, C, L)", avg_table)
AVG_POOL(avg_pool2d, 2, false, "the means of windows of (N, C, H, W)", avg_table)
AVG_POOL(avg_pool3d, 3, false, "the means of windows of (N, C, D, H, W)", avg_table)
AVG_POOL(adaptive_avg_pool1d, 1, true, "the means of output_size windows of (N, C, L)",
         adaptive_table)
AVG_POOL(adaptive_avg_pool2d, 2, true, "the means of output_size windows of (N, C, H, W)",
         adaptive_table)
AVG_POOL(adaptive_avg_pool3d, 3, true, "the means of output_size windows of (N, C, D, H, W)",
         adaptive_table)

/* ---- powers ---- */

struct lp_attributes {
    double norm_type;
    cr_shape kernel_size;
    cr_shape stride;
    bool ceil_mode;
};

static const cr_attribute lp_table[] = {
    CR_ATTRIBUTE(struct lp_attributes, FLOAT, norm_type),
    CR_ATTRIBUTE(struct lp_attributes, INTS, kernel_size),
    CR_ATTRIBUTE(struct lp_attributes, INTS, stride),
    CR_ATTRIBUTE(struct lp_attributes, BOOL, ceil_mode),
    CR_ATTRIBUTE_END,
};

/* The root of the sum, from the mean, as PyTorch computes it: windows that ceil_mode cuts short
 * count as whole ones. */
static cr_status lp_pool(cr_compose_call *call, int spatial, const cr_op *avg_op)
{
    const struct lp_attributes *lp = call->attributes;
    struct pool_attributes pool = { .kernel_size = lp->kernel_size,
                                    .stride = lp->stride,
                                    .ceil_mode = lp->ceil_mode,
                                    .count_include_pad = true };
    if (complete_settings(&pool, spatial) != CR_OK) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    double taps = 1;
    for (int i = 0; i < spatial; i++)
        taps *= (double)pool.kernel_size.dim[i];
    cr_tensor *mean =
        cr_apply(avg_op, CR_INPUTS(cr_pow_scalar(call->inputs[0], lp->norm_type)), &pool);
    cr_tensor *size = cr_mul(cr_sign(mean), cr_relu(cr_abs(mean)));
    call->outputs[0] = cr_pow_scalar(cr_mul_scalar(size, taps), 1.0 / lp->norm_type);
    return cr_error_status();
}

#define LP_POOL(function, dims, avg_op, text)                                                      \
    static cr_status function##_compose(cr_compose_call *call)                                     \
    {                                                                                              \
        return lp_pool(call, dims, avg_op);                                                        \
    }                                                                                              \
    static const cr_op function##_op = {                                                           \
        .name = #function,                                                                         \
        .summary = text,                                                                           \
        .input_names = "x",                                                                        \
        .attributes = lp_table,                                                                    \
        .attribute_size = sizeof(struct lp_attributes),                                            \
        .min_inputs = 1,                                                                           \
        .compose = function##_compose,                                                             \
    };

LP_POOL(lp_pool1d, 1, &avg_pool1d_op, "the power sums of windows of (N, C, L), rooted")
LP_POOL(lp_pool2d, 2, &avg_pool2d_op, "the power sums of windows of (N, C, H, W), rooted")

/* ---- the functions ---- */

/* A list for all dimensions, or one value for each alike; 0 leaves it open. */
static cr_shape setting(int64_t alike, cr_shape list)
{
    if (list.ndim == 0 && alike != 0)
        list = CR_SHAPE(alike);
    return list;
}

static struct pool_attributes attributes_of(const cr_pool_args *args)
{
    struct pool_attributes attributes = {
        .kernel_size = setting(args->kernel, args->kernel_size),
        .stride = setting(args->stride, args->stride_size),
        .padding = setting(args->padding, args->padding_size),
        .dilation = setting(args->dilation, args->dilation_size),
        .divisor_override = args->divisor_override,
        .ceil_mode = args->ceil_mode,
        .count_include_pad = !args->count_exclude_pad,
        .indices = args->indices ? INDEX_INT64 : INDEX_HIDDEN,
    };
    return attributes;
}

/* The op of a number of dimensions; NULL, with an error, if there is none. */
static const cr_op *op_of(const char *name, int spatial, const cr_op *const *ops)
{
    if (spatial >= 1 && spatial <= 3)
        return ops[spatial - 1];
    cr_error_set(CR_ERROR_ARGUMENT, "%s: %d dimensions are not 1, 2 or 3", name, spatial);
    return NULL;
}

/* In inference what is channels-last remains so. NULL where the op is to do it, which also says
 * what is wrong. */
static cr_tensor *pool_last(cr_tensor *x, const struct pool_attributes *attributes,
                            bool is_adaptive, bool is_max)
{
    struct pool_attributes completed = *attributes;
    struct pool_plan plan;
    completed.is_adaptive = is_adaptive;
    if (cr_failed() || !x || x->dtype != CR_F32 || !x->storage ||
        (cr_grad_enabled() && x->requires_grad) || !is_channels_last(x) || tensor_numel(x) == 0)
        return NULL;
    if (make_plan(&completed, &x->shape, 2, &plan) != CR_OK ||
        check_outputs(&plan, x, 2) != CR_OK) {
        cr_error_clear();
        return NULL;
    }
    return channels_last_pool(x, &plan, is_max);
}

const cr_op *pool_last_op(const cr_op *op, const void *attributes, const cr_shape *shape, void *to)
{
    bool is_max = op == &max_pool2d_op || op == &adaptive_max_pool2d_op;
    bool is_adaptive = op == &adaptive_avg_pool2d_op || op == &adaptive_max_pool2d_op;
    struct pool_attributes pool;
    struct pool_plan plan;
    if (!is_max && !is_adaptive && op != &avg_pool2d_op)
        return NULL;
    memcpy(&pool, attributes, sizeof pool);
    pool.is_adaptive = is_adaptive;
    if (make_plan(&pool, shape, 2, &plan) != CR_OK) {
        cr_error_clear();
        return NULL;
    }
    return channels_last_pool_op(&plan, is_max, to);
}

static cr_tensor *max_of(const cr_op *op, cr_tensor *x, const struct pool_attributes *attributes,
                         cr_tensor **indices)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS] = { NULL };
    if (op == &max_pool2d_op && !indices)
        outputs[0] = pool_last(x, attributes, false, true);
    if (outputs[0])
        return outputs[0];
    if (op)
        cr_apply_all(op, CR_INPUTS(x), attributes, outputs);
    if (indices)
        *indices = outputs[1];
    return outputs[0];
}

cr_tensor *cr_max_pool_with(int spatial, cr_pool_args args)
{
    static const cr_op *const ops[] = { &max_pool1d_op, &max_pool2d_op, &max_pool3d_op };
    struct pool_attributes attributes = attributes_of(&args);
    return max_of(op_of("max_pool", spatial, ops), args.x, &attributes, args.indices);
}

cr_tensor *cr_avg_pool_with(int spatial, cr_pool_args args)
{
    static const cr_op *const ops[] = { &avg_pool1d_op, &avg_pool2d_op, &avg_pool3d_op };
    const cr_op *op = op_of("avg_pool", spatial, ops);
    struct pool_attributes attributes = attributes_of(&args);
    return op ? cr_apply(op, CR_INPUTS(args.x), &attributes) : NULL;
}

static cr_tensor *adaptive_avg(const cr_op *op, cr_tensor *x, cr_shape output_size)
{
    struct pool_attributes attributes = { .kernel_size = output_size };
    cr_tensor *y = op == &adaptive_avg_pool2d_op ? pool_last(x, &attributes, true, false) : NULL;
    return y ? y : cr_apply(op, CR_INPUTS(x), &attributes);
}

cr_tensor *cr_adaptive_avg_pool1d(cr_tensor *x, cr_shape output_size)
{
    return adaptive_avg(&adaptive_avg_pool1d_op, x, output_size);
}

cr_tensor *cr_adaptive_avg_pool2d(cr_tensor *x, cr_shape output_size)
{
    return adaptive_avg(&adaptive_avg_pool2d_op, x, output_size);
}

cr_tensor *cr_adaptive_avg_pool3d(cr_tensor *x, cr_shape output_size)
{
    return adaptive_avg(&adaptive_avg_pool3d_op, x, output_size);
}

static cr_tensor *adaptive_max(const cr_op *op, cr_tensor *x, cr_shape output_size,
                               cr_tensor **indices)
{
    struct pool_attributes attributes = { .kernel_size = output_size,
                                          .indices = indices ? INDEX_INT64 : INDEX_HIDDEN };
    return max_of(op, x, &attributes, indices);
}

cr_tensor *cr_adaptive_max_pool1d(cr_tensor *x, cr_shape output_size, cr_tensor **indices)
{
    return adaptive_max(&adaptive_max_pool1d_op, x, output_size, indices);
}

cr_tensor *cr_adaptive_max_pool2d(cr_tensor *x, cr_shape output_size, cr_tensor **indices)
{
    return adaptive_max(&adaptive_max_pool2d_op, x, output_size, indices);
}

cr_tensor *cr_adaptive_max_pool3d(cr_tensor *x, cr_shape output_size, cr_tensor **indices)
{
    return adaptive_max(&adaptive_max_pool3d_op, x, output_size, indices);
}

cr_tensor *cr_lp_pool_with(int spatial, double norm_type, cr_pool_args args)
{
    static const cr_op *const ops[] = { &lp_pool1d_op, &lp_pool2d_op, NULL };
    const cr_op *op = spatial == 3 ? NULL : op_of("lp_pool", spatial, ops);
    if (spatial == 3)
        cr_error_set(CR_ERROR_ARGUMENT, "lp_pool: takes 1 or 2 dimensions, not 3");
    struct lp_attributes attributes = { .norm_type = norm_type,
                                        .kernel_size = setting(args.kernel, args.kernel_size),
                                        .stride = setting(args.stride, args.stride_size),
                                        .ceil_mode = args.ceil_mode };
    return op ? cr_apply(op, CR_INPUTS(args.x), &attributes) : NULL;
}

#define MAX_ROW(function) &function##_op, &function##_backward_op, &function##_gather_op
#define AVG_ROW(function) &function##_op, &function##_backward_op

OP_FAMILY(pool_ops) = {
    MAX_ROW(max_pool1d),
    MAX_ROW(max_pool2d),
    MAX_ROW(max_pool3d),
    MAX_ROW(adaptive_max_pool1d),
    MAX_ROW(adaptive_max_pool2d),
    MAX_ROW(adaptive_max_pool3d),
    AVG_ROW(avg_pool1d),
    AVG_ROW(avg_pool2d),
    AVG_ROW(avg_pool3d),
    AVG_ROW(adaptive_avg_pool1d),
    AVG_ROW(adaptive_avg_pool2d),
    AVG_ROW(adaptive_avg_pool3d),
    &lp_pool1d_op,
    &lp_pool2d_op,
    NULL,
};
