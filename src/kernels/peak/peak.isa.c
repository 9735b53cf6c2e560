/* The loops that measure the processor, for one instruction set. */
#include "base/base.h"
#include "kernels/peak/peak_kernels.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* Two units with a latency of four or five cycles are kept busy by this many sums; ARM's cores may
 * have four. */
#if defined(CR_TARGET_NEON)
#define SUMS 20
#else
#define SUMS 12
#endif

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
typedef float loose __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

#define LANES ((int64_t)(VECTOR_BYTES / sizeof(float)))

static int64_t multiply_add(int64_t count, float *sink)
{
    vector sum[SUMS];
    vector a = { 0 }, b = { 0 };
    a += 0.999F;
    b += 0.001F;
#pragma GCC unroll 20
    for (int i = 0; i < SUMS; i++)
        sum[i] = b * (float)i;
    for (int64_t r = 0; r < count; r++) {
#pragma GCC unroll 20
        for (int i = 0; i < SUMS; i++)
            sum[i] = sum[i] * a + b;
    }
    for (int i = 0; i < SUMS; i++)
        *sink += sum[i][0];
    return 2 * SUMS * LANES;
}

static void copy(int64_t n, const float *from, float *to)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(loose *)(to + i) = *(const loose *)(from + i);
    for (; i < n; i++)
        to[i] = from[i];
}

const struct peak_loops CR_ISA_NAME(peak_loops) = { multiply_add, copy };
