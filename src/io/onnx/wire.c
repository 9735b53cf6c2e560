/* The wire format of protocol buffers, read where it lies.
 *
 * An ONNX file is one message whose tensors are strings of bytes inside it, at no particular
 * alignment. So the file is not read as a whole: its structure is read through a small window,
 * and weights go straight from the file into the aligned memory of their tensors, each of them
 * once. The file is not mapped, so that one which is cut while it is open gives an error and not a
 * signal. Every length is checked against the message that it stands in. What fields mean is left
 * to onnx_read.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/onnx/onnx.h"

#define WINDOW     ((uint64_t)64 << 10)
#define PART_BYTES ((int64_t)1 << 20) /* of a read that threads share */
#define MAX_VARINT 10                 /* bytes */

/* ---- the source ---- */

static cr_status name_source(struct onnx_source *source, const char *path)
{
    *source = (struct onnx_source){ .descriptor = -1 };
    if (!path || !*path)
        return cr_error_set(CR_ERROR_ARGUMENT, "an ONNX file was asked for without a path");
    source->path = cr_string_copy(path);
    return source->path ? CR_OK : cr_error_status();
}

cr_status source_open(struct onnx_source *source, const char *path)
{
    if (name_source(source, path) != CR_OK)
        return cr_error_status();
    source->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    if (source->descriptor < 0 || fstat(source->descriptor, &status) != 0)
        return cr_error_set(CR_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return cr_error_set(CR_ERROR_IO, "cannot read %s: it is not a regular file", path);
    source->size = (uint64_t)status.st_size;
    source->window = cr_alloc(WINDOW);
    return source->window ? CR_OK : cr_error_status();
}

cr_status source_open_memory(struct onnx_source *source, const void *data, size_t size,
                             const char *name)
{
    if (name_source(source, name) != CR_OK)
        return cr_error_status();
    source->memory = data;
    source->size = size;
    return CR_OK;
}

void source_close(struct onnx_source *source)
{
    if (source->descriptor >= 0)
        close(source->descriptor);
    cr_free(source->window);
    cr_free(source->path);
    *source = (struct onnx_source){ .descriptor = -1 };
}

/* A read by parts; `failure` is an errno, or -1 where the file ended. */
struct reading {
    int descriptor;
    uint64_t offset;
    unsigned char *to;
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

cr_status source_read_much(const struct onnx_source *source, uint64_t offset, void *out,
                           size_t count)
{
    if (offset > source->size || count > source->size - offset)
        return cr_error_set(CR_ERROR_FORMAT, "%s is truncated: it ends inside a tensor",
                            source->path);
    if (source->memory) {
        if (count)
            memcpy(out, source->memory + offset, count);
        return CR_OK;
    }
    struct reading r = {
        .descriptor = source->descriptor, .offset = offset, .to = out, .bytes = (int64_t)count
    };
    cr_parallel_for(CR_DIV_UP(r.bytes, PART_BYTES), 1, read_parts, &r);
    if (r.failure > 0)
        return cr_error_set(CR_ERROR_IO, "cannot read %s: %s", source->path, strerror(r.failure));
    if (r.failure < 0)
        return cr_error_set(CR_ERROR_IO, "%s became shorter while it was being read", source->path);
    return CR_OK;
}

/* Where byte `offset` lies, and how many follow it there; NULL on failure. */
static const unsigned char *source_at(struct onnx_source *source, uint64_t offset, uint64_t *have)
{
    if (source->memory) {
        *have = source->size - offset;
        return source->memory + offset;
    }
    if (offset < source->window_begin || offset >= source->window_end) {
        uint64_t count = CR_MIN(WINDOW, source->size - offset);
        source->window_begin = source->window_end = 0;
        if (source_read_much(source, offset, source->window, count) != CR_OK)
            return NULL;
        source->window_begin = offset;
        source->window_end = offset + count;
    }
    *have = source->window_end - offset;
    return source->window + (offset - source->window_begin);
}

cr_status source_read(struct onnx_source *source, uint64_t offset, void *out, size_t count)
{
    if (offset > source->size || count > source->size - offset)
        return cr_error_set(CR_ERROR_FORMAT, "%s is truncated", source->path);
    unsigned char *to = out;
    while (count) {
        uint64_t have;
        const unsigned char *from = source_at(source, offset, &have);
        if (!from)
            return cr_error_status();
        size_t part = CR_MIN(count, have);
        memcpy(to, from, part);
        to += part;
        offset += part;
        count -= part;
    }
    return CR_OK;
}

/* ---- fields ---- */

static bool fault(const struct wire *wire, const char *what)
{
    cr_error_set(CR_ERROR_FORMAT, "%s is not an ONNX file, or is damaged: %s at byte %llu",
                 wire->source->path, what, (unsigned long long)wire->at);
    return false;
}

static bool read_varint(struct wire *wire, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < MAX_VARINT; i++) {
        uint64_t have;
        if (wire->at >= wire->end)
            return fault(wire, "a number is cut off");
        const unsigned char *byte = source_at(wire->source, wire->at, &have);
        if (!byte)
            return false;
        wire->at++;
        *value |= (uint64_t)(*byte & 0x7f) << (7 * i);
        if (!(*byte & 0x80))
            return true;
    }
    return fault(wire, "a number is too long");
}

static bool read_fixed(struct wire *wire, int bytes, uint64_t *value)
{
    unsigned char raw[8] = { 0 };
    if (wire->end - wire->at < (uint64_t)bytes)
        return fault(wire, "a number is cut off");
    if (source_read(wire->source, wire->at, raw, (size_t)bytes) != CR_OK)
        return false;
    wire->at += (uint64_t)bytes;
    *value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *value = *value << 8 | raw[i];
    return true;
}

bool wire_number(struct wire *wire, enum wire_type type, uint64_t *value)
{
    if (type == WIRE_VARINT)
        return read_varint(wire, value);
    return read_fixed(wire, type == WIRE_FIXED64 ? 8 : 4, value);
}

bool wire_next(struct wire *wire, struct wire_field *field)
{
    if (cr_failed() || wire->at >= wire->end)
        return false;
    uint64_t tag, length;
    *field = (struct wire_field){ .start = wire->at };
    if (!read_varint(wire, &tag))
        return false;
    if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
        return fault(wire, "a field has no valid number");
    field->number = (uint32_t)(tag >> 3);
    field->type = (enum wire_type)(tag & 7);
    switch (field->type) {
    case WIRE_VARINT:
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        return wire_number(wire, field->type, &field->value);
    case WIRE_BYTES:
        if (!read_varint(wire, &length))
            return false;
        if (length > wire->end - wire->at)
            return fault(wire, "a field ends after what it stands in");
        field->begin = wire->at;
        field->end = wire->at += length;
        return true;
    }
    return fault(wire, "a field has an unknown type");
}

struct wire wire_inside(const struct wire *wire, const struct wire_field *field)
{
    return (struct wire){ wire->source, field->begin, field->end };
}

int64_t wire_count(const struct wire *wire, const struct wire_field *field, enum wire_type type)
{
    if (field->type != WIRE_BYTES) {
        if (field->type == type)
            return 1;
        fault(wire, "a number has another type than its field");
        return -1;
    }
    struct wire run = wire_inside(wire, field);
    uint64_t bytes = run.end - run.at, value;
    if (type != WIRE_VARINT) {
        uint64_t size = type == WIRE_FIXED64 ? 8 : 4;
        if (bytes % size == 0)
            return (int64_t)(bytes / size);
        fault(wire, "a list of numbers is cut off");
        return -1;
    }
    int64_t count = 0;
    while (run.at < run.end) {
        if (!read_varint(&run, &value))
            return -1;
        count++;
    }
    return count;
}
