"""Cases of the ops in src/ops/loss_ctc.c. As in PyTorch the gradient is not that of log_probs as
free variables, but what a log softmax before turns into the right one: no finite differences."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, exactly, integer, real, refuses, sample

SUM, NONE = choice("sum", 2), choice("none", 3)


def ctc(x, targets, inputs, lengths, blank=0, zero_infinity=False, reduction="mean"):
    if not x.dim() or not x.numel():
        raise ValueError("PyTorch's CTC loss crashes on such")
    targets = targets.contiguous()  # PyTorch reads spliced ones wrongly otherwise
    return F.ctc_loss(x, targets, inputs, lengths, blank, str(reduction), zero_infinity)


def lengths(*values):
    return exactly(list(values), dtype=torch.int64, grad=False)


PADDED = integer(3, 4, low=1, high=5)
SPLICED = integer(7, low=1, high=5)
REPEATED = exactly([[1, 1, 2, 2], [3, 3, 3, 3], [5, 4, 5, 4]], dtype=torch.int64, grad=False)
FULL = lengths(9, 9, 9)

SAMPLES = (
    sample(real(9, 3, 6), PADDED, FULL, lengths(4, 2, 3)),
    sample(real(9, 3, 6), PADDED, lengths(9, 7, 5), lengths(4, 2, 0), reduction=NONE),
    sample(real(9, 3, 6), SPLICED, FULL, lengths(1, 2, 4), reduction=SUM),
    sample(real(9, 3, 6), REPEATED, FULL, lengths(4, 4, 4), reduction=NONE),
    sample(real(9, 3, 6), integer(3, 4, low=0, high=4), FULL, lengths(4, 3, 4), blank=5),
    sample(real(9, 6), integer(4, low=1, high=5), lengths(9), lengths(4)),
)
# Labels that do not fit into their inputs: 3 3 3 3 needs seven steps.
SHORT = (
    sample(real(9, 3, 6), REPEATED, lengths(9, 5, 2), lengths(4, 4, 4), zero_infinity=True),
    sample(real(9, 3, 6), REPEATED, lengths(9, 5, 2), lengths(4, 4, 4), zero_infinity=True,
           reduction=NONE),
)
OPTIONS = {"meta": False, "finite": False, "gradgrad": False, "loosen": 3, "empty": False,
           "zero_dim": False}

case("ctc_loss", ctc, *SAMPLES, **OPTIONS)
case("ctc_loss", ctc, *SHORT, dtypes=F32_F64, **OPTIONS)
refuses("ctc_loss", sample(real(9, 3, 6), integer(3, 4, low=6, high=6), FULL, lengths(4, 4, 4)),
        r"label 6 \(sample 0, position 0\)")
refuses("ctc_loss", sample(real(9, 3, 6), PADDED, lengths(9, 10, 9), lengths(4, 4, 4)),
        "input_lengths of sample 1 is 10")
refuses("ctc_loss", sample(real(9, 3, 6), PADDED, FULL, lengths(4, 4, 4), blank=6), "blank")
