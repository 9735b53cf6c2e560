"""Cases of the ops in src/ops/quantized.c: quantization as PyTorch's, and layers as what their
integers stand for, computed exactly in float64 and rounded as PyTorch rounds."""
import torch
import torch.nn.functional as F

from harness import case, integer, positive, real, refuses, sample

CONTIGUOUS = ("contiguous",)


def quantize(x, *, scale, zero_point):
    return torch.quantize_per_tensor(x, scale, zero_point, torch.quint8).int_repr()


def dequantize(x, *, scale, zero_point):
    return torch._make_per_tensor_quantized_tensor(x, scale, zero_point).dequantize()


def finish(sums, bias, weight_scale, residual, points, shape):
    """The exact sums as real numbers, in float32 as the layers have them; then bytes."""
    scale = torch.tensor(points["x_scale"], dtype=torch.float32) * weight_scale
    if bias is not None:
        sums = sums + torch.round(bias / scale).double().view(shape)
    y = sums.float() * scale.view(shape)
    if residual is not None:
        part = (residual.int() - points["residual_zero_point"]).float()
        y = y + part * torch.tensor(points["residual_scale"], dtype=torch.float32)
    if points.get("low", 0) or points.get("high", 0):
        y = y.clamp(points.get("low", 0), points.get("high", 0))
    if not points.get("scale"):
        return y
    inverse = 1 / torch.tensor(points["scale"], dtype=torch.float32)
    return (torch.round(y * inverse) + points["zero_point"]).clamp(0, 255).to(torch.uint8)


def conv(x, weight, weight_scale, bias=None, residual=None, *, stride=None, padding=None,
         dilation=None, groups=0, **points):
    exact = F.conv2d(x.double() - points["x_zero_point"], weight.double(), None, stride or 1,
                     padding or 0, dilation or 1, groups or 1)
    return finish(exact, bias, weight_scale, residual, points, (1, -1, 1, 1))


def linear(x, weight, weight_scale, bias=None, residual=None, **points):
    exact = F.linear(x.double() - points["x_zero_point"], weight.double())
    return finish(exact, bias, weight_scale, residual, points, (-1,))


def byte(*shape):
    return integer(*shape, low=0, high=255).of(torch.uint8)


def weight(*shape):
    return integer(*shape, low=-127, high=127).of(torch.int8)


POINTS = {"x_scale": 0.02, "x_zero_point": 121}
BYTES = {**POINTS, "scale": 40.0, "zero_point": 7}
JOINED = {**BYTES, "residual_scale": 30.0, "residual_zero_point": 3, "low": 0.0, "high": 6000.0}

case("quantize_per_tensor", quantize,
     sample(real(3, 50), scale=0.02, zero_point=128),
     sample(real(2, 3, 4, 5), scale=0.013, zero_point=0),
     sample(real(7), scale=0.0004, zero_point=255), dtypes=(torch.float32,))
case("dequantize", dequantize,
     sample(byte(3, 50), scale=0.02, zero_point=128),
     sample(byte(2, 3, 4, 5), scale=1.5, zero_point=0), dtypes=(torch.uint8,))
case("quantized_conv2d", conv,
     sample(byte(2, 5, 7, 6), weight(9, 5, 3, 3), positive(9), real(9), None,
            stride=(2, 1), padding=(1, 2), dilation=(1, 1), groups=1, **BYTES),
     sample(byte(1, 16, 6, 6), weight(40, 16, 1, 1), positive(40), real(40), byte(1, 40, 6, 6),
            stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, **JOINED),
     sample(byte(2, 70, 5, 4), weight(70, 1, 3, 3), positive(70), None, None,
            stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=70, **BYTES),
     sample(byte(1, 6, 8, 8), weight(4, 6, 3, 2), positive(4), real(4), None,
            stride=(1, 1), padding=(2, 0), dilation=(2, 1), groups=1, **POINTS),
     dtypes=(torch.float32,), layouts=CONTIGUOUS, empty=False)
case("quantized_linear", linear,
     sample(byte(5, 21), weight(40, 21), positive(40), real(40), None, **BYTES),
     sample(byte(2, 3, 64), weight(10, 64), positive(10), None, byte(2, 3, 10), **JOINED),
     sample(byte(130, 30), weight(33, 30), positive(33), real(33), None, **POINTS),
     dtypes=(torch.float32,), layouts=CONTIGUOUS, empty=False)

refuses("quantize_per_tensor", sample(real(3), scale=0.0, zero_point=1), "scale")
refuses("quantize_per_tensor", sample(real(3), scale=1.0, zero_point=256), "zero point")
refuses("quantized_conv2d", sample(byte(1, 4, 3, 3), weight(4, 2, 1, 1), positive(4), groups=2,
                                   **BYTES), "groups")
refuses("quantized_linear", sample(byte(2, 4), weight(3, 5), positive(3), **BYTES), "rows of 4")
