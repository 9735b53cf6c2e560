"""Cases of the ops in src/ops/creation.c."""
import torch

from harness import ALL, case, real, refuses, sample

F32, F64, I64, I32 = torch.float32, torch.float64, torch.int64, torch.int32
ONCE = {"dtypes": (F32,), "layouts": ("contiguous",), "gradient": False, "empty": False,
        "zero_dim": False, "meta": False}


def arange(start, end, step, dtype):
    return torch.arange(start, end, step, dtype=dtype)


def linspace(start, end, steps, dtype):
    return torch.linspace(start, end, steps, dtype=dtype)


def logspace(start, end, steps, base, dtype):
    return torch.logspace(start, end, steps, base, dtype=dtype)


def eye(n, m, dtype):
    return torch.eye(n, m, dtype=dtype)


def tril_indices(row, col, offset):
    return torch.tril_indices(row, col, offset)


def triu_indices(row, col, offset):
    return torch.triu_indices(row, col, offset)


case("arange", arange,
     sample(start=0.0, end=10.0, step=3.0, dtype=I64),
     sample(start=0.0, end=1.0, step=0.1, dtype=F32),
     sample(start=5.0, end=-2.0, step=-2.0, dtype=I32),
     sample(start=3.0, end=3.0, step=1.0, dtype=F64), **ONCE)
case("linspace", linspace,
     *(sample(start=-1.0, end=3.0, steps=steps, dtype=dtype)
       for steps in (0, 1, 2, 7, 100) for dtype in (F32, F64)), **ONCE)
case("logspace", logspace,
     sample(start=-1.0, end=2.0, steps=9, base=10.0, dtype=F32),
     sample(start=0.0, end=8.0, steps=9, base=2.0, dtype=F64), **ONCE)
case("eye", eye,
     sample(n=3, m=5, dtype=F32), sample(n=4, m=4, dtype=I64), sample(n=0, m=2, dtype=F64), **ONCE)
for name, reference in (("tril_indices", tril_indices), ("triu_indices", triu_indices)):
    case(name, reference,
         *(sample(row=4, col=5, offset=offset) for offset in (-9, -2, 0, 1, 9)),
         sample(row=5, col=3, offset=0), sample(row=0, col=3, offset=0), **ONCE)
case("full_like", lambda x, fill_value: torch.full_like(x, fill_value),
     sample(real(2, 3), fill_value=2.0), dtypes=ALL, native=True)
case("zeros_like", torch.zeros_like, sample(real(2, 3)), dtypes=ALL, native=True)
case("ones_like", torch.ones_like, sample(real(2, 3)), dtypes=ALL, native=True)


def same_spec(inputs, outputs, attributes):
    right = outputs[0].shape == inputs[0].shape and outputs[0].dtype == inputs[0].dtype
    return None if right else "another shape or dtype"


case("empty_like", None, sample(real(2, 3)), dtypes=ALL, verify=same_spec, threads=False)

refuses("arange", sample(start=0.0, end=5.0, step=-1.0, dtype=F32), "no steps of -1")
refuses("linspace", sample(start=0.0, end=5.0, steps=-1, dtype=F32), "-1 steps")
refuses("eye", sample(n=-1, m=2, dtype=F32), "negative")
refuses("tril_indices", sample(row=-1, col=2, offset=0), "-1 rows")
