/* Batch norm's running statistics, fusion and recomputation; the kernels of all instruction sets
 * against each other; cross-entropy's options and messages; and all of it out of memory. What
 * PyTorch can tell is compared with it in tests/oracle. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "kernels/norm/norm.h"

/* Numbers of some spread, the same in every run. */
static void fill(float *values, int64_t count, uint32_t seed)
{
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / (1 << 22) - 2.0f;
    }
}

#define MOST 4096

static cr_tensor *numbers(cr_shape shape, uint32_t seed)
{
    float values[MOST];
    int64_t count = cr_shape_numel(&shape);
    assert_true(count <= MOST);
    fill(values, count, seed);
    return cr_from_buffer(values, shape, CR_F32);
}

static void check_close(const cr_tensor *a, const cr_tensor *b, double tolerance)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(cr_numel(a), cr_numel(b));
    for (int64_t i = 0; i < cr_numel(a); i++)
        assert_float_equal(cr_element(a, i), cr_element(b, i), tolerance);
}

/* ---- running statistics ---- */

static void test_running_statistics(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = numbers(CR_SHAPE(3, 2, 5), 1);
    cr_tensor *mean = cr_full(0.5, CR_SHAPE(2));
    cr_tensor *var = cr_full(2.0, CR_SHAPE(2));
    assert_non_null(cr_functional_batch_norm(x, .running_mean = mean, .running_var = var,
                                             .training = true, .momentum = 0.25));
    for (int c = 0; c < 2; c++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < 15; i++)
            sum += cr_element(x, i / 5 * 10 + c * 5 + i % 5);
        for (int i = 0; i < 15; i++)
            squares += pow(cr_element(x, i / 5 * 10 + c * 5 + i % 5) - sum / 15, 2);
        assert_float_equal(cr_element(mean, c), 0.75 * 0.5 + 0.25 * sum / 15, 1e-6);
        assert_float_equal(cr_element(var, c), 0.75 * 2 + 0.25 * squares / 14, 1e-6);
    }
    cr_tensor *before = cr_clone(mean);
    assert_non_null(cr_functional_batch_norm(x, .running_mean = mean, .running_var = var));
    check_close(mean, before, 0);
    cr_frame_end(frame);
}

/* As batch norm's of each sample, averaged. */
static void test_instance_norm_statistics(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = numbers(CR_SHAPE(2, 3, 5), 13);
    cr_tensor *mean = cr_zeros(CR_SHAPE(3));
    cr_tensor *var = cr_ones(CR_SHAPE(3));
    assert_non_null(cr_functional_instance_norm(x, mean, var, .momentum = 0.5));
    cr_tensor *means;
    cr_tensor *vars = cr_var_mean(&means, x, .dims = CR_SHAPE(2));
    for (int c = 0; c < 3; c++) {
        double sums[2] = { cr_element(means, c) + cr_element(means, 3 + c),
                           cr_element(vars, c) + cr_element(vars, 3 + c) };
        assert_float_equal(cr_element(mean, c), 0.5 * sums[0] / 2, 1e-6);
        assert_float_equal(cr_element(var, c), 0.5 + 0.5 * sums[1] / 2, 1e-6);
    }
    cr_frame_end(frame);
}

static cr_tensor *normalize_and_count(cr_tensor *const *inputs, int count, void *context)
{
    (void)count;
    cr_tensor **running = context;
    return cr_functional_batch_norm(inputs[0], .running_mean = running[0],
                                    .running_var = running[1], .training = true);
}

/* Recomputing what a checkpoint forgot must not count the batch twice. */
static void test_checkpoint_updates_once(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_set_requires_grad(numbers(CR_SHAPE(4, 3), 2), true);
    cr_tensor *running[] = { cr_zeros(CR_SHAPE(3)), cr_ones(CR_SHAPE(3)) };
    cr_tensor *y = cr_checkpoint(normalize_and_count, &x, 1, running);
    cr_tensor *once = cr_clone(running[0]);
    assert_true(cr_element(once, 0) != 0);
    assert_int_equal(cr_backward(cr_sum(cr_mul(y, y))), CR_OK);
    check_close(running[0], once, 0);
    cr_frame_end(frame);
}

/* ---- fusion ---- */

static void check_fusion(cr_shape shape, bool training)
{
    cr_frame frame = cr_frame_begin();
    int64_t channels = shape.dim[1];
    cr_tensor *leaves[2][4];
    cr_tensor *mean = cr_full(0.1, CR_SHAPE(channels));
    cr_tensor *var = cr_full(1.5, CR_SHAPE(channels));
    for (int fused = 0; fused < 2; fused++) {
        cr_tensor **in = leaves[fused];
        in[0] = cr_set_requires_grad(numbers(shape, 3), true);
        in[1] = cr_set_requires_grad(numbers(CR_SHAPE(channels), 4), true);
        in[2] = cr_set_requires_grad(numbers(CR_SHAPE(channels), 5), true);
        in[3] = cr_set_requires_grad(numbers(shape, 6), true);
        cr_tensor *y = cr_functional_batch_norm(in[0], .weight = in[1], .bias = in[2],
                                                .running_mean = cr_clone(mean),
                                                .running_var = cr_clone(var), .training = training,
                                                .relu = fused, .residual = fused ? in[3] : NULL);
        if (!fused)
            y = cr_relu(cr_add(y, in[3]));
        assert_int_equal(cr_backward(cr_sum(cr_mul(y, numbers(shape, 7)))), CR_OK);
    }
    for (int i = 0; i < 4; i++)
        check_close(cr_grad_of(leaves[1][i]), cr_grad_of(leaves[0][i]), 1e-4);
    cr_frame_end(frame);
}

static void test_fusion(void **state)
{
    (void)state;
    check_fusion(CR_SHAPE(4, 3, 7, 5), true);
    check_fusion(CR_SHAPE(4, 3, 7, 5), false);
    check_fusion(CR_SHAPE(9, 70), true);
    check_fusion(CR_SHAPE(9, 70), false);
}

/* A mean that is large beside the deviation must not eat the variance. */
static void test_far_from_zero(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_add_scalar(numbers(CR_SHAPE(8, 1, 50), 8), 1000.0);
    cr_tensor *y = cr_functional_batch_norm(x, .training = true);
    double squares = 0;
    for (int64_t i = 0; i < 400; i++)
        squares += cr_element(y, i) * cr_element(y, i);
    assert_float_equal(squares / 400, 1, 1e-4);
    cr_frame_end(frame);
}

/* A window that is wider than there are channels takes no longer. */
static void test_wide_response(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = numbers(CR_SHAPE(2, 3, 4), 14);
    assert_non_null(cr_local_response_norm(x, INT64_MAX, 1e-4, 0.75, 1));
    cr_frame_end(frame);
}

/* ---- instruction sets ---- */

extern const struct norm_kernels norm_kernels_portable[NORM_TYPE_COUNT];

static void check_arrays(const float *a, const float *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        assert_float_equal(a[i], b[i], 1e-4);
}

/* The kernels in use give what the portable ones give. */
static void test_instruction_sets(void **state)
{
    (void)state;
    enum { N = 3, C = 5, L = 77, ALL = N * C * L };
    static float x[ALL], grad[ALL], y[2][ALL], out[2][ALL], statistics[2][4][C];
    const struct norm_kernels *kernels[] = { &norm_kernels_portable[NORM_F32],
                                             norm_kernels(NORM_F32) };
    fill(x, ALL, 9);
    fill(grad, ALL, 10);
    for (int k = 0; k < 2; k++) {
        struct batch_norm_job job = { .batch = N,
                                      .channels = C,
                                      .inner = L,
                                      .training = true,
                                      .relu = true,
                                      .eps = 1e-5,
                                      .x = x,
                                      .y = y[k],
                                      .mean = statistics[k][0],
                                      .invstd = statistics[k][1] };
        kernels[k]->batch_norm(&job, 0, C);
        struct batch_norm_backward_job back = { .batch = N,
                                                .channels = C,
                                                .inner = L,
                                                .training = true,
                                                .relu = true,
                                                .grad = grad,
                                                .x = x,
                                                .mean = statistics[k][0],
                                                .invstd = statistics[k][1],
                                                .grad_x = out[k],
                                                .grad_weight = statistics[k][2],
                                                .grad_bias = statistics[k][3] };
        kernels[k]->batch_norm_backward(&back, 0, C);
    }
    check_arrays(y[0], y[1], ALL);
    check_arrays(out[0], out[1], ALL);
    check_arrays(statistics[0][0], statistics[1][0], 4 * C);
    for (int64_t size = 1; size <= 77; size += 4) {
        for (int k = 0; k < 2; k++) {
            struct softmax_job job = { .size = size, .inner = 1, .x = x, .out = y[k] };
            kernels[k]->softmax(&job, 0, N);
        }
        check_arrays(y[0], y[1], N * size);
    }
}

/* ---- cross-entropy ---- */

static void test_cross_entropy_options(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *logits = numbers(CR_SHAPE(3, 4), 11);
    cr_tensor *labels = cr_from_buffer((int64_t[]){ 0, 2, 3 }, CR_SHAPE(3), CR_I64);
    cr_tensor *none = cr_cross_entropy(logits, labels, .reduction = CR_REDUCTION_NONE);
    cr_tensor *log_p = cr_log_softmax(logits, 1);
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double expected = -cr_element(log_p, 4 * i + cr_element_int64(labels, i));
        assert_float_equal(cr_element(none, i), expected, 1e-6);
        sum += expected;
    }
    assert_float_equal(cr_item(cr_cross_entropy(logits, labels)), sum / 3, 1e-6);
    cr_tensor *rest =
        cr_cross_entropy(logits, labels, .ignore_zero = true, .reduction = CR_REDUCTION_SUM);
    assert_float_equal(cr_item(rest), sum - cr_element(none, 0), 1e-6);
    assert_true(cr_item(cr_cross_entropy(logits, labels, .label_smoothing = 0.1)) > 0);
    assert_true(
        isnan(cr_item(cr_cross_entropy(logits, cr_full(-100, CR_SHAPE(3), .dtype = CR_I64)))));
    cr_frame_end(frame);
}

static void test_cross_entropy_message(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *labels = cr_from_buffer((int64_t[]){ 0, 4, 3 }, CR_SHAPE(3), CR_I64);
    assert_null(cr_cross_entropy(numbers(CR_SHAPE(3, 4), 12), labels));
    assert_string_equal(
        cr_error_message(),
        "cross_entropy: target 4 (position 1) is out of range for 4 classes; classes "
        "count from 0");
    cr_error_clear();
    cr_frame_end(frame);
}

/* ---- out of memory ---- */

static cr_status train_a_step(void)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_zeros(CR_SHAPE(6, 4, 3), .requires_grad = true);
    cr_tensor *labels = cr_zeros(CR_SHAPE(6), .dtype = CR_I64);
    cr_tensor *y = cr_functional_batch_norm(x, .training = true, .relu = true);
    y = cr_functional_layer_norm(y, CR_SHAPE(3), NULL, NULL, 0);
    y = cr_functional_group_norm(y, 2, NULL, NULL, 0);
    cr_tensor *loss =
        cr_cross_entropy(cr_mean_dims(y, CR_SHAPE(2), false), labels, .label_smoothing = 0.1);
    loss = cr_add(loss, cr_logsumexp(cr_var(y, .dims = CR_SHAPE(0)), cr_shape_scalar(), false));
    cr_status status = cr_backward(loss);
    cr_frame_end(frame);
    return status;
}

/* Every allocation fails once: an error each time, and nothing is leaked. */
static void test_out_of_memory(void **state)
{
    (void)state;
    assert_int_equal(train_a_step(), CR_OK);
    uint64_t blocks = base_memory_live_blocks();
    cr_status status = CR_ERROR_MEMORY;
    for (int64_t successes = 0; status != CR_OK; successes++) {
        assert_true(successes < 5000);
        cr_memory_fail_after(successes);
        status = train_a_step();
        cr_memory_fail_after(-1);
        if (status != CR_OK)
            assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        cr_error_clear();
    }
    assert_int_equal(base_memory_live_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_running_statistics),
        cmocka_unit_test(test_instance_norm_statistics),
        cmocka_unit_test(test_checkpoint_updates_once),
        cmocka_unit_test(test_fusion),
        cmocka_unit_test(test_far_from_zero),
        cmocka_unit_test(test_wide_response),
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_cross_entropy_options),
        cmocka_unit_test(test_cross_entropy_message),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
