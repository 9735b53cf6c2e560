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

/* The samples at `indices`, which it takes over, also when it fails. */
cr_dataset *data_subset_new(cr_dataset *set, int64_t *indices, int64_t count);

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

/* A size, and what is wanted of the picture of that size. */
struct data_resizing {
    int64_t height, width;
    cr_image_box window;
};

/* Cuts out a box that may hang over the edges, where it becomes `fill`. */
cr_status data_cut(cr_image *image, cr_image *spare, const cr_image_box *box, uint8_t fill);

/* A box inside a picture, resized as if it were the whole picture, of which only the window is
 * made. */
cr_status data_resize_part(cr_image *image, cr_image *spare, const cr_image_box *box,
                           const struct data_resizing *to, enum data_interpolation interpolation);

/* What of a picture that reads, as a box inside `box`. */
cr_image_box data_resize_needs(const cr_image_box *box, const struct data_resizing *to,
                               enum data_interpolation interpolation);

/* The beginning of a list of transforms in one step. */
struct data_plan {
    int used; /* transforms of the list */
    cr_image_box box;
    struct data_resizing to;
    enum data_interpolation interpolation;
    cr_generator generator; /* after them */
};
void data_plan_make(const cr_transform_list *list, int64_t height, int64_t width,
                    cr_generator generator, struct data_plan *plan);

/* What of the picture is read; and the step itself, on a picture of which that part or more is in
 * memory. */
cr_image_box data_plan_needs(const struct data_plan *plan);
cr_status data_plan_apply(const struct data_plan *plan, const cr_image_part *part, cr_image *image,
                          cr_image *spare);

/* The box that a transform cuts out, if it does only that, or that it cuts out and resizes, if it
 * does only that. It may hang over the edges. */
bool data_crop_box(const cr_transform *transform, int64_t height, int64_t width,
                   cr_generator *generator, cr_image_box *box);
bool data_resized_crop_box(const cr_transform *transform, int64_t height, int64_t width,
                           cr_generator *generator, cr_image_box *box);

/* Of resize and random_resized_crop. */
enum data_interpolation data_interpolation_of(const cr_transform *transform);

/* Applies a list, of which the plan was made, to a picture of which a part is in memory. */
cr_status data_transform_part(const cr_transform_list *list, const struct data_plan *plan,
                              const cr_image_part *part, cr_image *image, cr_image *spare,
                              cr_shape shape, float *out);

/* What normalize makes of each byte of a channel, of 255 for 1; without a transform, the number
 * itself. */
void data_normalize_table(const cr_transform *transform, int64_t channel, float table[256]);

/* Resizes a picture as Pillow does; `spare` is changed, too. */
cr_status data_resize(cr_image *image, cr_image *spare, int64_t height, int64_t width,
                      enum data_interpolation interpolation);

/* Turns a picture counter-clockwise about its middle, in its own size unless it expands. */
cr_status data_rotate(cr_image *image, cr_image *spare, double degrees,
                      enum data_interpolation interpolation, bool expands, uint8_t fill);

/* Clockwise degrees, a scale, shears in degrees, and a translation in pixels. */
struct data_affine {
    double degrees;
    double scale;
    double shear_x;
    double shear_y;
    double right;
    double down;
    bool about_corner; /* the upper left one; false: about the middle */
};
cr_status data_affine(cr_image *image, cr_image *spare, const struct data_affine *affine,
                      enum data_interpolation interpolation, uint8_t fill);

/* A plane (height, width) blurred by a gaussian in a window of `size` (odd), mirrored at the edges.
 * False without memory. */
bool data_blur_plane(float *plane, int64_t height, int64_t width, int size, double sigma);

/* Changes of colour; factors are 1 for no change, that of hue 0. */
void data_brightness(cr_image *image, double factor);
void data_contrast(cr_image *image, double factor);
void data_saturation(cr_image *image, double factor);
void data_hue(cr_image *image, double factor);
cr_status data_sharpness(cr_image *image, cr_image *spare, double factor);
void data_invert(cr_image *image);
void data_posterize(cr_image *image, int bits);
void data_solarize(cr_image *image, double threshold);
void data_equalize(cr_image *image);
void data_autocontrast(cr_image *image);

/* The grey of an RGB pixel, and plain + factor (own - plain) rounded down as Pillow does. */
uint8_t data_grey(const uint8_t *rgb);
uint8_t data_blend(uint8_t plain, uint8_t own, float factor);

/* The kinds of transforms, in the files that hold them; transform_types.c lists them. */
extern const cr_transform_type data_resize_type, data_center_crop, data_corner_crop,
    data_random_crop, data_random_resized_crop, data_pad, data_flip, data_vertical_flip, data_crop,
    data_shift, data_rotate_type, data_affine_type, data_perspective_type, data_elastic_type,
    data_jitter_type, data_grayscale, data_random_grey, data_random_invert, data_random_posterize,
    data_random_solarize, data_random_equalize, data_random_autocontrast, data_blur,
    data_sharpness_type, data_randaugment, data_trivialaugment, data_autoaugment, data_erase,
    data_cutout, data_normalize;

/* Checks that many kinds of transforms share; see cr_transform_type. */
const char *data_check_probability(const cr_transform *transform, int64_t channels);
const char *data_check_size(const cr_transform *transform, int64_t channels);

/* Channels of a planar picture, interleaved into one that has its size already. */
void data_planes_to_pixels(const uint8_t *planes, cr_image *image);

#endif
