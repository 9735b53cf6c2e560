"""Cases of the ops in src/ops/matrix_products.c."""
import torch
import torch.nn.functional as F

from harness import FLOATS, INTEGERS, case, real, refuses, sample

case("mm", torch.mm,
     sample(real(3, 5), real(5, 4)),
     sample(real(1, 7), real(7, 9)),
     sample(real(6, 7), real(7, 1)),
     sample(real(64, 100), real(100, 33)),
     sample(real(150, 70), real(70, 200)))
case("mm", torch.mm, sample(real(3, 5), real(5, 4)), dtypes=INTEGERS, native=True, gradient=False)
case("bmm", torch.bmm,
     sample(real(2, 3, 5), real(2, 5, 4)),
     sample(real(9, 33, 40), real(9, 40, 20)),
     sample(real(4, 1, 6), real(4, 6, 5)))
case("bmm", torch.bmm, sample(real(2, 3, 5), real(2, 5, 4)), dtypes=INTEGERS, native=True,
     gradient=False)
case("matmul", torch.matmul,
     sample(real(5), real(5)),
     sample(real(3, 5), real(5)),
     sample(real(5), real(5, 4)),
     sample(real(3, 5), real(5, 4)),
     sample(real(2, 3, 5), real(5, 4)),
     sample(real(2, 3, 5), real(5)),
     sample(real(3, 5), real(2, 5, 4)),
     sample(real(5), real(2, 5, 4)),
     sample(real(2, 1, 3, 5), real(4, 5, 2)),
     sample(real(1, 2, 3, 5), real(3, 1, 5, 2)))
case("mv", torch.mv, sample(real(3, 5), real(5)), sample(real(300, 200), real(200)))
case("dot", torch.dot, sample(real(5), real(5)), sample(real(3000), real(3000)))
case("outer", torch.outer, sample(real(3), real(5)))
case("linear", F.linear,
     sample(real(3, 5), real(4, 5), real(4)),
     sample(real(3, 5), real(4, 5)),
     sample(real(5), real(4, 5), real(4)),
     sample(real(2, 3, 5), real(4, 5), real(4)),
     sample(real(64, 300), real(70, 300), real(70)),
     sample(real(40, 1100), real(50, 1100), real(50)))


def linear_gelu(x, weight, bias=None):
    """By the definition: F.gelu's gradient is wrong here for some strides in PyTorch 1.13."""
    y = F.linear(x, weight, bias)
    return y * (1 + torch.erf(y * 0.5 ** 0.5)) / 2


case("linear_gelu", linear_gelu,
     sample(real(3, 5), real(4, 5), real(4)),
     sample(real(5).frozen(), real(4, 5).frozen(), real(4).frozen()),
     sample(real(2, 3, 5).frozen(), real(4, 5).frozen()),
     sample(real(64, 300).frozen(), real(70, 300).frozen(), real(70).frozen()))
case("addmm", torch.addmm,
     sample(real(3, 4), real(3, 5), real(5, 4), beta=1.0, alpha=1.0),
     sample(real(4), real(3, 5), real(5, 4), beta=0.5, alpha=2.0),
     sample(real(4), real(3, 5), real(5, 4), beta=0.0, alpha=1.0))
case("baddbmm", torch.baddbmm,
     sample(real(2, 3, 4), real(2, 3, 5), real(2, 5, 4), beta=1.0, alpha=1.0),
     sample(real(3, 1), real(2, 3, 5), real(2, 5, 4), beta=0.5, alpha=2.0))
case("bilinear", F.bilinear,
     sample(real(3, 5), real(3, 4), real(2, 5, 4), real(2)),
     sample(real(2, 3, 5), real(2, 3, 4), real(6, 5, 4)))

refuses("mm", sample(real(2, 3), real(4, 5)), r"\(2, 3\) and \(4, 5\)")
refuses("mm", sample(real(2, 3, 4), real(4, 5)), "2 dimensions")
refuses("bmm", sample(real(2, 3, 4), real(3, 4, 5)), "batches")
refuses("matmul", sample(real(2, 3), real(4)), r"\(2, 3\) and \(4,\)")
refuses("matmul", sample(real(), real(4)), "one dimension")
refuses("linear", sample(real(2, 3), real(4, 5)), "features")
refuses("linear", sample(real(2, 3), real(4, 3), real(3)), "bias")
refuses("bilinear", sample(real(3, 5), real(2, 4), real(2, 5, 4)), "do not fit")
refuses("mm", sample(real(2, 3), real(3, 5)), "bool", dtype=torch.bool)
