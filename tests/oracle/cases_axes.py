"""Cases of the ops in src/ops/axes.c."""
import torch

from harness import ALL, case, real, refuses, sample

case("permute", torch.permute,
     sample(real(2, 3, 4), dims=(2, 0, 1)),
     sample(real(2, 3, 4), dims=(-1, 1, 0)),
     sample(real(2, 1, 3, 4), dims=(0, 2, 3, 1)),
     dtypes=ALL, native=True, empty=False)
case("transpose", torch.transpose,
     sample(real(2, 3, 4), dim0=0, dim1=-1),
     sample(real(3, 4), dim0=1, dim1=1),
     sample(real(), dim0=0, dim1=-1), empty=False)
case("t", torch.t, sample(real(3, 4)), sample(real(3)), sample(real()))
case("movedim", torch.movedim,
     sample(real(2, 3, 4), source=(0,), destination=(2,)),
     sample(real(2, 3, 4, 5), source=(0, -1), destination=(-1, 1)), empty=False)


def squeeze(x, dims):
    for dim in sorted((d % max(x.dim(), 1) for d in dims), reverse=True):
        x = x.squeeze(dim)
    return x if dims else x.squeeze()


case("squeeze", squeeze,
     sample(real(2, 1, 3, 1), dims=()),
     sample(real(2, 1, 3, 1), dims=(1,)),
     sample(real(2, 1, 3, 1), dims=(-1, 0)),
     sample(real(1), dims=(0,)), empty=False)
case("unsqueeze", torch.unsqueeze,
     *(sample(real(2, 3), dim=dim) for dim in (-3, -1, 0, 1, 2)),
     sample(real(), dim=0))
case("flatten", torch.flatten,
     sample(real(2, 3, 4), start_dim=0, end_dim=-1),
     sample(real(2, 3, 4, 5), start_dim=1, end_dim=2),
     sample(real(), start_dim=0, end_dim=-1))
case("unflatten", lambda x, dim, sizes: x.unflatten(dim, sizes),
     sample(real(2, 12, 3), dim=1, sizes=(3, -1)),
     sample(real(6), dim=-1, sizes=(2, 3)), empty=False)

refuses("permute", sample(real(2, 3), dims=(0, 0)), "twice")
refuses("permute", sample(real(2, 3), dims=(0,)), "1 dims")
refuses("transpose", sample(real(2, 3), dim0=0, dim1=2), "dim1 2")
refuses("t", sample(real(2, 3, 4)), "dimensions")
refuses("movedim", sample(real(2, 3), source=(0, 1), destination=(0,)), "2 source dims")
refuses("unsqueeze", sample(real(2, 3), dim=3), "dim 3")
refuses("flatten", sample(real(2, 3), start_dim=1, end_dim=0), "before start_dim")
refuses("unflatten", sample(real(2, 3), dim=1, sizes=(2, -1)), "multiply to 3")
