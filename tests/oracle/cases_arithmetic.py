"""Cases of the ops in src/ops/arithmetic.c."""
import torch

from harness import ALL, FLOATS, NUMBERS, case, positive, real, refuses, sample

PAIRS = (
    sample(real(3, 5), real(3, 5)),
    sample(real(4, 1, 3), real(5, 1)),
    sample(real(7), real()),
    sample(real(2, 3), 2.5),
    sample(-3, real(2, 3)),
    sample(real(150, 333), real(150, 333)),
)
FLOAT_PAIRS = tuple(s for s in PAIRS if not any(isinstance(i, float) for i in s.inputs))

case("add", torch.add, *PAIRS)
case("add", torch.add, *FLOAT_PAIRS, dtypes=ALL, native=True, loosen=2)
case("sub", torch.sub, *PAIRS)
case("mul", torch.mul, *PAIRS)
case("mul", torch.mul, *FLOAT_PAIRS, dtypes=ALL, native=True, loosen=2)
case("div", torch.div,
     sample(real(3, 5), positive(3, 5)),
     sample(real(4, 1, 3), positive(5, 1)),
     sample(real(7), positive()),
     sample(real(2, 3), 2.5),
     sample(1, positive(2, 3)),
     sample(real(150, 333), positive(150, 333)),
     dtypes=FLOATS)
case("div", torch.div, sample(real(3, 5), real(3, 5)), dtypes=NUMBERS, native=True, gradient=False,
     loosen=2)

for name in ("add", "sub", "mul", "div"):
    refuses(name, sample(real(2, 3), real(2, 4)), r"\(2, 3\).*\(2, 4\)")
refuses("sub", sample(real(2), real(2)), "bool", dtype=torch.bool)
