/* What the readers and writers of archives share: zip (a reader for stored and deflated entries,
 * ZIP64 included, and a writer for stored ones), the header of npy, and the values of a pickle. */
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
    int alignment; /* of the bytes of entries in the file, at most 1024; 0: none */
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

/* ---- pickles ---- */

/* A dtype of PyTorch's. */
struct torch_dtype {
    const char *name;
    size_t size; /* of an element, in bytes */
    int dtype;   /* a cr_dtype, or -1 where the library has none */
};

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_LONG, /* an integer of more than 64 bits, as its bytes */
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_DICT,
    PICKLE_GLOBAL,
    PICKLE_STORAGE,
    PICKLE_TENSOR,
    PICKLE_OTHER, /* a set or a device: nothing that anybody asks for */
};

/* Bytes of the pickle itself, not terminated. */
struct pickle_text {
    const char *data;
    size_t size;
};

/* A list, a tuple, or the keys and values of a dict by turns. */
struct pickle_list {
    struct pickle_value **items;
    size_t count;
    size_t room;
};

struct pickle_storage {
    struct pickle_text key;
    const struct torch_dtype *dtype;
    int64_t count;       /* elements */
    int64_t view_offset; /* where in the storage of that key it begins */
    int64_t view_count;  /* elements of it that are seen */
    struct pickle_value *next;
};

struct pickle_tensor {
    const struct pickle_storage *storage;
    const struct torch_dtype *dtype;
    int64_t offset;
    cr_shape size;
    cr_shape stride;
};

struct pickle_value {
    enum pickle_kind kind;
    union {
        bool truth;
        int64_t integer;
        double number;
        struct pickle_text text;
        struct pickle_list list;
        const struct pickle_global *global;
        struct pickle_storage storage;
        struct pickle_tensor *tensor;
    };
};

/* A pickle that was read: its values live until it is closed, and so must its bytes. */
struct pickle {
    const char *name;    /* of the file, for messages; the caller's */
    struct arena *arena; /* what the values lie in */
    size_t arena_bytes;
    struct pickle_value *storages; /* all of them, the last one first */
};

/* Reads one pickle from *at on, which moves behind it; nothing in it is executed. Several may be
 * read into one record. NULL on failure. */
struct pickle_value *pickle_read(struct pickle *pickle, const unsigned char **at,
                                 const unsigned char *end);
void pickle_close(struct pickle *pickle);

/* The value of a dict under a key; NULL if it is no dict or the key is not there. */
struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key);
bool pickle_text_is(const struct pickle_text *text, const char *word);

/* The names of the type of storage that holds a dtype, and of the dtype itself, NULL if there is
 * none; a dtype of the library's always has one. */
const char *pickle_storage_of(cr_dtype dtype);

#endif
