/* Pooling loops for each instruction set, in float32 and float64. */
#include <string.h>

#include "kernels/pool/pool.h"

#define BLOCK          256 /* outputs of a row that are computed together */
#define VECTOR         16  /* outputs, or partial sums, that a vector may hold */
#define ADAPTIVE_WIDTH 512 /* rows of inputs up to this are added up before windows are */

/* ---- places of maxima ---- */

/* Output (od, oh, ow) and the tap of its maximum, as a position in the plane. */
CR_INLINE int64_t flat_of_tap(const struct pool_plan *plan, int64_t od, int64_t oh, int64_t ow,
                              int64_t tap)
{
    const struct pool_axis *d = &plan->axis[0];
    const struct pool_axis *h = &plan->axis[1];
    const struct pool_axis *w = &plan->axis[2];
    int64_t id = od * d->stride - d->padding + tap / (h->kernel * w->kernel) * d->dilation;
    int64_t ih = oh * h->stride - h->padding + tap / w->kernel % h->kernel * h->dilation;
    int64_t iw = ow * w->stride - w->padding + tap % w->kernel * w->dilation;
    return (id * h->in + ih) * w->in + iw;
}

CR_INLINE void store_flat(const struct pool_plan *plan, void *index, int64_t at, int64_t flat)
{
    if (plan->index == POOL_FLAT_I64)
        ((int64_t *)index)[at] = flat;
    else
        ((int32_t *)index)[at] = (int32_t)flat;
}

/* The taps of n outputs of a row, from (od, oh, ow) on, of which output `at` is the first. */
static void store_taps(const struct pool_plan *plan, void *index, int64_t at, int64_t od,
                       int64_t oh, int64_t ow, const int32_t *taps, int64_t n)
{
    if (plan->index == POOL_TAP_U8) {
        uint8_t *out = (uint8_t *)index + at;
        for (int64_t i = 0; i < n; i++)
            out[i] = (uint8_t)taps[i];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        store_flat(plan, index, at + i, flat_of_tap(plan, od, oh, ow + i, taps[i]));
}

/* Distances of the taps of a window from its corner. */
static void tap_offsets(const struct pool_plan *plan, int64_t *offsets)
{
    const struct pool_axis *axis = plan->axis;
    int64_t next = 0;
    for (int64_t d = 0; d < axis[0].kernel; d++) {
        for (int64_t h = 0; h < axis[1].kernel; h++) {
            for (int64_t w = 0; w < axis[2].kernel; w++)
                offsets[next++] =
                    (d * axis[0].dilation * axis[1].in + h * axis[1].dilation) * axis[2].in +
                    w * axis[2].dilation;
        }
    }
}

/* Where the corner of the window of output (od, oh, 0) lies; outside the plane if it is padded. */
CR_INLINE int64_t corner_of_row(const struct pool_plan *plan, int64_t od, int64_t oh)
{
    const struct pool_axis *axis = plan->axis;
    int64_t id = od * axis[0].stride - axis[0].padding;
    int64_t ih = oh * axis[1].stride - axis[1].padding;
    return (id * axis[1].in + ih) * axis[2].in - axis[2].padding;
}

/* ---- sizes of windows ---- */

/* By what the sum of the window of o is divided along one axis. */
static int64_t share_of(const struct pool_plan *plan, const struct pool_axis *axis, int64_t o)
{
    if (axis->is_adaptive || plan->count_exclude_pad) {
        struct pool_span span = pool_span_of(axis, o);
        return span.end - span.begin;
    }
    int64_t start = o * axis->stride - axis->padding;
    return CR_MIN(start + axis->kernel, axis->in + axis->padding) - start;
}

/* True if the only window is the whole plane. */
static bool window_is_global(const struct pool_plan *plan)
{
    for (int i = 0; i < 3; i++) {
        if (plan->axis[i].out != 1)
            return false;
        struct pool_span span = pool_span_of(&plan->axis[i], 0);
        if (span.begin != 0 || span.end != plan->axis[i].in)
            return false;
    }
    return true;
}

#define REAL       float
#define NAME(name) name##_f32
#include "kernels/pool/pool_real.inc"
#undef REAL
#undef NAME

#define REAL       double
#define NAME(name) name##_f64
#include "kernels/pool/pool_real.inc"

#define TABLE(suffix)                                                                              \
    .suffix = {                                                                                    \
        [POOL_MAX] = max_planes_##suffix,                                                          \
        [POOL_MAX_SCATTER] = scatter_planes_##suffix,                                              \
        [POOL_MAX_GATHER] = gather_planes_##suffix,                                                \
        [POOL_AVG] = avg_planes_##suffix,                                                          \
        [POOL_AVG_BACKWARD] = avg_backward_planes_##suffix,                                        \
    }

extern const struct pool_loops CR_ISA_NAME(pool_loops);
const struct pool_loops CR_ISA_NAME(pool_loops) = { TABLE(f32), TABLE(f64) };
