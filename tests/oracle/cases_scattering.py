"""Cases of the ops in src/ops/scattering.c. Indices do not repeat where a plain write would leave
the order open. A source larger than the index is narrowed for PyTorch, which has no gradient for
it."""
import torch

from harness import ALL, case, exactly, integer, real, refuses, sample


def permutations(rows, count, keep=None):
    """(rows, keep): in each row no index of [0, count) twice."""
    rng = torch.Generator().manual_seed(rows)
    order = [torch.randperm(count, generator=rng)[:keep] for _ in range(rows)]
    return exactly(torch.stack(order), torch.int64, grad=False)


def part(source, index):
    return source[tuple(slice(n) for n in index.shape)]


case("scatter", lambda x, index, source, dim:
     x.scatter(dim, index, part(source, index)),
     sample(real(3, 5), permutations(3, 5, 4), real(3, 4), dim=1),
     sample(real(4, 3), permutations(4, 3), real(4, 3), dim=-1),
     sample(real(4, 7), permutations(2, 7, 3), real(3, 5), dim=1),
     sample(real(100, 300), permutations(100, 300), real(100, 300), dim=1),
     dtypes=ALL, native=True, empty=False, zero_dim=False)
case("scatter_add", lambda x, index, source, dim:
     x.scatter_add(dim, index, part(source, index)),
     sample(real(3, 5), integer(3, 6, high=4), real(3, 6), dim=1),
     sample(real(4, 3), integer(8, 3, high=3), real(8, 3), dim=0),
     sample(real(4, 3, 2), integer(2, 5, 2, high=2), real(2, 6, 2), dim=1),
     sample(real(50, 200), integer(300, 200, high=49), real(300, 200), dim=0),
     empty=False)
case("index_copy", lambda x, index, source, dim: x.index_copy(dim, index, source),
     sample(real(5, 3), exactly([4, 0, 2], torch.int64), real(3, 3), dim=0),
     sample(real(2, 5, 3), exactly([1, 3], torch.int64), real(2, 2, 3), dim=1),
     sample(real(3, 5), exactly([1, 3], torch.int64), real(3, 2), dim=-1),
     dtypes=ALL, native=True, empty=False, zero_dim=False)
case("index_add", lambda x, index, source, dim, alpha:
     x.index_add(dim, index, source, alpha=alpha),
     sample(real(5, 3), integer(7, high=4), real(7, 3), dim=0, alpha=1.0),
     sample(real(2, 5, 3), integer(8, high=4), real(2, 8, 3), dim=1, alpha=-2.0),
     sample(real(3, 5), integer(2, high=4), real(3, 2), dim=-1, alpha=0.5),
     sample(real(50, 300), integer(400, high=49), real(400, 300), dim=0, alpha=1.0),
     empty=False, zero_dim=False)
case("index_add", lambda x, index, source, dim, alpha: x.index_add(dim, index, source, alpha=-2),
     sample(real(5, 3), integer(7, high=4), real(7, 3), dim=0, alpha=-2.0),
     dtypes=(torch.int64, torch.int32, torch.int8), empty=False, zero_dim=False)
case("index_fill", lambda x, index, dim, value: x.index_fill(dim, index, value),
     sample(real(5, 3), integer(2, high=4), dim=0, value=2.0),
     sample(real(2, 5, 3), integer(3, high=4), dim=1, value=-1.0), empty=False)

refuses("scatter", sample(real(3, 5), integer(3, 2, high=4), real(3, 1), dim=1),
        r"\(3, 2\).*source.*\(3, 1\)")
refuses("scatter", sample(real(3, 5), exactly([[5]], torch.int64), real(1, 1), dim=1),
        "index 5 at position 0.*size 5")
refuses("scatter_add", sample(real(3, 5), integer(4, 2, high=4), real(4, 2), dim=1), "x of shape")
refuses("index_copy", sample(real(3, 5), integer(2, high=2), real(3, 5), dim=0), "2 entries")
refuses("index_add", sample(real(3, 5), exactly([3], torch.int64), real(1, 5), dim=0, alpha=1.0),
        "index 3")
