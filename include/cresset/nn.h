/* Models: functions over a tree of named parameters.
 *
 * A cr_model holds parameters and buffers under dotted names, PyTorch's. A cr_scope is a place in
 * that tree, passed by value. A layer creates its parameters on first use, under its name, with the
 * shape that its input implies; afterwards it finds them:
 *
 *     static cr_tensor *net(cr_scope at, cr_tensor *x)
 *     {
 *         x = cr_relu(cr_conv2d(at, "conv1", x, .out = 32, .kernel = 3, .padding = 1));
 *         x = cr_flatten(cr_max_pool2d(x, .kernel = 2), 1, -1);
 *         return cr_linear(at, "fc", x, .out = 10);
 *     }
 *
 * Two uses of one name share one parameter. Run on a tensor of the meta device, a model function
 * builds all parameters and computes shapes only.
 *
 * Initial values depend on the model's seed and the parameter's name alone. A model in eval mode
 * may be run from many threads at once once it is built; building and training belong to one
 * thread. */
#ifndef CRESSET_NN_H
#define CRESSET_NN_H

#include "cresset/shaping.h"
#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the tree ---- */

typedef struct cr_model cr_model;
typedef struct cr_scope_node cr_scope_node;

typedef struct cr_scope {
    cr_model *model;
    cr_scope_node *node;
} cr_scope;

typedef struct cr_model_args {
    uint64_t seed;
    bool meta;          /* parameters have shapes and no data */
    bool uninitialized; /* parameters begin with no particular values: they are loaded next */
} cr_model_args;

/* A model without parameters, in training mode. NULL when memory runs out. */
#define cr_model_new(...) cr_model_new_with((cr_model_args){ __VA_ARGS__ })
cr_model *cr_model_new_with(cr_model_args args);
void cr_model_free(cr_model *model);

/* Training mode (the state of a new model) or eval mode; what batch norm and dropout go by. */
void cr_model_train(cr_model *model, bool training);
bool cr_model_is_training(const cr_model *model);

/* Whether the blocks of the model (cr_block) keep nothing but their inputs for backward and are run
 * again when it comes to them: less memory, a third more time, the same gradients bit for bit. */
void cr_model_checkpoint(cr_model *model, bool checkpoints);

/* The root of the tree, a place below `at` ("layer1", or several steps as "layer1.0"), and one
 * whose name is printed. */
cr_scope cr_root(cr_model *model);
cr_scope cr_at(cr_scope at, const char *name);
cr_scope cr_at_format(cr_scope at, const char *format, ...) CR_PRINTF(2, 3);

/* The dotted name of a place; "" for the root. */
const char *cr_scope_name(cr_scope at);

/* ---- parameters and buffers ---- */

/* How a parameter begins. Names and defaults are torch.nn.init's. */
typedef enum cr_init_kind {
    CR_INIT_ZEROS,
    CR_INIT_CONSTANT,        /* a: the value */
    CR_INIT_UNIFORM,         /* from a to b */
    CR_INIT_NORMAL,          /* mean a, standard deviation b */
    CR_INIT_TRUNC_NORMAL,    /* the same, cut at two standard deviations */
    CR_INIT_KAIMING_UNIFORM, /* a: negative slope; b: 0 fan in, 1 fan out */
    CR_INIT_KAIMING_NORMAL,
    CR_INIT_XAVIER_UNIFORM, /* a: gain (0 means 1) */
    CR_INIT_XAVIER_NORMAL,
    CR_INIT_ORTHOGONAL, /* a: gain (0 means 1) */
    CR_INIT_EYE
} cr_init_kind;

typedef struct cr_init {
    cr_init_kind kind;
    double a;
    double b;
} cr_init;

/* Fills a tensor. The numbers come from the calling thread's generator. */
cr_status cr_init_fill(cr_tensor *tensor, cr_init init);

/* The parameter `name` at a place, made with this shape if it is not there yet. Borrowed from the
 * model. Fails when it is there with another shape. */
cr_tensor *cr_parameter(cr_scope at, const char *name, cr_shape shape, cr_init init);

/* The same for a buffer: saved with the model, but not trained. float32 unless dtype says else. */
cr_tensor *cr_buffer(cr_scope at, const char *name, cr_shape shape, cr_dtype dtype, double value);

/* What a layer begins with instead of its default, set before the layer is first used: for all
 * parameters whose full name matches the pattern ("*.bn2.weight"). Later rules win. */
cr_status cr_model_init_rule(cr_model *model, const char *pattern, cr_init init);

/* The same for those of them that have `ndim` dimensions: 4 are the weights of convolutions over
 * images, 2 those of linear layers, 1 biases and the weights of norms. */
cr_status cr_model_init_weights(cr_model *model, const char *pattern, int ndim, cr_init init);

typedef struct cr_named_tensor {
    const char *name; /* full, dotted; borrowed from the model */
    cr_tensor *tensor;
    bool is_buffer;
} cr_named_tensor;

/* All parameters and buffers in the order of creation. */
int cr_model_tensor_count(const cr_model *model);
cr_named_tensor cr_model_tensor_at(const cr_model *model, int index);

/* By full name; NULL if there is none (no error is recorded). */
cr_tensor *cr_model_find(const cr_model *model, const char *name);

/* The number of elements in parameters, all or only those that are trained. */
int64_t cr_model_parameter_count(const cr_model *model, bool trainable_only);

/* Freezes (or unfreezes) the parameters whose full name matches a pattern; returns how many. */
int cr_model_freeze(cr_model *model, const char *pattern, bool frozen);

/* Converts all parameters and buffers of floating dtypes, as PyTorch's Module.to does, for inputs
 * of that dtype. The model must be built, and optimisers are made afterwards: the tensors are new
 * ones.
 */
cr_status cr_model_to_dtype(cr_model *model, cr_dtype dtype);

/* Clears the gradients of all parameters. */
void cr_model_zero_grad(cr_model *model);

/* ---- layers; each takes PyTorch's defaults for what is zero ---- */

/* y = x Wᵀ + b over the last dimension. x: (…, in) → (…, out). weight (out, in), bias (out). */
typedef struct cr_linear_args {
    cr_tensor *x;
    int64_t out;
    bool no_bias;
    bool gelu; /* the exact one, of the result: in one pass where no gradient is wanted */
} cr_linear_args;
#define cr_linear(at, name, ...) cr_linear_with(at, name, (cr_linear_args){ .x = __VA_ARGS__ })
cr_tensor *cr_linear_with(cr_scope at, const char *name, cr_linear_args args);

/* y_k = x1ᵀ A_k x2 + b_k. weight (out, in1, in2). */
typedef struct cr_bilinear_args {
    cr_tensor *x1;
    cr_tensor *x2;
    int64_t out;
    bool no_bias;
} cr_bilinear_args;
#define cr_bilinear(at, name, ...)                                                                 \
    cr_bilinear_with(at, name, (cr_bilinear_args){ .x1 = __VA_ARGS__ })
cr_tensor *cr_bilinear_with(cr_scope at, const char *name, cr_bilinear_args args);

/* Convolution over 1, 2 or 3 spatial dimensions. x: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
 * The plain fields set all spatial dimensions alike; a list in *_size overrides one of them.
 * weight (out, C / groups, kernel…), transposed: (C, out / groups, kernel…). */
typedef struct cr_conv_args {
    cr_tensor *x;
    int64_t out;
    int64_t kernel;
    int64_t stride; /* 0: 1 */
    int64_t padding;
    int64_t dilation; /* 0: 1 */
    int64_t groups;   /* 0: 1 */
    bool no_bias;
    bool same_padding;        /* padding = "same"; stride 1 only */
    cr_pad_mode padding_mode; /* CR_PAD_CONSTANT: zeros */
    int64_t output_padding;   /* transposed only */
    cr_shape kernel_size;
    cr_shape stride_size;
    cr_shape padding_size;
    cr_shape dilation_size;
    cr_shape output_padding_size;
} cr_conv_args;
#define cr_conv1d(at, name, ...) cr_conv_with(at, name, 1, (cr_conv_args){ .x = __VA_ARGS__ })
#define cr_conv2d(at, name, ...) cr_conv_with(at, name, 2, (cr_conv_args){ .x = __VA_ARGS__ })
#define cr_conv3d(at, name, ...) cr_conv_with(at, name, 3, (cr_conv_args){ .x = __VA_ARGS__ })
#define cr_conv_transpose1d(at, name, ...)                                                         \
    cr_conv_transpose_with(at, name, 1, (cr_conv_args){ .x = __VA_ARGS__ })
#define cr_conv_transpose2d(at, name, ...)                                                         \
    cr_conv_transpose_with(at, name, 2, (cr_conv_args){ .x = __VA_ARGS__ })
#define cr_conv_transpose3d(at, name, ...)                                                         \
    cr_conv_transpose_with(at, name, 3, (cr_conv_args){ .x = __VA_ARGS__ })
cr_tensor *cr_conv_with(cr_scope at, const char *name, int spatial, cr_conv_args args);
cr_tensor *cr_conv_transpose_with(cr_scope at, const char *name, int spatial, cr_conv_args args);

/* Batch normalization over dimension 1 of (N, C, …), with running statistics in training mode.
 * Parameters weight and bias (C); buffers running_mean, running_var (C) and num_batches_tracked. */
typedef struct cr_batch_norm_args {
    cr_tensor *x;
    double eps;      /* 0: 1e-5 */
    double momentum; /* 0: 0.1; for a cumulative average set .cumulative */
    bool cumulative;
    bool no_affine;
    bool no_running_stats;
    bool relu;           /* the result through relu, in the same pass */
    cr_tensor *residual; /* added before relu */
} cr_batch_norm_args;
#define cr_batch_norm(at, name, ...)                                                               \
    cr_batch_norm_with(at, name, (cr_batch_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_batch_norm_with(cr_scope at, const char *name, cr_batch_norm_args args);

/* Over the last `dims` dimensions (0: 1). Parameters weight and bias of their shape; RMS norm has
 * no bias (and an eps of 1.19e-7, float32's). */
typedef struct cr_layer_norm_args {
    cr_tensor *x;
    int dims;
    double eps; /* 0: 1e-5 */
    bool no_affine;
    bool no_bias;
} cr_layer_norm_args;
#define cr_layer_norm(at, name, ...)                                                               \
    cr_layer_norm_with(at, name, (cr_layer_norm_args){ .x = __VA_ARGS__ })
#define cr_rms_norm(at, name, ...)                                                                 \
    cr_rms_norm_with(at, name, (cr_layer_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_layer_norm_with(cr_scope at, const char *name, cr_layer_norm_args args);
cr_tensor *cr_rms_norm_with(cr_scope at, const char *name, cr_layer_norm_args args);

/* Over groups of channels of (N, C, …). */
typedef struct cr_group_norm_args {
    cr_tensor *x;
    int64_t groups;
    double eps; /* 0: 1e-5 */
    bool no_affine;
} cr_group_norm_args;
#define cr_group_norm(at, name, ...)                                                               \
    cr_group_norm_with(at, name, (cr_group_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_group_norm_with(cr_scope at, const char *name, cr_group_norm_args args);

/* Over each channel of each sample of (N, C, …); as in PyTorch, without parameters unless
 * .affine. */
typedef struct cr_instance_norm_args {
    cr_tensor *x;
    double eps; /* 0: 1e-5 */
    bool affine;
} cr_instance_norm_args;
#define cr_instance_norm(at, name, ...)                                                            \
    cr_instance_norm_with(at, name, (cr_instance_norm_args){ .x = __VA_ARGS__ })
cr_tensor *cr_instance_norm_with(cr_scope at, const char *name, cr_instance_norm_args args);

/* Rows of a table: indices (…) → (…, dim). weight (count, dim), normally distributed. The row
 * padding_index - 1 is zero and gets no gradient (0: no such row). */
typedef struct cr_embedding_args {
    cr_tensor *indices;
    int64_t count;
    int64_t dim;
    int64_t padding_row; /* 1 + the padding index */
} cr_embedding_args;
#define cr_embedding(at, name, ...)                                                                \
    cr_embedding_with(at, name, (cr_embedding_args){ .indices = __VA_ARGS__ })
cr_tensor *cr_embedding_with(cr_scope at, const char *name, cr_embedding_args args);

/* Zeroes elements (or whole channels of (N, C, …)) with probability p in training mode and scales
 * the rest by 1 / (1 - p). */
cr_tensor *cr_dropout(cr_scope at, cr_tensor *x, double p);
cr_tensor *cr_dropout2d(cr_scope at, cr_tensor *x, double p);

/* The same for whole samples of (N, …): a branch of a residual net is left out of some of them. */
cr_tensor *cr_stochastic_depth(cr_scope at, cr_tensor *x, double p);

/* max(0, x) + weight min(0, x), with one weight or one a channel. Begins at 0.25. */
cr_tensor *cr_prelu(cr_scope at, const char *name, cr_tensor *x, int64_t weights);

/* ---- blocks ---- */

/* A part of a model that repeats: a residual block, a layer of a transformer. Reads its inputs
 * (optional ones may be NULL) and settings, and makes what belongs to it below `at`. */
typedef cr_tensor *(*cr_block_function)(cr_scope at, cr_tensor *const *inputs,
                                        const void *settings);

/* Runs a block in a frame of its own, so that only what backward needs outlives it, and under
 * activation checkpointing if cr_model_checkpoint asked for it. All tensors that the block reads
 * and that need gradients must be inputs (parameters apart). `settings` is copied, at most
 * CR_BLOCK_SETTINGS bytes of it; in the short form it points to a record of known type:
 *
 *     x = cr_block(cr_at_format(at, "%d", i), basic_block, &settings, x);
 */
#define CR_BLOCK_SETTINGS 256
#define cr_block(at, function, settings, ...)                                                      \
    cr_block_with(at, function, settings, sizeof *(settings), (cr_tensor *[]){ __VA_ARGS__ },      \
                  (int)(sizeof((cr_tensor *[]){ __VA_ARGS__ }) / sizeof(cr_tensor *)))
cr_tensor *cr_block_with(cr_scope at, cr_block_function function, const void *settings, size_t size,
                         cr_tensor *const *inputs, int count);

/* ---- what layers give ---- */

/* Called when a layer or a block of cr_block has run: its name ("layer4.1.conv2"), its kind
 * (PyTorch's class name, or "Block"), its first input and its output. Both tensors are borrowed:
 * what is kept needs cr_retain. */
typedef void (*cr_layer_function)(const char *name, const char *kind, cr_tensor *input,
                                  cr_tensor *output, void *context);

typedef struct cr_layer_watch {
    const char *pattern; /* of the names to be told of ("layer4.*"); NULL: all */
    cr_layer_function function;
    void *context;
} cr_layer_watch;

/* Sets who is told of the layers that the calling thread runs, from now on until it is set again
 * ({ 0 }: nobody); returns who was:
 *
 *     cr_layer_watch was = cr_watch_layers((cr_layer_watch){ "layer4.*", keep_output, &kept });
 *     cr_tensor *logits = resnet(cr_root(model), x);
 *     cr_watch_layers(was);
 *
 * The pattern must live as long. Of a convolution that is one op with its norm, in eval mode where
 * no gradient is wanted (cr_conv2d_norm_activation), nobody is told; of the block around it, yes.
 */
cr_layer_watch cr_watch_layers(cr_layer_watch watch);

/* ---- what a model is made of ---- */

typedef struct cr_layer_row {
    char *name;       /* dotted */
    const char *kind; /* PyTorch's class name: "Conv2d" */
    cr_shape input;
    cr_shape output;
    int64_t parameters;
    int64_t multiply_adds;
} cr_layer_row;

typedef struct cr_summary {
    cr_layer_row *rows;
    int count;
    int64_t parameters;       /* of the whole model */
    int64_t multiply_adds;    /* of everything that ran, layers or not */
    int64_t activation_bytes; /* outputs of all ops added up */
    cr_shape output;
} cr_summary;

/* A model function with its settings bound to a context. */
typedef cr_tensor *(*cr_model_function)(cr_scope at, cr_tensor *x, const void *settings);

/* Runs a model on a meta tensor of this shape: builds its parameters and, if summary is not NULL,
 * fills it in (to be freed with cr_summary_free). No arithmetic is done. */
cr_status cr_model_build(cr_model *model, cr_model_function function, const void *settings,
                         cr_shape input, cr_dtype dtype, cr_summary *summary);
void cr_summary_free(cr_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
