/* Which instruction set's loops are used. */
#include "kernels/optimizer/optimizer.h"
#include "kernels/variants.h"

CR_KERNEL_VARIANTS(const struct optimizer_loops, optimizer_loops, );

const struct optimizer_loops *optimizer_loops(void)
{
    return CR_KERNELS_IN_USE(optimizer_loops);
}
