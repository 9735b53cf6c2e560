"""Cases of the ops in src/ops/slicing.c."""
import torch

from harness import ALL, case, real, refuses, sample

END = 2**63 - 1


def slice_dim(x, dim, start, end, step):
    index = [slice(None)] * x.dim()
    index[dim] = slice(start, None if end == END else end, step)
    return x[tuple(index)]


case("slice", slice_dim,
     sample(real(4, 6), dim=1, start=1, end=5, step=2),
     sample(real(4, 6), dim=0, start=-3, end=-1, step=1),
     sample(real(4, 6), dim=-1, start=0, end=END, step=3),
     sample(real(4, 6), dim=0, start=3, end=1, step=1),
     sample(real(300, 200), dim=0, start=7, end=END, step=2),
     dtypes=ALL, native=True)
case("narrow", torch.narrow,
     sample(real(4, 6), dim=1, start=2, length=3),
     sample(real(4, 6), dim=0, start=-2, length=2),
     sample(real(4, 6), dim=0, start=4, length=0), empty=False)
case("select", torch.select,
     sample(real(4, 6), dim=1, index=-1),
     sample(real(2, 3, 4), dim=0, index=1), empty=False)
case("diagonal", torch.diagonal,
     sample(real(4, 6), offset=0, dim1=0, dim2=1),
     sample(real(4, 6), offset=-2, dim1=0, dim2=1),
     sample(real(2, 4, 6), offset=3, dim1=1, dim2=-1),
     sample(real(4, 2, 3), offset=1, dim1=2, dim2=0),
     sample(real(4, 6), offset=9, dim1=0, dim2=1))
case("diag_embed", torch.diag_embed,
     sample(real(2, 3), offset=0, dim1=-2, dim2=-1),
     sample(real(2, 3), offset=1, dim1=0, dim2=2),
     sample(real(4), offset=-2, dim1=0, dim2=1))
case("unfold_dim", lambda x, dimension, size, step: x.unfold(dimension, size, step),
     sample(real(2, 7), dimension=1, size=3, step=2),
     sample(real(2, 7), dimension=1, size=3, step=1),
     sample(real(6, 3), dimension=0, size=2, step=2),
     sample(real(2, 5), dimension=-1, size=1, step=3),
     sample(real(), dimension=0, size=1, step=1), empty=False)
case("_slice_place", lambda x, shape, size, stride, offset: x.as_strided(size, stride, offset),
     sample(real(4, 6), shape=(4, 6), size=(2, 3), stride=(12, 2), offset=1),
     layouts=("contiguous",), empty=False)

refuses("slice", sample(real(4), dim=0, start=3, end=0, step=-1), "cr_flip")
refuses("slice", sample(real(4), dim=1, start=0, end=1, step=1), "dim 1")
refuses("narrow", sample(real(4), dim=0, start=2, length=3), "size 4")
refuses("select", sample(real(4), dim=0, index=4), "index 4.*size 4")
refuses("diagonal", sample(real(4, 4), offset=0, dim1=1, dim2=1), "both 1")
refuses("diag_embed", sample(real(4), offset=0, dim1=0, dim2=0), "both 0")
refuses("unfold_dim", sample(real(4), dimension=0, size=5, step=1), "windows of 5")
refuses("unfold_dim", sample(real(4), dimension=0, size=2, step=0), "step 0")
