"""Cases of the ops in src/ops/loss_regression.c."""
import torch.nn.functional as F

from harness import away, case, choice, positive, real, refuses, sample

REDUCTIONS = ({}, {"reduction": choice("mean", 1)}, {"reduction": choice("sum", 2)},
              {"reduction": choice("none", 3)})


def named(function):
    """The reduction is a word of PyTorch's own; beta and delta left out are 0 on both sides."""
    def loss(*inputs, **options):
        if "reduction" in options:
            options["reduction"] = str(options["reduction"])
        return function(*inputs, **options)
    return loss


def apart(*shape):
    """Two inputs no closer to each other than a kink of the losses below: d is far from 0 and 1."""
    return away(*shape, points=(0.0, 1.0, -1.0, 0.5, -0.5)), real(*shape, low=0.0, high=0.0)


def each(*inputs, **options):
    return tuple(sample(*inputs, **options, **r) for r in REDUCTIONS)


case("mse_loss", named(F.mse_loss), *each(real(3, 5), real(3, 5)), sample(real(300, 200),
                                                                         real(300, 200)))
case("l1_loss", named(F.l1_loss), *each(*apart(3, 5)))
case("smooth_l1_loss", named(F.smooth_l1_loss), *each(*apart(3, 5), beta=1.0),
     *each(*apart(3, 5), beta=0.5))
case("smooth_l1_loss", named(F.smooth_l1_loss), sample(*apart(3, 5), beta=0.0))
case("huber_loss", named(F.huber_loss), *each(*apart(3, 5), delta=1.0),
     *each(*apart(3, 5), delta=0.5), zero_dim=False)
refuses("smooth_l1_loss", sample(real(3), real(3), beta=-1.0), "negative")
refuses("huber_loss", sample(real(3), real(3), delta=0.0), "not above 0")


def poisson(x, target, log_input=False, full=False, eps=0.0, reduction="mean"):
    return F.poisson_nll_loss(x, target, log_input, full=full, eps=eps, reduction=str(reduction))


case("poisson_nll_loss", poisson, *each(real(3, 5), positive(3, 5), log_input=True),
     *each(positive(3, 5), positive(3, 5), eps=1e-8),
     *each(real(3, 5), away(3, 5, points=(1.0,), low=0.2).frozen(), log_input=True, full=True))


def gaussian(x, target, var, full=False, eps=0.0, reduction="mean"):
    return F.gaussian_nll_loss(x, target, var, full, eps, str(reduction))


case("gaussian_nll_loss", gaussian, *each(real(3, 5), real(3, 5), positive(3, 5), eps=1e-6),
     *each(real(3, 5), real(3, 5), positive(3, 1), full=True, eps=1e-6))
case("gaussian_nll_loss", gaussian, sample(real(3, 5), real(3, 5), positive(3, 5), eps=1.0),
     finite=False, gradgrad=False)
refuses("mse_loss", sample(real(3), real(4)), "shapes")
