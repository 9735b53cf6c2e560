/* Pictures without labels, and few with: for `cresset train --unlabeled` and `cresset pretrain`. */
#include "cli.h"
#include "cresset/memory.h"

#define ANY_LABEL "." /* finds the same in all paths: they begin with the folder's */

/* The first `count` of an order in which classes come equally often, and in each every sample comes
 * once before any comes twice. */
static cr_dataset *few_of(cr_dataset *set, int64_t count, uint64_t seed)
{
    cr_dataset *few = NULL;
    int64_t *indices = cr_alloc_array((size_t)count, sizeof *indices);
    cr_sampler *sampler = indices ? cr_sampler_balanced(set, count) : NULL;
    if (sampler && cr_sampler_order(sampler, seed, 0, indices) == CR_OK)
        few = cr_dataset_subset(set, indices, count);
    cr_sampler_free(sampler);
    cr_free(indices);
    return few;
}

bool keep_labels(training_data *data, int64_t count, uint64_t seed)
{
    if (count > cr_dataset_size(data->train)) {
        cr_error_set(CR_ERROR_ARGUMENT, "--labels %lld is more than the %lld samples there are",
                     (long long)count, (long long)cr_dataset_size(data->train));
        return false;
    }
    cr_dataset *few = few_of(data->train, count, seed);
    if (!few)
        return false;
    cr_dataset_free(data->train);
    data->train = few;
    return true;
}

cr_dataset *open_unlabeled(const char *name)
{
    cr_image_parts parts;
    data_request request = { .name = name };
    if (!open_data_parts(&request, &parts)) {
        cr_error_clear();
        request.label_by = ANY_LABEL;
        if (!open_data_parts(&request, &parts))
            return NULL;
    }
    cr_dataset *set = cr_dataset_retain(parts.train);
    cr_image_parts_free(&parts);
    if (!set)
        cr_error_set(CR_ERROR_IO, "%s has no training part to take pictures from", name);
    return set;
}
