/* Pooling over all planes: parts of several planes each, for threads. Parts of 16-bit floats are
 * widened and rounded while they are in the cache. */
#include "kernels/pool/pool.h"

#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"

/* Elements a part has at least; below this a thread costs more than it gains. */
#define PART_ELEMENTS 16384

CR_KERNEL_VARIANTS(const struct pool_loops, pool_loops, );

static const struct pool_loops *choose_loops(void)
{
    return CR_KERNELS_IN_USE(pool_loops);
}

struct job {
    const struct pool_plan *plan;
    struct pool_buffers buffers;
    pool_loop loop;
    int64_t chunk; /* planes of a part */
    /* 16-bit floats only: elements of a plane of x and of y, and where a part is widened. */
    int64_t x_plane, y_plane;
    half_loop widen, narrow;
    cr_slots slots;
    float *rooms;
};

static int64_t part_planes(int64_t inputs)
{
    return CR_MAX(PART_ELEMENTS / CR_MAX(inputs, (int64_t)1), (int64_t)1);
}

static int64_t room_elements(int64_t inputs, int64_t outputs)
{
    return CR_ROUND_UP(part_planes(inputs) * (inputs + outputs), (int64_t)16);
}

static bool is_half(cr_dtype dtype)
{
    return dtype == CR_BF16 || dtype == CR_F16;
}

size_t pool_workspace(cr_dtype dtype, int64_t inputs, int64_t outputs)
{
    if (!is_half(dtype))
        return 0;
    int64_t rooms = cr_slots_wanted();
    return cr_slots_size(rooms) + (size_t)(rooms * room_elements(inputs, outputs)) * sizeof(float);
}

static void run_planes(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    job->loop(job->plan, &job->buffers, begin, end);
}

static int64_t index_size(const struct pool_plan *plan)
{
    return plan->index == POOL_TAP_U8 ? 1 : plan->index == POOL_FLAT_I32 ? 4 : 8;
}

/* A part of planes in a room of its own, where they are planes 0 to count. */
static void run_wide(const struct job *job, float *room, int64_t first, int64_t count)
{
    struct pool_plan plan = *job->plan;
    int64_t index_plane = pool_outputs(&plan) * index_size(&plan);
    struct pool_buffers buffers = { room, room + count * job->x_plane,
                                    job->buffers.index
                                        ? (char *)job->buffers.index + first * index_plane
                                        : NULL };
    plan.planes = count;
    job->widen(count * job->x_plane, room, (const uint16_t *)job->buffers.x + first * job->x_plane);
    job->loop(&plan, &buffers, 0, count);
    job->narrow(count * job->y_plane, (uint16_t *)job->buffers.y + first * job->y_plane, buffers.y);
}

static void run_wide_planes(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    int64_t slot = cr_slot_take(&job->slots);
    float *room =
        job->rooms + slot * room_elements(pool_inputs(job->plan), pool_outputs(job->plan));
    for (int64_t first = begin; first < end; first += job->chunk)
        run_wide(job, room, first, CR_MIN(end - first, job->chunk));
    cr_slot_release(&job->slots, slot);
}

static void job_widen(struct job *job, enum pool_kind kind, cr_dtype dtype, void *workspace)
{
    bool goes_back = kind == POOL_MAX_SCATTER || kind == POOL_AVG_BACKWARD;
    int64_t inputs = pool_inputs(job->plan), outputs = pool_outputs(job->plan);
    int64_t rooms = cr_slots_wanted();
    job->x_plane = goes_back ? outputs : inputs;
    job->y_plane = goes_back ? inputs : outputs;
    job->widen = half_conversion(dtype == CR_BF16 ? BF16_WIDEN : F16_WIDEN);
    job->narrow = half_conversion(dtype == CR_BF16 ? BF16_NARROW : F16_NARROW);
    job->slots = cr_slots_make(workspace, rooms);
    job->rooms = (float *)(void *)((char *)workspace + cr_slots_size(rooms));
}

void pool_run(const struct pool_plan *plan, enum pool_kind kind, cr_dtype dtype,
              struct pool_buffers buffers, void *workspace)
{
    const struct pool_loops *loops = choose_loops();
    struct job job = { .plan = plan,
                       .buffers = buffers,
                       .loop = dtype == CR_F64 ? loops->f64[kind] : loops->f32[kind],
                       .chunk = part_planes(pool_inputs(plan)) };
    if (is_half(dtype))
        job_widen(&job, kind, dtype, workspace);
    cr_parallel_for(plan->planes, job.chunk, is_half(dtype) ? run_wide_planes : run_planes, &job);
}

/* ---- channels-last images ---- */

static void run_last_rows(int64_t begin, int64_t end, void *context)
{
    CR_KERNELS_IN_USE(pool_last_loops)->rows(context, begin, end);
}

void pool_run_last(const struct pool_plan *plan, bool is_max, int64_t batch, int64_t channels,
                   const float *x, float *y)
{
    struct pool_last pool = {
        .plan = plan, .is_max = is_max, .channels = channels, .x = x, .y = y
    };
    int64_t rows = batch * plan->axis[1].out;
    cr_parallel_for(rows, CR_MAX((1 << 14) / CR_MAX(plan->axis[2].out * channels, 1), 1),
                    run_last_rows, &pool);
}
