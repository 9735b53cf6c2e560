"""Cases of the ops in src/ops/embedding.c."""
import torch
import torch.nn.functional as F

from harness import case, exactly, integer, real, refuses, sample


def embedding(weight, indices, padding_idx):
    return F.embedding(indices, weight, padding_idx if padding_idx >= 0 else None)


case("embedding", embedding,
     sample(real(7, 4), integer(3, 5, high=6), padding_idx=-1),
     sample(real(7, 1), integer(high=6), padding_idx=-1),
     empty=False, zero_dim=False)
case("embedding", embedding,              # the padding row has no gradient, whatever it does
     sample(real(7, 4), integer(9, high=6), padding_idx=2),
     sample(real(100, 300), integer(8, 64, high=99), padding_idx=0),
     empty=False, zero_dim=False, finite=False)
case("one_hot", F.one_hot,
     sample(integer(3, 4, high=5), num_classes=6),
     sample(integer(5, high=3), num_classes=9),
     sample(integer(high=3), num_classes=4), empty=False)
case("one_hot", F.one_hot, sample(integer(5, high=3), num_classes=-1), meta=False, empty=False)

refuses("embedding", sample(real(7, 4), exactly([3, 7], torch.int64), padding_idx=-1),
        "index 7 at position 1.*size 7")
refuses("embedding", sample(real(7), integer(3, high=6), padding_idx=-1), "2 dimensions")
refuses("embedding", sample(real(7, 4), integer(3, high=6), padding_idx=7), "padding_idx 7")
refuses("one_hot", sample(exactly([4], torch.int64), num_classes=4), "index 4")
