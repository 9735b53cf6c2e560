/* Pictures in files: JPEG, PNG, WebP, TIFF, BMP and PNM, read whole into bytes; PNG and JPEG
 * written. The component cresset_images (-lcresset_images), which needs libjpeg, libpng, libwebp
 * and libtiff.
 *
 *     cr_image image = { 0 };
 *     if (cr_image_read("scan.jpeg", 3, &image) == CR_OK)
 *         …image.pixels (image.height, image.width, 3)…
 *     cr_image_free(&image);
 *
 * The pixels are those that Pillow gives, with the rotation of EXIF applied (as by its
 * exif_transpose): CMYK becomes RGB, 16 bits keep their upper 8, palettes and transparent colours
 * are expanded, of an animation the first frame is read. Colour profiles are not applied. Nothing
 * of a file is trusted: a header that asks for too much and a file that ends too early are refused
 * with a sentence that names the file. All functions may be called from many threads at once. */
#ifndef CRESSET_IMAGE_FILE_H
#define CRESSET_IMAGE_FILE_H

#include "cresset/image.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* No picture of more pixels is read, and no file of more bytes. */
#define CR_IMAGE_MAX_PIXELS ((int64_t)1 << 27)
#define CR_IMAGE_MAX_FILE   ((size_t)1 << 30)

typedef enum cr_image_format {
    CR_IMAGE_UNKNOWN,
    CR_IMAGE_JPEG,
    CR_IMAGE_PNG,
    CR_IMAGE_WEBP,
    CR_IMAGE_TIFF,
    CR_IMAGE_BMP,
    CR_IMAGE_PNM
} cr_image_format;

/* "JPEG", …; "unknown". */
const char *cr_image_format_name(cr_image_format format);

/* True if the ending of the path is one of a format that is read, in either case: .jpg, .jpeg,
 * .png, .webp, .tif, .tiff, .bmp, .ppm, .pgm, .pbm, .pnm. */
bool cr_image_path_is_picture(const char *path);

/* Reads a file into a picture of 1, 3 or 4 channels (converted as by Pillow's convert), or of as
 * many as the file has (channels 0: 1 if it is grey, 4 if it is transparent, 3 else). What the
 * format is, its bytes tell, not its name. On failure the picture's content is undefined, but it
 * may be freed and used again. */
cr_status cr_image_read(const char *path, int channels, cr_image *image);

/* The same for a file that lies in memory; `name` is what messages call it. */
cr_status cr_image_decode(const void *bytes, size_t size, const char *name, int channels,
                          cr_image *image);

/* The same where only a part is wanted. `image` gets that part or more, up to the whole: what
 * *part says. Its pixels are those of the whole picture; JPEG files are decoded in less time. NULL
 * as a wish: the whole. */
cr_status cr_image_read_part(const char *path, int channels, const cr_image_wish *wish,
                             cr_image *image, cr_image_part *part);
cr_status cr_image_decode_part(const void *bytes, size_t size, const char *name, int channels,
                               const cr_image_wish *wish, cr_image *image, cr_image_part *part);

/* What the header of a file says. Width and height are those that reading will give, after the
 * rotation of EXIF; so are the channels for channels = 0. */
typedef struct cr_image_info {
    cr_image_format format;
    int64_t width;
    int64_t height;
    int channels;
} cr_image_info;

cr_status cr_image_probe(const char *path, cr_image_info *info);
cr_status cr_image_probe_memory(const void *bytes, size_t size, const char *name,
                                cr_image_info *info);

/* Writes a picture to a file beside `path` and renames it. JPEG has no transparency, which is
 * dropped; its quality is 1 to 100 (0: 75, as in Pillow). */
cr_status cr_image_write_png(const char *path, const cr_image *image);
cr_status cr_image_write_jpeg(const char *path, const cr_image *image, int quality);

/* The same bytes, appended to a text. */
cr_status cr_image_encode_png(const cr_image *image, cr_text *out);
cr_status cr_image_encode_jpeg(const cr_image *image, int quality, cr_text *out);

#ifdef __cplusplus
}
#endif
#endif
