/* The training loop: epochs, evaluation, checkpoints, early stopping, resuming bit for bit.
 *
 *     cr_classifier *net = cr_classifier_new("convnet", .data = train, .seed = 1);
 *     cr_train_settings settings = cr_train_defaults();
 *     settings.epochs = 10;
 *     cr_train_result result;
 *     cr_train(net, train, test, settings, (cr_train_run){ .folder = "runs/mine" }, &result);
 *
 * What a run does depends on its settings and seed alone, not on the number of threads or workers,
 * nor on how often it was stopped and resumed. */
#ifndef CRESSET_TRAIN_H
#define CRESSET_TRAIN_H

#include "cresset/classifier.h"
#include "cresset/optim.h"
#include "cresset/self_supervised.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, word) */
#define CR_TRAIN_SCHEDULE_TABLE(X)                                                                 \
    X(CONSTANT, "constant")                                                                        \
    X(STEP, "step")               /* times gamma every step_epochs */                              \
    X(MULTISTEP, "multistep")     /* times gamma at each of milestones */                          \
    X(EXPONENTIAL, "exponential") /* times gamma every epoch */                                    \
    X(POLYNOMIAL, "polynomial")                                                                    \
    X(COSINE, "cosine")                                                                            \
    X(RESTARTS, "cosine-restarts") /* the first cycle step_epochs long, each next twice as long */ \
    X(ONE_CYCLE, "one-cycle")                                                                      \
    X(PLATEAU, "plateau") /* times gamma when the validation loss has not fallen */

typedef enum cr_train_schedule {
#define CR_TRAIN_SCHEDULE_ENUM(name, word) CR_TRAIN_##name,
    CR_TRAIN_SCHEDULE_TABLE(CR_TRAIN_SCHEDULE_ENUM)
#undef CR_TRAIN_SCHEDULE_ENUM
        CR_TRAIN_SCHEDULE_COUNT
} cr_train_schedule;

const char *cr_train_schedule_name(cr_train_schedule schedule);

/* The schedule of that word; an error naming the nearest, and CR_TRAIN_SCHEDULE_COUNT, if none. */
cr_train_schedule cr_train_schedule_find(const char *word);

#define CR_TRAIN_MAX_MILESTONES 16
#define CR_TRAIN_MAX_RATES      32

/* The learning rate of the parameters whose names match, as a multiple of the run's: "layer4.*", or
 * "layer4" for the parameter of that name and all below it. 0 leaves them as they are. */
typedef struct cr_train_rate {
    const char *pattern;
    double scale;
} cr_train_rate;

/* Consistency on samples without labels, by FixMatch (cr_fixmatch_loss): with each batch come
 * `ratio` times as many of them. They are changed weakly as the settings' `augment` says, and
 * strongly as `strong` says; the loss of the strongly changed ones is added, times `weight`. */
typedef struct cr_consistency_settings {
    cr_dataset *data; /* labels, if it has any, are not looked at; NULL: no consistency */
    int64_t ratio;
    double threshold; /* the least probability of a class that is taken for the label */
    double weight;
    cr_transform_list strong;
    bool teacher; /* labels come from the moving average (ema_decay) instead of the model */
} cr_consistency_settings;

typedef struct cr_train_settings {
    int64_t epochs;
    int64_t batch_size;
    cr_optim_settings optimizer;
    cr_train_schedule schedule;                 /* steps once a batch, plateau once an epoch */
    double gamma;                               /* 0: 0.1 */
    double step_epochs;                         /* 0: a third of the epochs */
    double milestones[CR_TRAIN_MAX_MILESTONES]; /* epochs */
    int milestone_count;
    double power;         /* polynomial; 0: 1 */
    double lr_min;        /* cosine's end */
    int plateau_patience; /* epochs; 0: 10 */
    double warmup_epochs; /* linear, from a hundredth of the rate, before the schedule */
    cr_train_rate rates[CR_TRAIN_MAX_RATES]; /* later ones win */
    int rate_count;
    double label_smoothing;
    double mixup;          /* alpha of mixup's Beta; 0: none. With cutmix, one of the two a batch */
    double cutmix;         /* alpha of CutMix's Beta; 0: none */
    bool weighted_classes; /* in the loss by their rarity: samples / (classes * of the class); of
                            * several labels, positive ones by how many are without it for each */
    double clip_norm;      /* 0: none */
    double clip_value;     /* 0: none */
    int64_t accumulate;    /* batches whose gradients are averaged for a step; 0: 1 */
    double ema_decay;      /* 0: none; what is evaluated and kept as best is the average then */
    int64_t swa_start;     /* the weights after this epoch (from 1) and each later one are averaged
                            * (cr_swa_new); 0: none. Not together with ema_decay */
    double swa_lr;         /* learning rate of those epochs; 0: the schedule's */
    int64_t finetune_depth;    /* only the last so many parts of the model are trained; 0: all */
    int64_t unfreeze_every;    /* at first the last part is trained alone, and every so many epochs
                                * one more; 0: all from the beginning */
    cr_transform_list augment; /* before the classifier's own transforms */
    cr_consistency_settings consistency;
    /* Pretraining without labels in place of classification: see cr_train. */
    cr_contrast_settings contrast;
    uint64_t seed;
    int workers;
    int64_t early_stopping;      /* epochs without a better validation accuracy; 0: never */
    cr_dtype autocast;           /* CR_BF16, CR_F16 (with a scaled loss); CR_F32: off */
    bool balanced;               /* samples drawn so that classes come equally often */
    int64_t samples_per_epoch;   /* 0: as many as the set has */
    bool checkpoint_activations; /* see cr_model_checkpoint; the weights are the same */
} cr_train_settings;

/* 10 epochs of batches of 128, AdamW at 1e-3, a cosine schedule; workers 2; of consistency a ratio
 * of 7, a threshold of 0.95 and a weight of 1. */
cr_train_settings cr_train_defaults(void);

/* The numbers of one epoch. Of samples with several labels accuracy is the share of labels that are
 * right at a probability of a half, and the best epoch is that with the highest average precision.
 * Validation is NaN without a validation set. */
typedef struct cr_train_epoch {
    int64_t epoch; /* from 1 */
    double train_loss;
    double train_accuracy;
    double validation_loss;
    double validation_accuracy;
    double validation_average_precision; /* macro, of several labels; NaN else */
    double lr;                           /* at its end */
    double seconds; /* of training and validation, since the run began, interruptions left out */
    int64_t memory; /* highest of the process so far, bytes */
    bool is_best;
} cr_train_epoch;

/* What is going on within an epoch. */
typedef struct cr_train_progress {
    int64_t epoch; /* from 1 */
    int64_t epochs;
    int64_t batch; /* done in this epoch */
    int64_t batches;
    bool is_validation;
    double loss; /* means over the epoch so far */
    double accuracy;
    double step_loss; /* mean over the last step */
    double lr;
    double samples_per_second;
} cr_train_progress;

/* Where a run writes, and whom it tells. Everything may be zero. */
typedef struct cr_train_run {
    /* The run directory: metrics.csv, log.txt, args.json, weights/best.safetensors,
     * weights/last.safetensors. NULL: nothing is written. */
    const char *folder;
    const char *arguments;    /* JSON for args.json; NULL: the settings themselves */
    const char *const *notes; /* lines for log.txt when the run begins, such as what was left out */
    int64_t note_count;
    bool resume;         /* go on from weights/last.safetensors */
    double save_seconds; /* write last.safetensors at least this often; 0: 60, negative: only
                          * after each epoch */
    /* Called after each batch and each epoch. */
    void (*on_progress)(const cr_train_progress *progress, void *context);
    void (*on_epoch)(const cr_train_epoch *epoch, void *context);
    /* Asked after each batch; true saves and ends the run with CR_ERROR_INTERRUPTED. */
    bool (*should_stop)(void *context);
    void *context;
} cr_train_run;

typedef struct cr_train_result {
    cr_train_epoch *epochs; /* (count), of the whole run, also those before a resume */
    int64_t count;
    int64_t best_epoch; /* from 1; by validation accuracy (of several labels average precision), or
                         * by training loss without a set */
    int64_t steps;      /* of the optimiser */
    double seconds;
    bool stopped_early;
    /* With swa_start, of the average: whether there is one, whether it did at least as well as the
     * best epoch and was kept as best, and how well (NaN without a validation set). */
    bool averaged;
    bool average_is_best;
    double average_loss;
    double average_accuracy;
} cr_train_result;

/* The order in which a run with these settings visits its samples; to be freed. NULL on failure. */
cr_sampler *cr_train_sampler(cr_dataset *train, const cr_train_settings *settings);

/* The parts of a model that finetune_depth and unfreeze_every count: what the names of its trained
 * parameters have in common up to a dot, such as layer4 or features.6, in their order and joined by
 * spaces. To be freed with cr_free; NULL on failure. */
char *cr_train_parts(const cr_model *model);

/* Trains a classifier. With settings.contrast its encoder is pretrained without labels instead: the
 * classifier must be made with settings.no_head, and gives features; each batch is seen in two
 * views, both changed as `augment` says; accuracies are those of the contrastive task and, where
 * the validation set has classes, of nearest neighbours (cr_neighbour_accuracy, of 20 among at most
 * 5,000 samples of training, judged on at most 2,000). Afterwards it holds the last weights (the
 * average, with ema_decay); the best are in the run directory. The result is filled as far as the
 * run came, also on failure, and is to be freed. A loss that is not finite ends the run with
 * CR_ERROR_NUMERIC; what was saved before stands. */
cr_status cr_train(cr_classifier *classifier, cr_dataset *train, cr_dataset *validation,
                   cr_train_settings settings, cr_train_run run, cr_train_result *result);
void cr_train_result_free(cr_train_result *result);

/* ---- the learning rate ---- */

typedef struct cr_find_lr_args {
    double lowest;  /* 0: 1e-6 */
    double highest; /* 0: 1 */
    int64_t steps;  /* 0: 100 */
    bool (*should_stop)(void *context);
    void *context;
} cr_find_lr_args;

typedef struct cr_lr_curve {
    double *rate;     /* (count) */
    double *loss;     /* (count), of each step's samples */
    double *smoothed; /* (count), exponentially, as fastai does */
    int64_t count;
    double lowest;    /* the rate with the lowest smoothed loss */
    double suggested; /* a tenth of it */
} cr_lr_curve;

/* Smith's range test ("Cyclical learning rates", 2017): trains with a rate that rises from step to
 * step until the loss has grown to four times its lowest value. The settings are those of the run
 * to come; their schedule and averages play no part. The classifier's weights are spent. The curve
 * is to be freed, on success only. CR_ERROR_NUMERIC if no step had a finite loss. */
cr_status cr_find_lr(cr_classifier *classifier, cr_dataset *train, cr_train_settings settings,
                     cr_find_lr_args args, cr_lr_curve *curve);
void cr_lr_curve_free(cr_lr_curve *curve);

#ifdef __cplusplus
}
#endif
#endif
