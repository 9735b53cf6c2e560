/* What op files share: the families of the table, and infer functions that many ops have in common.
 */
#ifndef CR_OPS_OPS_H
#define CR_OPS_OPS_H

#include "cresset/autograd.h"
#include "cresset/onnx_node.h"
#include "cresset/ops.h"
#include "kernels/elementwise/elementwise.h"
#include "tensor/tensor.h"

/* A family is a list of records that NULL ends, defined in its file; this table names them all. */
#define OP_FAMILY(name) const cr_op *const name[]

/* One a line, in order, so that families that are added at once do not meet. */
#define OP_FAMILY_TABLE(X)                                                                         \
    X(activation_ops)                                                                              \
    X(advanced_index_ops)                                                                          \
    X(along_ops)                                                                                   \
    X(arithmetic_ops)                                                                              \
    X(attention_ops)                                                                               \
    X(axis_ops)                                                                                    \
    X(batch_norm_ops)                                                                              \
    X(binary_ops)                                                                                  \
    X(channels_last_ops)                                                                           \
    X(comparison_ops)                                                                              \
    X(conv_norm_ops)                                                                               \
    X(convolution_ops)                                                                             \
    X(copy_ops)                                                                                    \
    X(count_ops)                                                                                   \
    X(creation_ops)                                                                                \
    X(cross_entropy_ops)                                                                           \
    X(ctc_ops)                                                                                     \
    X(distance_ops)                                                                                \
    X(drawing_ops)                                                                                 \
    X(dropout_ops)                                                                                 \
    X(einsum_ops)                                                                                  \
    X(embedding_ops)                                                                               \
    X(gather_ops)                                                                                  \
    X(group_norm_ops)                                                                              \
    X(join_ops)                                                                                    \
    X(layer_norm_ops)                                                                              \
    X(loss_binary_ops)                                                                             \
    X(loss_margin_ops)                                                                             \
    X(loss_regression_ops)                                                                         \
    X(mask_ops)                                                                                    \
    X(matrix_ops)                                                                                  \
    X(nll_ops)                                                                                     \
    X(order_ops)                                                                                   \
    X(pad_ops)                                                                                     \
    X(pool_ops)                                                                                    \
    X(quantized_ops)                                                                               \
    X(rearrange_ops)                                                                               \
    X(recurrent_layer_ops)                                                                         \
    X(recurrent_ops)                                                                               \
    X(reduce_ops)                                                                                  \
    X(scatter_ops)                                                                                 \
    X(scatter_reduce_ops)                                                                          \
    X(slice_ops)                                                                                   \
    X(softmax_ops)                                                                                 \
    X(sum_ops)                                                                                     \
    X(unary_ops)                                                                                   \
    X(view_ops)                                                                                    \
    X(vision_ops)                                                                                  \
    X(window_attention_ops)

#define OP_FAMILY_DECLARE(name) extern OP_FAMILY(name);
OP_FAMILY_TABLE(OP_FAMILY_DECLARE)
#undef OP_FAMILY_DECLARE

/* Input i of a call of any kind; NULL where it was not given. Whether its gradient is wanted. */
#define CALL_INPUT(call, i) ((i) < (call)->input_count ? (call)->inputs[i] : NULL)
#define CALL_NEEDS(call, i) ((i) < (call)->input_count && (call)->needs[i])

/* ---- infer ---- */

/* One output of input 0's shape and dtype. */
cr_status infer_same(cr_infer_call *call);

/* One output of all inputs' broadcast shape and promoted dtype. */
cr_status infer_broadcast(cr_infer_call *call);

/* One output of input 0's shape, bool. */
cr_status infer_bool(cr_infer_call *call);

/* ---- kernels and gradients of element-wise ops ---- */

/* Runs a map on the inputs; the op's attributes, if it has any, are doubles, the map's parameters.
 */
void map_forward(const cr_call *call, enum map_kind kind);

/* The gradient of an operand that was broadcast: `grad` summed to the shape that input i had. */
void give_broadcast(cr_gradient_call *call, int i, cr_tensor *grad);

/* ---- records that other files put networks together from ---- */

/* The settings of recurrent_layer_op; cell is an enum recurrent_cell. */
struct recurrent_attributes {
    int cell;
    bool batch_first;
    bool reverse;
    bool half_products; /* large products of float32 may be of bfloat16 */
};

/* x weight_ih weight_hh bias_ih bias_hh h0 c0 lengths → y h_n c_n reserve. */
extern const cr_op recurrent_layer_op;

/* ---- checks, for infer ---- */

/* Refuses anything but floating dtypes. */
cr_status require_floating(const cr_tensor *x, const char *what);

/* Refuses anything but float32 and float64: for kernels that have no others. */
cr_status require_computed(const cr_tensor *x, const char *what);

/* The same, with bfloat16, which the kernels of norms and cross-entropy read and write. */
cr_status require_stored(const cr_tensor *x, const char *what);

/* Refuses a number of dimensions outside [least, most]. */
cr_status require_ndim(const cr_tensor *x, const char *what, int least, int most);

/* Refuses an index that is not int64 or has an element outside [-below, size) (0 <= below); `dim`
 * is what the message calls the dimension. On the meta device only the dtype is checked. */
cr_status require_index(const cr_tensor *index, int64_t below, int64_t size, int dim);

/* Refuses an index of more dimensions or larger sizes (but along dim) than `what` has. */
cr_status check_index_shape(const cr_shape *index, const cr_shape *shape, int64_t dim,
                            const char *what);

/* The index with negative elements counted from the front; NULL with an error that `name` begins
 * where one is outside [-size, size). */
cr_tensor *index_from_front(const char *name, cr_tensor *index, int64_t size, int dim);

/* A list of dims made non-negative, sorted and checked for doubles; none given means all. */
cr_status normalize_dims(cr_shape *dims, int ndim);

/* ---- kernels without code for bfloat16 and float16 ---- */

/* Such a kernel runs on half_begin's call, which is the one given or, for 16-bit floats, one on
 * float32 copies that lie at the end of the workspace:
 *
 *     struct half_call half;
 *     const cr_call *computed = half_begin(&half, call);
 *     … the kernel, on `computed` …
 *     half_end(computed, call);
 *
 * Its workspace is what the kernel needs, in multiples of 64, and half_workspace(call). One output.
 */
#define HALF_INPUTS 3
struct half_call {
    cr_call call;
    cr_tensor *inputs[HALF_INPUTS];
    cr_tensor *output;
    cr_tensor tensors[HALF_INPUTS + 1];
    struct storage storages[HALF_INPUTS + 1];
};
size_t half_workspace(const cr_call *call);
const cr_call *half_begin(struct half_call *half, const cr_call *call);
void half_end(const cr_call *computed, const cr_call *call);

/* ---- reductions; dims are normalised by the first ---- */

/* The shape without the dims, or with sizes of 1 in their place. */
cr_status infer_reduced(const cr_shape *shape, cr_shape *dims, bool keepdim, cr_shape *result);

/* How many elements of a tensor of this shape go into one of the result. */
int64_t reduced_count(const cr_shape *shape, const cr_shape *dims);

/* The result (with or without the dims) with sizes of 1 in their place, so that it broadcasts. */
cr_tensor *keep_reduced(cr_tensor *reduced, const cr_shape *shape, const cr_shape *dims);

/* The same expanded to the whole shape: the gradient of a sum. */
cr_tensor *spread_reduced(cr_tensor *grad, const cr_shape *shape, const cr_shape *dims);

/* ---- convolutions ---- */

struct convolution_attributes {
    cr_shape stride;
    cr_shape padding;
    cr_shape dilation;
    int64_t groups;
    cr_shape output_padding; /* of a transposed convolution */
    cr_shape kernel;         /* of a gradient by the weight */
};

/* Check the inputs, complete the settings and give the shape of the result: of a convolution (x
 * weight bias), of a transposed one, and of the gradient by the weight (x grad). */
cr_status infer_convolution(cr_infer_call *call, struct convolution_attributes *a, int spatial);
cr_status infer_transposed_convolution(cr_infer_call *call, struct convolution_attributes *a,
                                       int spatial);
cr_status infer_convolution_weight(cr_infer_call *call, struct convolution_attributes *a,
                                   int spatial);

/* How far a kernel of this size reaches along spatial dimension d. */
int64_t convolution_span(const struct convolution_attributes *a, int64_t kernel, int d);

/* The convolution for which `in` and `out` are the shapes of input and output, with or without a
 * batch; sizes of unused dimensions are 1. */
struct cr_conv conv_of(const struct convolution_attributes *a, int spatial, const cr_tensor *in,
                       const cr_tensor *out, const int64_t *kernel);

/* ---- forms of weights that inference keeps with their storages ---- */

/* What such a form was made of: elements of the weight's storage at one version of it, and the
 * vectors of bias and norm. */
#define PREPARED_VECTORS 5

struct prepared_key {
    unsigned form;
    unsigned version;
    int64_t offset;
    cr_shape shape;
    double eps;
    const float *vectors[PREPARED_VECTORS]; /* shape.dim[0] values each; NULL: none */
};

/* conv_norm_activation of bfloat16 (conv_norm_half.c): whether it may be, and what it gives.
 * `activation` is a cr_activation. */
bool can_conv_norm_half(const cr_compose_call *call);
cr_tensor *conv_norm_half(const cr_compose_call *call, const struct convolution_attributes *conv,
                          double eps, int activation);

/* Kept with the storage of the weight, and held by those who read it meanwhile. */
struct prepared {
    int references;
    struct prepared_key key;
    size_t bytes;
    float *data;  /* the form, then copies of the vectors */
    float *shift; /* shape.dim[0] values besides, for who makes the form */
};

/* One of so many bytes that the caller holds, its data not initialised; NULL on failure. */
struct prepared *prepared_new(const struct prepared_key *key, size_t bytes);

/* What the weight's storage keeps, if it was made of the same, to be released; NULL is legal. */
struct prepared *prepared_find(struct storage *storage, const struct prepared_key *key);
void prepared_release(struct prepared *prepared);

/* The storage keeps this one in place of another, or none: training writes the weight next, and
 * needs the memory. */
void prepared_keep(struct storage *storage, struct prepared *prepared);
void prepared_forget(struct storage *storage);

/* ---- channels last: the shape (N, C, H, W), in memory (N, H, W, C) ---- */

/* True if a tensor of four dimensions lies so and is not contiguous. */
bool is_channels_last(const cr_tensor *tensor);
cr_shape channels_last_strides(const cr_shape *shape);

/* The pooling of such a tensor where no gradient is wanted; its result is so, too. */
struct pool_plan;
cr_tensor *channels_last_pool(cr_tensor *x, const struct pool_plan *plan, bool is_max);

/* The op that pools a channels-last tensor of this shape as a pooling op with these attributes
 * does, and its attributes in `to`, POOL_LAST_BYTES; NULL if there is none. The second by plan. */
#define POOL_LAST_BYTES 512
const cr_op *pool_last_op(const cr_op *op, const void *attributes, const cr_shape *shape, void *to);
const cr_op *channels_last_pool_op(const struct pool_plan *plan, bool is_max, void *to);

/* ---- normalisations ---- */

/* What is normalised together: the elements along dims; rms: without their mean. */
struct norm_view {
    cr_shape dims;
    bool rms;
    double eps;
};

/* The gradient of x where h is that of (x - mean) / sqrt(var + eps), which *normalized becomes;
 * written with differentiable ops. */
cr_tensor *norm_gradient(cr_tensor *x, cr_tensor *h, const struct norm_view *view,
                         cr_tensor **normalized);

/* The dtype that a kernel of norms takes x in: its own but for float16. */
cr_dtype norm_stored(const cr_tensor *x);

/* All dimensions but one. */
cr_shape other_dims(int ndim, int dim);

/* A vector shaped so that it broadcasts along a dimension; NULL for NULL. */
cr_tensor *along_dim(cr_tensor *vector, int ndim, int dim);

/* ---- ops written with others ---- */

/* Composes an op whose `body` gets the inputs (all of the record's, NULL where absent; 16-bit
 * floats as float32) and gives the result, which is rounded to the dtype that input 0 had. */
typedef cr_tensor *(*computed_body)(const void *attributes, cr_tensor *const *in);
cr_status compose_computed(cr_compose_call *call, computed_body body);

/* The record function##_op of an op that is composed of function##_of in this way. */
#define COMPUTED_OP(function, word, words, inputs, table, type, least, most, policy)               \
    static cr_status function##_compose(cr_compose_call *call)                                     \
    {                                                                                              \
        return compose_computed(call, function##_of);                                              \
    }                                                                                              \
                                                                                                   \
    static const cr_op function##_op = {                                                           \
        .name = word,                                                                              \
        .summary = words,                                                                          \
        .input_names = inputs,                                                                     \
        .attributes = table,                                                                       \
        .attribute_size = sizeof(struct type),                                                     \
        .min_inputs = least,                                                                       \
        .max_inputs = most,                                                                        \
        .cast = policy,                                                                            \
        .compose = function##_compose,                                                             \
    };

/* ---- losses ---- */

/* The mean for the default; others as they are. */
int loss_reduction(int reduction);

/* The losses of elements or samples, reduced. */
cr_tensor *reduce_loss(cr_tensor *loss, int reduction);

/* Refuses integers outside [0, classes) that are not ignore_index, naming value and position. */
cr_status require_classes(cr_tensor *target, int64_t classes, int64_t ignore_index);

/* -weight[t] x[t] of each position; x (N, C, …) or (C) float32 or float64, weight may be NULL. */
cr_tensor *nll_positions(cr_tensor *x, cr_tensor *target, cr_tensor *weight, int64_t ignore_index);

/* Its adjoint: -weight[t] grad at each target, 0 elsewhere, in the shape of `like`. */
cr_tensor *nll_spread(cr_tensor *grad, cr_tensor *target, cr_tensor *weight, const cr_tensor *like,
                      int64_t ignore_index);

/* ---- graphs of ONNX operators, as ops write them (onnx_graph.c); graph/ puts them into files ----
 */

struct written_value {
    char *name;      /* given; NULL: it gets one when the graph is written */
    cr_tensor *data; /* of a constant, retained; NULL: an input, or made by an operator */
    int maker;       /* the operator; -1: none */
    int output;      /* which one of its */
    cr_onnx_spec spec;
    bool has_spec;
    bool is_parameter;           /* a constant with a name of the model */
    cr_onnx_value permuted_from; /* a constant that is another one in the order `order` */
    cr_shape order;
};

struct written_operator {
    const char *type;
    char *scope; /* the dotted name of the layer */
    char *name;  /* given by onnx_graph_name */
    cr_onnx_value *inputs;
    int input_count;
    cr_onnx_value output; /* the first */
    int output_count;
    cr_onnx_attribute *attributes;
    int attribute_count;
    bool is_removed;
};

/* A size that operators have computed, as a vector of one int64. */
struct onnx_computed_size {
    cr_onnx_size size;
    cr_onnx_value value;
};

/* Where a size is found: that of a value in a dimension. */
struct onnx_size_source {
    cr_onnx_size size;
    cr_onnx_value value;
    int dim;
};

struct cr_onnx_graph {
    struct written_value *values; /* value_count of them; number 0 is none */
    int value_count, value_room;
    struct written_operator *operators;
    int operator_count, operator_room;
    struct onnx_computed_size *computed;
    int computed_count, computed_room;
    struct onnx_size_source *sources;
    int source_count, source_room;
    const char *scope;     /* of the operators that are added next; the caller's */
    bool keeps_parameters; /* they are written as they are, and operators permute them */
};

/* All that a graph holds, but not the record itself. */
void onnx_graph_free(cr_onnx_graph *graph);

/* A value that no operator makes: an input (data NULL) or a constant, which is retained; its name
 * is copied (NULL: none). */
cr_onnx_value onnx_graph_value(cr_onnx_graph *graph, const char *name, cr_tensor *data);

/* What is known of a value; its sizes that are not fixed can then be read from it. */
void onnx_graph_describe(cr_onnx_graph *graph, cr_onnx_value value, const cr_onnx_spec *spec);

/* Adds a record that onnx_graph_free will find: room in a growing array for one more. */
bool onnx_grow(void *array, int count, int *room, size_t size);

/* An op whose ONNX form is one operator of the same inputs, and no attributes. */
cr_status onnx_direct(cr_onnx_call *call, const char *type);
#define ONNX_DIRECT(function, type)                                                                \
    static cr_status function##_onnx(cr_onnx_call *call)                                           \
    {                                                                                              \
        return onnx_direct(call, type);                                                            \
    }

/* Sets output 0 and gives the standing status. */
cr_status onnx_result(cr_onnx_call *call, cr_onnx_value value);

/* For onnx: input i, 0 where it was not given; and converted to a dtype. */
#define ONNX_INPUT(call, i) ((i) < (call)->input_count ? (call)->inputs[i] : 0)
cr_onnx_value onnx_as(cr_onnx_call *call, int input, cr_dtype dtype);

/* The number of a dtype in ONNX. */
int onnx_dtype(cr_dtype dtype);

/* Pieces that several ops are written with (onnx_parts.c). Bounds that are infinite are none. */
cr_onnx_value onnx_clip(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype, double min,
                        double max);
cr_onnx_value onnx_gelu(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype);
cr_onnx_value onnx_reduce(cr_onnx_call *call, const char *type, cr_onnx_value x,
                          const cr_shape *dims, bool keepdim);
cr_onnx_value onnx_linear(cr_onnx_call *call);
cr_onnx_value onnx_filled(cr_onnx_call *call, double value, cr_shape shape, cr_dtype dtype);

/* softmax(scale query keyᵀ + mask + bias) value. */
struct onnx_attention {
    cr_onnx_value query, transposed_key, value, mask, bias; /* mask and bias may be 0 */
    bool is_bool;                                           /* the mask: true where a key counts */
    double scale;
    cr_dtype dtype;
};
cr_onnx_value onnx_attend(cr_onnx_call *call, const struct onnx_attention *attention);
cr_shape onnx_last_exchanged(int ndim);

/* ScatterElements of `source` to input 0 at input 1, which is a vector of entries of dim if
 * is_vector. Input 2 has the shape of the source. */
cr_onnx_value onnx_scatter(cr_onnx_call *call, int64_t dim, const char *reduction, bool is_vector,
                           cr_onnx_value source);

/* The data of an input, borrowed; NULL with an error that says that `what` must be known. */
cr_tensor *onnx_require_constant(cr_onnx_call *call, int input, const char *what);

#endif
