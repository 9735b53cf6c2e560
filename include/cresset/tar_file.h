/* Tar archives, not compressed: the table of contents is read once, and each file from where it
 * stands. Ustar, GNU's long names and pax headers are understood; folders and links are passed
 * over. Nothing of an archive is trusted: sums, sizes and lengths are checked. */
#ifndef CRESSET_TAR_FILE_H
#define CRESSET_TAR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_tar cr_tar;

typedef struct cr_tar_entry {
    const char *name; /* with its folders; borrowed from the archive */
    int64_t offset;   /* of its bytes in the archive */
    int64_t size;
} cr_tar_entry;

/* Opens an archive, or one that lies in memory, which must stay until the close. NULL on failure.
 */
cr_tar *cr_tar_open(const char *path);
cr_tar *cr_tar_open_memory(const void *data, size_t size, const char *name);
void cr_tar_close(cr_tar *tar);

/* The files of the archive in its order. */
int64_t cr_tar_count(const cr_tar *tar);
cr_tar_entry cr_tar_at(const cr_tar *tar, int64_t index);

/* The bytes of a file, into room for its size. May be called from many threads at once. */
cr_status cr_tar_read(const cr_tar *tar, int64_t index, void *out);

#ifdef __cplusplus
}
#endif
#endif
