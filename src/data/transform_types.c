/* All kinds of transforms, in the order in which they are listed. */
#include "data/data.h"

static const cr_transform_type *const types[] = {
    &data_resize_type,
    &data_center_crop,
    &data_corner_crop,
    &data_random_crop,
    &data_random_resized_crop,
    &data_pad,
    &data_flip,
    &data_vertical_flip,
    &data_crop,
    &data_shift,
    &data_rotate_type,
    &data_affine_type,
    &data_perspective_type,
    &data_elastic_type,
    &data_jitter_type,
    &data_grayscale,
    &data_random_grey,
    &data_random_invert,
    &data_random_posterize,
    &data_random_solarize,
    &data_random_equalize,
    &data_random_autocontrast,
    &data_blur,
    &data_sharpness_type,
    &data_randaugment,
    &data_trivialaugment,
    &data_autoaugment,
    &data_erase,
    &data_cutout,
    &data_normalize,
};

const cr_transform_type *cr_transform_type_at(int index)
{
    return index >= 0 && index < CR_COUNT_OF(types) ? types[index] : NULL;
}
