/* How an op is written to an ONNX graph: what the `onnx` function of an op record is called with.
 *
 * The function adds operators of ONNX's default domain, opset 17, that compute the outputs of one
 * node from its inputs, and says which values those are:
 *
 *     static cr_status softmax_onnx(cr_onnx_call *call)
 *     {
 *         const struct softmax_attributes *a = call->attributes;
 *         call->outputs[0] = cr_onnx_add(call, "Softmax", .inputs = { call->inputs[0] },
 *                                        .attributes = { CR_ONNX_INT("axis", a->dim) });
 *         return cr_error_status();
 *     }
 *
 * A value is a number that means something for one export only; 0 is none, as for an optional input
 * that is absent. What a call cannot say is refused by returning cr_error_set(CR_ERROR_UNSUPPORTED,
 * …) with the reason; the export goes on, so that all reasons are told at once. An output may be
 * an input or a constant: then no operator stands for the node. */
#ifndef CRESSET_ONNX_NODE_H
#define CRESSET_ONNX_NODE_H

#include "cresset/op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int cr_onnx_value;

/* ---- sizes, which may depend on the batch ---- */

/* base + factor * N for a batch of N; or, where symbol is not 0, a size that is only known to be
 * equal to those of the same symbol: it depends on the height and width of the input. */
typedef struct cr_onnx_size {
    int64_t base;
    int64_t factor;
    int symbol;
} cr_onnx_size;

/* dtype and sizes of an input or output. */
typedef struct cr_onnx_spec {
    cr_dtype dtype;
    int ndim;
    cr_onnx_size dim[CR_MAX_DIMS];
} cr_onnx_spec;

/* An integer of an attribute that is not fixed: element 0 of an INT, any of INTS. */
typedef struct cr_onnx_attribute_size {
    const char *name;
    int element;
    cr_onnx_size size;
} cr_onnx_attribute_size;

bool cr_onnx_is_fixed(cr_onnx_size size);
bool cr_onnx_size_equal(cr_onnx_size a, cr_onnx_size b);

/* ---- one node that is written ---- */

typedef struct cr_onnx_graph cr_onnx_graph;

struct cr_onnx_call {
    const cr_op *op;
    const void *attributes; /* integers that depend on the batch or the size are those of a probe */
    const cr_onnx_value *inputs;
    int input_count;
    const cr_onnx_spec *input_specs;
    const cr_onnx_spec *output_specs;
    const bool *wanted;                    /* which outputs are read */
    cr_onnx_value outputs[CR_MAX_OUTPUTS]; /* to be filled where wanted */
    const cr_onnx_attribute_size *varying; /* varying_count attributes that are not fixed */
    int varying_count;
    bool minds_varying; /* set by a function that goes by the sizes of the outputs instead */
    cr_onnx_graph *graph;
};

/* The size in an input's dimension, negative ones from the end: fixed, or 0 with an error that says
 * that it is not. */
int64_t cr_onnx_fixed_size(cr_onnx_call *call, int input, int dim);

/* What `varying` says of an element of an attribute, else the value. A node with varying attributes
 * is refused unless its function asked here or set minds_varying. */
cr_onnx_size cr_onnx_attribute_size_of(cr_onnx_call *call, const char *name, int element,
                                       int64_t value);

/* ---- operators ---- */

typedef enum cr_onnx_attribute_kind {
    CR_ONNX_END, /* no attribute: the list ends here */
    CR_ONNX_KIND_INT,
    CR_ONNX_KIND_FLOAT,
    CR_ONNX_KIND_TEXT,
    CR_ONNX_KIND_TEXTS, /* a list of one */
    CR_ONNX_KIND_INTS
} cr_onnx_attribute_kind;

typedef struct cr_onnx_attribute {
    const char *name; /* a literal, as texts are */
    cr_onnx_attribute_kind kind;
    int64_t integer;
    double number;
    const char *text;
    cr_shape integers;
} cr_onnx_attribute;

#define CR_ONNX_INT(name, value)                                                                   \
    {                                                                                              \
        name, CR_ONNX_KIND_INT, (value), 0, NULL,                                                  \
        {                                                                                          \
            0,                                                                                     \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CR_ONNX_FLOAT(name, value)                                                                 \
    {                                                                                              \
        name, CR_ONNX_KIND_FLOAT, 0, (value), NULL,                                                \
        {                                                                                          \
            0,                                                                                     \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CR_ONNX_TEXT(name, value)                                                                  \
    {                                                                                              \
        name, CR_ONNX_KIND_TEXT, 0, 0, (value),                                                    \
        {                                                                                          \
            0,                                                                                     \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CR_ONNX_TEXTS(name, value)                                                                 \
    {                                                                                              \
        name, CR_ONNX_KIND_TEXTS, 0, 0, (value),                                                   \
        {                                                                                          \
            0,                                                                                     \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define CR_ONNX_INTS(name, shape)                                                                  \
    {                                                                                              \
        name, CR_ONNX_KIND_INTS, 0, 0, NULL, (shape)                                               \
    }

#define CR_ONNX_MAX_INPUTS     8
#define CR_ONNX_MAX_ATTRIBUTES 8

typedef struct cr_onnx_operator {
    const char *type; /* a literal: "Conv" */
    cr_onnx_value inputs[CR_ONNX_MAX_INPUTS];
    cr_onnx_attribute attributes[CR_ONNX_MAX_ATTRIBUTES];
    int outputs;               /* 0: 1 */
    const cr_onnx_value *many; /* in place of inputs: many_count of them */
    int many_count;
} cr_onnx_operator;

/* Adds an operator and returns its first output; the others are the numbers that follow. 0 on
 * failure. */
#define cr_onnx_add(call, ...) cr_onnx_add_with(call, (cr_onnx_operator){ .type = __VA_ARGS__ })
cr_onnx_value cr_onnx_add_with(cr_onnx_call *call, cr_onnx_operator operation);

/* The same without attributes, of one and of two inputs. */
cr_onnx_value cr_onnx_unary(cr_onnx_call *call, const char *type, cr_onnx_value x);
cr_onnx_value cr_onnx_binary(cr_onnx_call *call, const char *type, cr_onnx_value a,
                             cr_onnx_value b);

/* ---- constants ---- */

/* A tensor as a constant, which the graph retains; a number without dimensions; a list of int64. */
cr_onnx_value cr_onnx_tensor(cr_onnx_call *call, cr_tensor *tensor);
cr_onnx_value cr_onnx_number(cr_onnx_call *call, cr_dtype dtype, double value);
cr_onnx_value cr_onnx_integers(cr_onnx_call *call, cr_shape values);

/* The tensor of a value that is constant, borrowed; else NULL. */
cr_tensor *cr_onnx_constant(cr_onnx_call *call, cr_onnx_value value);

/* ---- what many ops need ---- */

/* The arithmetic of a value with a number of its dtype: "Add", "Mul", … */
cr_onnx_value cr_onnx_with_number(cr_onnx_call *call, const char *type, cr_onnx_value x,
                                  cr_dtype dtype, double number);

/* The elements of x, of that spec (NULL: not known), with other sizes. */
cr_onnx_value cr_onnx_reshape(cr_onnx_call *call, cr_onnx_value x, const cr_onnx_spec *from,
                              const cr_onnx_size *sizes, int ndim);

/* Sizes as an int64 vector, computed where they are not fixed. */
cr_onnx_value cr_onnx_sizes(cr_onnx_call *call, const cr_onnx_size *sizes, int count);

/* Dimensions in another order: of a constant, the data themselves; of a parameter too, unless the
 * export keeps parameters as they are. */
cr_onnx_value cr_onnx_permute(cr_onnx_call *call, cr_onnx_value x, cr_shape order);

cr_onnx_value cr_onnx_cast(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype);

/* x[start : end : step] along dim. */
cr_onnx_value cr_onnx_slice(cr_onnx_call *call, cr_onnx_value x, int64_t dim, int64_t start,
                            int64_t end, int64_t step);

/* Dimensions of size 1 put in or taken out. */
cr_onnx_value cr_onnx_unsqueeze(cr_onnx_call *call, cr_onnx_value x, cr_shape dims);
cr_onnx_value cr_onnx_squeeze(cr_onnx_call *call, cr_onnx_value x, cr_shape dims);

#ifdef __cplusplus
}
#endif
#endif
