/* Kernels on pictures: bytes (height, width, channels), one picture in one thread. */
#ifndef CR_KERNELS_PICTURE_PICTURE_KERNELS_H
#define CR_KERNELS_PICTURE_PICTURE_KERNELS_H

#include "base/base.h"

/* ---- resampling, as Pillow does it: weights in fixed point, each of the two passes rounded ----
 */

#define RESAMPLE_BITS 22 /* of a weight after the point */

/* One dimension of a resampling: output o is the sum over its taps t of weights[o * most + t] times
 * input first[o] + t. */
struct resample_axis {
    int64_t in;
    int64_t out;
    int most;   /* taps */
    int *first; /* (out) */
    int *taps;  /* (out), at most `most` */
    int32_t *weights;
};

/* A weight w is 2^12 times its upper half plus its lower half, so that sums of products with bytes
 * can be made of 16-bit products. Weights go by four taps, and these by two: cell (a, b) holds the
 * weights of two taps, that of the first in its lower 16 bits. */
#define RESAMPLE_HALF 12
#define RESAMPLE_FOUR 4

/* out[i] = sum over taps of weights[t] * in[t * stride + i], rounded and clipped to a byte. */
typedef void (*resample_row)(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *weights,
                             int taps, size_t count);

/* Resamples one row of pixels. `packed` are the weights as resample_pack lays them out for `cells`.
 * Reads up to resample_slack() bytes beyond the row. */
typedef void (*resample_pixels)(const struct resample_axis *axis, const int32_t *packed,
                                const uint8_t *in, uint8_t *out, int channels);

struct picture_loops {
    resample_row row;
    resample_pixels pixels;
    int cells; /* of 32 bits, of a vector; 0: `pixels` reads the weights of the axis */
};

/* Resamples the columns (each row alone), or the rows, of `from`, whose rows are `stride` bytes
 * apart; `to`, contiguous, has axis->out of them in place of axis->in. `room` has place for
 * resample_room() bytes, and is aligned for int32_t. */
void resample_columns(const struct resample_axis *axis, const uint8_t *from, size_t stride,
                      uint8_t *to, int64_t height, int channels, void *room);
void resample_rows(const struct resample_axis *axis, const uint8_t *from, size_t stride,
                   uint8_t *to, int64_t width, int channels);
size_t resample_room(const struct resample_axis *axis, int channels);

#endif
