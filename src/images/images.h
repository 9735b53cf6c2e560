/* What the decoders of this folder share with each other. */
#ifndef CR_IMAGES_IMAGES_H
#define CR_IMAGES_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"
#include "cresset/image_file.h"
#include "cresset/image_sets.h"
#include "cresset/memory.h"
#include "cresset/tar_file.h"

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
    int wanted; /* channels, 0 for the picture's own; a decoder may give them at once, or its own */
    int64_t width;
    int64_t height;
    int channels;
    int orientation;           /* of EXIF, 1 to 8; applied by the caller */
    const cr_image_wish *wish; /* NULL: the whole picture; a decoder may give it in any case */
    cr_image_box box;          /* what a decoder gives of it; of height 0: the whole */
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

/* ---- sets ---- */

/* A list of pictures as it grows, and then what a set reads: files, or entries of tar archives. */
struct picture_list {
    int64_t count;
    int64_t room;
    char **paths;
    int64_t *labels;
    int class_count;
    char **class_names;
    int channels;
    /* Of samples with several labels, (count, class_count) of 0 and 1; NULL: there are none. */
    uint8_t *targets;
    /* Of shards: where each picture stands, and the archives; NULL for pictures in own files. */
    struct picture_place {
        int64_t entry;
        int tar;
    } * places;
    cr_tar **tars;
    int tar_count;
};

/* Adds a picture and takes over its path, also when it fails. */
cr_status images_list_add(struct picture_list *list, char *path, int64_t label);

/* The number of a class by its name, -1 if it is none; and a new class, whose number it gives. */
int images_list_find_class(const struct picture_list *list, const char *name);
int images_list_add_class(struct picture_list *list, const char *name);

/* Adds the classes that are given, if any are. */
cr_status images_list_take_classes(struct picture_list *list, const cr_image_set_args *args);

/* A set of the list, which is taken over, also when it fails. */
cr_dataset *images_list_open(struct picture_list *list, const cr_image_set_args *args);
void images_list_free(struct picture_list *list);

/* The names in a folder that do not begin with a dot, sorted as bytes; freed with names_free. */
struct name_list {
    char **names;
    int64_t count;
};
cr_status images_list_folder(const char *folder, struct name_list *names);
void images_names_free(struct name_list *names);

/* True if a path ends so, in either case. */
bool images_has_ending(const char *path, const char *ending);

#endif
