/* What the decoders of this folder share with each other. */
#ifndef CR_IMAGES_IMAGES_H
#define CR_IMAGES_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"

#define IMAGES_MIN(a, b) ((a) < (b) ? (a) : (b))
#define IMAGES_MAX(a, b) ((a) > (b) ? (a) : (b))

/* A file in memory. */
struct image_source {
    const uint8_t *data;
    size_t size;
    const char *name; /* for messages */
};

/* What a decoder finds. If `image` is NULL only the header is read. */
struct image_result {
    cr_image *image;
    int64_t width;
    int64_t height;
    int channels;
    int orientation; /* of EXIF, 1 to 8; applied by the caller */
};

/* Decoders: each fills a result, whose orientation is 1 before. */
cr_status images_decode_jpeg(const struct image_source *source, struct image_result *result);
cr_status images_decode_png(const struct image_source *source, struct image_result *result);
cr_status images_decode_webp(const struct image_source *source, struct image_result *result);
cr_status images_decode_tiff(const struct image_source *source, struct image_result *result);
cr_status images_decode_bmp(const struct image_source *source, struct image_result *result);
cr_status images_decode_pnm(const struct image_source *source, struct image_result *result);

/* Takes the size of a picture from its header, refuses one that is empty or too large, and makes
 * room for the pixels if they are wanted. */
cr_status images_take_size(const struct image_source *source, struct image_result *result,
                           int64_t width, int64_t height, int channels);

/* Records that a file is damaged, or that it ends too early. */
cr_status images_damaged(const struct image_source *source, const char *format, const char *what);
cr_status images_truncated(const struct image_source *source, const char *format);

/* The orientation that a block of EXIF (from its byte order on, or from "Exif\0\0" on) asks for; 1
 * if it has none. */
int images_exif_orientation(const uint8_t *data, size_t size);

/* CMYK with 255 for full ink to RGB, as Pillow converts it. */
void images_cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t count);

#endif
