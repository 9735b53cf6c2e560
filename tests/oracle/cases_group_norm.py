"""Cases of the ops in src/ops/group_norm.c."""
import torch.nn.functional as F

from harness import F32_F64, case, positive, real, refuses, sample

# Not expanded: where all that is normalised is the same, the result is rounding errors, magnified.
LAYOUTS = ("contiguous", "transposed", "sliced")


def group_norm(x, weight=None, bias=None, *, num_groups, eps=0.0):
    return F.group_norm(x, num_groups, weight, bias, eps)


def instance_norm(x, weight=None, bias=None, mean=None, var=None, *, use_input_stats=False,
                  momentum=0.0, eps=0.0):
    mean, var = (None if v is None else v.detach().clone() for v in (mean, var))
    return F.instance_norm(x, mean, var, weight, bias, use_input_stats, momentum, eps)


SAMPLES = (
    sample(real(2, 6, 5, 4), real(6), real(6), num_groups=3, eps=1e-5),
    sample(real(2, 6, 5, 4), None, None, num_groups=2, eps=1e-3),
    sample(real(3, 8), real(8), None, num_groups=2, eps=1e-5),
    sample(real(2, 4, 9), real(4), real(4), num_groups=1, eps=1e-5),
    sample(real(2, 4, 70, 50), real(4), real(4), num_groups=2, eps=1e-5),
)

case("group_norm", group_norm, *SAMPLES, loosen=3, layouts=LAYOUTS)
case("native_group_norm", group_norm, SAMPLES[0], SAMPLES[1], dtypes=F32_F64,
     loosen=3, layouts=LAYOUTS)
case("instance_norm", instance_norm,
     sample(real(2, 3, 5, 4), real(3), real(3), use_input_stats=True, eps=1e-5),
     sample(real(2, 3, 8), None, None, use_input_stats=True, eps=1e-5),
     sample(real(2, 3, 3, 4, 5), real(3), real(3), use_input_stats=True, eps=1e-5),
     loosen=3, layouts=LAYOUTS)
for dtype in F32_F64:
    case("instance_norm", instance_norm,
         sample(real(2, 3, 5, 4), real(3), real(3), real(3).frozen(), positive(3).frozen(),
                eps=1e-5), dtypes=(dtype,), layouts=LAYOUTS)

refuses("group_norm", sample(real(2, 5, 4), num_groups=2, eps=1e-5), "groups")
refuses("group_norm", sample(real(2, 4, 4), real(3), num_groups=2, eps=1e-5), "weight")
refuses("instance_norm", sample(real(2, 4, 1), use_input_stats=True, eps=1e-5), "more than 1")
