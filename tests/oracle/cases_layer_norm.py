"""Cases of the ops in src/ops/layer_norm.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, real, refuses, sample

# Not expanded: where all that is normalised is the same, the result is rounding errors, magnified.
LAYOUTS = ("contiguous", "transposed", "sliced")


def layer_norm(x, weight=None, bias=None, *, normalized_shape, eps=0.0):
    return F.layer_norm(x, normalized_shape, weight, bias, eps)


def rms_norm(x, weight=None, *, normalized_shape, eps=0.0):
    """PyTorch has it from 2.4 on; this is its definition."""
    dims = tuple(range(x.dim() - len(normalized_shape), x.dim()))
    y = x * (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    return y if weight is None else y * weight


def native(x, weight=None, bias=None, *, dims, rms=False, eps=0.0):
    shape = x.shape[x.dim() - dims:]
    if rms:
        return rms_norm(x, weight, normalized_shape=shape, eps=eps)
    return layer_norm(x, weight, bias, normalized_shape=shape, eps=eps)


case("layer_norm", layer_norm,
     sample(real(4, 7), real(7), real(7), normalized_shape=(7,), eps=1e-5),
     sample(real(2, 3, 40), real(40), None, normalized_shape=(40,), eps=1e-5),
     sample(real(2, 3, 4, 5), None, None, normalized_shape=(4, 5), eps=1e-3),
     sample(real(2, 3, 4, 5), real(3, 4, 5), real(3, 4, 5), normalized_shape=(3, 4, 5), eps=1e-5),
     sample(real(9), real(9), real(9), normalized_shape=(9,), eps=1e-5),
     sample(real(150, 257), real(257), real(257), normalized_shape=(257,), eps=1e-5),
     sample(real(3, 5000), real(5000), real(5000), normalized_shape=(5000,), eps=1e-5),
     loosen=3, layouts=LAYOUTS)
case("rms_norm", rms_norm,
     sample(real(4, 7), real(7), normalized_shape=(7,), eps=1e-6),
     sample(real(2, 3, 40), None, normalized_shape=(40,), eps=1e-6),
     sample(real(2, 3, 4, 5), real(4, 5), normalized_shape=(4, 5), eps=1e-6),
     sample(real(150, 257), real(257), normalized_shape=(257,), eps=1e-6),
     loosen=3, layouts=LAYOUTS,
     zero_dim=False)
case("native_layer_norm", native,
     sample(real(4, 7), real(7), real(7), dims=1, eps=1e-5),
     sample(real(4, 7), real(7), dims=1, rms=True, eps=1e-5), dtypes=F32_F64,
     loosen=3, layouts=LAYOUTS)
refuses("layer_norm", sample(real(4, 7), normalized_shape=(6,)), "normalized shape")
refuses("layer_norm", sample(real(4, 7), real(6), normalized_shape=(7,)), "weight")
refuses("rms_norm", sample(real(4, 7), normalized_shape=(7,)), "floating", dtype=torch.int32)
