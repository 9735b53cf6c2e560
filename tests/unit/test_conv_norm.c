/* Convolution with norm and activation in eval mode: one pass gives what the layers give, and the
 * form in which a weight is kept follows what is written to it. */
#include "cresset/conv_norm.h"
#include "cresset/cresset.h"
#include "cresset/memory.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static cr_tensor *net(cr_scope at, cr_tensor *x)
{
    cr_tensor *y = cr_conv2d_norm_activation(at, "conv1", "bn1", x, .out = 32, .kernel = 3,
                                             .activation = CR_FUSED_RELU6);
    cr_tensor *z = cr_conv2d_norm_activation(at, "conv2", "bn2", y, .out = 32, .kernel = 3,
                                             .groups = 32, .activation = CR_FUSED_HARDSWISH);
    z = cr_conv2d_norm_activation(at, "conv3", "bn3", z, .out = 32, .kernel = 1, .residual = y,
                                  .activation = CR_FUSED_SILU);
    return cr_conv2d(at, "conv4", z, .out = 20, .kernel = 3, .stride = 2, .padding = 1);
}

/* In one pass against layer by layer, twice each, since the second time finds kept weights. */
static void compare(cr_model *model, cr_tensor *x)
{
    cr_frame frame = cr_frame_begin();
    for (int time = 0; time < 2; time++) {
        cr_tensor *want = net(cr_root(model), x);
        bool was = cr_set_grad_enabled(false);
        cr_tensor *got = net(cr_root(model), x);
        cr_set_grad_enabled(was);
        assert_non_null(want);
        assert_non_null(got);
        const float *a = cr_data(want), *b = cr_data(cr_contiguous(got));
        for (int64_t i = 0; i < cr_numel(want); i++)
            assert_true(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])));
    }
    cr_frame_end(frame);
}

/* Strides say channels-last through a chain of layers and pooling, and the values are the same. */
static void test_channels_last(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 3);
    cr_tensor *x = cr_randn(CR_SHAPE(2, 24, 14, 13)), *want[4], *got[4];
    assert_non_null(net(cr_root(model), x));
    cr_model_train(model, false);
    for (int time = 0; time < 2; time++) {
        cr_tensor **y = time ? got : want;
        bool was = cr_set_grad_enabled(!time);
        y[0] = cr_conv2d_norm_activation(cr_root(model), "conv1", "bn1", x, .out = 32, .kernel = 3);
        y[1] = cr_max_pool2d(y[0], .kernel = 3, .stride = 2, .padding = 1);
        y[2] = cr_adaptive_avg_pool2d(y[0], CR_SHAPE(5, 1));
        y[3] = cr_adaptive_avg_pool2d(y[0], CR_SHAPE(1, 1));
        cr_set_grad_enabled(was);
    }
    for (int i = 0; i < 4; i++) {
        assert_non_null(got[i]);
        assert_int_equal(cr_is_contiguous(got[i]), i == 3);
        const float *a = cr_data(want[i]), *b = cr_data(cr_contiguous(got[i]));
        assert_int_equal(cr_numel(want[i]), cr_numel(got[i]));
        for (int64_t j = 0; j < cr_numel(want[i]); j++)
            assert_true(fabsf(a[j] - b[j]) <= 1e-4f * (1 + fabsf(a[j])));
    }
    bool was = cr_set_grad_enabled(false);
    assert_null(cr_max_pool2d(got[0], .kernel = 40)); /* refused as of any tensor */
    cr_set_grad_enabled(was);
    assert_true(cr_failed());
    cr_error_clear();
    cr_model_free(model);
    cr_frame_end(frame);
}

static void scale(cr_model *model, const char *name, float by)
{
    cr_tensor *tensor = cr_model_find(model, name);
    assert_non_null(tensor);
    float *data = cr_data(tensor);
    for (int64_t i = 0; i < cr_numel(tensor); i++)
        data[i] *= by;
    cr_mark_written(tensor);
}

static void test_one_pass(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 3);
    cr_tensor *x = cr_randn(CR_SHAPE(2, 24, 14, 13));
    assert_non_null(net(cr_root(model), x)); /* moves the running statistics */
    cr_model_train(model, false);
    compare(model, x);
    static const char *const names[] = { "conv1.weight", "bn1.weight",   "bn2.running_var",
                                         "bn3.bias",     "conv4.weight", "conv2.weight" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        scale(model, names[i], 1.5f);
        compare(model, x);
    }
    compare(model, cr_randn(CR_SHAPE(1, 24, 5, 6))); /* other kernels take other sizes */
    compare(model, x);
    assert_false(cr_failed());
    cr_model_free(model);
    cr_frame_end(frame);
}

/* ---- what the kept form depends on ---- */

/* Layer by layer, since the weight wants a gradient, or in one pass without gradients. */
static cr_tensor *call(cr_tensor *x, cr_tensor *weight, double var, bool in_one_pass)
{
    cr_shape channels = CR_SHAPE(32);
    bool was = cr_set_grad_enabled(!in_one_pass);
    cr_tensor *y = cr_functional_conv_norm_activation(
        x, .weight = weight, .conv = { .padding = CR_SHAPE(1) },
        .running_mean = cr_full(0.5, channels), .running_var = cr_full(var, channels));
    cr_set_grad_enabled(was);
    return y;
}

static void assert_close(cr_tensor *want, cr_tensor *got)
{
    assert_non_null(want);
    assert_non_null(got);
    const float *a = cr_data(want), *b = cr_data(got);
    for (int64_t i = 0; i < cr_numel(want); i++)
        assert_true(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])));
}

/* A variance of another value each time, at the address of the one before, which is freed. */
static void test_freed_norm(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_randn(CR_SHAPE(1, 24, 6, 6));
    cr_tensor *weight = cr_randn(CR_SHAPE(32, 24, 3, 3));
    cr_tensor *mean = cr_zeros(CR_SHAPE(32)), *want[3];
    for (int i = 0; i < 3; i++)
        want[i] = cr_div(cr_functional_conv(x, weight, NULL,
                                            (cr_functional_conv_args){ .padding = CR_SHAPE(1) }),
                         cr_scalar(sqrt(1 + i + 1e-5)));
    bool was = cr_set_grad_enabled(false);
    for (int i = 0; i < 3; i++) {
        cr_frame inner = cr_frame_begin();
        cr_tensor *var = cr_full(1 + i, CR_SHAPE(32));
        assert_close(want[i], cr_functional_conv_norm_activation(
                                  x, .weight = weight, .conv = { .padding = CR_SHAPE(1) },
                                  .running_mean = mean, .running_var = var));
        cr_frame_end(inner);
    }
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
}

/* Two weights are views of one storage, which keeps a form of one of them. */
static void test_views(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_randn(CR_SHAPE(1, 24, 6, 6));
    cr_tensor *both = cr_randn(CR_SHAPE(64, 24, 3, 3));
    cr_set_requires_grad(both, true);
    for (int time = 0; time < 3; time++) {
        for (int half = 0; half < 2; half++) {
            cr_tensor *weight = cr_narrow(both, 0, 32 * half, 32);
            assert_close(call(x, weight, 2, false), call(x, weight, 2, true));
            assert_close(call(x, weight, 2, true), call(x, weight, 2, true));
        }
        cr_set_grad_enabled(false);
        assert_int_equal(cr_copy_(both, cr_randn(CR_SHAPE(64, 24, 3, 3))), CR_OK);
        cr_set_grad_enabled(true);
    }
    cr_frame_end(frame);
}

/* ---- threads ---- */

struct reader {
    pthread_t thread;
    cr_model *model;
    cr_tensor *x[2], *want[2]; /* other sizes take other forms */
    bool is_same;
};

static void *read_model(void *context)
{
    struct reader *reader = context;
    cr_set_grad_enabled(false);
    reader->is_same = true;
    for (int i = 0; i < 12; i++) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *want = reader->want[i % 2];
        cr_tensor *got = net(cr_root(reader->model), reader->x[i % 2]);
        reader->is_same &=
            got && memcmp(cr_data(got), cr_data(want), (size_t)cr_numel(want) * sizeof(float)) == 0;
        cr_frame_end(frame);
    }
    return NULL;
}

static void test_threads(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 3);
    cr_tensor *x[2] = { cr_randn(CR_SHAPE(2, 24, 14, 13)), cr_randn(CR_SHAPE(1, 24, 5, 6)) };
    assert_non_null(net(cr_root(model), x[0]));
    cr_model_train(model, false);
    for (int round = 0; round < 3; round++) {
        struct reader readers[4];
        scale(model, round ? "bn3.running_var" : "conv1.weight", 1.5f);
        bool was = cr_set_grad_enabled(false);
        for (int i = 0; i < 4; i++) {
            readers[i] = (struct reader){ .model = model };
            for (int j = 0; j < 2; j++) {
                readers[i].x[j] = x[j];
                readers[i].want[j] = net(cr_root(model), x[j]);
            }
        }
        cr_set_grad_enabled(was);
        scale(model, "conv1.weight", 1); /* nothing is kept as the threads begin */
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&readers[i].thread, NULL, read_model, &readers[i]), 0);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
            assert_true(readers[i].is_same);
        }
    }
    cr_model_free(model);
    cr_frame_end(frame);
}

/* ---- allocations that fail ---- */

/* Each in turn: an error and no result, nothing leaks, and the next call is right. */
static void test_failed_allocations(void **unused)
{
    (void)unused;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_randn(CR_SHAPE(1, 24, 6, 6));
    cr_tensor *values = cr_randn(CR_SHAPE(32, 24, 3, 3));
    bool is_done = false;
    for (int room = 0; !is_done; room++) {
        assert_true(room < 200);
        cr_memory_stats before = cr_memory_get_stats();
        cr_frame inner = cr_frame_begin();
        cr_tensor *weight = cr_clone(values);
        cr_memory_fail_after(room);
        cr_tensor *got = call(x, weight, 2, true);
        cr_memory_fail_after(-1);
        is_done = got != NULL;
        assert_int_equal(cr_error_status(), is_done ? CR_OK : CR_ERROR_MEMORY);
        cr_error_clear();
        cr_tensor *again = call(x, weight, 2, true);
        cr_set_requires_grad(weight, true);
        assert_close(call(x, weight, 2, false), again);
        cr_frame_end(inner);
        cr_memory_stats after = cr_memory_get_stats();
        if (room > 0) { /* the first call makes what lasts */
            assert_int_equal(after.in_use, before.in_use);
            assert_int_equal(after.small, before.small);
        }
    }
    cr_frame_end(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_pass),   cmocka_unit_test(test_channels_last),
        cmocka_unit_test(test_freed_norm), cmocka_unit_test(test_views),
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
