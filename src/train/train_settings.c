/* The settings of a run: defaults, checks, the schedule they mean, and their JSON form. */
#include <math.h>
#include <string.h>

#include "train/train_run.h"

static const char *const schedule_names[CR_TRAIN_SCHEDULE_COUNT] = {
#define SCHEDULE_NAME(name, word) word,
    CR_TRAIN_SCHEDULE_TABLE(SCHEDULE_NAME)
#undef SCHEDULE_NAME
};

const char *cr_train_schedule_name(cr_train_schedule schedule)
{
    return (unsigned)schedule < CR_TRAIN_SCHEDULE_COUNT ? schedule_names[schedule] : "unknown";
}

cr_train_schedule cr_train_schedule_find(const char *word)
{
    int found = cr_word_find("schedule", word, schedule_names, CR_TRAIN_SCHEDULE_COUNT);
    return found < 0 ? CR_TRAIN_SCHEDULE_COUNT : (cr_train_schedule)found;
}

cr_train_settings cr_train_defaults(void)
{
    return (cr_train_settings){ .epochs = 10,
                                .batch_size = 128,
                                .optimizer = cr_optim_defaults(CR_OPTIM_ADAMW),
                                .schedule = CR_TRAIN_COSINE,
                                .consistency = { .ratio = 7, .threshold = 0.95, .weight = 1 },
                                .workers = 2 };
}

cr_status train_settings_check(const cr_train_settings *settings)
{
    if (settings->epochs < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "the number of epochs must be at least 1, not %lld",
                            (long long)settings->epochs);
    if (settings->batch_size < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "the batch size must be at least 1, not %lld",
                            (long long)settings->batch_size);
    if (settings->workers < 0 || settings->workers > 256)
        return cr_error_set(CR_ERROR_ARGUMENT, "the number of workers must lie in 0 to 256, not %d",
                            settings->workers);
    const cr_consistency_settings *consistency = &settings->consistency;
    if (consistency->data && (consistency->ratio < 1 || !(consistency->weight >= 0) ||
                              !(consistency->threshold >= 0 && consistency->threshold <= 1)))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "consistency needs a ratio of 1 at least, a threshold in [0, 1] and a "
                            "weight of 0 at least, not %lld, %g and %g",
                            (long long)consistency->ratio, consistency->threshold,
                            consistency->weight);
    if (consistency->data && consistency->teacher && settings->ema_decay == 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "a teacher is the moving average of the weights "
                                               "(EMA), which has no decay");
    if (settings->contrast.method != CR_CONTRAST_NONE &&
        (consistency->data || settings->mixup > 0 || settings->cutmix > 0 ||
         settings->accumulate > 1 || settings->swa_start > 0))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "pretraining by contrast goes without mixed samples, consistency, "
                            "accumulated gradients and the average of epochs");
    if (!(settings->label_smoothing >= 0 && settings->label_smoothing < 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "the label smoothing must lie in [0, 1), not %g",
                            settings->label_smoothing);
    if (!(settings->mixup >= 0 && settings->cutmix >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "alpha of mixup and cutmix must be 0 or more, "
                            "not %g and %g",
                            settings->mixup, settings->cutmix);
    if (!(settings->ema_decay >= 0 && settings->ema_decay < 1))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the decay of the average must lie in [0, 1), not %g",
                            settings->ema_decay);
    if (settings->swa_start > 0 && settings->ema_decay > 0)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the moving average (EMA) and the average of epochs (SWA) exclude each "
                            "other; choose one");
    if (settings->swa_start < 0 || settings->swa_start > settings->epochs)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the average of weights cannot begin after epoch %lld of %lld",
                            (long long)settings->swa_start, (long long)settings->epochs);
    if (settings->finetune_depth < 0 || settings->unfreeze_every < 0 || !(settings->swa_lr >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the parts to train, the epochs between them and the learning rate of "
                            "the average cannot be negative");
    if (!(settings->warmup_epochs >= 0) || settings->warmup_epochs >= (double)settings->epochs)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the warm-up of %g epochs must be shorter than the run of %lld",
                            settings->warmup_epochs, (long long)settings->epochs);
    cr_dtype autocast = settings->autocast;
    if (autocast != CR_F32 && autocast != CR_BF16 && autocast != CR_F16)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "autocast computes in float32, bfloat16 or float16, not in %s",
                            cr_dtype_name(autocast));
    if (settings->optimizer.kind == CR_OPTIM_LBFGS)
        return cr_error_set(
            CR_ERROR_UNSUPPORTED,
            "lbfgs evaluates each batch several times and does not suit training by "
            "batches; choose another optimizer");
    return CR_OK;
}

static double or_default(double value, double fallback)
{
    return value != 0 ? value : fallback;
}

static cr_schedule *multistep_make(const cr_train_settings *settings, double per_epoch)
{
    int64_t milestones[CR_TRAIN_MAX_MILESTONES];
    for (int i = 0; i < settings->milestone_count; i++)
        milestones[i] = llround(settings->milestones[i] * per_epoch);
    return cr_schedule_multistep(milestones, settings->milestone_count,
                                 or_default(settings->gamma, 0.1));
}

static cr_schedule *main_make(const cr_train_settings *settings, int64_t total, double per_epoch)
{
    double gamma = or_default(settings->gamma, 0.1);
    double step = or_default(settings->step_epochs, (double)settings->epochs / 3);
    int64_t period = llround(fmax(step * per_epoch, 1));
    switch (settings->schedule) {
    case CR_TRAIN_STEP:
        return cr_schedule_step(period, gamma);
    case CR_TRAIN_MULTISTEP:
        return multistep_make(settings, per_epoch);
    case CR_TRAIN_EXPONENTIAL:
        return cr_schedule_exponential(pow(gamma, 1 / per_epoch));
    case CR_TRAIN_POLYNOMIAL:
        return cr_schedule_polynomial(total, or_default(settings->power, 1));
    case CR_TRAIN_COSINE:
        return cr_schedule_cosine(total, settings->lr_min);
    case CR_TRAIN_RESTARTS:
        return cr_schedule_cosine_restarts(period, 2, settings->lr_min);
    case CR_TRAIN_ONE_CYCLE:
        return cr_schedule_one_cycle((cr_one_cycle_args){ .total = total });
    default:
        return cr_schedule_constant();
    }
}

cr_schedule *train_schedule_make(const cr_train_settings *settings, int64_t steps_per_epoch)
{
    int64_t total = settings->epochs * steps_per_epoch;
    int64_t warm = llround(settings->warmup_epochs * (double)steps_per_epoch);
    if (warm == 0)
        return main_make(settings, total, (double)steps_per_epoch);
    cr_schedule *parts[2] = {
        cr_schedule_linear(warm, 0.01, 1),
        main_make(settings, total > warm ? total - warm : 1, (double)steps_per_epoch),
    };
    return cr_schedule_sequential(parts, (const int64_t[]){ 0, warm }, 2);
}

/* ---- JSON ---- */

static json_t *optimizer_json(const cr_optim_settings *settings)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:b, s:f, s:f, s:f}", "name",
                     cr_optim_name(settings->kind), "lr", settings->lr, "weight_decay",
                     settings->weight_decay, "momentum", settings->momentum, "nesterov",
                     (int)settings->nesterov, "beta1", settings->beta1, "beta2", settings->beta2,
                     "eps", settings->eps);
}

char *train_settings_json(const cr_train_settings *settings)
{
    cr_text augment = { 0 };
    cr_transform_print(&settings->augment, &augment);
    json_t *root = json_pack(
        "{s:I, s:I, s:o, s:s, s:f, s:f, s:f, s:f, s:I, s:f, s:I, s:f, s:I, s:I, s:s, s:I, s:i, "
        "s:I, s:b, s:b, s:s}",
        "epochs", (json_int_t)settings->epochs, "batch_size", (json_int_t)settings->batch_size,
        "optimizer", optimizer_json(&settings->optimizer), "schedule",
        cr_train_schedule_name(settings->schedule), "warmup_epochs", settings->warmup_epochs,
        "label_smoothing", settings->label_smoothing, "clip_norm", settings->clip_norm,
        "clip_value", settings->clip_value, "accumulate",
        (json_int_t)(settings->accumulate ? settings->accumulate : 1), "ema_decay",
        settings->ema_decay, "swa_start", (json_int_t)settings->swa_start, "swa_lr",
        settings->swa_lr, "finetune_depth", (json_int_t)settings->finetune_depth, "unfreeze_every",
        (json_int_t)settings->unfreeze_every, "augment", augment.data ? augment.data : "", "seed",
        (json_int_t)settings->seed, "workers", settings->workers, "early_stopping",
        (json_int_t)settings->early_stopping, "balanced", (int)settings->balanced,
        "checkpoint_activations", (int)settings->checkpoint_activations, "autocast",
        cr_dtype_name(settings->autocast));
    cr_text_free(&augment);
    return json_text(root, JSON_INDENT(2), "the settings");
}
