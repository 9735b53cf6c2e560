"""Cases of the ops in src/ops/unary.c."""
import torch

from harness import (ALL, F32_F64, INTEGERS, NUMBERS, away, case, exactly, positive, real, refuses,
                     sample)

INF, NAN = float("inf"), float("nan")
EDGES = exactly([0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 1e-30, -1e-30, 50.0, -50.0, 100.0, -100.0, 1e30,
                 -1e30, INF, -INF, NAN]).frozen()


def shapes(make):
    return (sample(make(3, 5)), sample(make(2, 3, 4)), sample(make(7, 1, 3)), sample(make(1100)),
            sample(make(150, 333)))


def unit(*shape):
    return real(*shape, low=-0.9, high=0.9)


SMOOTH = {
    "exp": real, "expm1": real, "sin": real, "cos": real, "tan": unit, "asin": unit, "acos": unit,
    "atan": real, "sinh": real, "cosh": real, "tanh": real, "erf": real, "sigmoid": real,
    "log": positive, "log2": positive, "log10": positive, "sqrt": positive, "rsqrt": positive,
    "reciprocal": positive, "neg": real, "square": real,
    "log1p": lambda *shape: real(*shape, low=-0.8, high=3),
}
KEEP_DTYPE = ("neg", "square", "abs", "sign", "floor", "ceil", "round", "trunc")

for name, make in SMOOTH.items():
    function = getattr(torch, name)
    case(name, function, *shapes(make))
    case(name, function, sample(EDGES), dtypes=F32_F64, gradient=False)
    if name not in KEEP_DTYPE:
        case(name, function, sample(make(3, 5)), dtypes=INTEGERS + (torch.bool,), gradient=False)

case("abs", torch.abs, *shapes(away))
case("sign", torch.sign, *shapes(away))
for name in ("floor", "ceil", "round", "trunc"):
    case(name, getattr(torch, name), *shapes(away))
    case(name, getattr(torch, name),
         sample(exactly([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.0, 1e20, INF, -INF, NAN]).frozen()),
         dtypes=F32_F64)
for name in KEEP_DTYPE:
    case(name, getattr(torch, name), sample(real(4, 7)), dtypes=INTEGERS)
refuses("neg", sample(real(3)), "bool", dtype=torch.bool)

for name in ("isnan", "isinf", "isfinite"):
    case(name, getattr(torch, name), sample(EDGES), sample(real(5, 7)), dtypes=NUMBERS)
case("logical_not", torch.logical_not, sample(real(5, 7, low=-1, high=1)),
     sample(exactly([0.0, -0.0, 1.0, NAN])), dtypes=ALL)
case("bitwise_not", torch.bitwise_not, sample(real(5, 7)), dtypes=INTEGERS + (torch.bool,))
refuses("bitwise_not", sample(real(3)), "float32")
