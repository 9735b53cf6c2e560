/* What the files of the exporter to plain C share.
 *
 * A graph is lowered at batch size 1 to steps, each a call of a function of net.c. A value of the
 * graph is a place: some elements of a buffer, with strides, so that views cost nothing and the
 * same picture may lie as (C, H, W) or as (H, W, C), which convolutions want. A step that needs
 * its input otherwise asks for it by one of the place_as functions, which write a copying step.
 *
 * The text of a step names elements of buffers by marks, which become addresses once all steps are
 * known and the buffers have been packed into one arena by their lifetimes. */
#ifndef CR_GRAPH_PLAIN_C_H
#define CR_GRAPH_PLAIN_C_H

#include "cresset/plain_c.h"
#include "graph/graph.h"

#define LOOP_DIMS 6 /* of the loops in the code that is written */
#define MARK      '\x01'
#define MARK_SIZE 64

enum buffer_kind { BUFFER_ARENA, BUFFER_INPUT, BUFFER_OUTPUT, BUFFER_WEIGHTS };

struct buffer {
    enum buffer_kind kind;
    int64_t size;  /* floats */
    int first;     /* step that writes it */
    int last;      /* step that reads it last */
    int64_t place; /* of the first float in the arena or among the weights */
};

struct place {
    int buffer; /* -1: there is no such value */
    int64_t offset;
    cr_shape shape;
    cr_shape stride;
};

/* What becomes of a value of the graph. */
struct made {
    bool is_made;
    struct place place; /* of float32 values */
    cr_tensor *data;    /* of constants; held */
    bool is_placed;     /* data stands among the weights at `place` */
    int users;          /* nodes and outputs that read it */
};

/* What is done to the sums of a product before they are written. */
struct fused {
    bool is_found;
    int norm;               /* number of the batch norm's node; -1: none */
    int residual;           /* value; -1: none */
    const char *activation; /* name of a function; NULL: none */
    int result;             /* value */
    int last;               /* node that this ends with */
};

/* ---- code_parts.c: the functions that written code is put together from ---- */

struct part {
    const char *names; /* its own and those of what it needs, to the end of the line */
    const char *text;
    size_t size;
};

struct part_list {
    struct part *at;
    int count;
};

cr_status parts_open(struct part_list *list);

/* Wants a part and those that it needs; `wanted` has one flag for each. Whether it is wanted. */
void parts_want(const struct part_list *list, const char *name, bool *wanted);
bool parts_has(const struct part_list *list, const char *name, const bool *wanted);
void parts_print(const struct part_list *list, const bool *wanted, cr_text *text);

/* ---- a graph as it is lowered ---- */

struct lowering {
    const cr_graph *graph;
    cr_c_args args;
    struct made *values;
    bool *absorbed;      /* by node: done in a step of another */
    int *deferred;       /* by node: the product whose step comes in its place; -1: its own */
    struct fused *fused; /* by node: of products */
    struct buffer *buffers;
    int buffer_count, buffer_capacity;
    char **steps; /* their texts */
    int step_count, step_capacity;
    float *weights;
    int64_t weight_count, weight_capacity;
    cr_text tables; /* of ints, as C */
    cr_tensor **table_data;
    int table_count, table_capacity;
    struct part_list parts;
    bool *wanted;  /* by part: functions that steps call */
    int64_t zeros; /* floats that lie outside a picture */
    int64_t taps;  /* of the largest kernel */
    int64_t arena; /* floats */
    int input;     /* buffers */
    int output;
};

/* One op: writes the steps of a node. */
typedef void (*lower_function)(struct lowering *l, int node);

/* ---- lower.c: a graph to steps ---- */

cr_status lower_graph(struct lowering *l);
void lowering_free(struct lowering *l);

/* Attributes of a node for batch size 1. */
int64_t node_int(const struct lowering *l, int node, const char *name);
double node_float(const struct lowering *l, int node, const char *name);
cr_shape node_ints(const struct lowering *l, int node, const char *name);

/* Value number of an input; -1 where it is absent. Its constant; NULL if it is none. */
int node_input(const struct lowering *l, int node, int i);
cr_tensor *node_constant(const struct lowering *l, int node, int i);

/* Shape of a value for batch size 1. */
cr_shape value_shape(const struct lowering *l, int value);

/* ---- fusing.c ---- */

/* Finds what follows a product node and nothing else reads: [batch norm] [residual] [activation],
 * the norm only where `norm` allows it. True if the product is to be written now, with what
 * l->fused[node] says; false if that comes in the place of the last of these nodes, where all that
 * it reads is made. */
bool fuse_product(struct lowering *l, int node, bool norm);

/* The function of net.c for an op of one input without attributes; NULL: none. */
const char *function_of(const char *op);

/* The activation that a node is, as such a function; NULL if it is none. */
const char *activation_of(const struct lowering *l, int node);

/* ---- places.c ---- */

int buffer_new(struct lowering *l, enum buffer_kind kind, int64_t size);

/* A new buffer in the arena for a shape, row-major or channels-last. */
struct place place_new(struct lowering *l, const cr_shape *shape, bool channels_last);

/* Where input i of a node lies; constants are put among the weights. buffer is -1 where the input
 * is absent. */
struct place place_of(struct lowering *l, int value);

/* True if the elements lie row-major, or as (N, H, W, C), without gaps. */
bool place_is_dense(const struct place *place);
bool place_is_last(const struct place *place);

/* The same elements in such an order, by a copying step if need be. */
struct place place_as_dense(struct lowering *l, struct place place);
struct place place_as_last(struct lowering *l, struct place place);

/* The place with its dimensions in this order, or with a shape that has the same elements; the
 * second needs a dense place. */
struct place place_permuted(const struct place *place, const int *order);
struct place place_viewed(const struct place *place, const cr_shape *shape);

/* A step that copies one place to another of the same shape. */
void copy_step(struct lowering *l, const char *about, const struct place *from,
               const struct place *to);

/* "{ { sizes }, { steps of a }, { steps of b } }" over a shape in the order of `order`'s strides,
 * dimensions put together where that can be; false if there are too many. With `line`, the last
 * dimension is one that `order` has without gaps. */
bool loops_text(const cr_shape *shape, const struct place *order, const struct place *a,
                const struct place *b, cr_text *text);

/* ---- steps.c ---- */

/* The mark of a place that the next step reads or writes; `text` has MARK_SIZE bytes. */
const char *reads(struct lowering *l, const struct place *place, char *text);
const char *writes(struct lowering *l, const struct place *place, char *text);

/* Ends a step: its comment and its C. The part of its name comes along. */
void step(struct lowering *l, const char *part, const char *about, const char *format, ...)
    CR_PRINTF(4, 5);

/* Scope, op and shape of the result of a node, for a comment; to be freed. */
char *describe(const struct lowering *l, int node, int result);

/* Room for so many floats among the weights: its buffer. NULL when memory runs out. */
float *weights_add(struct lowering *l, int64_t count, struct place *place);

/* The name of a table of ints with the elements of an int64 tensor. */
const char *table_of(struct lowering *l, cr_tensor *data, char *name);

/* Wants a part of net.c, and the parts that it needs. */
void use_part(struct lowering *l, const char *name);

/* Packs the buffers into the arena. */
cr_status pack_buffers(struct lowering *l);

/* A float32 constant's elements in row-major order, owned by the frame; NULL on failure. */
const float *floats_of_constant(cr_tensor *data);

/* ---- products.c, elements.c, layers.c: the ops ---- */

struct lowered_op {
    const char *name;
    lower_function lower;
};
extern const struct lowered_op product_lowerings[];
extern const struct lowered_op element_lowerings[];
extern const struct lowered_op layer_lowerings[];

/* ---- files.c, program.c: what is written ---- */

cr_status write_folder(struct lowering *l, const char *folder);
cr_status print_main(const struct lowering *l, cr_text *text);

#endif
