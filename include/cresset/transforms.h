/* Transforms: what is done to a sample before it is seen, for training at random.
 *
 *     cr_transform_list list = { 0 };
 *     cr_transform_parse("resize:256,center_crop:224,flip,normalize:0.5:0.25", &list);
 *
 * A text names transforms in the order in which they are applied, each with its parameters after
 * colons, by position or by name ("rotate:10:fill=128"). A list has two parts, as in torchvision:
 * first come those of pictures (bytes of any size; resize, rotate, …), then, once the picture is a
 * float32 tensor of 0 … 1, those of tensors (normalize, erase, …). Some (flip, crop, …) may stand
 * in both. cr_transform_type_at lists all of them with their parameters. */
#ifndef CRESSET_TRANSFORMS_H
#define CRESSET_TRANSFORMS_H

#include "cresset/image.h"
#include "cresset/random.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CR_TRANSFORM_PARAMETERS 8
#define CR_TRANSFORM_MAX        24

typedef struct cr_sample {
    float *data; /* (channels, height, width), contiguous; changed in place */
    int64_t channels;
    int64_t height;
    int64_t width;
} cr_sample;

typedef struct cr_transform cr_transform;

typedef struct cr_transform_parameter {
    const char *name;  /* "degrees"; NULL: it goes by its position only */
    double fallback;   /* its value when it is not given */
    const char *words; /* "nearest bilinear bicubic": it is one of these, by its index; NULL: any */
} cr_transform_parameter;

/* A kind of transform. What it does draws from `generator` only, which is the sample's own, and may
 * be called from many threads at once. */
typedef struct cr_transform_type {
    const char *name;
    const char *about; /* for the manual: one sentence without its stop */
    int least;         /* parameters that must be given */
    int most;
    cr_transform_parameter parameters[CR_TRANSFORM_PARAMETERS];
    /* NULL if the parameters are in their range and fit samples of this many channels (0: not known
     * yet), else what is needed ("a probability"). May be NULL. */
    const char *(*check)(const cr_transform *transform, int64_t channels);
    /* Changes the shape (C, H, W) of what goes in to that of what comes out. Sizes that differ from
     * picture to picture are -1. NULL: it stays as it is. */
    void (*shape)(const cr_transform *transform, cr_shape *shape);
    /* On a picture; `spare` is another, to be used at will, for instance swapped with it. NULL:
     * this one is for tensors. */
    cr_status (*picture)(const cr_transform *transform, cr_image *image, cr_image *spare,
                         cr_generator *generator);
    /* On a tensor, whose shape stays. NULL: this one is for pictures. */
    void (*apply)(const cr_transform *transform, cr_sample *sample, cr_generator *generator);
} cr_transform_type;

struct cr_transform {
    const cr_transform_type *type;
    int count; /* of parameters up to the last that was given; the rest have their defaults */
    double parameters[CR_TRANSFORM_PARAMETERS];
};

/* Zero is the empty list. A plain value: copied by assignment, nothing to free. */
typedef struct cr_transform_list {
    int count;
    cr_transform items[CR_TRANSFORM_MAX];
} cr_transform_list;

/* Appends what a text such as "flip,crop:4,erase:0.25" says; "" appends nothing. On failure the
 * list is as it was. */
cr_status cr_transform_parse(const char *text, cr_transform_list *list);

/* Appends one transform of any type, with `count` parameters (the rest by default). */
cr_status cr_transform_add(cr_transform_list *list, const cr_transform_type *type,
                           const double *parameters, int count);

/* Appends normalize with a mean and a deviation for each of up to 4 channels. */
cr_status cr_transform_add_normalize(cr_transform_list *list, const double *means,
                                     const double *deviations, int channels);

/* Appends the text of a list, which parse reads back to the same list. */
void cr_transform_print(const cr_transform_list *list, cr_text *text);

/* The known types in order; NULL past the last. */
const cr_transform_type *cr_transform_type_at(int index);

/* The shape of what a list makes of samples of a shape (C, H, W), where -1 is what differs from one
 * to the next. NULL as a list does nothing. */
cr_shape cr_transform_shape(const cr_transform_list *list, cr_shape shape);

/* What is done in training: the augmentation, and what evaluation does with `own`. That order is:
 * pictures get their size as in evaluation, unless the augmentation sets one itself
 * (random_resized_crop, …), then the augmentation comes, then evaluation's transforms of tensors.
 */
cr_status cr_transform_join(const cr_transform_list *augment, const cr_transform_list *own,
                            cr_transform_list *joined);

/* What test-time augmentation sees of each picture: X(NAME, word, in words) */
#define CR_VIEWS_TABLE(X)                                                                          \
    X(ONE, "none", "the picture as in evaluation")                                                 \
    X(FLIP, "flip", "the picture and its mirror image")                                            \
    X(FLIPS, "flips", "the picture, mirrored left to right, upside down, and both")                \
    X(FIVE_CROP, "five_crop", "the middle and the four corners")                                   \
    X(TEN_CROP, "ten_crop", "the middle and the four corners, and their mirror images")

typedef enum cr_views {
#define CR_VIEWS_ENUM(name, word, about) CR_VIEWS_##name,
    CR_VIEWS_TABLE(CR_VIEWS_ENUM)
#undef CR_VIEWS_ENUM
        CR_VIEWS_COUNT
} cr_views;

const char *cr_views_word(cr_views views);
const char *cr_views_about(cr_views views);

/* The lists that make these views where `own` makes the picture of evaluation, which comes first.
 * Crops are torchvision's five_crop and ten_crop: they take the place of the list's last
 * center_crop. Returns how many there are; 0 on failure. */
#define CR_MOST_VIEWS 10
int cr_transform_views(const cr_transform_list *own, cr_views views,
                       cr_transform_list lists[CR_MOST_VIEWS]);

/* Applies the transforms of tensors and those of either kind to the sample at a position of an
 * epoch, as the loader does with sets of float32. The result depends on these arguments alone. NULL
 * as a list does nothing. */
void cr_transform_apply(const cr_transform_list *list, cr_sample *sample, uint64_t seed,
                        uint64_t epoch, int64_t position);

/* Applies a list to the picture at a position of an epoch, which it changes, and writes the float32
 * sample (C, H, W) of 0 … 1 to `out`, whose shape has to be `shape`; on failure says what went
 * wrong. */
cr_status cr_transform_picture(const cr_transform_list *list, cr_image *image, cr_image *spare,
                               uint64_t seed, uint64_t epoch, int64_t position, cr_shape shape,
                               float *out);

#ifdef __cplusplus
}
#endif
#endif
