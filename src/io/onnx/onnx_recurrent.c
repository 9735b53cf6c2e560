/* RNN, GRU and LSTM. Networks as PyTorch has them go to the library's; others (peepholes, other
 * activations, a reset gate before the product, clipping) are run step by step with operations.
 *
 * ONNX has the gates of LSTM in the order i o f c and those of GRU as z r h, the library i f g o
 * and r z n. */
#include <string.h>

#include "cresset/activation.h"
#include "cresset/recurrent.h"
#include "io/onnx/onnx.h"

enum cell { RNN, GRU, LSTM };
static const int gate_counts[] = { 1, 3, 4 };

struct network {
    enum cell cell;
    cr_tensor *x; /* (T, N, I) */
    cr_tensor *w; /* (D, G H, I) */
    cr_tensor *r; /* (D, G H, H) */
    cr_tensor *b; /* (D, 2 G H) or NULL */
    cr_tensor *lengths;
    cr_tensor *h0; /* (D, N, H) or NULL */
    cr_tensor *c0;
    cr_tensor *p; /* peepholes of LSTM (D, 3 H) or NULL */
    int64_t hidden;
    int directions;
    bool backwards; /* the only direction */
    bool reset_after;
    bool is_plain;
    double clip;
    const struct onnx_call *call;
};

/* ---- reading ---- */

static bool default_activations(const struct network *n)
{
    static const char *const words[][3] = { { "Tanh" },
                                            { "Sigmoid", "Tanh" },
                                            { "Sigmoid", "Tanh", "Tanh" } };
    const struct onnx_attribute *a = onnx_attribute(n->call, "activations");
    int count = n->cell == RNN ? 1 : n->cell == GRU ? 2 : 3;
    for (int i = 0; a && a->strings && i < a->count; i++) {
        if (strcmp(a->strings[i], words[n->cell][i % count]) != 0)
            return false;
    }
    return true;
}

static bool read_network(const struct onnx_call *call, struct network *n)
{
    bool lstm = call->node->op->variant == LSTM;
    const char *direction = onnx_string(call, "direction", "forward");
    *n = (struct network){ .cell = (enum cell)call->node->op->variant,
                           .call = call,
                           .x = onnx_need(call, 0),
                           .w = onnx_need(call, 1),
                           .r = onnx_need(call, 2),
                           .b = onnx_input(call, 3),
                           .lengths = onnx_input(call, 4),
                           .h0 = onnx_input(call, 5),
                           .c0 = lstm ? onnx_input(call, 6) : NULL,
                           .p = lstm ? onnx_input(call, 7) : NULL,
                           .clip = onnx_float(call, "clip", 0),
                           .reset_after = onnx_int(call, "linear_before_reset", 0) };
    if (cr_failed())
        return false;
    n->directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    n->backwards = strcmp(direction, "reverse") == 0;
    n->hidden = cr_dim(n->r, -1);
    int64_t rows = gate_counts[n->cell] * n->hidden;
    if (cr_ndim(n->x) != 3 || cr_ndim(n->w) != 3 || cr_ndim(n->r) != 3 ||
        cr_dim(n->w, 0) != n->directions || cr_dim(n->r, 0) != n->directions ||
        cr_dim(n->w, 1) != rows || cr_dim(n->r, 1) != rows ||
        (n->b && (cr_ndim(n->b) != 2 || cr_dim(n->b, 1) != 2 * rows)) ||
        (n->p && cr_numel(n->p) != 3 * n->hidden * n->directions)) {
        cr_error_set(CR_ERROR_SHAPE, "its weights do not fit its input or each other");
        return false;
    }
    if (onnx_int(call, "layout", 0)) { /* the batch comes first */
        n->x = cr_transpose(n->x, 0, 1);
        n->h0 = n->h0 ? cr_transpose(n->h0, 0, 1) : NULL;
        n->c0 = n->c0 ? cr_transpose(n->c0, 0, 1) : NULL;
    }
    n->is_plain = default_activations(n) && n->clip == 0 && !n->p && !n->backwards && !n->lengths &&
                  !onnx_int(call, "input_forget", 0) && (n->cell != GRU || n->reset_after);
    return true;
}

/* ---- as the library has it ---- */

/* The blocks of rows of one direction in the library's order. */
static cr_tensor *reorder(const struct network *n, cr_tensor *rows)
{
    static const int orders[][4] = { { 0 }, { 1, 0, 2 }, { 0, 2, 3, 1 } };
    cr_tensor *parts[4];
    if (n->cell == RNN)
        return rows;
    for (int g = 0; g < gate_counts[n->cell]; g++)
        parts[g] = cr_narrow(rows, 0, orders[n->cell][g] * n->hidden, n->hidden);
    return cr_cat(parts, gate_counts[n->cell], 0);
}

static cr_recurrent run_plain(const struct network *n)
{
    cr_tensor *weights[8];
    int count = 0;
    int64_t rows = gate_counts[n->cell] * n->hidden;
    for (int d = 0; d < n->directions; d++) {
        weights[count++] = reorder(n, cr_select(n->w, 0, d));
        weights[count++] = reorder(n, cr_select(n->r, 0, d));
        for (int i = 0; i < 2 && n->b; i++)
            weights[count++] = reorder(n, cr_narrow(cr_select(n->b, 0, d), 0, i * rows, rows));
    }
    cr_functional_recurrent_args args = { .x = n->x,
                                          .weights = weights,
                                          .weight_count = count,
                                          .no_biases = !n->b,
                                          .bidirectional = n->directions == 2,
                                          .h0 = n->h0,
                                          .c0 = n->c0 };
    if (n->cell == LSTM && (n->h0 || n->c0)) {
        args.h0 = n->h0 ? n->h0 : cr_zeros_like(n->c0);
        args.c0 = n->c0 ? n->c0 : cr_zeros_like(n->h0);
    }
    cr_recurrent result = n->cell == RNN   ? cr_functional_rnn_tanh_with(args)
                          : n->cell == GRU ? cr_functional_gru_with(args)
                                           : cr_functional_lstm_with(args);
    int64_t t = cr_dim(n->x, 0), batch = cr_dim(n->x, 1);
    if (result.output) /* (T, N, D H) → (T, D, N, H) */
        result.output = cr_transpose(
            cr_reshape(result.output, CR_SHAPE(t, batch, n->directions, n->hidden)), 1, 2);
    return result;
}

/* ---- step by step ---- */

static double listed(const struct network *n, const char *name, int i, double otherwise)
{
    const struct onnx_attribute *a = onnx_attribute(n->call, name);
    return a && a->floats && a->type == ONNX_ATTRIBUTE_FLOATS && i < a->count ? (double)a->floats[i]
                                                                              : otherwise;
}

/* Activation `which` of a direction: 0 that of gates, 1 of candidates, 2 of cells. */
static cr_tensor *activate(const struct network *n, int direction, int which, cr_tensor *x)
{
    const struct onnx_attribute *a = onnx_attribute(n->call, "activations");
    int count = n->cell == RNN ? 1 : n->cell == GRU ? 2 : 3;
    int i = direction * count + which;
    const char *word = which == 0 && n->cell != RNN ? "Sigmoid" : "Tanh";
    if (a && a->strings && i < a->count)
        word = a->strings[i];
    if (n->clip > 0)
        x = cr_clamp(x, -n->clip, n->clip);
    if (strcmp(word, "Sigmoid") == 0)
        return cr_sigmoid(x);
    if (strcmp(word, "Tanh") == 0)
        return cr_tanh(x);
    if (strcmp(word, "Relu") == 0)
        return cr_relu(x);
    if (strcmp(word, "Softsign") == 0)
        return cr_softsign(x);
    if (strcmp(word, "Softplus") == 0)
        return cr_softplus(x, 1, 20);
    double alpha = listed(n, "activation_alpha", i, 1), beta = listed(n, "activation_beta", i, 0);
    if (strcmp(word, "Affine") == 0)
        return cr_add_scalar(cr_mul_scalar(x, alpha), beta);
    if (strcmp(word, "LeakyRelu") == 0)
        return cr_leaky_relu(x, listed(n, "activation_alpha", i, 0.01));
    if (strcmp(word, "Elu") == 0)
        return cr_elu(x, alpha);
    if (strcmp(word, "ScaledTanh") == 0)
        return cr_mul_scalar(cr_tanh(cr_mul_scalar(x, listed(n, "activation_beta", i, 1))), alpha);
    if (strcmp(word, "HardSigmoid") == 0)
        return cr_clamp(cr_add_scalar(cr_mul_scalar(x, listed(n, "activation_alpha", i, 0.2)),
                                      listed(n, "activation_beta", i, 0.5)),
                        0, 1);
    cr_error_set(CR_ERROR_UNSUPPORTED, "its activation %.40s is not supported", word);
    return NULL;
}

struct state {
    cr_tensor *h; /* (N, H) */
    cr_tensor *c;
};

static cr_tensor *gate(const struct network *n, cr_tensor *gates, int i)
{
    return cr_narrow(gates, 1, i * n->hidden, n->hidden);
}

static cr_tensor *peep(const struct network *n, int d, cr_tensor *x, int i, cr_tensor *cell)
{
    if (!n->p)
        return x;
    cr_tensor *p = cr_narrow(cr_select(n->p, 0, d), 0, i * n->hidden, n->hidden);
    return cr_add(x, cr_mul(p, cell));
}

/* wx is the product of the input, with both biases but for what GRU needs apart. */
static struct state step_lstm(const struct network *n, int d, cr_tensor *wx, cr_tensor *rh,
                              struct state s)
{
    cr_tensor *all = cr_add(wx, rh);
    cr_tensor *i = activate(n, d, 0, peep(n, d, gate(n, all, 0), 0, s.c));
    cr_tensor *f = onnx_int(n->call, "input_forget", 0)
                       ? cr_add_scalar(cr_neg(i), 1)
                       : activate(n, d, 0, peep(n, d, gate(n, all, 2), 2, s.c));
    cr_tensor *candidate = activate(n, d, 1, gate(n, all, 3));
    cr_tensor *c = cr_add(cr_mul(f, s.c), cr_mul(i, candidate));
    cr_tensor *o = activate(n, d, 0, peep(n, d, gate(n, all, 1), 1, c));
    return (struct state){ cr_mul(o, activate(n, d, 2, c)), c };
}

static struct state step_gru(const struct network *n, int d, cr_tensor *wx, cr_tensor *rh,
                             cr_tensor *r, cr_tensor *rb, struct state s)
{
    cr_tensor *z = activate(n, d, 0, cr_add(gate(n, wx, 0), gate(n, rh, 0)));
    cr_tensor *reset = activate(n, d, 0, cr_add(gate(n, wx, 1), gate(n, rh, 1)));
    cr_tensor *rest;
    if (n->reset_after) {
        rest = cr_mul(reset, gate(n, rh, 2));
    } else {
        cr_tensor *last = cr_narrow(r, 0, 2 * n->hidden, n->hidden);
        rest = cr_matmul(cr_mul(reset, s.h), cr_t(last));
        rest = rb ? cr_add(rest, cr_narrow(rb, 0, 2 * n->hidden, n->hidden)) : rest;
    }
    cr_tensor *candidate = activate(n, d, 1, cr_add(gate(n, wx, 2), rest));
    cr_tensor *kept = cr_mul(z, s.h);
    return (struct state){ cr_add(kept, cr_mul(cr_add_scalar(cr_neg(z), 1), candidate)), NULL };
}

/* One direction: states of all steps (T, N, H) in time's order, and the last ones. */
static cr_tensor *run_direction(const struct network *n, int d, bool back, struct state *last)
{
    int64_t steps = cr_dim(n->x, 0), batch = cr_dim(n->x, 1);
    int64_t rows = gate_counts[n->cell] * n->hidden;
    cr_tensor *w = cr_select(n->w, 0, d), *r = cr_select(n->r, 0, d);
    cr_tensor *b = n->b ? cr_select(n->b, 0, d) : NULL;
    cr_tensor *rb = b ? cr_narrow(b, 0, rows, rows) : NULL;
    cr_tensor *wx = cr_functional_linear(n->x, w, b ? cr_narrow(b, 0, 0, rows) : NULL);
    cr_tensor *zeros = cr_zeros(CR_SHAPE(batch, n->hidden), .dtype = cr_dtype_of(n->x));
    struct state s = { n->h0 ? cr_select(n->h0, 0, d) : zeros,
                       n->c0 ? cr_select(n->c0, 0, d) : zeros };
    cr_tensor **outputs = cr_alloc_zeroed((size_t)steps + 1, sizeof *outputs);
    for (int64_t i = 0; outputs && i < steps && !cr_failed(); i++) {
        int64_t t = back ? steps - 1 - i : i;
        cr_tensor *now = cr_select(wx, 0, t), *rh = cr_functional_linear(s.h, r, rb);
        struct state next = s;
        if (n->cell == LSTM)
            next = step_lstm(n, d, now, rh, s);
        else if (n->cell == GRU)
            next = step_gru(n, d, now, rh, r, rb, s);
        else
            next.h = activate(n, d, 0, cr_add(now, rh));
        outputs[t] = next.h;
        if (n->lengths) { /* sequences that have ended, or not begun, stay as they are */
            cr_tensor *runs = cr_unsqueeze(cr_gt_scalar(n->lengths, (double)t), 1);
            outputs[t] = cr_where(runs, next.h, zeros);
            next.h = cr_where(runs, next.h, s.h);
            next.c = next.c ? cr_where(runs, next.c, s.c) : NULL;
        }
        s = next;
    }
    cr_tensor *all = !outputs || cr_failed() ? NULL
                     : steps                 ? cr_stack(outputs, (int)steps, 0)
                                             : cr_zeros(CR_SHAPE(0, batch, n->hidden));
    cr_free(outputs);
    *last = s;
    return all;
}

static cr_recurrent run_steps(const struct network *n)
{
    cr_tensor *outputs[2] = { NULL }, *h[2] = { NULL }, *c[2] = { NULL };
    for (int d = 0; d < n->directions; d++) {
        struct state last;
        outputs[d] = run_direction(n, d, d == 1 || n->backwards, &last);
        h[d] = last.h;
        c[d] = last.c;
    }
    if (cr_failed())
        return (cr_recurrent){ 0 };
    return (cr_recurrent){ .output = cr_stack(outputs, n->directions, 1),
                           .h_n = cr_stack(h, n->directions, 0),
                           .c_n = n->cell == LSTM ? cr_stack(c, n->directions, 0) : NULL };
}

static void run_recurrent(struct onnx_call *call)
{
    struct network n;
    if (!read_network(call, &n))
        return;
    cr_recurrent result = n.is_plain ? run_plain(&n) : run_steps(&n);
    if (onnx_int(call, "layout", 0) && result.output) {
        result.output = cr_permute(result.output, CR_SHAPE(2, 0, 1, 3));
        result.h_n = cr_transpose(result.h_n, 0, 1);
        result.c_n = result.c_n ? cr_transpose(result.c_n, 0, 1) : NULL;
    }
    onnx_give(call, 0, result.output);
    onnx_give(call, 1, result.h_n);
    if (call->output_count > 2)
        onnx_give(call, 2, result.c_n);
}

const struct onnx_operator onnx_recurrent_operators[] = {
    ONNX_OPERATOR("RNN", run_recurrent, .variant = RNN, .weights = 14),
    ONNX_OPERATOR("GRU", run_recurrent, .variant = GRU, .weights = 14),
    ONNX_OPERATOR("LSTM", run_recurrent, .variant = LSTM, .weights = 14 | 128), ONNX_OPERATORS_END
};
