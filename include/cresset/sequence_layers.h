/* Layers over sequences: recurrent networks and their cells, and multi-head attention. Parameters
 * are created under PyTorch's names with PyTorch's initial values, as nn.h explains. float32; every
 * function gives NULL on failure, and results are owned by the frame. */
#ifndef CRESSET_SEQUENCE_LAYERS_H
#define CRESSET_SEQUENCE_LAYERS_H

#include "cresset/nn.h"
#include "cresset/recurrent.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- recurrent networks ---- */

/* x (T, N, I), or (N, T, I) with .batch_first, or one sequence (T, I). What lengths, states and
 * results are stands in recurrent.h. Parameters weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0,
 * …_l1, and …_reverse, uniform within ±1/√hidden. Dropout is for training mode. */
typedef struct cr_rnn_args {
    cr_tensor *x;
    int64_t hidden;
    int64_t layers; /* 0: 1 */
    bool relu;      /* instead of tanh; cr_rnn only */
    bool no_bias;
    bool bidirectional;
    bool batch_first;
    double dropout; /* between layers */
    cr_tensor *h0;
    cr_tensor *c0;
    cr_tensor *lengths;
} cr_rnn_args;
#define cr_rnn(at, name, ...)  cr_rnn_with(at, name, (cr_rnn_args){ .x = __VA_ARGS__ })
#define cr_lstm(at, name, ...) cr_lstm_with(at, name, (cr_rnn_args){ .x = __VA_ARGS__ })
#define cr_gru(at, name, ...)  cr_gru_with(at, name, (cr_rnn_args){ .x = __VA_ARGS__ })
cr_recurrent cr_rnn_with(cr_scope at, const char *name, cr_rnn_args args);
cr_recurrent cr_lstm_with(cr_scope at, const char *name, cr_rnn_args args);
cr_recurrent cr_gru_with(cr_scope at, const char *name, cr_rnn_args args);

/* One step: x (N, I) and states (N, H), or without N; NULL states are zeros. The new states are h_n
 * and c_n of the result. Parameters weight_ih, weight_hh, bias_ih, bias_hh. */
typedef struct cr_rnn_cell_args {
    cr_tensor *x;
    cr_tensor *h;
    cr_tensor *c; /* LSTM only */
    int64_t hidden;
    bool relu; /* instead of tanh; cr_rnn_cell only */
    bool no_bias;
} cr_rnn_cell_args;
#define cr_rnn_cell(at, name, ...)                                                                 \
    cr_rnn_cell_with(at, name, (cr_rnn_cell_args){ .x = __VA_ARGS__ })
#define cr_lstm_cell(at, name, ...)                                                                \
    cr_lstm_cell_with(at, name, (cr_rnn_cell_args){ .x = __VA_ARGS__ })
#define cr_gru_cell(at, name, ...)                                                                 \
    cr_gru_cell_with(at, name, (cr_rnn_cell_args){ .x = __VA_ARGS__ })
cr_recurrent cr_rnn_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args);
cr_recurrent cr_lstm_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args);
cr_recurrent cr_gru_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args);

/* ---- attention ---- */

typedef struct cr_attended {
    cr_tensor *output;  /* (N, L, E) */
    cr_tensor *weights; /* with .need_weights (N, L, S), with .per_head (N, heads, L, S); or NULL */
} cr_attended;

/* torch.nn.MultiheadAttention with batch_first: query (N, L, E), key (N, S, Ek), value (N, S, Ev),
 * or all without N. Parameters in_proj_weight (3 E, E) — or q_proj_weight, k_proj_weight and
 * v_proj_weight where Ek or Ev is not E —, in_proj_bias (3 E), out_proj.weight, out_proj.bias.
 *
 * Bool masks are true where a key is left out, floating ones are added to the scores. Asking for
 * the weights costs memory for all of them. A row that no key is left for attends to nothing, its
 * result before the output projection is 0; with .need_weights it is NaN, as in PyTorch. */
typedef struct cr_multihead_attention_args {
    cr_tensor *query;
    cr_tensor *key;              /* NULL: query */
    cr_tensor *value;            /* NULL: key */
    int64_t heads;               /* divide E */
    cr_tensor *attn_mask;        /* (L, S) or (N heads, L, S) */
    cr_tensor *key_padding_mask; /* (N, S), or (S) without N */
    double dropout;              /* of the weights, in training mode */
    bool no_bias;
    bool is_causal; /* row i sees keys 0 … i only */
    bool need_weights;
    bool per_head; /* weights of each head instead of their mean */
} cr_multihead_attention_args;
#define cr_multihead_attention(at, name, ...)                                                      \
    cr_multihead_attention_with(at, name, (cr_multihead_attention_args){ .query = __VA_ARGS__ })
cr_attended cr_multihead_attention_with(cr_scope at, const char *name,
                                        cr_multihead_attention_args args);

/* ---- transformers ---- */

/* torch.nn.TransformerEncoderLayer and TransformerDecoderLayer with batch_first, on x (N, L, E).
 * Parameters self_attn.*, linear1.*, linear2.*, norm1.*, norm2.*; the decoder also has
 * multihead_attn.*, over `memory` (N, S, E), and norm3.*. Masks are those of multihead attention.
 */
typedef struct cr_transformer_layer_args {
    cr_tensor *x;
    cr_tensor *memory; /* decoder only */
    int64_t heads;
    int64_t feedforward; /* 0: 2048 */
    double dropout;      /* 0: 0.1 */
    bool no_dropout;
    bool gelu;       /* instead of relu */
    bool norm_first; /* norms before attention and feed-forward instead of after */
    double eps;      /* of the norms; 0: 1e-5 */
    bool is_causal;
    cr_tensor *mask;                    /* (L, L) or (N heads, L, L) */
    cr_tensor *key_padding_mask;        /* (N, L) */
    cr_tensor *memory_mask;             /* decoder only, (L, S) or (N heads, L, S) */
    cr_tensor *memory_key_padding_mask; /* decoder only, (N, S) */
} cr_transformer_layer_args;
#define cr_transformer_encoder_layer(at, name, ...)                                                \
    cr_transformer_encoder_layer_with(at, name, (cr_transformer_layer_args){ .x = __VA_ARGS__ })
#define cr_transformer_decoder_layer(at, name, ...)                                                \
    cr_transformer_decoder_layer_with(at, name, (cr_transformer_layer_args){ .x = __VA_ARGS__ })
cr_tensor *cr_transformer_encoder_layer_with(cr_scope at, const char *name,
                                             cr_transformer_layer_args args);
cr_tensor *cr_transformer_decoder_layer_with(cr_scope at, const char *name,
                                             cr_transformer_layer_args args);

#ifdef __cplusplus
}
#endif
#endif
