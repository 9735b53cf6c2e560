/* Scaling of the loss for training in float16, as torch.cuda.amp.GradScaler.
 *
 * Gradients in float16 vanish below 6e-8. The loss is multiplied by a large factor before backward,
 * and the gradients are divided by it before the step; a step whose gradients are not all finite is
 * left out and the factor lowered, and after many good ones it is raised again. bfloat16 has the
 * range of float32 and needs none of this.
 *
 *     cr_grad_scaler scaler = cr_grad_scaler_defaults();
 *     …
 *     cr_dtype was = cr_set_autocast(CR_F16);
 *     cr_tensor *loss = cr_cross_entropy(model(…), labels);
 *     cr_set_autocast(was);
 *     cr_backward(cr_grad_scaler_scale(&scaler, loss));
 *     cr_grad_scaler_unscale(&scaler, optim);      (needed only to clip the gradients between)
 *     cr_grad_scaler_step(&scaler, optim);
 *     cr_grad_scaler_update(&scaler);
 *
 * The record is all of the state: to go on later as if nothing had been, save scale and
 * growth_tracker after an update. */
#ifndef CRESSET_GRAD_SCALER_H
#define CRESSET_GRAD_SCALER_H

#include "cresset/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_grad_scaler {
    double scale; /* the factor; 0: off, and everything below does as without a scaler */
    double growth_factor;
    double backoff_factor;
    int64_t growth_interval; /* good steps after which the factor grows */
    int64_t growth_tracker;  /* good steps since it last changed */
    int64_t skipped;         /* steps left out so far */
    bool is_unscaled;        /* of the step that is being taken: the gradients were divided */
    bool found_inf;          /* and are not all finite */
} cr_grad_scaler;

/* 65536, doubled after 2000 good steps, halved after a bad one. */
cr_grad_scaler cr_grad_scaler_defaults(void);

/* The loss times the factor, as an op; NULL on failure. */
cr_tensor *cr_grad_scaler_scale(const cr_grad_scaler *scaler, cr_tensor *loss);

/* Divides the gradients of the optimiser's parameters by the factor, once a step, and notes
 * whether all are finite. With several optimisers, call it for each before the first step. */
cr_status cr_grad_scaler_unscale(cr_grad_scaler *scaler, cr_optim *optim);

/* cr_optim_step, after cr_grad_scaler_unscale if that was not called; nothing where a gradient is
 * not finite. */
cr_status cr_grad_scaler_step(cr_grad_scaler *scaler, cr_optim *optim);

/* Sets the factor for the next step; call it once after the steps of all optimisers. */
void cr_grad_scaler_update(cr_grad_scaler *scaler);

#ifdef __cplusplus
}
#endif
#endif
