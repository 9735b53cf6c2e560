#!/usr/bin/env python3
"""The harness tested itself: wrong references and planted faults must each be found, by the check
that is there for them."""
import sys

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import contextlib
import io

import cresset as cr
import harness
from harness import Run, case, real, refuses, sample


class _WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, 1.001 * grad


class _WrongSecondOrder(torch.autograd.Function):
    """x * x with the right gradient, which forgets that it depends on x."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b.detach(), grad * a.detach()


def kinds_found(*arguments, **options):
    """Which checks fail for one case."""
    harness.cases.clear()
    harness.refusals.clear()
    case(*arguments, **options)
    with contextlib.redirect_stdout(io.StringIO()):
        results = harness.run_all()
    return {kind for _, kind in results.failures}


@contextlib.contextmanager
def planted(owner, name, function):
    """A function of Run or cresset replaced by what `function` makes of it."""
    was = getattr(owner, name)
    setattr(owner, name, function(was))
    try:
        yield
    finally:
        setattr(owner, name, was)


def scaled_gradients(was):
    def our_gradients(self, *arguments, **options):
        found = was(self, *arguments, **options)
        return [[cr.call("mul", g, cr.tensor(1.001)) for g in grads] for grads in found]
    return our_gradients


def thread_dependent(was):
    def ours(self, *arguments, **options):
        leaves, outputs = was(self, *arguments, **options)
        return leaves, [cr.call("mul", y, cr.tensor(float(cr.lib.cr_num_threads())))
                        for y in outputs]
    return ours


def leaking(was):
    def call(*arguments, **options):
        result = was(*arguments, **options)
        cr.lib.cr_retain(result.at)
        return result
    return call


def wordless(was):
    def check(value=None, failed=None):
        try:
            return was(value, failed)
        except cr.CressetError as error:
            raise cr.CressetError(str(error).replace("memory", "something")) from None
    return check


def refusal_found(what, words):
    harness.cases.clear()
    harness.refusals.clear()
    refuses("add", what, words)
    with contextlib.redirect_stdout(io.StringIO()):
        return harness.run_all().failed


def main():
    pair = sample(real(3, 4), real(3, 4))
    faults = []

    def expect(what, found, *kinds):
        if not set(kinds) <= found:
            faults.append(f"{what}: found by {found or 'no check'}, not by {set(kinds) - found}")

    if found := kinds_found("add", torch.add, pair):
        faults.append(f"a right case fails: {found}")
    expect("a wrong value", kinds_found("add", torch.sub, pair), "forward")
    expect("a small error", kinds_found("add", lambda a, b: a + b * (1 + 1e-4), pair), "forward")
    expect("a NaN", kinds_found("add", lambda a, b: (a + b) / (a > -9).float().log(), pair),
           "forward")
    expect("a wrong shape", kinds_found("add", lambda a, b: (a + b)[None], pair), "forward")
    expect("a wrong dtype", kinds_found("add", lambda a, b: (a + b).double(), pair), "forward")
    expect("a wrong gradient", kinds_found("add", _WrongGradient.apply, pair), "gradient")
    expect("a wrong second order", kinds_found("mul", _WrongSecondOrder.apply, pair),
           "second order")
    expect("a raised error", kinds_found("add", torch.add, sample(real(2), real(3))), "forward")
    expect("an unknown op", kinds_found("no_such_op", torch.add, pair), "forward")
    with planted(Run, "our_gradients", scaled_gradients):
        expect("a gradient that differs from the slope", kinds_found("add", torch.add, pair),
               "finite differences")
    with planted(Run, "ours", thread_dependent):
        expect("a result that depends on threads", kinds_found("add", torch.add, pair), "threads")
    with planted(cr, "call", leaking):
        expect("a leak", kinds_found("add", torch.add, pair), "out of memory")
    with planted(cr, "check", wordless):
        expect("a message that does not say why", kinds_found("add", torch.add, pair),
               "out of memory")
    if not refusal_found(pair, ""):
        faults.append("an accepted sample passes as refused")
    if not refusal_found(sample(real(2), real(3)), "words that do not stand there"):
        faults.append("any message passes")
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{len(faults)} faults of the harness")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
