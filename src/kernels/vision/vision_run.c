/* Resizing, sampling and patches over all planes, on several threads; the tables of resizing. */
#include <math.h>

#include "kernels/variants.h"
#include "kernels/vision/vision_kernels.h"

/* Elements a part has at least; below this a thread costs more than it gains. */
#define PART_ELEMENTS 8192

/* The cubic kernel's free parameter, as PyTorch and OpenCV choose it. */
#define CUBIC_A (-0.75)

CR_KERNEL_VARIANTS(const struct vision_loops, vision_loops, );

static const struct vision_loops *choose_loops(void)
{
    return CR_KERNELS_IN_USE(vision_loops);
}

struct job {
    const void *plan;
    const void *const *from;
    void *to;
    vision_loop loop;
};

static void run_part(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    job->loop(job->plan, job->from, job->to, begin, end);
}

/* `pieces` of work of `elements` each. */
static void run(enum vision_kind kind, cr_dtype dtype, const void *plan, const void *const *from,
                void *to, int64_t pieces, int64_t elements)
{
    const struct vision_loops *loops = choose_loops();
    struct job job = { plan, from, to, dtype == CR_F64 ? loops->f64[kind] : loops->f32[kind] };
    int64_t chunk = CR_MAX(PART_ELEMENTS / CR_MAX(elements, (int64_t)1), (int64_t)1);
    cr_parallel_for(pieces, chunk, run_part, &job);
}

/* ---- resizing ---- */

static double axis_ratio(const struct resize_plan *plan, const struct resize_axis *axis)
{
    bool aligned = plan->align_corners && plan->mode >= RESIZE_LINEAR;
    if (aligned)
        return axis->out > 1 ? (double)(axis->in - 1) / (double)(axis->out - 1) : 0.0;
    return axis->scale > 0 ? 1.0 / axis->scale : (double)axis->in / (double)axis->out;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t resize_table_size(const struct resize_plan *plan)
{
    size_t size = 0;
    for (int i = 0; i < 3; i++) {
        size_t entries = (size_t)plan->axis[i].out * RESIZE_MOST_TAPS;
        size += round_up(entries * sizeof(int32_t)) + round_up(entries * sizeof(double));
    }
    return size;
}

/* Where the taps of one output are and how much they weigh. */
struct taps {
    int64_t index[RESIZE_MOST_TAPS];
    double weight[RESIZE_MOST_TAPS];
};

static int64_t within(int64_t index, int64_t size)
{
    return CR_MIN(CR_MAX(index, (int64_t)0), size - 1);
}

static void cubic_weights(double t, double *weight)
{
    const double a = CUBIC_A;
    double u = 1.0 - t;
    weight[0] = ((a * (t + 1.0) - 5.0 * a) * (t + 1.0) + 8.0 * a) * (t + 1.0) - 4.0 * a;
    weight[1] = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    weight[2] = ((a + 2.0) * u - (a + 3.0)) * u * u + 1.0;
    weight[3] = ((a * (u + 1.0) - 5.0 * a) * (u + 1.0) + 8.0 * a) * (u + 1.0) - 4.0 * a;
}

/* In float32 PyTorch computes places in float32, which decides where they fall on an element. */
static double place_of(const struct resize_plan *plan, cr_dtype dtype, double ratio, int64_t o)
{
    bool aligned = plan->align_corners && plan->mode >= RESIZE_LINEAR;
    if (plan->mode == RESIZE_NEAREST)
        return (double)((float)o * (float)ratio);
    if (plan->mode == RESIZE_NEAREST_EXACT)
        return (double)(((float)o + 0.5f) * (float)ratio);
    if (dtype == CR_F64)
        return aligned ? ratio * (double)o : ratio * ((double)o + 0.5) - 0.5;
    float scale = (float)ratio;
    return (double)(aligned ? scale * (float)o : scale * ((float)o + 0.5f) - 0.5f);
}

static struct taps taps_of(const struct resize_plan *plan, int64_t in, double place)
{
    struct taps taps = { .weight = { 1.0 } };
    if (plan->mode == RESIZE_LINEAR)
        place = CR_MAX(place, 0.0);
    int64_t first = (int64_t)floor(place);
    double t = place - (double)first;
    if (plan->mode == RESIZE_CUBIC) {
        cubic_weights(t, taps.weight);
        for (int i = 0; i < 4; i++)
            taps.index[i] = within(first - 1 + i, in);
        return taps;
    }
    taps.index[0] = within(first, in);
    if (plan->mode != RESIZE_LINEAR)
        return taps;
    taps.index[1] = within(taps.index[0] + 1, in);
    taps.weight[1] = CR_MIN(CR_MAX(place - (double)taps.index[0], 0.0), 1.0);
    taps.weight[0] = 1.0 - taps.weight[1];
    return taps;
}

/* An axis that keeps its size has one tap of weight 1 and others of weight 0, in every mode. */
void resize_make_tables(struct resize_plan *plan, cr_dtype dtype, void *room)
{
    char *at = room;
    int count = resize_taps(plan->mode);
    for (int i = 0; i < 3; i++) {
        struct resize_axis *axis = &plan->axis[i];
        size_t entries = (size_t)axis->out * RESIZE_MOST_TAPS;
        int32_t *index = (void *)at;
        char *weight = at + round_up(entries * sizeof(int32_t));
        double ratio = axis_ratio(plan, axis);
        for (int64_t o = 0; o < axis->out; o++) {
            struct taps taps = taps_of(plan, axis->in, place_of(plan, dtype, ratio, o));
            for (int t = 0; t < count; t++) {
                index[t * axis->out + o] = (int32_t)taps.index[t];
                if (dtype == CR_F64)
                    ((double *)(void *)weight)[t * axis->out + o] = taps.weight[t];
                else
                    ((float *)(void *)weight)[t * axis->out + o] = (float)taps.weight[t];
            }
        }
        axis->index = index;
        axis->weight = weight;
        at = weight + round_up(entries * sizeof(double));
    }
}

static int64_t resize_elements(const struct resize_plan *plan)
{
    const struct resize_axis *axis = plan->axis;
    return axis[0].out * axis[1].out * axis[2].out * resize_taps(plan->mode);
}

void resize_forward(const struct resize_plan *plan, cr_dtype dtype, const void *x, void *y)
{
    run(VISION_RESIZE, dtype, plan, &x, y, plan->planes, resize_elements(plan));
}

void resize_backward(const struct resize_plan *plan, cr_dtype dtype, const void *grad, void *grad_x)
{
    run(VISION_RESIZE_BACKWARD, dtype, plan, &grad, grad_x, plan->planes, resize_elements(plan));
}

/* ---- sampling ---- */

void sample_forward(const struct sample_plan *plan, cr_dtype dtype, const void *x, const void *grid,
                    void *y)
{
    const void *from[] = { x, grid };
    run(VISION_SAMPLE, dtype, plan, from, y, plan->batch * plan->points, plan->channels * 16);
}

void sample_backward_input(const struct sample_plan *plan, cr_dtype dtype, const void *grad,
                           const void *grid, void *grad_x)
{
    const void *from[] = { grad, grid };
    run(VISION_SAMPLE_BACKWARD_INPUT, dtype, plan, from, grad_x, plan->batch * plan->channels,
        plan->points * 16);
}

void sample_backward_grid(const struct sample_plan *plan, cr_dtype dtype, const void *grad,
                          const void *x, const void *grid, void *grad_grid)
{
    const void *from[] = { grad, grid, x };
    run(VISION_SAMPLE_BACKWARD_GRID, dtype, plan, from, grad_grid, plan->batch * plan->points,
        plan->channels * 16);
}

/* ---- patches ---- */

void patch_unfold(const struct patch_plan *plan, cr_dtype dtype, const void *image, void *columns)
{
    run(VISION_UNFOLD, dtype, plan, &image, columns,
        plan->planes * plan->height.kernel * plan->width.kernel,
        plan->height.out * plan->width.out);
}

void patch_fold(const struct patch_plan *plan, cr_dtype dtype, const void *columns, void *image)
{
    int64_t taps = plan->height.kernel * plan->width.kernel;
    run(VISION_FOLD, dtype, plan, &columns, image, plan->planes,
        plan->height.out * plan->width.out * taps);
}
