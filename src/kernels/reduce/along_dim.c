/* Scans, extremes with their places, and medians along one dimension. */
#include <math.h>

#include "kernels/reduce/reduce.h"

/* Neighbours that are walked side by side. */
#define COLUMNS 64
/* Elements that a thread is given at least. */
#define PART_ELEMENTS 16384

/* A unit is a block of neighbours inside the dimension: where it begins among rows of `size`. */
static int64_t block_start(const struct along_job *job, int64_t unit, int64_t size,
                           int64_t *columns)
{
    int64_t blocks = CR_DIV_UP(job->inner, (int64_t)COLUMNS);
    int64_t first = unit % blocks * COLUMNS;
    *columns = CR_MIN(job->inner - first, (int64_t)COLUMNS);
    return unit / blocks * size * job->inner + first;
}

#define VALUE      float
#define TOTAL      double
#define IS_NAN(v)  ((v) != (v))
#define NAME(name) name##_f32
#include "kernels/reduce/along_dim.inc"
#undef VALUE
#undef TOTAL
#undef IS_NAN
#undef NAME

#define VALUE      double
#define TOTAL      double
#define IS_NAN(v)  ((v) != (v))
#define NAME(name) name##_f64
#include "kernels/reduce/along_dim.inc"
#undef VALUE
#undef TOTAL
#undef IS_NAN
#undef NAME

#define VALUE      int64_t
#define TOTAL      uint64_t /* wraps around */
#define IS_NAN(v)  false
#define NAME(name) name##_i64
#include "kernels/reduce/along_dim.inc"

static void run_blocks(const struct along_job *job, const cr_parallel_body *bodies)
{
    int64_t units = job->outer * CR_DIV_UP(job->inner, (int64_t)COLUMNS);
    int64_t elements = CR_MAX(job->size * CR_MIN(job->inner, (int64_t)COLUMNS), 1);
    if (job->size)
        cr_parallel_for(units, CR_MAX(PART_ELEMENTS / elements, 1), bodies[job->type], (void *)job);
}

void along_scan(const struct along_job *job)
{
    static const cr_parallel_body bodies[] = { scan_units_f32, scan_units_f64, scan_units_i64 };
    run_blocks(job, bodies);
}

void along_extreme(const struct along_job *job)
{
    static const cr_parallel_body bodies[] = { extreme_units_f32, extreme_units_f64,
                                               extreme_units_i64 };
    run_blocks(job, bodies);
}

size_t along_workspace(const struct along_job *job)
{
    size_t count = (size_t)(job->outer * job->size * job->inner);
    return count * CR_MAX(sizeof(struct ranked_f32), sizeof(struct ranked_f64));
}

void along_median(const struct along_job *job)
{
    static const cr_parallel_body bodies[] = { median_units_f32, median_units_f64,
                                               median_units_i64 };
    if (job->size)
        cr_parallel_for(job->outer * job->inner, CR_MAX(PART_ELEMENTS / job->size, 1),
                        bodies[job->type], (void *)job);
}
