/* Resampling of pictures: rows as they lie, columns by way of a block that is transposed, so that
 * either is a weighted sum of rows. */
#include <string.h>

#include "kernels/picture/picture_kernels.h"
#include "kernels/variants.h"

#define BAND 16 /* rows that are transposed at a time */

CR_KERNEL_VARIANTS(const struct picture_loops, picture_loops, );

static const struct picture_loops *picture_loops(void)
{
    return CR_KERNELS_IN_USE(picture_loops);
}

void resample_rows(const struct resample_axis *axis, const uint8_t *from, uint8_t *to,
                   int64_t width, int channels)
{
    size_t row = (size_t)width * (size_t)channels;
    resample_row weigh = picture_loops()->row;
    for (int64_t o = 0; o < axis->out; o++)
        weigh(to + (size_t)o * row, from + (size_t)axis->first[o] * row, row,
              axis->weights + o * axis->most, axis->taps[o], row);
}

size_t resample_room(const struct resample_axis *axis, int channels)
{
    return (size_t)(axis->in + axis->out) * (size_t)channels * BAND;
}

/* (rows, columns, channels) with `stride` between the rows to (columns, rows, channels). */
static void transpose(const uint8_t *from, size_t stride, uint8_t *to, size_t to_stride,
                      int64_t rows, int64_t columns, int channels)
{
    for (int64_t y = 0; y < rows; y++) {
        const uint8_t *in = from + (size_t)y * stride;
        uint8_t *out = to + (size_t)(y * channels);
        for (int64_t x = 0; x < columns; x++, in += channels, out += to_stride) {
            for (int c = 0; c < channels; c++)
                out[c] = in[c];
        }
    }
}

static void transpose_back(const uint8_t *from, size_t from_stride, uint8_t *to, size_t stride,
                           int64_t rows, int64_t columns, int channels)
{
    for (int64_t y = 0; y < rows; y++) {
        const uint8_t *in = from + (size_t)(y * channels);
        uint8_t *out = to + (size_t)y * stride;
        for (int64_t x = 0; x < columns; x++, in += from_stride, out += channels) {
            for (int c = 0; c < channels; c++)
                out[c] = in[c];
        }
    }
}

void resample_columns(const struct resample_axis *axis, const uint8_t *from, uint8_t *to,
                      int64_t height, int channels, uint8_t *room)
{
    size_t in_row = (size_t)axis->in * (size_t)channels;
    size_t out_row = (size_t)axis->out * (size_t)channels;
    size_t band = (size_t)BAND * (size_t)channels;
    uint8_t *turned = room;
    uint8_t *result = room + in_row * BAND;
    resample_row weigh = picture_loops()->row;
    for (int64_t y = 0; y < height; y += BAND) {
        int64_t rows = CR_MIN(height - y, (int64_t)BAND);
        transpose(from + (size_t)y * in_row, in_row, turned, band, rows, axis->in, channels);
        for (int64_t o = 0; o < axis->out; o++)
            weigh(result + (size_t)o * band, turned + (size_t)axis->first[o] * band, band,
                  axis->weights + o * axis->most, axis->taps[o], (size_t)(rows * channels));
        transpose_back(result, band, to + (size_t)y * out_row, out_row, rows, axis->out, channels);
    }
}
