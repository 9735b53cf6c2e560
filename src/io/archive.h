/* What the readers and writers of archives share: zip (a reader for stored and deflated entries,
 * ZIP64 included, and a writer for stored ones), and the header of npy. */
#ifndef CR_IO_ARCHIVE_H
#define CR_IO_ARCHIVE_H

#include "base/base.h"
#include "cresset/file.h"
#include "cresset/tensor.h"

struct zip_entry {
    char *name;
    uint64_t compressed;
    uint64_t size;
    uint64_t offset; /* of the local header */
    uint32_t crc;
    int method;
};

/* An archive in memory of the caller's. */
struct zip {
    const unsigned char *data;
    size_t size;
    const char *name; /* for messages; the caller's */
    struct zip_entry *entries;
    int count;
};

/* Reads and checks the table of contents. On failure nothing is left to close. */
cr_status zip_open(struct zip *zip, const void *data, size_t size, const char *name);
void zip_close(struct zip *zip);

/* The bytes of an entry, checked by their sum: within the archive, or in `owned`, which the caller
 * frees. */
struct zip_bytes {
    const unsigned char *data;
    size_t size;
    void *owned;
};
cr_status zip_read(const struct zip *zip, int index, struct zip_bytes *bytes);

/* ---- writing ---- */

struct zip_writer {
    cr_file_writer *file;
    cr_text contents; /* the table of contents so far */
    uint64_t offset;
    int count;
};

/* Adds a stored entry of two pieces. */
cr_status zip_write(struct zip_writer *writer, const char *name, const void *head, size_t head_size,
                    const void *data, size_t size);

/* Writes the table of contents; the file is the caller's to finish. */
cr_status zip_write_end(struct zip_writer *writer);

/* ---- npy ---- */

/* Appends all that comes before the elements of a tensor. */
void npy_write_header(const cr_tensor *tensor, cr_text *header);

/* The elements in row-major order: those of the tensor if they lie so, else a copy in *owned,
 * which the caller frees. NULL on failure. */
const void *npy_elements(const cr_tensor *tensor, void **owned);

#endif
