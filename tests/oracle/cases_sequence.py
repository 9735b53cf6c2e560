"""Cases of the ops in src/ops/recurrent.c, recurrent_layer.c, attention.c and
window_attention.c."""
import dataclasses

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from harness import F32_F64, case, exactly, real, refuses, sample

MODULES = {"rnn_tanh": torch.nn.RNN, "rnn_relu": torch.nn.RNN, "lstm": torch.nn.LSTM,
           "gru": torch.nn.GRU}
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
NETWORKS = tuple(MODULES)


# ---- networks ----

def network(name):
    """The functional form of torch's modules, with lengths by way of packed sequences."""
    def run(x, *rest, num_layers, has_state=False, has_lengths=False, has_biases=False,
            bidirectional=False, batch_first=False):
        rest = list(rest)
        count = num_layers * (2 if bidirectional else 1)
        states = (rest.pop(0), rest.pop(0)) if has_state and name == "lstm" else \
            rest.pop(0) if has_state else None
        lengths = rest.pop(0) if has_lengths else None
        hidden = rest[1].shape[1]
        options = {"nonlinearity": name[4:]} if name.startswith("rnn") else {}
        module = MODULES[name](x.shape[-1], hidden, num_layers, bias=has_biases,
                               batch_first=batch_first, bidirectional=bidirectional,
                               **options).to(x.dtype)
        # The given tensors in place of the module's parameters, so that they get the gradients.
        names = list(module._flat_weights_names)
        assert len(names) == len(rest) == count * (4 if has_biases else 2)
        for key, weight in zip(names, rest):
            del module._parameters[key]
            setattr(module, key, weight)
        module._flat_weights = rest
        if lengths is None:
            y, last = module(x, states)
        else:
            steps = x.shape[1 if batch_first else 0]
            packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
            y, last = module(packed, states)
            y, _ = pad_packed_sequence(y, batch_first, total_length=steps)
        return (y, *last) if name == "lstm" else (y, last)
    return run


def weights(name, inputs, hidden, layers=1, directions=1, biased=True):
    result = []
    for layer in range(layers):
        for _ in range(directions):
            rows = GATES[name] * hidden
            width = inputs if layer == 0 else hidden * directions
            result += [real(rows, width, low=-0.6, high=0.6),
                       real(rows, hidden, low=-0.6, high=0.6)]
            if biased:
                result += [real(rows), real(rows)]
    return result


def states(name, count, batch, hidden):
    return [real(*s) for s in [(count, batch, hidden)] * (2 if name == "lstm" else 1)]


LENGTHS = exactly([3, 5, 1], dtype=torch.int64, grad=False)

for name in NETWORKS:
    case(name, network(name),
         sample(real(4, 2, 3), *weights(name, 3, 5), num_layers=1, has_biases=True),
         sample(real(4, 2, 3), *weights(name, 3, 5, biased=False), num_layers=1),
         sample(real(4, 2, 3), *states(name, 1, 2, 5), *weights(name, 3, 5), num_layers=1,
                has_biases=True, has_state=True),
         sample(real(3, 5, 2), *states(name, 4, 3, 4), *weights(name, 2, 4, 2, 2), num_layers=2,
                has_biases=True, has_state=True, bidirectional=True, batch_first=True),
         sample(real(5, 3, 2), LENGTHS, *weights(name, 2, 4, 1, 2), num_layers=1,
                has_biases=True, has_lengths=True, bidirectional=True),
         sample(real(3, 5, 2), *states(name, 4, 3, 3), LENGTHS, *weights(name, 2, 3, 2, 2, False),
                num_layers=2, has_lengths=True, has_state=True, bidirectional=True,
                batch_first=True),
         sample(real(6, 3), *weights(name, 3, 4, 2), num_layers=2, has_biases=True),
         sample(real(3, 41, 9), *weights(name, 9, 37, 1, 2), num_layers=1, has_biases=True,
                bidirectional=True),
         sample(real(2, 130, 4), *weights(name, 4, 70), num_layers=1, has_biases=True),
         loosen=2, gradgrad=False, empty=False, zero_dim=False, half_gradient=False)
    refuses(name, sample(real(4, 2, 3), *weights(name, 3, 5), num_layers=2, has_biases=True),
            "weights")
    refuses(name, sample(real(4, 2, 3), *weights(name, 4, 5), num_layers=1, has_biases=True),
            "weight_ih")
    refuses(name, sample(real(5, 3, 2), exactly([3, 6, 1], dtype=torch.int64, grad=False),
                         *weights(name, 2, 4), num_layers=1, has_biases=True, has_lengths=True),
            "length 6")


# ---- cells ----

CELLS = {"rnn_tanh": torch.rnn_tanh_cell, "rnn_relu": torch.rnn_relu_cell,
         "lstm": torch.lstm_cell, "gru": torch.gru_cell}


def cell(name):
    def run(x, w_ih, w_hh, b_ih=None, b_hh=None, h=None, c=None):
        shape = (x.shape[0], w_hh.shape[1]) if x.dim() == 2 else (w_hh.shape[1],)
        h = torch.zeros(shape, dtype=x.dtype) if h is None else h
        if name == "lstm":
            c = torch.zeros(shape, dtype=x.dtype) if c is None else c
            h, c = (s.unsqueeze(0) if s.dim() == 1 else s for s in (h, c))
            y = CELLS[name](torch.atleast_2d(x), (h, c), w_ih, w_hh, b_ih, b_hh)
            return [s if x.dim() == 2 else s[0] for s in y]
        y = CELLS[name](torch.atleast_2d(x), torch.atleast_2d(h), w_ih, w_hh, b_ih, b_hh)
        return y if x.dim() == 2 else y[0]
    return run


for name in NETWORKS:
    h = states(name, 1, 3, 5)
    case(name + "_cell", cell(name),
         sample(real(3, 4), *weights(name, 4, 5)),
         sample(real(3, 4), *weights(name, 4, 5, biased=False)),
         sample(real(3, 4), *weights(name, 4, 5), *[s.shaped(s.shape[1:]) for s in h]),
         sample(real(4), *weights(name, 4, 5), *[s.shaped(s.shape[2:]) for s in h]),
         loosen=4, gradgrad=False, empty=False, zero_dim=False, half_gradient=False)


# ---- attention ----

def attention(q, k, v, mask=None, *, is_causal=False, scale=0.0, dropout_p=0.0, enable_gqa=False,
              ours=None):
    """By the definition; rows in which no key takes part give zeros, as in PyTorch since 2.5."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    seen = torch.ones_like(scores, dtype=torch.bool)
    if is_causal:
        seen = seen.tril()
    if mask is not None and mask.dtype == torch.bool:
        seen = seen & mask
    elif mask is not None:
        scores = scores + mask
        seen = seen & (mask.expand(scores.shape) > float("-inf"))
    scores = scores.masked_fill(~seen, -1e30)
    weights = scores.softmax(-1) * seen
    if dropout_p:
        weights = weights * (ours[0] != 0) / (1 - dropout_p)
    return weights @ v


SEEN = [[True, False, True, False, True], [False] * 5, [True] * 5]
ADDED = [[0.0, float("-inf"), 1.0, 0.5, -2.0], [float("-inf")] * 5, [0.0] * 5]
BLIND = exactly(SEEN, dtype=torch.bool, grad=False)
INFINITE = exactly(ADDED, grad=False)
TALL_BLIND = exactly(SEEN + SEEN, dtype=torch.bool, grad=False)
TALL_INFINITE = exactly(ADDED + ADDED, grad=False)

case("scaled_dot_product_attention", attention,
     sample(real(2, 3, 4), real(2, 5, 4), real(2, 5, 6)),
     sample(real(3, 4), real(5, 4), real(5, 4), scale=0.7),
     sample(real(2, 3, 6, 4), real(2, 3, 6, 4), real(2, 3, 6, 4), is_causal=True),
     sample(real(2, 6, 4), real(2, 4, 4), real(2, 4, 3), is_causal=True),
     sample(real(2, 4, 4), real(2, 7, 4), real(2, 7, 3), is_causal=True),
     sample(real(2, 2, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), BLIND),
     sample(real(2, 2, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), INFINITE),
     sample(real(2, 2, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), real(2, 1, 3, 5)),
     sample(real(2, 2, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), real(2, 1, 5)),
     sample(real(2, 3, 3, 4), real(3, 5, 4), real(2, 1, 5, 4)),
     sample(real(2, 6, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), enable_gqa=True),
     sample(real(2, 6, 3, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), real(2, 6, 3, 5),
            enable_gqa=True, is_causal=True),
     sample(real(2, 130, 20), real(2, 150, 20), real(2, 150, 33)),
     sample(real(1, 2, 270, 9), real(1, 2, 270, 9), real(1, 2, 270, 9), is_causal=True),
     sample(real(2, 140, 5), real(2, 300, 5), real(2, 300, 4), real(140, 300), is_causal=True),
     sample(real(40, 20, 5), real(40, 150, 5), real(40, 150, 4)),
     # Few keys: a form of their own.
     sample(real(2, 3, 49, 32), real(2, 3, 49, 32), real(2, 3, 49, 32), real(3, 49, 49)),
     sample(real(2, 20, 40), real(2, 33, 40), real(2, 33, 18), is_causal=True),
     sample(real(1, 130, 6), real(2, 128, 6), real(2, 128, 66), scale=0.4),
     sample(real(2, 2, 6, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), TALL_BLIND),
     sample(real(2, 2, 6, 4), real(2, 2, 5, 4), real(2, 2, 5, 4), TALL_INFINITE),
     loosen=3, zero_dim=False, half_gradient=False)
# With dropout, what was kept is read from the weights that values of the identity give.
case("scaled_dot_product_attention", attention,
     sample(real(2, 3, 4), real(2, 5, 4), exactly(torch.eye(5).expand(2, 5, 5)), dropout_p=0.4),
     sample(real(2, 60, 8), real(2, 60, 8), exactly(torch.eye(60).expand(2, 60, 60)),
            dropout_p=0.3),
     sample(real(2, 140, 8), real(2, 140, 8), exactly(torch.eye(140).expand(2, 140, 140)),
            dropout_p=0.3, is_causal=True),
     loosen=3, gradgrad=False, zero_dim=False, half_gradient=False, sees_output=True)


def kept_share(inputs, outputs, attributes):
    share = (outputs[0] != 0).double().mean().item()
    return None if abs(share - 0.75) < 0.01 else f"{share} of the weights are kept, not 0.75"


case("scaled_dot_product_attention", None,
     sample(real(4, 100, 8), real(4, 100, 8), exactly(torch.eye(100).expand(4, 100, 100)),
            dropout_p=0.25), verify=kept_share, dtypes=F32_F64, layouts=("contiguous",),
     gradgrad=False)
refuses("scaled_dot_product_attention", sample(real(3, 4), real(5, 3), real(5, 4)), "do not fit")
refuses("scaled_dot_product_attention", sample(real(3, 4), real(5, 4), real(5, 4), real(2, 5)),
        "mask of shape")
refuses("scaled_dot_product_attention", sample(real(3, 4), real(5, 4), real(5, 4), dropout_p=1.5),
        "probability")
refuses("scaled_dot_product_attention",
        sample(real(4, 3, 4), real(3, 5, 4), real(3, 5, 4), enable_gqa=True), "heads")


# ---- attention inside windows ----

def window_attention(qkv, windows=None, bias=None, mask=None, *, scale=0.0):
    rows = windows if windows is not None else torch.arange(qkv.shape[1])[None]
    q, k, v = qkv[:, rows].permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores + mask[:, None].to(scores.dtype)
    y = (scores.softmax(-1) @ v).transpose(2, 3).flatten(1, 2)
    return y[:, rows.flatten().argsort()]


def places(windows, size):
    """Every row in one window, in no order."""
    order = torch.randperm(windows * size, generator=torch.Generator().manual_seed(1))
    return dataclasses.replace(exactly(order.view(windows, size), dtype=torch.int64, grad=False),
                               expand=False)


case("window_attention", window_attention,
     sample(real(2, 12, 3, 2, 4), places(3, 4), real(2, 4, 4), real(3, 4, 4).frozen()),
     sample(real(2, 7, 3, 2, 5), None, real(2, 7, 7)),
     sample(real(1, 20, 3, 1, 40), places(1, 20), None, real(1, 20, 20).frozen(), scale=0.3),
     sample(real(3, 98, 3, 2, 32), places(2, 49), real(2, 49, 49), real(2, 49, 49).frozen()),
     loosen=3, zero_dim=False, half_gradient=False, empty=False)
refuses("window_attention", sample(real(2, 5, 2, 2, 4)), "qkv must be")
refuses("window_attention", sample(real(2, 129, 3, 2, 4)), "too large")
refuses("window_attention", sample(real(2, 4, 3, 2, 4), exactly([[0, 1], [3, 3]],
                                                               dtype=torch.int64)), "twice")
refuses("window_attention", sample(real(2, 4, 3, 2, 4), exactly([[0, 1]], dtype=torch.int64)),
        "hold 2 rows")
refuses("window_attention", sample(real(2, 4, 3, 2, 4), None, real(2, 4, 3)), "bias has shape")
