"""Cases of the ops in src/ops/scatter_reduce.c."""
import torch

from harness import F32_F64, case, choice, distinct, exactly, integer, real, refuses, sample

SUM, PROD, MEAN, AMAX, AMIN = (choice(word, code) for code, word in enumerate(
    ("sum", "prod", "mean", "amax", "amin")))


def scatter_reduce(x, index, source, dim, reduce, include_self):
    return x.scatter_reduce(dim, index, source, reduce, include_self=include_self)


for reduce in (SUM, MEAN, PROD, AMAX, AMIN):
    for include_self in (True, False):
        case("scatter_reduce", scatter_reduce,
             sample(distinct(3, 5), integer(3, 6, high=4), distinct(3, 6), dim=1, reduce=reduce,
                    include_self=include_self),
             sample(distinct(4, 3), integer(7, 3, high=3), distinct(7, 3), dim=0, reduce=reduce,
                    include_self=include_self),
             dtypes=F32_F64, empty=False, zero_dim=False)
case("scatter_reduce", scatter_reduce,
     sample(exactly([[1.0, 0.0, 2.0]]), exactly([[0, 0, 1, 2, 2]], torch.int64),
            exactly([[3.0, 0.0, 0.0, 0.0, 0.0]]), dim=1, reduce=PROD, include_self=True),
     dtypes=F32_F64, empty=False, zero_dim=False, gradgrad=False, finite=False,
     layouts=("contiguous",))
case("scatter_combine", scatter_reduce,
     sample(distinct(3, 5), integer(3, 6, high=4), distinct(3, 6), dim=1, reduce=AMAX,
            include_self=True),
     dtypes=F32_F64 + (torch.int64, torch.int32, torch.uint8), empty=False, zero_dim=False)

refuses("scatter_reduce", sample(real(3, 5), integer(3, 6, high=4), real(3, 6), dim=2, reduce=SUM,
                                 include_self=True), "dim 2")
refuses("scatter_reduce", sample(real(3, 5), exactly([[9]], torch.int64), real(1, 1), dim=1,
                                 reduce=AMAX, include_self=True), "index 9")
