/* Convolution with norm and activation in eval mode: one pass gives what the layers give, and the
 * form in which a weight is kept follows what is written to it. */
#include "cresset/conv_norm.h"
#include "cresset/cresset.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

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
        const float *a = cr_data(want), *b = cr_data(got);
        for (int64_t i = 0; i < cr_numel(want); i++)
            assert_true(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])));
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_pass) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
