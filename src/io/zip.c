/* zip: the table of contents stands at the end and is the only thing believed; of a local header
 * only its length is used. Every offset is checked against the archive, and every size against what
 * deflate can make of that many bytes, so a small file cannot ask for much memory. */
#include "io/archive.h"

#include <string.h>

#define ZLIB_CONST
#include <zlib.h>

#define END_SIGNATURE      0x06054b50u
#define END_BYTES          22
#define END64_SIGNATURE    0x06064b50u
#define END64_BYTES        56
#define LOCATOR_SIGNATURE  0x07064b50u
#define LOCATOR_BYTES      20
#define CENTRAL_SIGNATURE  0x02014b50u
#define CENTRAL_BYTES      46
#define LOCAL_SIGNATURE    0x04034b50u
#define LOCAL_BYTES        30
#define MOST_COMMENT_BYTES 65535
#define MOST_ENTRIES       1000000
#define ZIP64_TAG          1
#define IN_ZIP64           0xffffffffu
#define FLAG_ENCRYPTED     1u
#define METHOD_STORED      0
#define METHOD_DEFLATED    8
#define DEFLATE_MOST       1032 /* times that deflate can shrink a run */
#define VERSION            20
#define DATE_1980          0x21   /* the first day that zip knows, so that bytes do not vary */
#define PADDING_TAG        0x4246 /* of the extra field with which PyTorch aligns entries */
#define EXTRA_BYTES        4
#define MOST_ALIGNMENT     1024

static uint32_t get16(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const unsigned char *at)
{
    return get16(at) | get16(at + 2) << 16;
}

static uint64_t get64(const unsigned char *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static bool holds(const struct zip *zip, uint64_t offset, uint64_t bytes)
{
    return offset <= zip->size && bytes <= zip->size - offset;
}

static cr_status damaged(const struct zip *zip, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s is damaged: %s", zip->name, what);
}

/* ---- the table of contents ---- */

struct contents {
    uint64_t count;
    uint64_t offset;
    uint64_t bytes;
};

static const unsigned char *find_end(const struct zip *zip)
{
    for (size_t back = END_BYTES; back <= zip->size; back++) {
        const unsigned char *at = zip->data + zip->size - back;
        if (get32(at) == END_SIGNATURE)
            return at;
        if (back == END_BYTES + MOST_COMMENT_BYTES)
            break;
    }
    return NULL;
}

/* A ZIP64 archive repeats the numbers in full before the end record. */
static cr_status read_end64(const struct zip *zip, const unsigned char *end,
                            struct contents *contents)
{
    if (end - zip->data < LOCATOR_BYTES || get32(end - LOCATOR_BYTES) != LOCATOR_SIGNATURE)
        return CR_OK;
    uint64_t offset = get64(end - LOCATOR_BYTES + 8);
    if (!holds(zip, offset, END64_BYTES) || get32(zip->data + offset) != END64_SIGNATURE)
        return damaged(zip, "its ZIP64 end record is missing");
    const unsigned char *at = zip->data + offset;
    *contents = (struct contents){ get64(at + 32), get64(at + 48), get64(at + 40) };
    return CR_OK;
}

static cr_status read_end(const struct zip *zip, struct contents *contents)
{
    const unsigned char *end = find_end(zip);
    if (!end)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is no zip archive, or was cut off: it has no end "
                            "record",
                            zip->name);
    *contents = (struct contents){ get16(end + 10), get32(end + 16), get32(end + 12) };
    if (read_end64(zip, end, contents) != CR_OK)
        return cr_error_status();
    if (!holds(zip, contents->offset, contents->bytes))
        return damaged(zip, "its table of contents lies outside the file");
    if (contents->count > MOST_ENTRIES || contents->count * CENTRAL_BYTES > contents->bytes)
        return damaged(zip, "its table of contents is shorter than it says");
    return CR_OK;
}

/* Sizes that do not fit 32 bits stand in an extra field, in this order. */
static bool read_zip64(const unsigned char *extra, size_t bytes, struct zip_entry *entry)
{
    uint64_t *const fields[] = { &entry->size, &entry->compressed, &entry->offset };
    bool needed = false;
    for (int i = 0; i < 3; i++)
        needed = needed || *fields[i] == IN_ZIP64;
    while (needed && bytes >= 4) {
        size_t length = get16(extra + 2);
        if (length > bytes - 4)
            return false;
        if (get16(extra) != ZIP64_TAG) {
            extra += 4 + length;
            bytes -= 4 + length;
            continue;
        }
        const unsigned char *at = extra + 4;
        for (int i = 0; i < 3; i++) {
            if (*fields[i] != IN_ZIP64)
                continue;
            if (length < 8)
                return false;
            *fields[i] = get64(at);
            at += 8;
            length -= 8;
        }
        return true;
    }
    return !needed;
}

static char *copy_name(const unsigned char *name, size_t length)
{
    char *copy = cr_alloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, name, length);
    copy[length] = '\0';
    return copy;
}

/* The record at *at, which moves past it. */
static cr_status read_record(const struct zip *zip, const unsigned char **at,
                             const unsigned char *end, struct zip_entry *entry)
{
    const unsigned char *record = *at;
    if (end - record < CENTRAL_BYTES || get32(record) != CENTRAL_SIGNATURE)
        return damaged(zip, "its table of contents is broken");
    size_t name = get16(record + 28), extra = get16(record + 30), comment = get16(record + 32);
    if ((size_t)(end - record) - CENTRAL_BYTES < name + extra + comment)
        return damaged(zip, "its table of contents is broken");
    *entry = (struct zip_entry){ .method = (int)get16(record + 10),
                                 .crc = get32(record + 16),
                                 .compressed = get32(record + 20),
                                 .size = get32(record + 24),
                                 .offset = get32(record + 42) };
    if (get16(record + 8) & FLAG_ENCRYPTED)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "%s is encrypted", zip->name);
    if (!read_zip64(record + CENTRAL_BYTES + name, extra, entry))
        return damaged(zip, "a ZIP64 size is missing");
    entry->name = copy_name(record + CENTRAL_BYTES, name);
    *at = record + CENTRAL_BYTES + name + extra + comment;
    return entry->name ? CR_OK : CR_ERROR_MEMORY;
}

cr_status zip_open(struct zip *zip, const void *data, size_t size, const char *name)
{
    struct contents contents = { 0 };
    *zip = (struct zip){ .data = data, .size = size, .name = name };
    if (read_end(zip, &contents) != CR_OK)
        return cr_error_status();
    zip->entries = cr_alloc_zeroed((size_t)CR_MAX(contents.count, 1), sizeof *zip->entries);
    if (!zip->entries)
        return CR_ERROR_MEMORY;
    const unsigned char *at = zip->data + contents.offset;
    const unsigned char *end = at + contents.bytes;
    for (uint64_t i = 0; i < contents.count; i++) {
        zip->count++;
        if (read_record(zip, &at, end, &zip->entries[i]) != CR_OK) {
            zip_close(zip);
            return cr_error_status();
        }
    }
    return CR_OK;
}

void zip_close(struct zip *zip)
{
    for (int i = 0; i < zip->count; i++)
        cr_free(zip->entries[i].name);
    cr_free(zip->entries);
    *zip = (struct zip){ 0 };
}

/* ---- entries ---- */

static cr_status inflate_entry(const struct zip *zip, const struct zip_entry *entry,
                               const unsigned char *from, struct zip_bytes *bytes)
{
    z_stream stream = { 0 };
    if (entry->size / DEFLATE_MOST > entry->compressed + 1 || entry->size > SIZE_MAX / 2)
        return damaged(zip, "an entry cannot be as large as it says");
    bytes->owned = cr_alloc((size_t)entry->size);
    if (!bytes->owned)
        return CR_ERROR_MEMORY;
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return cr_error_set(CR_ERROR_MEMORY, "%s: no memory to decompress", zip->name);
    uint64_t in = 0, out = 0;
    int code = Z_OK;
    /* zlib counts in 32 bits, so that large entries are given piece by piece. */
    while (code == Z_OK) {
        uInt in_piece = (uInt)CR_MIN(entry->compressed - in, (uint64_t)1 << 30);
        uInt out_piece = (uInt)CR_MIN(entry->size - out, (uint64_t)1 << 30);
        stream.next_in = from + in;
        stream.avail_in = in_piece;
        stream.next_out = (Bytef *)bytes->owned + out;
        stream.avail_out = out_piece;
        code = inflate(&stream, Z_NO_FLUSH);
        in += in_piece - stream.avail_in;
        out += out_piece - stream.avail_out;
        if (code == Z_OK && in_piece == stream.avail_in && out_piece == stream.avail_out)
            break;
    }
    inflateEnd(&stream);
    bytes->data = bytes->owned;
    bytes->size = (size_t)entry->size;
    return code == Z_STREAM_END && out == entry->size
               ? CR_OK
               : damaged(zip, "an entry does not decompress to its size");
}

static uint32_t sum_of(uint32_t sum, const void *data, size_t size)
{
    return (uint32_t)crc32_z(sum, data, size);
}

static cr_status locate(const struct zip *zip, const struct zip_entry *entry,
                        const unsigned char **from)
{
    if (!holds(zip, entry->offset, LOCAL_BYTES) ||
        get32(zip->data + entry->offset) != LOCAL_SIGNATURE)
        return damaged(zip, "an entry has no header");
    const unsigned char *local = zip->data + entry->offset;
    uint64_t start = entry->offset + LOCAL_BYTES + get16(local + 26) + get16(local + 28);
    if (!holds(zip, start, entry->compressed))
        return damaged(zip, "an entry lies outside the file");
    *from = zip->data + start;
    return CR_OK;
}

cr_status zip_read(const struct zip *zip, int index, struct zip_bytes *bytes)
{
    const struct zip_entry *entry = &zip->entries[index];
    const unsigned char *from = NULL;
    *bytes = (struct zip_bytes){ 0 };
    if (locate(zip, entry, &from) != CR_OK)
        return cr_error_status();
    if (entry->method == METHOD_STORED && entry->size == entry->compressed)
        *bytes = (struct zip_bytes){ .data = from, .size = (size_t)entry->size };
    else if (entry->method == METHOD_DEFLATED)
        inflate_entry(zip, entry, from, bytes);
    else
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "%s: %s is compressed by method %d; only stored and "
                     "deflated entries are read",
                     zip->name, entry->name, entry->method);
    if (!cr_failed() && sum_of(0, bytes->data, bytes->size) != entry->crc)
        damaged(zip, "an entry has another check sum than it says");
    if (!cr_failed())
        return CR_OK;
    cr_free(bytes->owned);
    *bytes = (struct zip_bytes){ 0 };
    return cr_error_status();
}

/* ---- writing ---- */

static void put16(unsigned char *at, uint32_t value)
{
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
}

static void put32(unsigned char *at, uint32_t value)
{
    put16(at, value);
    put16(at + 2, value >> 16);
}

/* What local header and central record have in common, from the version needed on. */
static void put_common(unsigned char *at, uint32_t crc, uint32_t size, uint32_t name)
{
    put16(at, VERSION);
    put16(at + 2, 1u << 11); /* the name is UTF-8 */
    put16(at + 8, DATE_1980);
    put32(at + 10, crc);
    put32(at + 14, size);
    put32(at + 18, size);
    put16(at + 22, name);
}

/* An extra field behind a local header that ends at `end`, so long that what follows is aligned;
 * its length. */
static size_t put_padding(unsigned char *at, uint64_t end, int alignment)
{
    if (alignment < 2)
        return 0;
    uint64_t unit = (uint64_t)CR_MIN(alignment, MOST_ALIGNMENT);
    uint64_t padding = (unit - (end + EXTRA_BYTES) % unit) % unit;
    put16(at, PADDING_TAG);
    put16(at + 2, (uint32_t)padding);
    return EXTRA_BYTES + (size_t)padding;
}

cr_status zip_write(struct zip_writer *writer, const char *name, const void *head, size_t head_size,
                    const void *data, size_t size)
{
    unsigned char local[LOCAL_BYTES] = { 0 }, central[CENTRAL_BYTES] = { 0 };
    unsigned char extra[EXTRA_BYTES + MOST_ALIGNMENT] = { 0 };
    size_t length = strlen(name), total;
    size_t padding = put_padding(extra, writer->offset + LOCAL_BYTES + length, writer->alignment);
    size_t around = LOCAL_BYTES + length + padding;
    if (length > UINT16_MAX || !cr_add_checked(head_size, size, &total) ||
        total >= IN_ZIP64 - around || writer->offset >= IN_ZIP64 - around - total ||
        writer->count == UINT16_MAX)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s does not fit into a zip archive of less than 4 GiB and 65535 "
                            "entries; use safetensors",
                            name);
    uint32_t crc = sum_of(sum_of(0, head, head_size), data, size);
    put32(local, LOCAL_SIGNATURE);
    put_common(local + 4, crc, (uint32_t)total, (uint32_t)length);
    put16(local + 28, (uint32_t)padding);
    put32(central, CENTRAL_SIGNATURE);
    put16(central + 4, VERSION);
    put_common(central + 6, crc, (uint32_t)total, (uint32_t)length);
    put32(central + 42, (uint32_t)writer->offset);
    cr_file_writer_write(writer->file, local, sizeof local);
    cr_file_writer_write(writer->file, name, length);
    cr_file_writer_write(writer->file, extra, padding);
    cr_file_writer_write(writer->file, head, head_size);
    cr_file_writer_write(writer->file, data, size);
    cr_text_append_bytes(&writer->contents, central, sizeof central);
    cr_text_append_bytes(&writer->contents, name, length);
    writer->offset += around + total;
    writer->count++;
    return cr_error_status();
}

cr_status zip_write_end(struct zip_writer *writer)
{
    unsigned char end[END_BYTES] = { 0 };
    size_t length = writer->contents.length;
    if (length >= IN_ZIP64 - writer->offset)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "the archive reaches 4 GiB; use safetensors");
    put32(end, END_SIGNATURE);
    put16(end + 8, (uint32_t)writer->count);
    put16(end + 10, (uint32_t)writer->count);
    put32(end + 12, (uint32_t)length);
    put32(end + 16, (uint32_t)writer->offset);
    cr_file_writer_write(writer->file, writer->contents.data ? writer->contents.data : "", length);
    cr_file_writer_write(writer->file, end, sizeof end);
    return cr_error_status();
}
