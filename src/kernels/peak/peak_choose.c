/* Which instruction set's loops measure the processor. */
#include "base/base.h"
#include "kernels/peak/peak_kernels.h"

extern const struct peak_loops peak_loops_portable;
extern const struct peak_loops peak_loops_avx2;
extern const struct peak_loops peak_loops_avx512;

const struct peak_loops *peak_loops(void)
{
#ifdef CR_HAVE_AVX512
    if (cr_cpu_isa() >= CR_ISA_AVX512)
        return &peak_loops_avx512;
#endif
#ifdef CR_HAVE_AVX2
    if (cr_cpu_isa() >= CR_ISA_AVX2)
        return &peak_loops_avx2;
#endif
    return &peak_loops_portable;
}
