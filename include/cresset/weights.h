/* Files of weights, whatever their format: safetensors, PyTorch's checkpoints (torch_file.h), and
 * sets of such files with an index in JSON ("model.safetensors.index.json"), as large models are
 * published. The format is told by the bytes, not by the name.
 *
 *     cr_weights *weights = cr_weights_open("resnet18.pth");
 *     for (int i = 0; i < cr_weights_count(weights); i++)
 *         puts(cr_weights_at(weights, i).name);
 *     cr_weights_close(weights);
 *
 * To load a model from one, state_dict.h. One open file belongs to one thread at a time. */
#ifndef CRESSET_WEIGHTS_H
#define CRESSET_WEIGHTS_H

#include "cresset/safetensors.h"
#include "cresset/torch_file.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_weights cr_weights;

/* What stands in the files about one tensor; the name is borrowed from the open file. */
typedef cr_torch_entry cr_weights_entry;

/* NULL on failure. An index opens all files that it names, which must be beside it. */
cr_weights *cr_weights_open(const char *path);

/* A file that is open already and stays the caller's. */
cr_weights *cr_weights_from_safetensors(cr_safetensors *file);
void cr_weights_close(cr_weights *weights);

/* What messages call it: the path. */
const char *cr_weights_path(const cr_weights *weights);

/* The format in a few words: "PyTorch checkpoint". */
const char *cr_weights_format(const cr_weights *weights);

/* The tensors; index from 0. find gives the index, or -1 (no error is recorded). */
int cr_weights_count(const cr_weights *weights);
cr_weights_entry cr_weights_at(const cr_weights *weights, int index);
int cr_weights_find(const cr_weights *weights, const char *name);

/* A contiguous copy of a tensor on the CPU, owned by the frame. NULL on failure. */
cr_tensor *cr_weights_load(cr_weights *weights, int index);

/* The same into a tensor of that shape, converted to its dtype. */
cr_status cr_weights_load_into(cr_weights *weights, int index, cr_tensor *to);

#ifdef __cplusplus
}
#endif
#endif
