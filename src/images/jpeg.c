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
#define MARGIN      8 /* pixels around a part: its edges are not those of the whole picture */

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

/* True if a part is decoded to the pixels of the whole but for those next to the part's edges:
 * brightness alone, or with two colours of at most half its resolution either way. */
static bool can_be_parted(const struct jpeg_decompress_struct *info)
{
    const jpeg_component_info *parts = info->comp_info;
    if (info->num_components == 1)
        return true;
    return info->num_components == 3 && parts[0].h_samp_factor <= 2 &&
           parts[0].v_samp_factor <= 2 && parts[1].h_samp_factor == 1 &&
           parts[1].v_samp_factor == 1 && parts[2].h_samp_factor == 1 &&
           parts[2].v_samp_factor == 1;
}

/* Asks which part is wanted, if one can be read, and adds a margin to it; the colours between two
 * samples are found from both. */
static void choose_part(const struct jpeg_decompress_struct *info, struct image_result *result)
{
    if (!result->wish || result->orientation != 1 || !can_be_parted(info))
        return;
    cr_image_box wanted = { 0 };
    result->wish->choose(result->wish->context, result->height, result->width, &wanted);
    int64_t top = IMAGES_MAX(wanted.top - MARGIN, 0);
    int64_t left = IMAGES_MAX(wanted.left - MARGIN, 0);
    int64_t bottom = IMAGES_MIN(wanted.top + wanted.height + MARGIN, result->height);
    int64_t right = IMAGES_MIN(wanted.left + wanted.width + MARGIN, result->width);
    if (top < bottom && left < right)
        result->box = (cr_image_box){ top, left, bottom - top, right - left };
}

/* Tells the decoder which part to read; its columns begin at a whole block. */
static cr_status begin_part(struct jpeg_decompress_struct *info, struct image_result *result)
{
    cr_image_box *box = &result->box;
    JDIMENSION left = (JDIMENSION)box->left;
    JDIMENSION width = (JDIMENSION)box->width;
    if (width < info->output_width)
        jpeg_crop_scanline(info, &left, &width);
    if (box->top > 0)
        jpeg_skip_scanlines(info, (JDIMENSION)box->top);
    box->left = left;
    box->width = width;
    return cr_image_resize_room(result->image, box->height, box->width, result->channels);
}

/* Passes over the rows below a part. They are not decoded, but the mark of the picture's end, which
 * the bytes of pixels never hold, has to follow. */
static void pass_over_rest(struct jpeg_decompress_struct *info)
{
    const uint8_t *from = info->src->next_input_byte;
    size_t left = info->src->bytes_in_buffer;
    bool ends = jpeg_input_complete(info) || info->unread_marker == JPEG_EOI;
    while (!ends) {
        const uint8_t *found = memchr(from, 0xFF, left);
        if (!found || found + 1 >= from + left)
            refuse_more(info);
        ends = found[1] == JPEG_EOI;
        left -= (size_t)(found + 1 - from);
        from = found + 1;
    }
    jpeg_skip_scanlines(info, info->output_height - info->output_scanline);
}

/* Fills the picture. */
static void read_rows(struct jpeg_reader *reader, cr_image *image)
{
    struct jpeg_decompress_struct *info = &reader->info;
    size_t stride = (size_t)image->width * (size_t)image->channels;
    JDIMENSION first = info->output_scanline;
    JDIMENSION end = first + (JDIMENSION)image->height;
    while (info->output_scanline < end) {
        uint8_t *to = image->pixels + (info->output_scanline - first) * stride;
        JSAMPROW row = reader->row ? reader->row : to;
        if (jpeg_read_scanlines(info, &row, 1) == 1 && reader->row) {
            for (size_t i = 0; i < 4 * (size_t)image->width; i++)
                row[i] = 255 - row[i]; /* Adobe's way, in which 255 is no ink */
            images_cmyk_to_rgb(row, to, (size_t)image->width);
        }
    }
    if (end < info->output_height)
        pass_over_rest(info);
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
    choose_part(info, result);
    jpeg_start_decompress(info);
    if (result->box.height > 0 && begin_part(info, result) != CR_OK)
        return cr_error_status();
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
