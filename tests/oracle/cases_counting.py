"""Cases of the ops in src/ops/counting.c."""
import math

import torch

from harness import (F32_F64, INTEGERS, case, exactly, integer, positive, real, refuses,
                     sample)


def unique(x):
    return torch.unique(x, return_inverse=True, return_counts=True)


def searchsorted(sorted, values, right):
    return torch.searchsorted(sorted.contiguous(), values.contiguous(), right=right)


def bucketize(values, boundaries, right):
    return torch.bucketize(values.contiguous(), boundaries.contiguous(), right=right)


SPREAD = ("contiguous", "transposed", "sliced")
LEVELS = exactly([-2, -1, -1, 0, 2, 2, 3], grad=False)
ROWS = exactly([[-2, -1, 0, 2], [-3, -3, 1, 2]], grad=False)

case("unique", unique,
     sample(real(4, 25)), sample(integer(300, low=-4, high=9)), sample(real(3)),
     dtypes=INTEGERS, native=True, meta=False, gradient=False)
case("unique", unique, sample(exactly([[1.5, -0.5, 1.5], [2.0, -0.5, 7.0]])),
     dtypes=F32_F64, meta=False, gradient=False)
for right in (False, True):
    case("searchsorted", searchsorted,
         sample(LEVELS, real(3, 4), right=right),
         sample(ROWS, real(2, 5), right=right),
         dtypes=(torch.float32, torch.float64, torch.int64, torch.int32), native=True,
         gradient=False, empty=False, zero_dim=False, layouts=SPREAD)
    case("bucketize", bucketize,
         sample(real(3, 4), LEVELS, right=right),
         dtypes=(torch.float32, torch.float64, torch.int64), native=True, gradient=False,
         empty=False, zero_dim=False, layouts=SPREAD)
case("_searchsorted", searchsorted,
     sample(LEVELS, exactly([math.nan, 2.0, -math.inf], grad=False), right=False),
     sample(LEVELS, exactly([2, -3, 0, 9], grad=False), right=True),
     dtypes=(torch.float64,), gradient=False, empty=False, zero_dim=False,
     layouts=SPREAD)
case("bincount", lambda x, minlength: torch.bincount(x, minlength=minlength),
     sample(integer(50, high=7), minlength=0),
     sample(integer(50, high=7), minlength=12),
     sample(integer(0, high=7), minlength=3),
     meta=False, gradient=False, zero_dim=False)
case("bincount", lambda x, weights, minlength: torch.bincount(x, weights, minlength),
     sample(integer(50, high=7), positive(50), minlength=3),
     dtypes=F32_F64, meta=False, gradient=False, empty=False, zero_dim=False)
case("histc", torch.histc,
     sample(real(3, 40), bins=10, min=-2.0, max=2.0),
     sample(real(200), bins=7, min=0.0, max=0.0),
     sample(exactly([1.0, 1.0]), bins=4, min=0.0, max=0.0),
     dtypes=F32_F64, gradient=False, empty=False, layouts=SPREAD)

refuses("searchsorted", sample(real(2, 3), real(3, 2), right=False), r"\(2, 3\)")
refuses("bucketize", sample(real(3), real(2, 2), right=False), "dimensions")
refuses("bincount", sample(exactly([1, -1], torch.int64), minlength=0), "element 1 is -1")
refuses("bincount", sample(real(3), minlength=0), "integers, not float32")
refuses("histc", sample(real(3), bins=0, min=0.0, max=1.0), "0 bins")
refuses("histc", sample(real(3), bins=2, min=1.0, max=0.0), "empty")
