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

/* A set that reads from other sets of the library, of which `base` is one; of the source's get and
 * picture, that which `base` has is taken. */
cr_dataset *data_view_new(const cr_dataset *base, const cr_dataset_source *source);

/* The names of the classes, as a source's field. */
const char *const *data_class_names(const cr_dataset *set);

/* Checks every transform of a list against the kind of samples and their number of channels. */
cr_status data_transforms_fit(const cr_transform_list *list, bool pictures, int64_t channels);

/* The kind of transform of a name; NULL if there is none. */
const cr_transform_type *data_transform_find(const char *name);

/* How pixels between pixels are found; the order of the words of DATA_INTERPOLATIONS. */
enum data_interpolation {
    DATA_NEAREST,
    DATA_BILINEAR,
    DATA_BICUBIC,
    DATA_BOX,
    DATA_HAMMING,
    DATA_LANCZOS
};
#define DATA_INTERPOLATIONS "nearest bilinear bicubic box hamming lanczos"

/* Exchanges two pictures. */
void data_image_swap(cr_image *a, cr_image *b);

/* Resizes a picture as Pillow does; `spare` is changed, too. */
cr_status data_resize(cr_image *image, cr_image *spare, int64_t height, int64_t width,
                      enum data_interpolation interpolation);

/* The kinds of transforms, in the files that hold them; transform_types.c lists them. */
extern const cr_transform_type data_resize_type, data_center_crop, data_random_crop,
    data_random_resized_crop, data_flip, data_vertical_flip, data_crop, data_shift, data_erase,
    data_cutout, data_normalize;

/* Checks that many kinds of transforms share; see cr_transform_type. */
const char *data_check_probability(const cr_transform *transform, int64_t channels);
const char *data_check_size(const cr_transform *transform, int64_t channels);

/* Channels of a planar picture, interleaved into one that has its size already. */
void data_planes_to_pixels(const uint8_t *planes, cr_image *image);

#endif
