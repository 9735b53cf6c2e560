#!/usr/bin/env python3
"""Autocast: which dtype each kind of op computes in, as PyTorch's lists have it, that gradients
come back in the dtype of what they belong to, and that a network learns in bfloat16 as well as in
float32."""
import sys
import unittest

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

WIDE, HALF = torch.float32, torch.bfloat16
MATRIX = (torch.randn(4, 5), torch.randn(5, 4))
LABELS = torch.tensor([0, 1, 2, 0])
ROW = torch.zeros(4, 5, dtype=torch.int64)

# PyTorch's lists (torch.amp, "Op-specific behavior"): by op, inputs and attributes.
LOWER = {
    "mm": (MATRIX, {}), "matmul": (MATRIX, {}), "mv": ((MATRIX[0], torch.randn(5)), {}),
    "bmm": ((torch.randn(2, 4, 5), torch.randn(2, 5, 3)), {}),
    "addmm": ((torch.randn(4), *MATRIX), {"beta": 1.0, "alpha": 1.0}),
    "baddbmm": ((torch.randn(3), torch.randn(2, 4, 5), torch.randn(2, 5, 3)),
                {"beta": 1.0, "alpha": 1.0}),
    "linear": ((torch.randn(4, 5), torch.randn(3, 5), torch.randn(3)), {}),
    "einsum": (MATRIX, {"equation": "ij,jk->ik"}),
    "conv2d": ((torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3), torch.randn(3)), {}),
    "conv_transpose1d": ((torch.randn(1, 2, 5), torch.randn(2, 3, 3)), {}),
    "scaled_dot_product_attention": ((torch.randn(4, 5), torch.randn(3, 5), torch.randn(3, 5)), {}),
    "lstm": ((torch.randn(3, 2, 4), torch.randn(8, 4), torch.randn(8, 2)), {"num_layers": 1}),
    "gru_cell": ((torch.randn(2, 4), torch.randn(6, 4), torch.randn(6, 2)), {}),
}
FULL = {
    name: (MATRIX[:1], {}) for name in ("exp", "expm1", "softplus", "rsqrt", "reciprocal", "tan",
                                        "sinh", "cosh", "sum", "prod", "log1p", "log2", "log10")
} | {
    name: ((torch.rand(4, 5),), {}) for name in ("log", "acos", "asin")
} | {
    name: (MATRIX[:1], {"dim": 1}) for name in ("softmax", "log_softmax", "softmin", "cumsum",
                                                "cumprod")
} | {
    "logsumexp": (MATRIX[:1], {"dims": (1,)}),
    "pow": ((torch.rand(4, 5), torch.rand(4, 5)), {}),
    "normalize": (MATRIX[:1], {"p": 2.0, "dim": 1, "eps": 1e-12}),
    "cross_entropy": ((MATRIX[0], LABELS), {"ignore_index": -100}),
    "mse_loss": ((MATRIX[0], torch.randn(4, 5)), {}),
    "binary_cross_entropy_with_logits": ((MATRIX[0], torch.rand(4, 5)), {}),
}
# Norms keep the dtype of x (as on PyTorch's CPU list, and as oneDNN computes them); their
# parameters and statistics are float32.
NORMS = {
    "layer_norm": ((torch.randn(4, 5), torch.randn(5), torch.randn(5)),
                   {"normalized_shape": (5,), "eps": 1e-5}, torch.nn.functional.layer_norm),
    "group_norm": ((torch.randn(2, 4, 3), torch.randn(4), torch.randn(4)),
                   {"num_groups": 2, "eps": 1e-5}, torch.nn.functional.group_norm),
    "batch_norm": ((torch.randn(4, 3, 5, 7), torch.randn(3), torch.randn(3)),
                   {"training": True, "eps": 1e-5, "momentum": 0.1},
                   lambda x, weight, bias, training, eps, momentum: torch.nn.functional.batch_norm(
                       x, None, None, weight, bias, True, momentum, eps)),
}
WIDEST = {
    name: (torch.randn(4, 5), torch.randn(4, 5)) for name in ("add", "sub", "mul", "div", "atan2",
                                                             "maximum", "minimum")
}


def floats(inputs, dtype):
    return [x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]


class Autocast(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(2)
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)
        self.autocast(HALF)
        self.addCleanup(self.autocast, WIDE)

    def autocast(self, dtype):
        cr.lib.cr_set_autocast(cr.CODES[dtype])

    def run_op(self, name, inputs, wanted, **attributes):
        """The dtype of the result, and of the gradients: those of the inputs."""
        ours = [cr.tensor(x, x.is_floating_point()) for x in inputs]
        output = cr.apply(name, ours, **attributes)[0]
        self.assertEqual(output.dtype, wanted, f"{name} of {[x.dtype for x in inputs]}")
        output.backward(cr.tensor(torch.ones(output.shape, dtype=output.dtype)))
        for x, source in zip(ours, inputs):
            if source.is_floating_point() and x.grad is not None:
                self.assertEqual(x.grad.dtype, source.dtype, f"gradient of {name}")

    def test_products_are_lowered(self):
        for name, (inputs, attributes) in LOWER.items():
            self.run_op(name, inputs, HALF, **attributes)
            self.run_op(name, floats(inputs, HALF), HALF, **attributes)
            self.run_op(name, [floats([inputs[0]], HALF)[0], *inputs[1:]], HALF, **attributes)

    def test_what_needs_range_is_float32(self):
        for name, (inputs, attributes) in FULL.items():
            self.run_op(name, floats(inputs, HALF), WIDE, **attributes)
            self.run_op(name, inputs, WIDE, **attributes)

    def test_norms_keep_their_dtype(self):
        for name, (inputs, attributes, reference) in NORMS.items():
            for dtype in (HALF, WIDE):
                x = inputs[0].to(dtype)
                self.run_op(name, [x, *inputs[1:]], dtype, **attributes)
                ours = [cr.tensor(t, True) for t in (x, *inputs[1:])]
                theirs = [t.float().clone().requires_grad_() for t in (x, *inputs[1:])]
                output = cr.apply(name, ours, **attributes)[0]
                wanted = reference(theirs[0], weight=theirs[1], bias=theirs[2], **attributes)
                seed = torch.randn(x.shape).to(dtype)
                output.backward(cr.tensor(seed))
                wanted.backward(seed.float())
                pairs = [(output.torch(), wanted.detach())]
                pairs += [(a.grad.torch(), b.grad) for a, b in zip(ours, theirs)]
                for place, (got, want) in enumerate(pairs):
                    part = 2 ** -8 if got.dtype == HALF else 1e-5
                    error = ((got.float() - want).abs() - part * want.abs()).max().item()
                    self.assertLess(error, part * want.square().mean().sqrt().item(),
                                    f"{name} in {dtype}, result {place}")

    def test_a_parameter_is_cast_once_for_each_value(self):
        weight, x = cr.tensor(torch.randn(3, 5), True), cr.tensor(torch.randn(4, 5))
        first = cr.call("linear", x, weight)
        again = cr.call("linear", x, weight)
        self.assertTrue(torch.equal(first.torch(), again.torch()))
        cr.call("add", first, again).backward(cr.tensor(torch.ones(4, 3, dtype=HALF)))
        once = torch.ones(3, 4) @ x.torch().to(HALF).float()
        self.assertTrue(torch.equal(weight.grad.torch(), 2 * once.to(HALF).float()))
        with cr.no_grad():
            frozen = cr.call("linear", x, weight)
            self.assertTrue(torch.equal(frozen.torch(), first.torch()))
            cr.check(failed=cr.lib.cr_add_(weight.at, weight.at, 1.0))
            doubled = cr.call("linear", x, weight)
        self.assertTrue(torch.equal(doubled.torch(), 2 * first.torch()))

    def test_a_cast_before_recording_has_a_gradient_after(self):
        weight, x = cr.tensor(torch.randn(3, 5), True), cr.tensor(torch.randn(4, 5))
        with cr.no_grad():
            cr.call("linear", x, weight)
        cr.call("linear", x, weight).backward(cr.tensor(torch.ones(4, 3, dtype=HALF)))
        self.assertIsNotNone(weight.grad)

    def test_mixed_operands_take_the_widest(self):
        for name, (a, b) in WIDEST.items():
            self.run_op(name, [a.to(HALF), b], WIDE)
            self.run_op(name, [a.to(HALF), b.to(HALF)], HALF)
        for name in ("cat", "stack"):
            self.run_op(name, [MATRIX[0].to(HALF), torch.randn(4, 5)], WIDE, dim=0)
        self.run_op("scatter_add", [MATRIX[0], ROW, torch.randn(4, 5).to(HALF)], WIDE, dim=0)

    def test_others_keep_their_dtype(self):
        for name in ("relu", "tanh", "sigmoid"):
            self.run_op(name, [MATRIX[0].to(HALF)], HALF)
            self.run_op(name, [MATRIX[0]], WIDE)

    def test_float64_is_left_alone(self):
        self.run_op("mm", floats(MATRIX, torch.float64), torch.float64)
        self.run_op("softmax", floats(MATRIX[:1], torch.float64), torch.float64, dim=1)

    def test_backward_keeps_the_dtypes_of_forward(self):
        self.autocast(WIDE)
        a, b = (cr.tensor(x, True) for x in MATRIX)
        product = cr.call("mm", a, b)
        self.autocast(HALF)
        product.backward(cr.tensor(torch.ones(4, 4)))
        self.assertTrue(torch.allclose(a.grad.torch(), torch.ones(4, 4) @ MATRIX[1].T))


class Learning(unittest.TestCase):
    """Sequences of two classes, told apart by an LSTM, attention, a norm and a linear layer."""

    def train(self, dtype, steps=60):
        generator = torch.Generator().manual_seed(4)

        def parameter(*shape):
            return cr.tensor(torch.randn(*shape, generator=generator) * 0.3, True)

        with cr.frame():
            recurrent = [parameter(32, 3), parameter(32, 8), parameter(32), parameter(32)]
            gain, shift = cr.tensor(torch.ones(8), True), cr.tensor(torch.zeros(8), True)
            project = [parameter(24, 8), parameter(24)]
            last = [parameter(2, 8), parameter(2)]
            parameters = [*recurrent, gain, shift, *project, *last]
            x = torch.randn(48, 6, 3, generator=generator)
            labels = (x[:, :, 0].sum(1) > 0).long()
            x, labels = cr.tensor(x), cr.tensor(labels)
            losses = []
            for _ in range(steps):
                was = cr.lib.cr_set_autocast(cr.CODES[dtype])
                with cr.frame():
                    y = cr.call("lstm", x, *recurrent, num_layers=1, has_biases=True,
                                batch_first=True)
                    y = cr.call("layer_norm", y, gain, shift, normalized_shape=(8,), eps=1e-5)
                    q, k, v = (cr.call("narrow", cr.call("linear", y, *project), dim=2,
                                       start=8 * i, length=8) for i in range(3))
                    y = cr.call("scaled_dot_product_attention", q, k, v)
                    y = cr.call("mean", y, dims=(1,))
                    loss = cr.call("cross_entropy", cr.call("linear", y, *last), labels,
                                   ignore_index=-100)
                    losses.append(loss.torch().item())
                    loss.backward()
                cr.lib.cr_set_autocast(was)
                self.step(parameters)
        return losses

    def step(self, parameters):
        with cr.no_grad():
            for p in parameters:
                self.assertEqual(p.grad.dtype, torch.float32)
                cr.check(failed=cr.lib.cr_add_(p.at, p.grad.at, -0.1))
                cr.check(failed=cr.lib.cr_set_grad(p.at, None))

    def test_bfloat16_learns_as_float32(self):
        wide, half = self.train(WIDE), self.train(HALF)
        self.assertLess(torch.tensor(wide[-20:]).median(), 0.3 * wide[0])
        self.assertLess(torch.tensor(half[-20:]).median(), 0.3 * half[0])
        self.assertAlmostEqual(half[0], wide[0], delta=0.02)
        self.assertNotEqual(half[0], wide[0])


if __name__ == "__main__":
    unittest.main()
