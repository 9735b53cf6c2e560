/* Pooling kernels, over planes of up to three spatial dimensions.
 *
 * A plane is the (depth, height, width) of one channel of one sample; pooling in fewer dimensions
 * has leading ones of size 1. Each plane is computed by one thread. Rows of outputs whose windows
 * lie inside the input are computed side by side; what is left at the borders, one by one. */
#ifndef CR_KERNELS_POOL_POOL_H
#define CR_KERNELS_POOL_POOL_H

#include "kernels/variants.h"
#include "tensor/tensor.h"

/* One dimension. Output o sees the inputs o * stride - padding + k * dilation for k < kernel; if it
 * is adaptive, those from floor(o * in / out) up to ceil((o + 1) * in / out). */
struct pool_axis {
    int64_t in;
    int64_t out;
    int64_t kernel;
    int64_t stride;
    int64_t padding;
    int64_t dilation;
    bool is_adaptive;
};

/* How the place of a maximum is written: the number of its tap in the window (at most 256 taps), or
 * its position in the plane. */
enum pool_index { POOL_TAP_U8, POOL_FLAT_I32, POOL_FLAT_I64 };

struct pool_plan {
    int64_t planes;
    struct pool_axis axis[3]; /* depth, height, width */
    enum pool_index index;    /* of maxima */
    bool count_exclude_pad;   /* of averages: divide by the inputs seen, not by those and padding */
    int64_t divisor;          /* of averages: instead of counting; 0: count */
};

enum pool_kind {
    POOL_MAX,          /* x (planes, in…) → y (planes, out…), and the places of the maxima */
    POOL_MAX_SCATTER,  /* x (planes, out…) added up at those places in y (planes, in…) */
    POOL_MAX_GATHER,   /* y (planes, out…) read from those places in x (planes, in…) */
    POOL_AVG,          /* the means of the windows */
    POOL_AVG_BACKWARD, /* their gradient: x (planes, out…) → y (planes, in…) */
    POOL_KIND_COUNT
};

struct pool_buffers {
    const void *x;
    void *y;
    void *index; /* (planes, out…) as the plan says: written by POOL_MAX, read by the next two */
};

/* Runs one of them over contiguous memory of a floating dtype. NaN wins over all, and the first of
 * equals. 16-bit floats are widened in the workspace, part by part, as it is computed. */
void pool_run(const struct pool_plan *plan, enum pool_kind kind, cr_dtype dtype,
              struct pool_buffers buffers, void *workspace);

/* Its bytes, for planes of so many inputs and outputs. */
size_t pool_workspace(cr_dtype dtype, int64_t inputs, int64_t outputs);

/* ---- the loops for each instruction set ---- */

/* The planes [begin, end); the buffers begin with plane 0. */
typedef void (*pool_loop)(const struct pool_plan *plan, const struct pool_buffers *buffers,
                          int64_t begin, int64_t end);

struct pool_loops {
    pool_loop f32[POOL_KIND_COUNT];
    pool_loop f64[POOL_KIND_COUNT];
};

/* ---- channels-last images of float32 ---- */

struct pool_last {
    const struct pool_plan *plan; /* its height and width */
    bool is_max;                  /* else means of the inputs seen */
    int64_t channels;
    const float *x;
    float *y;
};

/* x (batch, height, width, channels) → y, likewise. */
void pool_run_last(const struct pool_plan *plan, bool is_max, int64_t batch, int64_t channels,
                   const float *x, float *y);

/* The rows [begin, end) of the result, counted through the batch. */
struct pool_last_loops {
    void (*rows)(const struct pool_last *pool, int64_t begin, int64_t end);
};

CR_KERNEL_VARIANTS(const struct pool_last_loops, pool_last_loops, );

/* ---- geometry ---- */

/* What one output sees along an axis: the inputs begin, begin + step, … before end; the first of
 * them is tap `first_tap`. */
struct pool_span {
    int64_t begin;
    int64_t end;
    int64_t step;
    int64_t first_tap;
};

CR_INLINE struct pool_span pool_span_of(const struct pool_axis *axis, int64_t o)
{
    if (axis->is_adaptive)
        return (struct pool_span){ .begin = o * axis->in / axis->out,
                                   .end = CR_DIV_UP((o + 1) * axis->in, axis->out),
                                   .step = 1 };
    int64_t start = o * axis->stride - axis->padding;
    int64_t skipped = start < 0 ? CR_DIV_UP(-start, axis->dilation) : 0;
    int64_t end = start + (axis->kernel - 1) * axis->dilation + 1;
    return (struct pool_span){ .begin = start + skipped * axis->dilation,
                               .end = CR_MIN(end, axis->in),
                               .step = axis->dilation,
                               .first_tap = skipped };
}

/* The outputs [*first, *last) whose windows lie inside the input. */
CR_INLINE void pool_inside(const struct pool_axis *axis, int64_t *first, int64_t *last)
{
    int64_t reach = axis->in - 1 + axis->padding - (axis->kernel - 1) * axis->dilation;
    *first =
        axis->is_adaptive ? axis->out : CR_MIN(CR_DIV_UP(axis->padding, axis->stride), axis->out);
    *last = axis->is_adaptive || reach < 0 ? 0 : CR_MIN(reach / axis->stride + 1, axis->out);
    *last = CR_MAX(*last, *first);
}

CR_INLINE int64_t pool_inputs(const struct pool_plan *plan)
{
    return plan->axis[0].in * plan->axis[1].in * plan->axis[2].in;
}

CR_INLINE int64_t pool_outputs(const struct pool_plan *plan)
{
    return plan->axis[0].out * plan->axis[1].out * plan->axis[2].out;
}

#endif
