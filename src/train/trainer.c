/* The training loop.
 *
 * An epoch is a sequence of batches; `accumulate` of them make a step of the optimiser. After each
 * step the state is whole: it may be saved, and a run that is started from what was saved does
 * exactly what the first one would have done. */
#include <math.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/profile.h"
#include "cresset/system.h"
#include "train/train_run.h"

/* ---- results ---- */

cr_status result_append(cr_train_result *result, cr_train_epoch epoch)
{
    cr_train_epoch *epochs =
        cr_resize(result->epochs, (size_t)result->count + 1, sizeof *result->epochs);
    if (!epochs)
        return CR_ERROR_MEMORY;
    result->epochs = epochs;
    result->epochs[result->count++] = epoch;
    return CR_OK;
}

void cr_train_result_free(cr_train_result *result)
{
    cr_free(result->epochs);
    *result = (cr_train_result){ 0 };
}

double trainer_seconds(const struct trainer *trainer)
{
    return trainer->state.seconds + cr_clock_seconds() - trainer->started;
}

/* ---- one step ---- */

static int64_t count_correct(cr_tensor *logits, const cr_tensor *labels)
{
    int64_t correct = 0;
    int64_t rows = cr_dim(logits, 0);
    int64_t classes = cr_dim(logits, 1);
    const float *values = cr_data(logits);
    const int64_t *truth = cr_data(labels);
    for (int64_t i = 0; i < rows; i++) {
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++) {
            if (values[i * classes + c] > values[i * classes + best])
                best = c;
        }
        correct += best == truth[i];
    }
    return correct;
}

/* Labels that are right at a probability of a half, a logit of 0. */
static int64_t count_correct_labels(cr_tensor *logits, const cr_tensor *targets)
{
    int64_t correct = 0;
    const float *values = cr_data(logits), *truth = cr_data(targets);
    for (int64_t i = 0; i < cr_numel(logits); i++)
        correct += (values[i] >= 0) == (truth[i] > 0.5F);
    return correct;
}

/* The share of samples, or of several labels, that were right so far in this epoch. */
static double accuracy_so_far(const struct trainer *trainer)
{
    const cr_classifier *classifier = trainer->classifier;
    double seen = trainer->state.seen > 0 ? (double)trainer->state.seen : 1;
    double asked = classifier->has_several_labels ? (double)classifier->class_count : 1;
    return (double)trainer->state.correct / (seen * asked);
}

/* Where the random numbers of a batch come from, apart from those of the model. */
static cr_generator batch_generator(const struct trainer *trainer, const cr_batch *batch)
{
    uint32_t words[4];
    uint64_t first = batch->size > 0 ? (uint64_t)((const int64_t *)cr_data(batch->indices))[0] : 0;
    cr_philox(trainer->settings.seed, trainer->state.loader.epoch, (uint64_t)trainer->state.seen,
              words);
    return cr_generator_make(words[0] | (uint64_t)words[1] << 32, first);
}

/* Binary cross-entropy of each label, smoothed towards a half. */
static cr_tensor *loss_of_labels(const struct trainer *trainer, cr_tensor *logits,
                                 cr_tensor *targets)
{
    double smoothing = trainer->settings.label_smoothing;
    if (smoothing > 0)
        targets = cr_add_scalar(cr_mul_scalar(targets, 1 - smoothing), smoothing / 2);
    return cr_binary_cross_entropy_with_logits(cr_to_dtype(logits, CR_F32), targets,
                                               .pos_weight = trainer->class_weights);
}

/* Samples of one view and of the other stand in turns, (2N, C, H, W). */
static cr_tensor *view_of(cr_tensor *samples, int which)
{
    cr_shape shape = cr_shape_of(samples);
    return cr_contiguous(cr_slice(samples, 0, which, shape.dim[0], 2));
}

static cr_tensor *contrast_forward(const struct trainer *trainer, const cr_batch *batch,
                                   cr_tensor **logits, cr_tensor **labels)
{
    return cr_contrast_loss(trainer->contrast, view_of(batch->samples, 0),
                            view_of(batch->samples, 1), logits, labels);
}

static cr_tensor *classify(const struct trainer *trainer, const cr_batch *batch, cr_tensor *targets,
                           cr_tensor **logits)
{
    const cr_train_settings *settings = &trainer->settings;
    cr_tensor *samples = batch->samples, *term = NULL;
    if (settings->mixup > 0 || settings->cutmix > 0) {
        cr_generator generator = batch_generator(trainer, batch);
        train_mix(settings, trainer->classifier->class_count, &generator, &samples, &targets);
    }
    *logits = trainer->consistency ? consistency_forward(trainer, samples, &term)
                                   : cr_classifier_forward(trainer->classifier, samples);
    cr_tensor *loss = trainer->classifier->has_several_labels
                          ? loss_of_labels(trainer, *logits, targets)
                          : cr_cross_entropy(*logits, targets, .weight = trainer->class_weights,
                                             .label_smoothing = settings->label_smoothing);
    return term ? cr_add(loss, term) : loss;
}

/* The logits, in float32, and the loss, under autocast. *targets become what the logits should say
 * where that is not the label. */
static cr_tensor *forward(const struct trainer *trainer, const cr_batch *batch, cr_tensor **targets,
                          cr_tensor **logits)
{
    cr_dtype was = cr_set_autocast(trainer->settings.autocast);
    cr_tensor *loss = trainer->contrast ? contrast_forward(trainer, batch, logits, targets)
                                        : classify(trainer, batch, *targets, logits);
    cr_set_autocast(was);
    *logits = cr_contiguous(cr_to_dtype(cr_detach(*logits), CR_F32));
    return loss;
}

static cr_status not_finite(const struct trainer *trainer, double loss)
{
    return cr_error_set(
        CR_ERROR_NUMERIC,
        "the loss became %g in epoch %lld after %lld steps at a learning rate of %g; "
        "lower the learning rate, warm up longer, or clip the gradients",
        loss, (long long)trainer->state.loader.epoch + 1, (long long)trainer->state.steps,
        cr_optim_lr(trainer->optim));
}

/* Forward and backward of one batch, whose loss counts for `share` of the step. */
static cr_status run_batch(struct trainer *trainer, const cr_batch *batch, double share)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *logits = NULL;
    bool several = trainer->classifier->has_several_labels;
    cr_tensor *targets = batch->labels;
    if (several)
        targets = train_batch_targets(trainer->train, batch, trainer->classifier->class_count);
    cr_tensor *loss = targets ? forward(trainer, batch, &targets, &logits) : NULL;
    double value = loss ? cr_item(loss) : NAN;
    cr_status status = cr_error_status();
    if (status == CR_OK && !isfinite(value))
        status = not_finite(trainer, value);
    if (status == CR_OK)
        status = cr_backward(cr_grad_scaler_scale(&trainer->state.scaler,
                                                  share == 1 ? loss : cr_mul_scalar(loss, share)));
    if (status == CR_OK) {
        int64_t rows = cr_dim(logits, 0);
        trainer->state.loss_sum += value * (double)rows;
        trainer->state.correct +=
            several ? count_correct_labels(logits, targets) : count_correct(logits, targets);
        trainer->state.seen += rows;
        trainer->step_loss += value * share;
    }
    cr_frame_end(frame);
    return status;
}

/* True in the epochs whose weights are averaged. */
static bool averages_now(const struct trainer *trainer)
{
    int64_t start = trainer->settings.swa_start;
    return start > 0 && (int64_t)trainer->state.loader.epoch + 1 >= start;
}

static cr_status update_weights(struct trainer *trainer)
{
    const cr_train_settings *settings = &trainer->settings;
    double scale = trainer->state.plateau.scale != 0 ? trainer->state.plateau.scale : 1;
    double rate = cr_schedule_lr(trainer->schedule, trainer->base_lr, trainer->state.steps);
    double momentum = cr_schedule_momentum(trainer->schedule, trainer->state.steps);
    rate *= scale;
    if (averages_now(trainer) && settings->swa_lr > 0)
        rate = settings->swa_lr;
    cr_optim_set_lr(trainer->optim, rate);
    if (momentum >= 0)
        cr_optim_set_momentum(trainer->optim, momentum);
    cr_grad_scaler *scaler = &trainer->state.scaler;
    if (cr_grad_scaler_unscale(scaler, trainer->optim) != CR_OK)
        return cr_error_status();
    if (settings->clip_value > 0)
        cr_clip_grad_value(trainer->optim, settings->clip_value);
    if (settings->clip_norm > 0 && !scaler->found_inf)
        cr_clip_grad_norm(trainer->optim, settings->clip_norm, 2);
    if (cr_grad_scaler_step(scaler, trainer->optim) != CR_OK)
        return cr_error_status();
    cr_grad_scaler_update(scaler);
    trainer->state.steps++;
    cr_model_zero_grad(trainer->classifier->model);
    return settings->ema_decay > 0 ? cr_average_update(trainer->average) : CR_OK;
}

/* Samples that the loader gives for a batch. */
static int64_t loaded_size(const struct trainer *trainer)
{
    return trainer->settings.batch_size * (trainer->contrast ? 2 : 1);
}

/* The batches of one step; *more becomes false at the end of the epoch. */
static cr_status run_step(struct trainer *trainer, bool *more)
{
    int64_t group = trainer->settings.accumulate > 0 ? trainer->settings.accumulate : 1;
    int64_t size = loaded_size(trainer);
    int64_t done = (cr_loader_get_state(trainer->loader).position + size - 1) / size;
    int64_t left = trainer->batches - done;
    group = group < left ? group : left;
    trainer->step_loss = 0;
    for (int64_t i = 0; i < group; i++) {
        cr_batch batch;
        cr_frame frame = cr_frame_begin();
        bool got = cr_loader_next(trainer->loader, &batch);
        cr_status status = got ? run_batch(trainer, &batch, 1 / (double)group) : cr_error_status();
        cr_frame_end(frame);
        if (status != CR_OK)
            return status;
    }
    *more = group < left;
    trainer->state.loader = cr_loader_get_state(trainer->loader);
    return group > 0 ? update_weights(trainer) : CR_OK;
}

/* ---- one epoch ---- */

static void report_progress(const struct trainer *trainer, double epoch_begun, int64_t seen_before)
{
    if (!trainer->run.on_progress)
        return;
    const struct train_state *state = &trainer->state;
    double seen = state->seen > 0 ? (double)state->seen : 1;
    double seconds = cr_clock_seconds() - epoch_begun;
    int64_t size = loaded_size(trainer);
    cr_train_progress progress = {
        .epoch = (int64_t)state->loader.epoch + 1,
        .epochs = trainer->settings.epochs,
        .batch = (state->loader.position + size - 1) / size,
        .batches = trainer->batches,
        .loss = state->loss_sum / seen,
        .accuracy = accuracy_so_far(trainer),
        .step_loss = trainer->step_loss,
        .lr = cr_optim_lr(trainer->optim),
        .samples_per_second = seconds > 0 ? (double)(state->seen - seen_before) / seconds : 0,
    };
    trainer->run.on_progress(&progress, trainer->run.context);
}

static cr_status save_if_due(struct trainer *trainer)
{
    double every = trainer->run.save_seconds != 0 ? trainer->run.save_seconds : 60;
    if (!trainer->run.folder || every < 0 || cr_clock_seconds() - trainer->saved < every)
        return CR_OK;
    return run_save_last(trainer);
}

static cr_status interrupt(struct trainer *trainer)
{
    cr_status status = trainer->run.folder ? run_save_last(trainer) : CR_OK;
    if (status != CR_OK)
        return status;
    run_log(trainer, "interrupted in epoch %lld after %lld steps",
            (long long)trainer->state.loader.epoch + 1, (long long)trainer->state.steps);
    return cr_error_set(CR_ERROR_INTERRUPTED, "interrupted after %lld steps",
                        (long long)trainer->state.steps);
}

/* Lets those parts of the model train whose turn it is. */
static void choose_parts(struct trainer *trainer)
{
    if (!trainer->parts.count)
        return;
    int trained =
        train_parts_trained(&trainer->parts, &trainer->settings, trainer->state.loader.epoch);
    train_parts_apply(&trainer->parts, trainer->classifier->model, trained);
    if (trained != trainer->trained)
        run_log(trainer, "epoch %lld: of %d parts of the model %s and what follows it are trained",
                (long long)trainer->state.loader.epoch + 1, trainer->parts.count,
                trainer->parts.names[trainer->parts.count - trained]);
    trainer->trained = trained;
}

static cr_status train_epoch(struct trainer *trainer)
{
    double begun = cr_clock_seconds();
    int64_t seen_before = trainer->state.seen;
    bool more = true;
    choose_parts(trainer);
    cr_model_train(trainer->classifier->model, true);
    if (cr_loader_resume(trainer->loader, trainer->state.loader) != CR_OK)
        return cr_error_status();
    while (more) {
        if (run_step(trainer, &more) != CR_OK)
            return cr_error_status();
        cr_profile_step();
        report_progress(trainer, begun, seen_before);
        if (trainer->run.should_stop && trainer->run.should_stop(trainer->run.context))
            return interrupt(trainer);
        if (more && save_if_due(trainer) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static bool validation_progress(int64_t done, int64_t all, void *context)
{
    const struct trainer *trainer = context;
    if (trainer->run.on_progress) {
        cr_train_progress progress = { .epoch = (int64_t)trainer->state.loader.epoch + 1,
                                       .epochs = trainer->settings.epochs,
                                       .batch = done,
                                       .batches = all,
                                       .is_validation = true,
                                       .lr = cr_optim_lr(trainer->optim) };
        trainer->run.on_progress(&progress, trainer->run.context);
    }
    return false;
}

/* Those with the best F1 on the validation set. */
static cr_status choose_thresholds(cr_classifier *classifier, const cr_evaluation *evaluation)
{
    size_t classes = (size_t)classifier->class_count;
    if (!classifier->thresholds)
        classifier->thresholds = cr_alloc_array(classes, sizeof *classifier->thresholds);
    return classifier->thresholds ? cr_evaluation_thresholds(evaluation, classifier->thresholds)
                                  : cr_error_status();
}

cr_status trainer_validate(struct trainer *trainer, cr_train_epoch *epoch)
{
    epoch->validation_loss = NAN;
    epoch->validation_accuracy = NAN;
    epoch->validation_average_precision = NAN;
    if (trainer->contrast) {
        epoch->validation_accuracy = neighbours_judge(trainer);
        return cr_error_status();
    }
    if (!trainer->validation)
        return CR_OK;
    cr_evaluation evaluation;
    cr_evaluate_args args = { .workers = trainer->settings.workers,
                              .progress = validation_progress,
                              .context = trainer };
    cr_dtype was = cr_set_autocast(cr_autocast_for_inference(trainer->settings.autocast));
    cr_status status = cr_evaluate(trainer->classifier, trainer->validation, args, &evaluation);
    cr_set_autocast(was);
    if (status != CR_OK)
        return status;
    epoch->validation_loss = evaluation.loss;
    if (evaluation.marks) {
        cr_evaluation_mark(&evaluation, NULL);
        status = choose_thresholds(trainer->classifier, &evaluation);
    }
    epoch->validation_accuracy = evaluation.accuracy;
    epoch->validation_average_precision = evaluation.average_precision;
    cr_evaluation_free(&evaluation);
    return status;
}

double trainer_score(const struct trainer *trainer, const cr_train_epoch *epoch)
{
    if (!trainer->classifier->has_several_labels)
        return epoch->validation_accuracy;
    return isnan(epoch->validation_average_precision) ? 0 : epoch->validation_average_precision;
}

/* Notes whether the epoch is the best so far, and saves its weights then. */
static cr_status keep_best(struct trainer *trainer, cr_train_epoch *epoch)
{
    struct train_state *state = &trainer->state;
    double score = trainer->validation ? trainer_score(trainer, epoch) : NAN;
    if (isnan(score)) /* of pretraining without classes to judge by */
        score = -epoch->train_loss;
    epoch->is_best = state->best_epoch == 0 || score > state->best;
    if (!epoch->is_best)
        return CR_OK;
    state->best = score;
    state->best_epoch = epoch->epoch;
    return trainer->run.folder ? run_save_best(trainer) : CR_OK;
}

/* Evaluates with the moving average in the model's place, where there is one. */
static cr_status judge_epoch(struct trainer *trainer, cr_train_epoch *epoch)
{
    bool moving = trainer->settings.ema_decay > 0;
    if (moving && cr_average_swap(trainer->average) != CR_OK)
        return cr_error_status();
    cr_status status = trainer_validate(trainer, epoch);
    if (status == CR_OK)
        status = keep_best(trainer, epoch);
    if (moving && status == CR_OK)
        status = cr_average_swap(trainer->average);
    return status;
}

/* The state as it is when the next epoch begins. */
static void begin_next_epoch(struct trainer *trainer, const cr_train_epoch *epoch)
{
    struct train_state *state = &trainer->state;
    state->loader.epoch++;
    state->loader.position = 0;
    state->loss_sum = 0;
    state->correct = 0;
    state->seen = 0;
    if (trainer->settings.schedule == CR_TRAIN_PLATEAU)
        cr_plateau_update(&state->plateau, isnan(epoch->validation_loss) ? epoch->train_loss
                                                                         : epoch->validation_loss);
    int64_t patience = trainer->settings.early_stopping;
    if (patience > 0 && epoch->epoch - state->best_epoch >= patience) {
        state->is_over = true;
        trainer->result->stopped_early = epoch->epoch < trainer->settings.epochs;
    }
}

static cr_status end_epoch(struct trainer *trainer)
{
    struct train_state *state = &trainer->state;
    double seen = state->seen > 0 ? (double)state->seen : 1;
    cr_train_epoch epoch = { .epoch = (int64_t)state->loader.epoch + 1,
                             .train_loss = state->loss_sum / seen,
                             .train_accuracy = accuracy_so_far(trainer),
                             .lr = cr_optim_lr(trainer->optim) };
    /* A profile is of the steps of training. */
    bool was_paused = cr_profile_pause(true);
    cr_status status = judge_epoch(trainer, &epoch);
    cr_profile_pause(was_paused);
    if (status != CR_OK)
        return status;
    if (averages_now(trainer) && cr_average_update(trainer->average) != CR_OK)
        return cr_error_status();
    epoch.seconds = trainer_seconds(trainer);
    epoch.memory = cr_process_memory_peak();
    if (result_append(trainer->result, epoch) != CR_OK)
        return cr_error_status();
    begin_next_epoch(trainer, &epoch);
    if (trainer->run.folder &&
        (run_save_last(trainer) != CR_OK || run_write_metrics(trainer) != CR_OK))
        return cr_error_status();
    run_log(
        trainer,
        "epoch %lld/%lld: loss %.4f, accuracy %.2f %%, validation loss %.4f, validation accuracy "
        "%.2f %%%s, learning rate %.3g, %.1f s, %.0f MB",
        (long long)epoch.epoch, (long long)trainer->settings.epochs, epoch.train_loss,
        100 * epoch.train_accuracy, epoch.validation_loss, 100 * epoch.validation_accuracy,
        epoch.is_best ? " (best)" : "", epoch.lr, epoch.seconds, (double)epoch.memory / 1e6);
    if (trainer->run.on_epoch)
        trainer->run.on_epoch(&epoch, trainer->run.context);
    return CR_OK;
}

/* ---- the whole run ---- */

static cr_status loader_make(struct trainer *trainer)
{
    const cr_train_settings *settings = &trainer->settings;
    cr_transform_list transforms;
    if (cr_transform_join(&settings->augment, &trainer->classifier->transforms, &transforms) !=
        CR_OK)
        return cr_error_status();
    trainer->sampler = cr_train_sampler(trainer->train, settings);
    if (settings->contrast.method != CR_CONTRAST_NONE)
        trainer->sampler = cr_sampler_repeat(trainer->sampler, 2);
    if (!trainer->sampler)
        return cr_error_status();
    trainer->loader = cr_loader_new(trainer->train, .batch_size = loaded_size(trainer),
                                    .drop_last = trainer->contrast, .sampler = trainer->sampler,
                                    .workers = settings->workers, .seed = settings->seed,
                                    .transforms = &transforms);
    if (!trainer->loader)
        return cr_error_status();
    trainer->batches = cr_loader_batch_count(trainer->loader);
    if (trainer->batches == 0 && trainer->contrast)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has fewer samples than a batch of %lld",
                            cr_dataset_name(trainer->train), (long long)settings->batch_size);
    if (trainer->batches == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s has no samples to train on",
                            cr_dataset_name(trainer->train));
    return CR_OK;
}

/* A pattern without a wildcard means the parameter of that name and all below it. */
static cr_status rate_set(cr_optim *optim, const cr_train_rate *rate)
{
    char *below = cr_string_format("%s.*", rate->pattern);
    if (!below)
        return cr_error_status();
    int matched = cr_optim_group(optim, rate->pattern, rate->scale, -1);
    if (matched >= 0 && !strchr(rate->pattern, '*'))
        matched += cr_optim_group(optim, below, rate->scale, -1);
    cr_free(below);
    if (!cr_failed() && matched == 0)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "a learning rate is given for %s, which no parameter is called",
                            rate->pattern);
    return cr_error_status();
}

static cr_tensor *weights_of_classes(const struct trainer *trainer)
{
    int64_t classes = trainer->classifier->class_count;
    return trainer->classifier->has_several_labels ? train_positive_weights(trainer->train, classes)
                                                   : train_class_weights(trainer->train, classes);
}

/* The encoder's projection is among the parameters that the optimiser finds afterwards. */
static cr_status contrast_make(struct trainer *trainer)
{
    const cr_classifier *net = trainer->classifier;
    if (trainer->settings.contrast.method == CR_CONTRAST_NONE)
        return CR_OK;
    if (!net->bound.settings.no_head)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "pretraining needs a model that gives features: one made with no_head");
    cr_shape batch = CR_SHAPE(2, net->input.dim[0], net->input.dim[1], net->input.dim[2]);
    trainer->contrast = cr_contrast_new(net->model, cr_run_architecture, &net->bound, batch,
                                        trainer->settings.seed, trainer->settings.contrast);
    return cr_error_status();
}

static cr_status trainer_prepare(struct trainer *trainer)
{
    const cr_train_settings *settings = &trainer->settings;
    if (train_settings_check(settings) != CR_OK || contrast_make(trainer) != CR_OK ||
        loader_make(trainer) != CR_OK || consistency_make(trainer) != CR_OK)
        return cr_error_status();
    int64_t group = settings->accumulate > 0 ? settings->accumulate : 1;
    trainer->schedule = train_schedule_make(settings, (trainer->batches + group - 1) / group);
    trainer->optim = cr_optim_new(trainer->classifier->model, settings->optimizer);
    for (int i = 0; i < settings->rate_count && !cr_failed(); i++)
        rate_set(trainer->optim, &settings->rates[i]);
    if (settings->weighted_classes && !cr_failed())
        trainer->class_weights = weights_of_classes(trainer);
    if (settings->ema_decay > 0)
        trainer->average = cr_ema_new(trainer->classifier->model, settings->ema_decay, true);
    if (settings->swa_start > 0)
        trainer->average = cr_swa_new(trainer->classifier->model);
    if (settings->finetune_depth > 0 || settings->unfreeze_every > 0)
        train_parts_find(trainer->classifier->model, &trainer->parts);
    trainer->base_lr = settings->optimizer.lr;
    trainer->state.loader.seed = settings->seed;
    trainer->state.plateau.factor = settings->gamma;
    trainer->state.plateau.patience = settings->plateau_patience;
    if (settings->autocast == CR_F16)
        trainer->state.scaler = cr_grad_scaler_defaults();
    cr_model_checkpoint(trainer->classifier->model, settings->checkpoint_activations);
    cr_manual_seed(settings->seed);
    if (cr_failed())
        return cr_error_status();
    if (trainer->run.folder && trainer->run.resume && run_restore_last(trainer) != CR_OK)
        return cr_error_status();
    if (consistency_start(trainer) != CR_OK)
        return cr_error_status();
    return trainer->run.folder ? run_folder_make(trainer) : CR_OK;
}

static cr_status trainer_loop(struct trainer *trainer)
{
    run_log(trainer, "%s at step %lld: %s with %lld parameters on %s, %lld samples, %lld batches",
            trainer->state.steps ? "resumed" : "started", (long long)trainer->state.steps,
            trainer->classifier->bound.architecture->name,
            (long long)cr_model_parameter_count(trainer->classifier->model, false),
            cr_dataset_name(trainer->train), (long long)cr_dataset_size(trainer->train),
            (long long)trainer->batches);
    for (int64_t i = 0; i < trainer->run.note_count; i++)
        run_log(trainer, "%s", trainer->run.notes[i]);
    while (!trainer->state.is_over &&
           (int64_t)trainer->state.loader.epoch < trainer->settings.epochs) {
        if (train_epoch(trainer) != CR_OK || end_epoch(trainer) != CR_OK)
            return cr_error_status();
    }
    /* What is handed back is what was judged. */
    if (trainer->settings.swa_start > 0)
        return trainer_finish_swa(trainer);
    return trainer->average ? cr_average_swap(trainer->average) : CR_OK;
}

static void trainer_release(struct trainer *trainer)
{
    cr_loader_free(trainer->loader);
    cr_sampler_free(trainer->sampler);
    consistency_free(trainer);
    cr_contrast_free(trainer->contrast);
    cr_schedule_free(trainer->schedule);
    cr_average_free(trainer->average);
    train_parts_apply(&trainer->parts, trainer->classifier->model, trainer->parts.count);
    train_parts_free(&trainer->parts);
    cr_optim_free(trainer->optim);
    cr_release(trainer->class_weights);
}

cr_status cr_train(cr_classifier *classifier, cr_dataset *train, cr_dataset *validation,
                   cr_train_settings settings, cr_train_run run, cr_train_result *result)
{
    *result = (cr_train_result){ 0 };
    if (cr_failed())
        return cr_error_status();
    struct trainer trainer = { .classifier = classifier,
                               .train = train,
                               .validation = validation,
                               .settings = settings,
                               .run = run,
                               .result = result,
                               .started = cr_clock_seconds(),
                               .saved = cr_clock_seconds() };
    cr_status status = trainer_prepare(&trainer);
    if (status == CR_OK)
        status = trainer_loop(&trainer);
    result->best_epoch = trainer.state.best_epoch;
    result->steps = trainer.state.steps;
    result->seconds = trainer_seconds(&trainer);
    trainer_release(&trainer);
    return status;
}
