/* TIFF by libtiff: it finds and unpacks strips and tiles; here their samples become grey, RGB or
 * RGBA of 8 bits. What has other colours (YCbCr without JPEG, Lab, …) goes through libtiff's own
 * conversion. The first picture of a file is read. */
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

#include "images/images.h"

#define LONGEST_REASON 200
#define MOST_SAMPLES   16
#define LARGEST_BLOCK  ((tmsize_t)1 << 30)

struct tiff_reader {
    const struct image_source *source;
    uint64_t position;
    TIFF *tiff;
    char reason[LONGEST_REASON]; /* libtiff's first complaint */
    uint32_t width;
    uint32_t height;
    uint16_t bits;
    uint16_t samples; /* of a pixel */
    uint16_t photometric;
    uint16_t planar;
    uint16_t format;
    uint16_t extra; /* what the first sample after the colours is */
    bool has_alpha;
    bool is_foreign;   /* libtiff converts it */
    int kept;          /* samples that are needed */
    uint8_t *unpacked; /* (height, width, kept) */
};

/* ---- what libtiff calls ---- */

static tmsize_t give_bytes(thandle_t handle, void *to, tmsize_t count)
{
    struct tiff_reader *reader = handle;
    uint64_t left = reader->source->size - IMAGES_MIN(reader->position, reader->source->size);
    size_t given = (size_t)IMAGES_MIN((uint64_t)IMAGES_MAX(count, 0), left);
    if (given > 0)
        memcpy(to, reader->source->data + reader->position, given);
    reader->position += given;
    return (tmsize_t)given;
}

static tmsize_t take_no_bytes(thandle_t handle, void *from, tmsize_t count)
{
    (void)handle;
    (void)from;
    (void)count;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence)
{
    struct tiff_reader *reader = handle;
    uint64_t base = whence == SEEK_CUR   ? reader->position
                    : whence == SEEK_END ? reader->source->size
                                         : 0;
    reader->position = base + offset;
    return reader->position;
}

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t tell_size(thandle_t handle)
{
    const struct tiff_reader *reader = handle;
    return reader->source->size;
}

static int keep_reason(TIFF *tiff, void *context, const char *module, const char *format,
                       va_list words)
{
    struct tiff_reader *reader = context;
    (void)tiff;
    (void)module;
    if (!reader->reason[0])
        vsnprintf(reader->reason, sizeof reader->reason, format, words);
    size_t length = strlen(reader->reason);
    if (length > 0 && reader->reason[length - 1] == '.')
        reader->reason[length - 1] = '\0';
    return 1;
}

static int ignore_warning(TIFF *tiff, void *context, const char *module, const char *format,
                          va_list words)
{
    (void)tiff;
    (void)context;
    (void)module;
    (void)format;
    (void)words;
    return 1;
}

static TIFF *open_source(struct tiff_reader *reader)
{
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options)
        return NULL;
    TIFFOpenOptionsSetErrorHandlerExtR(options, keep_reason, reader);
    TIFFOpenOptionsSetWarningHandlerExtR(options, ignore_warning, reader);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, LARGEST_BLOCK);
    TIFF *tiff = TIFFClientOpenExt("TIFF", "rm", reader, give_bytes, take_no_bytes, seek,
                                   close_nothing, tell_size, NULL, NULL, options);
    TIFFOpenOptionsFree(options);
    return tiff;
}

static cr_status damaged(const struct tiff_reader *reader)
{
    return images_damaged(reader->source, "TIFF",
                          reader->reason[0] ? reader->reason : "it cannot be understood");
}

/* ---- the header ---- */

static int color_samples(const struct tiff_reader *reader)
{
    switch (reader->photometric) {
    case PHOTOMETRIC_RGB:
    case PHOTOMETRIC_YCBCR:
        return 3;
    case PHOTOMETRIC_SEPARATED:
        return 4;
    default:
        return 1;
    }
}

static void find_alpha(struct tiff_reader *reader, int colors)
{
    uint16_t count = 0;
    uint16_t *kinds = NULL;
    reader->extra = EXTRASAMPLE_UNSPECIFIED;
    if (TIFFGetField(reader->tiff, TIFFTAG_EXTRASAMPLES, &count, &kinds) && count > 0)
        reader->extra = kinds[0];
    else if (reader->photometric == PHOTOMETRIC_RGB && reader->samples == 4)
        reader->extra = EXTRASAMPLE_UNASSALPHA;
    reader->has_alpha = reader->samples > colors && reader->extra != EXTRASAMPLE_UNSPECIFIED &&
                        reader->photometric != PHOTOMETRIC_SEPARATED;
}

static cr_status check_samples(const struct tiff_reader *reader)
{
    if (reader->samples < 1 || reader->samples > MOST_SAMPLES)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is a TIFF picture of %d samples a pixel, and 1 to %d are read",
                            reader->source->name, reader->samples, MOST_SAMPLES);
    bool is_integer = reader->format == SAMPLEFORMAT_UINT || reader->format == SAMPLEFORMAT_VOID;
    if (!is_integer || reader->bits < 1 || reader->bits > 16)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is a TIFF picture of %d-bit %s samples, and unsigned integers of 1 "
                            "to 16 bits are read",
                            reader->source->name, reader->bits,
                            reader->format == SAMPLEFORMAT_IEEEFP ? "floating-point"
                            : reader->format == SAMPLEFORMAT_INT  ? "signed"
                                                                  : "integer or other");
    return CR_OK;
}

static cr_status read_header(struct tiff_reader *reader)
{
    TIFF *tiff = reader->tiff;
    uint16_t compression = COMPRESSION_NONE;
    if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &reader->width) ||
        !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &reader->height))
        return damaged(reader);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &reader->bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &reader->samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &reader->planar);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &reader->format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    if (!TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &reader->photometric))
        reader->photometric = PHOTOMETRIC_MINISWHITE;
    if (!TIFFIsCODECConfigured(compression))
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is a TIFF picture with compression %d, which libtiff does not read",
                            reader->source->name, compression);
    if (reader->photometric == PHOTOMETRIC_YCBCR && compression == COMPRESSION_JPEG &&
        reader->planar == PLANARCONFIG_CONTIG && reader->samples == 3) {
        TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
        reader->photometric = PHOTOMETRIC_RGB;
    }
    reader->is_foreign =
        reader->photometric > PHOTOMETRIC_PALETTE && reader->photometric != PHOTOMETRIC_SEPARATED;
    int colors = color_samples(reader);
    if (!reader->is_foreign && check_samples(reader) != CR_OK)
        return cr_error_status();
    if (reader->samples < colors ||
        (reader->photometric == PHOTOMETRIC_PALETTE && reader->bits > 8))
        return images_damaged(reader->source, "TIFF", "its samples are too few or too wide");
    find_alpha(reader, colors);
    reader->kept = colors + reader->has_alpha;
    return CR_OK;
}

static int channel_count(const struct tiff_reader *reader)
{
    if (reader->is_foreign)
        return 3;
    if (reader->has_alpha)
        return 4;
    return reader->photometric <= PHOTOMETRIC_MINISBLACK ? 1 : 3;
}

/* ---- unpacking ---- */

static int sample_at(const uint8_t *row, size_t index, int bits)
{
    if (bits == 8)
        return row[index];
    if (bits == 16) {
        uint16_t value;
        memcpy(&value, row + 2 * index, sizeof value);
        return value;
    }
    size_t bit = index * (size_t)bits;
    int value = 0;
    for (int i = 0; i < bits; i++, bit++)
        value = value << 1 | (row[bit / 8] >> (7 - bit % 8) & 1);
    return value;
}

static uint8_t to_byte(int value, int bits)
{
    if (bits >= 8)
        return (uint8_t)(value >> (bits - 8));
    return (uint8_t)(value * 255 / ((1 << bits) - 1));
}

/* A row of a block: `count` pixels that begin at `row`, into column x of line y. */
static void unpack_row(const struct tiff_reader *reader, const uint8_t *row, uint32_t x, uint32_t y,
                       uint32_t count, uint16_t plane)
{
    bool is_palette = reader->photometric == PHOTOMETRIC_PALETTE;
    bool is_planar = reader->planar == PLANARCONFIG_SEPARATE;
    size_t step = is_planar ? 1 : reader->samples;
    int first = is_planar ? plane : 0;
    int last = is_planar ? plane + 1 : reader->kept;
    uint8_t *to = reader->unpacked + ((size_t)y * reader->width + x) * (size_t)reader->kept;
    for (uint32_t i = 0; i < count; i++, to += reader->kept) {
        for (int c = first; c < last; c++) {
            int value = sample_at(row, i * step + (size_t)(c - first), reader->bits);
            to[c] = is_palette && c == 0 ? (uint8_t)value : to_byte(value, reader->bits);
        }
    }
}

struct block_grid {
    bool is_tiled;
    uint32_t width;
    uint32_t height;
    tmsize_t size;
    tmsize_t stride;
};

static cr_status find_grid(const struct tiff_reader *reader, struct block_grid *grid)
{
    TIFF *tiff = reader->tiff;
    grid->is_tiled = TIFFIsTiled(tiff) != 0;
    grid->width = reader->width;
    if (grid->is_tiled) {
        TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &grid->width);
        TIFFGetField(tiff, TIFFTAG_TILELENGTH, &grid->height);
        grid->size = TIFFTileSize(tiff);
        grid->stride = TIFFTileRowSize(tiff);
    } else {
        TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &grid->height);
        grid->height = IMAGES_MIN(grid->height, reader->height);
        grid->size = TIFFStripSize(tiff);
        grid->stride = TIFFScanlineSize(tiff);
    }
    if (grid->width < 1 || grid->height < 1 || grid->width > (1U << 20) ||
        grid->height > (1U << 20))
        return damaged(reader);
    size_t samples = reader->planar == PLANARCONFIG_SEPARATE ? 1 : reader->samples;
    size_t needed = (grid->width * samples * reader->bits + 7) / 8;
    if (grid->size < 1 || grid->size > LARGEST_BLOCK || (size_t)grid->stride < needed ||
        grid->size < grid->stride * (tmsize_t)grid->height)
        return damaged(reader);
    return CR_OK;
}

static cr_status read_block(struct tiff_reader *reader, const struct block_grid *grid,
                            uint8_t *block, uint32_t x, uint32_t y, uint16_t plane)
{
    uint32_t columns = IMAGES_MIN(grid->width, reader->width - x);
    uint32_t rows = IMAGES_MIN(grid->height, reader->height - y);
    tmsize_t needed = (tmsize_t)rows * grid->stride;
    tmsize_t got =
        grid->is_tiled
            ? TIFFReadEncodedTile(reader->tiff, TIFFComputeTile(reader->tiff, x, y, 0, plane),
                                  block, grid->size)
            : TIFFReadEncodedStrip(reader->tiff, TIFFComputeStrip(reader->tiff, y, plane), block,
                                   needed);
    if (got < needed)
        return damaged(reader);
    for (uint32_t row = 0; row < rows; row++)
        unpack_row(reader, block + (size_t)row * (size_t)grid->stride, x, y + row, columns, plane);
    return CR_OK;
}

static cr_status unpack(struct tiff_reader *reader)
{
    struct block_grid grid = { 0 };
    if (find_grid(reader, &grid) != CR_OK)
        return cr_error_status();
    uint8_t *block = cr_alloc((size_t)grid.size);
    if (!block)
        return cr_error_status();
    uint16_t planes = reader->planar == PLANARCONFIG_SEPARATE ? (uint16_t)reader->kept : 1;
    for (uint16_t plane = 0; plane < planes; plane++) {
        for (uint32_t y = 0; y < reader->height && !cr_failed(); y += grid.height) {
            for (uint32_t x = 0; x < reader->width && !cr_failed(); x += grid.width)
                read_block(reader, &grid, block, x, y, plane);
        }
    }
    cr_free(block);
    return cr_error_status();
}

/* ---- colours ---- */

/* The palette's 16 bits, of which some old files fill the lower 8 only. */
static cr_status find_palette(const struct tiff_reader *reader, uint8_t palette[256][3])
{
    uint16_t *columns[3];
    uint16_t all = 0;
    int colors = 1 << reader->bits;
    if (!TIFFGetField(reader->tiff, TIFFTAG_COLORMAP, &columns[0], &columns[1], &columns[2]))
        return images_damaged(reader->source, "TIFF", "its palette is missing");
    for (int i = 0; i < colors; i++)
        all |= columns[0][i] | columns[1][i] | columns[2][i];
    for (int i = 0; i < colors; i++) {
        for (int c = 0; c < 3; c++)
            palette[i][c] = (uint8_t)(all > 255 ? columns[c][i] >> 8 : columns[c][i]);
    }
    return CR_OK;
}

/* Colours that were multiplied by their opacity are divided by it, as in Pillow. */
static void divide_by_alpha(uint8_t *rgba)
{
    for (int c = 0; c < 3 && rgba[3] < 255; c++)
        rgba[c] = (uint8_t)(rgba[3] == 0 ? 0 : IMAGES_MIN(rgba[c] * 255 / rgba[3], 255));
}

static cr_status give_colors(const struct tiff_reader *reader, const cr_image *image)
{
    uint8_t palette[256][3] = { { 0 } };
    bool is_palette = reader->photometric == PHOTOMETRIC_PALETTE;
    if (is_palette && find_palette(reader, palette) != CR_OK)
        return cr_error_status();
    size_t count = (size_t)reader->width * reader->height;
    const uint8_t *from = reader->unpacked;
    uint8_t *to = image->pixels;
    if (reader->photometric == PHOTOMETRIC_SEPARATED) {
        images_cmyk_to_rgb(from, to, count);
        return CR_OK;
    }
    for (size_t i = 0; i < count; i++, from += reader->kept, to += image->channels) {
        uint8_t grey = reader->photometric == PHOTOMETRIC_MINISWHITE ? 255 - from[0] : from[0];
        int colors = image->channels == 1 ? 1 : 3;
        for (int c = 0; c < colors; c++)
            to[c] = is_palette                               ? palette[from[0]][c]
                    : reader->photometric == PHOTOMETRIC_RGB ? from[c]
                                                             : grey;
        if (image->channels == 4)
            to[3] = from[reader->kept - 1];
        if (image->channels == 4 && reader->extra == EXTRASAMPLE_ASSOCALPHA)
            divide_by_alpha(to);
    }
    return CR_OK;
}

/* libtiff's own conversion, in the order in which the rows are stored. */
static cr_status read_foreign(struct tiff_reader *reader, const cr_image *image, int orientation)
{
    size_t count = (size_t)reader->width * reader->height;
    uint32_t *raster = cr_alloc_array(count, sizeof *raster);
    if (!raster)
        return cr_error_status();
    if (TIFFReadRGBAImageOriented(reader->tiff, reader->width, reader->height, raster, orientation,
                                  1)) {
        for (size_t i = 0; i < count; i++) {
            image->pixels[3 * i] = (uint8_t)TIFFGetR(raster[i]);
            image->pixels[3 * i + 1] = (uint8_t)TIFFGetG(raster[i]);
            image->pixels[3 * i + 2] = (uint8_t)TIFFGetB(raster[i]);
        }
    } else {
        damaged(reader);
    }
    cr_free(raster);
    return cr_error_status();
}

static cr_status read_pixels(struct tiff_reader *reader, const cr_image *image, int orientation)
{
    if (reader->is_foreign)
        return read_foreign(reader, image, orientation);
    size_t count = (size_t)reader->width * reader->height;
    reader->unpacked = cr_alloc_array(count, (size_t)reader->kept);
    if (!reader->unpacked || unpack(reader) != CR_OK)
        return cr_error_status();
    return give_colors(reader, image);
}

cr_status images_decode_tiff(const struct image_source *source, struct image_result *result)
{
    struct tiff_reader reader = { .source = source };
    reader.tiff = open_source(&reader);
    if (!reader.tiff)
        return damaged(&reader);
    uint16_t orientation = ORIENTATION_TOPLEFT;
    if (read_header(&reader) == CR_OK &&
        images_take_size(source, result, reader.width, reader.height, channel_count(&reader)) ==
            CR_OK) {
        TIFFGetField(reader.tiff, TIFFTAG_ORIENTATION, &orientation);
        result->orientation = orientation;
        if (result->image)
            read_pixels(&reader, result->image, orientation);
    }
    TIFFClose(reader.tiff);
    cr_free(reader.unpacked);
    return cr_error_status();
}
