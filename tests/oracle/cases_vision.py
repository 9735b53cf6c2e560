"""Cases of the ops in src/ops/vision.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, real, refuses, sample

# ---- interpolate ----

MODES = {word: choice(word, code) for code, word in enumerate(
    ("nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"))}
SHAPES = {1: (2, 3, 7), 2: (2, 3, 6, 7), 3: (2, 2, 3, 4, 5)}


def interpolate(x, mode, size=None, scale_factor=None, align_corners=None,
                recompute_scale_factor=None):
    return F.interpolate(x, size if size is None or len(size) > 1 else size[0], scale_factor,
                         str(mode), align_corners, recompute_scale_factor)


def resized(spatial, mode, **more):
    shape = SHAPES[spatial]
    yield sample(real(*shape), size=[9], mode=MODES[mode], **more)
    yield sample(real(*shape), size=[4], mode=MODES[mode], **more)
    yield sample(real(*shape), size=list(range(5, 5 + spatial)), mode=MODES[mode], **more)
    yield sample(real(*shape), scale_factor=2.0, mode=MODES[mode], **more)
    yield sample(real(*shape), scale_factor=1.7, mode=MODES[mode], **more)
    yield sample(real(*shape), scale_factor=0.6, mode=MODES[mode], **more)
    yield sample(real(*shape), size=[1], mode=MODES[mode], **more)


for spatial in (1, 2, 3):
    for mode in ("nearest", "nearest-exact", "area"):
        case("interpolate", interpolate, *resized(spatial, mode))
for spatial, mode in ((1, "linear"), (2, "bilinear"), (2, "bicubic"), (3, "trilinear")):
    for align_corners in (False, True):
        case("interpolate", interpolate, *resized(spatial, mode, align_corners=align_corners))
    case("interpolate", interpolate,
         sample(real(*SHAPES[spatial]), scale_factor=1.7, mode=MODES[mode],
                recompute_scale_factor=True), dtypes=F32_F64)
case("interpolate", interpolate,
     sample(real(2, 3, 60, 70), scale_factor=2.0, mode=MODES["bilinear"]),
     sample(real(2, 3, 60, 70), scale_factor=2.0, mode=MODES["nearest"]), dtypes=F32_F64)
# Where places are rounded once more or less in float32, weights differ a little.
case("interpolate", interpolate,
     sample(real(2, 3, 60, 70), size=[50, 91], mode=MODES["bicubic"]), dtypes=F32_F64, loosen=10)
refuses("interpolate", sample(real(2, 3, 4), mode=MODES["nearest"]), "scale_factor")
refuses("interpolate", sample(real(2, 3), size=[4], mode=MODES["nearest"]), "dimensions")
refuses("interpolate", sample(real(2, 3, 4), size=[4], mode=MODES["bilinear"]), "dimensions")
refuses("interpolate", sample(real(2, 3, 4), size=[4], mode=MODES["nearest"], align_corners=True),
        "align_corners")

# ---- grid_sample, affine_grid ----

SAMPLING = {word: choice(word, code) for code, word in enumerate(
    ("bilinear", "nearest", "bicubic"))}
PADDING = {word: choice(word, code) for code, word in enumerate(
    ("zeros", "border", "reflection"))}


def grid_sample(x, grid, mode, padding_mode, align_corners=False):
    return F.grid_sample(x, grid, str(mode), str(padding_mode), align_corners)


for mode, code in SAMPLING.items():
    for padding, padding_code in PADDING.items():
        for align_corners in (False, True):
            settings = {"mode": code, "padding_mode": padding_code, "align_corners": align_corners}
            case("grid_sample", grid_sample,
                 sample(real(2, 3, 5, 6), real(2, 4, 3, 2, low=-1.4, high=1.4), **settings),
                 sample(real(2, 3, 5, 6), real(2, 20, 30, 2, low=-0.9, high=0.9), **settings),
                 *([] if mode == "bicubic" else
                   [sample(real(2, 2, 3, 4, 5), real(2, 2, 3, 4, 3, low=-1.4, high=1.4),
                           **settings)]),
                 dtypes=F32_F64, gradgrad=False, loosen=10)
refuses("grid_sample", sample(real(2, 3, 5, 6), real(1, 4, 3, 2)), "grid")
refuses("grid_sample", sample(real(2, 3, 5, 6), real(2, 4, 3, 3)), "grid")
refuses("grid_sample", sample(real(2, 3, 4, 5, 6), real(2, 4, 3, 3, 3), mode=SAMPLING["bicubic"]),
        "bicubic")


def affine_grid(theta, size, align_corners=False):
    """The points of PyTorch, mapped here: its own gradient refuses some layouts."""
    dims = len(size) - 2
    same = torch.eye(dims, dims + 1, dtype=theta.dtype).unsqueeze(0)
    points = F.affine_grid(same, [1, *size[1:]], align_corners).reshape(-1, dims)
    points = torch.cat([points, torch.ones_like(points[:, :1])], 1)
    return (points @ theta.transpose(1, 2)).reshape(size[0], *size[2:], dims)


case("affine_grid", affine_grid,
     *(sample(real(2, dims, dims + 1), size=[2, 3, 4, 5, 6][:dims + 2], align_corners=aligned)
       for dims in (2, 3) for aligned in (False, True)),
     sample(real(1, 2, 3), size=[1, 3, 1, 5]), dtypes=F32_F64, empty=False)
refuses("affine_grid", sample(real(2, 2, 3), size=[3, 1, 4, 5]), "theta")

# ---- shuffles ----

case("pixel_shuffle", F.pixel_shuffle,
     sample(real(2, 8, 3, 4), upscale_factor=2),
     sample(real(18, 3, 4), upscale_factor=3),
     sample(real(2, 3, 4, 3, 4), upscale_factor=2), empty=False)
case("pixel_unshuffle", F.pixel_unshuffle,
     sample(real(2, 2, 6, 4), downscale_factor=2),
     sample(real(2, 6, 9), downscale_factor=3),
     sample(real(2, 3, 2, 4, 4), downscale_factor=2), empty=False)
case("channel_shuffle",
     lambda x, groups: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2),
     sample(real(2, 6, 3, 4), groups=3),
     sample(real(2, 6, 5), groups=2), empty=False)
refuses("pixel_shuffle", sample(real(2, 6, 3, 4), upscale_factor=2), "factor")
refuses("pixel_unshuffle", sample(real(2, 6, 3, 4), downscale_factor=2), "factor")
refuses("channel_shuffle", sample(real(2, 6, 3, 4), groups=4), "groups")


# ---- patches ----

def unfold(x, kernel_size, dilation=(1,), padding=(0,), stride=(1,)):
    return F.unfold(x, *(tuple(v) * (2 // len(v))
                         for v in (kernel_size, dilation, padding, stride)))


def fold(x, output_size, kernel_size, dilation=(1,), padding=(0,), stride=(1,)):
    return F.fold(x, *(tuple(v) * (2 // len(v))
                       for v in (output_size, kernel_size, dilation, padding, stride)))


case("im2col", unfold,
     sample(real(2, 3, 6, 7), kernel_size=[2]),
     sample(real(2, 3, 6, 7), kernel_size=[3, 2], padding=[1], stride=[2, 1]),
     sample(real(2, 3, 6, 7), kernel_size=[2], dilation=[2], padding=[2, 0], stride=[2]),
     sample(real(3, 6, 7), kernel_size=[3]),
     sample(real(4, 3, 40, 40), kernel_size=[3], padding=[1]))
case("col2im", fold,
     sample(real(2, 12, 30), output_size=[6, 7], kernel_size=[2]),
     sample(real(2, 18, 24), output_size=[6, 7], kernel_size=[3, 2], padding=[1], stride=[2, 1]),
     sample(real(27, 20), output_size=[6, 7], kernel_size=[3]),
     sample(real(4, 27, 1600), output_size=[40], kernel_size=[3], padding=[1]))
refuses("im2col", sample(real(2, 3, 4, 4), kernel_size=[5]), "kernel")
refuses("col2im", sample(real(2, 12, 31), output_size=[6, 7], kernel_size=[2]), "patches")
