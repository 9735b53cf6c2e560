"""Cases of the ops in src/ops/gathering.c."""
import torch

from harness import ALL, case, exactly, integer, real, refuses, sample

case("index_select", lambda x, index, dim: torch.index_select(x, dim, index),
     sample(real(5, 3), integer(7, high=4), dim=0),
     sample(real(2, 5, 3), integer(4, high=4), dim=1),
     sample(real(3, 5), integer(2, high=4), dim=-1),
     sample(real(3, 5), integer(0, high=4), dim=0),
     sample(real(300, 100), integer(500, high=299), dim=0),
     dtypes=ALL, native=True, empty=False)
case("gather", lambda x, index, dim: torch.gather(x, dim, index),
     sample(real(4, 3), integer(6, 3, high=3), dim=0),
     sample(real(4, 5), integer(3, 2, high=4), dim=1),
     sample(real(2, 4, 5), integer(2, 3, 5, high=3), dim=-2),
     sample(real(200, 150), integer(300, 150, high=199), dim=0),
     sample(real(200, 150), integer(200, 90, high=149), dim=1),
     dtypes=ALL, native=True, empty=False)
case("take_along_dim", lambda x, index, dim: torch.take_along_dim(x, index % x.shape[dim], dim),
     sample(real(4, 3), integer(6, 3, low=-4, high=3), dim=0),
     sample(real(4, 5), integer(1, 2, high=4), dim=1))
case("take", torch.take,
     sample(real(4, 3), integer(2, 5, low=-12, high=11)),
     sample(real(4, 3), integer(high=11)))

refuses("index_select", sample(real(5, 3), exactly([1, 5], torch.int64), dim=0),
        "index 5 at position 1 .* dimension 0 of size 5")
refuses("index_select", sample(real(5), exactly([1, -1], torch.int64), dim=0), "index -1")
refuses("index_select", sample(real(5), exactly([1, 2], torch.int32), dim=0), "int64, not int32")
refuses("gather", sample(real(5, 3), integer(2, 4, high=2), dim=0), r"\(2, 4\).*\(5, 3\)")
refuses("gather", sample(real(5, 3), exactly([[0], [7]], torch.int64), dim=1),
        "index 7 at position 1")
refuses("take", sample(real(5), exactly([-6], torch.int64)), "index -6")
refuses("take_along_dim", sample(real(5, 3), integer(2, high=2), dim=0), "dimensions")
