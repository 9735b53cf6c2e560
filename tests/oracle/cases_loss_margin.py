"""Cases of the ops in src/ops/loss_margin.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, exactly, integer, positive, real, refuses, sample

REDUCTIONS = ({}, {"reduction": choice("sum", 2)}, {"reduction": choice("none", 3)})


def each(*inputs, **options):
    return tuple(sample(*inputs, **options, **r) for r in REDUCTIONS)


def signs(*shape):
    count = torch.Size(shape).numel()
    return exactly((torch.arange(count) % 3 % 2 * 2 - 1).reshape(shape).double(), grad=False)


def named(function, **renamed):
    """Words of PyTorch for ours; the reduction is one."""
    def loss(*inputs, **options):
        options = {renamed.get(k, k): v for k, v in options.items()}
        options["reduction"] = str(options.get("reduction", "mean"))
        return function(*inputs, **options)
    return loss


def multi_margin(x, target, weight=None, margin=0.0, power=0, reduction="mean"):
    if weight is not None:
        weight = weight.contiguous()  # PyTorch reads it wrongly otherwise
    return F.multi_margin_loss(x, target, power, margin, weight, reduction=str(reduction))


case("multi_margin_loss", multi_margin,
     *each(real(4, 5), integer(4, low=0, high=4), margin=1.0, power=1),
     *each(real(4, 5), integer(4, low=0, high=4), positive(5).frozen(), margin=0.5, power=2),
     sample(real(5), integer(low=0, high=4), margin=1.0, power=1), empty=False)
refuses("multi_margin_loss", sample(real(4, 5), integer(4, low=5, high=5), margin=1.0, power=1),
        "out of range")
refuses("multi_margin_loss", sample(real(4, 5), integer(4, low=0, high=4), margin=1.0, power=3),
        "only 1 and 2")

case("soft_margin_loss", named(F.soft_margin_loss), *each(real(3, 5), signs(3, 5)), zero_dim=False)


def multilabel_soft(x, target, weight=None, reduction="mean"):
    return F.multilabel_soft_margin_loss(x, target, weight, reduction=str(reduction))


case("multilabel_soft_margin_loss", multilabel_soft,
     *each(real(3, 5), real(3, 5, low=0.0, high=1.0).frozen()),
     *each(real(3, 5), real(3, 5, low=0.0, high=1.0).frozen(), positive(5).frozen()),
     zero_dim=False, empty=False)

LABELS = exactly([[3, 0, -1, 1], [1, -1, 2, 2], [-1, 0, 0, 0], [0, 1, 2, 3]], dtype=torch.int64,
                 grad=False)
case("multilabel_margin_loss", named(F.multilabel_margin_loss), *each(real(4, 4), LABELS),
     sample(real(4), exactly([3, 0, -1, 1], dtype=torch.int64, grad=False)), zero_dim=False,
     empty=False)
case("native_multilabel_margin_loss",
     lambda x, t: F.multilabel_margin_loss(x, t, reduction="none"), sample(real(4, 4), LABELS),
     dtypes=F32_F64, zero_dim=False, empty=False)
refuses("multilabel_margin_loss", sample(real(2, 3), integer(2, 3, low=3, high=3)), "out of range")

case("hinge_embedding_loss", named(F.hinge_embedding_loss), *each(real(3, 5), signs(3, 5),
                                                                 margin=1.0),
     sample(real(3, 5), signs(3, 5), margin=0.3), zero_dim=False)
case("margin_ranking_loss", named(F.margin_ranking_loss),
     *each(real(6), real(6), signs(6), margin=0.0), *each(real(6), real(6), signs(6), margin=0.7),
     zero_dim=False)
case("cosine_embedding_loss", named(F.cosine_embedding_loss),
     *each(real(4, 6), real(4, 6), signs(4), margin=0.0),
     *each(real(4, 6), real(4, 6), signs(4), margin=0.3),
     sample(real(6), real(6), exactly(-1.0, grad=False)), zero_dim=False, loosen=3, empty=False)
case("triplet_margin_loss", named(F.triplet_margin_loss),
     *each(real(4, 6), real(4, 6), real(4, 6), margin=1.0, p=2.0, eps=1e-6),
     *each(real(4, 6), real(4, 6), real(4, 6), margin=3.0, p=2.0, eps=1e-6, swap=True),
     sample(real(4, 6), real(4, 6), real(4, 6), margin=9.0, p=3.0, eps=1e-6),
     sample(real(6), real(6), real(6), margin=9.0, p=2.0, eps=1e-6), loosen=3)
