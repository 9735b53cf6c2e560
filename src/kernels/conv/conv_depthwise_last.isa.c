/* Depthwise convolution of channels-last images for one instruction set: a vector is LANES channels
 * of one point. Some neighbouring points of a row are computed at once, so that what two of them
 * read is read once. */
#include "kernels/conv/vectors.inc"

#include "kernels/conv/epilogue.inc"

#define POINTS_MOST 8

/* Points of one row of the result, from column x on: rows [first_tap, last_tap) of the kernel are
 * inside the image, and read rows that are `row_step` apart from `image` on. */
typedef struct piece {
    const cr_depthwise_last *call;
    const float *image;
    int64_t row_step, first_tap, last_tap;
    int64_t x;
    float *output;
    const float *residual;
} piece;

CR_INLINE void finish(const piece *p, int points, int64_t channel, int64_t count, vector *sum)
{
    const cr_depthwise_last *call = p->call;
    int64_t channels = call->conv->out_channels;
    const float *bias = call->epilogue.row_bias;
    vector add = bias ? load_some(bias + channel, count) : (vector){ 0 };
    for (int i = 0; i < points; i++)
        sum[i] += add;
    if (p->residual)
        for (int i = 0; i < points; i++)
            sum[i] += load_some(p->residual + i * channels + channel, count);
    if (call->epilogue.activation == CR_ACTIVATION_RELU6)
        for (int i = 0; i < points; i++)
            sum[i] = activate(sum[i], CR_ACTIVATION_RELU6);
    else
        for (int i = 0; i < points; i++)
            sum[i] = activate(sum[i], call->epilogue.activation);
    for (int i = 0; i < points; i++)
        store_some(p->output + i * channels + channel, sum[i], count);
}

/* A kernel of `width` columns, at `points` points; at the border some of them are outside. */
CR_INLINE void compute(const piece *p, int width, int stride, int points, bool is_border)
{
    const cr_conv *c = p->call->conv;
    int64_t channels = c->in_channels, padded = p->call->channels_padded;
    int64_t left = p->x * stride - c->padding[2];
    for (int64_t channel = 0; channel < channels; channel += LANES) {
        int64_t count = CR_MIN(channels - channel, LANES);
        vector sum[POINTS_MOST];
        for (int i = 0; i < points; i++)
            sum[i] = (vector){ 0 };
        const float *weight = p->call->weight + p->first_tap * width * padded + channel;
        const float *row = p->image + left * channels + channel;
        for (int64_t y = p->first_tap; y < p->last_tap; y++) {
            vector w[5];
#pragma GCC unroll 5
            for (int t = 0; t < width; t++)
                w[t] = load(weight + t * padded);
#pragma GCC unroll 32
            for (int e = 0; e < (points - 1) * stride + width; e++) {
                if (is_border && (left + e < 0 || left + e >= c->input[2]))
                    continue;
                const float *at = row + e * channels;
                vector value = load_some(at, count);
#pragma GCC unroll 5
                for (int t = 0; t < width; t++)
                    if (e >= t && (e - t) % stride == 0 && (e - t) / stride < points)
                        sum[(e - t) / stride] += value * w[t];
            }
            row += p->row_step;
            weight += width * padded;
        }
        finish(p, points, channel, count, sum);
    }
}

/* Any kernel, at one point. */
static void compute_any(const piece *p)
{
    const cr_conv *c = p->call->conv;
    int64_t channels = c->in_channels, padded = p->call->channels_padded, width = c->kernel[2];
    int64_t left = p->x * c->stride[2] - c->padding[2];
    for (int64_t channel = 0; channel < channels; channel += LANES) {
        int64_t count = CR_MIN(channels - channel, LANES);
        vector sum = { 0 };
        const float *row = p->image + channel;
        for (int64_t y = p->first_tap; y < p->last_tap; y++, row += p->row_step)
            for (int64_t t = 0; t < width; t++) {
                int64_t x = left + t * c->dilation[2];
                if (x >= 0 && x < c->input[2])
                    sum += load_some(row + x * channels, count) *
                           load(p->call->weight + (y * width + t) * padded + channel);
            }
        finish(p, 1, channel, count, &sum);
    }
}

#define PIECES(width, stride)                                                                      \
    static void pieces_##width##_##stride(const piece *p, int points, bool is_border)              \
    {                                                                                              \
        if (points == 8 && !is_border)                                                             \
            compute(p, width, stride, 8, false);                                                   \
        else if (points == 8)                                                                      \
            compute(p, width, stride, 8, true);                                                    \
        else if (points == 7)                                                                      \
            compute(p, width, stride, 7, true);                                                    \
        else if (points == 4 && !is_border)                                                        \
            compute(p, width, stride, 4, false);                                                   \
        else if (points == 4)                                                                      \
            compute(p, width, stride, 4, true);                                                    \
        else                                                                                       \
            compute(p, width, stride, 1, true);                                                    \
    }
PIECES(3, 1)
PIECES(3, 2)
PIECES(5, 1)
PIECES(5, 2)

typedef void (*piece_function)(const piece *p, int points, bool is_border);

static piece_function function_of(const cr_conv *c)
{
    if (c->dilation[2] != 1)
        return NULL;
    if (c->kernel[2] == 3)
        return c->stride[2] == 1 ? pieces_3_1 : c->stride[2] == 2 ? pieces_3_2 : NULL;
    if (c->kernel[2] == 5)
        return c->stride[2] == 1 ? pieces_5_1 : c->stride[2] == 2 ? pieces_5_2 : NULL;
    return NULL;
}

/* How many points at once in a row of `width`. Where the last ones are fewer, some are computed
 * twice. */
static int points_of(int64_t width)
{
#if LANES == 16
    if (width >= 8)
        return 8;
    if (width == 7)
        return 7;
#endif
    return width >= 4 ? 4 : 1;
}

static void compute_row(piece p, float *output, const float *residual)
{
    const cr_conv *c = p.call->conv;
    piece_function function = function_of(c);
    int64_t width = c->output[2], channels = c->out_channels;
    int points = function ? points_of(width) : 1;
    for (int64_t x = 0; x < width; x += points) {
        p.x = CR_MIN(x, width - points);
        p.output = output + p.x * channels;
        p.residual = residual ? residual + p.x * channels : NULL;
        int64_t left = p.x * c->stride[2] - c->padding[2];
        int64_t right = left + (points - 1) * c->stride[2] + c->kernel[2];
        if (function)
            function(&p, points, left < 0 || right > c->input[2]);
        else
            compute_any(&p);
    }
}

static void finish_rest(const cr_depthwise_last *call, float *row)
{
    const cr_conv *c = call->conv;
    cr_gemm_finish rest = { .rows = c->output[2],
                            .columns = c->out_channels,
                            .sum = row,
                            .sum_stride = c->out_channels,
                            .c = row,
                            .c_stride = c->out_channels,
                            .c_column_stride = 1,
                            .alpha = 1,
                            .epilogue = { .activation = call->epilogue.activation,
                                          .slope = call->epilogue.slope } };
    cr_gemm_kernels_of(CR_GEMM_F32)->finish(&rest);
}

/* Rows [begin, end) of the result, counted through the images. */
static void depthwise_rows(const cr_depthwise_last *call, int64_t begin, int64_t end)
{
    const cr_conv *c = call->conv;
    int64_t in_row = c->input[2] * c->in_channels, out_row = c->output[2] * c->out_channels;
    for (int64_t index = begin; index < end; index++) {
        int64_t image = index / c->output[1];
        int64_t top = index % c->output[1] * c->stride[1] - c->padding[1];
        int64_t first = top < 0 ? CR_DIV_UP(-top, c->dilation[1]) : 0;
        int64_t inside = c->input[1] > top ? CR_DIV_UP(c->input[1] - top, c->dilation[1]) : 0;
        int64_t last = CR_MIN(inside, c->kernel[1]);
        piece p = { .call = call,
                    .image =
                        call->input + (image * c->input[1] + top + first * c->dilation[1]) * in_row,
                    .row_step = c->dilation[1] * in_row,
                    .first_tap = first,
                    .last_tap = CR_MAX(last, first) };
        const float *residual = call->epilogue.residual;
        float *row = call->output + index * out_row;
        compute_row(p, row, residual ? residual + index * out_row : NULL);
        if (!is_simple(call->epilogue.activation))
            finish_rest(call, row);
    }
}

const cr_depthwise_last_kernels CR_ISA_NAME(cr_depthwise_last_kernels) = {
    .lanes = LANES,
    .rows = depthwise_rows,
};
