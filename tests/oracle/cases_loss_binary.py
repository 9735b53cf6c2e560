"""Cases of the ops in src/ops/loss_binary.c."""
import torch
import torch.nn.functional as F
import torchvision

from harness import F32_F64, case, choice, exactly, positive, real, refuses, sample

REDUCTIONS = ({}, {"reduction": choice("sum", 2)}, {"reduction": choice("none", 3)})


def each(*inputs, **options):
    return tuple(sample(*inputs, **options, **r) for r in REDUCTIONS)


def share(*shape):
    return real(*shape, low=0.05, high=0.95)


def binary(p, t, weight=None, reduction="mean"):
    return F.binary_cross_entropy(p, t, weight, reduction=str(reduction))


def logits(x, t, weight=None, pos_weight=None, reduction="mean"):
    return F.binary_cross_entropy_with_logits(x, t, weight, pos_weight=pos_weight,
                                              reduction=str(reduction))


# In second order PyTorch adds 1e-12 to p (1 - p), also where that is not small.
COARSE = {"tolerances": {torch.float64: 1e-10}}

case("binary_cross_entropy", binary, *each(share(3, 5), share(3, 5).frozen()),
     *each(share(3, 5), share(3, 5).frozen(), positive(5).frozen()), **COARSE)
case("binary_cross_entropy", binary, sample(share(3, 5), share(3, 5)), dtypes=F32_F64, **COARSE)
EDGES = exactly([0.0, 0.0, 1.0, 1.0, 0.5]), exactly([0.0, 1.0, 1.0, 0.0, 1.0], grad=False)
case("binary_cross_entropy", binary, sample(*EDGES, reduction=choice("none", 3)),
     dtypes=(torch.float32,), finite=False, gradgrad=False, zero_dim=False)
case("native_binary_cross_entropy", lambda p, t: F.binary_cross_entropy(p, t, reduction="none"),
     sample(share(3, 5), share(3, 5).frozen()), dtypes=F32_F64, **COARSE)
refuses("binary_cross_entropy", sample(real(3, low=2.0), share(3)), "probabilities")
refuses("binary_cross_entropy", sample(share(3), share(4)), "shape")

case("binary_cross_entropy_with_logits", logits, *each(real(3, 5), share(3, 5).frozen()),
     *each(real(3, 5), share(3, 5).frozen(), positive(5).frozen()),
     *each(real(3, 5), share(3, 5).frozen(), None, positive(5).frozen()),
     sample(real(3, 5, low=-90.0, high=90.0), share(3, 5).frozen()),
     sample(exactly([0.0, -200.0, 200.0]), exactly([0.0, 1.0, 0.0], grad=False)), zero_dim=False)
refuses("binary_cross_entropy_with_logits", sample(real(3), share(4)), "shape")


def focal(x, t, alpha=0.0, gamma=0.0, reduction="none"):
    return torchvision.ops.sigmoid_focal_loss(x, t, alpha, gamma, str(reduction))


TRUTHS = exactly([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], grad=False)
case("sigmoid_focal_loss", focal, *each(real(2, 3), TRUTHS, alpha=0.25, gamma=2.0),
     sample(real(2, 3), TRUTHS, alpha=-1.0, gamma=1.5, reduction=choice("mean", 1)),
     zero_dim=False, empty=False)


def dice(p, t, smooth=0.0, reduction="mean"):
    p, t = p.flatten(1), t.flatten(1)
    loss = 1 - (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth)
    return {"mean": loss.mean(), "sum": loss.sum(), "none": loss}[str(reduction)]


case("dice_loss", dice, *each(share(2, 3, 4), share(2, 3, 4), smooth=1.0), zero_dim=False,
     empty=False)


def kl_div(x, t, log_target=False, reduction="mean"):
    return F.kl_div(x, t, log_target=log_target, reduction=str(reduction))


KL = REDUCTIONS + ({"reduction": choice("batchmean", 4)},)
case("kl_div", kl_div, *(sample(real(3, 5), share(3, 5), **r) for r in KL),
     *(sample(real(3, 5), real(3, 5), log_target=True, **r) for r in KL))
case("kl_div", kl_div, sample(real(3), exactly([0.0, 0.5, 0.5], grad=False)), dtypes=F32_F64,
     zero_dim=False)
