/* Blocks under activation checkpointing: the same gradients bit for bit, random numbers and running
 * statistics as without, and less memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/cresset.h"

#define STEPS 3

/* Two layers of a transformer with dropout and a mask, before and after the norms. */
static cr_tensor *transformer(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    cr_tensor *mask = cr_zeros(CR_SHAPE(6, 6));
    x = cr_transformer_encoder_layer(at, "first", x, .heads = 2, .feedforward = 16, .mask = mask);
    x = cr_transformer_encoder_layer(at, "second", x, .heads = 2, .feedforward = 16, .gelu = true,
                                     .norm_first = true, .is_causal = true);
    x = cr_transformer_decoder_layer(at, "third", x, .memory = x, .heads = 2, .feedforward = 16);
    return cr_linear(at, "fc", cr_flatten(x, 1, -1), .out = 4);
}

static cr_tensor *residual_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    int64_t width = *(const int64_t *)settings;
    cr_tensor *y = cr_conv2d(at, "conv1", inputs[0], .out = width, .kernel = 3, .padding = 1);
    y = cr_dropout(at, cr_batch_norm(at, "bn1", y, .relu = true), 0.1);
    y = cr_conv2d(at, "conv2", y, .out = width, .kernel = 3, .padding = 1);
    return cr_batch_norm(at, "bn2", y, .residual = inputs[0], .relu = true);
}

/* Batch norm has statistics to keep, dropout random numbers to draw again. */
static cr_tensor *residual(cr_scope at, cr_tensor *x, const void *settings)
{
    const int64_t width = 8;
    (void)settings;
    x = cr_conv2d(at, "stem", x, .out = width, .kernel = 3, .padding = 1);
    for (int i = 0; i < 3; i++)
        x = cr_block(cr_at_format(at, "%d", i), residual_block, &width, x);
    return cr_linear(at, "fc", cr_mean_dims(x, CR_SHAPE(2, 3), false), .out = 4);
}

struct result {
    cr_model *model;
    size_t peak;
};

static struct result train(cr_model_function function, cr_shape input, bool checkpoints)
{
    struct result result = { .model = cr_model_new(.seed = 3) };
    cr_manual_seed(5);
    cr_tensor *x = cr_retain(cr_randn(input));
    cr_tensor *labels = cr_retain(cr_zeros(CR_SHAPE(input.dim[0]), .dtype = CR_I64));
    cr_model_build(result.model, function, NULL, input, CR_F32, NULL);
    cr_model_checkpoint(result.model, checkpoints);
    cr_optim_settings settings = cr_optim_defaults(CR_OPTIM_SGD);
    settings.lr = 0.01;
    cr_optim *optimizer = cr_optim_new(result.model, settings);
    cr_memory_reset_peak();
    for (int i = 0; i < STEPS; i++) {
        cr_frame frame = cr_frame_begin();
        cr_model_zero_grad(result.model);
        for (int half = 0; half < 2; half++) { /* gradients of two batches make a step */
            cr_tensor *loss = cr_cross_entropy(function(cr_root(result.model), x, NULL), labels);
            assert_int_equal(cr_backward(cr_mul_scalar(loss, 0.5)), CR_OK);
        }
        assert_int_equal(cr_optim_step(optimizer), CR_OK);
        cr_frame_end(frame);
    }
    result.peak = cr_memory_get_stats().peak;
    cr_optim_free(optimizer);
    cr_release(x);
    cr_release(labels);
    cr_frame_end_all();
    assert_false(cr_failed());
    return result;
}

static void check_same(cr_model_function function, cr_shape input)
{
    size_t before = cr_memory_get_stats().in_use;
    struct result plain = train(function, input, false);
    size_t between = cr_memory_get_stats().in_use;
    struct result again = train(function, input, true);
    assert_int_equal(cr_model_tensor_count(plain.model), cr_model_tensor_count(again.model));
    for (int i = 0; i < cr_model_tensor_count(plain.model); i++) {
        cr_named_tensor a = cr_model_tensor_at(plain.model, i);
        cr_named_tensor b = cr_model_tensor_at(again.model, i);
        size_t bytes = (size_t)cr_numel(a.tensor) * cr_dtype_size(cr_dtype_of(a.tensor));
        assert_string_equal(a.name, b.name);
        if (memcmp(cr_data(a.tensor), cr_data(b.tensor), bytes) != 0)
            fail_msg("%s differs", a.name);
    }
    assert_true(again.peak - between < plain.peak - before);
    cr_model_free(plain.model);
    cr_model_free(again.model);
}

static void test_residual_net(void **state)
{
    (void)state;
    check_same(residual, CR_SHAPE(4, 1, 16, 16));
}

static void test_transformer(void **state)
{
    (void)state;
    check_same(transformer, CR_SHAPE(16, 6, 8));
}

static void test_refusals(void **state)
{
    (void)state;
    char large[CR_BLOCK_SETTINGS + 1] = { 0 };
    cr_model *model = cr_model_new(.seed = 1);
    assert_null(cr_block_with(cr_root(model), NULL, large, sizeof large, NULL, 0));
    assert_non_null(strstr(cr_error_message(), "settings"));
    cr_error_clear();
    cr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_residual_net),
        cmocka_unit_test(test_transformer),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
