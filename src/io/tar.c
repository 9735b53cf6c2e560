/* tar: blocks of 512 bytes, a header before each file and two blocks of zeros at the end. A long
 * name stands in an entry of its own before the file (GNU's 'L', or pax's 'x', a list of lines
 * "LENGTH KEY=VALUE"), which may also give a size that the header has no room for. */
#include "cresset/tar_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

#define BLOCK         512
#define NAME_BYTES    100
#define PREFIX_AT     345
#define PREFIX_BYTES  155
#define SIZE_AT       124
#define SIZE_BYTES    12
#define SUM_AT        148
#define SUM_BYTES     8
#define TYPE_AT       156
#define MAGIC_AT      257
#define LONGEST_EXTRA (1 << 20) /* of an entry that describes the next */
#define MOST_ENTRIES  100000000

struct cr_tar {
    char *name;
    const uint8_t *data; /* NULL: it is a file */
    int descriptor;
    int64_t size;
    cr_tar_entry *entries;
    int64_t count;
    int64_t room;
};

/* What an entry of its own says of the next file. */
struct extra {
    char *name;
    int64_t size; /* -1: nothing */
};

static cr_status damaged(const cr_tar *tar, int64_t offset, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s is not a whole tar archive: at byte %lld %s",
                        tar->name, (long long)offset, what);
}

static cr_status read_bytes(const cr_tar *tar, int64_t offset, void *out, int64_t count)
{
    if (count < 0 || offset < 0 || offset > tar->size || count > tar->size - offset)
        return damaged(tar, offset, "it ends too early");
    if (tar->data) {
        if (count > 0)
            memcpy(out, tar->data + offset, (size_t)count);
        return CR_OK;
    }
    for (int64_t done = 0; done < count;) {
        ssize_t got =
            pread(tar->descriptor, (char *)out + done, (size_t)(count - done), offset + done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cr_error_set(CR_ERROR_IO, "cannot read %s: %s", tar->name, strerror(errno));
        if (got == 0)
            return damaged(tar, offset, "it has become shorter");
        done += got;
    }
    return CR_OK;
}

/* ---- headers ---- */

/* Octal digits, or GNU's base 256, told by the highest bit; -1 if it is neither. */
static int64_t parse_number(const uint8_t *field, int bytes)
{
    int64_t value = 0;
    if (field[0] & 0x80) {
        for (int i = 0; i < bytes; i++) {
            if (value > INT64_MAX >> 8)
                return -1;
            value = value << 8 | (i == 0 ? field[i] & 0x7f : field[i]);
        }
        return value;
    }
    int i = 0;
    while (i < bytes && field[i] == ' ')
        i++;
    for (; i < bytes && field[i] >= '0' && field[i] <= '7'; i++) {
        if (value > INT64_MAX >> 3)
            return -1;
        value = value << 3 | (field[i] - '0');
    }
    return i == bytes || field[i] == '\0' || field[i] == ' ' ? value : -1;
}

static bool sum_is_right(const uint8_t *header)
{
    int64_t sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum += i >= SUM_AT && i < SUM_AT + SUM_BYTES ? ' ' : header[i];
    return parse_number(header + SUM_AT, SUM_BYTES) == sum;
}

static bool is_empty(const uint8_t *header)
{
    for (int i = 0; i < BLOCK; i++) {
        if (header[i])
            return false;
    }
    return true;
}

static char *header_name(const uint8_t *header)
{
    const char *name = (const char *)header;
    const char *prefix = (const char *)header + PREFIX_AT;
    bool has_prefix = memcmp(header + MAGIC_AT, "ustar\0", 6) == 0 && *prefix;
    return cr_string_format("%.*s%s%.*s", has_prefix ? PREFIX_BYTES : 0, prefix,
                            has_prefix ? "/" : "", NAME_BYTES, name);
}

/* ---- entries that describe the next ---- */

static void extra_clear(struct extra *extra)
{
    cr_free(extra->name);
    *extra = (struct extra){ .size = -1 };
}

/* One line of pax, without its length and its end of line. */
static void take_pax_line(struct extra *extra, const char *line, size_t length)
{
    if (length > 5 && memcmp(line, "path=", 5) == 0) {
        cr_free(extra->name);
        extra->name = cr_string_format("%.*s", (int)(length - 5), line + 5);
    } else if (length > 5 && length < 5 + 20 && memcmp(line, "size=", 5) == 0) {
        char digits[24];
        long long size;
        memcpy(digits, line + 5, length - 5);
        digits[length - 5] = '\0';
        extra->size = cr_parse_int64(digits, &size) && size >= 0 ? size : -1;
    }
}

static cr_status take_pax(const cr_tar *tar, int64_t offset, struct extra *extra, const char *text,
                          size_t size)
{
    for (size_t at = 0; at < size && text[at];) {
        size_t length = 0;
        size_t digits = at;
        for (; digits < size && text[digits] >= '0' && text[digits] <= '9'; digits++) {
            length = 10 * length + (size_t)(text[digits] - '0');
            if (length > size)
                break;
        }
        if (digits == size || text[digits] != ' ' || length > size - at ||
            at + length < digits + 2 || text[at + length - 1] != '\n')
            return damaged(tar, offset, "a pax header makes no sense");
        take_pax_line(extra, text + digits + 1, at + length - digits - 2);
        at += length;
    }
    return cr_error_status();
}

static cr_status read_extra(const cr_tar *tar, int64_t offset, int64_t size, char type,
                            struct extra *extra)
{
    if (size > LONGEST_EXTRA)
        return damaged(tar, offset, "a name is too long");
    char *text = cr_alloc((size_t)size + 1);
    if (!text)
        return cr_error_status();
    text[size] = '\0';
    if (read_bytes(tar, offset, text, size) == CR_OK) {
        if (type == 'L') {
            cr_free(extra->name);
            extra->name = cr_string_copy(text);
        } else {
            take_pax(tar, offset, extra, text, (size_t)size);
        }
    }
    cr_free(text);
    return cr_error_status();
}

/* ---- the table of contents ---- */

static cr_status add_entry(cr_tar *tar, char *name, int64_t offset, int64_t size)
{
    if (!name)
        return cr_error_status();
    if (tar->count == tar->room) {
        int64_t room = tar->room ? 2 * tar->room : 64;
        cr_tar_entry *entries = tar->count < MOST_ENTRIES
                                    ? cr_resize(tar->entries, (size_t)room, sizeof *entries)
                                    : NULL;
        if (!entries) {
            cr_free(name);
            return cr_failed() ? cr_error_status()
                               : damaged(tar, offset, "there are too many files");
        }
        tar->entries = entries;
        tar->room = room;
    }
    tar->entries[tar->count++] = (cr_tar_entry){ name, offset, size };
    return CR_OK;
}

/* The entry whose header stands at *offset, which moves past it. */
static cr_status read_entry(cr_tar *tar, const uint8_t *header, int64_t *offset,
                            struct extra *extra)
{
    int64_t size = parse_number(header + SIZE_AT, SIZE_BYTES);
    char type = (char)header[TYPE_AT];
    int64_t start = *offset + BLOCK;
    if (!sum_is_right(header))
        return damaged(tar, *offset, "there is no header (its sum is wrong)");
    bool describes = type == 'L' || type == 'x' || type == 'g' || type == 'K';
    if (!describes && extra->size >= 0)
        size = extra->size;
    if (size < 0 || size > tar->size - start)
        return damaged(tar, *offset, "a file is longer than the archive");
    if (type == 'L' || type == 'x') {
        if (read_extra(tar, start, size, type, extra) != CR_OK)
            return cr_error_status();
    } else if (type == '0' || type == '\0' || type == '7') {
        char *name = extra->name ? extra->name : header_name(header);
        extra->name = NULL;
        if (add_entry(tar, name, start, size) != CR_OK)
            return cr_error_status();
    }
    if (!describes)
        extra_clear(extra);
    int64_t blocks = size / BLOCK + (size % BLOCK != 0);
    *offset = start + CR_MIN(blocks * BLOCK, tar->size - start);
    return CR_OK;
}

static cr_status read_contents(cr_tar *tar)
{
    struct extra extra = { .size = -1 };
    uint8_t header[BLOCK];
    int64_t offset = 0;
    if (tar->size < BLOCK)
        damaged(tar, 0, "it ends too early");
    while (!cr_failed() && offset < tar->size) {
        if (read_bytes(tar, offset, header, BLOCK) != CR_OK || is_empty(header))
            break;
        read_entry(tar, header, &offset, &extra);
    }
    extra_clear(&extra);
    return cr_error_status();
}

static cr_tar *tar_new(const char *name)
{
    cr_tar *tar = cr_alloc_zeroed(1, sizeof *tar);
    if (!tar)
        return NULL;
    tar->descriptor = -1;
    tar->name = cr_string_copy(name);
    return tar;
}

static cr_tar *tar_finish(cr_tar *tar)
{
    if (tar && !cr_failed())
        read_contents(tar);
    if (!cr_failed())
        return tar;
    cr_tar_close(tar);
    return NULL;
}

static void open_file(cr_tar *tar, const char *path)
{
    struct stat status;
    tar->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (tar->descriptor < 0 || fstat(tar->descriptor, &status) != 0)
        cr_error_set(CR_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        cr_error_set(CR_ERROR_IO, "cannot read %s: it is not a regular file", path);
    else
        tar->size = status.st_size;
}

cr_tar *cr_tar_open(const char *path)
{
    if (cr_failed())
        return NULL;
    cr_tar *tar = tar_new(path ? path : "");
    if (tar && tar->name)
        open_file(tar, tar->name);
    return tar_finish(tar);
}

cr_tar *cr_tar_open_memory(const void *data, size_t size, const char *name)
{
    if (cr_failed())
        return NULL;
    cr_tar *tar = tar_new(name);
    if (tar) {
        tar->data = data;
        tar->size = (int64_t)size;
    }
    return tar_finish(tar);
}

void cr_tar_close(cr_tar *tar)
{
    if (!tar)
        return;
    for (int64_t i = 0; i < tar->count; i++)
        cr_free((char *)tar->entries[i].name);
    cr_free(tar->entries);
    if (tar->descriptor >= 0)
        close(tar->descriptor);
    cr_free(tar->name);
    cr_free(tar);
}

int64_t cr_tar_count(const cr_tar *tar)
{
    return tar ? tar->count : 0;
}

cr_tar_entry cr_tar_at(const cr_tar *tar, int64_t index)
{
    if (!tar || index < 0 || index >= tar->count)
        return (cr_tar_entry){ .name = "" };
    return tar->entries[index];
}

cr_status cr_tar_read(const cr_tar *tar, int64_t index, void *out)
{
    if (!tar || index < 0 || index >= tar->count)
        return cr_error_set(CR_ERROR_ARGUMENT, "the tar archive has no file %lld",
                            (long long)index);
    return read_bytes(tar, tar->entries[index].offset, out, tar->entries[index].size);
}
