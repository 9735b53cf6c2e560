/* idx: two zero bytes, a type, the number of dimensions, their sizes as big-endian 32-bit numbers,
 * then the elements, big-endian as well. The header is checked against the length of the file
 * before anything is taken from it. Which file holds what is left to the data sets. */
#include <string.h>

#include "base/base.h"
#include "cresset/file.h"
#include "cresset/idx.h"

#define MAGIC_BYTES 4
#define SIZE_BYTES  4 /* of one dimension */

static const struct idx_type {
    unsigned char code;
    cr_dtype dtype;
} idx_types[] = { { 0x08, CR_U8 },  { 0x09, CR_I8 },  { 0x0B, CR_I16 },
                  { 0x0C, CR_I32 }, { 0x0D, CR_F32 }, { 0x0E, CR_F64 } };

struct idx_header {
    cr_dtype dtype;
    cr_shape shape;
    size_t length; /* of the header */
    size_t bytes;  /* of the data */
};

static cr_status parse_magic(const unsigned char *data, size_t size, const char *name,
                             struct idx_header *header)
{
    if (size < MAGIC_BYTES)
        return cr_error_set(CR_ERROR_FORMAT, "%s is not an idx file: it has only %zu bytes", name,
                            size);
    bool known = false;
    for (int i = 0; i < CR_COUNT_OF(idx_types); i++) {
        if (data[2] == idx_types[i].code) {
            header->dtype = idx_types[i].dtype;
            known = true;
        }
    }
    if (data[0] != 0 || data[1] != 0 || !known || data[3] == 0)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is not an idx file: it begins with the bytes %02x %02x %02x %02x, "
                            "which are no idx magic number",
                            name, data[0], data[1], data[2], data[3]);
    if (data[3] > CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_FORMAT, "%s has %d dimensions, and at most %d are supported",
                            name, data[3], CR_MAX_DIMS);
    header->shape.ndim = data[3];
    header->length = MAGIC_BYTES + SIZE_BYTES * (size_t)data[3];
    return CR_OK;
}

static cr_status parse_sizes(const unsigned char *data, size_t size, const char *name,
                             struct idx_header *header)
{
    if (size < header->length)
        return cr_error_set(CR_ERROR_FORMAT, "%s is truncated: it ends inside its header", name);
    size_t bytes = cr_dtype_size(header->dtype);
    bool fits = true;
    for (int i = 0; i < header->shape.ndim; i++) {
        const unsigned char *at = data + MAGIC_BYTES + SIZE_BYTES * i;
        uint32_t dim = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        header->shape.dim[i] = dim;
        fits = fits && cr_multiply_checked(bytes, dim, &bytes);
    }
    char shape[CR_SHAPE_TEXT];
    cr_shape_format(&header->shape, shape, sizeof shape);
    if (!fits)
        return cr_error_set(CR_ERROR_FORMAT, "%s: its header says %s, which is too large", name,
                            shape);
    header->bytes = bytes;
    if (bytes != size - header->length)
        return cr_error_set(CR_ERROR_FORMAT, "%s %s: its header says %s, %zu bytes, and %zu follow",
                            name, bytes > size - header->length ? "is truncated" : "is too long",
                            shape, bytes, size - header->length);
    return CR_OK;
}

static cr_status parse_header(const unsigned char *data, size_t size, const char *name,
                              struct idx_header *header)
{
    *header = (struct idx_header){ 0 };
    if (parse_magic(data, size, name, header) != CR_OK)
        return cr_error_status();
    return parse_sizes(data, size, name, header);
}

/* Turns elements of `width` bytes round. */
static void copy_reversed(unsigned char *to, const unsigned char *from, size_t bytes, size_t width)
{
    for (size_t i = 0; i < bytes; i += width) {
        for (size_t j = 0; j < width; j++)
            to[i + j] = from[i + width - 1 - j];
    }
}

static cr_tensor *copy_elements(const unsigned char *data, const struct idx_header *header)
{
    cr_tensor *tensor = cr_empty(header->shape, .dtype = header->dtype);
    if (tensor && header->bytes > 0)
        copy_reversed(cr_data(tensor), data + header->length, header->bytes,
                      cr_dtype_size(header->dtype));
    return tensor;
}

cr_tensor *cr_idx_load_memory(const void *data, size_t size, const char *name)
{
    struct idx_header header;
    if (cr_failed() || parse_header(data, size, name, &header) != CR_OK)
        return NULL;
    return copy_elements(data, &header);
}

cr_tensor *cr_idx_load(const char *path)
{
    size_t size = 0;
    char *data = cr_failed() ? NULL : cr_file_read_gzip(path, CR_IDX_MAX_BYTES, &size);
    if (!data)
        return NULL;
    struct idx_header header;
    cr_tensor *tensor = NULL;
    if (parse_header((const unsigned char *)data, size, path, &header) == CR_OK) {
        if (header.dtype == CR_U8)
            return cr_wrap_buffer(data + header.length, header.shape, CR_U8, cr_free, data);
        tensor = copy_elements((const unsigned char *)data, &header);
    }
    cr_free(data);
    return tensor;
}
