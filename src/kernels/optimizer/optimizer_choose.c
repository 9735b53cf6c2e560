/* Which instruction set's loops are used. */
#include "base/base.h"
#include "kernels/optimizer/optimizer.h"

extern const struct optimizer_loops optimizer_loops_portable;
extern const struct optimizer_loops optimizer_loops_avx2;
extern const struct optimizer_loops optimizer_loops_avx512;

const struct optimizer_loops *optimizer_loops(void)
{
#ifdef CR_HAVE_AVX512
    if (cr_cpu_isa() >= CR_ISA_AVX512)
        return &optimizer_loops_avx512;
#endif
#ifdef CR_HAVE_AVX2
    if (cr_cpu_isa() >= CR_ISA_AVX2)
        return &optimizer_loops_avx2;
#endif
    return &optimizer_loops_portable;
}
