/* PNG by libpng, rows straight into the picture. Its errors come back through longjmp to the one
 * function here that calls setjmp; nothing that it changes afterwards is a local variable. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "images/images.h"

#define LARGEST_CHUNK  ((png_alloc_size_t)16 << 20) /* that libpng unpacks: texts, profiles */
#define LONGEST_REASON 200

struct png_reader {
    const struct image_source *source;
    struct image_result *result;
    png_structp png;
    png_infop info;
    size_t position;
    bool is_truncated;
    bool has_pixels; /* what comes later may be damaged */
    char reason[LONGEST_REASON];
};

/* Chunks that do not change the pixels, and that need not be unpacked. */
static const png_byte ignored_chunks[] = "iCCP\0tEXt\0zTXt\0iTXt\0sPLT\0hIST\0pCAL\0sCAL\0tIME\0";

/* ---- what libpng calls ---- */

static void leave(png_structp png, png_const_charp reason)
{
    struct png_reader *reader = png_get_error_ptr(png);
    snprintf(reader->reason, sizeof reader->reason, "%s", reason);
    png_longjmp(png, 1);
}

static void ignore_warning(png_structp png, png_const_charp reason)
{
    (void)png;
    (void)reason;
}

static void give_bytes(png_structp png, png_bytep to, size_t count)
{
    struct png_reader *reader = png_get_io_ptr(png);
    if (count > reader->source->size - reader->position) {
        reader->is_truncated = true;
        png_error(png, "it ends too early");
    }
    memcpy(to, reader->source->data + reader->position, count);
    reader->position += count;
}

/* ---- reading ---- */

/* Has everything expanded to 8 bits of grey, RGB or RGBA; how many channels that makes. */
static int expand(struct png_reader *reader)
{
    png_structp png = reader->png;
    int color = png_get_color_type(png, reader->info);
    bool has_key = png_get_valid(png, reader->info, PNG_INFO_tRNS) != 0;
    bool is_transparent = has_key || (color & PNG_COLOR_MASK_ALPHA);
    if (color == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, reader->info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    if (has_key)
        png_set_tRNS_to_alpha(png);
    if (png_get_bit_depth(png, reader->info) == 16)
        png_set_strip_16(png);
    bool is_grey = !(color & PNG_COLOR_MASK_COLOR);
    if (is_grey && is_transparent)
        png_set_gray_to_rgb(png);
    return is_transparent ? 4 : is_grey ? 1 : 3;
}

static void find_orientation(struct png_reader *reader)
{
    png_bytep exif = NULL;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(reader->png, reader->info, &size, &exif) && exif)
        reader->result->orientation = images_exif_orientation(exif, size);
}

static cr_status read_rows(struct png_reader *reader)
{
    const cr_image *image = reader->result->image;
    int passes = png_set_interlace_handling(reader->png);
    png_read_update_info(reader->png, reader->info);
    size_t stride = (size_t)image->width * (size_t)image->channels;
    if (png_get_rowbytes(reader->png, reader->info) != stride)
        return images_damaged(reader->source, "PNG", "its rows have an unexpected length");
    for (int pass = 0; pass < passes; pass++) {
        for (int64_t y = 0; y < image->height; y++)
            png_read_row(reader->png, image->pixels + (size_t)y * stride, NULL);
    }
    reader->has_pixels = true;
    png_read_end(reader->png, reader->info);
    return CR_OK;
}

static cr_status read_picture(struct png_reader *reader)
{
    png_structp png = reader->png;
    png_set_read_fn(png, reader, give_bytes);
    png_set_user_limits(png, PNG_UINT_31_MAX,
                        PNG_UINT_31_MAX); /* images_take_size says it better */
    png_set_chunk_malloc_max(png, LARGEST_CHUNK);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, ignored_chunks,
                                (int)(sizeof ignored_chunks / 5));
    png_read_info(png, reader->info);
    int channels = expand(reader);
    if (images_take_size(reader->source, reader->result, png_get_image_width(png, reader->info),
                         png_get_image_height(png, reader->info), channels) != CR_OK)
        return cr_error_status();
    find_orientation(reader);
    if (reader->result->image && read_rows(reader) == CR_OK)
        find_orientation(reader);
    return cr_error_status();
}

static void run(struct png_reader *reader)
{
    if (setjmp(png_jmpbuf(reader->png)) == 0) {
        read_picture(reader);
        return;
    }
    if (reader->has_pixels)
        return;
    if (reader->is_truncated)
        images_truncated(reader->source, "PNG");
    else
        images_damaged(reader->source, "PNG", reader->reason);
}

cr_status images_decode_png(const struct image_source *source, struct image_result *result)
{
    struct png_reader reader = { .source = source, .result = result };
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, leave, ignore_warning);
    reader.info = reader.png ? png_create_info_struct(reader.png) : NULL;
    if (reader.info)
        run(&reader);
    else
        cr_error_set(CR_ERROR_MEMORY, "out of memory while reading %s", source->name);
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return cr_error_status();
}
