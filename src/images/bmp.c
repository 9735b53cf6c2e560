/* BMP, of Windows and OS/2: palettes of 1, 2, 4 and 8 bits, 16, 24 and 32 bits by masks, and the
 * run lengths of 4 and 8 bits. Every offset and length is checked against the file first. */
#include <string.h>

#include "images/images.h"

#define FILE_HEADER    14
#define CORE_HEADER    12
#define INFO_HEADER    40
#define MASKED_HEADER  52 /* and larger ones hold the masks themselves */
#define OS2_HEADER     64 /* but this one does not */
#define LARGEST_HEADER 4096

enum compression { RAW, RLE8, RLE4, BITFIELDS, ALPHA_BITFIELDS = 6 };

struct bmp {
    const struct image_source *source;
    int64_t width;
    int64_t height;
    bool is_top_down;
    int bits;
    uint32_t compression;
    size_t header; /* its bytes */
    size_t offset; /* of the pixels */
    int colors;    /* of the palette that are there */
    uint8_t palette[256][3];
    bool is_grey;      /* all of them are */
    uint32_t masks[4]; /* red, green, blue, alpha */
};

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | get16(at + 2) << 16;
}

static cr_status damaged(const struct bmp *bmp, const char *what)
{
    return images_damaged(bmp->source, "BMP", what);
}

/* ---- headers ---- */

static cr_status read_sizes(struct bmp *bmp)
{
    const uint8_t *data = bmp->source->data;
    if (bmp->source->size < FILE_HEADER + CORE_HEADER)
        return images_truncated(bmp->source, "BMP");
    bmp->offset = get32(data + 10);
    bmp->header = get32(data + FILE_HEADER);
    if (bmp->header != CORE_HEADER && (bmp->header < 16 || bmp->header > LARGEST_HEADER))
        return damaged(bmp, "the length of its header is none that BMP has");
    if (bmp->source->size - FILE_HEADER < bmp->header)
        return images_truncated(bmp->source, "BMP");
    const uint8_t *header = data + FILE_HEADER;
    if (bmp->header == CORE_HEADER) {
        bmp->width = get16(header + 4);
        bmp->height = get16(header + 6);
        bmp->bits = (int)get16(header + 10);
        return CR_OK;
    }
    bmp->width = (int32_t)get32(header + 4);
    bmp->height = (int32_t)get32(header + 8);
    bmp->bits = (int)get16(header + 14);
    bmp->is_top_down = bmp->height < 0;
    if (bmp->is_top_down)
        bmp->height = -bmp->height;
    bmp->compression = bmp->header >= 20 ? get32(header + 16) : RAW;
    return CR_OK;
}

static cr_status check_kind(const struct bmp *bmp)
{
    uint32_t kind = bmp->compression;
    int bits = bmp->bits;
    bool is_masked = (kind == BITFIELDS && bmp->header != OS2_HEADER) || kind == ALPHA_BITFIELDS;
    bool palette = bits == 1 || bits == 2 || bits == 4 || bits == 8;
    if ((kind == RAW && (palette || bits == 16 || bits == 24 || bits == 32)) ||
        (kind == RLE8 && bits == 8) || (kind == RLE4 && bits == 4) ||
        (is_masked && (bits == 16 || bits == 24 || bits == 32)))
        return CR_OK;
    return cr_error_set(CR_ERROR_UNSUPPORTED,
                        "%s is a BMP picture of %d bits with compression %u, which is not read",
                        bmp->source->name, bits, (unsigned)kind);
}

/* Reads the masks; *end is where the palette begins. */
static cr_status read_masks(struct bmp *bmp, size_t *end)
{
    static const uint32_t usual[2][3] = { { 0x7C00, 0x3E0, 0x1F }, { 0xFF0000, 0xFF00, 0xFF } };
    *end = FILE_HEADER + bmp->header;
    memcpy(bmp->masks, usual[bmp->bits != 16], sizeof usual[0]);
    if (bmp->compression != BITFIELDS && bmp->compression != ALPHA_BITFIELDS)
        return CR_OK;
    size_t count = bmp->compression == ALPHA_BITFIELDS || bmp->header >= MASKED_HEADER + 4 ? 4 : 3;
    size_t at = FILE_HEADER + INFO_HEADER;
    if (bmp->source->size < at + 4 * count)
        return images_truncated(bmp->source, "BMP");
    if (bmp->header < MASKED_HEADER)
        *end = at + 4 * count;
    uint32_t all = 0;
    for (size_t i = 0; i < count; i++) {
        bmp->masks[i] = get32(bmp->source->data + at + 4 * i);
        all |= bmp->masks[i];
    }
    static const uint32_t bgra[4] = { 0xFF0000, 0xFF00, 0xFF, 0xFF000000 };
    if (all == 0 && bmp->bits == 32)
        memcpy(bmp->masks, bgra, sizeof bgra);
    return CR_OK;
}

static void read_palette(struct bmp *bmp, size_t at)
{
    size_t entry = bmp->header == CORE_HEADER ? 3 : 4;
    uint32_t told = bmp->header >= 36 ? get32(bmp->source->data + FILE_HEADER + 32) : 0;
    size_t colors = (size_t)1 << bmp->bits;
    if (told > 0 && told < colors)
        colors = told;
    if (bmp->offset == FILE_HEADER + bmp->header) /* as if there were no palette */
        bmp->offset += 4 * colors;
    size_t end = IMAGES_MIN(bmp->source->size, IMAGES_MAX(bmp->offset, at));
    size_t room = end > at ? (end - at) / entry : 0;
    colors = IMAGES_MIN(colors, room);
    bmp->is_grey = colors > 0;
    for (size_t i = 0; i < colors; i++) {
        const uint8_t *from = bmp->source->data + at + i * entry;
        for (int c = 0; c < 3; c++)
            bmp->palette[i][c] = from[2 - c];
        bmp->is_grey &= from[0] == from[1] && from[1] == from[2];
    }
    bmp->colors = (int)colors;
}

static cr_status read_header(struct bmp *bmp)
{
    size_t end;
    if (read_sizes(bmp) != CR_OK || check_kind(bmp) != CR_OK || read_masks(bmp, &end) != CR_OK)
        return cr_error_status();
    if (bmp->bits <= 8)
        read_palette(bmp, end);
    if (bmp->offset == 0)
        bmp->offset = end;
    if (bmp->offset < FILE_HEADER + bmp->header)
        return damaged(bmp, "its pixels begin inside its header");
    return CR_OK;
}

/* ---- pixels ---- */

static void put_index(const struct bmp *bmp, cr_image *image, int64_t x, int64_t row, int index)
{
    int64_t y = bmp->is_top_down ? row : bmp->height - 1 - row;
    uint8_t *to = image->pixels + (y * bmp->width + x) * image->channels;
    memcpy(to, bmp->palette[index], (size_t)image->channels);
}

static int channel_of(uint32_t pixel, uint32_t mask)
{
    if (mask == 0)
        return 0;
    int shift = __builtin_ctz(mask);
    uint32_t most = mask >> shift;
    return (int)((uint64_t)((pixel & mask) >> shift) * 255 / most);
}

static void read_masked_row(const struct bmp *bmp, const uint8_t *from, uint8_t *to, int channels)
{
    int bytes = bmp->bits / 8;
    for (int64_t x = 0; x < bmp->width; x++, from += bytes) {
        uint32_t pixel = bytes == 2 ? get16(from) : get16(from) | (uint32_t)from[2] << 16;
        if (bytes == 4)
            pixel |= (uint32_t)from[3] << 24;
        for (int c = 0; c < channels; c++)
            *to++ = (uint8_t)channel_of(pixel, bmp->masks[c]);
    }
}

static void read_blue_green_red(const struct bmp *bmp, const uint8_t *from, uint8_t *to)
{
    size_t bytes = (size_t)bmp->bits / 8;
    for (int64_t x = 0; x < bmp->width; x++, from += bytes, to += 3) {
        to[0] = from[2];
        to[1] = from[1];
        to[2] = from[0];
    }
}

static cr_status read_raw(const struct bmp *bmp, cr_image *image)
{
    size_t bits = (size_t)bmp->width * (size_t)bmp->bits;
    size_t stride = (bits + 31) / 32 * 4;
    size_t needed = stride * ((size_t)bmp->height - 1) + (bits + 7) / 8;
    if (bmp->offset > bmp->source->size || bmp->source->size - bmp->offset < needed)
        return images_truncated(bmp->source, "BMP");
    bool is_plain = bmp->bits >= 24 && bmp->compression == RAW;
    for (int64_t row = 0; row < bmp->height; row++) {
        const uint8_t *from = bmp->source->data + bmp->offset + (size_t)row * stride;
        int64_t y = bmp->is_top_down ? row : bmp->height - 1 - row;
        uint8_t *to = image->pixels + y * bmp->width * image->channels;
        if (is_plain)
            read_blue_green_red(bmp, from, to);
        else if (bmp->bits > 8)
            read_masked_row(bmp, from, to, image->channels);
        for (int64_t x = 0; bmp->bits <= 8 && x < bmp->width; x++) {
            int shift = 8 - bmp->bits - (int)(x * bmp->bits % 8);
            int index = from[x * bmp->bits / 8] >> shift & ((1 << bmp->bits) - 1);
            put_index(bmp, image, x, row, index);
        }
    }
    return CR_OK;
}

struct run_reader {
    const uint8_t *at;
    const uint8_t *end;
    int64_t x;
    int64_t row;
};

/* Index `i` of a run whose bytes hold one index each, or two. */
static int run_index(const uint8_t *bytes, int i, int bits)
{
    if (bits == 8)
        return bytes[i];
    return bytes[i / 2] >> (i % 2 ? 0 : 4) & 15;
}

static void put_run(const struct bmp *bmp, cr_image *image, struct run_reader *reader,
                    const uint8_t *bytes, int count, bool repeats)
{
    for (int i = 0; i < count; i++, reader->x++) {
        int index = run_index(bytes, !repeats ? i : bmp->bits == 8 ? 0 : i % 2, bmp->bits);
        if (reader->x < bmp->width && reader->row < bmp->height)
            put_index(bmp, image, reader->x, reader->row, index);
    }
}

/* What follows a zero: the end of a row or of all, a move, or indices one by one. False at the end
 * of the picture or of the file. */
static bool read_escape(const struct bmp *bmp, cr_image *image, struct run_reader *reader, int code)
{
    if (code == 0) {
        reader->x = 0;
        reader->row++;
        return true;
    }
    if (code == 1) {
        reader->row = bmp->height;
        return false;
    }
    if (code == 2) {
        if (reader->end - reader->at < 2)
            return false;
        reader->x += reader->at[0];
        reader->row += reader->at[1];
        reader->at += 2;
        return true;
    }
    int64_t bytes = bmp->bits == 8 ? code : (code + 1) / 2;
    if (reader->end - reader->at < bytes)
        return false;
    put_run(bmp, image, reader, reader->at, code, false);
    reader->at += IMAGES_MIN(bytes + bytes % 2, reader->end - reader->at);
    return true;
}

/* Everything in the first colour: what no run covers has it. */
static void fill(const struct bmp *bmp, cr_image *image)
{
    size_t stride = (size_t)image->width * (size_t)image->channels;
    for (int64_t x = 0; x < image->width; x++)
        memcpy(image->pixels + x * image->channels, bmp->palette[0], (size_t)image->channels);
    for (int64_t y = 1; y < image->height; y++)
        memcpy(image->pixels + (size_t)y * stride, image->pixels, stride);
}

static cr_status read_runs(const struct bmp *bmp, cr_image *image)
{
    if (bmp->offset > bmp->source->size)
        return images_truncated(bmp->source, "BMP");
    struct run_reader reader = { bmp->source->data + bmp->offset,
                                 bmp->source->data + bmp->source->size, 0, 0 };
    fill(bmp, image);
    bool goes_on = true;
    while (goes_on && reader.row < bmp->height && reader.end - reader.at >= 2) {
        int count = reader.at[0];
        const uint8_t *value = reader.at + 1;
        reader.at += 2;
        if (count > 0)
            put_run(bmp, image, &reader, value, count, true);
        else
            goes_on = read_escape(bmp, image, &reader, *value);
    }
    bool complete =
        reader.row >= bmp->height || (reader.row == bmp->height - 1 && reader.x >= bmp->width);
    return complete ? CR_OK : images_truncated(bmp->source, "BMP");
}

cr_status images_decode_bmp(const struct image_source *source, struct image_result *result)
{
    struct bmp bmp = { .source = source };
    if (read_header(&bmp) != CR_OK)
        return cr_error_status();
    int channels = bmp.bits <= 8 ? (bmp.is_grey ? 1 : 3) : bmp.masks[3] ? 4 : 3;
    if (images_take_size(source, result, bmp.width, bmp.height, channels) != CR_OK)
        return cr_error_status();
    if (!result->image)
        return CR_OK;
    bool has_runs = bmp.compression == RLE8 || bmp.compression == RLE4;
    return has_runs ? read_runs(&bmp, result->image) : read_raw(&bmp, result->image);
}
