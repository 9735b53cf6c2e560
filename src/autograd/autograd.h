/* The graph that backward walks: a node for each op that ran with gradients wanted. */
#ifndef CR_AUTOGRAD_AUTOGRAD_H
#define CR_AUTOGRAD_AUTOGRAD_H

#include "cresset/autograd.h"
#include "cresset/op.h"
#include "profile/profile.h"
#include "tensor/tensor.h"

struct node;

/* Where the gradient of one input goes: to output `index` of a node, to a leaf, or nowhere. */
struct edge {
    struct node *node; /* owned */
    cr_tensor *leaf;   /* owned */
    int index;
};

/* A tensor kept for backward, with the version it had. */
struct saved {
    cr_tensor *tensor; /* owned; NULL: not saved */
    unsigned version;
};

struct grad_hook {
    struct grad_hook *next;
    int output; /* of the node */
    cr_grad_hook function;
    void *context;
};

struct node {
    atomic_int references;
    const cr_op *op;
    uint64_t sequence; /* rises in the order of creation, so inputs come before */
    int input_count;
    int output_count;
    bool is_consumed;           /* backward has given up what was saved */
    const void *walk;           /* the backward that is visiting it; NULL outside one */
    int place;                  /* its position there */
    struct edge *edges;         /* input_count */
    struct saved *saved_inputs; /* input_count */
    cr_tensor_spec *input_specs;
    void *attributes;
    const char *layer; /* that it was made in, for the profiler; NULL while there is none */
    struct saved saved_outputs[CR_MAX_OUTPUTS];
    cr_tensor_spec output_specs[CR_MAX_OUTPUTS];
    cr_tensor *watched[CR_MAX_OUTPUTS]; /* outputs that keep their gradient; not owned */
    struct grad_hook *hooks;
    struct node *next_garbage;
};

/* A node for an op that is about to record: edges, saved inputs and specs taken from the call.
 * NULL (with an error) when memory runs out. */
struct node *node_new(const cr_op *op, const void *attributes, cr_tensor *const *inputs,
                      int input_count, int output_count);

/* Makes the node the origin of its outputs, saving those that the op asks for. */
cr_status node_adopt_outputs(struct node *node, cr_tensor *const *outputs);

/* Gives up a reference; nodes that die are freed one after the other, not recursively. */
void node_release(struct node *node);

/* Gives up what was saved for backward; a node that saved nothing can be walked again. */
void node_consume(struct node *node);

/* The spec of a tensor. */
cr_tensor_spec spec_of(const cr_tensor *tensor);

/* Fails, naming `op` and which gradient or result it is, if a floating tensor has a NaN. */
cr_status anomaly_check(const cr_op *op, const cr_tensor *tensor, const char *what);

/* Casts the inputs that the op's policy is about, to what autocast is set to; float64 is left
 * alone, as in PyTorch. */
cr_status autocast_inputs(const cr_op *op, cr_tensor **inputs, int count);

/* For the backward of a checkpoint: takes what has added up of the gradient of input i, so that
 * what the block contributes is added to it in the order in which it would be without the
 * checkpoint. Owned by the caller; NULL if there is none. */
cr_tensor *backward_take_gradient(int i);

/* The settings that a checkpoint restores for its second run. */
struct grad_modes {
    bool grad_enabled;
    bool is_recomputing;
    cr_dtype autocast;
};
struct grad_modes grad_modes_swap(struct grad_modes modes);
struct grad_modes grad_modes_now(void);

#endif
