/* Writing pictures: PNG by libpng, JPEG by libjpeg-turbo, into memory first and from there to a
 * file that is renamed when it is whole. Errors of both libraries come back through longjmp to the
 * functions here that call setjmp; nothing that these change afterwards is a local variable. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include "cresset/file.h"
#include "images/images.h"

#define LONGEST_REASON 200
#define JPEG_QUALITY   75
#define JPEG_PIECE     16384
#define LARGEST_JPEG   65500 /* of a side, that libjpeg writes */

static cr_status check_image(const cr_image *image)
{
    if (cr_failed())
        return cr_error_status();
    if (image && image->pixels && image->height > 0 && image->width > 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT, "there is no picture to write");
}

/* ---- PNG ---- */

struct png_writer {
    const cr_image *image;
    cr_text *out;
    png_structp png;
    png_infop info;
    char reason[LONGEST_REASON];
};

static void leave_png(png_structp png, png_const_charp reason)
{
    struct png_writer *writer = png_get_error_ptr(png);
    snprintf(writer->reason, sizeof writer->reason, "%s", reason);
    png_longjmp(png, 1);
}

static void ignore_png_warning(png_structp png, png_const_charp reason)
{
    (void)png;
    (void)reason;
}

static void take_png(png_structp png, png_bytep from, size_t count)
{
    struct png_writer *writer = png_get_io_ptr(png);
    cr_text_append_bytes(writer->out, from, count);
}

static void flush_png(png_structp png)
{
    (void)png;
}

static void run_png(struct png_writer *writer)
{
    const cr_image *image = writer->image;
    int color = image->channels == 1   ? PNG_COLOR_TYPE_GRAY
                : image->channels == 3 ? PNG_COLOR_TYPE_RGB
                                       : PNG_COLOR_TYPE_RGBA;
    if (setjmp(png_jmpbuf(writer->png)) != 0) {
        cr_error_set(CR_ERROR_IO, "the picture could not be written as PNG: %s", writer->reason);
        return;
    }
    png_set_write_fn(writer->png, writer, take_png, flush_png);
    png_set_IHDR(writer->png, writer->info, (png_uint_32)image->width, (png_uint_32)image->height,
                 8, color, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(writer->png, writer->info);
    for (int64_t y = 0; y < image->height; y++)
        png_write_row(writer->png, image->pixels + y * image->width * image->channels);
    png_write_end(writer->png, writer->info);
}

cr_status cr_image_encode_png(const cr_image *image, cr_text *out)
{
    if (check_image(image) != CR_OK)
        return cr_error_status();
    struct png_writer writer = { .image = image, .out = out };
    writer.png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, leave_png, ignore_png_warning);
    writer.info = writer.png ? png_create_info_struct(writer.png) : NULL;
    if (writer.info)
        run_png(&writer);
    else
        cr_error_set(CR_ERROR_MEMORY, "out of memory while writing a picture");
    png_destroy_write_struct(&writer.png, &writer.info);
    return cr_error_status();
}

/* ---- JPEG ---- */

struct jpeg_writer {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr bytes;
    jmp_buf back;
    const cr_image *image;
    cr_text *out;
    uint8_t *row; /* RGB, without the opacity */
    char reason[JMSG_LENGTH_MAX];
    uint8_t piece[JPEG_PIECE];
};

static void leave_jpeg(j_common_ptr info)
{
    struct jpeg_writer *writer = info->client_data;
    (*info->err->format_message)(info, writer->reason);
    longjmp(writer->back, 1);
}

static void ignore_jpeg_message(j_common_ptr info)
{
    (void)info;
}

static void begin_piece(j_compress_ptr info)
{
    struct jpeg_writer *writer = info->client_data;
    writer->bytes.next_output_byte = writer->piece;
    writer->bytes.free_in_buffer = sizeof writer->piece;
}

static boolean take_piece(j_compress_ptr info)
{
    struct jpeg_writer *writer = info->client_data;
    cr_text_append_bytes(writer->out, writer->piece, sizeof writer->piece);
    begin_piece(info);
    return TRUE;
}

static void take_last_piece(j_compress_ptr info)
{
    struct jpeg_writer *writer = info->client_data;
    cr_text_append_bytes(writer->out, writer->piece,
                         sizeof writer->piece - writer->bytes.free_in_buffer);
}

static void write_jpeg_rows(struct jpeg_writer *writer)
{
    const cr_image *image = writer->image;
    size_t width = (size_t)image->width;
    size_t stride = width * (size_t)image->channels;
    while (writer->info.next_scanline < writer->info.image_height) {
        uint8_t *from = image->pixels + writer->info.next_scanline * stride;
        for (size_t x = 0; writer->row && x < width; x++)
            memcpy(writer->row + 3 * x, from + 4 * x, 3);
        JSAMPROW row = writer->row ? writer->row : from;
        jpeg_write_scanlines(&writer->info, &row, 1);
    }
}

static void run_jpeg(struct jpeg_writer *writer, int quality)
{
    struct jpeg_compress_struct *info = &writer->info;
    if (setjmp(writer->back) != 0) {
        cr_error_set(CR_ERROR_IO, "the picture could not be written as JPEG: %s", writer->reason);
        return;
    }
    jpeg_create_compress(info);
    writer->bytes.init_destination = begin_piece;
    writer->bytes.empty_output_buffer = take_piece;
    writer->bytes.term_destination = take_last_piece;
    info->dest = &writer->bytes;
    info->image_width = (JDIMENSION)writer->image->width;
    info->image_height = (JDIMENSION)writer->image->height;
    info->input_components = writer->image->channels == 1 ? 1 : 3;
    info->in_color_space = writer->image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, quality, TRUE);
    jpeg_start_compress(info, TRUE);
    write_jpeg_rows(writer);
    jpeg_finish_compress(info);
}

cr_status cr_image_encode_jpeg(const cr_image *image, int quality, cr_text *out)
{
    if (check_image(image) != CR_OK)
        return cr_error_status();
    if (quality < 0 || quality > 100)
        return cr_error_set(CR_ERROR_ARGUMENT, "the quality of a JPEG picture is 1 to 100, not %d",
                            quality);
    if (image->height > LARGEST_JPEG || image->width > LARGEST_JPEG)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "no side of a JPEG picture is longer than %d",
                            LARGEST_JPEG);
    struct jpeg_writer *writer = cr_alloc_zeroed(1, sizeof *writer);
    if (!writer)
        return cr_error_status();
    writer->image = image;
    writer->out = out;
    if (image->channels == 4)
        writer->row = cr_alloc_array((size_t)image->width, 3);
    if (image->channels != 4 || writer->row) {
        writer->info.err = jpeg_std_error(&writer->errors);
        writer->info.client_data = writer;
        writer->errors.error_exit = leave_jpeg;
        writer->errors.output_message = ignore_jpeg_message;
        run_jpeg(writer, quality == 0 ? JPEG_QUALITY : quality);
        jpeg_destroy_compress(&writer->info);
    }
    cr_free(writer->row);
    cr_free(writer);
    return cr_error_status();
}

/* ---- files ---- */

static cr_status write_file(const char *path, cr_text *bytes)
{
    if (!cr_failed())
        cr_file_replace(path, bytes->data, bytes->length);
    cr_text_free(bytes);
    return cr_error_status();
}

cr_status cr_image_write_png(const char *path, const cr_image *image)
{
    cr_text bytes = { 0 };
    cr_image_encode_png(image, &bytes);
    return write_file(path, &bytes);
}

cr_status cr_image_write_jpeg(const char *path, const cr_image *image, int quality)
{
    cr_text bytes = { 0 };
    cr_image_encode_jpeg(image, quality, &bytes);
    return write_file(path, &bytes);
}
