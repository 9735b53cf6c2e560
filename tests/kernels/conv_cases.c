/* Convolutions and their gradients. Each family has shapes that the driver gives to it (or, where a
 * set has another preference, to the one that is its rival there); every way of each is run, with
 * the weights prepared beforehand in turn. */
#include "kernels/conv/conv.h"
#include "trials.h"

static const cr_dtype dtypes[CR_GEMM_TYPE_COUNT] = { CR_F32, CR_F64, CR_BF16, CR_F16 };

static int64_t volume(const int64_t size[CR_CONV_DIMS])
{
    return size[0] * size[1] * size[2];
}

/* Winograd's transforms lose about a digit. */
#define TRANSFORM_LOSS 10

static double error_of(const cr_conv *c, int64_t terms)
{
    bool transforms = c->kernel[1] == 3 && c->kernel[2] == 3 && c->stride[2] == 1;
    return (transforms ? TRANSFORM_LOSS : 2) * sum_error(dtypes[c->type], terms);
}

static cr_epilogue draw_epilogue(struct trial *t, cr_dtype dtype, int64_t channels, int64_t size)
{
    cr_epilogue e = { .slope = 0.1f };
    if (flip(t))
        return e;
    if (flip(t))
        e.row_bias = operand(t, dtype, channels);
    if (flip(t))
        e.residual = operand(t, dtype, size);
    e.activation = (cr_activation)draw(t, 0, CR_ACTIVATION_COUNT - 1);
    return e;
}

static void convolve(struct trial *t, const cr_conv *c)
{
    cr_dtype dtype = dtypes[c->type];
    int64_t in = c->batch * c->in_channels * volume(c->input);
    int64_t out = c->batch * c->out_channels * volume(c->output);
    int64_t weights = c->out_channels * c->in_channels / c->groups * volume(c->kernel);
    int64_t taps = volume(c->kernel), into = c->in_channels / c->groups * taps;
    int64_t back = c->out_channels / c->groups * taps;
    const void *x = operand(t, dtype, in), *w = operand(t, dtype, weights);
    const void *y = operand(t, dtype, out);
    cr_epilogue e = draw_epilogue(t, dtype, c->out_channels, out);
    double unit = 2 * one_unit(dtype);
    /* What is drawn, and which buffers there are, must not depend on the set. */
    bool prepares = flip(t);
    void *prepared = workspace(t, cr_conv_prepared_size(c));
    prepares = prepares && cr_conv_prepared_size(c) > 0;
    if (prepares)
        cr_conv_prepare(c, w, prepared);
    cr_conv_forward(c, x, w, prepares ? prepared : NULL, &e,
                    close_result(t, dtype, out, unit, error_of(c, into)),
                    workspace(t, cr_conv_forward_workspace(c)));
    cr_epilogue other = draw_epilogue(t, dtype, c->in_channels, in);
    cr_conv_backward_data(c, y, w, &other, close_result(t, dtype, in, unit, error_of(c, back)),
                          workspace(t, cr_conv_backward_data_workspace(c)));
    cr_conv_backward_weight(
        c, x, y, close_result(t, dtype, weights, unit, error_of(c, c->batch * volume(c->output))),
        workspace(t, cr_conv_backward_weight_workspace(c)));
}

/* A square kernel in two dimensions; the output's size follows, sometimes one more than fits. */
static cr_conv conv2d(struct trial *t, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                      int64_t padding, int64_t groups)
{
    cr_conv c = { .type = CR_GEMM_F32,
                  .batch = draw(t, 1, 2),
                  .in_channels = in,
                  .out_channels = out,
                  .groups = groups,
                  .input = { 1 },
                  .kernel = { 1, kernel, kernel },
                  .stride = { 1, stride, stride },
                  .padding = { 0, padding, padding },
                  .dilation = { 1, 1, 1 },
                  .output = { 1 } };
    for (int d = 1; d < CR_CONV_DIMS; d++) {
        c.input[d] = draw(t, CR_MAX(kernel, 8), 19);
        c.output[d] = (c.input[d] + 2 * padding - kernel) / stride + 1;
    }
    return c;
}

static void any_of(struct trial *t, cr_gemm_type type)
{
    cr_conv c = { .type = type, .batch = draw(t, 1, 3) };
    int first = (int)draw(t, 0, 2);
    c.groups = draw(t, 0, 2) ? 1 : draw(t, 2, 4);
    c.in_channels = c.groups * (flip(t) ? 1 : draw(t, 1, 9));
    c.out_channels = c.groups * draw(t, 1, first == 0 ? 6 : 20);
    for (int d = 0; d < CR_CONV_DIMS; d++) {
        bool used = d >= first;
        c.kernel[d] = used ? draw(t, 1, first == 0 ? 3 : 4) : 1;
        c.stride[d] = used ? draw(t, 1, 3) : 1;
        c.dilation[d] = used ? draw(t, 1, 2) : 1;
        c.padding[d] = used ? draw(t, 0, c.kernel[d]) : 0;
        int64_t span = (c.kernel[d] - 1) * c.dilation[d] + 1;
        c.input[d] = used ? draw(t, CR_MAX(span - 2 * c.padding[d], 1), first == 0 ? 9 : 21) : 1;
        c.input[d] = CR_MAX(c.input[d], span - 2 * c.padding[d]);
        c.output[d] = (c.input[d] + 2 * c.padding[d] + (used && flip(t)) - span) / c.stride[d] + 1;
    }
    convolve(t, &c);
}

static void any_f32(struct trial *t)
{
    any_of(t, CR_GEMM_F32);
}

static void any_f64(struct trial *t)
{
    any_of(t, CR_GEMM_F64);
}

static void any_bf16(struct trial *t)
{
    any_of(t, CR_GEMM_BF16);
}

static void any_f16(struct trial *t)
{
    any_of(t, CR_GEMM_F16);
}

/* Enough channels to be worth pairing them. */
static void wide_bf16(struct trial *t)
{
    int64_t kernel = draw(t, 1, 3);
    cr_conv c = conv2d(t, draw(t, 16, 70), draw(t, 16, 70), kernel, draw(t, 1, 2),
                       draw(t, 0, kernel / 2), 1);
    c.type = CR_GEMM_BF16;
    convolve(t, &c);
}

static void depthwise(struct trial *t)
{
    static const int64_t kernels[] = { 1, 2, 3, 3, 5, 7 };
    int64_t channels = draw(t, 2, 9), kernel = kernels[draw(t, 0, CR_COUNT_OF(kernels) - 1)];
    int64_t multiple = draw(t, 0, 3) ? 1 : 2;
    cr_conv c = conv2d(t, channels, channels * multiple, kernel, draw(t, 1, 2),
                       draw(t, 0, kernel - 1), channels);
    if (draw(t, 0, 4) == 0)
        c.type = flip(t) ? CR_GEMM_BF16 : CR_GEMM_F16;
    convolve(t, &c);
}

static void points(struct trial *t)
{
    int64_t stride = draw(t, 1, 2), kernel = stride == 1 ? 5 : draw(t, 3, 5);
    cr_conv c = conv2d(t, draw(t, 8, 20), draw(t, 1, 50), kernel, stride, draw(t, 0, 2), 1);
    convolve(t, &c);
}

static void pointwise(struct trial *t)
{
    cr_conv c = conv2d(t, draw(t, 1, 90), draw(t, 1, 90), 1, 1, 0, 1);
    convolve(t, &c);
}

static void winograd(struct trial *t)
{
    cr_conv c = conv2d(t, draw(t, 16, 40), draw(t, 16, 40), 3, 1, draw(t, 0, 2), 1);
    c.batch = 2;
    convolve(t, &c);
}

/* Forward alone, on images whose channels lie side by side. */
static void convolve_last(struct trial *t, cr_conv *c)
{
    c->channels_last = true;
    int64_t in = c->batch * c->in_channels * volume(c->input);
    int64_t out = c->batch * c->out_channels * volume(c->output);
    int64_t each = c->in_channels / c->groups * volume(c->kernel);
    const void *x = operand(t, CR_F32, in), *w = operand(t, CR_F32, c->out_channels * each);
    const void *scale = operand(t, CR_F32, c->out_channels);
    cr_epilogue e = draw_epilogue(t, CR_F32, c->out_channels, out);
    void *prepared = workspace(t, cr_conv_prepared_size(c));
    bool scaled = flip(t) && cr_conv_prepare_scaled(c, w, scale, prepared);
    cr_conv_forward(c, x, w, scaled ? prepared : NULL, &e,
                    close_result(t, CR_F32, out, 0, 4 * sum_error(CR_F32, each)),
                    workspace(t, cr_conv_forward_workspace(c)));
    cr_channels_last_turn(x, c->batch, c->in_channels, volume(c->input),
                          exact_result(t, CR_F32, in));
}

static void last_rows(struct trial *t)
{
    int64_t kernel = draw(t, 1, 4);
    cr_conv c =
        conv2d(t, draw(t, 1, 90), draw(t, 1, 90), kernel, draw(t, 1, 2), draw(t, 0, kernel - 1), 1);
    convolve_last(t, &c);
}

static void last_depthwise(struct trial *t)
{
    int64_t kernel = draw(t, 1, 5), channels = draw(t, 2, 50);
    cr_conv c =
        conv2d(t, channels, channels, kernel, draw(t, 1, 2), draw(t, 0, kernel - 1), channels);
    convolve_last(t, &c);
}

static void weight_gradients(struct trial *t)
{
    int64_t kernel = draw(t, 1, 4);
    cr_conv c =
        conv2d(t, draw(t, 1, 20), draw(t, 8, 70), kernel, draw(t, 1, 3), draw(t, 0, kernel - 1), 1);
    convolve(t, &c);
}

const struct variant_case conv_cases[] = {
    { CR_FAMILY_cr_conv_kernels, "any convolution of float32", any_f32, 60 },
    { CR_FAMILY_cr_conv_kernels, "any convolution of float64", any_f64, 30 },
    { CR_FAMILY_cr_conv_kernels, "any convolution of bfloat16", any_bf16, 60 },
    { CR_FAMILY_cr_conv_kernels, "any convolution of float16", any_f16, 30 },
    { CR_FAMILY_cr_conv_kernels, "many channels of bfloat16", wide_bf16, 20 },
    { CR_FAMILY_cr_depthwise_kernels, "a kernel for each channel", depthwise, 60 },
    { CR_FAMILY_cr_points_kernels, "large kernels", points, 12 },
    { CR_FAMILY_cr_pointwise_kernels, "kernels of 1 x 1", pointwise, 20 },
    { CR_FAMILY_cr_winograd_kernels, "kernels of 3 x 3", winograd, 6 },
    { CR_FAMILY_cr_winograd_weight_kernels, "gradients of kernels of 3 x 3", winograd, 4 },
    { CR_FAMILY_cr_rows_kernels, "channels-last images", last_rows, 20 },
    { CR_FAMILY_cr_depthwise_last_kernels, "the same, a kernel for each channel", last_depthwise,
      30 },
    { CR_FAMILY_cr_weight_kernels, "gradients of weights", weight_gradients, 30 },
    { .run = NULL },
};
