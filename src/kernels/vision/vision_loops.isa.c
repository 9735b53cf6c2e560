/* Loops of resizing, sampling and patches for each instruction set, in float32 and float64. */
#include <math.h>
#include <string.h>

#include "kernels/vision/vision_kernels.h"

#define SAMPLE_TAPS 16 /* of bicubic sampling in two dimensions, the most there are */

/* The outputs [*first, *last) that see the image at one place k of the kernel. */
CR_INLINE void patch_range(const struct patch_axis *axis, int64_t k, int64_t *first, int64_t *last)
{
    int64_t shift = k * axis->dilation - axis->padding;
    int64_t end = axis->in - shift; /* o * stride < end */
    *first = shift < 0 ? CR_MIN(CR_DIV_UP(-shift, axis->stride), axis->out) : 0;
    *last = end <= 0 ? 0 : CR_MIN(CR_DIV_UP(end, axis->stride), axis->out);
    *last = CR_MAX(*last, *first);
}

#define REAL       float
#define NAME(name) name##_f32
#define F(name)    name##f
#include "kernels/vision/vision_real.inc"
#undef REAL
#undef NAME
#undef F

#define REAL       double
#define NAME(name) name##_f64
#define F(name)    name
#include "kernels/vision/vision_real.inc"

#define TABLE(suffix)                                                                              \
    .suffix = {                                                                                    \
        [VISION_RESIZE] = resize_planes_##suffix,                                                  \
        [VISION_RESIZE_BACKWARD] = resize_backward_planes_##suffix,                                \
        [VISION_SAMPLE] = sample_points_##suffix,                                                  \
        [VISION_SAMPLE_BACKWARD_INPUT] = sample_backward_planes_##suffix,                          \
        [VISION_SAMPLE_BACKWARD_GRID] = sample_backward_points_##suffix,                           \
        [VISION_UNFOLD] = unfold_places_##suffix,                                                  \
        [VISION_FOLD] = fold_planes_##suffix,                                                      \
    }

extern const struct vision_loops CR_ISA_NAME(vision_loops);
const struct vision_loops CR_ISA_NAME(vision_loops) = { TABLE(f32), TABLE(f64) };
