/* Which samples an epoch has, and how much each class counts in the loss. */
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "train/train_run.h"

/* Draws `count` of all samples anew for each epoch, without replacement. */
static cr_sampler *sampler_some(int64_t size, int64_t count)
{
    double *weights = cr_alloc_array((size_t)size, sizeof *weights);
    if (!weights)
        return NULL;
    for (int64_t i = 0; i < size; i++)
        weights[i] = 1;
    cr_sampler *sampler = cr_sampler_weighted(weights, size, count, count <= size);
    cr_free(weights);
    return sampler;
}

cr_sampler *cr_train_sampler(cr_dataset *train, const cr_train_settings *settings)
{
    int64_t size = cr_dataset_size(train);
    int64_t draws = settings->samples_per_epoch;
    if (settings->balanced && cr_dataset_has_targets(train)) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "samples with several labels cannot be drawn so that classes come equally "
                     "often; weigh rare labels in the loss instead (class weights)");
        return NULL;
    }
    if (settings->balanced)
        return cr_sampler_balanced(train, draws);
    return draws > 0 && draws != size ? sampler_some(size, draws) : cr_sampler_random(size);
}

/* Weights that make each class count alike, however rare: samples / (classes * of the class). */
cr_tensor *train_class_weights(cr_dataset *set, int64_t classes)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *weights = cr_zeros(CR_SHAPE(classes));
    float *counts = weights ? cr_data(weights) : NULL;
    int64_t labelled = 0;
    for (int64_t i = 0; counts && i < cr_dataset_size(set); i++) {
        int64_t label;
        if (cr_dataset_label(set, i, &label) != CR_OK)
            break;
        if (label >= 0 && label < classes) {
            counts[label]++;
            labelled++;
        }
    }
    for (int64_t c = 0; counts && c < classes; c++)
        counts[c] = counts[c] > 0 ? (float)labelled / ((float)classes * counts[c]) : 0;
    cr_retain(weights);
    cr_frame_end(frame);
    return weights;
}
