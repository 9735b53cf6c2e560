/* Recurrent networks of several layers and directions, and single cells, put together from
 * recurrent_layer.c's layer. Here inputs are sorted out, checked and converted. */
#include "cresset/recurrent.h"
#include "kernels/recurrent/recurrent.h"
#include "ops/ops.h"

#define MAX_LAYERS 64 /* layers times directions */

struct network_attributes {
    int64_t num_layers;
    double dropout;
    bool has_state;
    bool has_lengths;
    bool has_biases;
    bool training;
    bool bidirectional;
    bool batch_first;
};

static const cr_attribute network_table[] = {
    CR_ATTRIBUTE(struct network_attributes, INT, num_layers),
    CR_ATTRIBUTE(struct network_attributes, FLOAT, dropout),
    CR_ATTRIBUTE(struct network_attributes, BOOL, has_state),
    CR_ATTRIBUTE(struct network_attributes, BOOL, has_lengths),
    CR_ATTRIBUTE(struct network_attributes, BOOL, has_biases),
    CR_ATTRIBUTE(struct network_attributes, BOOL, training),
    CR_ATTRIBUTE(struct network_attributes, BOOL, bidirectional),
    CR_ATTRIBUTE(struct network_attributes, BOOL, batch_first),
    CR_ATTRIBUTE_END,
};

/* A call with its inputs sorted out, converted and with a dimension for the batch. */
struct network {
    const char *name;
    const struct network_attributes *attributes;
    enum recurrent_cell cell;
    int directions;
    int count;       /* layers times directions */
    int per_layer;   /* weights of a layer and direction */
    bool is_batched; /* as the caller gave it */
    cr_dtype dtype;  /* of x */
    cr_tensor *x, *h0, *c0, *lengths;
    cr_tensor *const *weights;
};

/* ---- checks ---- */

static cr_status check_lengths(const struct network *net)
{
    const cr_tensor *lengths = net->lengths;
    int64_t steps = net->x->shape.dim[net->attributes->batch_first ? 1 : 0];
    if (lengths->dtype != CR_I64 || lengths->shape.ndim != 1)
        return cr_error_set(CR_ERROR_DTYPE, "%s: lengths must be int64 with one dimension",
                            net->name);
    for (int64_t i = 0; i < lengths->shape.dim[0] && lengths->device == CR_CPU; i++) {
        int64_t length = cr_element_int64(lengths, i);
        if (length < 1 || length > steps)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "%s: sequence %lld has length %lld, which is not in 1 … %lld",
                                net->name, (long long)i, (long long)length, (long long)steps);
    }
    return CR_OK;
}

static cr_status check_state(const struct network *net, const cr_tensor *state, const char *name)
{
    if (!state || (state->shape.ndim == 3 && state->shape.dim[0] == net->count))
        return CR_OK;
    char text[CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "%s: %s has shape %s where (%d, batch, hidden) is needed",
                        net->name, name, cr_shape_format(&state->shape, text, sizeof text),
                        net->count);
}

static cr_status check_network(const struct network *net)
{
    const struct network_attributes *attributes = net->attributes;
    if (attributes->dropout < 0 || attributes->dropout > 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: dropout is a probability, not %g", net->name,
                            attributes->dropout);
    if (!tensor_is_floating(net->x))
        return cr_error_set(CR_ERROR_DTYPE, "%s: x must be floating, not %s", net->name,
                            cr_dtype_name(net->dtype));
    if (net->x->shape.ndim != 3)
        return cr_error_set(CR_ERROR_SHAPE, "%s: x must have 2 or 3 dimensions", net->name);
    if (net->lengths && check_lengths(net) != CR_OK)
        return cr_error_status();
    if (check_state(net, net->h0, "h0") != CR_OK || check_state(net, net->c0, "c0") != CR_OK)
        return cr_error_status();
    return CR_OK;
}

/* Finds the parts of the list of inputs. */
static cr_status sort_inputs(struct network *net, const cr_compose_call *call)
{
    const struct network_attributes *attributes = net->attributes;
    int states = !attributes->has_state ? 0 : net->cell == RECURRENT_LSTM ? 2 : 1;
    if (attributes->num_layers < 1 || attributes->num_layers > MAX_LAYERS / net->directions)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: %lld layers are not in 1 … %d", net->name,
                            (long long)attributes->num_layers, MAX_LAYERS / net->directions);
    net->count = (int)attributes->num_layers * net->directions;
    net->per_layer = attributes->has_biases ? 4 : 2;
    int first = 1 + states + attributes->has_lengths;
    if (call->input_count != first + net->count * net->per_layer)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "%s: %d weights are given where %d are needed: %d for each layer and "
                            "direction",
                            net->name, call->input_count - first, net->count * net->per_layer,
                            net->per_layer);
    net->h0 = states > 0 ? call->inputs[1] : NULL;
    net->c0 = states > 1 ? call->inputs[2] : NULL;
    net->lengths = attributes->has_lengths ? call->inputs[first - 1] : NULL;
    net->weights = call->inputs + first;
    return CR_OK;
}

static cr_dtype computed_in(cr_dtype dtype)
{
    return dtype == CR_F64 ? CR_F64 : CR_F32;
}

static cr_tensor *convert(const struct network *net, cr_tensor *tensor)
{
    return tensor ? cr_to_dtype(tensor, computed_in(net->dtype)) : NULL;
}

static cr_status network_open(struct network *net, const cr_compose_call *call,
                              enum recurrent_cell cell)
{
    net->name = call->op->name;
    net->attributes = call->attributes;
    net->cell = cell;
    net->directions = net->attributes->bidirectional ? 2 : 1;
    net->x = call->inputs[0];
    net->dtype = (cr_dtype)net->x->dtype;
    net->is_batched = net->x->shape.ndim != 2;
    if (sort_inputs(net, call) != CR_OK)
        return cr_error_status();
    if (!net->is_batched) {
        net->x = cr_unsqueeze(net->x, net->attributes->batch_first ? 0 : 1);
        net->h0 = net->h0 ? cr_unsqueeze(net->h0, 1) : NULL;
        net->c0 = net->c0 ? cr_unsqueeze(net->c0, 1) : NULL;
    }
    if (cr_failed() || check_network(net) != CR_OK)
        return cr_error_status();
    net->x = convert(net, net->x);
    net->h0 = convert(net, net->h0);
    net->c0 = convert(net, net->c0);
    return CR_OK;
}

/* ---- running ---- */

static cr_status run_layer(const struct network *net, cr_tensor *x, int index,
                           cr_tensor *outputs[CR_MAX_OUTPUTS])
{
    cr_tensor *const *weights = net->weights + index * net->per_layer;
    bool biased = net->attributes->has_biases;
    struct recurrent_attributes attributes = {
        .cell = (int)net->cell,
        .batch_first = net->attributes->batch_first,
        .reverse = index % net->directions == 1,
        .half_products = net->dtype == CR_BF16,
    };
    return cr_apply_all(&recurrent_layer_op,
                        CR_INPUTS(x, convert(net, weights[0]), convert(net, weights[1]),
                                  biased ? convert(net, weights[2]) : NULL,
                                  biased ? convert(net, weights[3]) : NULL,
                                  net->h0 ? cr_select(net->h0, 0, index) : NULL,
                                  net->c0 ? cr_select(net->c0, 0, index) : NULL, net->lengths),
                        &attributes, outputs);
}

/* A result in the caller's dtype and dimensions. */
static cr_tensor *finish(const struct network *net, cr_tensor *result, int batch_dim)
{
    if (!net->is_batched)
        result = cr_squeeze_dims(result, CR_SHAPE(batch_dim));
    return cr_to_dtype(result, net->dtype);
}

static cr_status network_compose(cr_compose_call *call, enum recurrent_cell cell)
{
    struct network net = { .name = NULL };
    cr_tensor *h[MAX_LAYERS], *c[MAX_LAYERS];
    if (network_open(&net, call, cell) != CR_OK)
        return cr_error_status();
    cr_tensor *x = net.x;
    for (int index = 0; index < net.count; index += net.directions) {
        cr_tensor *y[2] = { NULL };
        if (index > 0)
            x = cr_functional_dropout(x, net.attributes->dropout, net.attributes->training);
        for (int d = 0; d < net.directions; d++) {
            cr_tensor *outputs[CR_MAX_OUTPUTS];
            if (run_layer(&net, x, index + d, outputs) != CR_OK) {
                cr_error_prefix("%s: weights %d", net.name, index + d);
                return cr_error_status();
            }
            y[d] = outputs[0];
            h[index + d] = outputs[1];
            c[index + d] = outputs[2];
        }
        x = net.directions == 2 ? cr_cat(y, 2, 2) : y[0];
    }
    call->outputs[0] = finish(&net, x, net.attributes->batch_first ? 0 : 1);
    call->outputs[1] = finish(&net, cr_stack(h, net.count, 0), 1);
    if (cell == RECURRENT_LSTM)
        call->outputs[2] = finish(&net, cr_stack(c, net.count, 0), 1);
    return CR_OK;
}

#define NETWORK(op_name, what, kind, outputs)                                                      \
    static cr_status op_name##_compose(cr_compose_call *call)                                      \
    {                                                                                              \
        return network_compose(call, kind);                                                        \
    }                                                                                              \
    static const cr_op op_name##_op = {                                                            \
        .name = #op_name,                                                                          \
        .summary = what,                                                                           \
        .input_names = "x tensors*",                                                               \
        .attributes = network_table,                                                               \
        .attribute_size = sizeof(struct network_attributes),                                       \
        .min_inputs = 3,                                                                           \
        .max_inputs = -1,                                                                          \
        .output_count = outputs,                                                                   \
        .cast = CR_CAST_LOWER,                                                                     \
        .compose = op_name##_compose,                                                              \
    };

NETWORK(rnn_tanh, "a recurrent network with tanh, over sequences", RECURRENT_TANH, 2)
NETWORK(rnn_relu, "a recurrent network with relu, over sequences", RECURRENT_RELU, 2)
NETWORK(lstm, "long short-term memory, over sequences", RECURRENT_LSTM, 3)
NETWORK(gru, "gated recurrent units, over sequences", RECURRENT_GRU, 2)

#define MAX_INPUTS (4 + 4 * MAX_LAYERS)

static cr_recurrent network_apply(const cr_op *op, cr_functional_recurrent_args args)
{
    cr_recurrent result = { NULL, NULL, NULL };
    struct network_attributes attributes = {
        .num_layers = args.layers ? args.layers : 1,
        .dropout = args.dropout,
        .has_state = args.h0 != NULL,
        .has_lengths = args.lengths != NULL,
        .has_biases = !args.no_biases,
        .training = args.training,
        .bidirectional = args.bidirectional,
        .batch_first = args.batch_first,
    };
    cr_tensor *inputs[MAX_INPUTS] = { args.x };
    int count = 1;
    if (args.weight_count < 0 || args.weight_count > 4 * MAX_LAYERS) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s: %d weights are more than %d layers have", op->name,
                     args.weight_count, MAX_LAYERS);
        return result;
    }
    if (args.h0)
        inputs[count++] = args.h0;
    if (args.h0 && op == &lstm_op)
        inputs[count++] = args.c0;
    if (args.lengths)
        inputs[count++] = args.lengths;
    for (int i = 0; i < args.weight_count; i++)
        inputs[count++] = args.weights[i];
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    if (cr_apply_all(op, (cr_inputs){ count, inputs }, &attributes, outputs) == CR_OK)
        result = (cr_recurrent){ outputs[0], outputs[1], outputs[2] };
    return result;
}

cr_recurrent cr_functional_rnn_tanh_with(cr_functional_recurrent_args args)
{
    return network_apply(&rnn_tanh_op, args);
}

cr_recurrent cr_functional_rnn_relu_with(cr_functional_recurrent_args args)
{
    return network_apply(&rnn_relu_op, args);
}

cr_recurrent cr_functional_lstm_with(cr_functional_recurrent_args args)
{
    return network_apply(&lstm_op, args);
}

cr_recurrent cr_functional_gru_with(cr_functional_recurrent_args args)
{
    return network_apply(&gru_op, args);
}

/* ---- cells: a sequence of one step ---- */

enum {
    CELL_X,
    CELL_WEIGHT_IH,
    CELL_WEIGHT_HH,
    CELL_BIAS_IH,
    CELL_BIAS_HH,
    CELL_H,
    CELL_C,
    CELL_COUNT
};

static cr_status cell_compose(cr_compose_call *call, enum recurrent_cell cell)
{
    struct recurrent_attributes attributes = { .cell = (int)cell };
    cr_tensor *in[CELL_COUNT] = { NULL };
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_dtype dtype = (cr_dtype)call->inputs[CELL_X]->dtype;
    bool is_batched = call->inputs[CELL_X]->shape.ndim != 1;
    for (int i = 0; i < call->input_count; i++) {
        if (!call->inputs[i])
            continue;
        in[i] = cr_to_dtype(call->inputs[i], computed_in(dtype));
        if (!is_batched && (i == CELL_X || i >= CELL_H))
            in[i] = cr_unsqueeze(in[i], 0);
    }
    in[CELL_X] = cr_unsqueeze(in[CELL_X], 0);
    cr_status status =
        cr_apply_all(&recurrent_layer_op, (cr_inputs){ CELL_COUNT, in }, &attributes, outputs);
    if (status != CR_OK) {
        cr_error_prefix("%s", call->op->name);
        return status;
    }
    for (int i = 0; i < (cell == RECURRENT_LSTM ? 2 : 1); i++) {
        cr_tensor *state = is_batched ? outputs[1 + i] : cr_select(outputs[1 + i], 0, 0);
        call->outputs[i] = cr_to_dtype(state, dtype);
    }
    return CR_OK;
}

#define CELL(op_name, what, kind, inputs, outputs)                                                 \
    static cr_status op_name##_compose(cr_compose_call *call)                                      \
    {                                                                                              \
        return cell_compose(call, kind);                                                           \
    }                                                                                              \
    static const cr_op op_name##_op = {                                                            \
        .name = #op_name,                                                                          \
        .summary = what,                                                                           \
        .input_names = "x weight_ih weight_hh bias_ih bias_hh h c",                                \
        .min_inputs = 3,                                                                           \
        .max_inputs = inputs,                                                                      \
        .output_count = outputs,                                                                   \
        .cast = CR_CAST_LOWER,                                                                     \
        .compose = op_name##_compose,                                                              \
    };

CELL(rnn_tanh_cell, "a step of a recurrent network with tanh", RECURRENT_TANH, 6, 1)
CELL(rnn_relu_cell, "a step of a recurrent network with relu", RECURRENT_RELU, 6, 1)
CELL(lstm_cell, "a step of long short-term memory", RECURRENT_LSTM, 7, 2)
CELL(gru_cell, "a step of gated recurrent units", RECURRENT_GRU, 6, 1)

static cr_recurrent cell_apply(const cr_op *op, cr_functional_cell_args args)
{
    cr_tensor *outputs[CR_MAX_OUTPUTS];
    cr_tensor *inputs[CELL_COUNT] = { args.x,       args.weight_ih, args.weight_hh, args.bias_ih,
                                      args.bias_hh, args.h,         args.c };
    cr_apply_all(op, (cr_inputs){ op->max_inputs, inputs }, NULL, outputs);
    return (cr_recurrent){ NULL, outputs[0], outputs[1] };
}

cr_recurrent cr_functional_rnn_tanh_cell_with(cr_functional_cell_args args)
{
    return cell_apply(&rnn_tanh_cell_op, args);
}

cr_recurrent cr_functional_rnn_relu_cell_with(cr_functional_cell_args args)
{
    return cell_apply(&rnn_relu_cell_op, args);
}

cr_recurrent cr_functional_lstm_cell_with(cr_functional_cell_args args)
{
    return cell_apply(&lstm_cell_op, args);
}

cr_recurrent cr_functional_gru_cell_with(cr_functional_cell_args args)
{
    return cell_apply(&gru_cell_op, args);
}

OP_FAMILY(recurrent_ops) = {
    &rnn_tanh_op,      &rnn_relu_op,  &lstm_op,     &gru_op, &rnn_tanh_cell_op,
    &rnn_relu_cell_op, &lstm_cell_op, &gru_cell_op, NULL,
};
