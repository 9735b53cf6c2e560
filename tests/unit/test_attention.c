/* The kernels of attention of every instruction set against plain loops in double precision: random
 * sizes, masks, biases and windows, both forms, and nothing written beside the results. */
#include "kernels/attention/attention.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/memory.h"

#define GUARD 32 /* numbers around a result that must stay as they were */
#define MARK  12345.0F

enum { BATCH = 2, HEADS = 3, RESULTS = 6 };
enum { OUT, GRAD_Q, GRAD_K, GRAD_V, GRAD_BIAS, LOG_SUM };

static uint64_t state = 1;

static int64_t draw(int64_t low, int64_t high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static float *random_numbers(int64_t count)
{
    float *numbers = cr_alloc_array((size_t)count, sizeof *numbers);
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (float)draw(-1000, 1000) / 500;
    return numbers;
}

/* Self-attention over packed rows (BATCH, rows, 3, HEADS, depth), or, without positions, the same
 * with windows of successive rows. */
struct work {
    int64_t windows, size, depth;
    bool is_short; /* with positions, bias and results in place */
    bool causal;
    float *qkv, *grad, *bias, *mask;
    int64_t *positions;
    float *result[RESULTS];
    int64_t count[RESULTS];
};

static int64_t rows_of(const struct work *w)
{
    return w->windows * w->size;
}

static int64_t width_of(const struct work *w)
{
    return HEADS * w->depth;
}

static void work_make(struct work *w)
{
    int64_t rows = rows_of(w), width = width_of(w), square = w->size * w->size;
    w->qkv = random_numbers(BATCH * rows * 3 * width);
    w->grad = random_numbers(BATCH * rows * width);
    w->bias = random_numbers(HEADS * square);
    w->mask = random_numbers(w->windows * square);
    w->positions = cr_alloc_array((size_t)rows, sizeof *w->positions);
    for (int64_t i = 0; i < rows; i++) {
        int64_t other = draw(0, i);
        w->positions[i] = w->positions[other];
        w->positions[other] = i;
    }
    for (int64_t i = 0; i < rows && !w->is_short; i++)
        w->positions[i] = i;
    for (int i = 0; i < w->windows * square / 7; i++)
        w->mask[draw(0, w->windows * square - 1)] = i % 2 ? -INFINITY : -100;
    for (int i = 0; i < RESULTS; i++)
        w->count[i] = BATCH * rows * width;
    w->count[GRAD_BIAS] = HEADS * square;
    w->count[LOG_SUM] = BATCH * rows * HEADS;
    for (int i = 0; i < RESULTS; i++)
        w->result[i] = cr_alloc_array((size_t)(w->count[i] + 2 * GUARD), sizeof(float));
}

static void work_free(struct work *w)
{
    float *own[] = { w->qkv, w->grad, w->bias, w->mask };
    for (int i = 0; i < CR_COUNT_OF(own); i++)
        cr_free(own[i]);
    for (int i = 0; i < RESULTS; i++)
        cr_free(w->result[i]);
    cr_free(w->positions);
}

/* Where row i of a window is, of rows `width` wide. */
static int64_t row_at(const struct work *w, int64_t n, int64_t window, int64_t i, int64_t width)
{
    return (n * rows_of(w) + w->positions[window * w->size + i]) * width;
}

/* ---- plainly ---- */

struct plain {
    const struct work *work;
    double *result[RESULTS];
};

static double dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* The weights of query i, and the logarithm of the sum of their exponentials. */
static double plain_weights(const struct work *w, int64_t n, int64_t window, int64_t head,
                            int64_t i, double *weights)
{
    int64_t width = width_of(w), at = head * w->depth;
    const float *q = w->qkv + row_at(w, n, window, i, 3 * width) + at;
    double total = 0;
    for (int64_t j = 0; j < w->size; j++) {
        const float *k = w->qkv + row_at(w, n, window, j, 3 * width) + width + at;
        double score = 0.25 * dot(q, k, w->depth);
        score += (double)w->mask[(window * w->size + i) * w->size + j];
        if (w->is_short)
            score += (double)w->bias[(head * w->size + i) * w->size + j];
        weights[j] = w->causal && j > i ? 0 : exp(score);
        total += weights[j];
    }
    for (int64_t j = 0; j < w->size; j++)
        weights[j] = total > 0 ? weights[j] / total : 0;
    return log(total);
}

static void plain_query(const struct plain *p, int64_t n, int64_t window, int64_t head, int64_t i)
{
    const struct work *w = p->work;
    double weights[ATTENTION_SHORT * 2], d[ATTENTION_SHORT * 2], mean = 0;
    int64_t width = width_of(w), at = head * w->depth;
    double log_sum = plain_weights(w, n, window, head, i, weights);
    p->result[LOG_SUM][((n * w->windows + window) * HEADS + head) * w->size + i] = log_sum;
    const float *grad = w->grad + row_at(w, n, window, i, width) + at;
    for (int64_t j = 0; j < w->size; j++) {
        const float *v = w->qkv + row_at(w, n, window, j, 3 * width) + 2 * width + at;
        d[j] = dot(grad, v, w->depth);
        mean += d[j] * weights[j];
    }
    int64_t own = row_at(w, n, window, i, width) + at;
    for (int64_t j = 0; j < w->size; j++) {
        int64_t other = row_at(w, n, window, j, width) + at;
        const float *row = w->qkv + row_at(w, n, window, j, 3 * width) + at;
        const float *q = w->qkv + row_at(w, n, window, i, 3 * width) + at;
        double slope = weights[j] * (d[j] - mean);
        p->result[GRAD_BIAS][(head * w->size + i) * w->size + j] += slope;
        for (int64_t e = 0; e < w->depth; e++) {
            p->result[OUT][own + e] += weights[j] * (double)row[2 * width + e];
            p->result[GRAD_Q][own + e] += 0.25 * slope * (double)row[width + e];
            p->result[GRAD_K][other + e] += 0.25 * slope * (double)q[e];
            p->result[GRAD_V][other + e] += weights[j] * (double)grad[e];
        }
    }
}

static struct plain plain_run(const struct work *w)
{
    struct plain p = { .work = w };
    for (int i = 0; i < RESULTS; i++)
        p.result[i] = cr_alloc_zeroed((size_t)w->count[i], sizeof(double));
    for (int64_t n = 0; n < BATCH; n++)
        for (int64_t window = 0; window < w->windows; window++)
            for (int64_t head = 0; head < HEADS; head++)
                for (int64_t i = 0; i < w->size; i++)
                    plain_query(&p, n, window, head, i);
    return p;
}

/* ---- by kernels ---- */

static struct attention_operand operand(const void *data, int64_t row, const struct work *w)
{
    int64_t window = w->is_short ? 0 : w->size * row;
    return (struct attention_operand){
        .data = data, .row = row, .column = 1, .batch = { rows_of(w) * row, window, w->depth }
    };
}

static struct attention_result result(const struct work *w, int which)
{
    int64_t row = width_of(w);
    return (struct attention_result){ .data = w->result[which] + GUARD,
                                      .row = row,
                                      .batch = { rows_of(w) * row, 0, w->depth } };
}

static struct attention_job job_of(const struct work *w)
{
    int64_t width = width_of(w), square = w->size * w->size;
    struct attention_job job = {
        .type = CR_GEMM_F32,
        .batch_dims = 3,
        .batch_size = { BATCH, w->windows, HEADS },
        .batch = BATCH * w->windows * HEADS,
        .queries = w->size,
        .keys = w->size,
        .depth = w->depth,
        .value_depth = w->depth,
        .scale = 0.25,
        .causal = w->causal,
        .q = operand(w->qkv, 3 * width, w),
        .k = operand(w->qkv + width, 3 * width, w),
        .v = operand(w->qkv + 2 * width, 3 * width, w),
        .grad = operand(w->grad, width, w),
        .mask = { w->mask, w->size, 1, { 0, square, 0 } },
        .log_sum = w->result[LOG_SUM] + GUARD,
    };
    if (w->is_short) {
        job.positions = (struct attention_operand){ w->positions, 0, 0, { 0, w->size, 0 } };
        job.bias = (struct attention_operand){ w->bias, w->size, 1, { 0, 0, square } };
        job.grad_bias = w->result[GRAD_BIAS] + GUARD;
        job.to_out = result(w, OUT);
        job.to_q = result(w, GRAD_Q);
        job.to_k = result(w, GRAD_K);
        job.to_v = result(w, GRAD_V);
        return job;
    }
    job.out = w->result[OUT] + GUARD;
    job.grad_q = w->result[GRAD_Q] + GUARD;
    job.grad_k = w->result[GRAD_K] + GUARD;
    job.grad_v = w->result[GRAD_V] + GUARD;
    return job;
}

/* Element (n, window, head, i, e) of a contiguous result is where that of rows in place is. */
static int64_t place(const struct work *w, int which, int64_t index)
{
    if (w->is_short || which >= GRAD_BIAS)
        return index;
    int64_t e = index % w->depth, head = index / w->depth % HEADS;
    int64_t row = index / width_of(w);
    return ((row / w->size * HEADS + head) * w->size + row % w->size) * w->depth + e;
}

static void compare(const struct work *w, const struct plain *p)
{
    for (int i = 0; i < RESULTS; i++) {
        if (i == GRAD_BIAS && !w->is_short)
            continue;
        for (int64_t j = 0; j < GUARD; j++) {
            assert_true(w->result[i][j] == MARK);
            assert_true(w->result[i][GUARD + w->count[i] + j] == MARK);
        }
        for (int64_t j = 0; j < w->count[i]; j++) {
            double is = (double)w->result[i][GUARD + place(w, i, j)], wanted = p->result[i][j];
            assert_true(is == wanted || fabs(is - wanted) <= 3e-5 * (1 + fabs(wanted)));
        }
    }
}

static void run_kernels(const struct work *w, const struct plain *p)
{
    for (int isa = CR_ISA_PORTABLE; isa < CR_ISA_COUNT; isa++) {
        if (!cr_cpu_has_isa((cr_isa)isa))
            continue;
        cr_use_isa((cr_isa)isa);
        for (int i = 0; i < RESULTS; i++)
            for (int64_t j = 0; j < w->count[i] + 2 * GUARD; j++)
                w->result[i][j] = MARK;
        struct attention_job job = job_of(w);
        size_t bytes = attention_workspace(&job, false);
        void *workspace = cr_buffer_alloc(bytes);
        attention_run_forward(&job, workspace);
        cr_buffer_free(workspace, bytes);
        bytes = attention_workspace(&job, true);
        workspace = cr_buffer_alloc(bytes);
        attention_run_backward(&job, workspace);
        cr_buffer_free(workspace, bytes);
        compare(w, p);
    }
    cr_use_isa(CR_ISA_COUNT);
}

static void check(struct work w)
{
    work_make(&w);
    struct plain p = plain_run(&w);
    run_kernels(&w, &p);
    for (int i = 0; i < RESULTS; i++)
        cr_free(p.result[i]);
    work_free(&w);
}

static void test_windows(void **unused)
{
    (void)unused;
    for (int i = 0; i < 12; i++)
        check((struct work){ .windows = draw(1, 3),
                             .size = draw(1, 70),
                             .depth = draw(1, 70),
                             .is_short = true,
                             .causal = draw(0, 3) == 0 });
    check((struct work){ .windows = 2, .size = 49, .depth = 32, .is_short = true });
    check((struct work){ .windows = 1, .size = 128, .depth = 128, .is_short = true });
}

static void test_batches(void **unused)
{
    (void)unused;
    static const int64_t sizes[][2] = { { 3, 7 }, { 128, 20 }, { 40, 129 }, { 150, 33 } };
    for (int i = 0; i < CR_COUNT_OF(sizes); i++)
        check((struct work){
            .windows = 2, .size = sizes[i][0], .depth = sizes[i][1], .causal = i % 2 });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
