/* Scaled dot-product attention: the function with all its options, and the record with the kernel
 * that never stores the scores. Backward makes the scores again from the logarithms of the sums,
 * the second output, so another kernel may take the place of this one. Where backward itself is
 * recorded it is written with ops that do store them. */
#include "cresset/attention.h"

#include <math.h>

#include "kernels/attention/attention.h"
#include "ops/ops.h"

enum { IN_QUERY, IN_KEY, IN_VALUE, IN_MASK, IN_COUNT };

/* seed, stream and first are where the random numbers of the dropout begin. */
struct flash_attributes {
    double scale;
    bool is_causal;
    double dropout_p;
    int64_t seed;
    int64_t stream;
    int64_t first;
};

static const cr_attribute flash_table[] = {
    CR_ATTRIBUTE(struct flash_attributes, FLOAT, scale),
    CR_ATTRIBUTE(struct flash_attributes, BOOL, is_causal),
    CR_ATTRIBUTE(struct flash_attributes, FLOAT, dropout_p),
    CR_ATTRIBUTE(struct flash_attributes, INT, seed),
    CR_ATTRIBUTE(struct flash_attributes, INT, stream),
    CR_ATTRIBUTE(struct flash_attributes, INT, first),
    CR_ATTRIBUTE_END,
};

/* ---- shapes ---- */

static int64_t from_end(const cr_tensor *tensor, int dim)
{
    return tensor->shape.dim[tensor->shape.ndim - dim];
}

/* The leading dimensions of a tensor, without its matrices. */
static cr_shape leading(const cr_tensor *tensor)
{
    cr_shape shape = tensor->shape;
    shape.ndim = CR_MAX(shape.ndim - 2, 0);
    return shape;
}

static cr_shape with_matrix(cr_shape shape, int64_t rows, int64_t columns)
{
    shape.dim[shape.ndim++] = rows;
    shape.dim[shape.ndim++] = columns;
    return shape;
}

/* The leading dimensions that query, key, value and mask broadcast to. */
static cr_status common_batch(cr_tensor *const *inputs, int count, cr_shape *batch)
{
    *batch = leading(inputs[IN_QUERY]);
    for (int i = IN_KEY; i < count; i++) {
        cr_shape other = inputs[i] ? leading(inputs[i]) : cr_shape_scalar();
        if (shape_broadcast(batch, &other, batch) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status check_matrices(cr_tensor *const *inputs)
{
    char q[CR_SHAPE_TEXT], k[CR_SHAPE_TEXT], v[CR_SHAPE_TEXT];
    if (from_end(inputs[IN_QUERY], 1) == from_end(inputs[IN_KEY], 1) &&
        from_end(inputs[IN_KEY], 2) == from_end(inputs[IN_VALUE], 2))
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE,
                        "query %s, key %s and value %s do not fit: query and key need the same "
                        "last size, key and value the same number of rows",
                        cr_shape_format(&inputs[IN_QUERY]->shape, q, sizeof q),
                        cr_shape_format(&inputs[IN_KEY]->shape, k, sizeof k),
                        cr_shape_format(&inputs[IN_VALUE]->shape, v, sizeof v));
}

/* The dtype of scores, and of gradients before they are given to what is stored as bfloat16. */
static cr_dtype computed_in(const cr_tensor *query)
{
    return query->dtype == CR_F64 ? CR_F64 : CR_F32;
}

static cr_status check_mask(const cr_tensor *mask, cr_tensor *const *inputs)
{
    if (!mask)
        return CR_OK;
    cr_shape scores = CR_SHAPE(from_end(inputs[IN_QUERY], 2), from_end(inputs[IN_KEY], 2)), both;
    cr_shape own = mask->shape;
    own.ndim = 2;
    for (int d = 0; d < 2; d++)
        own.dim[d] = mask->shape.ndim >= 2 - d ? from_end(mask, 2 - d) : 1;
    if (shape_broadcast(&own, &scores, &both) != CR_OK || !cr_shape_equal(&both, &scores)) {
        char is[CR_SHAPE_TEXT], wanted[CR_SHAPE_TEXT];
        cr_error_clear();
        return cr_error_set(CR_ERROR_SHAPE, "the mask of shape %s does not broadcast to scores %s",
                            cr_shape_format(&mask->shape, is, sizeof is),
                            cr_shape_format(&scores, wanted, sizeof wanted));
    }
    if (mask->dtype == CR_BOOL || mask->dtype == (uint8_t)computed_in(inputs[IN_QUERY]))
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "the mask must be bool or %s, not %s",
                        cr_dtype_name(computed_in(inputs[IN_QUERY])),
                        cr_dtype_name((cr_dtype)mask->dtype));
}

static cr_status check_inputs(cr_tensor *const *inputs, const cr_tensor *mask)
{
    static const char *const names[] = { "query", "key", "value" };
    for (int i = IN_QUERY; i <= IN_VALUE; i++) {
        if (require_ndim(inputs[i], names[i], 2, ATTENTION_BATCH_DIMS + 2) != CR_OK ||
            require_stored(inputs[i], names[i]) != CR_OK)
            return cr_error_status();
        if (inputs[i]->dtype != inputs[IN_QUERY]->dtype)
            return cr_error_set(CR_ERROR_DTYPE, "%s is %s where query is %s", names[i],
                                cr_dtype_name((cr_dtype)inputs[i]->dtype),
                                cr_dtype_name((cr_dtype)inputs[IN_QUERY]->dtype));
    }
    return check_matrices(inputs) == CR_OK ? check_mask(mask, inputs) : cr_error_status();
}

static cr_status flash_infer(cr_infer_call *call)
{
    cr_tensor *const *inputs = call->inputs;
    cr_shape batch;
    if (check_inputs(inputs, CALL_INPUT(call, IN_MASK)) != CR_OK ||
        common_batch(inputs, call->input_count, &batch) != CR_OK)
        return cr_error_status();
    int64_t queries = from_end(inputs[IN_QUERY], 2);
    call->outputs[0].shape = with_matrix(batch, queries, from_end(inputs[IN_VALUE], 1));
    call->outputs[1].shape = batch;
    call->outputs[1].shape.dim[call->outputs[1].shape.ndim++] = queries;
    call->outputs[0].dtype = (cr_dtype)inputs[IN_QUERY]->dtype;
    call->outputs[1].dtype = computed_in(inputs[IN_QUERY]);
    return CR_OK;
}

/* ---- the job of a kernel ---- */

/* A tensor as an operand that broadcasts to (batch…, rows, columns). */
static struct attention_operand operand_of(const cr_tensor *tensor, const cr_shape *batch)
{
    struct attention_operand operand = { .data = tensor_bytes(tensor) };
    int ndim = tensor->shape.ndim;
    if (ndim > 0 && tensor->shape.dim[ndim - 1] != 1)
        operand.column = tensor->stride[ndim - 1];
    if (ndim > 1 && tensor->shape.dim[ndim - 2] != 1)
        operand.row = tensor->stride[ndim - 2];
    int shift = batch->ndim - (ndim - 2);
    for (int d = 0; d < ndim - 2; d++)
        operand.batch[d + shift] = tensor->shape.dim[d] == 1 ? 0 : tensor->stride[d];
    return operand;
}

/* The same for query, key, value: what is a step to nowhere stays contiguous. */
static struct attention_operand matrix_operand(const cr_tensor *tensor, const cr_shape *batch)
{
    struct attention_operand operand = operand_of(tensor, batch);
    if (from_end(tensor, 1) == 1)
        operand.column = 1;
    return operand;
}

static struct attention_job job_of(const struct flash_attributes *attributes,
                                   cr_tensor *const *inputs, const cr_tensor *mask,
                                   const cr_shape *batch)
{
    struct attention_job job = {
        .type = inputs[IN_QUERY]->dtype == CR_F64 ? CR_GEMM_F64 : CR_GEMM_F32,
        .is_bf16 = inputs[IN_QUERY]->dtype == CR_BF16,
        .batch_dims = batch->ndim,
        .batch = cr_shape_numel(batch),
        .queries = from_end(inputs[IN_QUERY], 2),
        .keys = from_end(inputs[IN_KEY], 2),
        .depth = from_end(inputs[IN_KEY], 1),
        .value_depth = from_end(inputs[IN_VALUE], 1),
        .scale = attributes->scale,
        .causal = attributes->is_causal,
        .q = matrix_operand(inputs[IN_QUERY], batch),
        .k = matrix_operand(inputs[IN_KEY], batch),
        .v = matrix_operand(inputs[IN_VALUE], batch),
        .dropout = attributes->dropout_p,
        .random = { (uint64_t)attributes->seed, (uint64_t)attributes->stream,
                    (uint64_t)attributes->first },
    };
    for (int d = 0; d < batch->ndim; d++)
        job.batch_size[d] = batch->dim[d];
    if (mask) {
        job.mask = operand_of(mask, batch);
        job.mask_is_bool = mask->dtype == CR_BOOL;
    }
    return job;
}

static struct attention_job forward_job(const cr_call *call)
{
    cr_shape batch = call->outputs[1]->shape;
    batch.ndim--;
    struct attention_job job =
        job_of(call->attributes, call->inputs, CALL_INPUT(call, IN_MASK), &batch);
    job.out = tensor_bytes(call->outputs[0]);
    job.log_sum = tensor_bytes(call->outputs[1]);
    return job;
}

static size_t flash_workspace(const cr_call *call)
{
    struct attention_job job = forward_job(call);
    return attention_workspace(&job, false);
}

static void flash_forward(const cr_call *call)
{
    struct attention_job job = forward_job(call);
    attention_run_forward(&job, call->workspace);
}

static int64_t flash_multiply_adds(const cr_call *call)
{
    const cr_tensor *key = call->inputs[IN_KEY];
    return tensor_numel(call->outputs[1]) * from_end(key, 2) *
           (from_end(key, 1) + from_end(call->inputs[IN_VALUE], 1));
}

/* ---- backward ---- */

enum { BACK_OUT = IN_VALUE + 1, BACK_LOG_SUM, BACK_GRAD, BACK_MASK, BACK_COUNT };

struct backward_attributes {
    struct flash_attributes forward;
    bool needs_mask;
};

static const cr_attribute backward_table[] = {
    CR_ATTRIBUTE(struct backward_attributes, BOOL, needs_mask),
    CR_ATTRIBUTE_END,
};

static cr_shape backward_batch(cr_tensor *const *inputs)
{
    cr_shape batch = inputs[BACK_LOG_SUM]->shape;
    batch.ndim--;
    return batch;
}

/* Gradients before they are summed to what was broadcast. */
static cr_status flash_backward_infer(cr_infer_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    cr_tensor *const *inputs = call->inputs;
    cr_shape batch = backward_batch(inputs);
    int64_t queries = from_end(inputs[IN_QUERY], 2), keys = from_end(inputs[IN_KEY], 2);
    int64_t depth = from_end(inputs[IN_KEY], 1);
    call->outputs[0].shape = with_matrix(batch, queries, depth);
    call->outputs[1].shape = with_matrix(batch, keys, depth);
    call->outputs[2].shape = with_matrix(batch, keys, from_end(inputs[IN_VALUE], 1));
    call->outputs[3].shape =
        attributes->needs_mask ? with_matrix(batch, queries, keys) : CR_SHAPE(0);
    for (int i = 0; i < 4; i++)
        call->outputs[i].dtype = computed_in(inputs[IN_QUERY]);
    return CR_OK;
}

static struct attention_job backward_job(const cr_call *call)
{
    const struct backward_attributes *attributes = call->attributes;
    cr_shape batch = backward_batch(call->inputs);
    struct attention_job job =
        job_of(&attributes->forward, call->inputs, CALL_INPUT(call, BACK_MASK), &batch);
    job.out = tensor_bytes(call->inputs[BACK_OUT]);
    job.log_sum = tensor_bytes(call->inputs[BACK_LOG_SUM]);
    job.grad = matrix_operand(call->inputs[BACK_GRAD], &batch);
    job.grad_q = tensor_bytes(call->outputs[0]);
    job.grad_k = tensor_bytes(call->outputs[1]);
    job.grad_v = tensor_bytes(call->outputs[2]);
    job.grad_mask = attributes->needs_mask ? tensor_bytes(call->outputs[3]) : NULL;
    return job;
}

static size_t flash_backward_workspace(const cr_call *call)
{
    struct attention_job job = backward_job(call);
    return attention_workspace(&job, true);
}

static void flash_backward_forward(const cr_call *call)
{
    struct attention_job job = backward_job(call);
    attention_run_backward(&job, call->workspace);
}

/* The scores again, and two products for the gradients of each side of both products. */
static int64_t flash_backward_multiply_adds(const cr_call *call)
{
    cr_tensor *const *in = call->inputs;
    int64_t depth = from_end(in[IN_KEY], 1), width = from_end(in[IN_VALUE], 1);
    return tensor_numel(in[BACK_LOG_SUM]) * from_end(in[IN_KEY], 2) * (3 * depth + 2 * width);
}

static const cr_op flash_backward_op = {
    .name = "_scaled_dot_product_flash_attention_backward",
    .summary = "the gradients of attention",
    .input_names = "query key value out log_sum grad mask",
    .attributes = backward_table,
    .attribute_size = sizeof(struct backward_attributes),
    .min_inputs = BACK_MASK,
    .max_inputs = BACK_COUNT,
    .output_count = 4,
    .flags = CR_OP_STRIDED,
    .infer = flash_backward_infer,
    .workspace = flash_backward_workspace,
    .forward = { [CR_CPU] = flash_backward_forward },
    .multiply_adds = flash_backward_multiply_adds,
};

/* The weights by differentiable ops. A row without keys has none. */
static cr_tensor *open_weights(const cr_gradient_call *call, cr_tensor *query, cr_tensor *key)
{
    const struct flash_attributes *attributes = call->attributes;
    cr_tensor *mask = CALL_INPUT(call, IN_MASK);
    cr_tensor *scores = cr_matmul(query, cr_transpose(key, -2, -1));
    scores = cr_mul_scalar(scores, attributes->scale);
    if (mask && mask->dtype == CR_BOOL)
        scores = cr_masked_fill(scores, cr_logical_not(mask), -INFINITY);
    else if (mask)
        scores = cr_add(scores, mask);
    if (attributes->is_causal) {
        cr_tensor *ones = cr_ones_with((cr_tensor_args){
            .shape = CR_SHAPE(cr_dim(scores, -2), cr_dim(scores, -1)), .dtype = CR_BOOL });
        scores = cr_masked_fill(scores, cr_triu(ones, 1), -INFINITY);
    }
    cr_tensor *none = cr_eq(call->outputs[1], cr_scalar(-INFINITY));
    scores = cr_masked_fill(scores, cr_unsqueeze(none, -1), 0);
    return cr_masked_fill(cr_softmax(scores, -1), cr_unsqueeze(none, -1), 0);
}

/* The gradients as functions of the inputs that have gradients again; takes memory for scores. */
static cr_status open_backward(cr_gradient_call *call)
{
    const struct flash_attributes *attributes = call->attributes;
    if (attributes->dropout_p > 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "scaled_dot_product_attention: has no second-order gradient with "
                            "dropout; pass .dropout_p = 0 where create_graph is wanted");
    cr_dtype computed = computed_in(call->inputs[IN_QUERY]);
    cr_tensor *grad = cr_to_dtype(call->grad_outputs[0], computed);
    cr_tensor *query = cr_to_dtype(call->inputs[IN_QUERY], computed);
    cr_tensor *key = cr_to_dtype(call->inputs[IN_KEY], computed);
    cr_tensor *value = cr_to_dtype(call->inputs[IN_VALUE], computed);
    cr_tensor *weights = open_weights(call, query, key);
    cr_tensor *d = cr_matmul(grad, cr_transpose(value, -2, -1));
    cr_tensor *mean = cr_sum_dims(cr_mul(d, weights), CR_SHAPE(-1), true);
    d = cr_mul(weights, cr_sub(d, mean));
    cr_tensor *scaled = cr_mul_scalar(d, attributes->scale);
    if (call->needs[IN_QUERY])
        give_broadcast(call, IN_QUERY, cr_matmul(scaled, key));
    if (call->needs[IN_KEY])
        give_broadcast(call, IN_KEY, cr_matmul(cr_transpose(scaled, -2, -1), query));
    if (call->needs[IN_VALUE])
        give_broadcast(call, IN_VALUE, cr_matmul(cr_transpose(weights, -2, -1), grad));
    if (call->input_count > IN_MASK && call->needs[IN_MASK])
        give_broadcast(call, IN_MASK, d);
    return CR_OK;
}

static cr_status flash_backward(cr_gradient_call *call)
{
    struct backward_attributes attributes = {
        .forward = *(const struct flash_attributes *)call->attributes,
        .needs_mask = call->input_count > IN_MASK && call->needs[IN_MASK],
    };
    cr_tensor *grads[CR_MAX_OUTPUTS];
    if (!call->grad_outputs[0])
        return CR_OK;
    if (cr_grad_enabled())
        return open_backward(call);
    cr_status status =
        cr_apply_all(&flash_backward_op,
                     CR_INPUTS(call->inputs[IN_QUERY], call->inputs[IN_KEY], call->inputs[IN_VALUE],
                               call->outputs[0], call->outputs[1], call->grad_outputs[0],
                               CALL_INPUT(call, IN_MASK)),
                     &attributes, grads);
    for (int i = 0; i < call->input_count && status == CR_OK; i++) {
        if (call->needs[i])
            give_broadcast(call, i, grads[i]);
    }
    return status;
}

/* Keys before each query: 0, the others -inf. */
static cr_onnx_value causal_bias(cr_onnx_call *call)
{
    int64_t queries = cr_onnx_fixed_size(call, IN_QUERY, -2);
    int64_t keys = cr_onnx_fixed_size(call, IN_KEY, -2);
    if (cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    cr_dtype dtype = call->input_specs[IN_QUERY].dtype;
    cr_tensor *bias = cr_full(-INFINITY, CR_SHAPE(queries, keys), .dtype = dtype);
    cr_onnx_value made = cr_onnx_tensor(call, cr_triu(bias, 1));
    cr_frame_end(frame);
    return made;
}

static cr_status flash_onnx(cr_onnx_call *call)
{
    const struct flash_attributes *attributes = call->attributes;
    struct onnx_attention attention = {
        .query = call->inputs[IN_QUERY],
        .value = call->inputs[IN_VALUE],
        .mask = ONNX_INPUT(call, IN_MASK),
        .bias = attributes->is_causal ? causal_bias(call) : 0,
        .scale = attributes->scale,
        .dtype = call->input_specs[IN_QUERY].dtype,
    };
    if (attributes->dropout_p > 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "with dropout");
    attention.is_bool = attention.mask && call->input_specs[IN_MASK].dtype == CR_BOOL;
    attention.transposed_key = cr_onnx_permute(call, call->inputs[IN_KEY],
                                               onnx_last_exchanged(call->input_specs[IN_KEY].ndim));
    return onnx_result(call, onnx_attend(call, &attention));
}

static const cr_op flash_op = {
    .name = "_scaled_dot_product_flash_attention",
    .summary = "softmax(scale query keyᵀ + mask) value without storing the scores",
    .input_names = "query key value mask",
    .attributes = flash_table,
    .attribute_size = sizeof(struct flash_attributes),
    .min_inputs = IN_MASK,
    .max_inputs = IN_COUNT,
    .output_count = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(IN_QUERY) | CR_SAVE(IN_KEY) | CR_SAVE(IN_VALUE) | CR_SAVE(IN_MASK),
    .save_outputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = flash_infer,
    .workspace = flash_workspace,
    .forward = { [CR_CPU] = flash_forward },
    .backward = flash_backward,
    .onnx = flash_onnx,
    .multiply_adds = flash_multiply_adds,
};

/* ---- scaled_dot_product_attention ---- */

struct attention_attributes {
    double dropout_p;
    bool is_causal;
    double scale;
    bool enable_gqa;
};

static const cr_attribute attention_table[] = {
    CR_ATTRIBUTE(struct attention_attributes, FLOAT, dropout_p),
    CR_ATTRIBUTE(struct attention_attributes, BOOL, is_causal),
    CR_ATTRIBUTE(struct attention_attributes, FLOAT, scale),
    CR_ATTRIBUTE(struct attention_attributes, BOOL, enable_gqa),
    CR_ATTRIBUTE_END,
};

/* Takes the random numbers of a call from the thread's generator. */
static cr_status draw(struct flash_attributes *flash, cr_tensor *const *in)
{
    cr_shape batch;
    if (common_batch(in, IN_COUNT, &batch) != CR_OK)
        return cr_error_status();
    struct attention_job job = { .batch = cr_shape_numel(&batch),
                                 .queries = from_end(in[IN_QUERY], 2),
                                 .keys = from_end(in[IN_KEY], 2) };
    cr_generator *generator = cr_default_generator();
    flash->seed = (int64_t)generator->seed;
    flash->stream = (int64_t)generator->stream;
    flash->first = (int64_t)cr_generator_reserve(generator, attention_random_blocks(&job));
    return CR_OK;
}

/* Gives query a dimension for the heads that share one of key and value, which broadcast along it.
 * (…, H, L, E) becomes (…, heads of key, H / heads of key, L, E). */
static cr_status group_heads(cr_tensor **in)
{
    if (in[IN_QUERY]->shape.ndim < 3 || in[IN_KEY]->shape.ndim < 3 || in[IN_VALUE]->shape.ndim < 3)
        return cr_error_set(CR_ERROR_SHAPE, "enable_gqa needs a dimension of heads");
    int64_t heads = from_end(in[IN_QUERY], 3), shared = from_end(in[IN_KEY], 3);
    if (shared == 0 || heads % shared || from_end(in[IN_VALUE], 3) != shared)
        return cr_error_set(
            CR_ERROR_SHAPE, "%lld heads of key and %lld of value do not divide the %lld of query",
            (long long)shared, (long long)from_end(in[IN_VALUE], 3), (long long)heads);
    in[IN_QUERY] = cr_unflatten(in[IN_QUERY], -3, CR_SHAPE(shared, heads / shared));
    for (int i = IN_KEY; i <= IN_VALUE; i++)
        in[i] = cr_unsqueeze(in[i], -3);
    cr_tensor *mask = in[IN_MASK];
    if (mask && mask->shape.ndim >= 3)
        in[IN_MASK] = from_end(mask, 3) == 1
                          ? cr_unsqueeze(mask, -3)
                          : cr_unflatten(mask, -3, CR_SHAPE(shared, heads / shared));
    return cr_error_status();
}

static cr_status convert(const cr_compose_call *call, cr_tensor **in)
{
    for (int i = IN_QUERY; i <= IN_VALUE; i++) {
        if (require_floating(call->inputs[i], "query, key or value") != CR_OK)
            return cr_error_status();
    }
    cr_dtype computed = computed_in(call->inputs[IN_QUERY]);
    bool is_bf16 = true;
    for (int i = IN_QUERY; i <= IN_VALUE; i++)
        is_bf16 = is_bf16 && call->inputs[i]->dtype == CR_BF16;
    for (int i = IN_QUERY; i < call->input_count; i++) {
        in[i] = call->inputs[i];
        if (in[i] && in[i]->dtype != CR_BOOL && (i == IN_MASK || !is_bf16))
            in[i] = cr_to_dtype(in[i], computed);
    }
    return cr_error_status();
}

static cr_status attention_open(const cr_compose_call *call, cr_tensor **in,
                                struct flash_attributes *flash)
{
    const struct attention_attributes *attributes = call->attributes;
    if (!(attributes->dropout_p >= 0 && attributes->dropout_p <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "dropout_p is a probability, not %g",
                            attributes->dropout_p);
    if (convert(call, in) != CR_OK || check_inputs(in, in[IN_MASK]) != CR_OK)
        return cr_error_status();
    double depth = (double)CR_MAX(from_end(in[IN_QUERY], 1), 1);
    flash->scale = attributes->scale == 0 ? 1 / sqrt(depth) : attributes->scale;
    flash->is_causal = attributes->is_causal;
    flash->dropout_p = attributes->dropout_p;
    if (attributes->enable_gqa && group_heads(in) != CR_OK)
        return cr_error_status();
    return flash->dropout_p > 0 ? draw(flash, in) : CR_OK;
}

static cr_status attention_compose(cr_compose_call *call)
{
    const struct attention_attributes *attributes = call->attributes;
    struct flash_attributes flash = { .scale = 0 };
    cr_tensor *in[IN_COUNT] = { NULL };
    if (attention_open(call, in, &flash) != CR_OK) {
        cr_error_prefix("scaled_dot_product_attention");
        return cr_error_status();
    }
    cr_tensor *out = cr_apply(&flash_op, (cr_inputs){ IN_COUNT, in }, &flash);
    if (attributes->enable_gqa)
        out = cr_flatten(out, -4, -3);
    call->outputs[0] = cr_to_dtype(out, (cr_dtype)call->inputs[IN_QUERY]->dtype);
    return cr_error_status();
}

static const cr_op attention_op = {
    .name = "scaled_dot_product_attention",
    .summary = "softmax(scale query keyᵀ + mask) value",
    .input_names = "query key value attn_mask",
    .attributes = attention_table,
    .attribute_size = sizeof(struct attention_attributes),
    .min_inputs = IN_MASK,
    .max_inputs = IN_COUNT,
    .flags = CR_OP_RANDOM,
    .cast = CR_CAST_LOWER,
    .compose = attention_compose,
};

cr_tensor *cr_scaled_dot_product_attention_with(cr_attention_args args)
{
    struct attention_attributes attributes = { args.dropout_p, args.is_causal, args.scale,
                                               args.enable_gqa };
    return cr_apply(&attention_op, CR_INPUTS(args.query, args.key, args.value, args.attn_mask),
                    &attributes);
}

OP_FAMILY(attention_ops) = {
    &attention_op,
    &flash_op,
    &flash_backward_op,
    NULL,
};
