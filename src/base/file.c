/* Files read whole and files replaced whole. A reader has a limit, so that a wrong path or a
 * decompression bomb cannot take all memory. A writer writes beside the file, syncs, and renames,
 * so that after a crash either the old or the new file is there. What stands in a file is left to
 * its parser. */
#include "cresset/file.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define DEFAULT_LIMIT    ((size_t)1 << 30)
#define FIRST_CAPACITY   ((size_t)64 << 10)
#define WRITER_BUFFER    ((size_t)64 << 10)
#define LONGEST_TRANSFER ((size_t)1 << 30) /* in one system or zlib call */

/* An absent path is most often the result of a call that failed and has recorded why. */
static cr_status check_path(const char *path)
{
    if (path && *path)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT, "a file was asked for without a path: give one");
}

static cr_status system_error(const char *what, const char *path)
{
    return cr_error_set(CR_ERROR_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

/* Opens a plain file for reading; *size is what the system says of its size. -1 on failure. */
static int open_plain_file(const char *path, size_t *size)
{
    if (check_path(path) != CR_OK)
        return -1;
    /* Non-blocking, or opening a named pipe would wait for its writer. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        system_error("open", path);
        return -1;
    }
    struct stat status;
    if (fstat(descriptor, &status) != 0) {
        system_error("examine", path);
    } else if (S_ISDIR(status.st_mode)) {
        cr_error_set(CR_ERROR_IO, "cannot read %s: it is a folder, and a file is needed", path);
    } else if (!S_ISREG(status.st_mode)) {
        cr_error_set(CR_ERROR_IO, "cannot read %s: it is not a regular file", path);
    } else {
        *size = (size_t)status.st_size;
        return descriptor;
    }
    close(descriptor);
    return -1;
}

/* Where bytes come from: up to count of them, 0 at the end, -1 on failure. */
typedef ssize_t (*pull_bytes)(void *source, void *out, size_t count);

static ssize_t pull_plain(void *source, void *out, size_t count)
{
    ssize_t got;
    do
        got = read(*(int *)source, out, CR_MIN(count, LONGEST_TRANSFER));
    while (got < 0 && errno == EINTR);
    return got;
}

static ssize_t pull_gzip(void *source, void *out, size_t count)
{
    return gzread((gzFile)source, out, (unsigned)CR_MIN(count, LONGEST_TRANSFER));
}

/* All that pull gives, terminated. A failure of pull ends the reading with *failed set and no
 * error recorded: the caller knows the words. Asks for one byte more than the limit, to see
 * whether there is one. */
static char *read_all(const char *path, pull_bytes pull, void *source, size_t expected,
                      size_t limit, size_t *size, bool *failed)
{
    limit = limit == 0 ? DEFAULT_LIMIT : CR_MIN(limit, (size_t)PTRDIFF_MAX / 2);
    size_t length = 0;
    size_t capacity = CR_MIN(CR_MAX(expected, FIRST_CAPACITY), limit) + 2;
    char *data = cr_alloc(capacity);
    while (data) {
        ssize_t got = pull(source, data + length, capacity - 1 - length);
        if (got < 0) {
            *failed = true;
            break;
        }
        length += (size_t)got;
        if (got == 0) {
            data[length] = '\0';
            if (size)
                *size = length;
            return data;
        }
        if (length > limit) {
            cr_error_set(CR_ERROR_FORMAT, "%s holds more than the limit of %zu bytes", path, limit);
            break;
        }
        if (length + 1 < capacity)
            continue;
        capacity = CR_MIN(2 * capacity, limit + 2);
        char *larger = cr_resize(data, capacity, 1);
        if (!larger)
            break;
        data = larger;
    }
    cr_free(data);
    return NULL;
}

char *cr_file_read(const char *path, size_t limit, size_t *size)
{
    size_t expected = 0;
    int descriptor = open_plain_file(path, &expected);
    if (descriptor < 0)
        return NULL;
    bool failed = false;
    char *data = read_all(path, pull_plain, &descriptor, expected, limit, size, &failed);
    if (failed)
        system_error("read", path);
    close(descriptor);
    return data;
}

/* A stream that stops in the middle is a short read followed by this status. */
static void gzip_error(gzFile file, const char *path)
{
    int status;
    const char *words = gzerror(file, &status);
    if (status == Z_ERRNO)
        system_error("read", path);
    else if (status == Z_BUF_ERROR)
        cr_error_set(CR_ERROR_FORMAT,
                     "%s is truncated: its gzip stream ends too early; get the file again", path);
    else if (status == Z_MEM_ERROR)
        cr_error_set(CR_ERROR_MEMORY, "out of memory while decompressing %s", path);
    else
        cr_error_set(CR_ERROR_FORMAT, "%s is not a valid gzip file: %s", path, words);
}

char *cr_file_read_gzip(const char *path, size_t limit, size_t *size)
{
    size_t packed = 0;
    int descriptor = open_plain_file(path, &packed);
    if (descriptor < 0)
        return NULL;
    gzFile file = gzdopen(descriptor, "rb");
    if (!file) {
        close(descriptor);
        cr_error_set(CR_ERROR_MEMORY, "out of memory while opening %s", path);
        return NULL;
    }
    gzbuffer(file, (unsigned)FIRST_CAPACITY);
    bool failed = false;
    char *data = read_all(path, pull_gzip, file, packed, limit, size, &failed);
    int status;
    gzerror(file, &status);
    if (failed || (data && status == Z_BUF_ERROR)) {
        gzip_error(file, path);
        cr_free(data);
        data = NULL;
    }
    gzclose(file);
    return data;
}

struct cr_file_writer {
    int descriptor;
    bool failed; /* and nothing more is written */
    int number;  /* errno of the failure */
    char *path;
    char *temporary; /* NULL once it was renamed */
    size_t used;     /* of the buffer */
    char buffer[WRITER_BUFFER];
};

cr_file_writer *cr_file_writer_open(const char *path)
{
    if (check_path(path) != CR_OK)
        return NULL;
    cr_file_writer *writer = cr_alloc(sizeof(*writer));
    if (!writer)
        return NULL;
    writer->descriptor = -1;
    writer->failed = false;
    writer->number = 0;
    writer->used = 0;
    writer->path = cr_string_copy(path);
    writer->temporary = cr_string_format("%s.tmp-%ld", path, (long)getpid());
    if (writer->path && writer->temporary) {
        writer->descriptor =
            open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (writer->descriptor >= 0)
            return writer;
        system_error("write", writer->temporary);
    }
    cr_free(writer->temporary);
    cr_free(writer->path);
    cr_free(writer);
    return NULL;
}

static void write_through(cr_file_writer *writer, const char *data, size_t size)
{
    while (size > 0 && !writer->failed) {
        ssize_t written = write(writer->descriptor, data, CR_MIN(size, LONGEST_TRANSFER));
        if (written >= 0) {
            data += written;
            size -= (size_t)written;
        } else if (errno != EINTR) {
            writer->failed = true;
            writer->number = errno;
        }
    }
}

static void flush(cr_file_writer *writer)
{
    write_through(writer, writer->buffer, writer->used);
    writer->used = 0;
}

void cr_file_writer_write(cr_file_writer *writer, const void *data, size_t size)
{
    if (!writer || size == 0)
        return;
    if (size > WRITER_BUFFER - writer->used)
        flush(writer);
    if (size >= WRITER_BUFFER) {
        write_through(writer, data, size);
        return;
    }
    memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
}

/* The rename itself is safe only once the folder is on disk. Not every file system can sync one,
 * and not every folder that may be written may be read; then the system's own time must do. */
static cr_status sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? cr_string_format("%.*s", (int)(slash - path + 1), path) : cr_string_copy(".");
    if (!folder)
        return cr_error_status();
    cr_status status = CR_OK;
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        if (fsync(descriptor) != 0 && errno == EIO)
            status = system_error("sync the folder", folder);
        close(descriptor);
    }
    cr_free(folder);
    return status;
}

/* Flushes, syncs, closes and renames; false with errno in writer->number on failure. */
static bool complete(cr_file_writer *writer)
{
    flush(writer);
    if (!writer->failed && fsync(writer->descriptor) != 0) {
        writer->failed = true;
        writer->number = errno;
    }
    if (close(writer->descriptor) != 0 && !writer->failed) {
        writer->failed = true;
        writer->number = errno;
    }
    writer->descriptor = -1;
    if (!writer->failed && rename(writer->temporary, writer->path) != 0) {
        writer->failed = true;
        writer->number = errno;
    }
    if (writer->failed)
        return false;
    cr_free(writer->temporary);
    writer->temporary = NULL;
    return true;
}

cr_status cr_file_writer_finish(cr_file_writer *writer)
{
    if (!writer)
        return cr_failed() ? cr_error_status()
                           : cr_error_set(CR_ERROR_ARGUMENT, "there is no file to finish writing");
    cr_status status;
    if (complete(writer)) {
        status = sync_folder_of(writer->path);
    } else {
        errno = writer->number;
        status = system_error("write", writer->path);
    }
    cr_file_writer_abandon(writer);
    return status;
}

void cr_file_writer_abandon(cr_file_writer *writer)
{
    if (!writer)
        return;
    if (writer->descriptor >= 0)
        close(writer->descriptor);
    if (writer->temporary)
        unlink(writer->temporary);
    cr_free(writer->temporary);
    cr_free(writer->path);
    cr_free(writer);
}

cr_status cr_file_replace(const char *path, const void *data, size_t size)
{
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    cr_file_writer_write(writer, data, size);
    return cr_file_writer_finish(writer);
}

bool cr_file_exists(const char *path)
{
    struct stat status;
    return path && stat(path, &status) == 0;
}

bool cr_file_is_folder(const char *path)
{
    struct stat status;
    return path && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

cr_status cr_folder_make(const char *path)
{
    if (check_path(path) != CR_OK)
        return cr_error_status();
    char *partial = cr_string_copy(path);
    if (!partial)
        return cr_error_status();
    cr_status status = CR_OK;
    char *end = partial;
    while (status == CR_OK && *end) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char held = *end;
        *end = '\0';
        if (mkdir(partial, 0777) != 0 && !cr_file_is_folder(partial))
            status = system_error("make the folder", partial);
        *end = held;
    }
    cr_free(partial);
    return status;
}

char *cr_path_join(const char *folder, const char *name)
{
    if (!folder || !name)
        return NULL;
    size_t length = strlen(folder);
    const char *parting = length == 0 || folder[length - 1] == '/' ? "" : "/";
    return cr_string_format("%s%s%s", folder, parting, name);
}
