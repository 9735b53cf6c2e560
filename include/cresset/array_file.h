/* NumPy's files: npy with one array, npz with several under names.
 *
 * Read are C and Fortran order, both byte orders, and npz both stored and deflated; written are C
 * order, little-endian, stored. bfloat16 is kept as NumPy's two-byte void ("V2"), as its users do.
 * Pickled objects and structured dtypes are refused, and nothing of a file is trusted: every length
 * is checked before it is used. Messages name the file and, in an npz, the array. */
#ifndef CRESSET_ARRAY_FILE_H
#define CRESSET_ARRAY_FILE_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The array of an npy file, on the CPU, owned by the frame. NULL on failure. */
cr_tensor *cr_npy_load(const char *path);

/* The same for a file that lies in memory; `name` is what messages call it. */
cr_tensor *cr_npy_load_memory(const void *data, size_t size, const char *name);

/* Writes a tensor of any layout to a file beside `path` and renames it. */
cr_status cr_npy_save(const char *path, const cr_tensor *tensor);

/* ---- npz ---- */

typedef struct cr_npz cr_npz;

/* Opens a file and checks its table of contents. NULL on failure. */
cr_npz *cr_npz_open(const char *path);

/* The same for a file that lies in memory, which must stay until the close. */
cr_npz *cr_npz_open_memory(const void *data, size_t size, const char *name);
void cr_npz_close(cr_npz *file);

/* The arrays in the order of the file; names without ".npy", borrowed from the open file. */
int cr_npz_count(const cr_npz *file);
const char *cr_npz_name(const cr_npz *file, int index);

/* One array, owned by the frame. NULL on failure: no such name, or an array that is damaged. */
cr_tensor *cr_npz_load(cr_npz *file, const char *name);

typedef struct cr_npz_item {
    const char *name; /* without ".npy" */
    const cr_tensor *tensor;
} cr_npz_item;

/* Writes tensors under names. Refuses names that are empty or given twice, and files of 4 GiB and
 * more, which belong into safetensors. */
cr_status cr_npz_save(const char *path, const cr_npz_item *items, int count);

#ifdef __cplusplus
}
#endif
#endif
