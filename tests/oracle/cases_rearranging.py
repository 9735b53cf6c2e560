"""Cases of the ops in src/ops/rearranging.c."""
import torch

from harness import ALL, case, real, refuses, sample

case("repeat", lambda x, repeats: x.repeat(repeats),
     sample(real(2, 3), repeats=(2, 3)),
     sample(real(2, 3), repeats=(4, 1, 2)),
     sample(real(2, 3), repeats=(1, 1)),
     sample(real(2, 3), repeats=(0, 2)),
     sample(real(), repeats=(3,)),
     dtypes=ALL, native=True, empty=False)
case("tile", lambda x, repeats: torch.tile(x, repeats),
     sample(real(2, 3), repeats=(2,)),
     sample(real(2), repeats=(2, 3)), empty=False)
case("repeat_interleave", lambda x, repeats, dim: torch.repeat_interleave(x, repeats, dim),
     sample(real(2, 3), repeats=2, dim=0),
     sample(real(2, 3, 4), repeats=3, dim=1),
     sample(real(2, 3), repeats=2, dim=-1),
     sample(real(2, 3), repeats=0, dim=1), empty=False)
case("flip", torch.flip,
     sample(real(2, 3, 4), dims=(0,)),
     sample(real(2, 3, 4), dims=(1, -1)),
     sample(real(2, 3), dims=()),
     sample(real(100, 300), dims=(0, 1)),
     dtypes=ALL, native=True)


def roll(x, shifts, dims):
    return torch.roll(x, shifts, dims) if dims else torch.roll(x, shifts[0])


case("roll", roll,
     sample(real(4, 5), shifts=(2,), dims=(1,)),
     sample(real(4, 5), shifts=(-1, 7), dims=(0, 1)),
     sample(real(4, 5), shifts=(3,), dims=()),
     sample(real(4, 5), shifts=(4,), dims=(0,)))
for name, reference in (("tril", torch.tril), ("triu", torch.triu)):
    case(name, reference,
         sample(real(4, 5), diagonal=0),
         sample(real(2, 4, 3), diagonal=-1),
         sample(real(4, 5), diagonal=2),
         sample(real(3, 3), diagonal=-7),
         sample(real(200, 300), diagonal=0),
         dtypes=ALL, native=True)
    refuses(name, sample(real(4), diagonal=0), "dimensions")
case("diag", torch.diag,
     sample(real(4), diagonal=0),
     sample(real(3), diagonal=-1),
     sample(real(4, 5), diagonal=1))

refuses("repeat", sample(real(2, 3), repeats=(2,)), "1 repeats")
refuses("repeat", sample(real(2), repeats=(-1,)), "-1 times")
refuses("repeat_interleave", sample(real(2), repeats=-1, dim=0), "-1 times")
refuses("flip", sample(real(2, 3), dims=(0, 0)), "twice")
refuses("roll", sample(real(2, 3), shifts=(1, 1), dims=(0,)), "2 shifts")
refuses("diag", sample(real(2, 3, 4), diagonal=0), "dimensions")
