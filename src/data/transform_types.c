/* All kinds of transforms, in the order in which they are listed. */
#include "data/data.h"

static const cr_transform_type *const types[] = {
    &data_resize_type, &data_center_crop,   &data_random_crop, &data_random_resized_crop,
    &data_flip,        &data_vertical_flip, &data_crop,        &data_shift,
    &data_erase,       &data_cutout,        &data_normalize,
};

const cr_transform_type *cr_transform_type_at(int index)
{
    return index >= 0 && index < CR_COUNT_OF(types) ? types[index] : NULL;
}
