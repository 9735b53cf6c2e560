/* A model as a graph: what its function does, written down as a list of ops over values.
 *
 * The function is run without data, in eval mode and without gradients, for batches of three sizes;
 * what differs between them is taken for a function of the batch size N, so one graph serves
 * batches of every size. Other sizes of height, width or length are another graph, which takes
 * milliseconds to make.
 *
 *     cr_graph *graph = cr_graph_trace(model, .function = cr_run_architecture, .settings = &bound,
 *                                      .sample = CR_SHAPE(3, 224, 224));
 *     cr_tensor *logits;
 *     cr_graph_run(graph, &images, &logits);
 *     cr_graph_free(graph);
 *
 * A graph shares the parameters of its model: it holds them, and sees what is written into them. It
 * may be read from many threads at once; making and changing one belongs to one thread. */
#ifndef CRESSET_GRAPH_H
#define CRESSET_GRAPH_H

#include "cresset/nn.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_graph cr_graph;

/* ---- making one ---- */

#define CR_GRAPH_INPUTS  16
#define CR_GRAPH_OUTPUTS 16

/* One input of a model: a batch of samples of this shape, the batch dimension coming first; with
 * .no_batch a tensor of exactly this shape. */
typedef struct cr_graph_input {
    const char *name; /* NULL: "input", or "input0" and so on where there are several */
    cr_shape sample;
    cr_dtype dtype;
    bool no_batch;
} cr_graph_input;

/* A model of several inputs or outputs: fills outputs, at most CR_GRAPH_OUTPUTS, owned by the
 * frame, and says how many there are. */
typedef cr_status (*cr_graph_function)(cr_scope at, cr_tensor *const *inputs, int input_count,
                                       cr_tensor **outputs, int *output_count,
                                       const void *settings);

/* What is traced: a model function on samples of a shape (without the batch dimension), or, where
 * .many is given, a function of several inputs. Parameters are built if they are not there. Integer
 * tensors that the function makes and reads itself (shapes, sizes) may depend on the batch size;
 * constants that ops read may do so only by repeating along it. What is written in place (cr_add_
 * and its kin) is not seen: a function that is traced must not. */
typedef struct cr_graph_args {
    cr_model *model;
    cr_model_function function;
    const void *settings; /* of either function */
    cr_shape sample;
    cr_dtype dtype;
    cr_graph_function many;
    const cr_graph_input *inputs;
    int input_count;
    const char *const *output_names; /* NULL: "output", or "output0" and so on */
} cr_graph_args;

/* NULL on failure, where the message names the op that stands in the way. The model is put into
 * eval mode meanwhile. */
#define cr_graph_trace(...) cr_graph_trace_with((cr_graph_args){ .model = __VA_ARGS__ })
cr_graph *cr_graph_trace_with(cr_graph_args args);
void cr_graph_free(cr_graph *graph);

/* An independent copy, which shares parameters and constants. NULL on failure. */
cr_graph *cr_graph_copy(const cr_graph *graph);

/* ---- what it is ---- */

/* Name (borrowed), dtype and shape of an input or output; sizes that depend on N are -1. */
typedef struct cr_graph_port {
    const char *name;
    cr_dtype dtype;
    cr_shape shape;
} cr_graph_port;

int cr_graph_input_count(const cr_graph *graph);
int cr_graph_output_count(const cr_graph *graph);
cr_graph_port cr_graph_input_at(const cr_graph *graph, int index);
cr_graph_port cr_graph_output_at(const cr_graph *graph, int index);

/* Appends one line for each node: its results with their shapes, the op with its attributes, and
 * the layer that it is of. */
void cr_graph_print(const cr_graph *graph, cr_text *text);

/* ---- running it ---- */

/* Runs the ops one by one through the dispatcher, without gradients: the reference for what faster
 * ways of running a graph give. `inputs` and `outputs` are as many as the graph has; the batch size
 * is found from the inputs. Outputs are owned by the frame, NULL on failure. */
cr_status cr_graph_run(const cr_graph *graph, cr_tensor *const *inputs, cr_tensor **outputs);

/* ---- passes ---- */

/* Computes what depends on parameters and constants alone, and drops what changes nothing, is
 * computed twice, or is not read. Parameters that are written afterwards are not seen by what was
 * computed of them. */
cr_status cr_graph_simplify(cr_graph *graph);

/* Makes one op of several where there is one: a convolution with batch norm, a residual and an
 * activation; a linear layer with GELU; x * sigmoid(x). */
cr_status cr_graph_fuse(cr_graph *graph);

/* ---- compiled: the fast way to run one ----
 *
 * A compiled graph runs the kernels one after the other over one block of memory, in which results
 * that are never needed at the same time share room: nothing is looked up, checked or allocated
 * between them. What that takes is made for a batch size when it first comes, and kept.
 *
 *     cr_compiled *compiled = cr_graph_compile(graph);
 *     cr_compiled_run(compiled, &images, &logits);
 *     cr_compiled_free(compiled);
 *
 * May be run from many threads at once. Compile anew after parameters have been written. */
typedef struct cr_compiled cr_compiled;

/* Simplifies and fuses a copy of the graph, which the caller keeps. NULL on failure. */
cr_compiled *cr_graph_compile(const cr_graph *graph);
void cr_compiled_free(cr_compiled *compiled);

/* As cr_graph_run: outputs owned by the frame, NULL on failure. */
cr_status cr_compiled_run(cr_compiled *compiled, cr_tensor *const *inputs, cr_tensor **outputs);

/* The same into tensors of the caller's, of the right shapes and dtypes. From the second run of a
 * batch size on it allocates nothing, provided that the inputs are contiguous. */
cr_status cr_compiled_run_into(cr_compiled *compiled, cr_tensor *const *inputs,
                               cr_tensor *const *outputs);

/* The graph that is run, after all passes; borrowed. */
const cr_graph *cr_compiled_graph(const cr_compiled *compiled);

/* What a run of a batch size needs besides the weights; 0 on failure. */
typedef struct cr_compiled_memory {
    size_t arena_bytes; /* the block that everything lies in */
    size_t apart_bytes; /* what all results and workspaces would take side by side */
    int steps;          /* kernels and copies */
} cr_compiled_memory;
cr_compiled_memory cr_compiled_memory_for(cr_compiled *compiled, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
