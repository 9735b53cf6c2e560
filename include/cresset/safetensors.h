/* safetensors files: named tensors and a map of strings, the format that every tool reads.
 *
 *     cr_safetensors *file = cr_safetensors_open("resnet18.safetensors");
 *     cr_tensor *weight = cr_safetensors_load(file, "conv1.weight");
 *     cr_safetensors_close(file);
 *
 * A file is not trusted: its header is checked as a whole when it is opened, and what is wrong is
 * told in one sentence that names the file and the tensor. One open file belongs to one thread at a
 * time; several may be open. */
#ifndef CRESSET_SAFETENSORS_H
#define CRESSET_SAFETENSORS_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Headers over this size are refused, as by other readers. */
#define CR_SAFETENSORS_MAX_HEADER 100000000

/* ---- reading ---- */

typedef struct cr_safetensors cr_safetensors;

/* What stands in a file about one tensor. Strings are borrowed from the open file. */
typedef struct cr_safetensors_entry {
    const char *name;
    const char *dtype_name; /* as written: "F32" */
    bool is_supported;      /* false: dtype_name is none of the library's, and load refuses it */
    cr_dtype dtype;         /* if supported */
    cr_shape shape;
    uint64_t bytes;
} cr_safetensors_entry;

/* A key and its value, both terminated UTF-8. */
typedef struct cr_string_pair {
    const char *key;
    const char *value;
} cr_string_pair;

/* Opens a file and checks its header; data are read by load. NULL on failure. */
cr_safetensors *cr_safetensors_open(const char *path);

/* The same for a file that lies in memory, which must stay until the close. `name` is what
 * messages call it. */
cr_safetensors *cr_safetensors_open_memory(const void *data, size_t size, const char *name);
void cr_safetensors_close(cr_safetensors *file);

/* What messages call the file: its path. */
const char *cr_safetensors_path(const cr_safetensors *file);

/* The tensors in the order of their data; index from 0. find gives the index, or -1 (no error is
 * recorded) if there is none of that name. */
int cr_safetensors_count(const cr_safetensors *file);
cr_safetensors_entry cr_safetensors_at(const cr_safetensors *file, int index);
int cr_safetensors_find(const cr_safetensors *file, const char *name);

/* A contiguous copy of a tensor on the CPU, owned by the frame. NULL on failure: no such name, a
 * dtype the library does not have, a file that cannot be read. */
cr_tensor *cr_safetensors_load(cr_safetensors *file, const char *name);

/* The same into a tensor of that shape and dtype, straight from the file where the tensor is
 * contiguous. It may be written in part where the file cannot be read. */
cr_status cr_safetensors_load_into(cr_safetensors *file, const char *name, cr_tensor *tensor);

/* The metadata: by position in the file, and by key (NULL, and no error, if it is not there). */
int cr_safetensors_metadata_count(const cr_safetensors *file);
cr_string_pair cr_safetensors_metadata_at(const cr_safetensors *file, int index);
const char *cr_safetensors_metadata(const cr_safetensors *file, const char *key);

/* ---- writing ---- */

typedef struct cr_safetensors_item {
    const char *name;
    const cr_tensor *tensor; /* of any layout, with data */
} cr_safetensors_item;

/* Writes tensors and metadata (may be NULL if there is none) to a file beside `path` and renames
 * it. The bytes depend on names and contents alone, not on the order given. Refuses a name that is
 * empty, not UTF-8, "__metadata__" or given twice, and tensors without data. */
cr_status cr_safetensors_save(const char *path, const cr_safetensors_item *items, int count,
                              const cr_string_pair *metadata, int metadata_count);

#ifdef __cplusplus
}
#endif
#endif
