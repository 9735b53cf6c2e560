"""Cases of the ops in src/ops/comparing.c."""
import torch

from harness import ALL, INTEGERS, case, exactly, real, refuses, sample

INF, NAN = float("inf"), float("nan")
PAIRS = (
    sample(real(3, 5), real(3, 5)),
    sample(real(4, 1, 3), real(5, 1)),
    sample(real(7), real()),
    sample(real(150, 333), real(150, 333)),
)
EDGES = sample(exactly([0.0, 1.0, INF, -INF, NAN, NAN, 2.0]),
               exactly([-0.0, NAN, INF, INF, NAN, 1.0, 2.0]))

for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    case(name, getattr(torch, name), *PAIRS, EDGES, sample(real(2, 3), 1), dtypes=ALL, native=True)
    case(name, getattr(torch, name), sample(real(2, 3), 0.5))
    refuses(name, sample(real(2, 3), real(2, 4)), r"\(2, 3\).*\(2, 4\)")
for name in ("logical_and", "logical_or", "logical_xor"):
    case(name, getattr(torch, name), *PAIRS, EDGES, dtypes=ALL, native=True)
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    case(name, getattr(torch, name), *PAIRS, dtypes=INTEGERS + (torch.bool,))
    refuses(name, sample(real(2), real(2)), "float32")
