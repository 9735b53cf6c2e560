/* idx files: one array each, the format of MNIST and its kin; plain or compressed by gzip. */
#ifndef CRESSET_IDX_H
#define CRESSET_IDX_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Files that hold more bytes than this, after decompression, are refused. */
#define CR_IDX_MAX_BYTES ((size_t)1 << 31)

/* The array of a file as a contiguous tensor of its shape, owned by the frame: u8, i8, i16, i32,
 * f32 or f64. The bytes of a u8 file are not copied. NULL on failure; the sentence names the file:
 * another format, a size other than the header says, too many dimensions. */
cr_tensor *cr_idx_load(const char *path);

/* The same from memory, copied; `name` is what messages call it. */
cr_tensor *cr_idx_load_memory(const void *data, size_t size, const char *name);

#ifdef __cplusplus
}
#endif
#endif
