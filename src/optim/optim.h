/* What an optimiser consists of, for the files of this folder. */
#ifndef CR_OPTIM_OPTIM_H
#define CR_OPTIM_OPTIM_H

#include "base/base.h"
#include "cresset/autograd.h"
#include "cresset/ops.h"
#include "cresset/optim.h"
#include "kernels/optimizer/optimizer.h"
#include "tensor/tensor.h"

/* One parameter with its state. */
struct slot {
    const char *name;                   /* of the parameter; borrowed from the model */
    cr_tensor *weight;                  /* borrowed from the model */
    cr_tensor *state[OPTIMIZER_STATES]; /* owned; NULL until needed */
    cr_tensor *counters; /* owned: float64 (2): steps taken, and nadam's running product */
    double lr_scale;
    double weight_decay; /* negative: the optimiser's */
};

struct cr_optim {
    cr_optim_settings settings;
    struct slot *slots;
    int count;
    struct lbfgs *lbfgs; /* lbfgs only */
    char *state_name;    /* of the last cr_optim_state_at */
};

/* The gradient of a slot, contiguous and of the weight's dtype; NULL if it has none. */
cr_tensor *slot_grad(const struct slot *slot);

double slot_weight_decay(const cr_optim *optim, const struct slot *slot);

cr_status lbfgs_step(cr_optim *optim, cr_optim_closure closure, void *context, double *loss);
void lbfgs_free(struct lbfgs *lbfgs);

/* Its state as named tensors, after those of the slots. */
int lbfgs_state_count(const cr_optim *optim);
cr_named_tensor lbfgs_state_at(const cr_optim *optim, int index);
cr_status lbfgs_state_set(cr_optim *optim, const char *name, cr_tensor *value);

#endif
