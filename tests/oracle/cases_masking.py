"""Cases of the ops in src/ops/masking.c."""
import torch

from harness import ALL, boolean, case, real, refuses, sample

case("masked_fill", lambda x, mask, value: x.masked_fill(mask, value),
     sample(real(3, 5), boolean(3, 5), value=2.0),
     sample(real(2, 3, 5), boolean(3, 1), value=0.0),
     sample(real(100, 300), boolean(100, 300), value=1.0),
     dtypes=ALL, native=True)
case("masked_fill", lambda x, mask, value: x.masked_fill(mask, value),
     sample(real(3, 5), boolean(3, 5), value=float("-inf")), gradgrad=False, finite=False)

def masked_select(x, mask):
    """By subscript: the gradient of torch.masked_select (1.13) is wrong for transposed tensors."""
    x, mask = torch.broadcast_tensors(x, mask)
    return x[mask]


case("masked_select", masked_select,
     sample(real(3, 5), boolean(3, 5)),
     sample(real(2, 3, 5), boolean(3, 1)),
     sample(real(5), boolean(3, 5)),
     dtypes=ALL, native=True, meta=False)
case("nonzero", lambda x: torch.nonzero(x),
     sample(real(3, 5, low=0, high=1.5)),
     sample(boolean(2, 3, 4)),
     sample(boolean()),
     dtypes=ALL, native=True, meta=False, gradient=False)

refuses("masked_fill", sample(real(3), real(3), value=1.0), "bool, not float32")
refuses("masked_select", sample(real(3), boolean(4)), "broadcast")
