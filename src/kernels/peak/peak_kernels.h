/* Loops that reach what the processor can do, to measure it. */
#ifndef CR_KERNELS_PEAK_PEAK_KERNELS_H
#define CR_KERNELS_PEAK_PEAK_KERNELS_H

#include <stdint.h>

struct peak_loops {
    /* `count` rounds of independent fused multiply-adds in float32 on registers; gives how many
     * floating-point operations a round is. *sink keeps the compiler from leaving them out. */
    int64_t (*multiply_add)(int64_t count, float *sink);
    /* Copies n floats. */
    void (*copy)(int64_t n, const float *from, float *to);
};

/* Those of the instruction set in use. */
const struct peak_loops *peak_loops(void);

#endif
