"""Cases of the ops in src/ops/along.c."""
import torch

from harness import (ALL, F32_F64, FLOATS, NUMBERS, away, case, choice, distinct, exactly, real,
                     refuses, sample)

NAN = float("nan")
INTEGRAL = tuple(d for d in ALL if d not in FLOATS)
WHOLE = tuple(d for d in NUMBERS if d not in FLOATS)


def shapes(make):
    return (
        sample(make(3, 5), dim=1),
        sample(make(3, 5), dim=0),
        sample(make(2, 3, 4), dim=-2),
        sample(make(7), dim=0),
        sample(make(), dim=0),
        sample(make(2, 5, 70), dim=1),
    )


case("cumsum", torch.cumsum, *shapes(real), sample(real(300, 200), dim=0),
     sample(real(300, 200), dim=1))
case("cumsum", torch.cumsum, *shapes(real), dtypes=INTEGRAL)
case("cumprod", torch.cumprod, *shapes(lambda *s: away(*s, low=-1.5, high=1.5)), loosen=5)
case("cumprod", torch.cumprod, *shapes(real), dtypes=INTEGRAL)
ZEROS = [[2.0, 0.0, 3.0, 1.5], [0.0, 4.0, 0.0, 2.0], [1.0, 2.0, 3.0, -1.0], [0.5, 1.0, -2.0, 0.0]]
case("cumprod", torch.cumprod, sample(exactly(ZEROS), dim=1), sample(exactly(ZEROS), dim=0),
     dtypes=F32_F64)
case("logcumsumexp", torch.logcumsumexp, *shapes(real), loosen=3)
case("logcumsumexp", torch.logcumsumexp, loosen=3, gradient=False, dtypes=F32_F64, zero_dim=False,
     *(sample(exactly([[float("-inf"), 1.0, float("inf"), 2.0], [-500.0, 0.0, 900.0, NAN]]), dim=d)
       for d in (0, 1)))
case("native_scan", lambda x, dim, kind: torch.cumsum(x, dim),
     sample(real(3, 5), dim=1, kind=choice("sum", 0)), dtypes=F32_F64 + (torch.int64,))

EXTREMES = shapes(lambda *s: distinct(*s))
TIES = [[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 5.0, 5.0]]
NANS = [[1.0, NAN, 3.0, NAN], [2.0, 2.0, 5.0, 1.0]]
SPECIAL = [sample(exactly(v).frozen(), dim=d) for v in (TIES, NANS) for d in (0, 1)]
for name, function in (("cummax", torch.cummax), ("cummin", torch.cummin)):
    # PyTorch takes any dim of a tensor without dimensions here.
    case(name, function, *EXTREMES, zero_dim=False)
    case(name, function, *EXTREMES[:4], dtypes=WHOLE, zero_dim=False)
    case(name, function, *SPECIAL, dtypes=F32_F64, zero_dim=False)

for name, function in (("max.dim", torch.max), ("min.dim", torch.min)):
    case(name, function, *EXTREMES, sample(distinct(2, 3, 4), dim=1, keepdim=True),
         sample(distinct(70, 90), dim=0))
    case(name, function, *EXTREMES[:4], dtypes=WHOLE)
    case(name, function, *SPECIAL, dtypes=F32_F64, zero_dim=False)
    refuses(name, sample(real(2, 0), dim=1), "no elements")
    refuses(name, sample(real(2, 3), dim=2), "dim")

MEDIANS = shapes(lambda *s: distinct(*s))
case("median.dim", torch.median, *MEDIANS, sample(distinct(2, 3, 4), dim=1, keepdim=True),
     sample(distinct(40, 91), dim=1))
case("median.dim", torch.median, *MEDIANS[:4], dtypes=WHOLE)
case("median.dim", lambda x, dim: torch.median(x, dim).values,
     sample(exactly(NANS).frozen(), dim=1), sample(exactly(TIES).frozen(), dim=1), dtypes=F32_F64,
     zero_dim=False)
case("median", torch.median, sample(distinct(3, 5)), sample(distinct(3, 4)), sample(distinct()),
     sample(exactly([1.0, NAN, 0.0]).frozen()), empty=False)
