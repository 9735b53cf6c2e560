/* Arithmetic of 8-bit integers for inference: products of activations (0 … 255, with a zero point)
 * with weights (-128 … 127) are summed exactly in 32 bits, so every instruction set and number of
 * threads gives the same; then each sum becomes a real number, and that 8 bits again.
 *
 * Images lie as (N, H, W, C). A convolution reads them where they are: for each tap of the kernel
 * the rows of a tile are pointers to pixels, outside the image to a row of zero points. */
#ifndef CR_KERNELS_QUANTIZED_H
#define CR_KERNELS_QUANTIZED_H

#include "base/base.h"

#define QUANTIZED_ROWS    12 /* of a tile of sums */
#define QUANTIZED_COLUMNS 32
#define QUANTIZED_GROUP   4 /* products that are added at once */
#define QUANTIZED_TAPS    256

/* How sums become results; arrays by output channel. */
struct quantized_finish {
    const float *scale;    /* of a sum */
    const int32_t *offset; /* added to it before: bias, and what the zero point makes */
    const uint8_t *residual;
    float residual_scale;
    int32_t residual_zero;
    float low, high; /* bounds of the real result */
    float inverse;   /* 1 / scale of the result; 0: it is float32 */
    int32_t zero;
    uint8_t *bytes; /* one of these is where the result goes */
    float *reals;
};

struct quantized_conv {
    int64_t batch, in_height, in_width, in_channels, out_height, out_width, out_channels;
    int64_t kernel[2], stride[2], padding[2], dilation[2];
    bool is_depthwise; /* one kernel for each channel; else one group */
    const uint8_t *x;
    int32_t zero;          /* point of x */
    const int8_t *weights; /* packed */
    struct quantized_finish finish;
};

/* The loops for one instruction set. */
struct quantized_loops {
    /* sums[r][c] = the sum over taps t and channels i of rows[t * QUANTIZED_ROWS + r][i] times the
     * packed weight of t, i and c. */
    void (*tile)(int64_t taps, int64_t channels, const uint8_t *const *rows, const int8_t *weights,
                 int32_t *sums);
    /* sums[c] = the sum over taps of rows[t][c] * weights[t * stride + c]. */
    void (*depthwise)(int64_t taps, int64_t count, const uint8_t *const *rows,
                      const int8_t *weights, int64_t stride, int32_t *sums);
    /* Results of `count` channels from `channel` on; `at` is where they lie in the result. */
    void (*finish)(const struct quantized_finish *f, const int32_t *sums, int64_t channel,
                   int64_t at, int64_t count);
    /* x / scale + zero, rounded to even and clamped; `inverse` is 1 / scale. */
    void (*quantize)(const float *x, int64_t count, float inverse, int32_t zero, uint8_t *to);
    void (*dequantize)(const uint8_t *x, int64_t count, float scale, int32_t zero, float *to);
};

/* Bytes of packed weights, and packing (O, C, kernel…) or, depthwise, (C, 1, kernel…). sums[o]
 * becomes the sum of the weights of an output channel. */
size_t quantized_packed_size(const struct quantized_conv *c);
void quantized_pack(const struct quantized_conv *c, const int8_t *weights, int8_t *packed,
                    int32_t *sums);

/* `workspace` has in_channels bytes. */
void quantized_conv_run(const struct quantized_conv *c, void *workspace);

void quantized_quantize(const float *x, int64_t count, float scale, int32_t zero, uint8_t *to);
void quantized_dequantize(const uint8_t *x, int64_t count, float scale, int32_t zero, float *to);

#endif
