/* Attention inside windows of packed rows: query, key and value are read where one product put them
 * and the result is written where the rows were, so nothing is cut into windows or put together
 * again. The gradient of the packed rows comes from one pass, and that of the bias is summed over
 * batch and windows as it is made. Where backward itself is recorded it is written with ops. */
#include <math.h>

#include "cresset/attention.h"
#include "kernels/attention/attention.h"
#include "ops/ops.h"

enum { IN_QKV, IN_WINDOWS, IN_BIAS, IN_MASK, IN_COUNT };
enum { QKV_ROWS = 1, QKV_PARTS, QKV_HEADS, QKV_DEPTH, QKV_NDIM };

struct window_attributes {
    double scale;
};

static const cr_attribute window_table[] = {
    CR_ATTRIBUTE(struct window_attributes, FLOAT, scale),
    CR_ATTRIBUTE_END,
};

/* ---- shapes ---- */

static cr_dtype computed_in(const cr_tensor *qkv)
{
    return qkv->dtype == CR_F64 ? CR_F64 : CR_F32;
}

/* Windows, and rows of each. */
static int64_t window_count(const cr_tensor *windows)
{
    return windows ? windows->shape.dim[0] : 1;
}

static int64_t window_size(const cr_tensor *qkv, const cr_tensor *windows)
{
    return windows ? windows->shape.dim[1] : qkv->shape.dim[QKV_ROWS];
}

static cr_status expect(const cr_tensor *tensor, const char *name, cr_shape shape, cr_dtype dtype)
{
    char is[CR_SHAPE_TEXT], wanted[CR_SHAPE_TEXT];
    if (!tensor)
        return CR_OK;
    if (!cr_shape_equal(&tensor->shape, &shape))
        return cr_error_set(CR_ERROR_SHAPE, "%s has shape %s where %s is needed", name,
                            cr_shape_format(&tensor->shape, is, sizeof is),
                            cr_shape_format(&shape, wanted, sizeof wanted));
    if (tensor->dtype == (uint8_t)dtype)
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "%s must be %s, not %s", name, cr_dtype_name(dtype),
                        cr_dtype_name((cr_dtype)tensor->dtype));
}

/* Each row is in one window: results of two would be written to the same place. */
static cr_status check_windows(const cr_tensor *windows, int64_t rows)
{
    if (!windows)
        return CR_OK;
    if (require_ndim(windows, "windows", 2, 2) != CR_OK ||
        require_index(windows, 0, rows, QKV_ROWS) != CR_OK)
        return cr_error_status();
    if (tensor_numel(windows) != rows)
        return cr_error_set(CR_ERROR_SHAPE, "the windows hold %lld rows where there are %lld",
                            (long long)tensor_numel(windows), (long long)rows);
    bool *seen = windows->storage ? cr_alloc_zeroed((size_t)rows, sizeof *seen) : NULL;
    if (!seen)
        return cr_error_status();
    const int64_t *data = TENSOR_DATA(const int64_t, windows);
    int64_t twice = -1;
    for (int64_t w = 0; w < windows->shape.dim[0]; w++) {
        for (int64_t i = 0; i < windows->shape.dim[1]; i++) {
            int64_t row = data[w * windows->stride[0] + i * windows->stride[1]];
            twice = seen[row] ? row : twice;
            seen[row] = true;
        }
    }
    cr_free(seen);
    if (twice < 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT, "row %lld is in the windows twice", (long long)twice);
}

static cr_status check_inputs(const cr_tensor *qkv, const cr_tensor *windows, const cr_tensor *bias,
                              const cr_tensor *mask)
{
    if (require_ndim(qkv, "qkv", QKV_NDIM, QKV_NDIM) != CR_OK ||
        require_stored(qkv, "qkv") != CR_OK ||
        check_windows(windows, qkv->shape.dim[QKV_ROWS]) != CR_OK)
        return cr_error_status();
    int64_t size = window_size(qkv, windows), heads = qkv->shape.dim[QKV_HEADS];
    if (qkv->shape.dim[QKV_PARTS] != 3)
        return cr_error_set(CR_ERROR_SHAPE, "qkv must be (N, rows, 3, heads, depth)");
    if (size > ATTENTION_SHORT || qkv->shape.dim[QKV_DEPTH] > ATTENTION_SHORT)
        return cr_error_set(CR_ERROR_SHAPE,
                            "windows of %lld rows of depth %lld are too large: %d are the most of "
                            "both; cr_scaled_dot_product_attention takes any number",
                            (long long)size, (long long)qkv->shape.dim[QKV_DEPTH], ATTENTION_SHORT);
    cr_dtype computed = computed_in(qkv);
    if (expect(bias, "bias", CR_SHAPE(heads, size, size), computed) != CR_OK)
        return cr_error_status();
    return expect(mask, "mask", CR_SHAPE(window_count(windows), size, size), computed);
}

static cr_status window_infer(cr_infer_call *call)
{
    const cr_tensor *qkv = call->inputs[IN_QKV], *windows = CALL_INPUT(call, IN_WINDOWS);
    if (check_inputs(qkv, windows, CALL_INPUT(call, IN_BIAS), CALL_INPUT(call, IN_MASK)) != CR_OK)
        return cr_error_status();
    const int64_t *dim = qkv->shape.dim;
    call->outputs[0].shape = CR_SHAPE(dim[0], dim[QKV_ROWS], dim[QKV_HEADS], dim[QKV_DEPTH]);
    call->outputs[0].dtype = (cr_dtype)qkv->dtype;
    call->outputs[1].shape =
        CR_SHAPE(dim[0], window_count(windows), dim[QKV_HEADS], window_size(qkv, windows));
    call->outputs[1].dtype = computed_in(qkv);
    return CR_OK;
}

/* ---- the job of a kernel ---- */

/* Part `part` of qkv. */
static struct attention_operand part_of(const cr_tensor *qkv, int64_t part)
{
    const int64_t *dim = qkv->shape.dim;
    int64_t width = dim[QKV_HEADS] * dim[QKV_DEPTH];
    int64_t at = part * width * (int64_t)cr_dtype_size((cr_dtype)qkv->dtype);
    return (struct attention_operand){ .data = (const char *)tensor_bytes(qkv) + at,
                                       .row = 3 * width,
                                       .column = 1,
                                       .batch = { dim[QKV_ROWS] * 3 * width, 0, dim[QKV_DEPTH] } };
}

static struct attention_result gradient_part(const struct attention_operand *part,
                                             const cr_tensor *qkv, cr_tensor *grad, int64_t index)
{
    const int64_t *dim = qkv->shape.dim;
    int64_t at = index * dim[QKV_HEADS] * dim[QKV_DEPTH];
    struct attention_result result = { .row = part->row };
    result.data = (char *)tensor_bytes(grad) + at * (int64_t)cr_dtype_size((cr_dtype)grad->dtype);
    for (int d = 0; d < 3; d++)
        result.batch[d] = part->batch[d];
    return result;
}

static struct attention_job job_of(double scale, const cr_tensor *qkv, const cr_tensor *windows,
                                   const cr_tensor *bias, const cr_tensor *mask)
{
    const int64_t *dim = qkv->shape.dim;
    int64_t count = window_count(windows), size = window_size(qkv, windows);
    struct attention_job job = {
        .type = qkv->dtype == CR_F64 ? CR_GEMM_F64 : CR_GEMM_F32,
        .is_bf16 = qkv->dtype == CR_BF16,
        .batch_dims = 3,
        .batch_size = { dim[0], count, dim[QKV_HEADS] },
        .batch = dim[0] * count * dim[QKV_HEADS],
        .queries = size,
        .keys = size,
        .depth = dim[QKV_DEPTH],
        .value_depth = dim[QKV_DEPTH],
        .scale = scale,
        .q = part_of(qkv, 0),
        .k = part_of(qkv, 1),
        .v = part_of(qkv, 2),
    };
    if (windows)
        job.positions =
            (struct attention_operand){ .data = tensor_bytes(windows), .batch = { 0, size, 0 } };
    if (bias)
        job.bias = (struct attention_operand){
            .data = tensor_bytes(bias), .row = size, .column = 1, .batch = { 0, 0, size * size }
        };
    if (mask)
        job.mask = (struct attention_operand){
            .data = tensor_bytes(mask), .row = size, .column = 1, .batch = { 0, size * size, 0 }
        };
    return job;
}

static struct attention_job forward_job(const cr_call *call)
{
    const struct window_attributes *attributes = call->attributes;
    const cr_tensor *qkv = call->inputs[IN_QKV];
    const int64_t *dim = qkv->shape.dim;
    struct attention_job job = job_of(attributes->scale, qkv, CALL_INPUT(call, IN_WINDOWS),
                                      CALL_INPUT(call, IN_BIAS), CALL_INPUT(call, IN_MASK));
    int64_t width = dim[QKV_HEADS] * dim[QKV_DEPTH];
    job.to_out = (struct attention_result){ .data = tensor_bytes(call->outputs[0]),
                                            .row = width,
                                            .batch = { dim[QKV_ROWS] * width, 0, dim[QKV_DEPTH] } };
    job.log_sum = tensor_bytes(call->outputs[1]);
    return job;
}

static size_t window_workspace(const cr_call *call)
{
    struct attention_job job = forward_job(call);
    return attention_short_workspace(&job, false);
}

static void window_forward(const cr_call *call)
{
    struct attention_job job = forward_job(call);
    if (tensor_numel(call->outputs[0]) > 0)
        attention_short_run(&job, false, call->workspace);
}

static int64_t window_multiply_adds(const cr_call *call)
{
    const cr_tensor *qkv = call->inputs[IN_QKV], *log_sum = call->outputs[1];
    return 2 * tensor_numel(log_sum) * log_sum->shape.dim[3] * qkv->shape.dim[QKV_DEPTH];
}

/* ---- backward ---- */

enum { BACK_QKV, BACK_LOG_SUM, BACK_GRAD, BACK_WINDOWS, BACK_BIAS, BACK_MASK, BACK_COUNT };

struct backward_attributes {
    double scale;
    bool needs_bias;
};

static const cr_attribute backward_table[] = {
    CR_ATTRIBUTE(struct backward_attributes, FLOAT, scale),
    CR_ATTRIBUTE(struct backward_attributes, BOOL, needs_bias),
    CR_ATTRIBUTE_END,
};

static cr_status window_backward_infer(cr_infer_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    const cr_tensor *qkv = call->inputs[BACK_QKV];
    int64_t size = window_size(qkv, CALL_INPUT(call, BACK_WINDOWS));
    call->outputs[0].shape = qkv->shape;
    call->outputs[1].shape =
        attributes->needs_bias ? CR_SHAPE(qkv->shape.dim[QKV_HEADS], size, size) : CR_SHAPE(0);
    for (int i = 0; i < 2; i++)
        call->outputs[i].dtype = computed_in(qkv);
    return CR_OK;
}

static struct attention_job backward_job(const cr_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    const cr_tensor *qkv = call->inputs[BACK_QKV];
    const int64_t *dim = qkv->shape.dim;
    struct attention_job job = job_of(attributes->scale, qkv, CALL_INPUT(call, BACK_WINDOWS),
                                      CALL_INPUT(call, BACK_BIAS), CALL_INPUT(call, BACK_MASK));
    int64_t width = dim[QKV_HEADS] * dim[QKV_DEPTH];
    job.log_sum = tensor_bytes(call->inputs[BACK_LOG_SUM]);
    job.grad = (struct attention_operand){ .data = tensor_bytes(call->inputs[BACK_GRAD]),
                                           .row = width,
                                           .column = 1,
                                           .batch = { dim[QKV_ROWS] * width, 0, dim[QKV_DEPTH] } };
    job.to_q = gradient_part(&job.q, qkv, call->outputs[0], 0);
    job.to_k = gradient_part(&job.k, qkv, call->outputs[0], 1);
    job.to_v = gradient_part(&job.v, qkv, call->outputs[0], 2);
    job.grad_bias = attributes->needs_bias ? tensor_bytes(call->outputs[1]) : NULL;
    return job;
}

static size_t window_backward_workspace(const cr_call *call)
{
    struct attention_job job = backward_job(call);
    return attention_short_workspace(&job, true);
}

static void window_backward_forward(const cr_call *call)
{
    struct attention_job job = backward_job(call);
    attention_short_run(&job, true, call->workspace);
}

static int64_t window_backward_multiply_adds(const cr_call *call)
{
    const cr_tensor *log_sum = call->inputs[BACK_LOG_SUM];
    return 5 * tensor_numel(log_sum) * log_sum->shape.dim[3] *
           call->inputs[BACK_QKV]->shape.dim[QKV_DEPTH];
}

static const cr_op window_backward_op = {
    .name = "_window_attention_backward",
    .summary = "the gradients of attention inside windows",
    .input_names = "qkv log_sum grad windows bias mask",
    .attributes = backward_table,
    .attribute_size = sizeof(struct backward_attributes),
    .min_inputs = BACK_WINDOWS,
    .max_inputs = BACK_COUNT,
    .output_count = 2,
    .infer = window_backward_infer,
    .workspace = window_backward_workspace,
    .forward = { [CR_CPU] = window_backward_forward },
    .multiply_adds = window_backward_multiply_adds,
};

/* Rows (N, rows, …) as windows (N, windows, size, …). */
static cr_tensor *cut(cr_tensor *x, cr_tensor *windows, int64_t size)
{
    if (windows)
        x = cr_index_select(x, 1, cr_flatten(windows, 0, 1));
    return cr_unflatten(x, 1, CR_SHAPE(-1, size));
}

/* The gradients as functions of the inputs that have gradients again. */
static cr_status open_backward(cr_gradient_call *call)
{
    const struct window_attributes *attributes = call->attributes;
    cr_tensor *windows = CALL_INPUT(call, IN_WINDOWS), *bias = CALL_INPUT(call, IN_BIAS);
    cr_tensor *mask = CALL_INPUT(call, IN_MASK), *part[3], *grads[3];
    int64_t size = window_size(call->inputs[IN_QKV], windows);
    cr_dtype computed = computed_in(call->inputs[IN_QKV]);
    cr_tensor *qkv = cut(cr_to_dtype(call->inputs[IN_QKV], computed), windows, size);
    cr_tensor *grad = cut(cr_to_dtype(call->grad_outputs[0], computed), windows, size);
    grad = cr_transpose(grad, 2, 3);
    for (int i = 0; i < 3; i++)
        part[i] = cr_transpose(cr_select(qkv, 3, i), 2, 3);
    cr_tensor *scores = cr_matmul(part[0], cr_transpose(part[1], -2, -1));
    scores = cr_mul_scalar(scores, attributes->scale);
    scores = bias ? cr_add(scores, bias) : scores;
    scores = mask ? cr_add(scores, cr_unsqueeze(mask, 1)) : scores;
    cr_tensor *weights = cr_softmax(scores, -1);
    cr_tensor *d = cr_matmul(grad, cr_transpose(part[2], -2, -1));
    d = cr_mul(weights, cr_sub(d, cr_sum_dims(cr_mul(d, weights), CR_SHAPE(-1), true)));
    cr_tensor *scaled = cr_mul_scalar(d, attributes->scale);
    grads[0] = cr_matmul(scaled, part[1]);
    grads[1] = cr_matmul(cr_transpose(scaled, -2, -1), part[0]);
    grads[2] = cr_matmul(cr_transpose(weights, -2, -1), grad);
    for (int i = 0; i < 3; i++)
        grads[i] = cr_flatten(cr_transpose(grads[i], 2, 3), 1, 2);
    cr_tensor *all = cr_stack(grads, 3, 2);
    if (windows)
        all = cr_index_select(all, 1, cr_argsort(cr_flatten(windows, 0, 1), 0, false));
    call->grad_inputs[IN_QKV] = call->needs[IN_QKV] ? all : NULL;
    if (bias && call->needs[IN_BIAS])
        call->grad_inputs[IN_BIAS] = cr_sum_dims(d, CR_SHAPE(0, 1), false);
    return cr_error_status();
}

static cr_status window_backward(cr_gradient_call *call)
{
    struct backward_attributes attributes = {
        .scale = ((const struct window_attributes *)call->attributes)->scale,
        .needs_bias = CALL_NEEDS(call, IN_BIAS),
    };
    cr_tensor *grads[CR_MAX_OUTPUTS];
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return open_backward(call);
    cr_status status = cr_apply_all(&window_backward_op,
                                    CR_INPUTS(call->inputs[IN_QKV], call->outputs[1],
                                              call->grad_outputs[0], CALL_INPUT(call, IN_WINDOWS),
                                              CALL_INPUT(call, IN_BIAS), CALL_INPUT(call, IN_MASK)),
                                    &attributes, grads);
    if (status != CR_OK)
        return status;
    call->grad_inputs[IN_QKV] = call->needs[IN_QKV] ? grads[0] : NULL;
    if (attributes.needs_bias)
        call->grad_inputs[IN_BIAS] = grads[1];
    return CR_OK;
}

/* ---- in ONNX ---- */

/* One of query, key and value, (N, windows, heads, rows, depth), or without the windows' dimension
 * where there are none; transposed: the last two exchanged. */
static cr_onnx_value write_part(cr_onnx_call *call, cr_onnx_value rows, int part, bool has_windows,
                                bool is_transposed)
{
    int at = has_windows ? 1 : 0; /* dimensions are one further on */
    cr_onnx_value own =
        cr_onnx_add(call, "Gather", .inputs = { rows, cr_onnx_number(call, CR_I64, part) },
                    .attributes = { CR_ONNX_INT("axis", QKV_PARTS + at) });
    cr_shape order = has_windows ? CR_SHAPE(0, 1, 3, 2, 4) : CR_SHAPE(0, 2, 1, 3);
    if (is_transposed)
        order = has_windows ? CR_SHAPE(0, 1, 3, 4, 2) : CR_SHAPE(0, 2, 3, 1);
    return cr_onnx_permute(call, own, order);
}

/* The bias of heads and the mask of windows as one that broadcasts to the scores; 0: neither. */
static cr_onnx_value write_bias(cr_onnx_call *call)
{
    cr_onnx_value bias = ONNX_INPUT(call, IN_BIAS), mask = ONNX_INPUT(call, IN_MASK);
    if (mask)
        mask = cr_onnx_unsqueeze(call, mask, CR_SHAPE(1));
    return bias && mask ? cr_onnx_binary(call, "Add", mask, bias) : bias ? bias : mask;
}

/* Where each row stands in the windows. */
static cr_onnx_value places_of_rows(cr_onnx_call *call)
{
    cr_tensor *windows = onnx_require_constant(call, IN_WINDOWS, "the windows");
    if (!windows)
        return 0;
    cr_frame frame = cr_frame_begin();
    int64_t rows = tensor_numel(windows);
    cr_tensor *places = cr_zeros(CR_SHAPE(rows), .dtype = CR_I64);
    for (int64_t i = 0; i < rows && places; i++)
        TENSOR_DATA(int64_t, places)[cr_element_int64(windows, i)] = i;
    cr_onnx_value made = cr_onnx_tensor(call, places);
    cr_frame_end(frame);
    return made;
}

/* Rows are gathered into windows, attended to, and gathered back into their order. */
static cr_status window_onnx(cr_onnx_call *call)
{
    const struct window_attributes *attributes = call->attributes;
    bool has_windows = ONNX_INPUT(call, IN_WINDOWS) != 0;
    cr_onnx_value rows = call->inputs[IN_QKV];
    if (has_windows)
        rows = cr_onnx_add(call, "Gather", .inputs = { rows, call->inputs[IN_WINDOWS] },
                           .attributes = { CR_ONNX_INT("axis", QKV_ROWS) });
    struct onnx_attention attention = {
        .query = write_part(call, rows, 0, has_windows, false),
        .transposed_key = write_part(call, rows, 1, has_windows, true),
        .value = write_part(call, rows, 2, has_windows, false),
        .bias = write_bias(call),
        .scale = attributes->scale,
        .dtype = call->input_specs[IN_QKV].dtype,
    };
    cr_onnx_value y = onnx_attend(call, &attention);
    y = cr_onnx_permute(call, y, has_windows ? CR_SHAPE(0, 1, 3, 2, 4) : CR_SHAPE(0, 2, 1, 3));
    if (!has_windows)
        return onnx_result(call, y);
    const cr_onnx_spec *to = &call->output_specs[0];
    y = cr_onnx_reshape(call, y, NULL, to->dim, to->ndim);
    return onnx_result(call, cr_onnx_add(call, "Gather", .inputs = { y, places_of_rows(call) },
                                         .attributes = { CR_ONNX_INT("axis", 1) }));
}

static const cr_op window_op = {
    .name = "_window_attention",
    .summary = "attention inside windows, and the logarithms of its sums",
    .input_names = "qkv windows bias mask",
    .attributes = window_table,
    .attribute_size = sizeof(struct window_attributes),
    .min_inputs = IN_WINDOWS,
    .max_inputs = IN_COUNT,
    .output_count = 2,
    .save_inputs = CR_SAVE(IN_QKV) | CR_SAVE(IN_WINDOWS) | CR_SAVE(IN_BIAS) | CR_SAVE(IN_MASK),
    .save_outputs = CR_SAVE(1),
    .infer = window_infer,
    .workspace = window_workspace,
    .forward = { [CR_CPU] = window_forward },
    .backward = window_backward,
    .onnx = window_onnx,
    .multiply_adds = window_multiply_adds,
};

/* ---- window_attention ---- */

/* Scores are computed, and what is added to them is given, in float32 at least. The mask is a
 * constant. */
static cr_status attention_compose(cr_compose_call *call)
{
    const struct window_attributes *attributes = call->attributes;
    cr_tensor *qkv = call->inputs[IN_QKV], *in[IN_COUNT] = { NULL };
    if (require_floating(qkv, "window_attention: qkv") != CR_OK)
        return cr_error_status();
    in[IN_QKV] = qkv->dtype == CR_F16 ? cr_to_dtype(qkv, CR_F32) : qkv;
    in[IN_WINDOWS] = CALL_INPUT(call, IN_WINDOWS);
    for (int i = IN_BIAS; i < call->input_count; i++)
        in[i] = call->inputs[i] ? cr_to_dtype(call->inputs[i], computed_in(qkv)) : NULL;
    if (in[IN_MASK])
        in[IN_MASK] = cr_detach(in[IN_MASK]);
    struct window_attributes scaled = *attributes;
    if (scaled.scale == 0 && qkv->shape.ndim > 0) /* the op refuses other shapes */
        scaled.scale = 1 / sqrt((double)CR_MAX(qkv->shape.dim[qkv->shape.ndim - 1], 1));
    cr_tensor *y = cr_apply(&window_op, (cr_inputs){ IN_COUNT, in }, &scaled);
    if (!y) {
        cr_error_prefix("window_attention");
        return cr_error_status();
    }
    call->outputs[0] = cr_to_dtype(y, (cr_dtype)qkv->dtype);
    return cr_error_status();
}

static const cr_op window_attention_op = {
    .name = "window_attention",
    .summary = "softmax(scale query keyᵀ + bias + mask) value inside windows of packed rows",
    .input_names = "qkv windows bias mask",
    .attributes = window_table,
    .attribute_size = sizeof(struct window_attributes),
    .min_inputs = IN_WINDOWS,
    .max_inputs = IN_COUNT,
    .compose = attention_compose,
};

cr_tensor *cr_window_attention_with(cr_window_attention_args args)
{
    struct window_attributes attributes = { args.scale };
    return cr_apply(&window_attention_op, CR_INPUTS(args.qkv, args.windows, args.bias, args.mask),
                    &attributes);
}

OP_FAMILY(window_attention_ops) = {
    &window_attention_op,
    &window_op,
    &window_backward_op,
    NULL,
};
