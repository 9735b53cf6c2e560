/* Reading pictures: the format is told by the first bytes, its decoder gives the pixels as they
 * stand in the file, and here they are turned as EXIF asks and converted to the channels that were
 * asked for. */
#include <string.h>
#include <strings.h>

#include "cresset/file.h"
#include "images/images.h"

#define LONGEST_SIGNATURE 16

static bool is_jpeg(const uint8_t *b)
{
    return b[0] == 0xFF && b[1] == 0xD8 && b[2] == 0xFF;
}

static bool is_png(const uint8_t *b)
{
    return memcmp(b, "\x89PNG\r\n\x1a\n", 8) == 0;
}

static bool is_webp(const uint8_t *b)
{
    return memcmp(b, "RIFF", 4) == 0 && memcmp(b + 8, "WEBP", 4) == 0;
}

static bool is_tiff(const uint8_t *b)
{
    return memcmp(b, "II*\0", 4) == 0 || memcmp(b, "MM\0*", 4) == 0 || memcmp(b, "II+\0", 4) == 0 ||
           memcmp(b, "MM\0+", 4) == 0;
}

static bool is_bmp(const uint8_t *b)
{
    return b[0] == 'B' && b[1] == 'M';
}

static bool is_pnm(const uint8_t *b)
{
    return b[0] == 'P' && b[1] >= '1' && b[1] <= '6' && b[2] && strchr(" \t\n\v\f\r#", b[2]);
}

typedef cr_status (*image_decoder)(const struct image_source *source, struct image_result *result);

static const struct image_kind {
    cr_image_format format;
    const char *name;
    const char *endings; /* in small letters, parted by spaces */
    bool (*matches)(const uint8_t *start);
    image_decoder decode;
} image_kinds[] = {
    { CR_IMAGE_JPEG, "JPEG", "jpg jpeg", is_jpeg, images_decode_jpeg },
    { CR_IMAGE_PNG, "PNG", "png", is_png, images_decode_png },
    { CR_IMAGE_WEBP, "WebP", "webp", is_webp, images_decode_webp },
    { CR_IMAGE_TIFF, "TIFF", "tif tiff", is_tiff, images_decode_tiff },
    { CR_IMAGE_BMP, "BMP", "bmp", is_bmp, images_decode_bmp },
    { CR_IMAGE_PNM, "PNM", "ppm pgm pbm pnm", is_pnm, images_decode_pnm },
};
#define KIND_COUNT (sizeof image_kinds / sizeof *image_kinds)

/* Files that people have, and that are not read, to say what they are. */
static const struct foreign_kind {
    const char *start;
    size_t length;
    size_t at;
    const char *words;
} foreign_kinds[] = {
    { "GIF8", 4, 0, "a GIF picture" },
    { "\0\0\1\0", 4, 0, "an ICO icon" },
    { "ftyp", 4, 4, "a HEIF, AVIF or video file" },
    { "DICM", 4, 128, "a DICOM file" },
    { "\0\0\0\x0cjP  ", 8, 0, "a JPEG 2000 picture" },
    { "%PDF", 4, 0, "a PDF document" },
    { "8BPS", 4, 0, "a Photoshop document" },
    { "v/1\1", 4, 0, "an OpenEXR picture" },
    { "<svg", 4, 0, "an SVG drawing" },
    { "<", 1, 0, "a text with tags, such as a web page" },
    { "P7", 2, 0, "a PAM picture" },
    { "PF", 2, 0, "a PFM picture" },
};

const char *cr_image_format_name(cr_image_format format)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (image_kinds[i].format == format)
            return image_kinds[i].name;
    }
    return "unknown";
}

bool cr_image_path_is_picture(const char *path)
{
    const char *dot = path ? strrchr(path, '.') : NULL;
    if (!dot || strchr(dot, '/'))
        return false;
    size_t length = strlen(dot + 1);
    for (size_t i = 0; length > 0 && i < KIND_COUNT; i++) {
        const char *word = image_kinds[i].endings;
        while (*word) {
            size_t own = strcspn(word, " ");
            if (own == length && strncasecmp(word, dot + 1, own) == 0)
                return true;
            word += own + (word[own] == ' ');
        }
    }
    return false;
}

static cr_status refuse_unknown(const struct image_source *source)
{
    for (size_t i = 0; i < sizeof foreign_kinds / sizeof *foreign_kinds; i++) {
        const struct foreign_kind *kind = &foreign_kinds[i];
        if (source->size >= kind->at + kind->length &&
            memcmp(source->data + kind->at, kind->start, kind->length) == 0)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "%s is %s, and only JPEG, PNG, WebP, TIFF, BMP and PNM pictures "
                                "are read",
                                source->name, kind->words);
    }
    if (source->size == 0)
        return cr_error_set(CR_ERROR_FORMAT, "%s is empty, not a picture", source->name);
    return cr_error_set(CR_ERROR_FORMAT,
                        "%s is not a picture: it does not begin as JPEG, PNG, WebP, TIFF, BMP or "
                        "PNM does",
                        source->name);
}

static const struct image_kind *find_kind(const struct image_source *source)
{
    uint8_t start[LONGEST_SIGNATURE] = { 0 };
    if (source->size > 0)
        memcpy(start, source->data, IMAGES_MIN(source->size, sizeof start));
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (image_kinds[i].matches(start))
            return &image_kinds[i];
    }
    refuse_unknown(source);
    return NULL;
}

cr_status images_take_size(const struct image_source *source, struct image_result *result,
                           int64_t width, int64_t height, int channels)
{
    if (width < 1 || height < 1)
        return cr_error_set(CR_ERROR_FORMAT, "%s is %lld × %lld pixels large: it has no pixels",
                            source->name, (long long)width, (long long)height);
    if (width > CR_IMAGE_MAX_SIDE || height > CR_IMAGE_MAX_SIDE ||
        width * height > CR_IMAGE_MAX_PIXELS)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is %lld × %lld pixels large, and pictures of at most %lld pixels, "
                            "with sides of at most %d, are read",
                            source->name, (long long)width, (long long)height,
                            (long long)CR_IMAGE_MAX_PIXELS, CR_IMAGE_MAX_SIDE);
    result->width = width;
    result->height = height;
    result->channels = channels;
    return result->image ? cr_image_resize_room(result->image, height, width, channels) : CR_OK;
}

cr_status images_damaged(const struct image_source *source, const char *format, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s is a damaged %s picture: %s", source->name, format,
                        what);
}

cr_status images_truncated(const struct image_source *source, const char *format)
{
    return cr_error_set(CR_ERROR_FORMAT,
                        "%s is truncated: its %s picture ends too early; get the file again",
                        source->name, format);
}

void images_cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t count)
{
    for (size_t i = 0; i < count; i++, cmyk += 4, rgb += 3) {
        int black = 255 - cmyk[3];
        for (int c = 0; c < 3; c++) {
            int product = cmyk[c] * black + 128;
            int value = black - (((product >> 8) + product) >> 8);
            rgb[c] = (uint8_t)IMAGES_MAX(value, 0);
        }
    }
}

/* ---- EXIF's rotation ---- */

/* Where pixel (y, x) of the turned picture stands in the other, by EXIF's table: a start, and the
 * steps down and to the right. */
static cr_status turn(cr_image *image, int orientation)
{
    if (orientation < 2 || orientation > 8)
        return CR_OK;
    int64_t height = image->height;
    int64_t width = image->width;
    int64_t channels = image->channels;
    bool swaps = orientation >= 5;
    bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    cr_image turned = { 0 };
    if (cr_image_resize_room(&turned, swaps ? width : height, swaps ? height : width,
                             image->channels) != CR_OK)
        return cr_error_status();
    int64_t right = from_right ? -channels : channels;
    int64_t down = (from_bottom ? -width : width) * channels;
    int64_t start = (from_right ? width - 1 : 0) + (from_bottom ? height - 1 : 0) * width;
    uint8_t *to = turned.pixels;
    for (int64_t y = 0; y < turned.height; y++) {
        const uint8_t *from = image->pixels + start * channels + y * (swaps ? right : down);
        for (int64_t x = 0; x < turned.width; x++, from += swaps ? down : right) {
            for (int64_t c = 0; c < channels; c++)
                *to++ = from[c];
        }
    }
    cr_image_free(image);
    *image = turned;
    return CR_OK;
}

/* ---- reading ---- */

static cr_status check_channels(int channels)
{
    if (channels == 0 || channels == 1 || channels == 3 || channels == 4)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "a picture is read with 1, 3 or 4 channels, or 0 for its own, not %d",
                        channels);
}

cr_status cr_image_decode_part(const void *bytes, size_t size, const char *name, int channels,
                               const cr_image_wish *wish, cr_image *image, cr_image_part *part)
{
    if (cr_failed() || check_channels(channels) != CR_OK)
        return cr_error_status();
    struct image_source source = { bytes, size, name ? name : "the picture" };
    struct image_result result = {
        .image = image, .wanted = channels, .orientation = 1, .wish = wish
    };
    const struct image_kind *kind = find_kind(&source);
    if (!kind || kind->decode(&source, &result) != CR_OK ||
        turn(image, result.orientation) != CR_OK)
        return cr_error_status();
    *part = (cr_image_part){ result.height, result.width, result.box };
    if (result.box.height == 0)
        *part =
            (cr_image_part){ image->height, image->width, { 0, 0, image->height, image->width } };
    return channels == 0 ? CR_OK : cr_image_convert(image, channels);
}

cr_status cr_image_decode(const void *bytes, size_t size, const char *name, int channels,
                          cr_image *image)
{
    cr_image_part part;
    return cr_image_decode_part(bytes, size, name, channels, NULL, image, &part);
}

cr_status cr_image_read_part(const char *path, int channels, const cr_image_wish *wish,
                             cr_image *image, cr_image_part *part)
{
    if (cr_failed())
        return cr_error_status();
    size_t size;
    char *bytes = cr_file_read(path, CR_IMAGE_MAX_FILE, &size);
    if (bytes)
        cr_image_decode_part(bytes, size, path, channels, wish, image, part);
    cr_free(bytes);
    return cr_error_status();
}

cr_status cr_image_read(const char *path, int channels, cr_image *image)
{
    cr_image_part part;
    return cr_image_read_part(path, channels, NULL, image, &part);
}

cr_status cr_image_probe_memory(const void *bytes, size_t size, const char *name,
                                cr_image_info *info)
{
    *info = (cr_image_info){ 0 };
    if (cr_failed())
        return cr_error_status();
    struct image_source source = { bytes, size, name ? name : "the picture" };
    struct image_result result = { .orientation = 1 };
    const struct image_kind *kind = find_kind(&source);
    if (!kind || kind->decode(&source, &result) != CR_OK)
        return cr_error_status();
    bool swaps = result.orientation >= 5 && result.orientation <= 8;
    *info = (cr_image_info){ kind->format, swaps ? result.height : result.width,
                             swaps ? result.width : result.height, result.channels };
    return CR_OK;
}

cr_status cr_image_probe(const char *path, cr_image_info *info)
{
    *info = (cr_image_info){ 0 };
    if (cr_failed())
        return cr_error_status();
    size_t size;
    char *bytes = cr_file_read(path, CR_IMAGE_MAX_FILE, &size);
    if (bytes)
        cr_image_probe_memory(bytes, size, path, info);
    cr_free(bytes);
    return cr_error_status();
}
