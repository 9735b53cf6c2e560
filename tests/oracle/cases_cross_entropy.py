"""Cases of the ops in src/ops/loss_cross_entropy.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, exactly, integer, positive, real, refuses, sample

SUM, NONE = choice("sum", 2), choice("none", 3)


def cross_entropy(logits, target, weight=None, *, ignore_index=0, label_smoothing=0.0,
                  reduction="mean"):
    return F.cross_entropy(logits, target, weight, ignore_index=ignore_index,
                           label_smoothing=label_smoothing, reduction=str(reduction))


def labels(*shape, classes):
    return integer(*shape, low=0, high=classes - 1)


WEIGHT = positive(5).frozen()
CLASSES = (
    sample(real(4, 5), labels(4, classes=5), ignore_index=-100),
    sample(real(4, 5), labels(4, classes=5), ignore_index=-100, reduction=SUM),
    sample(real(4, 5), labels(4, classes=5), ignore_index=-100, reduction=NONE),
    sample(real(6, 5), labels(6, classes=5), WEIGHT, ignore_index=2),
    sample(real(6, 5), labels(6, classes=5), WEIGHT, ignore_index=2, label_smoothing=0.1),
    sample(real(6, 5), labels(6, classes=5), WEIGHT, ignore_index=0, label_smoothing=0.3,
           reduction=NONE),
    sample(real(2, 5, 3, 4), labels(2, 3, 4, classes=5), WEIGHT, ignore_index=1,
           label_smoothing=0.1),
    sample(real(2, 5, 7), labels(2, 7, classes=5), ignore_index=-100, reduction=NONE),
    sample(real(2, 5, 7), labels(2, 7, classes=5), ignore_index=-100, reduction=SUM),
    sample(real(5), labels(classes=5), ignore_index=-100),
    sample(real(40, 1000), labels(40, classes=1000), ignore_index=-100, label_smoothing=0.1),
    sample(real(2, 21, 30, 33), labels(2, 30, 33, classes=21), ignore_index=-100),
)
SOFT = (
    sample(real(4, 5), positive(4, 5), ignore_index=-100),
    sample(real(4, 5), positive(4, 5), WEIGHT, ignore_index=-100, label_smoothing=0.2),
    sample(real(4, 5, 3), positive(4, 5, 3), WEIGHT, ignore_index=-100, reduction=NONE),
    sample(real(4, 5, 3), positive(4, 5, 3), ignore_index=-100, reduction=SUM),
)

case("cross_entropy", cross_entropy, *CLASSES)
case("cross_entropy", cross_entropy, *SOFT, loosen=2)
case("native_cross_entropy", cross_entropy, CLASSES[0], CLASSES[3], dtypes=F32_F64)

refuses("cross_entropy", sample(real(4, 5), exactly([0, 1, 5, 2], dtype=torch.int64, grad=False)),
        r"target 5 \(position 2\) is out of range for 5 classes")
refuses("cross_entropy", sample(real(4, 5), labels(3, classes=5)), "do not fit")
refuses("cross_entropy", sample(real(4, 5), labels(4, classes=5), positive(4)), "weight")
refuses("cross_entropy", sample(real(4, 5), labels(4, classes=5), label_smoothing=1.5),
        "smoothing")
