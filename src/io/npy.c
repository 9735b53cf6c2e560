/* npy: a magic number, a version, the length of a header, the header as the text of a Python
 * dictionary, padded to 64 bytes, then the elements. The header is read by a small parser for just
 * the three keys that it must have; everything else is refused. */
#include <string.h>

#include "cresset/array_file.h"
#include "cresset/ops.h"
#include "io/archive.h"

#define MAGIC       "\x93NUMPY"
#define MAGIC_BYTES 6
#define ALIGNMENT   64
#define MOST_HEADER 65536
#define MOST_FILE   ((size_t)1 << 46)
#define DESCR_BYTES 16

struct npy_header {
    char descr[DESCR_BYTES];
    bool fortran_order;
    cr_shape shape;
    bool has_descr, has_order, has_shape;
};

/* ---- the dictionary ---- */

struct parser {
    const char *at;
    const char *end;
};

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t'))
        p->at++;
}

static bool take(struct parser *p, const char *word)
{
    size_t length = strlen(word);
    skip_space(p);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, word, length) != 0)
        return false;
    p->at += length;
    return true;
}

/* A string in single or double quotes, without escapes. */
static bool take_string(struct parser *p, char *out, size_t room)
{
    skip_space(p);
    if (p->at == p->end || (*p->at != '\'' && *p->at != '"'))
        return false;
    const char *begin = p->at + 1;
    const char *close = memchr(begin, *p->at, (size_t)(p->end - begin));
    if (!close || (size_t)(close - begin) >= room || memchr(begin, '\\', (size_t)(close - begin)))
        return false;
    memcpy(out, begin, (size_t)(close - begin));
    out[close - begin] = '\0';
    p->at = close + 1;
    return true;
}

static bool take_size(struct parser *p, int64_t *size)
{
    skip_space(p);
    const char *begin = p->at;
    *size = 0;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        if (__builtin_mul_overflow(*size, 10, size) ||
            __builtin_add_overflow(*size, *p->at - '0', size))
            return false;
        p->at++;
    }
    return p->at > begin;
}

static bool take_shape(struct parser *p, cr_shape *shape)
{
    if (!take(p, "("))
        return false;
    while (!take(p, ")")) {
        if (shape->ndim == CR_MAX_DIMS || !take_size(p, &shape->dim[shape->ndim]))
            return false;
        shape->ndim++;
        if (!take(p, ",") && (p->at == p->end || *p->at != ')'))
            return false;
    }
    return true;
}

/* One `'key': value`; each key may come once. */
static bool take_entry(struct parser *p, struct npy_header *header)
{
    char key[DESCR_BYTES];
    if (!take_string(p, key, sizeof key) || !take(p, ":"))
        return false;
    if (strcmp(key, "descr") == 0 && !header->has_descr) {
        header->has_descr = true;
        return take_string(p, header->descr, sizeof header->descr);
    }
    if (strcmp(key, "fortran_order") == 0 && !header->has_order) {
        header->has_order = true;
        header->fortran_order = take(p, "True");
        return header->fortran_order || take(p, "False");
    }
    if (strcmp(key, "shape") == 0 && !header->has_shape) {
        header->has_shape = true;
        return take_shape(p, &header->shape);
    }
    return false;
}

static bool parse_dictionary(const char *text, size_t length, struct npy_header *header)
{
    struct parser p = { text, text + length };
    if (!take(&p, "{"))
        return false;
    while (!take(&p, "}")) {
        if (!take_entry(&p, header))
            return false;
        if (!take(&p, ",") && (p.at == p.end || *p.at != '}'))
            return false;
    }
    skip_space(&p);
    return p.at == p.end && header->has_descr && header->has_order && header->has_shape;
}

/* ---- dtypes ---- */

static const char *const descrs[CR_DTYPE_COUNT] = {
#define DESCR_ROW(name, word, numpy, bytes, kind) numpy,
    CR_DTYPE_TABLE(DESCR_ROW)
#undef DESCR_ROW
};

/* The type behind the mark of byte order; *swapped if that is the other one. */
static cr_status find_dtype(const char *name, const char *descr, cr_dtype *dtype, bool *swapped)
{
    *swapped = descr[0] == '>';
    for (int i = 0; i < CR_DTYPE_COUNT; i++) {
        if (descr[0] && strchr("<>|=", descr[0]) && strcmp(descr + 1, descrs[i] + 1) == 0) {
            *dtype = (cr_dtype)i;
            return CR_OK;
        }
    }
    return cr_error_set(CR_ERROR_DTYPE,
                        "%s has elements of NumPy's type \"%s\", which no dtype "
                        "stands for; convert it with astype",
                        name, descr);
}

/* ---- reading ---- */

/* Finds the dictionary: *length bytes at the pointer returned; NULL with an error if it is not
 * there. */
static const char *find_dictionary(const unsigned char *data, size_t size, const char *name,
                                   size_t *length)
{
    size_t head = size > MAGIC_BYTES && data[MAGIC_BYTES] >= 2 ? 12 : 10;
    if (size < head || memcmp(data, MAGIC, MAGIC_BYTES) != 0) {
        cr_error_set(CR_ERROR_FORMAT, "%s is no npy file: it does not begin as one", name);
        return NULL;
    }
    if (data[6] < 1 || data[6] > 3) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s is of npy version %d.%d; 1 to 3 are read", name,
                     data[6], data[7]);
        return NULL;
    }
    *length = (size_t)data[8] | (size_t)data[9] << 8;
    if (head == 12)
        *length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
    if (*length > MOST_HEADER || *length > size - head) {
        cr_error_set(CR_ERROR_FORMAT, "%s has a header of %zu bytes, which is too long", name,
                     *length);
        return NULL;
    }
    return (const char *)data + head;
}

static void swap_bytes(char *at, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++, at += size) {
        for (size_t b = 0; b < size / 2; b++) {
            char held = at[b];
            at[b] = at[size - 1 - b];
            at[size - 1 - b] = held;
        }
    }
}

static cr_status check_truth(const char *name, const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] > 1)
            return cr_error_set(CR_ERROR_FORMAT, "%s: element %zu is %d, which is no bool", name, i,
                                data[i]);
    }
    return CR_OK;
}

/* In Fortran order the first dimension is the fastest: the shape is read backwards. */
static cr_tensor *make_tensor(const unsigned char *data, const struct npy_header *header,
                              cr_dtype dtype, bool swapped)
{
    cr_shape shape = header->shape, reversed = { .ndim = shape.ndim };
    for (int d = 0; header->fortran_order && d < shape.ndim; d++) {
        shape.dim[d] = header->shape.dim[shape.ndim - 1 - d];
        reversed.dim[d] = shape.ndim - 1 - d;
    }
    cr_tensor *tensor = cr_from_buffer(data, shape, dtype);
    if (tensor && swapped)
        swap_bytes(cr_data(tensor), (size_t)cr_numel(tensor), cr_dtype_size(dtype));
    if (!header->fortran_order || shape.ndim < 2)
        return tensor;
    return cr_contiguous(cr_permute(tensor, reversed));
}

static cr_tensor *load_checked(const unsigned char *data, size_t size, const char *name)
{
    size_t length = 0;
    struct npy_header header = { .has_descr = false };
    cr_dtype dtype = CR_F32;
    bool swapped = false;
    const char *dictionary = find_dictionary(data, size, name, &length);
    if (!dictionary)
        return NULL;
    if (!parse_dictionary(dictionary, length, &header)) {
        cr_error_set(CR_ERROR_FORMAT,
                     "%s has a header that does not tell one plain dtype, the order and a shape of "
                     "at most %d dimensions; objects and structured types are not read",
                     name, CR_MAX_DIMS);
        return NULL;
    }
    if (find_dtype(name, header.descr, &dtype, &swapped) != CR_OK)
        return NULL;
    const unsigned char *elements = (const unsigned char *)dictionary + length;
    size_t room = size - (size_t)(elements - data), bytes = cr_dtype_size(dtype);
    for (int d = 0; d < header.shape.ndim; d++) {
        if (!cr_multiply_checked(bytes, (size_t)header.shape.dim[d], &bytes))
            bytes = SIZE_MAX;
    }
    if (bytes != room) {
        char text[CR_SHAPE_TEXT];
        cr_error_set(CR_ERROR_FORMAT, "%s has %zu bytes of elements, but shape %s of %s needs %s",
                     name, room, cr_shape_format(&header.shape, text, sizeof text),
                     cr_dtype_name(dtype), bytes > room ? "more" : "less");
        return NULL;
    }
    if (dtype == CR_BOOL && check_truth(name, elements, room) != CR_OK)
        return NULL;
    return make_tensor(elements, &header, dtype, swapped);
}

cr_tensor *cr_npy_load_memory(const void *data, size_t size, const char *name)
{
    if (cr_failed())
        return NULL;
    cr_frame frame = cr_frame_begin();
    return cr_frame_end_with(frame, load_checked(data, size, name));
}

cr_tensor *cr_npy_load(const char *path)
{
    size_t size = 0;
    if (cr_failed())
        return NULL;
    char *data = cr_file_read(path, MOST_FILE, &size);
    cr_tensor *tensor = data ? cr_npy_load_memory(data, size, path) : NULL;
    cr_free(data);
    return tensor;
}

/* ---- writing ---- */

void npy_write_header(const cr_tensor *tensor, cr_text *header)
{
    char shape[CR_SHAPE_TEXT];
    cr_shape sizes = cr_shape_of(tensor);
    cr_text text = { 0 };
    cr_text_printf(&text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                   descrs[cr_dtype_of(tensor)], cr_shape_format(&sizes, shape, sizeof shape));
    size_t used = MAGIC_BYTES + 4 + text.length + 1;
    size_t length = text.length + 1 + (ALIGNMENT - used % ALIGNMENT) % ALIGNMENT;
    while (text.length + 1 < length && !cr_failed())
        cr_text_append(&text, " ");
    cr_text_append(&text, "\n");
    unsigned char head[] = { 1, 0, (unsigned char)length, (unsigned char)(length >> 8) };
    cr_text_append_bytes(header, MAGIC, MAGIC_BYTES);
    cr_text_append_bytes(header, head, sizeof head);
    cr_text_append_bytes(header, text.data ? text.data : "", text.length);
    cr_text_free(&text);
}

const void *npy_elements(const cr_tensor *tensor, void **owned)
{
    size_t bytes = (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor));
    *owned = NULL;
    if (cr_is_contiguous(tensor) && cr_data(tensor))
        return cr_data(tensor);
    *owned = cr_alloc(bytes);
    if (*owned && cr_to_buffer(tensor, *owned, bytes) == CR_OK)
        return *owned;
    cr_free(*owned);
    *owned = NULL;
    return NULL;
}

cr_status cr_npy_save(const char *path, const cr_tensor *tensor)
{
    void *owned = NULL;
    cr_text header = { 0 };
    if (cr_failed())
        return cr_error_status();
    const void *elements = npy_elements(tensor, &owned);
    cr_file_writer *writer = elements ? cr_file_writer_open(path) : NULL;
    if (writer) {
        npy_write_header(tensor, &header);
        cr_file_writer_write(writer, header.data, header.length);
        cr_file_writer_write(writer, elements,
                             (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor)));
        if (cr_failed())
            cr_file_writer_abandon(writer);
        else
            cr_file_writer_finish(writer);
    } else {
        cr_error_prefix("%s", path);
    }
    cr_text_free(&header);
    cr_free(owned);
    return cr_error_status();
}
