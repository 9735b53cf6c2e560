"""Cases of the ops in src/ops/copying.c."""
import torch

from harness import ALL, F32_F64, case, real, sample

case("clone", torch.clone,
     sample(real(3, 5)), sample(real(2, 3, 4)), sample(real(200, 300)), sample(real()),
     dtypes=ALL, native=True)

# From every dtype to every dtype; gradients in those where neither side rounds.
for target in ALL:
    case("to_dtype", lambda x, dtype: x.to(dtype),
         sample(real(3, 5, low=0, high=90), dtype=target), sample(real(2, 3, 4), dtype=target)
         if target is not torch.uint8 else sample(real(4, 6, low=0), dtype=target),
         dtypes=ALL, native=True, finite=target is torch.float64,
         gradient=target in F32_F64)
