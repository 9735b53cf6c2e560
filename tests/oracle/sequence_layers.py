#!/usr/bin/env python3
"""Recurrent, attention and transformer layers side by side with torch.nn: the names, shapes and
initial values of their parameters, and with PyTorch's weights copied, results and gradients."""
import ctypes
import math
import sys
import unittest

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from harness import difference

P, L, I, B, D = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_bool, ctypes.c_double)
for function, result, *arguments in (
        ("oracle_model_new", P, ctypes.c_uint64), ("oracle_model_name", ctypes.c_char_p, P, I),
        ("oracle_model_tensor", P, P, I), ("cr_model_free", None, P),
        ("cr_model_train", None, P, B), ("cr_model_tensor_count", I, P),
        ("cr_model_zero_grad", None, P), ("oracle_recurrent", None, P, P, P, P),
        ("oracle_cell", None, P, P, P, P), ("oracle_attention", None, P, P, P, P),
        ("oracle_transformer", None, P, P, P, P)):
    getattr(cr.lib, function).restype = result
    getattr(cr.lib, function).argtypes = arguments


class Recurrent(ctypes.Structure):
    _fields_ = [("hidden", L), ("layers", L), ("kind", I), ("no_bias", B), ("bidirectional", B),
                ("batch_first", B), ("dropout", D)]


class Attention(ctypes.Structure):
    _fields_ = [("heads", L), ("dropout", D), ("no_bias", B), ("is_causal", B),
                ("need_weights", B), ("per_head", B)]


class Transformer(ctypes.Structure):
    _fields_ = [("heads", L), ("feedforward", L), ("dropout", D), ("no_dropout", B), ("gelu", B),
                ("norm_first", B), ("is_causal", B), ("is_decoder", B)]


class Layer:
    """A model of one layer, run by a function of the shim."""

    def __init__(self, function, options):
        self.function, self.options = getattr(cr.lib, function), options
        self.model = cr.lib.oracle_model_new(3)

    def __call__(self, *inputs, slots=6):
        places = (ctypes.c_void_p * slots)(*[None if x is None else x.at for x in inputs])
        outputs = (ctypes.c_void_p * 3)()
        self.function(self.model, ctypes.byref(self.options), places, outputs)
        cr.check()
        return [cr.Tensor(at) if at else None for at in outputs]

    def parameters(self):
        """By name; the layer's own name is cut off."""
        return {cr.lib.oracle_model_name(self.model, i).decode().removeprefix("layer."):
                cr.Tensor(cr.lib.oracle_model_tensor(self.model, i))
                for i in range(cr.lib.cr_model_tensor_count(self.model))}

    def load(self, module):
        with cr.no_grad():
            for name, tensor in self.parameters().items():
                source = cr.tensor(module.state_dict()[name])
                cr.check(failed=cr.lib.cr_copy_(tensor.at, source.at))


class LayerTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        cr.lib.cr_manual_seed(1)
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)

    def layer(self, function, options):
        layer = Layer(function, options)
        self.addCleanup(cr.lib.cr_model_free, layer.model)
        return layer

    def same(self, ours, theirs, what):
        fault = "is missing" if ours is None else \
            difference(ours.torch(), theirs.detach(), 2e-5, 1e-6)
        self.assertIsNone(fault, f"{what}: {fault}")

    def compare(self, layer, module, run, inputs, ordered=True):
        """`run` maps torch inputs to the list of torch outputs; `inputs` are torch tensors, those
        that are floating with a gradient. `ordered`: parameters are also made in its order."""
        ours = [None if x is None else cr.tensor(x, x.is_floating_point()) for x in inputs]
        theirs = [None if x is None else x.clone().requires_grad_(x.is_floating_point())
                  for x in inputs]
        layer(*ours)
        self.assertEqual({n: p.shape for n, p in layer.parameters().items()},
                         {n: tuple(p.shape) for n, p in module.named_parameters()})
        if ordered:
            self.assertEqual(list(layer.parameters()), [n for n, _ in module.named_parameters()])
        layer.load(module)
        outputs, expected = layer(*ours), run(*theirs)
        for i, want in enumerate(expected):
            self.same(outputs[i], want, f"output {i}")
            self.assertFalse(outputs[i].torch().isnan().any())
        for got, want in zip(outputs, expected):
            seed = torch.randn_like(want)
            got.backward(cr.tensor(seed), retain_graph=True)
            want.backward(seed, retain_graph=True)
        for name, parameter in module.named_parameters():
            self.same(layer.parameters()[name].grad, parameter.grad, name)
        for i, (x, tx) in enumerate(zip(ours, theirs)):
            if tx is not None and tx.grad is not None:
                self.same(x.grad, tx.grad, f"input {i}")


KINDS = {"tanh": (0, torch.nn.RNN, torch.nn.RNNCell), "relu": (1, torch.nn.RNN, torch.nn.RNNCell),
         "lstm": (2, torch.nn.LSTM, torch.nn.LSTMCell), "gru": (3, torch.nn.GRU, torch.nn.GRUCell)}


class RecurrentLayers(LayerTest):
    def network(self, kind, **options):
        code, module, _ = KINDS[kind]
        extra = {"nonlinearity": kind} if code < 2 else {}
        theirs = module(6, 5, options.get("layers", 1), bias=not options.get("no_bias", False),
                        bidirectional=options.get("bidirectional", False),
                        batch_first=options.get("batch_first", False), **extra)
        layer = self.layer("oracle_recurrent", Recurrent(hidden=5, kind=code, **options))
        return layer, theirs

    def test_networks(self):
        for kind in KINDS:
            for options in ({}, {"no_bias": True}, {"layers": 2, "bidirectional": True},
                            {"layers": 3, "batch_first": True}):
                with self.subTest(kind=kind, **options):
                    layer, module = self.network(kind, **options)

                    def run(x, h=None, c=None):
                        y, last = module(x, None if h is None else (h, c) if c is not None else h)
                        return [y, *last] if kind == "lstm" else [y, last]

                    x = torch.randn(4, 3, 6)
                    self.compare(layer, module, run, [x])
                    batch = 4 if options.get("batch_first") else 3
                    count = options.get("layers", 1) * (1 + options.get("bidirectional", False))
                    states = [torch.randn(count, batch, 5)
                              for _ in range(2 if kind == "lstm" else 1)]
                    layer, module = self.network(kind, **options)
                    self.compare(layer, module, run, [x, *states])

    def test_cells(self):
        for kind, (code, _, module) in KINDS.items():
            with self.subTest(kind=kind):
                extra = {"nonlinearity": kind} if code < 2 else {}
                theirs = module(6, 5, **extra)
                layer = self.layer("oracle_cell", Recurrent(hidden=5, kind=code))

                def run(x, h, c=None):
                    y = theirs(x, h if c is None else (h, c))
                    return list(y) if kind == "lstm" else [y]

                states = [torch.randn(3, 5) for _ in range(2 if kind == "lstm" else 1)]
                self.compare(layer, theirs, run, [torch.randn(3, 6), *states])

    def test_initial_values(self):
        layer = self.layer("oracle_recurrent", Recurrent(hidden=64, kind=2))
        layer(cr.tensor(torch.randn(2, 2, 32)))
        for name, parameter in layer.parameters().items():
            values = parameter.torch()
            self.assertLessEqual(values.abs().max().item(), 1 / 8, name)
            self.assertGreater(values.abs().max().item(), 0.95 / 8, name)
            self.assertLess(values.mean().abs().item(), 0.02, name)

    def test_dropout_only_while_training(self):
        layer = self.layer("oracle_recurrent", Recurrent(hidden=5, layers=2, kind=2, dropout=0.5))
        x = cr.tensor(torch.randn(4, 3, 6))
        first, second = (layer(x)[0].torch() for _ in range(2))
        self.assertFalse(torch.equal(first, second))
        cr.lib.cr_model_train(layer.model, False)
        first, second = (layer(x)[0].torch() for _ in range(2))
        self.assertTrue(torch.equal(first, second))


class AttentionLayers(LayerTest):
    def attention(self, inputs, kdim=None, vdim=None, attn_mask=None, padding=None, **options):
        embed, heads = inputs[0].shape[-1], 4
        module = torch.nn.MultiheadAttention(embed, heads, bias=not options.get("no_bias", False),
                                             kdim=kdim, vdim=vdim, batch_first=True)
        with torch.no_grad():  # biases begin at 0
            for name, parameter in module.named_parameters():
                if "bias" in name:
                    parameter.normal_()
        weights = options.get("need_weights", False)

        def run(q, k=None, v=None, *_):
            k = q if k is None else k
            mask = attn_mask
            if options.get("is_causal"):
                mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
            out = module(q, k, k if v is None else v, key_padding_mask=padding, attn_mask=mask,
                         need_weights=weights,
                         average_attn_weights=not options.get("per_head", False))
            return [y for y in out if y is not None]

        layer = self.layer("oracle_attention", Attention(heads=heads, **options))
        padded = list(inputs) + [None] * (3 - len(inputs)) + [attn_mask, padding]
        self.compare(layer, module, run, padded)

    def test_sources(self):
        x, other = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
        self.attention([x])
        self.attention([x, other])
        self.attention([x, other, torch.randn(2, 7, 8)])
        self.attention([x[0]])
        self.attention([x], no_bias=True)
        self.attention([x, torch.randn(2, 7, 3), torch.randn(2, 7, 6)], kdim=3, vdim=6)

    def test_masks(self):
        x, other = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
        blind = torch.rand(5, 7) < 0.4
        blind[:, 0] = False
        by_head = torch.rand(8, 5, 7) < 0.4
        by_head[:, :, 0] = False
        padding = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
        for weights in (False, True):
            for mask, pad in ((blind, None), (by_head, None), (None, padding), (blind, padding),
                              (by_head, padding), (blind.float() * -3, None),
                              (blind.float() * -3, padding)):
                self.attention([x, other], attn_mask=mask, padding=pad, need_weights=weights)
            self.attention([x], is_causal=True, need_weights=weights)

    def test_weights(self):
        x = torch.randn(2, 5, 8)
        self.attention([x], need_weights=True)
        self.attention([x], need_weights=True, per_head=True)
        self.attention([x[0]], need_weights=True)

    def test_dropout(self):
        layer = self.layer("oracle_attention", Attention(heads=1, dropout=0.5, need_weights=True))
        x = torch.randn(8, 64, 8)
        weights = layer(cr.tensor(x))[1].torch()
        self.assertAlmostEqual((weights == 0).double().mean().item(), 0.5, delta=0.02)
        cr.lib.cr_model_train(layer.model, False)
        self.assertFalse((layer(cr.tensor(x))[1].torch() == 0).any())

    def test_initial_values(self):
        layer = self.layer("oracle_attention", Attention(heads=2))
        layer(cr.tensor(torch.randn(1, 3, 64)))
        made = {name: p.torch() for name, p in layer.parameters().items()}
        for name, bound in (("in_proj_weight", math.sqrt(6 / (4 * 64))),
                            ("out_proj.weight", 1 / 8)):
            self.assertLessEqual(made[name].abs().max().item(), bound, name)
            self.assertGreater(made[name].abs().max().item(), 0.95 * bound, name)
        for name in ("in_proj_bias", "out_proj.bias"):
            self.assertEqual(made[name].abs().max().item(), 0, name)

    def test_refusals(self):
        layer = self.layer("oracle_attention", Attention(heads=3))
        with self.assertRaisesRegex(cr.CressetError, "layer: 3 heads do not divide"):
            layer(cr.tensor(torch.randn(1, 3, 8)))
        layer = self.layer("oracle_attention", Attention(heads=2))
        with self.assertRaisesRegex(cr.CressetError, "attn_mask has shape"):
            layer(cr.tensor(torch.randn(1, 3, 8)), None, None, cr.tensor(torch.zeros(3, 4)))


class TransformerLayers(LayerTest):
    def encoder(self, mask=None, padding=None, **options):
        module = torch.nn.TransformerEncoderLayer(
            8, 2, options.get("feedforward", 2048), dropout=0.0,
            activation="gelu" if options.get("gelu") else "relu", batch_first=True,
            norm_first=options.get("norm_first", False))

        def run(x, *_):
            causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
            return [module(x, causal if options.get("is_causal") else mask,
                           src_key_padding_mask=padding)]

        layer = self.layer("oracle_transformer", Transformer(heads=2, no_dropout=True, **options))
        self.compare(layer, module, run, [torch.randn(3, 5, 8), None, mask, padding],
                     ordered=False)

    def test_encoder(self):
        padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 5])
        self.encoder()
        for norm_first in (False, True):
            for gelu in (False, True):
                self.encoder(feedforward=12, norm_first=norm_first, gelu=gelu)
            self.encoder(feedforward=12, norm_first=norm_first, padding=padding)
            self.encoder(feedforward=12, norm_first=norm_first, is_causal=True)
            self.encoder(feedforward=12, norm_first=norm_first, mask=torch.randn(5, 5))

    def test_decoder(self):
        padding = torch.tensor([[False] * 7, [False] * 3 + [True] * 4, [False] * 7])
        blind = torch.ones(5, 7, dtype=torch.bool).triu(3)
        for norm_first in (False, True):
            module = torch.nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True,
                                                      norm_first=norm_first)
            layer = self.layer("oracle_transformer",
                               Transformer(heads=2, feedforward=12, no_dropout=True,
                                           norm_first=norm_first, is_causal=True, is_decoder=True))

            def run(x, memory, *_):
                causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
                return [module(x, memory, causal, blind, None, padding)]

            self.compare(layer, module, run, [torch.randn(3, 5, 8), torch.randn(3, 7, 8), None,
                                              None, blind, padding], ordered=False)

    def test_dropout_only_while_training(self):
        layer = self.layer("oracle_transformer", Transformer(heads=2, feedforward=12))
        x = cr.tensor(torch.randn(3, 5, 8))
        first, second = (layer(x)[0].torch() for _ in range(2))
        self.assertFalse(torch.equal(first, second))
        cr.lib.cr_model_train(layer.model, False)
        first, second = (layer(x)[0].torch() for _ in range(2))
        self.assertTrue(torch.equal(first, second))

    def test_refusals(self):
        layer = self.layer("oracle_transformer", Transformer(heads=2, is_decoder=True))
        with self.assertRaisesRegex(cr.CressetError, "needs .memory"):
            layer(cr.tensor(torch.randn(1, 3, 8)))


if __name__ == "__main__":
    unittest.main()
