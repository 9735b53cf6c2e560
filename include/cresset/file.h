/* Files: read whole, written beside and renamed, so that a reader never sees half of one. */
#ifndef CRESSET_FILE_H
#define CRESSET_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The whole file as a terminated block to be freed with cr_free; *size (may be NULL) is its length
 * without the terminator. Refuses files over `limit` bytes (0: 1 GiB), folders and special files.
 * NULL on failure. */
char *cr_file_read(const char *path, size_t limit, size_t *size);

/* Writes path.tmp-PID, syncs it, and renames it to path. */
cr_status cr_file_replace(const char *path, const void *data, size_t size);

/* The same for a file written piece by piece. After a failed write the rest are no-ops; finish
 * reports it and leaves the old file as it was. finish frees the writer in any case. */
typedef struct cr_file_writer cr_file_writer;
cr_file_writer *cr_file_writer_open(const char *path);
void cr_file_writer_write(cr_file_writer *writer, const void *data, size_t size);
cr_status cr_file_writer_finish(cr_file_writer *writer);
void cr_file_writer_abandon(cr_file_writer *writer);

/* True if the path exists; true if it is a folder. Neither records an error. */
bool cr_file_exists(const char *path);
bool cr_file_is_folder(const char *path);

/* Makes a folder and those above it; one that exists is fine. */
cr_status cr_folder_make(const char *path);

/* folder + "/" + name, to be freed with cr_free. */
char *cr_path_join(const char *folder, const char *name);

/* A gzip-compressed or plain file, read whole and decompressed; refuses more than `limit`
 * decompressed bytes (0: 1 GiB). */
char *cr_file_read_gzip(const char *path, size_t limit, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
