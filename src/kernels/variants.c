/* Which variant of the kernels is in use. */
#include "kernels/variants.h"

static cr_isa chosen_isa = CR_ISA_COUNT;

void cr_use_isa(cr_isa isa)
{
    chosen_isa = isa;
}

cr_isa cr_isa_in_use(void)
{
    return chosen_isa == CR_ISA_COUNT ? cr_cpu_isa() : chosen_isa;
}
