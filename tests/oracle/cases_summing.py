"""Cases of the ops in src/ops/summing.c."""
import torch

from harness import ALL, FLOATS, case, real, refuses, sample


def total(x, dims=(), keepdim=False):
    return torch.sum(x, dims or tuple(range(x.dim())), keepdim) if x.dim() else x.sum()


SAMPLES = (
    sample(real(3, 5)),
    sample(real(3, 5), dims=(0,)),
    sample(real(3, 5), dims=(-1,), keepdim=True),
    sample(real(2, 3, 4), dims=(0, 2)),
    sample(real(2, 3, 4, 5), dims=(1, 3), keepdim=True),
    sample(real()),
    sample(real(2, 0, 3), dims=(1,)),
    sample(real(70, 900), dims=(1,)),
    sample(real(900, 70), dims=(0,)),
    sample(real(3, 40, 50, 7), dims=(0, 2)),
    sample(real(600, 90), dims=()),
    sample(real(900, 3), dims=(1,)),
    sample(real(900, 3), dims=(0,)),
)

case("sum", total, *SAMPLES, dtypes=FLOATS)
case("sum", total, *SAMPLES[:6], dtypes=tuple(d for d in ALL if d not in FLOATS))



def mean(x, dims=(), keepdim=False):
    return torch.mean(x, dims or tuple(range(x.dim())), keepdim) if x.dim() else x.mean()


case("mean", mean, *SAMPLES[:6], *SAMPLES[7:])
refuses("mean", sample(real(2, 3)), "floating", dtype=torch.int64)
refuses("sum", sample(real(2, 3), dims=(2,)), "dim")
refuses("sum", sample(real(2, 3), dims=(0, -2)), "twice")
