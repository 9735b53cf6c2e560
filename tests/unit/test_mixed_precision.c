/* Mixed precision: conversions of 16-bit floats against those of single numbers, with guards around
 * the buffers, and the scaler of losses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/cresset.h"
#include "kernels/elementwise/elementwise.h"

#define ALL   65536
#define GUARD 64

extern const half_loop half_loops_portable[HALF_LOOP_COUNT];

static bool is_nan16(uint16_t bits, bool is_bf16)
{
    return is_bf16 ? (bits & 0x7fffu) > 0x7f80u : (bits & 0x7fffu) > 0x7c00u;
}

/* Every 16-bit number wide, and back again. */
static void check_all(const half_loop *loops, bool is_bf16)
{
    static uint16_t in[ALL], out[ALL];
    static float wide[ALL];
    for (int i = 0; i < ALL; i++)
        in[i] = (uint16_t)i;
    loops[is_bf16 ? BF16_WIDEN : F16_WIDEN](ALL, wide, in);
    loops[is_bf16 ? BF16_NARROW : F16_NARROW](ALL, out, wide);
    for (int i = 0; i < ALL; i++) {
        float expected = is_bf16 ? bf16_to_float(in[i]) : f16_to_float(in[i]);
        if (is_nan16(in[i], is_bf16)) {
            assert_true(isnan(wide[i]) && is_nan16(out[i], is_bf16));
            continue;
        }
        assert_memory_equal(&wide[i], &expected, sizeof expected);
        assert_int_equal(out[i], in[i]);
    }
}

/* Numbers of every size, next to the middles between two 16-bit numbers, in runs of every length;
 * what lies beside the run stays. */
static void check_rounding(const half_loop *loops, bool is_bf16)
{
    static float in[256];
    static uint16_t out[256 + 2 * GUARD];
    cr_generator generator = cr_generator_make(7, 0);
    for (int n = 0; n <= 256; n++) {
        for (int i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)cr_random_below(&generator, UINT32_MAX);
            bits = i % 3 == 0 ? (bits & 0xffff0000u) + 0x7fffu + (uint32_t)(i % 4) : bits;
            memcpy(&in[i], &bits, sizeof bits);
            in[i] = i % 5 == 0 ? in[i] : ldexpf(fmodf(in[i], 2), i % 60 - 30);
        }
        memset(out, 0xa5, sizeof out);
        loops[is_bf16 ? BF16_NARROW : F16_NARROW](n, out + GUARD, in);
        for (int i = 0; i < n; i++) {
            uint16_t expected = is_bf16 ? bf16_from_float(in[i]) : f16_from_float(in[i]);
            if (isnan(in[i]))
                assert_true(is_nan16(out[GUARD + i], is_bf16));
            else
                assert_int_equal(out[GUARD + i], expected);
        }
        for (int i = 0; i < GUARD; i++)
            assert_true(out[i] == 0xa5a5 && out[GUARD + n + i] == 0xa5a5);
    }
}

static void test_conversions(void **state)
{
    (void)state;
    half_loop in_use[HALF_LOOP_COUNT];
    for (int kind = 0; kind < HALF_LOOP_COUNT; kind++)
        in_use[kind] = half_conversion((enum half_loop_kind)kind);
    const half_loop *variants[] = { half_loops_portable, in_use };
    for (int v = 0; v < 2; v++) {
        for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
            check_all(variants[v], is_bf16);
            check_rounding(variants[v], is_bf16);
        }
    }
}

static cr_tensor *one_weight(cr_scope at, cr_tensor *x, const void *context)
{
    (void)context;
    return cr_mul(x, cr_parameter(at, "weight", CR_SHAPE(3), (cr_init){ .kind = CR_INIT_ZEROS }));
}

struct trained {
    cr_model *model;
    cr_tensor *weight;
    cr_optim *optim;
};

static struct trained make_trained(void)
{
    struct trained t = { .model = cr_model_new(.seed = 1) };
    assert_int_equal(cr_model_build(t.model, one_weight, NULL, CR_SHAPE(3), CR_F32, NULL), CR_OK);
    cr_optim_settings settings = cr_optim_defaults(CR_OPTIM_SGD);
    settings.lr = 1;
    t.weight = cr_model_find(t.model, "weight");
    t.optim = cr_optim_new(t.model, settings);
    assert_non_null(t.optim);
    return t;
}

/* One step of the loss factor * Σ weight. */
static void take_step(struct trained *t, cr_grad_scaler *scaler, double factor)
{
    cr_frame frame = cr_frame_begin();
    cr_model_zero_grad(t->model);
    cr_tensor *loss = cr_mul_scalar(cr_sum(t->weight), factor);
    assert_int_equal(cr_backward(cr_grad_scaler_scale(scaler, loss)), CR_OK);
    assert_int_equal(cr_grad_scaler_step(scaler, t->optim), CR_OK);
    cr_grad_scaler_update(scaler);
    cr_frame_end(frame);
}

static void test_scaler(void **state)
{
    (void)state;
    struct trained t = make_trained();
    cr_grad_scaler scaler = cr_grad_scaler_defaults();
    assert_true(scaler.scale == 65536 && scaler.growth_interval == 2000);
    scaler.growth_interval = 3;
    take_step(&t, &scaler, 1);
    assert_true(cr_element(t.weight, 0) == -1 && scaler.scale == 65536);
    take_step(&t, &scaler, 1e38); /* infinite once it is scaled */
    assert_true(cr_element(t.weight, 0) == -1 && scaler.scale == 32768);
    assert_true(scaler.skipped == 1 && scaler.growth_tracker == 0);
    for (int i = 0; i < 3; i++)
        take_step(&t, &scaler, 1);
    assert_true(cr_element(t.weight, 2) == -4 && scaler.scale == 65536);
    take_step(&t, &scaler, NAN);
    assert_true(cr_element(t.weight, 2) == -4 && scaler.scale == 32768);
    scaler.scale = 0x1p127;
    scaler.growth_tracker = 2;
    take_step(&t, &scaler, 0x1p-120); /* does not grow to infinity */
    assert_true(scaler.scale == 0x1p127 && scaler.growth_tracker == 0);
    scaler = (cr_grad_scaler){ 0 }; /* off */
    take_step(&t, &scaler, 1);
    assert_true(cr_element(t.weight, 1) == -5 - 0x1p-120 && scaler.scale == 0);
    cr_optim_free(t.optim);
    cr_model_free(t.model);
}

/* Gradients that were divided by hand, to be clipped, are not divided again. */
static void test_unscale_once(void **state)
{
    (void)state;
    struct trained t = make_trained();
    cr_grad_scaler scaler = cr_grad_scaler_defaults();
    cr_frame frame = cr_frame_begin();
    assert_int_equal(cr_backward(cr_grad_scaler_scale(&scaler, cr_sum(t.weight))), CR_OK);
    assert_true(cr_element(cr_grad_of(t.weight), 0) == 65536);
    assert_int_equal(cr_grad_scaler_unscale(&scaler, t.optim), CR_OK);
    assert_true(cr_element(cr_grad_of(t.weight), 0) == 1);
    cr_clip_grad_value(t.optim, 0.5);
    assert_int_equal(cr_grad_scaler_step(&scaler, t.optim), CR_OK);
    cr_grad_scaler_update(&scaler);
    assert_true(cr_element(t.weight, 0) == -0.5 && !scaler.is_unscaled);
    cr_frame_end(frame);
    cr_optim_free(t.optim);
    cr_model_free(t.model);
}

/* The copies that autocast keeps belong to their tensors: none is left. */
static void test_kept_casts_are_freed(void **state)
{
    (void)state;
    cr_memory_stats before = cr_memory_get_stats();
    cr_frame frame = cr_frame_begin();
    cr_tensor *weight = cr_ones(CR_SHAPE(64, 64), .requires_grad = true);
    cr_dtype was = cr_set_autocast(CR_BF16);
    for (int i = 0; i < 3; i++) {
        cr_tensor *y = cr_matmul(cr_matmul(cr_ones(CR_SHAPE(2, 64)), weight), weight);
        assert_int_equal(cr_dtype_of(y), CR_BF16);
        assert_int_equal(cr_backward(cr_sum(y)), CR_OK);
        cr_set_grad_enabled(false);
        assert_int_equal(cr_fill_(weight, i), CR_OK);
        cr_set_grad_enabled(true);
    }
    cr_set_autocast(was);
    cr_frame_end(frame);
    cr_memory_stats after = cr_memory_get_stats();
    assert_int_equal(after.in_use, before.in_use);
    assert_int_equal(after.small, before.small);
}

/* A convolution with norm, a residual and an activation in one pass, against its layers one by one,
 * whose results are rounded in between; twice, so that the second finds the weights prepared. */
static void check_fused(int64_t channels, int64_t out, int64_t groups, int64_t kernel,
                        int64_t stride)
{
    enum { SIDE = 11 };
    cr_frame frame = cr_frame_begin();
    int64_t size = (SIDE + kernel / 2 * 2 - kernel) / stride + 1;
    cr_tensor *x = cr_randn(CR_SHAPE(2, channels, SIDE, SIDE));
    cr_tensor *residual = cr_randn(CR_SHAPE(2, out, size, size));
    cr_tensor *weight = cr_randn(CR_SHAPE(out, channels / groups, kernel, kernel));
    cr_tensor *mean = cr_randn(CR_SHAPE(out)), *var = cr_full(channels, CR_SHAPE(out));
    cr_tensor *y[3];
    cr_dtype was = cr_set_autocast(CR_BF16);
    for (int i = 0; i < 3; i++) {
        cr_set_requires_grad(weight, i == 0);
        cr_tensor *result = cr_functional_conv_norm_activation(
            x, .weight = weight, .residual = residual, .running_mean = mean, .running_var = var,
            .activation = CR_FUSED_RELU,
            .conv = {
                .stride = CR_SHAPE(stride), .padding = CR_SHAPE(kernel / 2), .groups = groups });
        assert_non_null(result);
        assert_int_equal(cr_dtype_of(result), CR_BF16);
        y[i] = cr_to_dtype(result, CR_F32);
    }
    cr_set_autocast(was);
    const float *want = cr_data(y[0]), *got = cr_data(y[1]), *again = cr_data(y[2]);
    for (int64_t i = 0; i < cr_numel(y[0]); i++)
        assert_true(fabsf(want[i] - got[i]) <= 0.03F * (1 + fabsf(want[i])));
    assert_memory_equal(got, again, (size_t)cr_numel(y[0]) * sizeof(float));
    cr_frame_end(frame);
}

static void test_fused_convolution(void **state)
{
    (void)state;
    check_fused(48, 40, 1, 3, 1);
    check_fused(48, 40, 1, 1, 2);
    check_fused(3, 20, 1, 3, 2);
    check_fused(20, 20, 20, 3, 1);
    check_fused(20, 20, 20, 3, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversions),       cmocka_unit_test(test_scaler),
        cmocka_unit_test(test_unscale_once),      cmocka_unit_test(test_kept_casts_are_freed),
        cmocka_unit_test(test_fused_convolution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
