"""Cases of the ops in src/ops/binary.c."""
import torch

from harness import (ALL, F32_F64, INTEGERS, away, boolean, case, distinct, exactly,
                     positive, real, refuses, sample)

INF, NAN = float("inf"), float("nan")

case("pow", torch.pow,
     sample(positive(3, 5), real(3, 5)),
     sample(positive(4, 1, 3), real(5, 1)),
     sample(positive(7), real()),
     sample(positive(150, 333), real(150, 333)),
     *(sample(away(3, 5), power) for power in (2, 3, 1, 0, 2.0, 3.0, -1, -2)),
     *(sample(positive(3, 5), power) for power in (0.5, -0.5, 1.7)),
     sample(2.5, real(3, 4)))
case("pow", torch.pow,
     sample(exactly([0.0, 0.0, 2.0, -2.0, INF, NAN]), exactly([0.0, 2.0, 0.0, 3.0, 0.0, 0.0])),
     dtypes=F32_F64, finite=False, gradgrad=False)
case("pow", torch.pow, sample(real(3, 5), 3), sample(real(3, 5), positive(3, 5)), dtypes=INTEGERS)
refuses("pow", sample(real(3), -2), "negative", dtype=torch.int64)

for name in ("maximum", "minimum"):
    function = getattr(torch, name)
    case(name, function,
         sample(distinct(6, 5), distinct(6, 5, low=-2.9, high=2.7)),
         sample(distinct(4, 1, 3), distinct(5, 1, low=-2.9, high=2.7)),
         sample(distinct(7), distinct(low=0.2, high=0.3)))
    case(name, function, sample(exactly([1.0, NAN, 2.0, 3.0]), exactly([NAN, 1.0, 2.0, -3.0])),
         dtypes=F32_F64, finite=False)
    case(name, function, sample(real(3, 5), real(3, 5)), dtypes=INTEGERS)


# Nowhere near a jump, so that finite differences stay on one side.
EXACT = (sample(real(3, 5, low=0.1, high=0.9), real(3, 5, low=1.1, high=2)),
         sample(real(4, 1, 3, low=2.1, high=2.9), real(5, 1, low=1.5, high=2)),
         sample(real(30, 5, low=-2.9, high=-2.6), real(30, 5, low=0.9, high=1.2)))
for name in ("fmod", "remainder"):
    case(name, getattr(torch, name), *EXACT, dtypes=F32_F64)
for name in ("fmod", "remainder", "floor_divide"):
    function = getattr(torch, name)
    case(name, function, sample(real(30, 50), away(30, 50)), sample(real(7), positive()),
         dtypes=F32_F64, gradient=False)
    case(name, function,
         sample(exactly([5.0, -5.0, 5.0, -5.0, 0.0, INF, 1.0, NAN, 1.0, 6.0]),
                exactly([3.0, 3.0, -3.0, -3.0, 2.0, 2.0, INF, 1.0, 0.0, 2.0])),
         dtypes=F32_F64, gradient=False)
    case(name, function, sample(real(30, 5, low=-100, high=100), real(30, 5, low=1, high=9)),
         sample(real(30, 5, low=-100, high=100), exactly([-3])), dtypes=(torch.int64, torch.int32))
    refuses(name, sample(exactly([1, 2]), exactly([1, 0])), "zero", dtype=torch.int32)

case("atan2", torch.atan2,
     sample(away(3, 5), away(3, 5)),
     sample(away(4, 1, 3), away(5, 1)),
     sample(away(150, 333), away(150, 333)))
case("lerp", torch.lerp,
     sample(real(3, 5), real(3, 5), real(3, 5, low=-1, high=2)),
     sample(real(4, 1, 3), real(5, 1), away(low=-1, high=2, points=(0.5,))),
     sample(real(150, 333), real(150, 333), real(150, 333, low=0, high=1)),
     dtypes=F32_F64)
case("lerp", torch.lerp, sample(real(3, 5), real(3, 5), 0.3), sample(real(3, 5), real(3, 5), 0.7))
case("addcmul", torch.addcmul,
     sample(real(3, 5), real(3, 5), real(3, 5), value=1.0),
     sample(real(4, 1, 3), real(5, 1), real(4, 5, 3), value=-2.5),
     sample(real(150, 333), real(150, 333), real(150, 333), value=0.1))
case("addcdiv", torch.addcdiv,
     sample(real(3, 5), real(3, 5), positive(3, 5), value=1.0),
     sample(real(4, 1, 3), real(5, 1), positive(4, 5, 3), value=-2.5),
     sample(real(150, 333), real(150, 333), positive(150, 333), value=0.1))


def clamp(x, min=-INF, max=INF):
    return torch.clamp(x, None if min == -INF else min, None if max == INF else max)


def kinked(*shape):
    return away(*shape, points=(-1.0, 1.5))


case("clamp", clamp,
     sample(kinked(3, 5), min=-1.0, max=1.5),
     sample(kinked(2, 3, 4), min=-1.0, max=INF),
     sample(kinked(7), min=-INF, max=1.5),
     sample(kinked(150, 333), min=-1.0, max=1.5))
case("clamp", clamp, sample(exactly([NAN, INF, -INF, 0.0]), min=-1.0, max=1.5), dtypes=F32_F64,
     finite=False)
case("clamp", clamp, sample(real(5, 7, low=-9, high=9), min=-2, max=3),
     sample(real(5, 7, low=-9, high=9), min=-2, max=INF), dtypes=INTEGERS[:4])

for name in ("where", "_s_where"):
    case(name, torch.where,
         sample(boolean(3, 5), real(3, 5), real(3, 5)),
         sample(boolean(4, 1, 3), real(5, 1), real(4, 5, 3)),
         sample(boolean(7), real(), real(7)),
         sample(boolean(150, 333), real(150, 333), real(333)),
         dtypes=ALL)
case("where", torch.where,
     sample(boolean(3, 5), real(3, 5).of(torch.float32), real(3, 5).of(torch.float64)),
     dtypes=(torch.float32,))
refuses("where", sample(real(3), real(3), real(3)), "bool")
