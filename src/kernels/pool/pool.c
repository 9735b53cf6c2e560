/* Pooling over all planes: parts of several planes each, for threads. */
#include "kernels/pool/pool.h"

/* Elements a part has at least; below this a thread costs more than it gains. */
#define PART_ELEMENTS 16384

extern const struct pool_loops pool_loops_portable;
#ifdef CR_HAVE_AVX2
extern const struct pool_loops pool_loops_avx2;
#endif
#ifdef CR_HAVE_AVX512
extern const struct pool_loops pool_loops_avx512;
#endif

static const struct pool_loops *choose_loops(void)
{
    cr_isa isa = cr_cpu_isa();
#ifdef CR_HAVE_AVX512
    if (isa >= CR_ISA_AVX512)
        return &pool_loops_avx512;
#endif
#ifdef CR_HAVE_AVX2
    if (isa >= CR_ISA_AVX2)
        return &pool_loops_avx2;
#endif
    (void)isa;
    return &pool_loops_portable;
}

struct job {
    const struct pool_plan *plan;
    struct pool_buffers buffers;
    pool_loop loop;
};

static void run_planes(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    job->loop(job->plan, &job->buffers, begin, end);
}

static void run(const struct pool_plan *plan, cr_dtype dtype, enum pool_kind kind,
                struct pool_buffers buffers)
{
    const struct pool_loops *loops = choose_loops();
    struct job job = { plan, buffers, dtype == CR_F64 ? loops->f64[kind] : loops->f32[kind] };
    int64_t elements = CR_MAX(pool_inputs(plan), (int64_t)1);
    cr_parallel_for(plan->planes, CR_MAX(PART_ELEMENTS / elements, (int64_t)1), run_planes, &job);
}

void pool_max(const struct pool_plan *plan, cr_dtype dtype, const void *x, void *y, void *index)
{
    run(plan, dtype, POOL_MAX, (struct pool_buffers){ x, y, index });
}

/* The loops read through buffers.x only, so that an index that is read may pass as one written. */
void pool_max_scatter(const struct pool_plan *plan, cr_dtype dtype, const void *grad,
                      const void *index, void *grad_x)
{
    run(plan, dtype, POOL_MAX_SCATTER, (struct pool_buffers){ grad, grad_x, (void *)index });
}

void pool_max_gather(const struct pool_plan *plan, cr_dtype dtype, const void *x, const void *index,
                     void *y)
{
    run(plan, dtype, POOL_MAX_GATHER, (struct pool_buffers){ x, y, (void *)index });
}

void pool_avg(const struct pool_plan *plan, cr_dtype dtype, const void *x, void *y)
{
    run(plan, dtype, POOL_AVG, (struct pool_buffers){ x, y, NULL });
}

void pool_avg_backward(const struct pool_plan *plan, cr_dtype dtype, const void *grad, void *grad_x)
{
    run(plan, dtype, POOL_AVG_BACKWARD, (struct pool_buffers){ grad, grad_x, NULL });
}
