/* The machine's peak: a few short rounds of each loop on all threads, of which the fastest counts.
 */
#include "kernels/peak/peak_kernels.h"
#include "profile/profile.h"

#define ROUNDS     5
#define LOOP_COUNT 200000 /* of one round: some milliseconds */
#define COPY_BYTES ((size_t)64 << 20)
#define COPY_CHUNK ((int64_t)1 << 18) /* floats */
#define LOOPS_EACH 8                  /* rounds are cut so that threads share them evenly */

struct copying {
    const float *from;
    float *to;
};

static void run_copy(int64_t begin, int64_t end, void *context)
{
    const struct copying *job = context;
    peak_loops()->copy(end - begin, job->from + begin, job->to + begin);
}

static void run_zero(int64_t begin, int64_t end, void *context)
{
    float *to = context;
    for (int64_t i = begin; i < end; i++)
        to[i] = 0;
}

/* A line of the cache for each part. */
#define SINK_FLOATS 16

static void run_multiply_add(int64_t begin, int64_t end, void *context)
{
    float *sinks = context;
    for (int64_t part = begin; part < end; part++)
        peak_loops()->multiply_add(LOOP_COUNT / LOOPS_EACH, &sinks[SINK_FLOATS * part]);
}

static double measure_flops(int threads)
{
    int64_t parts = (int64_t)threads * LOOPS_EACH;
    float *sinks = cr_alloc_zeroed((size_t)parts * SINK_FLOATS, sizeof *sinks);
    if (!sinks)
        return 0;
    double each = (double)peak_loops()->multiply_add(1, sinks) * (LOOP_COUNT / LOOPS_EACH);
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double began = cr_clock_seconds();
        cr_parallel_for(parts, 1, run_multiply_add, sinks);
        double seconds = cr_clock_seconds() - began;
        best = seconds > 0 ? CR_MAX(best, each * (double)parts / seconds) : best;
    }
    cr_free(sinks);
    return best;
}

static double measure_bandwidth(void)
{
    struct copying job = { .from = cr_buffer_alloc(COPY_BYTES), .to = cr_buffer_alloc(COPY_BYTES) };
    double best = 0;
    if (job.from && job.to) {
        int64_t count = (int64_t)(COPY_BYTES / sizeof(float));
        cr_parallel_for(count, COPY_CHUNK, run_zero, (void *)(uintptr_t)job.from);
        cr_parallel_for(count, COPY_CHUNK, run_zero, job.to);
        for (int round = 0; round < ROUNDS; round++) {
            double began = cr_clock_seconds();
            cr_parallel_for(count, COPY_CHUNK, run_copy, &job);
            double seconds = cr_clock_seconds() - began;
            best = seconds > 0 ? CR_MAX(best, 2 * (double)COPY_BYTES / seconds) : best;
        }
    }
    cr_buffer_free((void *)(uintptr_t)job.from, COPY_BYTES);
    cr_buffer_free(job.to, COPY_BYTES);
    return best;
}

cr_machine_peak cr_measure_peak(void)
{
    cr_machine_peak peak = { .threads = cr_num_threads() };
    if (cr_failed())
        return peak;
    peak.flops = measure_flops(peak.threads);
    peak.bytes_per_second = measure_bandwidth();
    cr_memory_trim(); /* what was measured with is not part of what is measured */
    cr_error_clear(); /* without memory the peak is not known, and that is no failure */
    return peak;
}
