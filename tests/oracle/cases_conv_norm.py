"""Cases of the fused ops in src/ops/conv_norm.c."""
import torch.nn.functional as F

from harness import case, choice, positive, real, refuses, sample

ACTIVATIONS = {"relu": (F.relu, 1), "relu6": (F.relu6, 2), "hardswish": (F.hardswish, 3),
               "silu": (F.silu, 4)}
CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def conv_norm_activation(x, weight, bias=None, norm_weight=None, norm_bias=None, mean=None,
                         var=None, residual=None, *, groups=0, eps=0.0, activation=None,
                         channels_last=False, **attributes):
    given = {name: value for name, value in attributes.items() if value != ()}
    y = CONVOLUTIONS[weight.dim()](x, weight, bias, groups=groups or 1, **given)
    if mean is not None:
        y = F.batch_norm(y, mean, var, norm_weight, norm_bias, False, 0.0, eps)
    if residual is not None:
        y = y + residual
    return ACTIVATIONS[activation][0](y) if activation else y


def named(word):
    return choice(word, ACTIVATIONS[word][1])


def norm(count):
    return real(count), real(count), real(count).frozen(), positive(count).frozen()


def both(x, weight, *more, **attributes):
    """With gradients, by several ops, and without, in one pass."""
    frozen = [v.frozen() if v is not None else None for v in (x, weight, *more)]
    return (sample(x, weight, *more, **attributes), sample(*frozen, **attributes))


SAMPLES = (
    *both(real(2, 3, 7, 8), real(4, 3, 3, 3), None, *norm(4), padding=(1,), eps=1e-5),
    *both(real(2, 24, 13, 12), real(40, 24, 3, 3), None, *norm(40), real(2, 40, 13, 12),
          padding=(1,), eps=1e-5, activation=named("silu")),
    *both(real(2, 24, 12, 12), real(40, 24, 1, 1), None, *norm(40), real(2, 40, 12, 12),
          eps=1e-3, activation=named("silu")),
    *both(real(2, 24, 12, 12), real(40, 24, 1, 1), real(40), eps=1e-5, activation=named("silu")),
    *both(real(2, 24, 15, 14), real(40, 24, 3, 3), real(40), *norm(40), stride=(2,),
          padding=(1,), eps=1e-5, activation=named("silu")),
    *both(real(2, 6, 15, 14), real(6, 1, 3, 3), None, *norm(6), stride=(2,), padding=(1,),
          groups=6, eps=1e-5, activation=named("hardswish")),
    *both(real(2, 3, 15, 14), real(40, 3, 3, 3), None, *norm(40), stride=(2,), padding=(1,),
          eps=1e-5, activation=named("silu"), channels_last=True),
    *both(real(2, 24, 13, 12), real(40, 24, 3, 3), None, *norm(40), real(2, 40, 13, 12),
          padding=(1,), eps=1e-5, activation=named("silu"), channels_last=True),
    *both(real(2, 19, 15, 14), real(19, 1, 5, 5), real(19), *norm(19), stride=(2,), padding=(2,),
          groups=19, eps=1e-5, activation=named("silu"), channels_last=True),
    *both(real(2, 3, 12), real(4, 3, 3), None, None, None, real(4).frozen(),
          positive(4).frozen(), eps=1e-5),
    *both(real(1, 2, 5, 6, 5), real(3, 2, 3, 3, 3), None, *norm(3), padding=(1,), eps=1e-5),
)
# The kinks of these are met, so their second derivatives are not compared by differences.
KINKED = (
    *both(real(2, 24, 12, 12), real(40, 24, 1, 1), None, *norm(40), real(2, 40, 12, 12),
          eps=1e-5, activation=named("relu")),
    *both(real(2, 6, 15, 14), real(6, 1, 5, 5), None, *norm(6), real(2, 6, 15, 14),
          padding=(2,), groups=6, eps=1e-5, activation=named("relu6")),
    *both(real(2, 3, 9, 9), real(20, 3, 3, 3), None, *norm(20), real(2, 20, 7, 7), eps=1e-5,
          activation=named("relu")),
)
case("conv_norm_activation", conv_norm_activation, *SAMPLES, loosen=4)
case("conv_norm_activation", conv_norm_activation, *KINKED, loosen=4, gradgrad=False,
     half_gradient=False)

refuses("conv_norm_activation", sample(real(2, 3, 7, 7), real(4, 2, 3, 3)), "channels")
refuses("conv_norm_activation", sample(real(2, 3, 7, 7), real(4, 3, 3, 3), None, None, None,
                                       real(4)), "go together")
