/* Attention and recurrent layers, forward and backward. */
#include "kernels/attention/attention.h"
#include "kernels/recurrent/recurrent.h"
#include "trials.h"

/* ---- attention ---- */

/* A matrix for each of n by heads products: (n, heads, rows, columns), or heads inside the rows. */
static struct attention_operand matrices(struct trial *t, cr_dtype dtype,
                                         const struct attention_job *job, int64_t rows,
                                         int64_t columns)
{
    int64_t n = job->batch_size[0], heads = job->batch_size[1];
    struct attention_operand o = { .row = columns, .column = 1 };
    o.batch[0] = heads * rows * columns;
    o.batch[1] = rows * columns;
    if (flip(t)) {
        o.row = heads * columns;
        o.batch[1] = columns;
    } else if (draw(t, 0, 3) == 0) {
        o.row = 1;
        o.column = rows;
    }
    o.data = operand(t, dtype, n * heads * rows * columns);
    return o;
}

static double far(const struct attention_job *job, double scale)
{
    return scale * (job->type == CR_GEMM_F64 ? 1e-12 : job->is_bf16 ? 2e-2 : 1e-4);
}

static void *gradient(struct trial *t, const struct attention_job *job, int64_t count)
{
    cr_dtype dtype = job->type == CR_GEMM_F64 ? CR_F64 : CR_F32;
    return close_result(t, dtype, count, 64 * one_unit(job->is_bf16 ? CR_BF16 : dtype) / 16,
                        far(job, 4));
}

static void draw_mask(struct trial *t, struct attention_job *job, cr_dtype dtype)
{
    if (flip(t))
        return;
    job->mask_is_bool = flip(t);
    job->mask = (struct attention_operand){ .row = job->keys, .column = 1 };
    job->mask.batch[0] = flip(t) ? job->queries * job->keys : 0;
    int64_t count = (job->mask.batch[0] ? job->batch_size[0] : 1) * job->queries * job->keys;
    job->mask.data = operand(t, job->mask_is_bool ? CR_BOOL : dtype, count);
}

static void attend(struct trial *t, int64_t longest)
{
    struct attention_job job = { .type = draw(t, 0, 3) ? CR_GEMM_F32 : CR_GEMM_F64,
                                 .batch_dims = 2,
                                 .batch_size = { draw(t, 1, 2), draw(t, 1, 3) },
                                 .queries = draw(t, 1, longest),
                                 .keys = draw(t, 1, longest),
                                 .depth = draw(t, 1, 40),
                                 .value_depth = draw(t, 1, 40),
                                 .scale = 0.2,
                                 .causal = draw(t, 0, 2) == 0,
                                 .dropout = draw(t, 0, 2) ? 0 : 0.25,
                                 .random = { 1, 2, 3 } };
    job.batch = job.batch_size[0] * job.batch_size[1];
    job.is_bf16 = job.type == CR_GEMM_F32 && draw(t, 0, 2) == 0;
    cr_dtype dtype = job.type == CR_GEMM_F64 ? CR_F64 : CR_F32;
    cr_dtype kept = job.is_bf16 ? CR_BF16 : dtype;
    job.q = matrices(t, kept, &job, job.queries, job.depth);
    job.k = matrices(t, kept, &job, job.keys, job.depth);
    job.v = matrices(t, kept, &job, job.keys, job.value_depth);
    draw_mask(t, &job, dtype);
    int64_t out = job.batch * job.queries * job.value_depth;
    job.out = close_result(t, kept, out, 2 * one_unit(kept), far(&job, 0.2));
    job.log_sum = close_result(t, dtype, job.batch * job.queries, 0, far(&job, 0.2));
    attention_run_forward(&job, workspace(t, attention_workspace(&job, false)));
    job.grad = matrices(t, kept, &job, job.queries, job.value_depth);
    job.grad_q = gradient(t, &job, job.batch * job.queries * job.depth);
    job.grad_k = gradient(t, &job, job.batch * job.keys * job.depth);
    job.grad_v = gradient(t, &job, job.batch * job.keys * job.value_depth);
    if (flip(t))
        job.grad_mask = gradient(t, &job, job.batch * job.queries * job.keys);
    attention_run_backward(&job, workspace(t, attention_workspace(&job, true)));
}

static void few_keys(struct trial *t)
{
    attend(t, 60);
}

static void many_keys(struct trial *t)
{
    attend(t, 300);
}

/* ---- recurrent layers ---- */

static double drift(cr_dtype dtype, double scale)
{
    return scale * 4096 * one_unit(dtype);
}

static void run_gradients(struct trial *t, const struct recurrent_layer *layer, cr_dtype dtype,
                          const void *x, const void *y, const void *weight)
{
    int64_t rows = layer->steps * layer->batch, h = layer->hidden, in = layer->input;
    int64_t gates = recurrent_gates(layer->cell), all = recurrent_gate_gradients(layer->cell);
    struct recurrent_gradients job = { .x = x, .y = y, .weight_ih = weight };
    job.grad_gates = operand_within(t, dtype, rows * all * h, -1, 1);
    job.grad_x = close_result(t, dtype, rows * in, 0, sum_error(dtype, gates * h));
    job.grad_weight_ih = close_result(t, dtype, gates * h * in, 0, sum_error(dtype, rows));
    job.grad_weight_hh = close_result(t, dtype, gates * h * h, 0, sum_error(dtype, rows));
    job.grad_bias = close_result(t, dtype, all * h, 0, sum_error(dtype, rows));
    recurrent_run_gradients(layer, &job, workspace(t, recurrent_gradients_workspace(layer)));
}

static void recurrent(struct trial *t)
{
    cr_dtype dtype = draw(t, 0, 2) ? CR_F32 : CR_F64;
    struct recurrent_layer layer = {
        .type = dtype == CR_F64 ? CR_GEMM_F64 : CR_GEMM_F32,
        .cell = (enum recurrent_cell)draw(t, 0, RECURRENT_CELL_COUNT - 1),
        .batch = draw(t, 1, 20),
        .steps = draw(t, 1, 6),
        .input = draw(t, 1, 20),
        .hidden = draw(t, 1, 50),
        .batch_first = flip(t),
        .reverse = flip(t),
    };
    int64_t lengths[20], n = layer.batch, h = layer.hidden, rows = layer.steps * n;
    for (int64_t i = 0; i < n; i++)
        lengths[i] = draw(t, 1, layer.steps);
    if (flip(t))
        layer.lengths = operand_of(t, lengths, (size_t)n * sizeof(int64_t));
    int64_t gates = recurrent_gates(layer.cell), kept = recurrent_reserve(layer.cell);
    bool is_lstm = layer.cell == RECURRENT_LSTM;
    struct recurrent_forward forward = { .c0 = NULL };
    forward.x = operand(t, dtype, rows * layer.input);
    forward.weight_ih = operand_within(t, dtype, gates * h * layer.input, -0.2, 0.2);
    forward.weight_hh = operand_within(t, dtype, gates * h * h, -0.2, 0.2);
    if (flip(t)) {
        forward.bias_ih = operand(t, dtype, gates * h);
        forward.bias_hh = operand(t, dtype, gates * h);
    }
    if (flip(t)) {
        forward.h0 = operand_within(t, dtype, n * h, -1, 1);
        forward.c0 = is_lstm ? operand_within(t, dtype, n * h, -1, 1) : NULL;
    }
    double allowed = drift(dtype, 1), relative = 4096 * one_unit(dtype);
    forward.y = close_result(t, dtype, rows * h, relative, allowed);
    forward.h_n = close_result(t, dtype, n * h, relative, allowed);
    forward.c_n = is_lstm ? close_result(t, dtype, n * h, relative, allowed) : NULL;
    forward.reserve = kept ? workspace(t, (size_t)(rows * kept * h) * cr_dtype_size(dtype)) : NULL;
    recurrent_run_forward(&layer, &forward,
                          workspace(t, recurrent_forward_workspace(&layer, kept > 0)));
    struct recurrent_backward back = { .weight_hh = forward.weight_hh,
                                       .y = forward.y,
                                       .reserve = forward.reserve,
                                       .h0 = forward.h0,
                                       .c0 = forward.c0 };
    back.grad_y = operand(t, dtype, rows * h);
    back.grad_h_n = operand(t, dtype, n * h);
    back.grad_c_n = is_lstm ? operand(t, dtype, n * h) : NULL;
    int64_t all = recurrent_gate_gradients(layer.cell);
    double steep = drift(dtype, 16);
    back.grad_gates = close_result(t, dtype, rows * all * h, relative, steep);
    back.grad_h0 = close_result(t, dtype, n * h, relative, steep);
    back.grad_c0 = is_lstm ? close_result(t, dtype, n * h, relative, steep) : NULL;
    recurrent_run_backward(&layer, &back, workspace(t, recurrent_backward_workspace(&layer)));
    run_gradients(t, &layer, dtype, forward.x, operand(t, dtype, rows * h), forward.weight_ih);
}

const struct variant_case sequence_cases[] = {
    { CR_FAMILY_attention_kernels, "few keys", few_keys, 80 },
    { CR_FAMILY_attention_kernels, "many keys", many_keys, 16 },
    { CR_FAMILY_recurrent_kernels, "layers", recurrent, 80 },
    { .run = NULL },
};
