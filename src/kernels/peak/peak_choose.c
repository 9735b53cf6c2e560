/* Which instruction set's loops measure the processor. */
#include "kernels/peak/peak_kernels.h"
#include "kernels/variants.h"

CR_KERNEL_VARIANTS(const struct peak_loops, peak_loops, );

const struct peak_loops *peak_loops(void)
{
    return CR_KERNELS_IN_USE(peak_loops);
}
