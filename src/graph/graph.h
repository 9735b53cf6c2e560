/* What the folders that read graphs (passes, plans, exporters) know of one.
 *
 * A graph is a list of nodes in the order in which they run, each an op with its attributes, over
 * numbered values. Shapes and attributes are functions of the batch size N: base + factor * N.
 * Layers stand as the ops that they are: conv2d, native_batch_norm and relu are three nodes.
 *
 * Attributes are read by name through the op's table: graph_int(node, "dim"), graph_ints(node,
 * "stride"); what depends on N stands in the node's symbols besides. */
#ifndef CR_GRAPH_GRAPH_H
#define CR_GRAPH_GRAPH_H

#include "base/base.h"
#include "cresset/graph.h"
#include "cresset/onnx_export.h"
#include "cresset/onnx_node.h"
#include "cresset/op.h"
#include "tensor/tensor.h"

/* An integer of a node's attributes that depends on N: base + factor * N. */
struct graph_symbol {
    int attribute; /* row of op->attributes, of kind INT or INTS */
    int element;   /* which one of INTS; 0 for INT */
    int64_t base;
    int64_t factor;
};

struct graph_value {
    char *name; /* of an input, an output, a parameter or a buffer; NULL: something between */
    cr_dtype dtype;
    cr_shape shape; /* for N = 0: size d is shape.dim[d] + factor.dim[d] * N */
    cr_shape factor;
    cr_tensor *data;   /* a parameter, buffer or constant, held; NULL: computed, or an input */
    bool is_parameter; /* data is a parameter or buffer of the model, with its name */
    int node;          /* that makes it; -1: none */
    int output;        /* which output of that node */
};

struct graph_node {
    const cr_op *op;
    void *attributes; /* op->attribute_size bytes, as for N = 0; the symbols say the rest */
    int *inputs;      /* value numbers; -1: an optional one that is absent */
    int input_count;
    int outputs[CR_MAX_OUTPUTS];
    int output_count;
    struct graph_symbol *symbols;
    int symbol_count;
    char *scope; /* dotted name of the layer in which it ran */
};

struct cr_graph {
    struct graph_node *nodes;
    int node_count;
    int node_capacity;
    struct graph_value *values;
    int value_count;
    int value_capacity;
    int inputs[CR_GRAPH_INPUTS]; /* value numbers */
    int input_count;
    int outputs[CR_GRAPH_OUTPUTS];
    int output_count;
};

/* ---- for a batch size ---- */

cr_shape graph_shape(const struct graph_value *value, int64_t n);

/* True if the shape is the same for every N. */
bool graph_is_fixed(const struct graph_value *value);

/* Writes the attributes for N to `to`, op->attribute_size bytes. */
void graph_attributes(const struct graph_node *node, int64_t n, void *to);

/* base + factor * N from what it is for N = 2, 3 and 5; false if it is no such function. */
bool graph_solve(const int64_t at[3], int64_t *base, int64_t *factor);

/* N from the shapes of inputs, which are checked; -1 with an error if they do not fit. 1 where
 * nothing depends on N. */
int64_t graph_batch(const cr_graph *graph, cr_tensor *const *inputs);

/* ---- attributes by name; of kind INT, FLOAT, BOOL, ENUM (an int), INTS; for N = 0 ---- */

/* The row of op->attributes of that name; -1 if there is none. */
int graph_attribute(const cr_op *op, const char *name);
int64_t graph_int(const struct graph_node *node, const char *name); /* INT, ENUM or BOOL */
double graph_float(const struct graph_node *node, const char *name);
cr_shape graph_ints(const struct graph_node *node, const char *name);
bool graph_has_symbol(const struct graph_node *node, const char *name);

/* Whether the node's op has this name. */
bool graph_is(const struct graph_node *node, const char *op);

/* ---- building ---- */

cr_graph *graph_new(void);

/* Numbers of new values; -1 on failure. Data is held; the name is copied, NULL is legal. */
int graph_add_value(cr_graph *graph, const char *name, cr_dtype dtype, const cr_shape *shape,
                    const cr_shape *factor);
int graph_add_constant(cr_graph *graph, const char *name, cr_tensor *data);

/* A node before node `at` (node_count: at the end), with attributes (copied; NULL if the op has
 * none), symbols and scope (copied; NULL is legal). Its outputs are new values, whose dtypes and
 * shapes the op's infer gives. Returns output 0, -1 on failure. The op must have a kernel or be a
 * view. Node numbers from `at` on grow by one. */
int graph_insert(cr_graph *graph, int at, const cr_op *op, const void *attributes,
                 const struct graph_symbol *symbols, int symbol_count, const int *inputs,
                 int input_count, const char *scope);

/* ---- editing ---- */

/* The node that makes a value; NULL if none does. Nodes move when one is inserted. */
struct graph_node *graph_maker(const cr_graph *graph, int value);

/* How many inputs of nodes and outputs of the graph read a value; the first nodes that do go to
 * `users` (NULL: not wanted), at most `room`. */
int graph_users(const cr_graph *graph, int value, int *users, int room);

bool graph_is_output(const cr_graph *graph, int value);

/* Whoever reads `from` reads `to` instead, outputs of the graph too, whose name goes along. */
void graph_replace(cr_graph *graph, int from, int to);

/* Removes nodes whose results nobody reads, and values that nobody makes or reads. Values and nodes
 * are numbered anew. */
void graph_prune(cr_graph *graph);

/* ---- attributes of nodes to be ---- */

/* Write an attribute of that name into a block for the op; ints also into ENUM and BOOL. */
void graph_set_int(const cr_op *op, void *attributes, const char *name, int64_t value);
void graph_set_float(const cr_op *op, void *attributes, const char *name, double value);
void graph_set_ints(const cr_op *op, void *attributes, const char *name, const cr_shape *value);

/* ---- memory of a run ---- */

/* Bytes that are needed from one step of a run to another, both included. */
struct graph_buffer {
    size_t bytes; /* rounded up by graph_place */
    size_t offset;
    int first;
    int last;
};

/* Gives every buffer its offset in a block of *total bytes; false when memory runs out. */
bool graph_place(struct graph_buffer *buffers, int count, size_t *total);

/* ---- one batch size, ready to run ---- */

/* A step: a kernel, or a copy into another layout (op NULL). */
struct graph_step {
    cr_call call;
    void *attributes;
    cr_tensor **inputs;
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    int node;
    int workspace;   /* buffer; -1: none */
    bool is_checked; /* reads integers that come with the run: infer looks at them again */
};

/* Everything that one run at a time needs: tensors over places in an arena, and the steps. */
struct graph_context {
    struct graph_context *next; /* among those that wait */
    int64_t n;
    int threads; /* sizes of workspaces go by it */
    struct graph_step *steps;
    int step_count;
    cr_tensor **tensors; /* all handles but those of constants */
    int *buffer_of;      /* the number of each one's buffer */
    int tensor_count;
    struct graph_buffer *buffers;
    struct storage *storages; /* of the buffers, then of the inputs of the graph */
    int buffer_count;
    cr_tensor *inputs[CR_GRAPH_INPUTS];
    cr_tensor *outputs[CR_GRAPH_OUTPUTS];
    char *arena;
    size_t arena_bytes;
    size_t apart_bytes; /* what the buffers would take side by side */
};

struct graph_context *graph_context_new(const cr_graph *graph, int64_t n);
void graph_context_free(struct graph_context *context);

/* ---- ONNX files (onnx_export.c, onnx_fold.c, onnx_write.c) ---- */

/* Operators and constants with what is read and given. */
struct onnx_file {
    const cr_onnx_args *args;
    cr_onnx_graph *graph;
    cr_onnx_value inputs[CR_GRAPH_INPUTS];
    int input_count;
    cr_onnx_value outputs[CR_GRAPH_OUTPUTS];
    const char *output_names[CR_GRAPH_OUTPUTS];
    cr_onnx_spec output_specs[CR_GRAPH_OUTPUTS];
    int output_count;
};

/* Batch norms after convolutions and linear layers go into their weights. */
cr_status onnx_fold(struct onnx_file *file, cr_onnx_report *report);

/* Names what has no name, and writes what the outputs need. */
cr_status onnx_write(struct onnx_file *file, const char *path, cr_onnx_report *report);

/* ---- quantization (quantize_plan.c) ---- */

/* A layer of bytes: its node, and what else is done on its sums. */
struct quantize_layer {
    int node;
    int norm;        /* node of a batch norm; -1: none */
    int residual;    /* value; -1: none */
    bool is_bounded; /* by 0, and by `high` unless that is 0 */
    double high;
    int result; /* value */
    int last;   /* node that makes it */
    int x_range, residual_range, range;
};

struct quantize_plan {
    struct quantize_layer *layers;
    int layer_count;
    int *inside; /* by node: the layer that it is part of; -1: none */
    int *range;  /* by value: the number of its range; -1: none */
    int range_count;
};

cr_status quantize_plan_make(const cr_graph *graph, struct quantize_plan *plan);
void quantize_plan_free(struct quantize_plan *plan);

/* cr_graph_run (graph_run.c) that shows every float32 value, when it is made, to `watch`. */
typedef void (*graph_watch)(int value, cr_tensor *tensor, void *context);
cr_status graph_run_watched(const cr_graph *graph, cr_tensor *const *inputs, cr_tensor **outputs,
                            graph_watch watch, void *context);

#endif
