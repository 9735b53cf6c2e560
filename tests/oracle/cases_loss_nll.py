"""Cases of the ops in src/ops/loss_nll.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, exactly, integer, positive, real, refuses, sample

SUM, NONE = choice("sum", 2), choice("none", 3)
WEIGHT = positive(5).frozen()


def nll_loss(x, target, weight=None, *, ignore_index=0, reduction="mean"):
    x = x.contiguous()  # PyTorch's gradient refuses other layouts
    return F.nll_loss(x, target, weight, ignore_index=ignore_index, reduction=str(reduction))


def native(x, target, weight=None, *, ignore_index=0):
    x = x.contiguous()
    used = F.nll_loss(torch.full_like(x, -1.0), target, weight, ignore_index=ignore_index,
                      reduction="none")
    return (F.nll_loss(x, target, weight, ignore_index=ignore_index, reduction="none"),
            used.detach())


def labels(*shape):
    return integer(*shape, low=0, high=4)


SAMPLES = (
    sample(real(4, 5), labels(4), ignore_index=-100),
    sample(real(4, 5), labels(4), WEIGHT, ignore_index=-100, reduction=SUM),
    sample(real(6, 5), labels(6), WEIGHT, ignore_index=2),
    sample(real(6, 5), labels(6), None, ignore_index=0, reduction=NONE),
    sample(real(2, 5, 3, 4), labels(2, 3, 4), WEIGHT, ignore_index=1),
    sample(real(2, 5, 7), labels(2, 7), ignore_index=-100, reduction=NONE),
    sample(real(5), labels(), ignore_index=-100),
    sample(real(5), labels(), WEIGHT, ignore_index=-100),
    sample(real(90, 5, 40), labels(90, 40), ignore_index=3),
)

case("nll_loss", nll_loss, *SAMPLES)
case("native_nll_loss", native, *(sample(*s.inputs, ignore_index=s.attributes["ignore_index"])
                                  for s in SAMPLES[:6]), dtypes=F32_F64)
refuses("nll_loss", sample(real(4, 5), exactly([0, -1, 4, 2], dtype=torch.int64, grad=False),
                           ignore_index=-100), r"target -1 \(position 1\) is out of range for 5")
refuses("nll_loss", sample(real(4, 5), labels(3)), "shape")
refuses("nll_loss", sample(real(4, 5), labels(4), positive(4)), "weight")
