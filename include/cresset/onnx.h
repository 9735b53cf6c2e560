/* Models in ONNX files: read, run, and trained.
 *
 * An imported model is a model function like those of models.h: it runs at a place in a tree of
 * parameters, whose names are those of the file.
 *
 *     cr_onnx *onnx = cr_onnx_open("resnet18.onnx");
 *     cr_model *model = cr_model_new(.seed = 1);
 *     cr_model_train(model, false);
 *     cr_tensor *logits = cr_onnx_run(cr_root(model), images, onnx);
 *
 * Floating initializers that are weights (of Conv, Gemm, MatMul, norms and so on) become parameters
 * at the first run, and the running statistics of BatchNormalization buffers, so that freezing,
 * optimisers and cr_model_save work as with any model; in training mode BatchNormalization and
 * Dropout do what they do in training. Other initializers are constants. Whatever only computes
 * shapes is computed also when the input is on the meta device, so that summaries and traces work.
 *
 * A file is not trusted: everything is checked when it is opened, and what is wrong is told in one
 * sentence. A graph with operators that there are none of here is refused with the names of all of
 * them. Weights are read from the file at the first run, straight into their tensors. An open model
 * may be run from many threads at once, once it has been run; it must outlive none of the models
 * that it filled. Operator sets from 7 on are read. Strings and complex numbers are not supported.
 */
#ifndef CRESSET_ONNX_H
#define CRESSET_ONNX_H

#include "cresset/nn.h"
#include "cresset/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_onnx cr_onnx;

/* Reads and checks a file; NULL on failure. External data must lie in the folder of the file or
 * below: absolute paths, ".." and links that lead out of it are refused. */
cr_onnx *cr_onnx_open(const char *path);

/* The same for a file that lies in memory, which must stay until the close; it has no external
 * data. `name` is what messages call it. */
cr_onnx *cr_onnx_open_memory(const void *data, size_t size, const char *name);
void cr_onnx_close(cr_onnx *onnx);

/* ---- what it is ---- */

/* An input or output. Strings are borrowed from the open model. */
typedef struct cr_onnx_port {
    const char *name;
    const char *type; /* ONNX's word: "float", "int64", "sequence" … */
    bool is_tensor;   /* false: a sequence or an optional */
    bool has_dtype;   /* false: the library has no such dtype */
    cr_dtype dtype;
    bool has_shape;
    cr_shape shape;                     /* -1 where it varies */
    const char *dim_names[CR_MAX_DIMS]; /* of those that vary; NULL: unnamed */
} cr_onnx_port;

/* Inputs without those that the file has values for; outputs. index from 0. */
int cr_onnx_input_count(const cr_onnx *onnx);
int cr_onnx_output_count(const cr_onnx *onnx);
cr_onnx_port cr_onnx_input(const cr_onnx *onnx, int index);
cr_onnx_port cr_onnx_output(const cr_onnx *onnx, int index);

const char *cr_onnx_path(const cr_onnx *onnx);
int64_t cr_onnx_ir_version(const cr_onnx *onnx);
int cr_onnx_opset(const cr_onnx *onnx);            /* of ONNX's own operators */
const char *cr_onnx_producer(const cr_onnx *onnx); /* "" if it does not say */
const char *cr_onnx_producer_version(const cr_onnx *onnx);
int64_t cr_onnx_node_count(const cr_onnx *onnx);

/* metadata_props: by position, and by key (NULL, and no error, if it is not there). */
int cr_onnx_metadata_count(const cr_onnx *onnx);
cr_string_pair cr_onnx_metadata_at(const cr_onnx *onnx, int index);
const char *cr_onnx_metadata(const cr_onnx *onnx, const char *key);

/* ---- running it ---- */

/* A cr_model_function: the first output for a model of one input. Owned by the frame; NULL on
 * failure. */
cr_tensor *cr_onnx_run(cr_scope at, cr_tensor *x, const void *onnx);

/* All inputs in the order of cr_onnx_input (NULL for an optional one that is left out) and the
 * first `output_count` outputs, owned by the frame; on failure all of them are NULL. Inputs and
 * outputs that are no tensors are not possible here. Dtypes must be those of the ports; sizes that
 * the file fixes must agree, but for the first of an input, the batch. */
cr_status cr_onnx_run_all(cr_scope at, const cr_onnx *onnx, cr_tensor *const *inputs,
                          int input_count, cr_tensor **outputs, int output_count);

/* ---- as a classifier ---- */

/* The class scores that a model of one input gives: how many, and the name of the linear layer that
 * makes them ("fc"). */
typedef struct cr_onnx_classifier {
    int64_t classes; /* 0: unknown, or it is none */
    const char
        *head; /* NULL: the last layer is not a linear one, so that none can take its place */
} cr_onnx_classifier;
cr_onnx_classifier cr_onnx_as_classifier(const cr_onnx *onnx);

/* Its first output without the softmax or sigmoid that it may end with; and what its last linear
 * layer reads, (N, features), for another layer in its place, whose own weights are not made then.
 */
cr_tensor *cr_onnx_run_logits(cr_scope at, cr_tensor *x, const cr_onnx *onnx);
cr_tensor *cr_onnx_run_features(cr_scope at, cr_tensor *x, const cr_onnx *onnx);

/* The file without the weights that become parameters, to be kept beside them when they have been
 * trained: *size bytes, to be freed with cr_free; NULL on failure. And such a file opened: its
 * models must be loaded before they are run. The bytes must stay until the close. */
char *cr_onnx_graph_bytes(const cr_onnx *onnx, size_t *size);
cr_onnx *cr_onnx_open_graph(const void *data, size_t size, const char *name);

#ifdef __cplusplus
}
#endif
#endif
