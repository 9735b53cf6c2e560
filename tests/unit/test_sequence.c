/* Recurrent, attention and transformer layers: what they do when memory runs out, how much of it
 * they take, and that they run for shapes alone. That they compute the right thing is compared with
 * PyTorch in tests/oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/sequence_layers.h"

#define FEATURES 8
#define STEPS    5
#define MOST     100000 /* allocations that a run may need */

/* ---- when memory runs out ---- */

typedef cr_tensor *(*network)(cr_scope at, cr_tensor *x);

static cr_tensor *lstm_network(cr_scope at, cr_tensor *x)
{
    static const int64_t lengths[] = { 5, 2, 3 };
    cr_recurrent y =
        cr_lstm(at, "lstm", x, .hidden = 6, .layers = 2, .bidirectional = true, .batch_first = true,
                .dropout = 0.5, .lengths = cr_from_buffer(lengths, CR_SHAPE(3), CR_I64));
    return cr_add(cr_mean(y.output), cr_add(cr_mean(y.h_n), cr_mean(y.c_n)));
}

static cr_tensor *cell_network(cr_scope at, cr_tensor *x)
{
    cr_recurrent y = cr_gru_cell(at, "cell", cr_select(x, 1, 0), .hidden = 6);
    return cr_mean(cr_gru_cell(at, "cell", cr_select(x, 1, 1), .h = y.h_n, .hidden = 6).h_n);
}

static cr_tensor *attention_network(cr_scope at, cr_tensor *x)
{
    static const bool left_out[] = { false, true, false, true, false };
    cr_tensor *padding =
        cr_expand(cr_from_buffer(left_out, CR_SHAPE(1, STEPS), CR_BOOL), CR_SHAPE(3, STEPS));
    cr_attended y = cr_multihead_attention(at, "attention", x, .heads = 2, .dropout = 0.1,
                                           .key_padding_mask = padding, .need_weights = true);
    return cr_add(cr_mean(y.output), cr_mean(y.weights));
}

static cr_tensor *decoder_network(cr_scope at, cr_tensor *x)
{
    cr_tensor *memory =
        cr_transformer_encoder_layer(at, "encoder", x, .heads = 2, .feedforward = 12);
    return cr_mean(cr_transformer_decoder_layer(at, "decoder", x, .memory = memory, .heads = 2,
                                                .feedforward = 12, .is_causal = true));
}

static cr_status run_step(network function)
{
    cr_model *model = cr_model_new();
    if (!model)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    cr_tensor *loss = function(cr_root(model), cr_ones(CR_SHAPE(3, STEPS, FEATURES)));
    cr_status status = loss ? cr_backward(loss) : cr_error_status();
    cr_frame_end(frame);
    cr_model_free(model);
    return status;
}

/* Lets ever more allocations succeed until all do; every failure must be reported as one, and give
 * back what was taken. */
static void fail_each_allocation(network function)
{
    assert_int_equal(run_step(function), CR_OK);
    uint64_t before = cr_memory_get_stats().small;
    cr_status status = CR_ERROR_MEMORY;
    int64_t room = 0;
    for (; room < MOST && status != CR_OK; room++) {
        cr_memory_fail_after(room);
        status = run_step(function);
        cr_memory_fail_after(-1);
        if (status != CR_OK)
            assert_int_equal(status, CR_ERROR_MEMORY);
        cr_error_clear();
        assert_int_equal(cr_memory_get_stats().small, before);
    }
    assert_true(room > 50 && room < MOST);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    fail_each_allocation(lstm_network);
    fail_each_allocation(cell_network);
    fail_each_allocation(attention_network);
    fail_each_allocation(decoder_network);
}

/* ---- how much memory ---- */

static size_t peak_since(size_t in_use)
{
    return cr_memory_get_stats().peak - in_use;
}

static void test_attention_stores_no_scores(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    int64_t length = 4096;
    cr_tensor *x = cr_rand(CR_SHAPE(2, length, 16), .requires_grad = true);
    size_t in_use = cr_memory_get_stats().in_use;
    size_t scores = (size_t)(2 * length * length) * sizeof(float);
    cr_memory_reset_peak();
    cr_tensor *y = cr_scaled_dot_product_attention(x, x, x, .is_causal = true, .dropout_p = 0.1);
    assert_int_equal(cr_backward(cr_mean(y)), CR_OK);
    assert_true(peak_since(in_use) < scores / 8);
    cr_frame_end(frame);
}

static void test_recurrent_keeps_gates_for_backward_only(void **state)
{
    (void)state;
    cr_model *model = cr_model_new();
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_rand(CR_SHAPE(100, 8, 16));
    cr_lstm(cr_root(model), "lstm", x, .hidden = 64);
    size_t output = 100 * 8 * 64 * sizeof(float), kept[2];
    for (int wants = 0; wants < 2; wants++) {
        bool was = cr_set_grad_enabled(wants);
        size_t in_use = cr_memory_get_stats().in_use;
        assert_non_null(cr_lstm(cr_root(model), "lstm", x, .hidden = 64).output);
        kept[wants] = cr_memory_get_stats().in_use - in_use;
        cr_set_grad_enabled(was);
    }
    assert_true(kept[0] < 2 * output);
    assert_true(kept[1] > 5 * output && kept[1] < 7 * output);
    cr_frame_end(frame);
    cr_model_free(model);
}

/* ---- shapes alone ---- */

static cr_tensor *language_model(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_transformer_encoder_layer(at, "layers.0", x, .heads = 4, .feedforward = 96);
    return cr_gru(at, "gru", x, .hidden = 10, .bidirectional = true, .batch_first = true).output;
}

static void test_shapes_alone(void **state)
{
    (void)state;
    cr_model *model = cr_model_new(.meta = true);
    cr_summary summary;
    assert_int_equal(
        cr_model_build(model, language_model, NULL, CR_SHAPE(2, 7, 32), CR_F32, &summary), CR_OK);
    int64_t encoder = 3 * 32 * 33 + 32 * 33 + 96 * 33 + 32 * 97 + 4 * 32;
    int64_t gru = 2 * (30 * 32 + 30 * 10 + 60);
    assert_int_equal(summary.parameters, encoder + gru);
    cr_shape expected = CR_SHAPE(2, 7, 20);
    assert_true(cr_shape_equal(&summary.output, &expected));
    int64_t products = 14 * (4 * 32 * 32 + 2 * 32 * 96) + 14 * 7 * 64 + 2 * 14 * 30 * 42;
    assert_true(summary.multiply_adds >= products);
    cr_summary_free(&summary);
    cr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_attention_stores_no_scores),
        cmocka_unit_test(test_recurrent_keeps_gates_for_backward_only),
        cmocka_unit_test(test_shapes_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
