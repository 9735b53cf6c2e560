/* What losses have in common: how they are reduced. */
#include "cresset/loss.h"
#include "ops/ops.h"

int loss_reduction(int reduction)
{
    return reduction == CR_REDUCTION_DEFAULT ? CR_REDUCTION_MEAN : reduction;
}

cr_tensor *reduce_loss(cr_tensor *loss, int reduction)
{
    if (!loss || cr_failed())
        return NULL;
    switch (reduction) {
    case CR_REDUCTION_NONE:
        return loss;
    case CR_REDUCTION_SUM:
        return cr_sum(loss);
    case CR_REDUCTION_BATCHMEAN:
        return cr_div(cr_sum(loss), cr_scalar(loss->shape.ndim ? (double)loss->shape.dim[0] : 1));
    default:
        return cr_mean(loss);
    }
}
