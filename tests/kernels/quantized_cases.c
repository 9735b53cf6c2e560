/* Products of bytes: convolutions of every kind, with every end, and conversions. All exact. */
#include <math.h>

#include "kernels/quantized/quantized.h"
#include "trials.h"

static void draw_finish(struct trial *t, struct quantized_finish *f, int64_t channels,
                        int64_t elements)
{
    f->scale = operand_within(t, CR_F32, channels, 1e-4, 1e-2);
    f->offset = operand_within(t, CR_I32, channels, -2000, 2000);
    f->low = flip(t) ? 0 : -INFINITY;
    f->high = flip(t) ? 6 : INFINITY;
    if (flip(t)) {
        f->residual = operand_within(t, CR_U8, elements, 0, 255);
        f->residual_scale = (float)draw_real(t, 0.01, 0.1);
        f->residual_zero = (int32_t)draw(t, 0, 255);
    }
    if (flip(t)) {
        f->reals = exact_result(t, CR_F32, elements);
        return;
    }
    f->inverse = (float)draw_real(t, 1, 100);
    f->zero = (int32_t)draw(t, 0, 255);
    f->bytes = exact_result(t, CR_U8, elements);
}

static void convolution(struct trial *t, bool is_depthwise)
{
    struct quantized_conv c = { .batch = draw(t, 1, 2),
                                .in_height = draw(t, 1, 9),
                                .in_width = draw(t, 1, 9),
                                .in_channels = draw(t, 1, is_depthwise ? 150 : 40),
                                .is_depthwise = is_depthwise,
                                .zero = (int32_t)draw(t, 0, 255) };
    int64_t in[2] = { c.in_height, c.in_width }, out[2];
    c.out_channels = is_depthwise ? c.in_channels : draw(t, 1, 70);
    for (int d = 0; d < 2; d++) {
        c.kernel[d] = draw(t, 1, 3);
        c.stride[d] = draw(t, 1, 2);
        c.dilation[d] = draw(t, 1, 2);
        c.padding[d] = draw(t, 0, 2);
        int64_t room = in[d] + 2 * c.padding[d] - c.dilation[d] * (c.kernel[d] - 1) - 1;
        c.padding[d] += room < 0 ? c.kernel[d] * c.dilation[d] : 0;
        room = in[d] + 2 * c.padding[d] - c.dilation[d] * (c.kernel[d] - 1) - 1;
        out[d] = room / c.stride[d] + 1;
    }
    c.out_height = out[0], c.out_width = out[1];
    int64_t taps = c.kernel[0] * c.kernel[1];
    int64_t each = taps * (is_depthwise ? 1 : c.in_channels);
    c.x = operand_within(t, CR_U8, c.batch * in[0] * in[1] * c.in_channels, 0, 255);
    const int8_t *weights = operand_within(t, CR_I8, c.out_channels * each, -128, 127);
    int8_t *packed = exact_result(t, CR_I8, (int64_t)quantized_packed_size(&c));
    int32_t *sums = exact_result(t, CR_I32, c.out_channels);
    quantized_pack(&c, weights, packed, sums);
    c.weights = packed;
    draw_finish(t, &c.finish, c.out_channels, c.batch * out[0] * out[1] * c.out_channels);
    quantized_conv_run(&c, workspace(t, (size_t)c.in_channels));
}

static void dense(struct trial *t)
{
    convolution(t, false);
}

static void depthwise(struct trial *t)
{
    convolution(t, true);
}

static void conversions(struct trial *t)
{
    int64_t count = draw(t, 1, 20000);
    float scale = (float)draw_real(t, 0.001, 0.1);
    int32_t zero = (int32_t)draw(t, 0, 255);
    quantized_quantize(operand(t, CR_F32, count), count, scale, zero,
                       exact_result(t, CR_U8, count));
    quantized_dequantize(operand_within(t, CR_U8, count, 0, 255), count, scale, zero,
                         exact_result(t, CR_F32, count));
}

const struct variant_case quantized_cases[] = {
    { CR_FAMILY_quantized_loops, "convolutions of bytes", dense, 80 },
    { CR_FAMILY_quantized_loops, "depthwise convolutions of bytes", depthwise, 50 },
    { CR_FAMILY_quantized_loops, "conversions", conversions, 20 },
    { .run = NULL },
};
