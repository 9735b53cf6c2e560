#!/usr/bin/env python3
"""Walks the table of ops and fails for any that the families did not compare with PyTorch, or, if
it is differentiable, without forward, gradient and finite differences. Inner ops, which only other
ops call, need no cases of their own, but must have run in the comparisons of one that has. Reads
what the families left in the folder CRESSET_RESULTS, so it runs after them."""
import collections
import json
import os
import pathlib
import sys

# Checks that an op does without, and why: {op: {check: reason}}.
ZERO = "a draw has no slope: the gradient is zero, as in PyTorch (checked in semantics.py)"
BYTES = "its tensors are bytes, and float32 what goes with them"
WHOLE = "the weight, which is packed once, must be contiguous; others are refused"
EXCEPTIONS = {
    "native_channels_last_pool2d": {"comparison": "the functions of pooling choose it by the order "
                                                  "in memory (compared in semantics.py)"},
    "_slice_place": {"layout: sliced": "slice and its gradient call it on contiguous tensors"},
    "_searchsorted": {"several dtypes": "searchsorted converts to one of two before"},
    "quantize_per_tensor": {"several dtypes": "it makes bytes of float32 only"},
    "dequantize": {"several dtypes": "it makes float32 of bytes only"},
    "quantized_conv2d": {"several dtypes": BYTES, "layout: sliced": WHOLE},
    "quantized_linear": {"several dtypes": BYTES, "layout: sliced": WHOLE},
    "bernoulli": {"gradient": ZERO, "finite differences": ZERO},
    "ctc_loss": {"finite differences": "the gradient is PyTorch's, which is right only behind a "
                                       "log_softmax (there they are taken in semantics.py)"},
}


def load(folder):
    """(counts by op and check, the ops that reach an op by name, faults) of all families."""
    counts, callers, faults = (collections.defaultdict(collections.Counter),
                               collections.defaultdict(set), [])
    families = sorted(p.stem.removeprefix("cases_")
                      for p in pathlib.Path(__file__).parent.glob("cases_*.py"))
    for family in families:
        path = pathlib.Path(folder) / f"{family}.json"
        if not path.exists():
            faults.append(f"the family {family} left no results; run it first")
            continue
        report = json.loads(path.read_text(encoding="utf-8"))
        for op, kinds in report["counts"].items():
            counts[op].update(kinds)
        for op, reached in report["reached"].items():
            for name in reached:
                callers[name].add(op)
    return counts, callers, faults


def has_several_dtypes(own):
    """Compared in f32 and f64, or, for ops of integers, in three others."""
    dtypes = {kind.removeprefix("dtype: ") for kind in own if kind.startswith("dtype: ")}
    return {"float32", "float64"} <= dtypes or len(dtypes) >= 3


def needed(op):
    """The checks that an op must have."""
    if not op.max_inputs:
        return ["forward"]
    checks = ["forward", "several dtypes", "layout: contiguous", "layout: sliced"]
    if op.is_differentiable and (op.has_backward or op.is_composed):
        checks += ["gradient", "finite differences"]
    return checks


def faults_of(op, counts, callers):
    """What is missing for one op."""
    own = dict(counts.get(op.name, {}))
    own["several dtypes"] = has_several_dtypes(own)
    excused = EXCEPTIONS.get(op.name, {})
    if op.is_inner and not own.get("forward") and "comparison" not in excused:
        through = [caller for caller in callers[op.name] if counts[caller].get("forward")]
        if not through:
            yield "neither compared nor run by any op that was"
        elif op.has_backward and not any(counts[caller].get("second order" if "_backward" in op.name
                                                            else "gradient")
                                         for caller in through):
            yield f"has a backward that no comparison of {', '.join(through)} reaches"
        return
    if "comparison" in excused:
        return
    if op.is_differentiable and not (op.has_backward or op.is_composed) and not op.is_inner:
        yield "has no backward and does not say CR_OP_NOT_DIFFERENTIABLE"
    missing = [check for check in needed(op) if not own.get(check) and check not in excused]
    if missing:
        yield "no comparison" + ("" if "forward" in missing else ": " + ", ".join(missing))


def main():
    try:
        import torch  # noqa: F401
    except ImportError as error:
        print(f"skipped: PyTorch is not installed for {sys.executable} ({error})")
        return 77
    import cresset
    counts, callers, faults = load(os.environ.get("CRESSET_RESULTS",
                                                  cresset.ROOT / "build/tests/oracle"))
    ops = cresset.table()
    names = collections.Counter(op.name for op in ops)
    faults += [f"{name}: stands in the table {n} times" for name, n in names.items() if n > 1]
    faults += [f"{op.name}: {fault}" for op in ops for fault in faults_of(op, counts, callers)]
    faults += [f"{name}: an exception for an op that is not in the table"
               for name in EXCEPTIONS if name not in names]
    totals = collections.Counter()
    for kinds in counts.values():
        totals.update(kinds)
    print(*faults, sep="\n", end="\n" if faults else "")
    for kind in sorted(totals):
        print(f"{totals[kind]:9,} {kind}")
    compared = sum(n for kind, n in totals.items() if ":" not in kind)
    print(f"{len(ops)} ops, {compared:,} comparisons, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
