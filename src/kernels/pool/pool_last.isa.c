/* Pooling of channels-last images for one instruction set: a window's points are vectors of
 * channels, which are brought together one after the other. */
#include <math.h>

#include "kernels/pool/pool.h"

#define CHANNELS 64 /* that are brought together at once */

/* The maxima of channels [0, count): NaN wins. */
CR_INLINE void take_most(const float *from, int64_t count, float *most)
{
    for (int64_t c = 0; c < count; c++)
        most[c] = from[c] > most[c] || from[c] != from[c] ? from[c] : most[c];
}

CR_INLINE void add_up(const float *from, int64_t count, float *sum)
{
    for (int64_t c = 0; c < count; c++)
        sum[c] += from[c];
}

CR_INLINE void pool_window(const float *image, int64_t row, int64_t channels, int64_t count,
                           struct pool_span y, struct pool_span x, bool is_max, float *to)
{
    float result[CHANNELS];
    int64_t taps = 0;
    for (int64_t c = 0; c < count; c++)
        result[c] = is_max ? -INFINITY : 0;
    for (int64_t i = y.begin; i < y.end; i += y.step)
        for (int64_t j = x.begin; j < x.end; j += x.step, taps++) {
            const float *from = image + i * row + j * channels;
            if (is_max)
                take_most(from, count, result);
            else
                add_up(from, count, result);
        }
    for (int64_t c = 0; c < count; c++)
        to[c] = is_max ? result[c] : result[c] / (float)taps;
}

static void pool_rows(const struct pool_last *pool, int64_t begin, int64_t end)
{
    const struct pool_axis *height = &pool->plan->axis[1], *width = &pool->plan->axis[2];
    int64_t channels = pool->channels, row = width->in * channels;
    for (int64_t index = begin; index < end; index++) {
        const float *image = pool->x + index / height->out * height->in * row;
        struct pool_span y = pool_span_of(height, index % height->out);
        float *to = pool->y + index * width->out * channels;
        for (int64_t o = 0; o < width->out; o++, to += channels) {
            struct pool_span x = pool_span_of(width, o);
            int64_t c = 0;
            for (; c + CHANNELS <= channels; c += CHANNELS)
                pool_window(image + c, row, channels, CHANNELS, y, x, pool->is_max, to + c);
            if (c < channels)
                pool_window(image + c, row, channels, channels - c, y, x, pool->is_max, to + c);
        }
    }
}

const struct pool_last_loops CR_ISA_NAME(pool_last_loops) = { .rows = pool_rows };
