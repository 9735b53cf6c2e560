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

/* out[i] = sum over taps of weights[t] * in[t * stride + i], rounded and clipped to a byte. */
typedef void (*resample_row)(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *weights,
                             int taps, size_t count);

struct picture_loops {
    resample_row row;
};

/* Resamples the columns (each row alone), or the rows, of `from`; `to` has axis->out of them in
 * place of axis->in. `room` has place for resample_room() bytes. */
void resample_columns(const struct resample_axis *axis, const uint8_t *from, uint8_t *to,
                      int64_t height, int channels, uint8_t *room);
void resample_rows(const struct resample_axis *axis, const uint8_t *from, uint8_t *to,
                   int64_t width, int channels);
size_t resample_room(const struct resample_axis *axis, int channels);

#endif
