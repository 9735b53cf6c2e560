"""Cases of the ops in src/ops/ordering.c."""
import math

import torch

from harness import ALL, NUMBERS, case, distinct, exactly, real, refuses, sample


def sort(x, dim, descending):
    return tuple(torch.sort(x, dim=dim, descending=descending, stable=True))


def topk(x, k, dim, smallest):
    """By sort: torch.topk (1.13) has no float16."""
    return tuple(part.narrow(dim, 0, k) for part in sort(x, dim, not smallest))


def kthvalue(x, k, dim, keepdim):
    return tuple(torch.kthvalue(x, k, dim, keepdim))


def argmax(x, dims, keepdim):
    return x.argmax(dims[0], keepdim) if dims else x.argmax()


def argmin(x, dims, keepdim):
    return x.argmin(dims[0], keepdim) if dims else x.argmin()


MIXED = exactly([[3.0, math.nan, -0.0, 0.0, -math.inf, math.inf, math.nan, -2.5]], grad=False)

case("sort", sort,
     sample(distinct(3, 5), dim=1, descending=False),
     sample(distinct(5, 3), dim=0, descending=True),
     sample(distinct(2, 7, 3), dim=-2, descending=False),
     sample(distinct(1, 90), dim=1, descending=True),
     dtypes=NUMBERS, native=True)
case("sort", sort,                                     # equal elements keep their order
     sample(real(4, 200), dim=1, descending=False),
     sample(real(4, 200), dim=1, descending=True),
     sample(real(300, 5), dim=0, descending=True),
     dtypes=(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8), native=True)
case("sort", sort,
     sample(MIXED, dim=1, descending=False),
     sample(MIXED, dim=1, descending=True),
     layouts=("contiguous",), gradient=False, native=True)
case("sort", sort, sample(distinct(2, 500), dim=1, descending=False),
     dtypes=(torch.float32, torch.float64))
case("argsort", lambda x, dim, descending: sort(x, dim, descending)[1],
     sample(distinct(3, 5), dim=1, descending=True),
     sample(real(3, 60), dim=-1, descending=False), dtypes=ALL, native=True)
case("topk", topk,
     sample(distinct(3, 5), k=2, dim=1, smallest=False),
     sample(distinct(3, 9), k=2, dim=1, smallest=True),
     sample(distinct(9, 3), k=9, dim=0, smallest=False),
     sample(distinct(2, 30), k=1, dim=-1, smallest=False),
     dtypes=NUMBERS, native=True, empty=False)
case("topk", topk, sample(distinct(2, 500), k=50, dim=1, smallest=False),
     dtypes=(torch.float32, torch.float64))
case("kthvalue", kthvalue,
     sample(distinct(3, 5), k=2, dim=1, keepdim=False),
     sample(distinct(5, 3), k=5, dim=0, keepdim=True),
     native=True, empty=False, dtypes=(torch.float32, torch.float64, torch.int64))
for name, reference in (("argmax", argmax), ("argmin", argmin)):
    case(name, reference,
         sample(distinct(3, 5), dims=(1,), keepdim=False),
         sample(distinct(5, 3), dims=(0,), keepdim=True),
         sample(distinct(2, 7, 3), dims=(-2,), keepdim=False),
         sample(distinct(3, 5), dims=(), keepdim=False),
         sample(distinct(3, 30), dims=(1,), keepdim=False),
         dtypes=NUMBERS, native=True, empty=False)
    case(name, reference, sample(MIXED, dims=(1,), keepdim=False),
         layouts=("contiguous",), native=True, empty=False)
    refuses(name, sample(real(0, 3), dims=(0,), keepdim=False), "no elements")
    refuses(name, sample(real(2, 3), dims=(2,), keepdim=False), "dim 2")

refuses("sort", sample(real(2, 3), dim=2, descending=False), "dim 2")
refuses("topk", sample(real(2, 3), k=4, dim=1, smallest=False), "k = 4 .* size 3")
refuses("kthvalue", sample(real(2, 3), k=0, dim=1, keepdim=False), "k = 0")
