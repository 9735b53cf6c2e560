/* Pictures in memory: bytes of grey, RGB or RGBA, as decoders give them and as the transforms of
 * torchvision on Pillow's images take them. */
#ifndef CRESSET_IMAGE_H
#define CRESSET_IMAGE_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* No side of a picture is longer. */
#define CR_IMAGE_MAX_SIDE 65536

/* Zero is an empty picture. Owns its pixels. */
typedef struct cr_image {
    uint8_t *pixels; /* (height, width, channels), 0 to 255, contiguous */
    int64_t height;
    int64_t width;
    int channels; /* 1 grey, 3 RGB, 4 RGBA with colours that are not premultiplied */
    size_t room;  /* bytes at `pixels` */
} cr_image;

/* A box of a picture, in pixels. */
typedef struct cr_image_box {
    int64_t top, left, height, width;
} cr_image_box;

/* Which part of a picture is wanted: once its size is known, `choose` is asked for a box in it. */
typedef struct cr_image_wish {
    void (*choose)(void *context, int64_t height, int64_t width, cr_image_box *box);
    void *context;
} cr_image_wish;

/* Which part of a picture was read: `box` of one of this height and width. */
typedef struct cr_image_part {
    int64_t height, width;
    cr_image_box box;
} cr_image_part;

/* Gives a picture this size, with room for its pixels, whose values are then undefined. What it
 * held before is lost. Fails, the picture empty, for sides below 1 or over CR_IMAGE_MAX_SIDE and
 * for channels other than 1, 3 and 4. */
cr_status cr_image_resize_room(cr_image *image, int64_t height, int64_t width, int channels);

/* Frees the pixels and makes it empty; NULL is legal. */
void cr_image_free(cr_image *image);

/* A copy, into a picture whose room is used again. */
cr_status cr_image_copy(const cr_image *from, cr_image *to);

/* Converts in place as Pillow's convert does: RGB to grey by (19595 R + 38470 G + 7471 B + 32768) /
 * 65536, grey to RGB by repeating, RGBA to others by dropping what is transparent of it. */
cr_status cr_image_convert(cr_image *image, int channels);

/* The picture as a uint8 tensor (C, H, W), owned by the frame, and back from one. */
cr_tensor *cr_image_to_tensor(const cr_image *image);
cr_status cr_image_from_tensor(cr_tensor *tensor, cr_image *image);

#ifdef __cplusplus
}
#endif
#endif
