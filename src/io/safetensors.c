/* safetensors: eight bytes of header length, a JSON header, then the data without gaps.
 *
 * The reader parses the header once into a sorted list of entries and checks all of it before any
 * datum is read: lengths against the file, extents against shapes, that the tensors cover the data
 * without gap or overlap. Data are read straight into the tensor that asks for them; the file is
 * not mapped, so that one which is cut while it is open gives an error and not a signal. The writer
 * orders by falling alignment, then name, as other writers do. JSON itself is jansson's. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "cresset/file.h"
#include "cresset/pointwise.h"
#include "cresset/safetensors.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are copied to and from little-endian files byte by byte"
#endif

#define LENGTH_BYTES 8
#define METADATA_KEY "__metadata__"
#define PADDING      8 /* the header's, so that the data of every dtype begin aligned */

/* A name from a file, cut and freed of control characters, as a message may show it. */
#define SHOWN_NAME 128

struct format_dtype {
    const char *name;
    size_t size;
    int dtype; /* a cr_dtype, or -1 where the library has none */
};

static const struct format_dtype format_dtypes[] = {
    { "F32", 4, CR_F32 }, { "F64", 8, CR_F64 },   { "BF16", 2, CR_BF16 }, { "F16", 2, CR_F16 },
    { "I64", 8, CR_I64 }, { "I32", 4, CR_I32 },   { "I16", 2, CR_I16 },   { "I8", 1, CR_I8 },
    { "U8", 1, CR_U8 },   { "BOOL", 1, CR_BOOL }, { "U16", 2, -1 },       { "U32", 4, -1 },
    { "U64", 8, -1 },     { "F8_E5M2", 1, -1 },   { "F8_E4M3", 1, -1 },   { "C64", 8, -1 },
    { "F8_E8M0", 1, -1 },
};

struct entry {
    const char *name; /* the header's */
    const struct format_dtype *dtype;
    cr_shape shape;
    uint64_t begin; /* from the start of the data */
    uint64_t end;
};

struct cr_safetensors {
    char *path;
    int descriptor;            /* -1: in memory */
    const unsigned char *data; /* the whole file, if in memory */
    uint64_t size;             /* of the file */
    uint64_t data_start;
    json_t *header;
    json_t *metadata; /* borrowed from header; NULL if there is none */
    struct entry *entries;
    int count;
};

static const char *show(const char *name, char text[SHOWN_NAME])
{
    size_t length = strnlen(name, SHOWN_NAME - 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    text[length] = '\0';
    return text;
}

/* ---- bytes ---- */

#define PART_BYTES ((int64_t)1 << 20) /* of a read that threads share */

/* A read by parts; `failure` is an errno, or -1 where the file ended. */
struct reading {
    int descriptor;
    uint64_t offset;
    char *to;
    int64_t bytes;
    _Atomic int failure;
};

static void read_parts(int64_t begin, int64_t end, void *context)
{
    struct reading *r = context;
    int64_t at = begin * PART_BYTES, last = CR_MIN(end * PART_BYTES, r->bytes);
    while (at < last) {
        ssize_t got = pread(r->descriptor, r->to + at, (size_t)(last - at),
                            (off_t)(r->offset + (uint64_t)at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            r->failure = got < 0 ? errno : -1;
            return;
        }
        at += got;
    }
}

/* Reads `count` bytes at an offset that was checked against the size. Threads share it, since most
 * of the time goes to making the pages that are written for the first time. */
static cr_status read_at(const cr_safetensors *file, uint64_t offset, void *out, size_t count)
{
    if (file->descriptor < 0) {
        memcpy(out, file->data + offset, count);
        return CR_OK;
    }
    struct reading r = {
        .descriptor = file->descriptor, .offset = offset, .to = out, .bytes = (int64_t)count
    };
    cr_parallel_for(CR_DIV_UP(r.bytes, PART_BYTES), 1, read_parts, &r);
    if (r.failure > 0)
        return cr_error_set(CR_ERROR_IO, "cannot read %s: %s", file->path, strerror(r.failure));
    if (r.failure < 0)
        return cr_error_set(CR_ERROR_IO, "%s became shorter while it was being read", file->path);
    return CR_OK;
}

static cr_status open_descriptor(cr_safetensors *file)
{
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (file->descriptor < 0 || fstat(file->descriptor, &status) != 0)
        return cr_error_set(CR_ERROR_IO, "cannot open %s: %s", file->path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return cr_error_set(CR_ERROR_IO, "cannot read %s: it is not a regular file", file->path);
    file->size = (uint64_t)status.st_size;
    return CR_OK;
}

/* ---- the header ---- */

static cr_status wrong_entry(const cr_safetensors *file, const char *name, const char *what)
{
    char shown[SHOWN_NAME];
    return cr_error_set(CR_ERROR_FORMAT, "%s: tensor \"%s\" %s", file->path, show(name, shown),
                        what);
}

static cr_status parse_header(cr_safetensors *file, const char *text, size_t length)
{
    if (length == 0 || text[0] != '{')
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is not a safetensors file: its header does not begin with '{'",
                            file->path);
    json_error_t error;
    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!file->header && json_error_code(&error) == json_error_out_of_memory)
        return cr_error_set(CR_ERROR_MEMORY, "%s: out of memory while reading the header",
                            file->path);
    char shown[SHOWN_NAME];
    if (!file->header)
        return cr_error_set(CR_ERROR_FORMAT, "%s: the header is not valid JSON at byte %d: %s",
                            file->path, error.position, show(error.text, shown));
    return CR_OK;
}

static cr_status read_header(cr_safetensors *file)
{
    unsigned char raw[LENGTH_BYTES];
    if (file->size < LENGTH_BYTES)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is not a safetensors file: it has %llu bytes, and the length of "
                            "the header takes 8",
                            file->path, (unsigned long long)file->size);
    if (read_at(file, 0, raw, sizeof raw) != CR_OK)
        return cr_error_status();
    uint64_t length = 0;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | raw[i];
    if (length > CR_SAFETENSORS_MAX_HEADER)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is not a safetensors file: its header would have %llu bytes, over "
                            "the limit of %d",
                            file->path, (unsigned long long)length, CR_SAFETENSORS_MAX_HEADER);
    if (length > file->size - LENGTH_BYTES)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is truncated: a header of %llu bytes is announced, and the file "
                            "has %llu",
                            file->path, (unsigned long long)length, (unsigned long long)file->size);
    file->data_start = LENGTH_BYTES + length;
    char *text = cr_alloc((size_t)length);
    if (!text)
        return cr_error_status();
    cr_status status = read_at(file, LENGTH_BYTES, text, (size_t)length);
    if (status == CR_OK)
        status = parse_header(file, text, (size_t)length);
    cr_free(text);
    return status;
}

static cr_status check_metadata(cr_safetensors *file)
{
    file->metadata = json_object_get(file->header, METADATA_KEY);
    if (!file->metadata)
        return CR_OK;
    if (!json_is_object(file->metadata))
        return cr_error_set(CR_ERROR_FORMAT, "%s: " METADATA_KEY " is not a map of strings",
                            file->path);
    const char *key;
    json_t *value;
    json_object_foreach(file->metadata, key, value)
    {
        char shown[SHOWN_NAME];
        if (!json_is_string(value))
            return cr_error_set(CR_ERROR_FORMAT, "%s: the metadata \"%s\" is not a string",
                                file->path, show(key, shown));
    }
    return CR_OK;
}

static cr_status parse_dtype(const cr_safetensors *file, struct entry *entry, const json_t *record)
{
    const char *name = json_string_value(json_object_get(record, "dtype"));
    if (!name)
        return wrong_entry(file, entry->name, "has no dtype");
    for (int i = 0; i < CR_COUNT_OF(format_dtypes); i++) {
        if (strcmp(format_dtypes[i].name, name) == 0)
            entry->dtype = &format_dtypes[i];
    }
    return entry->dtype ? CR_OK : wrong_entry(file, entry->name, "has an unknown dtype");
}

/* Shape and number of bytes, which no product may overflow. */
static cr_status parse_shape(const cr_safetensors *file, struct entry *entry, const json_t *record,
                             uint64_t *bytes)
{
    const json_t *shape = json_object_get(record, "shape");
    if (!json_is_array(shape))
        return wrong_entry(file, entry->name, "has no shape");
    if (json_array_size(shape) > CR_MAX_DIMS)
        return wrong_entry(file, entry->name, "has more than 8 dimensions");
    entry->shape.ndim = (int)json_array_size(shape);
    int64_t product = (int64_t)entry->dtype->size;
    for (int i = 0; i < entry->shape.ndim; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return wrong_entry(file, entry->name, "has a size that is not a natural number");
        entry->shape.dim[i] = json_integer_value(dim);
        if (__builtin_mul_overflow(product, entry->shape.dim[i], &product))
            return wrong_entry(file, entry->name, "has more elements than can be addressed");
    }
    *bytes = (uint64_t)product;
    return CR_OK;
}

static cr_status parse_offsets(const cr_safetensors *file, struct entry *entry,
                               const json_t *record, uint64_t bytes)
{
    const json_t *offsets = json_object_get(record, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0);
    const json_t *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return wrong_entry(file, entry->name, "has no data_offsets of two numbers");
    if (json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return wrong_entry(file, entry->name, "ends before it begins");
    entry->begin = (uint64_t)json_integer_value(begin);
    entry->end = (uint64_t)json_integer_value(end);
    if (entry->end > file->size - file->data_start)
        return wrong_entry(file, entry->name, "ends after the end of the file, which is truncated");
    if (entry->end - entry->begin != bytes)
        return wrong_entry(file, entry->name, "has data of another size than its shape says");
    return CR_OK;
}

static cr_status parse_entry(const cr_safetensors *file, struct entry *entry, const char *name,
                             const json_t *record)
{
    uint64_t bytes = 0;
    *entry = (struct entry){ .name = name };
    if (!json_is_object(record))
        return wrong_entry(file, name, "is not described by an object");
    if (parse_dtype(file, entry, record) != CR_OK ||
        parse_shape(file, entry, record, &bytes) != CR_OK)
        return cr_error_status();
    return parse_offsets(file, entry, record, bytes);
}

/* Empty tensors come before the one that begins where they do. */
static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->name, b->name);
}

static cr_status check_cover(const cr_safetensors *file)
{
    uint64_t end = 0;
    for (int i = 0; i < file->count; i++) {
        const struct entry *entry = &file->entries[i];
        if (entry->begin < end)
            return wrong_entry(file, entry->name, "overlaps the one before it");
        if (entry->begin > end)
            return wrong_entry(file, entry->name, "begins after a gap");
        end = entry->end;
    }
    uint64_t left = file->size - file->data_start - end;
    if (left > 0)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s has %llu bytes after its last tensor, where the file should end",
                            file->path, (unsigned long long)left);
    return CR_OK;
}

/* Under each name the header now holds where its entry stands, so that names are found by hashing.
 */
static cr_status index_entries(cr_safetensors *file)
{
    for (int i = 0; i < file->count; i++) {
        if (json_object_set_new(file->header, file->entries[i].name, json_integer(i)) != 0)
            return cr_error_set(CR_ERROR_MEMORY, "%s: out of memory while reading the header",
                                file->path);
    }
    return CR_OK;
}

static cr_status parse_entries(cr_safetensors *file)
{
    file->entries = cr_alloc_array(json_object_size(file->header), sizeof *file->entries);
    if (!file->entries)
        return cr_error_status();
    const char *name;
    json_t *record;
    json_object_foreach(file->header, name, record)
    {
        if (strcmp(name, METADATA_KEY) == 0)
            continue;
        if (parse_entry(file, &file->entries[file->count], name, record) != CR_OK)
            return cr_error_status();
        file->count++;
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_entries);
    return check_cover(file) == CR_OK ? index_entries(file) : cr_error_status();
}

/* ---- the interface of the reader ---- */

static cr_safetensors *file_new(const char *path)
{
    if (cr_failed())
        return NULL;
    if (!path || !*path) {
        cr_error_set(CR_ERROR_ARGUMENT, "a safetensors file was asked for without a path");
        return NULL;
    }
    cr_safetensors *file = cr_alloc_zeroed(1, sizeof *file);
    if (!file)
        return NULL;
    file->descriptor = -1;
    file->path = cr_string_copy(path);
    if (!file->path) {
        cr_free(file);
        return NULL;
    }
    return file;
}

static cr_safetensors *check_file(cr_safetensors *file)
{
    if (read_header(file) == CR_OK && check_metadata(file) == CR_OK && parse_entries(file) == CR_OK)
        return file;
    cr_safetensors_close(file);
    return NULL;
}

cr_safetensors *cr_safetensors_open(const char *path)
{
    cr_safetensors *file = file_new(path);
    if (!file)
        return NULL;
    if (open_descriptor(file) != CR_OK) {
        cr_safetensors_close(file);
        return NULL;
    }
    return check_file(file);
}

cr_safetensors *cr_safetensors_open_memory(const void *data, size_t size, const char *name)
{
    cr_safetensors *file = file_new(name);
    if (!file)
        return NULL;
    file->data = data;
    file->size = size;
    return check_file(file);
}

void cr_safetensors_close(cr_safetensors *file)
{
    if (!file)
        return;
    if (file->descriptor >= 0)
        close(file->descriptor);
    json_decref(file->header);
    cr_free(file->entries);
    cr_free(file->path);
    cr_free(file);
}

const char *cr_safetensors_path(const cr_safetensors *file)
{
    return file ? file->path : "";
}

int cr_safetensors_count(const cr_safetensors *file)
{
    return file ? file->count : 0;
}

cr_safetensors_entry cr_safetensors_at(const cr_safetensors *file, int index)
{
    if (!file || index < 0 || index >= file->count)
        return (cr_safetensors_entry){ 0 };
    const struct entry *entry = &file->entries[index];
    return (cr_safetensors_entry){ .name = entry->name,
                                   .dtype_name = entry->dtype->name,
                                   .is_supported = entry->dtype->dtype >= 0,
                                   .dtype = (cr_dtype)CR_MAX(entry->dtype->dtype, 0),
                                   .shape = entry->shape,
                                   .bytes = entry->end - entry->begin };
}

int cr_safetensors_find(const cr_safetensors *file, const char *name)
{
    const json_t *index = file && name ? json_object_get(file->header, name) : NULL;
    return json_is_integer(index) ? (int)json_integer_value(index) : -1;
}

/* C has no bool but 0 and 1. */
static cr_status check_truth(const cr_safetensors *file, const char *name,
                             const unsigned char *data, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (data[i] > 1)
            return wrong_entry(file, name, "is BOOL and holds a byte that is neither 0 nor 1");
    }
    return CR_OK;
}

cr_tensor *cr_safetensors_load(cr_safetensors *file, const char *name)
{
    if (!file || cr_failed())
        return NULL;
    int index = cr_safetensors_find(file, name);
    char shown[SHOWN_NAME];
    if (index < 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s has no tensor \"%s\"", file->path,
                     show(name ? name : "", shown));
        return NULL;
    }
    const struct entry *entry = &file->entries[index];
    if (entry->dtype->dtype < 0) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s: tensor \"%s\" is %s, which is not a dtype here",
                     file->path, show(name, shown), entry->dtype->name);
        return NULL;
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *tensor = cr_empty(entry->shape, .dtype = (cr_dtype)entry->dtype->dtype);
    size_t bytes = (size_t)(entry->end - entry->begin);
    if (tensor && bytes > 0 &&
        read_at(file, file->data_start + entry->begin, cr_data(tensor), bytes) != CR_OK)
        tensor = NULL;
    if (tensor && entry->dtype->dtype == CR_BOOL &&
        check_truth(file, name, cr_data(tensor), bytes) != CR_OK)
        tensor = NULL;
    return cr_frame_end_with(frame, tensor);
}

cr_status cr_safetensors_load_into(cr_safetensors *file, const char *name, cr_tensor *tensor)
{
    if (!file || !tensor || cr_failed())
        return cr_error_status();
    int index = cr_safetensors_find(file, name);
    const struct entry *entry = index < 0 ? NULL : &file->entries[index];
    cr_shape shape = cr_shape_of(tensor);
    if (entry && entry->dtype->dtype == (int)cr_dtype_of(tensor) &&
        entry->dtype->dtype != CR_BOOL && cr_shape_equal(&entry->shape, &shape) &&
        cr_is_contiguous(tensor) && cr_device_of(tensor) == CR_CPU) {
        cr_status status = read_at(file, file->data_start + entry->begin, cr_data(tensor),
                                   (size_t)(entry->end - entry->begin));
        cr_mark_written(tensor);
        return status;
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *loaded = cr_safetensors_load(file, name);
    if (loaded)
        cr_copy_(tensor, loaded);
    cr_frame_end(frame);
    return cr_error_status();
}

int cr_safetensors_metadata_count(const cr_safetensors *file)
{
    return file ? (int)json_object_size(file->metadata) : 0;
}

cr_string_pair cr_safetensors_metadata_at(const cr_safetensors *file, int index)
{
    void *at = file ? json_object_iter(file->metadata) : NULL;
    for (int i = 0; at && i < index; i++)
        at = json_object_iter_next(file->metadata, at);
    if (!at || index < 0)
        return (cr_string_pair){ 0 };
    return (cr_string_pair){ json_object_iter_key(at),
                             json_string_value(json_object_iter_value(at)) };
}

const char *cr_safetensors_metadata(const cr_safetensors *file, const char *key)
{
    return file && key ? json_string_value(json_object_get(file->metadata, key)) : NULL;
}

/* ---- writing ---- */

static const struct format_dtype *format_of(cr_dtype dtype)
{
    for (int i = 0; i < CR_COUNT_OF(format_dtypes); i++) {
        if (format_dtypes[i].dtype == (int)dtype)
            return &format_dtypes[i];
    }
    return NULL;
}

static size_t bytes_of(const cr_tensor *tensor)
{
    return (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor));
}

static int compare_items(const void *left, const void *right)
{
    const cr_safetensors_item *a = left;
    const cr_safetensors_item *b = right;
    size_t size_a = cr_dtype_size(cr_dtype_of(a->tensor));
    size_t size_b = cr_dtype_size(cr_dtype_of(b->tensor));
    if (size_a != size_b)
        return size_a > size_b ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_pairs(const void *left, const void *right)
{
    return strcmp(((const cr_string_pair *)left)->key, ((const cr_string_pair *)right)->key);
}

/* A sorted copy of a list; the caller frees it. */
static void *sorted_copy(const void *list, int count, size_t size,
                         int (*compare)(const void *, const void *))
{
    void *copy = cr_alloc_array((size_t)count, size);
    if (copy && count > 0) {
        memcpy(copy, list, (size_t)count * size);
        qsort(copy, (size_t)count, size, compare);
    }
    return copy;
}

static cr_status check_items(const char *path, const cr_safetensors_item *items, int count)
{
    if (count < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: a list of %d tensors cannot be saved", path,
                            count);
    for (int i = 0; i < count; i++) {
        const char *name = items[i].name;
        if (!name || !*name || strcmp(name, METADATA_KEY) == 0)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s: \"%s\" cannot be the name of a tensor",
                                path, name ? name : "");
        if (!items[i].tensor)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s: tensor \"%s\" is NULL", path, name);
        if (cr_device_of(items[i].tensor) == CR_META)
            return cr_error_set(CR_ERROR_STATE,
                                "%s: tensor \"%s\" is on the meta device and has no data to save",
                                path, name);
    }
    return CR_OK;
}

static cr_status check_pairs(const char *path, const cr_string_pair *pairs, int count)
{
    if (count < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: a list of %d metadata cannot be saved", path,
                            count);
    for (int i = 0; i < count; i++) {
        if (!pairs[i].key || !pairs[i].value)
            return cr_error_set(CR_ERROR_ARGUMENT, "%s: metadata %d has no key or no value", path,
                                i);
    }
    return CR_OK;
}

/* Adds a string to an object. jansson refuses what is not UTF-8. */
static cr_status put_string(json_t *object, const char *key, const char *value)
{
    if (json_object_set_new(object, key, json_string(value)) == 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "the metadata \"%s\" cannot be saved: a key and its value must be UTF-8",
                        key);
}

static cr_status put_metadata(json_t *header, const cr_string_pair *metadata, int count)
{
    if (count == 0)
        return CR_OK;
    json_t *map = json_object();
    cr_status status = CR_OK;
    for (int i = 0; i < count && status == CR_OK; i++) {
        if (json_object_get(map, metadata[i].key))
            status = cr_error_set(CR_ERROR_ARGUMENT, "the metadata \"%s\" is given twice",
                                  metadata[i].key);
        else
            status = put_string(map, metadata[i].key, metadata[i].value);
    }
    if (json_object_set_new(header, METADATA_KEY, map) != 0 && status == CR_OK)
        status = cr_error_set(CR_ERROR_MEMORY, "out of memory while writing metadata");
    return status;
}

static cr_status put_item(json_t *header, const cr_safetensors_item *item, uint64_t *offset)
{
    cr_shape shape = cr_shape_of(item->tensor);
    uint64_t end = *offset + bytes_of(item->tensor);
    if (json_object_get(header, item->name))
        return cr_error_set(CR_ERROR_ARGUMENT, "the tensor \"%s\" is given twice", item->name);
    json_t *sizes = json_array();
    for (int i = 0; i < shape.ndim; i++)
        json_array_append_new(sizes, json_integer(shape.dim[i]));
    json_t *record =
        json_pack("{s:s, s:o, s:[I, I]}", "dtype", format_of(cr_dtype_of(item->tensor))->name,
                  "shape", sizes, "data_offsets", (json_int_t)*offset, (json_int_t)end);
    if (!record)
        return cr_error_set(CR_ERROR_MEMORY, "out of memory while writing a header");
    if (json_object_set_new(header, item->name, record) != 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "the name \"%s\" of a tensor is not UTF-8",
                            item->name);
    *offset = end;
    return CR_OK;
}

/* The header, padded with spaces; length in *size. To be freed with cr_free. */
static char *make_header(const cr_safetensors_item *items, int count,
                         const cr_string_pair *metadata, int metadata_count, size_t *size)
{
    json_t *header = json_object();
    uint64_t offset = 0;
    cr_status status = header ? put_metadata(header, metadata, metadata_count)
                              : cr_error_set(CR_ERROR_MEMORY, "out of memory for a header");
    for (int i = 0; i < count && status == CR_OK; i++)
        status = put_item(header, &items[i], &offset);
    size_t length = status == CR_OK ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    *size = CR_DIV_UP(length, PADDING) * PADDING;
    if (*size > CR_SAFETENSORS_MAX_HEADER)
        status = cr_error_set(CR_ERROR_ARGUMENT, "the header would have %zu bytes, over the limit",
                              *size);
    char *text = status == CR_OK ? cr_alloc(*size) : NULL;
    if (text) {
        memset(text + length, ' ', *size - length);
        if (json_dumpb(header, text, length, JSON_COMPACT) != length) {
            cr_error_set(CR_ERROR_MEMORY, "out of memory while writing a header");
            cr_free(text);
            text = NULL;
        }
    }
    json_decref(header);
    return text;
}

static cr_status write_tensor(cr_file_writer *writer, const cr_tensor *tensor)
{
    size_t bytes = bytes_of(tensor);
    if (cr_is_contiguous(tensor)) {
        cr_file_writer_write(writer, cr_data(tensor), bytes);
        return CR_OK;
    }
    void *copy = cr_buffer_alloc(bytes);
    if (!copy)
        return cr_error_status();
    cr_status status = cr_to_buffer(tensor, copy, bytes);
    if (status == CR_OK)
        cr_file_writer_write(writer, copy, bytes);
    cr_buffer_free(copy, bytes);
    return status;
}

static cr_status write_file(const char *path, const cr_safetensors_item *items, int count,
                            const char *header, size_t size)
{
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    unsigned char raw[LENGTH_BYTES];
    for (int i = 0; i < LENGTH_BYTES; i++)
        raw[i] = (unsigned char)((uint64_t)size >> (8 * i));
    cr_file_writer_write(writer, raw, sizeof raw);
    cr_file_writer_write(writer, header, size);
    for (int i = 0; i < count; i++) {
        if (write_tensor(writer, items[i].tensor) != CR_OK) {
            cr_file_writer_abandon(writer);
            return cr_error_status();
        }
    }
    return cr_file_writer_finish(writer);
}

cr_status cr_safetensors_save(const char *path, const cr_safetensors_item *items, int count,
                              const cr_string_pair *metadata, int metadata_count)
{
    if (cr_failed())
        return cr_error_status();
    if (!path || !*path)
        return cr_error_set(CR_ERROR_ARGUMENT, "tensors cannot be saved without a path");
    if (check_items(path, items, count) != CR_OK ||
        check_pairs(path, metadata, metadata_count) != CR_OK)
        return cr_error_status();
    cr_safetensors_item *sorted = sorted_copy(items, count, sizeof *items, compare_items);
    cr_string_pair *pairs = sorted_copy(metadata, metadata_count, sizeof *metadata, compare_pairs);
    size_t size = 0;
    char *header = NULL;
    if (sorted && pairs)
        header = make_header(sorted, count, pairs, metadata_count, &size);
    if (header)
        write_file(path, sorted, count, header, size);
    else
        cr_error_prefix("%s", path);
    cr_free(header);
    cr_free(pairs);
    cr_free(sorted);
    return cr_error_status();
}
