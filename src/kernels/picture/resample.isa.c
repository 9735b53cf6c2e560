/* The weighted sum of rows for each instruction set. */
#include "kernels/picture/picture_kernels.h"

#define BLOCK 128 /* sums that stay in registers and the nearest cache */

CR_INLINE void weigh(int32_t *restrict sums, const uint8_t *restrict in, int32_t weight,
                     size_t count)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += weight * in[i];
}

CR_INLINE void finish(uint8_t *restrict out, const int32_t *restrict sums, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int32_t value = sums[i] >> RESAMPLE_BITS;
        value = value < 0 ? 0 : value;
        out[i] = (uint8_t)(value > 255 ? 255 : value);
    }
}

static void row(uint8_t *out, const uint8_t *in, size_t stride, const int32_t *weights, int taps,
                size_t count)
{
    int32_t sums[BLOCK];
    for (size_t begin = 0; begin < count; begin += BLOCK) {
        size_t size = CR_MIN(count - begin, (size_t)BLOCK);
        for (size_t i = 0; i < BLOCK; i++)
            sums[i] = 1 << (RESAMPLE_BITS - 1);
        if (size == BLOCK) {
            for (int t = 0; t < taps; t++)
                weigh(sums, in + (size_t)t * stride + begin, weights[t], BLOCK);
            finish(out + begin, sums, BLOCK);
        } else {
            for (int t = 0; t < taps; t++)
                weigh(sums, in + (size_t)t * stride + begin, weights[t], size);
            finish(out + begin, sums, size);
        }
    }
}

extern const struct picture_loops CR_ISA_NAME(picture_loops);
const struct picture_loops CR_ISA_NAME(picture_loops) = { row };
