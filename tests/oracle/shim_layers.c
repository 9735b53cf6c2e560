/* What the Python side of the comparisons with PyTorch calls of the layers: models by pointer, and
 * layers with their options as plain arguments. Nothing here computes. */
#include "cresset/autograd.h"
#include "cresset/nn.h"
#include "cresset/ops.h"
#include "cresset/sequence_layers.h"

/* ---- models ---- */

cr_model *oracle_model_new(uint64_t seed)
{
    return cr_model_new(.seed = seed);
}

const char *oracle_model_name(const cr_model *model, int index)
{
    return cr_model_tensor_at(model, index).name;
}

cr_tensor *oracle_model_tensor(const cr_model *model, int index)
{
    return cr_model_tensor_at(model, index).tensor;
}

/* ---- pooling ---- */

/* numbers: kernel, stride, padding, dilation, ceil_mode, count_exclude_pad, or the size that
 * adaptive pooling gives. */
cr_tensor *oracle_pool2d(const char *kind, cr_tensor *x, const int64_t *numbers)
{
    cr_pool_args args = { .x = x,
                          .kernel = numbers[0],
                          .stride = numbers[1],
                          .padding = numbers[2],
                          .dilation = numbers[3],
                          .ceil_mode = numbers[4] != 0,
                          .count_exclude_pad = numbers[5] != 0 };
    if (kind[0] == 'm')
        return cr_max_pool_with(2, args);
    if (kind[0] == 'a' && kind[1] == 'v')
        return cr_avg_pool_with(2, args);
    return cr_adaptive_avg_pool2d(x, CR_SHAPE(numbers[0], numbers[0]));
}

/* ---- sequences ---- */

enum { TANH, RELU, LSTM, GRU };

struct recurrent_options {
    int64_t hidden, layers;
    int kind;
    bool no_bias, bidirectional, batch_first;
    double dropout;
};

void oracle_recurrent(cr_model *model, const struct recurrent_options *options,
                      cr_tensor *const *in, cr_tensor **out)
{
    cr_rnn_args args = {
        .x = in[0],
        .hidden = options->hidden,
        .layers = options->layers,
        .relu = options->kind == RELU,
        .no_bias = options->no_bias,
        .bidirectional = options->bidirectional,
        .batch_first = options->batch_first,
        .dropout = options->dropout,
        .h0 = in[1],
        .c0 = in[2],
        .lengths = in[3],
    };
    cr_scope at = cr_root(model);
    cr_recurrent result = options->kind == LSTM  ? cr_lstm_with(at, "layer", args)
                          : options->kind == GRU ? cr_gru_with(at, "layer", args)
                                                 : cr_rnn_with(at, "layer", args);
    out[0] = result.output;
    out[1] = result.h_n;
    out[2] = result.c_n;
}

void oracle_cell(cr_model *model, const struct recurrent_options *options, cr_tensor *const *in,
                 cr_tensor **out)
{
    cr_rnn_cell_args args = {
        .x = in[0],
        .h = in[1],
        .c = in[2],
        .hidden = options->hidden,
        .relu = options->kind == RELU,
        .no_bias = options->no_bias,
    };
    cr_scope at = cr_root(model);
    cr_recurrent result = options->kind == LSTM  ? cr_lstm_cell_with(at, "layer", args)
                          : options->kind == GRU ? cr_gru_cell_with(at, "layer", args)
                                                 : cr_rnn_cell_with(at, "layer", args);
    out[0] = result.h_n;
    out[1] = result.c_n;
}

struct attention_options {
    int64_t heads;
    double dropout;
    bool no_bias, is_causal, need_weights, per_head;
};

/* in: query, key, value, attn_mask, key_padding_mask. */
void oracle_attention(cr_model *model, const struct attention_options *options,
                      cr_tensor *const *in, cr_tensor **out)
{
    cr_attended result = cr_multihead_attention(
        cr_root(model), "layer", in[0], .key = in[1], .value = in[2], .heads = options->heads,
        .attn_mask = in[3], .key_padding_mask = in[4], .dropout = options->dropout,
        .no_bias = options->no_bias, .is_causal = options->is_causal,
        .need_weights = options->need_weights, .per_head = options->per_head);
    out[0] = result.output;
    out[1] = result.weights;
}

struct transformer_options {
    int64_t heads, feedforward;
    double dropout;
    bool no_dropout, gelu, norm_first, is_causal, is_decoder;
};

/* in: x, memory, mask, key_padding_mask, memory_mask, memory_key_padding_mask. */
void oracle_transformer(cr_model *model, const struct transformer_options *options,
                        cr_tensor *const *in, cr_tensor **out)
{
    cr_transformer_layer_args args = {
        .x = in[0],
        .memory = in[1],
        .heads = options->heads,
        .feedforward = options->feedforward,
        .dropout = options->dropout,
        .no_dropout = options->no_dropout,
        .gelu = options->gelu,
        .norm_first = options->norm_first,
        .is_causal = options->is_causal,
        .mask = in[2],
        .key_padding_mask = in[3],
        .memory_mask = in[4],
        .memory_key_padding_mask = in[5],
    };
    cr_scope at = cr_root(model);
    out[0] = options->is_decoder ? cr_transformer_decoder_layer_with(at, "layer", args)
                                 : cr_transformer_encoder_layer_with(at, "layer", args);
}
