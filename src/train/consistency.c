/* Consistency on samples without labels (FixMatch), as a term of the loss of training: each batch
 * comes with some of them, twice, weakly and strongly changed. Two loaders give them in the same
 * order, for it is one of a seed; which samples come with a batch depends on the batch's number
 * alone, so that a resumed run needs no state of its own. */
#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/self_supervised.h"
#include "train/train_run.h"

#define ORDER_SEED 0x756e6c6162656c65u /* apart from the order of the samples with labels */

struct train_consistency {
    cr_sampler *sampler;
    cr_loader *weak, *strong;
    int64_t batches; /* of an epoch of theirs */
};

cr_tensor *cr_fixmatch_loss(cr_tensor *weak, cr_tensor *strong, double threshold, double *confident)
{
    cr_tensor *probabilities = cr_softmax(cr_detach(weak), 1);
    int64_t last[] = { 1 };
    cr_tensor *highest = cr_amax(probabilities, cr_shape_make(1, last), false);
    cr_tensor *pseudo = cr_argmax(probabilities, 1, false);
    cr_tensor *mask = cr_ge_scalar(highest, threshold);
    if (!mask)
        return NULL;
    mask = cr_to_dtype(mask, cr_dtype_of(strong));
    if (confident)
        *confident = cr_item(cr_mean(mask));
    cr_tensor *losses = cr_cross_entropy(strong, pseudo, .reduction = CR_REDUCTION_NONE);
    return cr_mean(cr_mul(losses, mask));
}

static cr_loader *make_loader(const struct trainer *trainer, cr_sampler *sampler,
                              const cr_transform_list *changes)
{
    const cr_consistency_settings *consistency = &trainer->settings.consistency;
    cr_transform_list transforms;
    if (cr_transform_join(changes, &trainer->classifier->transforms, &transforms) != CR_OK)
        return NULL;
    return cr_loader_new(
        consistency->data, .batch_size = consistency->ratio * trainer->settings.batch_size,
        .sampler = sampler, .drop_last = true, .workers = trainer->settings.workers,
        .seed = trainer->settings.seed ^ ORDER_SEED, .transforms = &transforms);
}

static cr_status check(const struct trainer *trainer, const struct train_consistency *consistency)
{
    const cr_consistency_settings *settings = &trainer->settings.consistency;
    if (consistency->batches > 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "%s has %lld samples without labels, and %lld come with each batch; make "
                        "batches or their ratio smaller",
                        cr_dataset_name(settings->data), (long long)cr_dataset_size(settings->data),
                        (long long)(settings->ratio * trainer->settings.batch_size));
}

/* Both loaders at what comes with batch `number` of the run. */
static cr_status start(struct train_consistency *consistency, int64_t size, int64_t number)
{
    uint64_t epoch = (uint64_t)(number / consistency->batches);
    int64_t position = number % consistency->batches * size;
    if (cr_loader_start(consistency->weak, epoch, position) != CR_OK)
        return cr_error_status();
    return cr_loader_start(consistency->strong, epoch, position);
}

cr_status consistency_make(struct trainer *trainer)
{
    const cr_consistency_settings *settings = &trainer->settings.consistency;
    if (!settings->data)
        return CR_OK;
    if (trainer->classifier->has_several_labels)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "consistency on samples without labels is for one label a sample, and "
                            "those of %s have several",
                            cr_dataset_name(trainer->train));
    struct train_consistency *consistency = cr_alloc_zeroed(1, sizeof *consistency);
    trainer->consistency = consistency;
    if (!consistency)
        return cr_error_status();
    consistency->sampler = cr_sampler_random(cr_dataset_size(settings->data));
    if (!consistency->sampler)
        return cr_error_status();
    consistency->weak = make_loader(trainer, consistency->sampler, &trainer->settings.augment);
    consistency->strong = make_loader(trainer, consistency->sampler, &settings->strong);
    if (!consistency->weak || !consistency->strong)
        return cr_error_status();
    consistency->batches = cr_loader_batch_count(consistency->weak);
    return check(trainer, consistency);
}

cr_status consistency_start(struct trainer *trainer)
{
    if (!trainer->consistency)
        return CR_OK;
    const struct train_state *state = &trainer->state;
    int64_t size = trainer->settings.batch_size;
    int64_t done = (state->loader.position + size - 1) / size;
    return start(trainer->consistency, trainer->settings.consistency.ratio * size,
                 (int64_t)state->loader.epoch * trainer->batches + done);
}

void consistency_free(struct trainer *trainer)
{
    struct train_consistency *consistency = trainer->consistency;
    if (!consistency)
        return;
    cr_loader_free(consistency->weak);
    cr_loader_free(consistency->strong);
    cr_sampler_free(consistency->sampler);
    cr_free(consistency);
    trainer->consistency = NULL;
}

/* The next batch of a loader, whose epochs follow one another. */
static bool next(cr_loader *loader, cr_batch *batch)
{
    if (cr_loader_next(loader, batch))
        return true;
    if (cr_failed() || cr_loader_start(loader, cr_loader_get_state(loader).epoch + 1, 0) != CR_OK)
        return false;
    return cr_loader_next(loader, batch);
}

/* What the teacher, the average of the weights in eval mode, says of weakly changed samples. */
static cr_tensor *ask_teacher(const struct trainer *trainer, cr_tensor *samples)
{
    bool was = cr_set_grad_enabled(false);
    cr_average_swap(trainer->average);
    cr_model_train(trainer->classifier->model, false);
    cr_tensor *logits = cr_classifier_forward(trainer->classifier, samples);
    cr_model_train(trainer->classifier->model, true);
    cr_average_swap(trainer->average);
    cr_set_grad_enabled(was);
    return logits;
}

cr_tensor *consistency_forward(const struct trainer *trainer, cr_tensor *samples, cr_tensor **term)
{
    struct train_consistency *consistency = trainer->consistency;
    const cr_consistency_settings *settings = &trainer->settings.consistency;
    cr_batch weak, strong;
    if (!next(consistency->weak, &weak) || !next(consistency->strong, &strong))
        return NULL;
    bool has_teacher = settings->teacher && trainer->average;
    cr_tensor *said = has_teacher ? ask_teacher(trainer, weak.samples) : NULL;
    cr_tensor *all = has_teacher ? cr_cat_of(0, samples, strong.samples)
                                 : cr_cat_of(0, samples, weak.samples, strong.samples);
    cr_tensor *logits = cr_classifier_forward(trainer->classifier, all);
    if (!logits)
        return NULL;
    int64_t labelled = cr_dim(samples, 0);
    if (!has_teacher)
        said = cr_narrow(logits, 0, labelled, weak.size);
    cr_tensor *answers =
        cr_narrow(logits, 0, labelled + (has_teacher ? 0 : weak.size), strong.size);
    *term =
        cr_mul_scalar(cr_fixmatch_loss(said, answers, settings->threshold, NULL), settings->weight);
    return cr_narrow(logits, 0, 0, labelled);
}
