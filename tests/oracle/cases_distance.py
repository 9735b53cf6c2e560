"""Cases of the ops in src/ops/distance.c."""
import math

import torch.nn.functional as F

from harness import F32_F64, case, distinct, exactly, real, refuses, sample

case("normalize", F.normalize, sample(real(3, 5), p=2.0, dim=1, eps=1e-12),
     sample(real(3, 5), p=2.0, dim=0, eps=1e-12), sample(real(2, 3, 4), p=1.0, dim=-2, eps=1e-12),
     sample(distinct(2, 5, low=0.1), p=math.inf, dim=1, eps=1e-12),
     sample(real(40, 300), p=2.0, dim=1, eps=1e-12), loosen=3, empty=False)
case("normalize", F.normalize, sample(exactly([[0.0, 0.0], [3.0, 4.0]]), p=2.0, dim=1, eps=1e-12),
     dtypes=F32_F64, finite=False, gradgrad=False)
refuses("normalize", sample(real(3, 5), p=2.0, dim=2, eps=1e-12), "dim")

case("cosine_similarity", F.cosine_similarity,
     sample(real(3, 5), real(3, 5), dim=1, eps=1e-8),
     sample(real(3, 5), real(3, 5), dim=0, eps=1e-8),
     sample(real(2, 3, 4), real(3, 4), dim=-1, eps=1e-8),
     sample(real(3, 1, 4), real(1, 2, 4), dim=2, eps=1e-8), loosen=3)
case("pairwise_distance", F.pairwise_distance,
     sample(real(3, 5), real(3, 5), p=2.0, eps=1e-6),
     sample(real(3, 5), real(3, 5), p=1.0, eps=1e-6, keepdim=True),
     sample(real(5), real(5), p=3.0, eps=1e-6),
     sample(real(3, 5), real(5), p=2.0, eps=1e-6), loosen=3)


def local_response_norm(x, **options):
    return F.local_response_norm(x.contiguous(), **options)  # PyTorch refuses some other layouts


case("local_response_norm", local_response_norm,
     sample(real(2, 7, 3, 4), size=5, alpha=1e-2, beta=0.75, k=1.0),
     sample(real(2, 6, 5), size=2, alpha=0.5, beta=0.5, k=2.0),
     sample(real(2, 3, 2, 3, 2), size=9, alpha=0.5, beta=0.75, k=1.0),
     sample(real(2, 1, 4), size=3, alpha=0.5, beta=0.75, k=1.0), loosen=3, zero_dim=False,
     empty=False)
refuses("local_response_norm", sample(real(2, 3, 4), size=0, beta=0.75, k=1.0), "size")
