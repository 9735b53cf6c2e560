"""Cases of the ops in src/ops/viewing.c."""
import torch

from harness import ALL, case, real, refuses, sample


def view(x, shape):
    return x.reshape(shape)


case("view", view,
     sample(real(3, 4), shape=(2, 6)),
     sample(real(2, 3, 4), shape=(-1, 4)),
     sample(real(2, 3, 4), shape=(2, 3, 2, 2)),
     sample(real(1, 1), shape=()),
     sample(real(0, 3), shape=(3, 0)),
     dtypes=ALL, native=True, layouts=("contiguous",))
case("view", view,
     sample(real(2, 6), shape=(2, 3, 2)),
     sample(real(2, 3, 4), shape=(2, 1, 3, 2, 2)),
     layouts=("contiguous", "sliced"))
case("reshape", torch.reshape,
     sample(real(3, 4), shape=(2, 6)),
     sample(real(2, 3, 4), shape=(-1, 4)),
     sample(real(2, 3, 4), shape=(24,)),
     sample(real(1, 1), shape=()),
     sample(real(0, 3), shape=(3, 0)),
     sample(real(), shape=(1, 1)),
     dtypes=ALL, native=True)
case("expand", lambda x, shape: x.expand(shape),
     sample(real(3, 1), shape=(3, 4)),
     sample(real(3, 1), shape=(2, -1, 4)),
     sample(real(1, 5), shape=(2, 6, 5)),
     sample(real(), shape=(2, 3)),
     sample(real(1, 3), shape=(0, 3)),
     dtypes=ALL, native=True)
case("broadcast_to", lambda x, shape: torch.broadcast_to(x, shape),
     sample(real(3, 1), shape=(2, 3, 4)))
case("view_as", lambda x, other: x.reshape(other.shape),
     sample(real(3, 4), real(2, 6)), layouts=("contiguous",))
case("view_as", lambda x, other: x.reshape(other.shape),
     sample(real(3, 4), real(3, 2, 2)), layouts=("contiguous", "sliced"))
case("reshape_as", lambda x, other: x.reshape_as(other),
     sample(real(3, 4), real(2, 6)))
case("expand_as", lambda x, other: x.expand_as(other),
     sample(real(3, 1), real(2, 3, 4)))

refuses("view", sample(real(2, 3), shape=(4,)), r"6 elements.*\(4,\)")
refuses("view", sample(real(2, 3), shape=(-1, -1)), "one size of -1")
refuses("reshape", sample(real(2, 3), shape=(-1, 4)), "divide")
refuses("expand", sample(real(2, 3), shape=(2, 4)), "expand")
