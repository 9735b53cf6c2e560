"""Cases of the ops in src/ops/softmax.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, exactly, real, refuses, sample

SAMPLES = (
    sample(real(3, 5), dim=1),
    sample(real(3, 5), dim=0),
    sample(real(2, 3, 4), dim=-2),
    sample(real(2, 3, 4, 5), dim=1),
    sample(real(7, 133, low=-80, high=80), dim=-1),
    sample(real(5, 2), dim=1),
    sample(real(300, 200), dim=0),
    sample(real(90, 700), dim=1),
)
EDGES = sample(exactly([[1e4, -1e4, 0.0], [float("-inf"), 1.0, 2.0], [float("nan"), 1.0, 2.0],
                        [float("-inf")] * 3, [float("inf"), 1.0, 2.0]]).frozen(), dim=1)

for name, function in (("softmax", torch.softmax), ("log_softmax", torch.log_softmax),
                       ("softmin", F.softmin)):
    case(name, function, *SAMPLES)
    case(name, function, EDGES, dtypes=F32_F64, layouts=("contiguous", "transposed"))
    refuses(name if name != "softmin" else "softmax", sample(real(2, 3), dim=2), "dim")
    refuses(name if name != "softmin" else "softmax", sample(real(2, 3), dim=0), "floating",
            dtype=torch.int64)
case("_softmax", torch.softmax, *SAMPLES[:3], dtypes=F32_F64)
case("_log_softmax", torch.log_softmax, *SAMPLES[:3], dtypes=F32_F64)
