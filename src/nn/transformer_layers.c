/* The layers of a transformer: attention and a feed-forward part, each with dropout, a residual and
 * a norm before or after it. */
#include "cresset/sequence_layers.h"
#include "nn/nn.h"

struct transformer {
    cr_scope at;
    const cr_transformer_layer_args *args;
    double dropout;
    double eps;
};

/* A part of the layer: what is added to x. */
typedef cr_tensor *(*transformer_part)(const struct transformer *t, cr_tensor *x);

static cr_tensor *self_part(const struct transformer *t, cr_tensor *x)
{
    cr_tensor *y = cr_multihead_attention(t->at, "self_attn", x, .heads = t->args->heads,
                                          .attn_mask = t->args->mask,
                                          .key_padding_mask = t->args->key_padding_mask,
                                          .dropout = t->dropout, .is_causal = t->args->is_causal)
                       .output;
    return cr_dropout(t->at, y, t->dropout);
}

static cr_tensor *memory_part(const struct transformer *t, cr_tensor *x)
{
    cr_tensor *y = cr_multihead_attention(
                       t->at, "multihead_attn", x, .key = t->args->memory, .heads = t->args->heads,
                       .attn_mask = t->args->memory_mask,
                       .key_padding_mask = t->args->memory_key_padding_mask, .dropout = t->dropout)
                       .output;
    return cr_dropout(t->at, y, t->dropout);
}

static cr_tensor *feedforward_part(const struct transformer *t, cr_tensor *x)
{
    int64_t width = t->args->feedforward ? t->args->feedforward : 2048;
    cr_tensor *y = cr_linear(t->at, "linear1", x, .out = width);
    y = t->args->gelu ? cr_gelu(y, CR_GELU_NONE) : cr_relu(y);
    y = cr_linear(t->at, "linear2", cr_dropout(t->at, y, t->dropout), .out = cr_dim(x, -1));
    return cr_dropout(t->at, y, t->dropout);
}

static cr_tensor *add_part(const struct transformer *t, cr_tensor *x, const char *norm,
                           transformer_part part)
{
    if (t->args->norm_first)
        return cr_add(x, part(t, cr_layer_norm(t->at, norm, x, .eps = t->eps)));
    return cr_layer_norm(t->at, norm, cr_add(x, part(t, x)), .eps = t->eps);
}

static struct transformer transformer_open(cr_scope at, const cr_transformer_layer_args *args)
{
    double dropout = args->dropout == 0 ? 0.1 : args->dropout;
    return (struct transformer){ at, args, args->no_dropout ? 0 : dropout, args->eps };
}

/* The tensors of the arguments, as a block takes them, and back. */
enum { IN_X, IN_MEMORY, IN_MASK, IN_PADDING, IN_MEMORY_MASK, IN_MEMORY_PADDING, IN_COUNT };

static cr_tensor *run_block(cr_scope at, const cr_transformer_layer_args *args,
                            cr_block_function function)
{
    cr_tensor *inputs[IN_COUNT] = {
        [IN_X] = args->x,
        [IN_MEMORY] = args->memory,
        [IN_MASK] = args->mask,
        [IN_PADDING] = args->key_padding_mask,
        [IN_MEMORY_MASK] = args->memory_mask,
        [IN_MEMORY_PADDING] = args->memory_key_padding_mask,
    };
    return cr_block_with(at, function, args, sizeof *args, inputs, IN_COUNT);
}

static cr_transformer_layer_args block_args(cr_tensor *const *inputs, const void *settings)
{
    cr_transformer_layer_args args = *(const cr_transformer_layer_args *)settings;
    args.x = inputs[IN_X];
    args.memory = inputs[IN_MEMORY];
    args.mask = inputs[IN_MASK];
    args.key_padding_mask = inputs[IN_PADDING];
    args.memory_mask = inputs[IN_MEMORY_MASK];
    args.memory_key_padding_mask = inputs[IN_MEMORY_PADDING];
    return args;
}

static cr_tensor *encoder_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_transformer_layer_args args = block_args(inputs, settings);
    struct transformer t = transformer_open(at, &args);
    cr_tensor *x = add_part(&t, args.x, "norm1", self_part);
    return add_part(&t, x, "norm2", feedforward_part);
}

static cr_tensor *decoder_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    cr_transformer_layer_args args = block_args(inputs, settings);
    struct transformer t = transformer_open(at, &args);
    cr_tensor *x = add_part(&t, args.x, "norm1", self_part);
    x = add_part(&t, x, "norm2", memory_part);
    return add_part(&t, x, "norm3", feedforward_part);
}

cr_tensor *cr_transformer_encoder_layer_with(cr_scope at, const char *name,
                                             cr_transformer_layer_args args)
{
    if (!args.x || cr_failed())
        return NULL;
    struct layer layer = layer_begin(at, name, "TransformerEncoderLayer", args.x);
    return layer_end(layer, run_block(layer.at, &args, encoder_block));
}

cr_tensor *cr_transformer_decoder_layer_with(cr_scope at, const char *name,
                                             cr_transformer_layer_args args)
{
    if (!args.x || cr_failed())
        return NULL;
    struct layer layer = layer_begin(at, name, "TransformerDecoderLayer", args.x);
    if (!args.memory) {
        cr_error_set(CR_ERROR_ARGUMENT, "a decoder layer needs .memory, the encoder's result");
        return layer_end(layer, NULL);
    }
    return layer_end(layer, run_block(layer.at, &args, decoder_block));
}
