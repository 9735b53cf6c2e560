#!/usr/bin/env python3
"""Calls every op of the table, but the inner ones, which trust their callers, with inputs and
attributes that rarely make sense. A call may succeed, and then its gradients must, too, or be
refused; no call may crash, hang, leak, or be refused without the name of the op.
fuzz.py [OP …] [--rounds N] [--seed N] [--show] [--trace]"""
import argparse
import faulthandler
import random
import subprocess
import sys
import zlib

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

CALL = "calling "
HUGE = (2 ** 62, 2 ** 63 - 1, -2 ** 63)
FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, 1e-5, -0.1, 7.0, float("inf"), -float("inf"), float("nan"))
TEXTS = ("", "ij,jk->ik", "ii->i", "...i->...", "i,i", "ij->ji", "->", "i->ij", "i,,", "I1",
         "a" * 127)


class Caller:
    """Makes up calls of one op."""

    def __init__(self, op, seed, trace):
        self.op, self.trace = op, trace
        self.rng = random.Random(zlib.crc32(op.name.encode()) + seed)

    def integer(self):
        if self.rng.random() < 0.03:
            return self.rng.choice(HUGE)
        return self.rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 7, -1, -1, -2, -3, -100))

    def attribute(self, kind):
        rng = self.rng
        return (self.integer, lambda: rng.choice(FLOATS), lambda: rng.random() < 0.5,
                lambda: rng.choice((0, 0, 0, 0, 1, 1, 2, 3, 4, 9, 10, -1)),
                lambda: [self.integer() for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3, 4, 8)))],
                lambda: rng.choice(TEXTS))[kind]()

    def shape(self, like):
        rng = self.rng
        if like is not None and rng.random() < 0.6:
            return like
        return tuple(rng.choice((0, 1, 1, 2, 3, 3, 4, 5)) for _ in range(rng.randrange(6)))

    def values(self, shape, dtype):
        if dtype == torch.bool:
            return torch.randint(0, 2, shape).bool()
        if not dtype.is_floating_point:
            return torch.randint(0 if dtype == torch.uint8 else -2, 6, shape).to(dtype)
        return torch.randn(shape).to(dtype)

    def inputs(self):
        rng = self.rng
        most = self.op.max_inputs if self.op.max_inputs >= 0 else 4
        count = most if rng.random() < 0.8 else rng.randrange(most + 2)
        dtype = rng.choice(cr.DTYPES) if rng.random() < 0.4 else torch.float32
        shape, meta = None, rng.random() < 0.1
        for i in range(count):
            chance = rng.random()
            if chance < (0.02 if i < self.op.min_inputs else 0.4):
                yield None
            elif chance > 0.95:
                yield cr.tensor(rng.choice((2, 2.5, -1)))
            else:
                shape = self.shape(shape)
                own = rng.choice(cr.DTYPES) if rng.random() < 0.2 else dtype
                yield self.tensor(shape, own, meta)

    def tensor(self, shape, dtype, meta):
        if meta:
            made = cr.meta(shape, dtype)
        else:
            values = self.values(shape, dtype)
            if values.dim() > 1 and self.rng.random() < 0.3:
                values = values.permute(tuple(reversed(range(values.dim())))).contiguous()
                values = values.permute(tuple(reversed(range(values.dim()))))
            made = cr.tensor(values)
        wants_grad = dtype.is_floating_point and self.rng.random() < 0.6
        return made.requires_grad_() if wants_grad else made

    def call(self):
        """One call; (what was called, the message if it was refused)."""
        inputs = list(self.inputs())
        attributes = {name: self.attribute(kind) for name, (kind, _) in self.op.attributes.items()}
        text = " ".join(f"{str(x.dtype)[6:]}{x.shape}" if x else "None" for x in inputs)
        text = f"{self.op.name} {text} {attributes}"
        if self.trace:
            print(f"{CALL}{text}", flush=True)
        try:
            outputs = cr.apply(self.op, inputs, **attributes)
            for output in outputs:
                if output is not None and output.requires_grad:
                    output.backward(cr.call("clone", output.detach()), retain_graph=True)
                    break
        except cr.CressetError as error:
            return text, str(error)
        return text, None


def check_message(op, message):
    """What is wrong with a refusal; None if nothing."""
    if "memory" in message:
        return None
    if op.name not in message:
        return "the message does not name the op"
    if "its backward gave" in message:
        return "the gradient has the wrong shape"
    if len(message) > 400 or "\n" in message or not message.isprintable():
        return "the message is no short line"
    return None


def watched(words):
    """Runs this program with --trace; says at which call it died, if it did."""
    child = subprocess.run([sys.executable, "-B", __file__, *words, "--trace"], text=True,
                           stdout=subprocess.PIPE, check=False)
    lines = child.stdout.splitlines()
    print(*[line for line in lines if not line.startswith(CALL)], sep="\n")
    if not lines or not lines[-1].endswith("faults"):
        last = [line for line in lines if line.startswith(CALL)][-1:]
        print(f"FAIL ended with status {child.returncode} (1: after a minute) while "
              f"{''.join(last)}")
    return int(child.returncode != 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ops", nargs="*")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trace", action="store_true", help="print each call before it is made")
    parser.add_argument("--show", action="store_true", help="print the messages, each kind once")
    arguments = parser.parse_args()
    if not arguments.trace:
        return watched(sys.argv[1:])
    faulthandler.enable()
    faults, done, refused, kinds = 0, 0, 0, set()
    with cr.frame():  # makes the lists that are kept between calls
        cr.call("sum", cr.tensor(torch.ones(2), requires_grad=True)).backward()
    for op in cr.table():
        if op.is_inner or arguments.ops and op.name not in arguments.ops:
            continue
        torch.manual_seed(0)
        caller = Caller(op, arguments.seed, arguments.trace)
        told = 0
        for _ in range(arguments.rounds):
            sys.stderr.flush()
            faulthandler.dump_traceback_later(60, exit=True)
            before = cr.memory()
            with cr.frame():
                text, message = caller.call()
            faulthandler.cancel_dump_traceback_later()
            done += 1
            if cr.memory() != before and told < 2:
                print(f"FAIL {text}: leaves {cr.memory()} bytes and blocks in use, not {before}")
                told, faults = told + 1, faults + 1
            if message is None:
                continue
            refused += 1
            fault = check_message(op, message)
            if fault and told < 2:
                print(f"FAIL {text}: {fault}: {message}")
                told += 1
            faults += fault is not None
            kind = "".join(c for c in message if c.isalpha())
            if arguments.show and kind not in kinds:
                print(message)
            kinds.add(kind)
    print(f"{done} calls, {refused} refused, {faults} faults")
    return 1 if faults or not done else 0


if __name__ == "__main__":
    sys.exit(main())
