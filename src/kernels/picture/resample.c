/* Resampling of pictures: which rows go into which sums, and the weights of columns as the kernels
 * read them: by groups of outputs, in the order in which vectors take them. */
#include <string.h>

#include "kernels/picture/picture_kernels.h"
#include "kernels/variants.h"

CR_KERNEL_VARIANTS(const struct picture_loops, picture_loops, );

static const struct picture_loops *picture_loops(void)
{
    return CR_KERNELS_IN_USE(picture_loops);
}

void resample_rows(const struct resample_axis *axis, const uint8_t *from, size_t stride,
                   uint8_t *to, int64_t width, int channels)
{
    size_t row = (size_t)width * (size_t)channels;
    resample_row weigh = picture_loops()->row;
    for (int64_t o = 0; o < axis->out; o++)
        weigh(to + (size_t)o * row, from + (size_t)axis->first[o] * stride, stride,
              axis->weights + o * axis->most, axis->taps[o], row);
}

/* ---- columns ---- */

static size_t fours_of(const struct resample_axis *axis)
{
    return ((size_t)axis->most + RESAMPLE_FOUR - 1) / RESAMPLE_FOUR;
}

/* What is read beyond a row, at most: all taps of its last pixel, and what a vector has more. */
static size_t slack(const struct resample_axis *axis, int channels)
{
    return fours_of(axis) * RESAMPLE_FOUR * (size_t)channels + 16;
}

/* Weights of the outputs of a vector of `cells`, and as many again up to a whole vector. */
static size_t packed_count(const struct resample_axis *axis, int channels, int cells)
{
    size_t outputs = (size_t)cells / (channels == 1 ? 1 : 4);
    size_t groups = outputs ? ((size_t)axis->out + outputs - 1) / outputs : 0;
    return groups * fours_of(axis) * 4 * (size_t)cells;
}

static int32_t weight_at(const struct resample_axis *axis, int64_t o, size_t tap)
{
    return o < axis->out && tap < (size_t)axis->taps[o] ? axis->weights[o * axis->most + (int)tap]
                                                        : 0;
}

static int32_t cell(int32_t first, int32_t second)
{
    return (int32_t)(((uint32_t)second << 16) | ((uint32_t)first & 0xFFFFU));
}

/* For each group of outputs and each four of taps: vectors of upper halves of taps (0, 1), of taps
 * (2, 3), and the same of lower halves. An output has a cell for each of 4 channels; grey ones have
 * one cell, and taps (0, 2) and (1, 3). */
static void pack(const struct resample_axis *axis, int channels, int cells, int32_t *packed)
{
    size_t each = channels == 1 ? 1 : 4;
    size_t second = channels == 1 ? 2 : 1;
    size_t fours = fours_of(axis);
    size_t low = 2 * (size_t)cells;
    int64_t outputs = cells / (int64_t)each;
    for (int64_t o = 0; o < axis->out; o += outputs) {
        for (size_t f = 0; f < fours; f++, packed += 2 * low) {
            for (size_t i = 0; i < low; i++) {
                int64_t output = o + (int64_t)(i % (size_t)cells / each);
                size_t tap = RESAMPLE_FOUR * f + (i < (size_t)cells ? 0 : 3 - second);
                int32_t a = weight_at(axis, output, tap);
                int32_t b = weight_at(axis, output, tap + second);
                packed[i] = cell(a >> RESAMPLE_HALF, b >> RESAMPLE_HALF);
                packed[low + i] =
                    cell(a & ((1 << RESAMPLE_HALF) - 1), b & ((1 << RESAMPLE_HALF) - 1));
            }
        }
    }
}

size_t resample_room(const struct resample_axis *axis, int channels)
{
    return packed_count(axis, channels, picture_loops()->cells) * sizeof(int32_t) +
           (size_t)axis->in * (size_t)channels + slack(axis, channels);
}

void resample_columns(const struct resample_axis *axis, const uint8_t *from, size_t stride,
                      uint8_t *to, int64_t height, int channels, void *room)
{
    const struct picture_loops *loops = picture_loops();
    size_t out_row = (size_t)axis->out * (size_t)channels;
    size_t in_row = (size_t)axis->in * (size_t)channels;
    size_t beyond = slack(axis, channels);
    int32_t *packed = room;
    uint8_t *copy = (uint8_t *)(packed + packed_count(axis, channels, loops->cells));
    if (loops->cells > 0)
        pack(axis, channels, loops->cells, packed);
    memset(copy + in_row, 0, beyond);
    for (int64_t y = 0; y < height; y++, to += out_row) {
        const uint8_t *row = from + (size_t)y * stride;
        if ((size_t)(height - 1 - y) * stride < beyond) /* the last rows: nothing follows them */
            row = memcpy(copy, row, in_row);
        loops->pixels(axis, packed, row, to, channels);
    }
}
