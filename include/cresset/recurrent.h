/* Recurrent networks as functions of tensors: the plain network, LSTM and GRU over sequences, and
 * single steps of them. The layers that keep parameters are in sequence_layers.h.
 *
 * float32 and float64 are computed as they are, bfloat16 and float16 in float32. Results are owned
 * by the frame and NULL on failure. Equations, names and the order of gates are those of torch.nn's
 * RNN, LSTM (i f g o) and GRU (r z n). */
#ifndef CRESSET_RECURRENT_H
#define CRESSET_RECURRENT_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a network gives. D is 2 if it is bidirectional, else 1. */
typedef struct cr_recurrent {
    cr_tensor *output; /* (T, N, D H), or (N, T, D H) with .batch_first: the last layer's states */
    cr_tensor *h_n;    /* (layers D, N, H): the last state of each layer and direction */
    cr_tensor *c_n;    /* the same of LSTM's cells; NULL else */
} cr_recurrent;

/* x is (T, N, I), or (N, T, I) with .batch_first, or one sequence (T, I), whose results then have
 * no dimension for N either.
 *
 * weights are, layer after layer and in it forward before backward: weight_ih (G H, I or D H),
 * weight_hh (G H, H), and unless .no_biases bias_ih and bias_hh (G H), with G gates: 1, LSTM 4,
 * GRU 3.
 *
 * lengths (N), int64, each from 1 to T, are those of the sequences of a padded batch: outputs
 * beyond are zero, the last states are those at the end, and the backward direction begins there,
 * as between torch.nn.utils.rnn.pack_padded_sequence and pad_packed_sequence. Batches sorted by
 * falling length are computed faster. */
typedef struct cr_functional_recurrent_args {
    cr_tensor *x;
    cr_tensor *const *weights;
    int weight_count;
    cr_tensor *h0;      /* (layers D, N, H); NULL: zeros */
    cr_tensor *c0;      /* the same of LSTM's cells, given if h0 is */
    cr_tensor *lengths; /* NULL: all T */
    int64_t layers;     /* 0: 1 */
    bool no_biases;
    bool bidirectional;
    bool batch_first;
    double dropout; /* between layers, in training */
    bool training;
} cr_functional_recurrent_args;

#define cr_functional_rnn_tanh(...)                                                                \
    cr_functional_rnn_tanh_with((cr_functional_recurrent_args){ .x = __VA_ARGS__ })
#define cr_functional_rnn_relu(...)                                                                \
    cr_functional_rnn_relu_with((cr_functional_recurrent_args){ .x = __VA_ARGS__ })
#define cr_functional_lstm(...)                                                                    \
    cr_functional_lstm_with((cr_functional_recurrent_args){ .x = __VA_ARGS__ })
#define cr_functional_gru(...)                                                                     \
    cr_functional_gru_with((cr_functional_recurrent_args){ .x = __VA_ARGS__ })
cr_recurrent cr_functional_rnn_tanh_with(cr_functional_recurrent_args args);
cr_recurrent cr_functional_rnn_relu_with(cr_functional_recurrent_args args);
cr_recurrent cr_functional_lstm_with(cr_functional_recurrent_args args);
cr_recurrent cr_functional_gru_with(cr_functional_recurrent_args args);

/* One step: x (N, I), states (N, H); x (I) and states (H) for one sequence. NULL states are zeros,
 * NULL biases are left out. The result has output NULL, and the new states in h_n and c_n. */
typedef struct cr_functional_cell_args {
    cr_tensor *x;
    cr_tensor *h;
    cr_tensor *c; /* LSTM only */
    cr_tensor *weight_ih;
    cr_tensor *weight_hh;
    cr_tensor *bias_ih; /* both or none */
    cr_tensor *bias_hh;
} cr_functional_cell_args;

#define cr_functional_rnn_tanh_cell(...)                                                           \
    cr_functional_rnn_tanh_cell_with((cr_functional_cell_args){ .x = __VA_ARGS__ })
#define cr_functional_rnn_relu_cell(...)                                                           \
    cr_functional_rnn_relu_cell_with((cr_functional_cell_args){ .x = __VA_ARGS__ })
#define cr_functional_lstm_cell(...)                                                               \
    cr_functional_lstm_cell_with((cr_functional_cell_args){ .x = __VA_ARGS__ })
#define cr_functional_gru_cell(...)                                                                \
    cr_functional_gru_cell_with((cr_functional_cell_args){ .x = __VA_ARGS__ })
cr_recurrent cr_functional_rnn_tanh_cell_with(cr_functional_cell_args args);
cr_recurrent cr_functional_rnn_relu_cell_with(cr_functional_cell_args args);
cr_recurrent cr_functional_lstm_cell_with(cr_functional_cell_args args);
cr_recurrent cr_functional_gru_cell_with(cr_functional_cell_args args);

#ifdef __cplusplus
}
#endif
#endif
