/* What the files of the training loop share. */
#ifndef CR_TRAIN_TRAIN_RUN_H
#define CR_TRAIN_TRAIN_RUN_H

#include <jansson.h>

#include "cresset/grad_scaler.h"
#include "cresset/train.h"

/* Where a run stands: everything that is saved besides weights and optimiser state. */
struct train_state {
    cr_loader_state loader;
    int64_t steps;   /* of the optimiser */
    double loss_sum; /* of the samples of this epoch so far */
    int64_t correct;
    int64_t seen;
    double seconds; /* spent before this process */
    cr_plateau plateau;
    cr_grad_scaler scaler; /* for float16; its scale is 0 else */
    cr_generator generator;
    double best;
    int64_t best_epoch; /* from 1; 0: none yet */
    bool is_over;       /* stopped early, or all epochs done */
};

/* The parts of a model in their order (unfreezing.c). */
struct train_parts {
    char **names; /* (count) */
    int count;
    int *of; /* for each tensor of the model its part; -1: never trained */
};

struct trainer {
    cr_classifier *classifier;
    cr_dataset *train;
    cr_dataset *validation;
    cr_train_settings settings;
    cr_train_run run;
    cr_train_result *result;
    cr_optim *optim;
    cr_average *average;                   /* with ema_decay or swa_start */
    cr_contrast *contrast;                 /* with contrast.method */
    struct train_consistency *consistency; /* with consistency.data */
    struct train_parts parts;              /* with finetune_depth or unfreeze_every */
    int trained;                           /* parts, by now */
    cr_schedule *schedule;
    cr_sampler *sampler;
    cr_loader *loader;
    struct train_state state;
    int64_t batches; /* of an epoch */
    double base_lr;
    double step_loss;         /* mean over the samples of the last step */
    cr_tensor *class_weights; /* (classes), retained, of several labels pos_weight; NULL: alike */
    double started;           /* clock */
    double saved;             /* clock, of the last save */
};

/* ---- classifier_onnx.c ---- */

/* Whether the name of an architecture is that of an ONNX file. */
bool is_imported_name(const char *architecture);

/* Binds a classifier to the graph of a file, or to one that was kept as text; the text; and what
 * frees the graph. */
cr_status imported_open(cr_classifier *classifier, const char *path);
cr_status imported_restore(cr_classifier *classifier, const char *name, const char *base64);
const char *imported_text(const cr_classifier *classifier);
void imported_free(cr_classifier *classifier);

/* ---- json_text.c ---- */

/* A value as text, to be freed with cr_free; takes the value over (NULL: out of memory). `what` it
 * is stands in the message when memory runs out. */
char *json_text(json_t *value, size_t flags, const char *what);

/* ---- train_settings.c ---- */

/* Refuses settings that make no sense. */
cr_status train_settings_check(const cr_train_settings *settings);

/* The schedule by optimiser steps; NULL with an error on failure. */
cr_schedule *train_schedule_make(const cr_train_settings *settings, int64_t steps_per_epoch);

/* The settings as JSON, to be freed with cr_free. */
char *train_settings_json(const cr_train_settings *settings);

/* ---- sampling.c ---- */

/* (classes), retained: weights by which rare classes count as much as common ones. */
cr_tensor *train_class_weights(cr_dataset *set, int64_t classes);

/* ---- several_labels.c ---- */

/* The targets (N, classes) of a batch, 0 or 1, in the open frame; NULL with an error. */
cr_tensor *train_batch_targets(cr_dataset *set, const cr_batch *batch, int64_t classes);

/* (classes), retained: how many samples are without a label for each that has it (PyTorch's
 * pos_weight); 1 for labels that never come. */
cr_tensor *train_positive_weights(cr_dataset *set, int64_t classes);

/* ---- unfreezing.c ---- */

/* Finds the parts of the parameters that are trained now; how many of them, from the last on, train
 * in an epoch; and lets so many train. */
cr_status train_parts_find(const cr_model *model, struct train_parts *parts);
int train_parts_trained(const struct train_parts *parts, const cr_train_settings *settings,
                        uint64_t epoch);
void train_parts_apply(const struct train_parts *parts, const cr_model *model, int trained);
void train_parts_free(struct train_parts *parts);

/* ---- averaging.c ---- */

/* Puts the average of the last epochs in the model's place and judges it; called at the end of a
 * run. What comes of it stands in the result. */
cr_status trainer_finish_swa(struct trainer *trainer);

/* ---- consistency.c ---- */

/* The samples without labels, if the settings have any; they begin with what comes with the next
 * batch. */
cr_status consistency_make(struct trainer *trainer);
cr_status consistency_start(struct trainer *trainer);
void consistency_free(struct trainer *trainer);

/* Logits of samples, run together with the next ones without labels, whose part of the loss is
 * *term. */
cr_tensor *consistency_forward(const struct trainer *trainer, cr_tensor *samples, cr_tensor **term);

/* ---- neighbours.c ---- */

/* The accuracy of nearest neighbours on the validation set; NaN if it has no classes. */
double neighbours_judge(const struct trainer *trainer);

/* ---- mixing.c ---- */

/* Mixes the samples of a batch (N, C, H, W) and their targets: classes (N), which become
 * probabilities (N, classes), or these already. */
cr_status train_mix(const cr_train_settings *settings, int64_t classes, cr_generator *generator,
                    cr_tensor **samples, cr_tensor **targets);

/* A number from Beta(a, a). */
double train_draw_beta(cr_generator *generator, double a);

/* ---- run_files.c ---- */

/* Makes the run directory and args.json. */
cr_status run_folder_make(const struct trainer *trainer);

/* A line for log.txt, with the time before it; failures to log are ignored. */
void run_log(const struct trainer *trainer, const char *format, ...) CR_PRINTF(2, 3);

/* metrics.csv from all epochs so far. */
cr_status run_write_metrics(const struct trainer *trainer);

/* weights/best.safetensors: the classifier as it is now. */
cr_status run_save_best(const struct trainer *trainer);

/* weights/last.safetensors: everything that is needed to go on; and back from it. */
cr_status run_save_last(struct trainer *trainer);
cr_status run_restore_last(struct trainer *trainer);

/* ---- trainer.c ---- */

/* Evaluates the model as it is on the validation set, into the fields of the epoch. */
cr_status trainer_validate(struct trainer *trainer, cr_train_epoch *epoch);

/* What the best epoch is chosen by, of one that was validated. */
double trainer_score(const struct trainer *trainer, const cr_train_epoch *epoch);

/* Adds an epoch to the result. */
cr_status result_append(cr_train_result *result, cr_train_epoch epoch);

/* Seconds of the whole run, interruptions left out. */
double trainer_seconds(const struct trainer *trainer);

#endif
