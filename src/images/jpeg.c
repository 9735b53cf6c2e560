/* JPEG by libjpeg-turbo, with its usual settings, which are Pillow's. Its errors come back through
 * longjmp to the one function here that calls setjmp; nothing that it changes afterwards is a local
 * variable. A file that ends too early is an error, unlike in libjpeg's own sources of bytes. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "images/images.h"

/* Progressive pictures come in about ten passes; thousands of them are meant to take all time. */
#define MOST_SCANS  200
#define EXIF_APP    (JPEG_APP0 + 1)
#define LONGEST_APP 0xFFFF

struct jpeg_reader {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr bytes;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    bool is_truncated;
    bool has_too_many_scans;
    char message[JMSG_LENGTH_MAX];
    uint8_t *row; /* of four inks, to be converted */
};

/* ---- what libjpeg calls ---- */

static void leave(j_common_ptr info)
{
    struct jpeg_reader *reader = info->client_data;
    (*info->err->format_message)(info, reader->message);
    longjmp(reader->back, 1);
}

static void ignore_message(j_common_ptr info)
{
    (void)info;
}

static void ignore_warning(j_common_ptr info, int level)
{
    (void)info;
    (void)level;
}

static void ignore_source(j_decompress_ptr info)
{
    (void)info;
}

static boolean refuse_more(j_decompress_ptr info)
{
    struct jpeg_reader *reader = info->client_data;
    reader->is_truncated = true;
    longjmp(reader->back, 1);
}

static void skip_bytes(j_decompress_ptr info, long count)
{
    if (count <= 0)
        return;
    if ((size_t)count > info->src->bytes_in_buffer)
        refuse_more(info);
    info->src->next_input_byte += count;
    info->src->bytes_in_buffer -= (size_t)count;
}

static void watch_scans(j_common_ptr info)
{
    struct jpeg_reader *reader = info->client_data;
    if (reader->info.input_scan_number <= MOST_SCANS)
        return;
    reader->has_too_many_scans = true;
    longjmp(reader->back, 1);
}

/* ---- reading ---- */

static void begin(struct jpeg_reader *reader, const struct image_source *source)
{
    reader->bytes.next_input_byte = source->data;
    reader->bytes.bytes_in_buffer = source->size;
    reader->bytes.init_source = ignore_source;
    reader->bytes.fill_input_buffer = refuse_more;
    reader->bytes.skip_input_data = skip_bytes;
    reader->bytes.resync_to_restart = jpeg_resync_to_restart;
    reader->bytes.term_source = ignore_source;
    reader->progress.progress_monitor = watch_scans;
    jpeg_create_decompress(&reader->info);
    reader->info.src = &reader->bytes;
    reader->info.progress = &reader->progress;
    jpeg_save_markers(&reader->info, EXIF_APP, LONGEST_APP);
    jpeg_read_header(&reader->info, TRUE);
}

static int find_orientation(const struct jpeg_decompress_struct *info)
{
    for (jpeg_saved_marker_ptr marker = info->marker_list; marker; marker = marker->next) {
        if (marker->marker == EXIF_APP && marker->data_length >= 6 &&
            memcmp(marker->data, "Exif\0", 5) == 0)
            return images_exif_orientation(marker->data, marker->data_length);
    }
    return 1;
}

static void read_rows(struct jpeg_reader *reader, cr_image *image)
{
    struct jpeg_decompress_struct *info = &reader->info;
    size_t stride = (size_t)image->width * (size_t)image->channels;
    while (info->output_scanline < info->output_height) {
        uint8_t *to = image->pixels + info->output_scanline * stride;
        JSAMPROW row = reader->row ? reader->row : to;
        if (jpeg_read_scanlines(info, &row, 1) == 1 && reader->row) {
            for (size_t i = 0; i < 4 * (size_t)image->width; i++)
                row[i] = 255 - row[i]; /* Adobe's way, in which 255 is no ink */
            images_cmyk_to_rgb(row, to, (size_t)image->width);
        }
    }
}

/* The header is read: what it says, and then the pixels if they are wanted. */
static cr_status read_picture(struct jpeg_reader *reader, const struct image_source *source,
                              struct image_result *result)
{
    struct jpeg_decompress_struct *info = &reader->info;
    int parts = info->num_components;
    if (parts != 1 && parts != 3 && parts != 4)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is a JPEG picture of %d components, and 1, 3 or 4 are read",
                            source->name, parts);
    bool is_grey = parts == 1 && result->wanted != 3; /* libjpeg repeats grey on its way */
    if (images_take_size(source, result, info->image_width, info->image_height, is_grey ? 1 : 3) !=
        CR_OK)
        return cr_error_status();
    result->orientation = find_orientation(info);
    if (!result->image)
        return CR_OK;
    info->out_color_space = is_grey ? JCS_GRAYSCALE : parts == 4 ? JCS_CMYK : JCS_RGB;
    if (parts == 4) {
        reader->row = cr_alloc_array((size_t)info->image_width, 4);
        if (!reader->row)
            return cr_error_status();
    }
    jpeg_start_decompress(info);
    read_rows(reader, result->image);
    jpeg_finish_decompress(info);
    return CR_OK;
}

static cr_status report(const struct jpeg_reader *reader, const struct image_source *source)
{
    if (reader->is_truncated)
        return images_truncated(source, "JPEG");
    if (reader->has_too_many_scans)
        return images_damaged(source, "JPEG", "it has too many scans");
    if (reader->errors.msg_code == JERR_OUT_OF_MEMORY)
        return cr_error_set(CR_ERROR_MEMORY, "out of memory while reading %s", source->name);
    return images_damaged(source, "JPEG", reader->message);
}

static void run(struct jpeg_reader *reader, const struct image_source *source,
                struct image_result *result)
{
    if (setjmp(reader->back) != 0) {
        report(reader, source);
        return;
    }
    begin(reader, source);
    read_picture(reader, source, result);
}

cr_status images_decode_jpeg(const struct image_source *source, struct image_result *result)
{
    struct jpeg_reader reader = { 0 };
    reader.info.err = jpeg_std_error(&reader.errors);
    reader.info.client_data = &reader;
    reader.errors.error_exit = leave;
    reader.errors.output_message = ignore_message;
    reader.errors.emit_message = ignore_warning;
    run(&reader, source, result);
    jpeg_destroy_decompress(&reader.info);
    cr_free(reader.row);
    return cr_error_status();
}
