"""Cases of the ops in src/ops/reducing.c."""
import math

import torch

from harness import (ALL, F32_F64, FLOATS, NUMBERS, away, case, distinct, exactly, positive, real,
                     refuses, sample)

NAN = float("nan")
OTHERS = tuple(d for d in ALL if d not in FLOATS)


def every(x, dims):
    return tuple(dims) or tuple(range(x.dim()))


def over(function):
    """A function of PyTorch that takes dims, with none meaning all."""
    def reduced(x, dims=(), keepdim=False, **options):
        if not x.dim():
            return function(x.reshape(1), 0, False, **options)
        return function(x, every(x, dims), keepdim, **options)
    return reduced


def one_by_one(function):
    """The same for functions that take a single dim."""
    def reduced(x, dims=(), keepdim=False):
        if not x.dim():
            return function(x.reshape(1), 0)
        for d in sorted((d % x.dim() for d in every(x, dims)), reverse=True):
            x = function(x, d, True)
        if keepdim:
            return x
        sizes = [n for d, n in enumerate(x.shape) if d not in [k % x.dim() for k in every(x, dims)]]
        return x.reshape(sizes)
    return reduced


def shapes(make):
    return (
        sample(make(3, 5)),
        sample(make(3, 5), dims=(0,)),
        sample(make(3, 5), dims=(-1,), keepdim=True),
        sample(make(2, 3, 4), dims=(0, 2)),
        sample(make(2, 3, 4, 5), dims=(1, 3), keepdim=True),
        sample(make()),
        sample(make(40, 90), dims=(0,)),
        sample(make(90, 40), dims=(1,)),
    )


LARGE = sample(real(300, 200))
WIDE = sample(real(300, 200), dims=(0,))

case("prod", one_by_one(torch.prod), *shapes(lambda *s: positive(*s, low=0.7, high=1.3)), loosen=3)
case("prod", one_by_one(torch.prod), *shapes(real)[:6], dtypes=OTHERS)
ZEROS = ([[2.0, 0.0, 3.0], [0.0, 4.0, 0.0], [1.0, 2.0, 3.0], [0.0, 1.0, -2.0]])
case("prod", one_by_one(torch.prod), sample(exactly(ZEROS), dims=(1,)),
     sample(exactly(ZEROS), dims=(0,)), sample(exactly(ZEROS)), sample(exactly([0.0, 2.0, 5.0])),
     dtypes=F32_F64, zero_dim=False)

case("amax", over(torch.amax), *shapes(distinct), loosen=1)
case("amin", over(torch.amin), *shapes(distinct))
case("amax", over(torch.amax), *shapes(real)[:6], dtypes=OTHERS)
case("amin", over(torch.amin), *shapes(real)[:6], dtypes=OTHERS)
TIES = sample(exactly([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), dims=(1,))
case("amax", over(torch.amax), TIES, dtypes=F32_F64, finite=False, zero_dim=False)
case("amin", over(torch.amin), TIES, dtypes=F32_F64, finite=False, zero_dim=False)
NANS = sample(exactly([[1.0, NAN, 2.0], [3.0, 4.0, -math.inf]]).frozen(), dims=(1,))
case("amax", over(torch.amax), NANS, sample(exactly([NAN, 1.0]).frozen()), dtypes=F32_F64,
     zero_dim=False)
case("amin", over(torch.amin), NANS, sample(exactly([1.0, NAN]).frozen()), dtypes=F32_F64,
     zero_dim=False)
case("max", torch.max, sample(distinct(3, 5)), sample(distinct(300, 200)), dtypes=F32_F64)
case("min", torch.min, sample(distinct(3, 5)), sample(distinct(300, 200)), dtypes=F32_F64)
refuses("amax", sample(real(2, 0), dims=(1,)), "no elements")
refuses("min", sample(real(0)), "no elements")

MASKS = shapes(lambda *s: exactly(torch.arange(math.prod(s)).reshape(s) % 3 % 2))
case("any", one_by_one(torch.any), *MASKS, *shapes(real)[:6], dtypes=ALL)
case("all", one_by_one(torch.all), *MASKS, *shapes(positive)[:6], dtypes=ALL)
case("count_nonzero", lambda x, dims=(): torch.count_nonzero(x, every(x, dims)) if x.dim() else
     torch.count_nonzero(x), *(s for s in MASKS if not s.attributes.get("keepdim")), dtypes=ALL)

HOLES = exactly([[1.0, NAN, 2.0], [3.0, 4.0, NAN], [NAN, NAN, NAN]])
case("nansum", over(torch.nansum), *shapes(real), sample(HOLES, dims=(1,)), sample(HOLES))
case("nansum", over(torch.nansum), *shapes(real)[:6], dtypes=OTHERS)
case("nanmean", over(torch.nanmean), *shapes(real), empty=False)
case("nanmean", over(torch.nanmean), sample(HOLES, dims=(1,)), sample(HOLES), finite=False,
     empty=False, zero_dim=False)


def norm(x, dims=(), keepdim=False, p=0.0):
    return torch.norm(x, p, every(x, dims), keepdim) if x.dim() else x.abs() ** bool(p)


for order in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf, -math.inf):
    samples = [sample(*s.inputs, **s.attributes, p=order) for s in
               shapes(lambda *s: away(*s) if order not in (math.inf, -math.inf) else
                      distinct(*s, low=0.1))
               if s.inputs[0].shape]
    case("norm", norm, *samples, loosen=3, empty=not math.isinf(order))
case("norm", norm, sample(exactly([[0.0, 0.0], [3.0, 4.0]]), dims=(1,), p=2.0), dtypes=F32_F64,
     finite=False, gradgrad=False, zero_dim=False)
refuses("norm", sample(real(3), p=2.0), "floating", dtype=torch.int64)

case("logsumexp", over(torch.logsumexp), *shapes(real), LARGE, WIDE)
case("logsumexp", over(torch.logsumexp), dtypes=F32_F64, layouts=("contiguous", "transposed"),
     *(sample(exactly([[-math.inf, -math.inf], [math.inf, 1.0], [1e4, 2.0], [NAN, 1.0]]).frozen(),
              dims=(d,)) for d in (0, 1)))
case("native_logsumexp", over(torch.logsumexp), *shapes(real)[:6], dtypes=F32_F64)


def variance(function):
    def reduced(x, dims=(), keepdim=False, correction=0.0):
        return function(x, every(x, dims), correction=int(correction), keepdim=keepdim)
    return reduced


SPREADS = [sample(*s.inputs, **s.attributes, correction=c) for s in shapes(real) for c in (1.0, 0.0)
           if s.inputs[0].shape]
for name, function in (("var", torch.var), ("std", torch.std), ("var_mean", torch.var_mean),
                       ("std_mean", torch.std_mean)):
    case(name, variance(function), *SPREADS, loosen=3, empty=False, zero_dim=False,
         layouts=("contiguous", "transposed", "sliced"))
    case(name, variance(function), sample(real(300, 200), correction=1.0),
         sample(real(1, 3), dims=(0,), correction=1.0), dtypes=F32_F64, gradient=False)
case("native_var_mean", variance(torch.var_mean), *SPREADS[:6], dtypes=F32_F64, loosen=3,
     empty=False, zero_dim=False, layouts=("contiguous", "transposed", "sliced"))
refuses("var", sample(real(3), correction=1.0), "floating", dtype=torch.int64)
case("sum", lambda x, dims=(): x.sum(dims or tuple(range(x.dim()))), LARGE, WIDE,
     dtypes=NUMBERS[4:], gradient=False)
