"""Cases of the ops in src/ops/joining.c."""
import torch

from harness import ALL, case, integer, real, refuses, sample


def cat(*tensors, dim):
    return torch.cat(tensors, dim)


def stack(*tensors, dim):
    return torch.stack(tensors, dim)


case("cat", cat,
     sample(real(2, 3), real(4, 3), dim=0),
     sample(real(2, 3), real(2, 1), real(2, 2), dim=-1),
     sample(real(2, 3), real(0), dim=1),
     sample(real(2, 3), real(2, 0), dim=1),
     sample(real(5), dim=0),
     sample(real(64, 300), real(64, 200), dim=1),
     dtypes=ALL, native=True, empty=False)
case("cat", cat, sample(real(2, 3), integer(2, 3), dim=0), empty=False)
case("stack", stack,
     sample(real(2, 3), real(2, 3), dim=0),
     sample(real(2, 3), real(2, 3), real(2, 3), dim=-1),
     sample(real(), real(), dim=0),
     dtypes=ALL, native=True, empty=False)

refuses("cat", sample(real(2, 3), real(2, 4), dim=0), r"\(2, 4\).*\(2, 3\)")
refuses("cat", sample(real(), real(), dim=0), "dimensions")
refuses("cat", sample(real(2, 3), real(2, 3), dim=2), "dim 2")
refuses("stack", sample(real(2, 3), real(2, 4), dim=0), "shape")
