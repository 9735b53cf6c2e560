/* PyTorch's checkpoints (.pth, .pt, .th, .bin): read in the zip form and in the older one, written
 * in the zip form, which torch.load reads.
 *
 *     cr_torch_file *file = cr_torch_open("resnet18.pth", NULL);
 *     cr_tensor *weight = cr_torch_load(file, "conv1.weight");
 *     cr_torch_close(file);
 *
 * A checkpoint is a pickle, a program that may call any function of Python. Here nothing of it is
 * executed: the reader knows the types of a checkpoint (dicts, lists, tuples, numbers, text,
 * storages, tensors, sizes, dtypes) and refuses a file that names anything else. Everything is
 * checked when it is opened: sizes against the file, tensors against their storages. What is wrong
 * is told in one sentence with the name of the file. A file is read into memory whole. One open
 * file belongs to one thread at a time. */
#ifndef CRESSET_TORCH_FILE_H
#define CRESSET_TORCH_FILE_H

#include "cresset/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- reading ---- */

typedef struct cr_torch_file cr_torch_file;

/* What stands in a file about one tensor. The name is borrowed from the open file. */
typedef struct cr_torch_entry {
    const char *name;       /* keys on the way to the tensor, joined by dots */
    const char *dtype_name; /* PyTorch's: "float32" */
    bool is_supported;      /* false: the library has no such dtype, and load refuses it */
    cr_dtype dtype;         /* if supported */
    cr_shape shape;
} cr_torch_entry;

/* Opens a file and checks all of it but the data. `section` says which part of it: the keys to it
 * joined by dots ("optimizer"), "" for the whole, NULL for the state dict of the model, which is
 * the whole or stands under "state_dict", "model_state_dict", "model_state", "model" or "net". NULL
 * on failure. */
cr_torch_file *cr_torch_open(const char *path, const char *section);

/* The same for a file that lies in memory, which must stay until the close. `name` is what messages
 * call it. */
cr_torch_file *cr_torch_open_memory(const void *data, size_t size, const char *name,
                                    const char *section);
void cr_torch_close(cr_torch_file *file);

/* What messages call the file, and the section that was found. */
const char *cr_torch_path(const cr_torch_file *file);
const char *cr_torch_section(const cr_torch_file *file);

/* The tensors in the order of the file; index from 0. find gives the index, or -1 (no error is
 * recorded) if there is none of that name. */
int cr_torch_count(const cr_torch_file *file);
cr_torch_entry cr_torch_at(const cr_torch_file *file, int index);
int cr_torch_find(const cr_torch_file *file, const char *name);

/* A contiguous copy of a tensor on the CPU, owned by the frame. NULL on failure. */
cr_tensor *cr_torch_load(cr_torch_file *file, const char *name);

/* ---- writing ---- */

/* Writes a state dict (an OrderedDict of tensors) in the order given, to a file beside `path` that
 * is then renamed: less than 4 GiB. Names are not empty, not given twice. */
cr_status cr_torch_save(const char *path, const cr_safetensors_item *items, int count);

#ifdef __cplusplus
}
#endif
#endif
