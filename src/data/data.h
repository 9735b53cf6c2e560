/* What the data sets of this folder share with each other but not with users. */
#ifndef CR_DATA_DATA_H
#define CR_DATA_DATA_H

#include "base/base.h"
#include "cresset/data.h"

/* What random numbers are drawn for. Each purpose has its own, so that turning augmentation on does
 * not change the order. */
enum data_purpose { DATA_ORDER = 1, DATA_TRANSFORM, DATA_SPLIT };

/* The generator of one item of work; (seed, purpose, epoch) make the key, item the stream. */
cr_generator data_generator(uint64_t seed, enum data_purpose purpose, uint64_t epoch,
                            uint64_t item);

/* A set that reads from other sets of the library. */
cr_dataset *data_view_new(const cr_dataset_source *source);

/* The names of the classes, as a source's field. */
const char *const *data_class_names(const cr_dataset *set);

/* Checks every transform of a list against the number of channels. */
cr_status data_transforms_fit(const cr_transform_list *list, int64_t channels);

#endif
