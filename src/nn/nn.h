/* What the layers share with the tree of parameters. */
#ifndef CR_NN_NN_H
#define CR_NN_NN_H

#include "base/base.h"
#include "cresset/autograd.h"
#include "cresset/convolution.h"
#include "cresset/nn.h"
#include "cresset/ops.h"
#include "tensor/tensor.h"

/* A layer around its ops: opens a frame, and hands out the result and reports the layer to whoever
 * summarises the model. `kind` is PyTorch's class name. */
struct layer {
    cr_scope at;
    cr_frame frame;
    const char *kind;
    cr_tensor *input;
    int64_t multiply_adds_before;
    int64_t parameters; /* for the summary; 0: those right at its place */
    const char *outer;  /* layer, for the profiler */
    const char *around; /* layer_name outside of it */
    uint32_t profiled;
};

struct layer layer_begin(cr_scope at, const char *name, const char *kind, cr_tensor *input);
cr_tensor *layer_end(struct layer layer, cr_tensor *output);

/* The dotted name of the layer or block that the calling thread runs, "" outside of any. Borrowed
 * from the model. */
extern CR_THREAD_LOCAL const char *layer_name;

/* Tells who watches the layers of this thread of one that has run. */
void layer_tell(cr_scope at, const char *kind, cr_tensor *input, cr_tensor *output);

/* While set, batch norm averages its statistics plainly over the batches, whatever its momentum. */
void model_set_cumulative_statistics(cr_model *model, bool cumulative);
bool model_cumulative_statistics(const cr_model *model);

/* The parameters and settings of a convolution at a place, made if they are not there; false on
 * failure. What the padding of the convolution itself does not do is not among them. */
struct conv_parameters {
    cr_tensor *weight;
    cr_tensor *bias;
    cr_functional_conv_args settings;
};
bool conv_parameters(cr_scope at, int spatial, const cr_conv_args *args,
                     struct conv_parameters *parameters);

/* The same of batch norm with its running statistics. */
struct batch_norm_parameters {
    cr_tensor *weight;
    cr_tensor *bias;
    cr_tensor *mean;
    cr_tensor *variance;
    cr_tensor *tracked;
};
bool batch_norm_parameters(cr_scope at, int64_t channels, struct batch_norm_parameters *parameters);

/* Whether a model's parameters have no data, or begin with no particular values. */
bool model_is_meta(const cr_model *model);
bool model_is_uninitialized(const cr_model *model);

/* The parameter or buffer right at a place; NULL, and no error, if there is none. */
cr_tensor *scope_find(cr_scope at, const char *name);

/* Puts a tensor (float32 if it is a parameter) at a place, under a name that is not there yet, with
 * the values that it has. Returns it; NULL on failure. */
cr_tensor *scope_adopt(cr_scope at, const char *name, cr_tensor *tensor, bool is_buffer);

/* What somebody keeps at a place under a key of his own, for as long as the model lives: NULL if
 * there is nothing. A block of cr_alloc, which becomes the model's, also on failure. */
void *scope_kept(cr_scope at, uint64_t key);
cr_status scope_keep(cr_scope at, uint64_t key, void *block);

/* Whether blocks are checkpointed. */
bool model_checkpoints(const cr_model *model);

/* The number of elements in the parameters right at a place. */
int64_t scope_parameter_count(cr_scope at);

/* Set by summary.c while a model is summarised on this thread. */
struct layer_observer {
    void (*ended)(const struct layer *layer, cr_tensor *output, void *context);
    int64_t (*multiply_adds)(void *context);
    void *context;
};
extern CR_THREAD_LOCAL struct layer_observer *layer_observer;

#endif
