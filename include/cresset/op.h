/* The op record: everything that is known of one operation, in one place.
 *
 * cr_apply is the only way to run one. It checks, infers, allocates, runs the device's kernel and,
 * when gradients are wanted, keeps a node of the graph. Ops may be defined outside the library with
 * the same record. */
#ifndef CRESSET_OP_H
#define CRESSET_OP_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CR_MAX_OUTPUTS 4

/* ---- attributes: settings of one call, in a struct that a table describes ---- */

typedef enum cr_attribute_kind {
    CR_ATTRIBUTE_INT,   /* int64_t */
    CR_ATTRIBUTE_FLOAT, /* double */
    CR_ATTRIBUTE_BOOL,  /* bool */
    CR_ATTRIBUTE_ENUM,  /* an enum (int); dtypes too */
    CR_ATTRIBUTE_INTS,  /* cr_shape */
    CR_ATTRIBUTE_TEXT   /* char[CR_ATTRIBUTE_TEXT_SIZE], terminated */
} cr_attribute_kind;

#define CR_ATTRIBUTE_TEXT_SIZE 128

typedef struct cr_attribute {
    const char *name; /* NULL ends the table */
    cr_attribute_kind kind;
    size_t offset;
} cr_attribute;

/* One row of an attribute table: CR_ATTRIBUTE(struct softmax_attributes, INT, dim). */
#define CR_ATTRIBUTE(type, kind, field)                                                            \
    {                                                                                              \
#field, CR_ATTRIBUTE_##kind, offsetof(type, field)                                         \
    }
#define CR_ATTRIBUTE_END                                                                           \
    {                                                                                              \
        NULL, CR_ATTRIBUTE_INT, 0                                                                  \
    }

/* ---- what the parts of a record are called with ---- */

typedef struct cr_op cr_op;

/* dtype and shape of a tensor; for a view also where its elements lie. A result that is no view has
 * the strides given, if there are any, which must fill its memory; else it is row-major. */
typedef struct cr_tensor_spec {
    cr_dtype dtype;
    cr_shape shape;
    cr_shape stride; /* elements */
    int64_t offset;  /* views only: elements from the first of input 0 */
} cr_tensor_spec;

/* For infer: fill `outputs`; `attributes` may be completed (a negative dim made positive). Return
 * cr_error_set(…) on anything that does not fit; name(…) is put before the message. */
typedef struct cr_infer_call {
    const cr_op *op;
    void *attributes;
    cr_tensor *const *inputs; /* NULL where an optional one is absent */
    int input_count;
    cr_tensor_spec outputs[CR_MAX_OUTPUTS];
} cr_infer_call;

/* For kernels. Inputs are contiguous unless the op says CR_OP_STRIDED; outputs are as infer said
 * and not initialised; workspace is 64-byte aligned and has workspace_size bytes. */
typedef struct cr_call {
    const cr_op *op;
    const void *attributes;
    cr_tensor *const *inputs;
    int input_count;
    cr_tensor *const *outputs;
    void *workspace;
    size_t workspace_size;
} cr_call;

/* For compose: fill `outputs` by calling other ops. */
typedef struct cr_compose_call {
    const cr_op *op;
    const void *attributes;
    cr_tensor *const *inputs;
    int input_count;
    cr_tensor *outputs[CR_MAX_OUTPUTS];
} cr_compose_call;

/* For backward: fill grad_inputs[i] where needs[i], by calling ops; leave NULL for a zero gradient.
 * grad_outputs[i] is NULL where no gradient arrives (never all of them). inputs and outputs hold
 * what save_inputs and save_outputs ask for, NULL else; the specs are always there. */
typedef struct cr_gradient_call {
    const cr_op *op;
    const void *attributes;
    cr_tensor *const *inputs;
    int input_count;
    cr_tensor *const *outputs;
    cr_tensor *const *grad_outputs;
    const bool *needs;
    const cr_tensor_spec *input_specs;
    const cr_tensor_spec *output_specs;
    cr_tensor **grad_inputs;
} cr_gradient_call;

/* For onnx: how to write the node to an ONNX graph (onnx_node.h). */
typedef struct cr_onnx_call cr_onnx_call;

/* ---- the record ---- */

/* What autocast does with floating inputs: nothing, to the autocast dtype, to float32, or to the
 * widest dtype among them. */
typedef enum cr_cast { CR_CAST_NONE, CR_CAST_LOWER, CR_CAST_F32, CR_CAST_PROMOTE } cr_cast;

enum {
    CR_OP_VIEW = 1,               /* output 0 shares the storage of input 0; no kernel */
    CR_OP_STRIDED = 2,            /* the kernel reads inputs of any strides */
    CR_OP_NOT_DIFFERENTIABLE = 4, /* has no gradient by nature: comparisons, argmax */
    CR_OP_RANDOM = 8,             /* draws from the thread's generator */
    CR_OP_PROMOTE = 16,           /* inputs are first converted to their common dtype */
    CR_OP_PROMOTE_FLOATING = 32   /* the same, and integers and bool to float32 */
};

#define CR_SAVE(i) (1u << (i))

struct cr_op {
    const char *name;        /* PyTorch's name; _NAME, native_NAME and NAME_backward are inner ops,
                              * which only others call, and which trust them */
    const char *summary;     /* one line for the table in the docs */
    const char *input_names; /* words parted by spaces; "tensors*" for any number */
    const cr_attribute *attributes;
    size_t attribute_size;
    int min_inputs;   /* inputs from here on are optional and may be NULL */
    int max_inputs;   /* 0: min_inputs; -1: any number */
    int output_count; /* 0 means 1; hidden ones that only backward reads are counted */
    unsigned flags;
    uint64_t save_inputs; /* CR_SAVE bits of what backward reads */
    uint64_t save_outputs;
    cr_cast cast;

    /* Shapes and dtypes of the outputs; the only shape checks. */
    cr_status (*infer)(cr_infer_call *call);
    /* Bytes that the kernel needs besides; NULL: none. */
    size_t (*workspace)(const cr_call *call);
    /* The kernel of each device; never fails. NULL with CR_OP_VIEW or compose. */
    void (*forward[CR_DEVICE_COUNT])(const cr_call *call);
    /* Instead of infer and forward: the op written with others, whose gradients are its own. */
    cr_status (*compose)(cr_compose_call *call);
    cr_status (*backward)(cr_gradient_call *call);
    /* The op in operators of ONNX; NULL with compose, and where ONNX has nothing like it. */
    cr_status (*onnx)(cr_onnx_call *call);
    /* Multiply-adds of one call, for summaries and the profiler; NULL: none worth counting. */
    int64_t (*multiply_adds)(const cr_call *call);
};

/* ---- running ---- */

typedef struct cr_inputs {
    int count;
    cr_tensor *const *at;
} cr_inputs;

#define CR_INPUTS(...)                                                                             \
    ((cr_inputs){ (int)(sizeof((cr_tensor *[]){ __VA_ARGS__ }) / sizeof(cr_tensor *)),             \
                  (cr_tensor *[]){ __VA_ARGS__ } })

#define CR_NO_INPUTS ((cr_inputs){ 0, NULL })

/* Runs an op and returns output 0, owned by the frame; NULL on failure. `attributes` points to the
 * op's attribute struct (NULL if it has none) and is copied. */
cr_tensor *cr_apply(const cr_op *op, cr_inputs inputs, const void *attributes);

/* The same, giving every output. On failure all are NULL. */
cr_status cr_apply_all(const cr_op *op, cr_inputs inputs, const void *attributes,
                       cr_tensor *outputs[CR_MAX_OUTPUTS]);

/* Called for each op with a kernel or a view after it ran (by tracing, profiling, summaries), in
 * the calling thread. Returns what was set before, by way of the two pointers. */
typedef void (*cr_observer)(const cr_call *call, void *context);
typedef struct cr_observation {
    cr_observer observer;
    void *context;
} cr_observation;
cr_observation cr_observe(cr_observation observation);

/* ---- the table of ops ---- */

int cr_op_count(void);
const cr_op *cr_op_at(int index);
const cr_op *cr_op_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
