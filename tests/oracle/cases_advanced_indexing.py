"""Cases of the ops in src/ops/advanced_indexing.c."""
import torch

from harness import ALL, boolean, case, exactly, integer, real, refuses, sample


def subscript(x, indices, dims):
    where = [slice(None)] * x.dim()
    for dim, index in zip(dims, indices):
        where[dim] = index
        if index.dtype == torch.bool:
            del where[dim + 1:dim + index.dim()]
    return tuple(where)


def index(x, *indices, dims):
    return x[subscript(x, indices, dims)]


def index_put(x, values, *indices, dims, accumulate):
    out = x.clone()
    return torch.ops.aten.index_put(out, [None if isinstance(i, slice) else i
                                          for i in subscript(x, indices, dims)],
                                    values.to(x.dtype), accumulate)


case("index", index,
     sample(real(4, 5, 3), integer(6, low=-4, high=3), dims=(0,)),
     sample(real(4, 5, 3), integer(2, 6, high=4), dims=(1,)),
     sample(real(4, 5, 3), integer(6, high=3), integer(6, high=4), dims=(0, 1)),
     sample(real(4, 5, 3), integer(6, 1, high=4), integer(2, high=2), dims=(1, 2)),
     sample(real(4, 5, 3), integer(6, high=3), integer(6, high=2), dims=(0, 2)),
     sample(real(2, 4, 5, 3), integer(6, high=3), integer(2, 6, high=2), dims=(1, 3)),
     sample(real(4, 5), integer(high=3), dims=(0,)),
     dtypes=ALL, native=True, empty=False, zero_dim=False)
case("index", index,
     sample(real(4, 5), boolean(4), dims=(0,)),
     sample(real(4, 5, 3), boolean(4, 5), dims=(0,)),
     sample(real(4, 5, 3), boolean(5), dims=(1,)),
     meta=False, empty=False, zero_dim=False)
case("index_put", index_put,
     sample(real(4, 5, 3), real(3, 5, 3), exactly([3, 0, 2], torch.int64), dims=(0,),
            accumulate=False),
     sample(real(4, 5, 3), real(3, 1), exactly([3, 0, 2], torch.int64),
            exactly([1, 4, 4], torch.int64), dims=(0, 1), accumulate=False),
     sample(real(4, 5, 3), real(), exactly([-1, 0], torch.int64), dims=(1,), accumulate=False),
     empty=False, zero_dim=False)
case("index_put", index_put,
     sample(real(4, 5, 3), real(6, 5, 3), integer(6, high=3), dims=(0,), accumulate=True),
     sample(real(4, 5, 3), real(4, 6), integer(6, high=4), integer(6, high=2), dims=(1, 2),
            accumulate=True),
     sample(real(4, 5, 3), real(6, 1), integer(6, high=3), integer(6, high=2), dims=(0, 2),
            accumulate=True),
     empty=False, zero_dim=False)

refuses("index", sample(real(4, 5), exactly([4], torch.int64), dims=(0,)),
        "index 4 .*dimension 0 of size 4")
refuses("index", sample(real(4, 5), integer(2, high=3), integer(3, high=3), dims=(0, 1)),
        "broadcast")
refuses("index", sample(real(4, 5), boolean(5), dims=(0,)), "mask")
refuses("index", sample(real(4, 5), integer(2, high=3), dims=(2,)), "not one of")
