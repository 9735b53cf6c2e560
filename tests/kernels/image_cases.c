/* Pooling, resizing, sampling, and patches as columns. */
#include "kernels/picture/picture_kernels.h"
#include "kernels/pool/pool.h"
#include "kernels/vision/vision_kernels.h"
#include "trials.h"

/* ---- pooling ---- */

static struct pool_axis draw_axis(struct trial *t, bool used)
{
    struct pool_axis axis = { 1, 1, 1, 1, 0, 1, false };
    if (!used)
        return axis;
    axis.kernel = draw(t, 1, 4);
    axis.stride = draw(t, 1, 3);
    axis.padding = draw(t, 0, axis.kernel / 2);
    axis.dilation = draw(t, 1, 2);
    int64_t span = (axis.kernel - 1) * axis.dilation + 1;
    axis.in = draw(t, CR_MAX(span - 2 * axis.padding, axis.kernel), 30);
    axis.in = CR_MAX(axis.in, span);
    axis.out = (axis.in + 2 * axis.padding - span) / axis.stride + 1;
    if (draw(t, 0, 5) == 0) {
        axis = (struct pool_axis){ .in = axis.in, .is_adaptive = true };
        axis.out = draw(t, 1, axis.in);
    }
    return axis;
}

static struct pool_plan draw_plan(struct trial *t)
{
    struct pool_plan plan = { .planes = draw(t, 1, 5), .count_exclude_pad = flip(t) };
    int first = (int)draw(t, 0, 2);
    for (int d = 0; d < 3; d++)
        plan.axis[d] = draw_axis(t, d >= first);
    plan.axis[0].in = CR_MIN(plan.axis[0].in, 1000);
    return plan;
}

static void run_pool(struct trial *t, const struct pool_plan *plan, enum pool_kind kind,
                     cr_dtype dtype, struct pool_buffers buffers)
{
    pool_run(plan, kind, dtype, buffers,
             workspace(t, pool_workspace(dtype, pool_inputs(plan), pool_outputs(plan))));
}

static cr_dtype draw_floating(struct trial *t)
{
    static const cr_dtype dtypes[] = { CR_F32, CR_F64, CR_BF16, CR_F16 };
    return dtypes[draw(t, 0, 3)];
}

static void pool_maxima(struct trial *t)
{
    static const cr_dtype index_dtypes[] = { CR_U8, CR_I32, CR_I64 };
    struct pool_plan plan = draw_plan(t);
    cr_dtype dtype = draw_floating(t);
    int64_t in = plan.planes * pool_inputs(&plan), out = plan.planes * pool_outputs(&plan);
    for (int d = 0; d < 3; d++)
        plan.index = plan.axis[d].is_adaptive ? POOL_FLAT_I64 : plan.index;
    if (plan.index == POOL_TAP_U8)
        plan.index = (enum pool_index)draw(t, 0, 2);
    struct pool_buffers buffers = { .x = operand(t, dtype, in) };
    buffers.y = exact_result(t, dtype, out);
    buffers.index = exact_result(t, index_dtypes[plan.index], out);
    run_pool(t, &plan, POOL_MAX, dtype, buffers);
    struct pool_buffers scatter = { .x = operand(t, dtype, out), .index = buffers.index };
    scatter.y = close_result(t, dtype, in, 2 * one_unit(dtype), sum_error(dtype, 8));
    run_pool(t, &plan, POOL_MAX_SCATTER, dtype, scatter);
    struct pool_buffers gather = { .x = operand(t, dtype, in), .index = buffers.index };
    gather.y = exact_result(t, dtype, out);
    run_pool(t, &plan, POOL_MAX_GATHER, dtype, gather);
}

static void pool_means(struct trial *t)
{
    struct pool_plan plan = draw_plan(t);
    for (int d = 0; d < 3; d++)
        if (!plan.axis[d].is_adaptive) { /* averages have no dilation */
            struct pool_axis *a = &plan.axis[d];
            a->dilation = 1;
            a->out = (a->in + 2 * a->padding - a->kernel) / a->stride + 1;
        }
    cr_dtype dtype = draw_floating(t);
    plan.divisor = draw(t, 0, 3) ? 0 : 5;
    int64_t in = plan.planes * pool_inputs(&plan), out = plan.planes * pool_outputs(&plan);
    double allowed = sum_error(dtype, 64), unit = 2 * one_unit(dtype);
    struct pool_buffers buffers = { .x = operand(t, dtype, in) };
    buffers.y = close_result(t, dtype, out, unit, allowed);
    run_pool(t, &plan, POOL_AVG, dtype, buffers);
    struct pool_buffers back = { .x = operand(t, dtype, out) };
    back.y = close_result(t, dtype, in, unit, allowed);
    run_pool(t, &plan, POOL_AVG_BACKWARD, dtype, back);
}

static void pool_last(struct trial *t)
{
    struct pool_plan plan = { .planes = 1, .axis[0] = draw_axis(t, false) };
    plan.axis[1] = draw_axis(t, true);
    plan.axis[2] = draw_axis(t, true);
    int64_t batch = draw(t, 1, 3), channels = draw(t, 1, 70);
    const float *x = operand(t, CR_F32, batch * channels * pool_inputs(&plan));
    int64_t out = batch * channels * pool_outputs(&plan);
    bool is_max = flip(t);
    pool_run_last(&plan, is_max, batch, channels, x,
                  is_max ? exact_result(t, CR_F32, out)
                         : close_result(t, CR_F32, out, 0, sum_error(CR_F32, 64)));
}

/* ---- pictures ---- */

#define PICTURE_MOST 40 /* of a side */
#define TAPS_MOST    9

static void pictures(struct trial *t)
{
    int32_t weights[PICTURE_MOST * TAPS_MOST];
    int first[PICTURE_MOST], taps[PICTURE_MOST], channels = (int)draw(t, 1, 3);
    struct resample_axis axis = { .in = draw(t, TAPS_MOST, PICTURE_MOST),
                                  .out = draw(t, 1, PICTURE_MOST),
                                  .most = TAPS_MOST };
    channels += channels == 2 ? 2 : 0; /* 1, 3 or 4 */
    for (int64_t o = 0; o < axis.out; o++) {
        taps[o] = (int)draw(t, 1, TAPS_MOST);
        first[o] = (int)draw(t, 0, axis.in - taps[o]);
        for (int i = 0; i < TAPS_MOST; i++)
            weights[o * TAPS_MOST + i] = (int32_t)draw(t, -(1 << 20), 1 << 22) / taps[o];
    }
    axis.first = operand_of(t, first, sizeof first);
    axis.taps = operand_of(t, taps, sizeof taps);
    axis.weights = operand_of(t, weights, sizeof weights);
    int64_t other = draw(t, 1, 50), out = axis.out * other * channels;
    size_t row = (size_t)(other * channels), stride = row + (size_t)draw(t, 0, 5);
    int64_t in = (axis.in - 1) * (int64_t)stride + (int64_t)row;
    resample_rows(&axis, operand_within(t, CR_U8, in, 0, 255), stride, exact_result(t, CR_U8, out),
                  other, channels);
    row = (size_t)(axis.in * channels);
    stride = row + (size_t)draw(t, 0, 5);
    in = (other - 1) * (int64_t)stride + (int64_t)row;
    resample_columns(&axis, operand_within(t, CR_U8, in, 0, 255), stride,
                     exact_result(t, CR_U8, out), other, channels,
                     workspace(t, resample_room(&axis, channels)));
}

/* ---- other places ---- */

static cr_dtype draw_real_dtype(struct trial *t)
{
    return draw(t, 0, 2) ? CR_F32 : CR_F64;
}

static void *sums(struct trial *t, cr_dtype dtype, int64_t count)
{
    return close_result(t, dtype, count, 16 * one_unit(dtype), sum_error(dtype, 256));
}

static void resizing(struct trial *t)
{
    cr_dtype dtype = draw_real_dtype(t);
    struct resize_plan plan = { .mode = (enum resize_mode)draw(t, 0, RESIZE_CUBIC),
                                .align_corners = flip(t),
                                .planes = draw(t, 1, 4) };
    int first = plan.mode == RESIZE_CUBIC ? 1 : (int)draw(t, 0, 2);
    int64_t in = plan.planes, out = plan.planes;
    for (int d = 0; d < 3; d++) {
        plan.axis[d] = (struct resize_axis){ .in = 1, .out = 1 };
        if (d >= first)
            plan.axis[d] = (struct resize_axis){ .in = draw(t, 1, 20), .out = draw(t, 1, 40) };
        in *= plan.axis[d].in;
        out *= plan.axis[d].out;
    }
    resize_make_tables(&plan, dtype, workspace(t, resize_table_size(&plan)));
    resize_forward(&plan, dtype, operand(t, dtype, in), sums(t, dtype, out));
    resize_backward(&plan, dtype, operand(t, dtype, out), sums(t, dtype, in));
}

static void sampling(struct trial *t)
{
    cr_dtype dtype = draw_real_dtype(t);
    struct sample_plan plan = { .padding = (enum sample_padding)draw(t, 0, SAMPLE_REFLECTION),
                                .align_corners = flip(t),
                                .dims = (int)draw(t, 2, 3),
                                .batch = draw(t, 1, 3),
                                .channels = draw(t, 1, 5),
                                .points = draw(t, 1, 90) };
    plan.mode = (enum sample_mode)draw(t, 0, plan.dims == 2 ? SAMPLE_BICUBIC : SAMPLE_NEAREST);
    int64_t in = plan.batch * plan.channels;
    for (int d = 0; d < 3; d++) {
        plan.in[d] = d == 0 && plan.dims == 2 ? 1 : draw(t, 1, 12);
        in *= plan.in[d];
    }
    int64_t out = plan.batch * plan.channels * plan.points;
    int64_t places = plan.batch * plan.points * plan.dims;
    const void *x = operand(t, dtype, in);
    const void *grid = operand_within(t, dtype, places, -1.3, 1.3);
    sample_forward(&plan, dtype, x, grid, sums(t, dtype, out));
    const void *grad = operand(t, dtype, out);
    sample_backward_input(&plan, dtype, grad, grid, sums(t, dtype, in));
    sample_backward_grid(&plan, dtype, grad, x, grid, sums(t, dtype, places));
}

static struct patch_axis draw_patches(struct trial *t)
{
    struct patch_axis a = { .kernel = draw(t, 1, 4),
                            .stride = draw(t, 1, 3),
                            .padding = draw(t, 0, 2),
                            .dilation = draw(t, 1, 2) };
    int64_t span = (a.kernel - 1) * a.dilation + 1;
    a.in = draw(t, span, 25);
    a.out = (a.in + 2 * a.padding - span) / a.stride + 1;
    return a;
}

static void patches(struct trial *t)
{
    cr_dtype dtype = draw_real_dtype(t);
    struct patch_plan plan = { .planes = draw(t, 1, 4) };
    plan.height = draw_patches(t);
    plan.width = draw_patches(t);
    int64_t image = plan.planes * plan.height.in * plan.width.in;
    int64_t columns =
        plan.planes * plan.height.kernel * plan.width.kernel * plan.height.out * plan.width.out;
    patch_unfold(&plan, dtype, operand(t, dtype, image), exact_result(t, dtype, columns));
    patch_fold(&plan, dtype, operand(t, dtype, columns), sums(t, dtype, image));
}

const struct variant_case image_cases[] = {
    { CR_FAMILY_pool_loops, "maxima", pool_maxima, 60 },
    { CR_FAMILY_pool_loops, "means", pool_means, 60 },
    { CR_FAMILY_pool_last_loops, "channels-last images", pool_last, 40 },
    { CR_FAMILY_picture_loops, "resampling", pictures, 40 },
    { CR_FAMILY_vision_loops, "resizing", resizing, 60 },
    { CR_FAMILY_vision_loops, "sampling", sampling, 60 },
    { CR_FAMILY_vision_loops, "patches", patches, 40 },
    { .run = NULL },
};
