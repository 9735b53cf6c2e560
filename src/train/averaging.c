/* The end of a run with stochastic weight averaging (Izmailov et al., "Averaging weights leads to
 * wider optima", 2018): the average takes the model's place, batch norm's statistics are measured
 * anew on training batches, and it is judged against the best epoch. */
#include <math.h>

#include "train/train_run.h"

static bool has_batch_norm(const cr_model *model)
{
    bool found = false;
    for (int i = 0; i < cr_model_tensor_count(model); i++)
        found |= cr_pattern_match("*running_mean", cr_model_tensor_at(model, i).name);
    return found;
}

static cr_tensor *next_samples(void *context)
{
    cr_batch batch;
    return cr_loader_next(context, &batch) ? batch.samples : NULL;
}

/* Batches of an epoch of their own, as training has them. */
static cr_status update_batch_norm(struct trainer *trainer)
{
    cr_classifier *classifier = trainer->classifier;
    cr_loader_state state = { .seed = trainer->settings.seed,
                              .epoch = (uint64_t)trainer->settings.epochs };
    if (!has_batch_norm(classifier->model))
        return CR_OK;
    if (cr_loader_resume(trainer->loader, state) != CR_OK)
        return cr_error_status();
    return cr_update_batch_norm(classifier->model, cr_run_architecture, &classifier->bound,
                                next_samples, trainer->loader);
}

cr_status trainer_finish_swa(struct trainer *trainer)
{
    cr_train_result *result = trainer->result;
    int64_t last = (int64_t)trainer->state.loader.epoch;
    cr_train_epoch judged = { .epoch = last };
    if (last < trainer->settings.swa_start)
        return CR_OK; /* stopped early, before there was anything to average */
    if (cr_average_swap(trainer->average) != CR_OK || update_batch_norm(trainer) != CR_OK ||
        trainer_validate(trainer, &judged) != CR_OK)
        return cr_error_status();
    result->averaged = true;
    result->average_loss = judged.validation_loss;
    result->average_accuracy = judged.validation_accuracy;
    result->average_is_best =
        !trainer->validation || trainer_score(trainer, &judged) >= trainer->state.best;
    run_log(trainer,
            "the average of epochs %lld to %lld: validation loss %.4f, validation accuracy %.2f "
            "%%%s",
            (long long)trainer->settings.swa_start, (long long)last, judged.validation_loss,
            100 * judged.validation_accuracy, result->average_is_best ? " (best)" : "");
    return result->average_is_best && trainer->run.folder ? run_save_best(trainer) : CR_OK;
}
