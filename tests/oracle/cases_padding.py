"""Cases of the ops in src/ops/padding.c."""
import torch.nn.functional as F

from harness import ALL, F32_F64, case, choice, real, refuses, sample

CONSTANT, REFLECT, REPLICATE, CIRCULAR = (
    choice(word, code)
    for code, word in enumerate(("constant", "reflect", "replicate", "circular")))


def pad(x, pad, mode, value=0.0):
    # PyTorch wants a batch dimension here, which we do not ask for.
    return F.pad(x, pad, mode, value) if mode == "constant" else F.pad(x, pad, mode)


case("pad", pad,
     sample(real(2, 3), pad=(1, 2), mode=CONSTANT, value=0.0),
     sample(real(2, 3, 4), pad=(1, 2, 0, 3), mode=CONSTANT, value=1.0),
     sample(real(3, 5), pad=(-1, 2, 1, -1), mode=CONSTANT, value=0.0),
     sample(real(2, 3, 4), pad=(1, 0, 1, 1, 2, 1), mode=CONSTANT, value=2.0),
     sample(real(2, 3), pad=(), mode=CONSTANT),
     sample(real(3), pad=(-2, -1), mode=CONSTANT),
     sample(real(8, 40, 60), pad=(1, 1, 1, 1), mode=CONSTANT),
     dtypes=ALL, native=True, empty=False)
for mode in (REFLECT, REPLICATE, CIRCULAR):
    case("pad", pad,
         sample(real(2, 3, 5), pad=(2, 1), mode=mode),
         sample(real(2, 3, 4, 5), pad=(1, 2, 3, 0), mode=mode),
         sample(real(1, 2, 3, 4, 3), pad=(1, 2, 0, 2, 1, 1), mode=mode),
         sample(real(4, 6, 30, 40), pad=(2, 2, 2, 2), mode=mode),
         dtypes=F32_F64, empty=False)
refuses("pad", sample(real(2, 3), pad=(1,), mode=CONSTANT), "1 numbers")
refuses("pad", sample(real(2, 3), pad=(1, 1, 1, 1, 1, 1), mode=CONSTANT), "at most 2")
refuses("pad", sample(real(2, 3), pad=(-2, -2), mode=CONSTANT), "size 3")
refuses("pad", sample(real(2, 3, 4), pad=(4, 0), mode=REFLECT), "reflect padding of 4")
refuses("pad", sample(real(2, 3, 4), pad=(0, 5), mode=CIRCULAR), "circular padding of 5")
refuses("pad", sample(real(2, 3, 4), pad=(-1, 0), mode=REPLICATE), "negative")
