/* Convolution of channels-last images against that of images in the usual order, which test_conv
 * compares with plain loops: every instruction set, random sizes, epilogues, scaled weights, guards
 * around what is written, and the bits at one and two threads. */
#include "kernels/conv/conv.h"
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 32 /* elements before and after a result that must stay as they were */

static uint64_t state = 11;

static int64_t draw(int64_t low, int64_t high)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((state >> 33) % (uint64_t)(high - low + 1));
}

static float *random_array(int64_t count)
{
    float *data = cr_alloc_array((size_t)count + 1, sizeof(float));
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)draw(-1000, 1000) / 500;
    return data;
}

/* Guarded, and channels-last. */
static float *turned(const float *from, int64_t batch, int64_t channels, int64_t plane)
{
    int64_t count = batch * channels * plane;
    float *to = cr_alloc_array((size_t)(count + 1), sizeof(float));
    assert_non_null(to);
    cr_channels_last_turn(from, batch, channels, plane, to);
    for (int64_t i = 0; i < count; i++) {
        int64_t image = i / channels / plane, channel = i / plane % channels;
        assert_true(to[(image * plane + i % plane) * channels + channel] == from[i]);
    }
    return to;
}

/* The result, from GUARD on. The weights are prepared, with a scale or without. */
static float *run(const cr_conv *c, const float *input, const float *weight, const float *scale,
                  const cr_epilogue *epilogue, int threads)
{
    cr_set_num_threads(threads);
    int64_t count = c->batch * c->out_channels * c->output[1] * c->output[2];
    size_t bytes = (size_t)(count + 2 * GUARD) * sizeof(float);
    size_t size = cr_conv_forward_workspace(c), prepared_size = cr_conv_prepared_size(c);
    void *workspace = cr_buffer_alloc(size), *prepared = cr_buffer_alloc(prepared_size);
    char *result = cr_alloc(bytes);
    assert_true(workspace && result && prepared);
    memset(result, 0x5a, bytes);
    if (scale)
        assert_true(cr_conv_prepare_scaled(c, weight, scale, prepared));
    cr_conv_forward(c, input, weight, scale ? prepared : NULL, epilogue,
                    result + GUARD * sizeof(float), workspace);
    for (size_t i = 0; i < GUARD * sizeof(float); i++) {
        assert_int_equal(result[i], 0x5a);
        assert_int_equal(result[bytes - 1 - i], 0x5a);
    }
    cr_buffer_free(prepared, prepared_size);
    cr_buffer_free(workspace, size);
    cr_set_num_threads(0);
    return (float *)(void *)result;
}

typedef struct tensors {
    float *input, *weight, *scale, *bias, *residual;
    float *last_input, *last_residual;
    float *want; /* in the usual order */
} tensors;

static void compare(const cr_conv *conv, const tensors *t, cr_epilogue epilogue, bool is_scaled)
{
    cr_conv c = *conv;
    c.channels_last = true;
    int64_t plane = c.output[1] * c.output[2], count = c.batch * c.out_channels * plane;
    if (epilogue.residual)
        epilogue.residual = t->last_residual;
    const float *scale = is_scaled ? t->scale : NULL;
    float *got = run(&c, t->last_input, t->weight, scale, &epilogue, 1);
    float *again = run(&c, t->last_input, t->weight, scale, &epilogue, 2);
    int64_t k = c.in_channels / c.groups * c.kernel[1] * c.kernel[2];
    for (int64_t i = 0; i < count; i++) {
        int64_t image = i / plane / c.out_channels, channel = i / plane % c.out_channels;
        float value = got[GUARD + (image * plane + i % plane) * c.out_channels + channel];
        float want = t->want[i];
        if (!(fabsf(value - want) <= 2e-5f * sqrtf((float)k) * (4 + fabsf(want))))
            fail_msg("%s: n %d, c %d -> %d / %d, in (%d, %d), kernel (%d, %d), stride (%d, %d), "
                     "padding (%d, %d), at %d: %g, not %g",
                     cr_isa_name(cr_isa_in_use()), (int)c.batch, (int)c.in_channels,
                     (int)c.out_channels, (int)c.groups, (int)c.input[1], (int)c.input[2],
                     (int)c.kernel[1], (int)c.kernel[2], (int)c.stride[1], (int)c.stride[2],
                     (int)c.padding[1], (int)c.padding[2], (int)i, (double)value, (double)want);
    }
    assert_memory_equal(got, again, (size_t)(count + 2 * GUARD) * sizeof(float));
    cr_free(got);
    cr_free(again);
}

static void check(const cr_conv *c)
{
    static const cr_activation activations[] = { CR_ACTIVATION_NONE, CR_ACTIVATION_RELU,
                                                 CR_ACTIVATION_RELU6, CR_ACTIVATION_HARDSWISH,
                                                 CR_ACTIVATION_SILU };
    int64_t in = c->input[1] * c->input[2], out = c->output[1] * c->output[2];
    int64_t each = c->in_channels / c->groups * c->kernel[1] * c->kernel[2];
    tensors t = { .input = random_array(c->batch * c->in_channels * in),
                  .weight = random_array(c->out_channels * each),
                  .scale = random_array(c->out_channels),
                  .bias = random_array(c->out_channels),
                  .residual = random_array(c->batch * c->out_channels * out) };
    t.last_input = turned(t.input, c->batch, c->in_channels, in);
    t.last_residual = turned(t.residual, c->batch, c->out_channels, out);
    bool is_scaled = draw(0, 1);
    cr_epilogue epilogue = { .row_bias = draw(0, 3) ? t.bias : NULL,
                             .residual = draw(0, 1) ? t.residual : NULL,
                             .activation = activations[draw(0, CR_COUNT_OF(activations) - 1)] };
    float *folded = random_array(c->out_channels * each);
    for (int64_t i = 0; i < c->out_channels * each; i++)
        folded[i] = is_scaled ? t.weight[i] * t.scale[i / each] : t.weight[i];
    cr_use_isa(CR_ISA_PORTABLE);
    float *want = run(c, t.input, folded, NULL, &epilogue, 1);
    t.want = want + GUARD;
    for (int isa = CR_ISA_PORTABLE; isa <= (int)CR_ISA_AVX512; isa++) {
        if (!cr_cpu_has_isa((cr_isa)isa))
            continue;
        cr_use_isa((cr_isa)isa);
        compare(c, &t, epilogue, is_scaled);
    }
    cr_use_isa(CR_ISA_COUNT);
    float *all[] = { t.input,      t.weight,        t.scale, t.bias, t.residual,
                     t.last_input, t.last_residual, folded,  want };
    for (size_t i = 0; i < CR_COUNT_OF(all); i++)
        cr_free(all[i]);
}

static cr_conv random_conv(bool is_depthwise)
{
    cr_conv c = { .type = CR_GEMM_F32,
                  .batch = draw(1, 3),
                  .in_channels = draw(1, 3) == 1 ? draw(1, 5) : draw(1, 70),
                  .out_channels = draw(1, 100),
                  .groups = 1 };
    int64_t kernel = draw(0, 3) ? 2 * draw(0, 2) + 1 : draw(1, 8);
    int64_t padding = draw(0, 1) ? (kernel - 1) / 2 : draw(0, 2);
    for (int d = 0; d < CR_CONV_DIMS; d++)
        c.input[d] = c.output[d] = c.kernel[d] = c.stride[d] = c.dilation[d] = 1;
    for (int d = 1; d < CR_CONV_DIMS; d++) {
        c.kernel[d] = draw(0, 9) ? kernel : draw(1, 4);
        c.stride[d] = draw(0, 3) ? draw(1, 2) : draw(1, 3);
        c.dilation[d] = draw(0, 5) ? 1 : 2;
        c.padding[d] = padding;
        int64_t span = (c.kernel[d] - 1) * c.dilation[d] + 1;
        c.input[d] = CR_MAX(span - 2 * padding, 1) + draw(0, 20);
        c.output[d] = (c.input[d] + 2 * padding - span) / c.stride[d] + 1;
    }
    if (is_depthwise)
        c.groups = c.out_channels = c.in_channels = CR_MAX(c.in_channels, 2);
    return c;
}

static void test_random(void **unused)
{
    (void)unused;
    for (int i = 0; i < 120; i++) {
        cr_conv c = random_conv(i % 3 == 0);
        assert_true(cr_channels_last_suits(&c));
        check(&c);
    }
}

/* More steps of k than one, more blocks, and more taps than are packed at once. */
static void test_large(void **unused)
{
    (void)unused;
    static const int64_t sizes[][5] = { /* in, out, size, kernel, stride */
                                        { 600, 70, 7, 1, 1 },
                                        { 70, 300, 23, 1, 2 },
                                        { 40, 33, 9, 3, 2 },
                                        { 3, 20, 40, 17, 4 },
                                        { 48, 64, 20, 3, 1 }
    };
    for (size_t i = 0; i < CR_COUNT_OF(sizes); i++) {
        cr_conv c = random_conv(false);
        c.in_channels = sizes[i][0];
        c.out_channels = sizes[i][1];
        for (int d = 1; d < CR_CONV_DIMS; d++) {
            c.input[d] = sizes[i][2];
            c.kernel[d] = sizes[i][3];
            c.stride[d] = sizes[i][4];
            c.dilation[d] = 1;
            c.padding[d] = c.kernel[d] / 2;
            c.output[d] = (c.input[d] + 2 * c.padding[d] - c.kernel[d]) / c.stride[d] + 1;
        }
        check(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
