/* Optimisers: how gradients change parameters; and what goes with them: clipping, schedules of the
 * learning rate, averages of weights.
 *
 * An optimiser works on the trainable parameters of a model, in groups chosen by pattern, and keeps
 * its state under their names, so that it can be saved and restored exactly. A step reads the
 * gradients that backward left, all parameters in one pass over memory, and leaves them in place;
 * cr_model_zero_grad clears them. Parameters without a gradient are left alone. */
#ifndef CRESSET_OPTIM_H
#define CRESSET_OPTIM_H

#include "cresset/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- optimisers; names, settings and arithmetic are torch.optim's ---- */

/* X(NAME, word) */
#define CR_OPTIM_TABLE(X)                                                                          \
    X(SGD, "sgd")                                                                                  \
    X(ADAM, "adam")                                                                                \
    X(ADAMW, "adamw")                                                                              \
    X(RMSPROP, "rmsprop")                                                                          \
    X(ADAGRAD, "adagrad")                                                                          \
    X(ADADELTA, "adadelta")                                                                        \
    X(NADAM, "nadam")                                                                              \
    X(RADAM, "radam")                                                                              \
    X(LAMB, "lamb")                                                                                \
    X(LBFGS, "lbfgs")

typedef enum cr_optim_kind {
#define CR_OPTIM_ENUM(name, word) CR_OPTIM_##name,
    CR_OPTIM_TABLE(CR_OPTIM_ENUM)
#undef CR_OPTIM_ENUM
        CR_OPTIM_COUNT
} cr_optim_kind;

const char *cr_optim_name(cr_optim_kind kind);

/* The kind of that word; an error that names the nearest word, and CR_OPTIM_COUNT, if none. */
cr_optim_kind cr_optim_find(const char *word);

/* Everything that any optimiser can be set to. cr_optim_defaults gives PyTorch's defaults of a
 * kind; edit that record. Fields that a kind does not have are ignored. */
typedef struct cr_optim_settings {
    cr_optim_kind kind;
    double lr;
    double weight_decay;
    double momentum; /* sgd, rmsprop */
    double dampening;
    bool nesterov;
    bool maximize;
    double beta1; /* adam and its kin */
    double beta2;
    double eps;
    bool amsgrad;
    double alpha; /* rmsprop: smoothing */
    bool centered;
    double lr_decay; /* adagrad */
    double initial_accumulator;
    double rho;            /* adadelta */
    double momentum_decay; /* nadam */
    int max_iterations;    /* lbfgs, per step */
    int max_evaluations;   /* 0: 5/4 of max_iterations */
    double tolerance_grad;
    double tolerance_change;
    int history;
    bool strong_wolfe; /* line search */
} cr_optim_settings;

cr_optim_settings cr_optim_defaults(cr_optim_kind kind);

typedef struct cr_optim cr_optim;

/* An optimiser for all trainable parameters of a model that has been built. The model must live
 * longer. NULL on failure. */
cr_optim *cr_optim_new(cr_model *model, cr_optim_settings settings);
void cr_optim_free(cr_optim *optim);

/* Short forms: PyTorch's defaults, with the learning rate (and momentum) given. */
cr_optim *cr_sgd(cr_model *model, double lr, double momentum);
cr_optim *cr_adam(cr_model *model, double lr);
cr_optim *cr_adamw(cr_model *model, double lr, double weight_decay);

/* Moves the parameters whose full name matches the pattern into a group of their own, with the
 * learning rate `lr_scale` times the optimiser's and a weight decay (negative: the optimiser's).
 * Later calls win. Returns how many parameters matched; -1 on failure. */
int cr_optim_group(cr_optim *optim, const char *pattern, double lr_scale, double weight_decay);

/* The learning rate of the first group, before lr_scale; what schedules set. Momentum (sgd,
 * rmsprop) or beta1 (adam and its kin) likewise. */
double cr_optim_lr(const cr_optim *optim);
void cr_optim_set_lr(cr_optim *optim, double lr);
double cr_optim_momentum(const cr_optim *optim);
void cr_optim_set_momentum(cr_optim *optim, double momentum);

/* One step from the gradients that are there. lbfgs needs cr_optim_step_with. */
cr_status cr_optim_step(cr_optim *optim);

/* One step that may evaluate the loss again: `closure` clears the gradients, computes the loss,
 * runs backward and returns the loss. *loss (may be NULL) is the first one. */
typedef double (*cr_optim_closure)(void *context);
cr_status cr_optim_step_with(cr_optim *optim, cr_optim_closure closure, void *context,
                             double *loss);

/* The state as named tensors ("exp_avg.layer1.0.conv1.weight"), to be saved; and back. Restoring
 * refuses names and shapes that do not fit; a name that is absent is left as in a new optimiser. */
int cr_optim_state_count(const cr_optim *optim);
cr_named_tensor cr_optim_state_at(const cr_optim *optim, int index);
cr_status cr_optim_state_set(cr_optim *optim, const char *name, cr_tensor *value);

/* ---- clipping, over all gradients of the optimiser's parameters ---- */

/* Scales the gradients so that their norm (p = 2, or infinity) is at most max_norm; returns the
 * norm before. As torch.nn.utils.clip_grad_norm_. */
double cr_clip_grad_norm(cr_optim *optim, double max_norm, double p);
void cr_clip_grad_value(cr_optim *optim, double limit);

/* ---- averages of the weights ---- */

typedef struct cr_average cr_average;

/* Exponential moving average of parameters (buffers are copied): a ← decay a + (1 - decay) w, with
 * the decay of update t at most (1 + t) / (10 + t) when `warmup`. */
cr_average *cr_ema_new(cr_model *model, double decay, bool warmup);

/* The plain average of the weights at each update (stochastic weight averaging, Izmailov et al.,
 * 2018). Batch norm's statistics must be recomputed with the averaged weights:
 * cr_update_batch_norm. */
cr_average *cr_swa_new(cr_model *model);
void cr_average_free(cr_average *average);
cr_status cr_average_update(cr_average *average);

/* Exchanges the model's weights with the average; a second call changes them back. */
cr_status cr_average_swap(cr_average *average);

/* State to save and restore, as for optimisers. */
int cr_average_state_count(const cr_average *average);
cr_named_tensor cr_average_state_at(const cr_average *average, int index);
cr_status cr_average_state_set(cr_average *average, const char *name, cr_tensor *value);

/* Recomputes the running statistics of all batch norms as the plain average over the batches that
 * `next` gives until it returns NULL, by running the model in training mode without gradients. */
typedef cr_tensor *(*cr_batch_source)(void *context);
cr_status cr_update_batch_norm(cr_model *model, cr_model_function function, const void *settings,
                               cr_batch_source next, void *context);

/* ---- schedules: the learning rate as a function of the number of steps taken ---- */

/* A schedule has no state: lr = f(base, t). t counts whatever the caller counts, batches or epochs,
 * from 0. All but plateau are torch.optim.lr_scheduler's closed forms. */
typedef struct cr_schedule cr_schedule;

cr_schedule *cr_schedule_constant(void);
cr_schedule *cr_schedule_step(int64_t step_size, double gamma);
cr_schedule *cr_schedule_multistep(const int64_t *milestones, int count, double gamma);
cr_schedule *cr_schedule_exponential(double gamma);
cr_schedule *cr_schedule_polynomial(int64_t total, double power);
cr_schedule *cr_schedule_cosine(int64_t total, double lr_min);
cr_schedule *cr_schedule_cosine_restarts(int64_t first, int64_t multiplier, double lr_min);

/* From start_factor to end_factor times the base over `total` steps, then end_factor. */
cr_schedule *cr_schedule_linear(int64_t total, double start_factor, double end_factor);

/* Smith and Topin, "Super-convergence", 2018. The base is the highest rate; momentum goes the other
 * way, from momentum_max to momentum_min. Zeros mean 0.3, 25, 1e4, 0.85, 0.95. */
typedef struct cr_one_cycle_args {
    int64_t total;
    double warm_fraction;
    double div_factor;
    double final_div_factor;
    double momentum_min;
    double momentum_max;
    bool linear; /* not cosine */
    bool three_phase;
    bool keep_momentum; /* leave momentum alone */
} cr_one_cycle_args;
cr_schedule *cr_schedule_one_cycle(cr_one_cycle_args args);

/* All applied to the base, one after the other; and one after the other in time, each beginning at
 * its milestone (the first at 0). They take the parts over, also when they fail. */
cr_schedule *cr_schedule_chained(cr_schedule *const *parts, int count);
cr_schedule *cr_schedule_sequential(cr_schedule *const *parts, const int64_t *milestones,
                                    int count);
void cr_schedule_free(cr_schedule *schedule);

/* The learning rate at t for this base; and the momentum (negative: leave it alone). */
double cr_schedule_lr(const cr_schedule *schedule, double base, int64_t t);
double cr_schedule_momentum(const cr_schedule *schedule, int64_t t);

/* Reduce on plateau: the factor that the learning rate is multiplied by, lowered when a metric has
 * not become better for `patience` epochs. A plain record, saved as it stands. */
typedef struct cr_plateau {
    /* settings; zeros mean the defaults in brackets */
    bool maximize;    /* the metric is better when higher */
    double factor;    /* [0.1] */
    int patience;     /* [10]; for none set -1 */
    double threshold; /* [1e-4] */
    bool absolute;    /* the threshold is absolute, not relative */
    int cooldown;
    double min_factor; /* the scale goes no lower */
    /* state */
    double scale; /* 0 before the first update: 1 */
    double best;
    int bad;
    int cooling;
    bool started;
} cr_plateau;

/* Tells of an epoch's metric; returns the scale from now on. */
double cr_plateau_update(cr_plateau *plateau, double metric);

#ifdef __cplusplus
}
#endif
#endif
