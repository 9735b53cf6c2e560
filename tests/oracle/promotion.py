#!/usr/bin/env python3
"""The dtype of results: every pair of dtypes, with and without dimensions, and numbers, against
torch.result_type; the values of such mixed sums and quotients; what joins and conversions give."""
import itertools
import sys
import unittest

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from cresset import DTYPES

SHAPES = {"tensor": (2,), "0-dim": (), "empty": (0, 1)}


def operands():
    """(description, torch operand) of every kind of operand."""
    for dtype in DTYPES:
        for kind, shape in SHAPES.items():
            yield f"{kind} {dtype}", torch.ones(shape, dtype=dtype)
    yield "whole number", 2
    yield "number", 2.0


def is_number(value):
    return not torch.is_tensor(value)


class Promotion(unittest.TestCase):
    def setUp(self):
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)

    def check_pairs(self, name, expected_dtype, reference):
        """An op on all pairs of operands: dtype, and elements where torch computes them."""
        faults, pairs = [], 0
        for (what_a, a), (what_b, b) in itertools.product(operands(), repeat=2):
            if is_number(a) and is_number(b):
                continue
            pairs += 1
            with cr.frame():
                ours = cr.call(name, cr.tensor(a), cr.tensor(b)).torch()
            dtype = expected_dtype(a, b)
            if ours.dtype != dtype:
                faults.append(f"{what_a}, {what_b}: {ours.dtype} instead of {dtype}")
            elif not torch.equal(ours, reference(a, b).to(dtype)):
                faults.append(f"{what_a}, {what_b}: {ours} instead of {reference(a, b)}")
        self.assertFalse(faults, "\n".join(faults[:20]))
        self.assertEqual(pairs, 32 * 32 - 4)

    def test_sums_of_all_pairs(self):
        self.check_pairs("add", torch.result_type, torch.add)

    def test_products_of_all_pairs(self):
        self.check_pairs("mul", torch.result_type, torch.mul)

    def test_quotients_of_all_pairs(self):
        def floating(a, b):
            dtype = torch.result_type(a, b)
            return dtype if dtype.is_floating_point else torch.float32
        self.check_pairs("div", floating, lambda a, b: torch.div(a, b))

    def test_three_operands(self):
        """Tensors with dimensions decide, then those without, then numbers: in any order."""
        values = [torch.ones(2, dtype=torch.int32), torch.ones((), dtype=torch.float64), 2.5]
        for a, b, c in itertools.permutations(values):
            ours = cr.call("add", cr.call("add", cr.tensor(a), cr.tensor(b)), cr.tensor(c))
            self.assertEqual(ours.dtype, (a + b + c).dtype)

    def test_joined_tensors_promote(self):
        for a, b in itertools.product(DTYPES, repeat=2):
            parts = [torch.ones(2, dtype=a), torch.ones(3, dtype=b)]
            ours = cr.call("cat", *[cr.tensor(p) for p in parts], dim=0).torch()
            theirs = torch.cat(parts)
            self.assertEqual(ours.dtype, theirs.dtype, f"{a} {b}")
            self.assertTrue(torch.equal(ours, theirs))

    def test_numbers_out_of_the_range_of_a_dtype(self):
        for value in (300, -1, 2 ** 40):
            theirs = torch.ones(2, dtype=torch.int64) * value
            ours = cr.call("mul", cr.tensor(torch.ones(2, dtype=torch.int64)), cr.tensor(value))
            self.assertTrue(torch.equal(ours.torch(), theirs))
        ours = cr.call("add", cr.tensor(torch.tensor([250], dtype=torch.uint8)), cr.tensor(10))
        self.assertEqual(ours.torch().item(), 4)

    def test_large_integers_are_exact(self):
        for value in (2 ** 53 + 1, -(2 ** 62) - 1, 2 ** 63 - 1):
            x = torch.tensor([value, 1])
            self.assertTrue(torch.equal(cr.tensor(x).torch(), x))
            ours = cr.call("add", cr.tensor(x), cr.tensor(0))
            self.assertTrue(torch.equal(ours.torch(), x))
            ours = cr.call("sum", cr.tensor(x[:1]))
            self.assertEqual(ours.torch().item(), value)

    def test_conversions_of_extremes(self):
        """Between all dtypes, for the values on which PyTorch's own conversion is defined."""
        values = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 100.7, -100.7, 65504.0,
                               1e-8, 3e38, -3e38, float("inf"), -float("inf"), float("nan")],
                              dtype=torch.float64)
        floats = [d for d in DTYPES if d.is_floating_point]
        for source, target in itertools.product(floats, floats + [torch.bool]):
            x = values.to(source)
            ours = cr.call("to_dtype", cr.tensor(x), dtype=target).torch()
            theirs = x.to(target)
            same = (ours == theirs) | ((ours != ours) & (theirs != theirs))
            self.assertTrue(same.all(), f"{source} to {target}: {ours} instead of {theirs}")
        small = values[:10]
        whole = [d for d in DTYPES if not d.is_floating_point]
        for source, target in itertools.product(floats, whole):
            x = small.to(source) if target != torch.uint8 else small.to(source).abs()
            ours = cr.call("to_dtype", cr.tensor(x), dtype=target).torch()
            self.assertTrue(torch.equal(ours, x.to(target)), f"{source} to {target}")
        numbers = torch.tensor([0, 1, -1, 127, -128, 255, 256, 32767, -32769, 2 ** 31, 2 ** 40 + 3])
        for source, target in itertools.product(whole, DTYPES):
            x = numbers.to(source)
            ours = cr.call("to_dtype", cr.tensor(x), dtype=target).torch()
            self.assertTrue(torch.equal(ours, x.to(target)), f"{source} to {target}")

    def test_rounding_of_halves_is_to_nearest_even(self):
        bits = torch.arange(0, 1 << 20, dtype=torch.int64) * 4099
        x = bits.to(torch.int32).view(torch.float32)
        x = torch.where(x.isnan(), torch.zeros_like(x), x)
        for target in (torch.bfloat16, torch.float16):
            ours = cr.call("to_dtype", cr.tensor(x), dtype=target).torch()
            self.assertTrue(torch.equal(ours, x.to(target)), target)

    def test_every_half_widens_exactly(self):
        for source in (torch.bfloat16, torch.float16):
            x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(source)
            ours = cr.call("to_dtype", cr.tensor(x), dtype=torch.float32).torch()
            theirs = x.float()
            same = (ours == theirs) | (ours.isnan() & theirs.isnan())
            self.assertTrue(same.all(), source)


if __name__ == "__main__":
    unittest.main()
