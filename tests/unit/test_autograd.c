/* The dispatcher, frames and backward, on the simplest ops. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"

static cr_tensor *vector(int64_t count, const float *values)
{
    return cr_from_buffer(values, CR_SHAPE(count), CR_F32);
}

static void check_values(const cr_tensor *tensor, int64_t count, const double *expected)
{
    assert_non_null(tensor);
    assert_int_equal(cr_numel(tensor), count);
    for (int64_t i = 0; i < count; i++)
        assert_float_equal(cr_element(tensor, i), expected[i], 1e-6);
}

static void test_product_rule(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *a = cr_set_requires_grad(vector(3, (float[]){ 1, 2, 3 }), true);
    cr_tensor *b = cr_set_requires_grad(vector(3, (float[]){ 4, 5, 6 }), true);
    cr_tensor *loss = cr_sum(cr_mul(cr_add(a, b), a));
    assert_int_equal(cr_backward(loss), CR_OK);
    check_values(cr_grad_of(a), 3, (double[]){ 6, 9, 12 });
    check_values(cr_grad_of(b), 3, (double[]){ 1, 2, 3 });
    assert_int_equal(cr_backward(loss), CR_ERROR_STATE);
    assert_non_null(strstr(cr_error_message(), "retain_graph"));
    cr_error_clear();
    cr_frame_end(frame);
}

static void test_broadcast_gradient(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *a = cr_ones(CR_SHAPE(2, 1, 3), .requires_grad = true);
    cr_tensor *b = cr_ones(CR_SHAPE(4, 1), .requires_grad = true);
    cr_tensor *y = cr_div(a, b);
    assert_int_equal(cr_ndim(y), 3);
    assert_int_equal(cr_backward(cr_sum(y)), CR_OK);
    assert_float_equal(cr_element(cr_grad_of(a), 0), 4, 0);
    assert_float_equal(cr_element(cr_grad_of(b), 0), -6, 0);
    cr_frame_end(frame);
}

static void test_accumulates_and_second_order(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_set_requires_grad(vector(2, (float[]){ 2, 3 }), true);
    cr_tensor *cube = cr_sum(cr_mul(cr_mul(x, x), x));
    cr_tensor *first;
    cr_backward_args args = { .output = cube, .create_graph = true };
    assert_int_equal(cr_grad(args, &x, 1, &first), CR_OK);
    check_values(first, 2, (double[]){ 12, 27 });
    assert_null(cr_grad_of(x));
    assert_int_equal(cr_backward(cr_sum(first)), CR_OK);
    check_values(cr_grad_of(x), 2, (double[]){ 12, 18 });
    assert_int_equal(cr_backward(cr_sum(x)), CR_OK);
    check_values(cr_grad_of(x), 2, (double[]){ 13, 19 });
    cr_frame_end(frame);
}

static void test_version_check(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_set_requires_grad(vector(2, (float[]){ 2, 3 }), true);
    cr_tensor *w = vector(2, (float[]){ 5, 7 });
    cr_tensor *y = cr_sum(cr_mul(x, w));
    cr_set_grad_enabled(false);
    assert_int_equal(cr_add_(w, w, 1), CR_OK);
    cr_set_grad_enabled(true);
    assert_int_equal(cr_backward(y), CR_ERROR_STATE);
    assert_non_null(strstr(cr_error_message(), "mul"));
    cr_error_clear();
    assert_int_equal(cr_add_(x, w, 1), CR_ERROR_STATE);
    cr_error_clear();
    cr_frame_end(frame);
}

static cr_tensor *twice(cr_tensor *grad, void *context)
{
    (*(int *)context)++;
    return cr_mul_scalar(grad, 2);
}

static void test_hooks_and_retained(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    int calls = 0;
    cr_tensor *x = cr_set_requires_grad(vector(2, (float[]){ 2, 3 }), true);
    cr_tensor *y = cr_retain_grad(cr_mul(x, x));
    assert_int_equal(cr_register_hook(y, twice, &calls), CR_OK);
    assert_int_equal(cr_register_hook(x, twice, &calls), CR_OK);
    assert_int_equal(cr_backward(cr_sum(y)), CR_OK);
    check_values(cr_grad_of(y), 2, (double[]){ 2, 2 });
    check_values(cr_grad_of(x), 2, (double[]){ 16, 24 });
    assert_int_equal(calls, 2); /* a leaf's hook sees the sum of both factors' gradients */
    cr_frame_end(frame);
}

static cr_tensor *square_plus(cr_tensor *const *inputs, int count, void *context)
{
    (void)count;
    return cr_add(cr_mul(inputs[0], inputs[0]), context);
}

static void test_checkpoint(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_set_requires_grad(vector(2, (float[]){ 2, 3 }), true);
    cr_tensor *w = cr_set_requires_grad(vector(2, (float[]){ 1, 1 }), true);
    cr_tensor *y = cr_checkpoint(square_plus, &x, 1, w);
    assert_int_equal(cr_backward(cr_sum(cr_mul(y, y))), CR_OK);
    check_values(cr_grad_of(x), 2, (double[]){ 40, 120 });
    check_values(cr_grad_of(w), 2, (double[]){ 10, 20 });
    cr_frame_end(frame);
}

static void test_errors_stick(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *bad = cr_add(cr_ones(CR_SHAPE(2, 3)), cr_ones(CR_SHAPE(4)));
    assert_null(bad);
    assert_int_equal(cr_error_status(), CR_ERROR_SHAPE);
    assert_non_null(strstr(cr_error_message(), "add: shapes (2, 3) and (4,)"));
    assert_null(cr_mul(cr_sum(bad), cr_scalar(2)));
    assert_non_null(strstr(cr_error_message(), "add: "));
    cr_error_clear();
    assert_null(cr_mul(NULL, cr_scalar(2)));
    assert_non_null(strstr(cr_error_message(), "NULL"));
    cr_error_clear();
    cr_frame_end(frame);
}

static void test_meta(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *a = cr_empty(CR_SHAPE(100000, 100000), .device = CR_META);
    cr_tensor *b = cr_empty(CR_SHAPE(100000, 1), .device = CR_META);
    cr_tensor *y = cr_sum_dims(cr_mul(cr_add(a, b), cr_scalar(2)), CR_SHAPE(-1), false);
    assert_int_equal(cr_device_of(y), CR_META);
    assert_int_equal(cr_dim(y, 0), 100000);
    assert_int_equal(cr_ndim(y), 1);
    cr_frame_end(frame);
}

static void test_deep_chain(void **state)
{
    (void)state;
    uint64_t before = cr_memory_get_stats().small;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_ones(CR_SHAPE(1), .requires_grad = true);
    cr_tensor *y = cr_retain(x);
    for (int i = 0; i < 1000000; i++) {
        cr_frame inner = cr_frame_begin();
        cr_tensor *next = cr_retain(cr_add(y, x));
        cr_release(y);
        y = next;
        cr_frame_end(inner);
    }
    assert_int_equal(cr_backward(cr_sum(y)), CR_OK);
    assert_float_equal(cr_item(cr_grad_of(x)), 1000001, 0);
    cr_release(y);
    cr_frame_end(frame);
    cr_frame_end_all();
    assert_true(cr_memory_get_stats().small <= before + 2);
}

static void test_frames(void **state)
{
    (void)state;
    cr_memory_stats before = cr_memory_get_stats();
    cr_frame outer = cr_frame_begin();
    cr_frame inner = cr_frame_begin();
    cr_frame left_open = cr_frame_begin();
    cr_tensor *kept = cr_ones(CR_SHAPE(10));
    cr_ones(CR_SHAPE(1000));
    assert_ptr_equal(cr_frame_end_with(inner, kept), kept);
    cr_frame_end(left_open);
    assert_float_equal(cr_element(kept, 9), 1, 0);
    cr_frame_end(outer);
    cr_frame_end(outer);
    assert_int_equal(cr_memory_get_stats().in_use, before.in_use);
}

static void *leave_frames_open(void *unused)
{
    cr_ones(CR_SHAPE(10));
    cr_frame_begin();
    cr_ones(CR_SHAPE(1000));
    return unused;
}

/* What a thread leaves in its frames is released as it ends, the frames themselves included. */
static void test_frames_of_a_thread(void **state)
{
    (void)state;
    cr_memory_stats before = cr_memory_get_stats();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, leave_frames_open, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(cr_memory_get_stats().in_use, before.in_use);
}

static void test_anomaly(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_set_anomaly_mode(true);
    cr_tensor *zero = cr_zeros(CR_SHAPE(2));
    assert_null(cr_add(cr_div(zero, zero), zero));
    assert_non_null(strstr(cr_error_message(), "div made a NaN"));
    cr_error_clear();
    cr_set_anomaly_mode(false);
    cr_frame_end(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_rule),
        cmocka_unit_test(test_broadcast_gradient),
        cmocka_unit_test(test_accumulates_and_second_order),
        cmocka_unit_test(test_version_check),
        cmocka_unit_test(test_hooks_and_retained),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_errors_stick),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_deep_chain),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_frames_of_a_thread),
        cmocka_unit_test(test_anomaly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
