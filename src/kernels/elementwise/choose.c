/* Which instruction set's loops are used. */
#include "kernels/elementwise/elementwise.h"

extern const struct pointwise_loops pointwise_loops_portable;
#ifdef CR_HAVE_AVX2
extern const struct pointwise_loops pointwise_loops_avx2;
#endif
#ifdef CR_HAVE_AVX512
extern const struct pointwise_loops pointwise_loops_avx512;
#endif

const struct pointwise_loops *pointwise_loops(void)
{
    cr_isa isa = cr_cpu_isa();
#ifdef CR_HAVE_AVX512
    if (isa >= CR_ISA_AVX512)
        return &pointwise_loops_avx512;
#endif
#ifdef CR_HAVE_AVX2
    if (isa >= CR_ISA_AVX2)
        return &pointwise_loops_avx2;
#endif
    (void)isa;
    return &pointwise_loops_portable;
}
