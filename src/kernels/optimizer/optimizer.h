/* The inner loops of optimisers: one pass over a run of parameters, their gradients and their
 * state.
 *
 * Numbers that are the same for all elements (bias corrections and the like) are computed by the
 * caller, in double precision, as torch.optim does. */
#ifndef CR_KERNELS_OPTIMIZER_OPTIMIZER_H
#define CR_KERNELS_OPTIMIZER_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#define OPTIMIZER_STATES 3

struct optimizer_numbers {
    double lr; /* of this group */
    double weight_decay;
    double grad_sign; /* -1 to maximise */
    double momentum;
    double dampening;
    bool nesterov;
    bool first; /* sgd: the momentum buffer begins as the gradient */
    double beta1;
    double beta2;
    double eps;
    bool amsgrad;
    double correction1; /* 1 - beta1^t */
    double correction2; /* 1 - beta2^t */
    double alpha;
    bool centered;
    double rho;
    double grad_factor; /* nadam, radam: what scales the gradient and the momentum */
    double momentum_factor;
    bool rectified; /* radam */
};

/* Which loop; the state arrays each one uses, in order. */
#define OPTIMIZER_TABLE(X)                                                                         \
    X(sgd)      /* momentum buffer, if momentum */                                                 \
    X(adam)     /* exp_avg, exp_avg_sq, max_exp_avg_sq if amsgrad */                               \
    X(adamw)    /* the same */                                                                     \
    X(rmsprop)  /* square_avg, momentum_buffer if momentum, grad_avg if centered */                \
    X(adagrad)  /* sum */                                                                          \
    X(adadelta) /* square_avg, acc_delta */                                                        \
    X(nadam)    /* exp_avg, exp_avg_sq */                                                          \
    X(radam)    /* exp_avg, exp_avg_sq */                                                          \
    X(lamb)     /* exp_avg, exp_avg_sq, and the step before scaling */

typedef void (*optimizer_loop_f32)(int64_t n, float *weight, const float *grad, float *const *state,
                                   const struct optimizer_numbers *numbers);
typedef void (*optimizer_loop_f64)(int64_t n, double *weight, const double *grad,
                                   double *const *state, const struct optimizer_numbers *numbers);

struct optimizer_loops {
#define OPTIMIZER_MEMBERS(name)                                                                    \
    optimizer_loop_f32 name##_f32;                                                                 \
    optimizer_loop_f64 name##_f64;
    OPTIMIZER_TABLE(OPTIMIZER_MEMBERS)
#undef OPTIMIZER_MEMBERS
};

const struct optimizer_loops *optimizer_loops(void);

#endif
