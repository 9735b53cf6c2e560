"""Cases of the ops in src/ops/activation.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, away, case, choice, exactly, real, refuses, sample

NAN = float("nan")
EDGES = exactly([0.0, 1e-30, -1e-30, 2.5, -2.5, 20.0, -20.0, 21.0, 100.0, -100.0, 1e30, -1e30, NAN])


def shapes(make, **attributes):
    return tuple(sample(make(*shape), **attributes)
                 for shape in ((3, 5), (2, 3, 4), (1100,), (150, 333)))


def smooth(name, function, edges=True, **attributes):
    case(name, function, *shapes(lambda *s: real(*s, low=-5, high=5), **attributes))
    if edges:
        case(name, function, sample(EDGES.frozen(), **attributes), dtypes=F32_F64)


def kinked(name, function, points, **attributes):
    case(name, function,
         *shapes(lambda *s: away(*s, points=points, low=-5, high=5), **attributes))
    case(name, function, sample(EDGES, **attributes), dtypes=F32_F64, finite=False, gradgrad=False)


def elu(x, alpha, input_scale=1.0, scale=1.0):
    """PyTorch's gradient in float64 uses constants in float32, unless they are 1."""
    return torch.where(x > 0, x * scale, alpha * torch.expm1(x.clamp(max=0) * input_scale))


kinked("relu", F.relu, (0,))
kinked("relu6", F.relu6, (0, 6))
kinked("leaky_relu", F.leaky_relu, (0,), negative_slope=0.01)
kinked("leaky_relu", F.leaky_relu, (0,), negative_slope=0.0)
kinked("hardtanh", F.hardtanh, (-1, 1.5), min_val=-1.0, max_val=1.5)
kinked("hardsigmoid", lambda x: (x + 3).clamp(0, 6) / 6 if x.dtype == torch.float64
       else F.hardsigmoid(x), (-3, 3))
kinked("hardswish", F.hardswish, (-3, 3))
kinked("threshold", F.threshold, (0.5,), threshold=0.5, value=-2.0)
kinked("hardshrink", F.hardshrink, (-0.5, 0.5), lambd=0.5)
case("softshrink", F.softshrink,
     *shapes(lambda *s: away(*s, points=(-0.5, 0.5)), lambd=0.5))
kinked("elu", F.elu, (0,), alpha=1.0)
smooth("elu", elu, edges=False, alpha=0.3)
kinked("celu", F.celu, (0,), alpha=1.0)
smooth("celu", lambda x, alpha: elu(x, alpha, 1 / alpha), edges=False, alpha=0.7)
kinked("selu", F.selu, (0,))
case("elu_scaled",
     lambda x, alpha, scale, input_scale: elu(x, alpha * scale, input_scale, scale),
     *shapes(lambda *s: away(*s), alpha=0.7, scale=1.3, input_scale=0.5))

smooth("gelu", F.gelu, approximate=choice("none", 0))
smooth("gelu", F.gelu, approximate=choice("tanh", 1), edges=False)
smooth("gelu_none", F.gelu)
smooth("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), edges=False)
smooth("silu", F.silu)
smooth("mish", F.mish)
smooth("softplus", F.softplus, beta=1.0, threshold=20.0)
case("softplus", F.softplus,
     *shapes(lambda *s: away(*s, points=(1.0,)), beta=2.0, threshold=2.0))
smooth("logsigmoid", F.logsigmoid)
smooth("softsign", F.softsign)
smooth("tanhshrink", F.tanhshrink)

case("glu", F.glu,
     sample(real(4, 6), dim=-1),
     sample(real(4, 6), dim=0),
     sample(real(2, 6, 5), dim=1),
     sample(real(150, 400), dim=1))
refuses("glu", sample(real(4, 5), dim=1), "even")
refuses("glu", sample(real(4, 5), dim=2), "dim")

case("prelu", F.prelu,
     sample(away(3, 5), real(5)),
     sample(away(3, 5), real(1)),
     sample(away(2, 3, 4, 5), real(3)),
     sample(away(7), real(1)),
     sample(away(150, 333), real(333)))
case("_prelu_kernel", lambda x, weight: torch.where(x > 0, x, weight * x),
     sample(away(3, 5), real(1, 5)),
     sample(away(2, 3, 4, 5), real(3, 1, 1)))
refuses("prelu", sample(real(3, 5), real(4)), "weight")

for name in ("relu", "silu", "gelu", "hardswish"):
    refuses(name if name != "gelu" else "gelu_none", sample(real(3)), "floating", dtype=torch.int64)
refuses("leaky_relu", sample(real(3), negative_slope=-1.0), "negative")
refuses("elu_scaled", sample(real(3), alpha=-1.0), "negative")
