/* Recurrent networks and cells as layers: their parameters, and the functional forms run on them.
 */
#include <math.h>
#include <stdio.h>

#include "cresset/sequence_layers.h"
#include "nn/nn.h"

#define NAME_SIZE   64
#define MAX_WEIGHTS 256 /* four for each layer and direction, of which the ops take 64 */

/* A layer's results beside its output survive its frame. */
static cr_recurrent recurrent_end(struct layer layer, cr_recurrent result)
{
    cr_retain(result.h_n);
    cr_retain(result.c_n);
    cr_tensor *first = result.output ? result.output : result.h_n;
    first = layer_end(layer, first);
    cr_frame_add(result.h_n);
    cr_frame_add(result.c_n);
    return result;
}

static bool hidden_given(const char *kind, int64_t hidden)
{
    if (hidden > 0)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "%s: .hidden must be positive, not %lld", kind,
                 (long long)hidden);
    return false;
}

/* The weights of one layer and direction, or of a cell (an empty suffix); returns their number. */
static int make_weights(cr_scope at, const char *suffix, int64_t rows, int64_t input,
                        int64_t hidden, bool no_bias, cr_tensor **weights)
{
    static const char *const names[] = { "weight_ih", "weight_hh", "bias_ih", "bias_hh" };
    double bound = 1 / sqrt((double)hidden);
    cr_shape shapes[] = { CR_SHAPE(rows, input), CR_SHAPE(rows, hidden), CR_SHAPE(rows),
                          CR_SHAPE(rows) };
    int count = no_bias ? 2 : 4;
    for (int i = 0; i < count; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%s%s", names[i], suffix);
        weights[i] = cr_parameter(at, name, shapes[i], (cr_init){ CR_INIT_UNIFORM, -bound, bound });
    }
    return count;
}

/* ---- networks ---- */

typedef cr_recurrent (*network_function)(cr_functional_recurrent_args args);

static int network_weights(cr_scope at, const cr_rnn_args *args, int64_t gates,
                           cr_tensor *weights[MAX_WEIGHTS])
{
    int64_t directions = args->bidirectional ? 2 : 1;
    int64_t layers = args->layers ? args->layers : 1;
    int count = 0;
    for (int64_t layer = 0; layer < layers && count + 4 <= MAX_WEIGHTS; layer++) {
        int64_t input = layer ? directions * args->hidden : cr_dim(args->x, -1);
        for (int64_t d = 0; d < directions && count + 4 <= MAX_WEIGHTS; d++) {
            char suffix[NAME_SIZE / 2];
            snprintf(suffix, sizeof suffix, "_l%lld%s", (long long)layer, d ? "_reverse" : "");
            count += make_weights(at, suffix, gates * args->hidden, input, args->hidden,
                                  args->no_bias, weights + count);
        }
    }
    return count;
}

static cr_recurrent network(cr_scope at, const char *name, const char *kind,
                            const cr_rnn_args *args, int64_t gates, network_function function)
{
    cr_recurrent none = { NULL, NULL, NULL };
    cr_tensor *weights[MAX_WEIGHTS];
    if (!args->x || cr_failed() || !hidden_given(kind, args->hidden))
        return none;
    struct layer layer = layer_begin(at, name, kind, args->x);
    int count = network_weights(layer.at, args, gates, weights);
    cr_recurrent result = function((cr_functional_recurrent_args){
        .x = args->x,
        .weights = weights,
        .weight_count = count,
        .h0 = args->h0,
        .c0 = args->c0,
        .lengths = args->lengths,
        .layers = args->layers,
        .no_biases = args->no_bias,
        .bidirectional = args->bidirectional,
        .batch_first = args->batch_first,
        .dropout = args->dropout,
        .training = cr_model_is_training(at.model),
    });
    return recurrent_end(layer, result);
}

cr_recurrent cr_rnn_with(cr_scope at, const char *name, cr_rnn_args args)
{
    return network(at, name, "RNN", &args, 1,
                   args.relu ? cr_functional_rnn_relu_with : cr_functional_rnn_tanh_with);
}

cr_recurrent cr_lstm_with(cr_scope at, const char *name, cr_rnn_args args)
{
    return network(at, name, "LSTM", &args, 4, cr_functional_lstm_with);
}

cr_recurrent cr_gru_with(cr_scope at, const char *name, cr_rnn_args args)
{
    return network(at, name, "GRU", &args, 3, cr_functional_gru_with);
}

/* ---- cells ---- */

typedef cr_recurrent (*cell_function)(cr_functional_cell_args args);

static cr_recurrent cell(cr_scope at, const char *name, const char *kind,
                         const cr_rnn_cell_args *args, int64_t gates, cell_function function)
{
    cr_recurrent none = { NULL, NULL, NULL };
    cr_tensor *weights[4] = { NULL };
    if (!args->x || cr_failed() || !hidden_given(kind, args->hidden))
        return none;
    struct layer layer = layer_begin(at, name, kind, args->x);
    make_weights(layer.at, "", gates * args->hidden, cr_dim(args->x, -1), args->hidden,
                 args->no_bias, weights);
    return recurrent_end(layer, function((cr_functional_cell_args){ .x = args->x,
                                                                    .h = args->h,
                                                                    .c = args->c,
                                                                    .weight_ih = weights[0],
                                                                    .weight_hh = weights[1],
                                                                    .bias_ih = weights[2],
                                                                    .bias_hh = weights[3] }));
}

cr_recurrent cr_rnn_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args)
{
    return cell(at, name, "RNNCell", &args, 1,
                args.relu ? cr_functional_rnn_relu_cell_with : cr_functional_rnn_tanh_cell_with);
}

cr_recurrent cr_lstm_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args)
{
    return cell(at, name, "LSTMCell", &args, 4, cr_functional_lstm_cell_with);
}

cr_recurrent cr_gru_cell_with(cr_scope at, const char *name, cr_rnn_cell_args args)
{
    return cell(at, name, "GRUCell", &args, 3, cr_functional_gru_cell_with);
}
