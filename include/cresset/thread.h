/* Threads: how many the kernels use, and a loop over fixed partitions.
 *
 * The partition of a loop depends on its length and chunk alone, never on the number of threads,
 * so a result that is put together by chunk has the same bits at any thread count. */
#ifndef CRESSET_THREAD_H
#define CRESSET_THREAD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of threads that kernels started by the calling thread use; by default the number of
 * processors this process may run on, or CRESSET_THREADS / OMP_NUM_THREADS. 0 restores the default.
 */
void cr_set_num_threads(int threads);
int cr_num_threads(void);

/* Calls body(begin, end, context) for [0, chunk), [chunk, 2 chunk), … up to count, on several
 * threads in no fixed order. `begin / chunk` numbers the part. A loop of one chunk, or one inside
 * another parallel loop, runs in the caller. body must not fail and must not allocate. */
typedef void (*cr_parallel_body)(int64_t begin, int64_t end, void *context);
void cr_parallel_for(int64_t count, int64_t chunk, cr_parallel_body body, void *context);

#ifdef __cplusplus
}
#endif
#endif
