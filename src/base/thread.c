/* The parallel loop of the kernels, over OpenMP.
 *
 * The parts of a loop are fixed by its length and chunk. Each thread first takes the parts of its
 * own contiguous range, so that consecutive loops over the same data find it in the same core's
 * cache, and then helps the others, so that a core that is held up delays nobody. Which thread
 * computes a part is thus open; what a part computes is not. Threads of other kinds (the loader's
 * workers, the server's) are left to those who start them. */
#include "base/base.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 256

/* 0: the default. */
static CR_THREAD_LOCAL int chosen_threads;

/* What an environment variable asks for; 0 when it asks for nothing sensible. OMP_NUM_THREADS may
 * be a list by nesting level, of which the first counts. */
static int threads_from_environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        return 0;
    char first[16];
    size_t length = strcspn(value, ",");
    if (length >= sizeof(first))
        return 0;
    memcpy(first, value, length);
    first[length] = '\0';
    long long threads;
    if (!cr_parse_int64(first, &threads) || threads < 1)
        return 0;
    return (int)CR_MIN(threads, MAX_THREADS);
}

static int threads_of_machine(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return CR_MIN(CPU_COUNT(&set), MAX_THREADS);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return (int)CR_MIN(CR_MAX(online, 1L), (long)MAX_THREADS);
}

/* Found at the first call and kept; two threads that find it at once find the same. */
static int default_threads(void)
{
    static _Atomic int found;
    int threads = atomic_load_explicit(&found, memory_order_relaxed);
    if (threads > 0)
        return threads;
    threads = threads_from_environment("CRESSET_THREADS");
    if (threads == 0)
        threads = threads_from_environment("OMP_NUM_THREADS");
    if (threads == 0)
        threads = threads_of_machine();
    atomic_store_explicit(&found, threads, memory_order_relaxed);
    return threads;
}

void cr_set_num_threads(int threads)
{
    chosen_threads = CR_MIN(CR_MAX(threads, 0), MAX_THREADS);
}

int cr_num_threads(void)
{
    return chosen_threads > 0 ? chosen_threads : default_threads();
}

typedef struct loop {
    int64_t count;
    int64_t chunk;
    cr_parallel_body body;
    void *context;
} loop;

/* The parts of one thread that nobody took yet: [next, end). On a cache line of its own. */
typedef struct range {
    CR_ALIGNED(64) _Atomic int64_t next;
    int64_t end;
} range;

static void run_part(const loop *l, int64_t part)
{
    int64_t begin = part * l->chunk;
    int64_t end = l->count - begin > l->chunk ? begin + l->chunk : l->count;
    l->body(begin, end, l->context);
}

static void run_range(const loop *l, range *r)
{
    for (;;) {
        int64_t part = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
        if (part >= r->end)
            return;
        run_part(l, part);
    }
}

static void run_parallel(const loop *l, int64_t parts, int threads)
{
    range ranges[MAX_THREADS];
    for (int t = 0; t < threads; t++) {
        atomic_init(&ranges[t].next, parts / threads * t + CR_MIN(parts % threads, t));
        ranges[t].end = parts / threads * (t + 1) + CR_MIN(parts % threads, t + 1);
    }
#pragma omp parallel num_threads(threads) default(none) shared(l, ranges, threads)
    {
        /* OpenMP may give fewer threads than asked for; the ranges of the missing are then helped
         * along by the others. */
        int own = omp_get_thread_num();
        for (int t = 0; t < threads; t++)
            run_range(l, &ranges[(own + t) % threads]);
    }
}

void cr_parallel_for(int64_t count, int64_t chunk, cr_parallel_body body, void *context)
{
    if (count <= 0)
        return;
    if (chunk <= 0 || chunk > count)
        chunk = count;
    const loop l = { .count = count, .chunk = chunk, .body = body, .context = context };
    int64_t parts = count / chunk + (count % chunk != 0);
    int threads = parts > 1 ? (int)CR_MIN(parts, (int64_t)cr_num_threads()) : 1;
    if (threads > 1 && !omp_in_parallel()) {
        run_parallel(&l, parts, threads);
        return;
    }
    for (int64_t part = 0; part < parts; part++)
        run_part(&l, part);
}
