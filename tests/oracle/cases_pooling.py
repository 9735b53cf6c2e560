"""Cases of the ops in src/ops/pooling.c."""
import torch
import torch.nn.functional as F

from harness import F32_F64, case, choice, distinct, exactly, positive, real, refuses, sample

INF, NAN = float("inf"), float("nan")
HIDDEN, RETURNED = choice("hidden", 0), choice("returned", 1)


def sizes(spatial, *values):
    return list(values)[:spatial]


# ---- maxima ----

def max_pool(spatial):
    function = getattr(F, f"max_pool{spatial}d")

    def reference(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
                  return_indices=HIDDEN):
        with_indices = return_indices.code == 1
        return function(x, kernel_size, stride or None, padding or 0, dilation or 1, ceil_mode,
                        return_indices=with_indices)
    return reference


SHAPES = {1: (2, 3, 13), 2: (2, 3, 9, 13), 3: (2, 2, 6, 7, 9)}
for spatial, shape in SHAPES.items():
    name = f"max_pool{spatial}d"
    case(name, max_pool(spatial),
         sample(distinct(*shape), kernel_size=[2]),
         sample(distinct(*shape), kernel_size=[3], stride=[2], padding=[1]),
         sample(distinct(*shape[1:]), kernel_size=[3], stride=[1], padding=[1]),
         sample(distinct(*shape), kernel_size=[2], stride=[2], ceil_mode=True),
         sample(distinct(*shape), kernel_size=[3], stride=[2], padding=[1], dilation=[2]),
         sample(distinct(*shape), kernel_size=sizes(spatial, 3, 2, 4),
                stride=sizes(spatial, 1, 2, 3), padding=sizes(spatial, 1, 0, 2), ceil_mode=True),
         sample(distinct(*shape), kernel_size=[3], stride=[2], padding=[1],
                return_indices=RETURNED),
         dtypes=F32_F64)
    case(name, max_pool(spatial), sample(real(*shape), kernel_size=[3], stride=[2], padding=[1]),
         gradient=False)
    case(name, max_pool(spatial), sample(real(*shape), kernel_size=[2]), gradient=False)
case("max_pool2d", max_pool(2),
     sample(distinct(1, 2, 40, 600), kernel_size=[2]),
     sample(distinct(1, 2, 41, 601), kernel_size=[3], stride=[2], padding=[1]),
     sample(distinct(4, 3, 16, 16), kernel_size=[2]),
     sample(distinct(2, 2, 20, 20), kernel_size=[17], stride=[3], padding=[8]),
     dtypes=F32_F64)
case("max_pool2d", max_pool(2),
     sample(exactly([[[1.0, NAN, 2.0, -INF], [3.0, 0.0, -INF, -INF], [NAN, 1.0, -INF, -INF],
                      [NAN, 5.0, -INF, -INF]]]).frozen(), kernel_size=[2], return_indices=RETURNED),
     sample(exactly([[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [0.0, 2.0, 2.0]]]).frozen(),
            kernel_size=[3], stride=[1], padding=[1], return_indices=RETURNED),
     dtypes=F32_F64)

for spatial, shape in SHAPES.items():
    def adaptive_max(x, output_size, return_indices=HIDDEN, spatial=spatial):
        function = getattr(F, f"adaptive_max_pool{spatial}d")
        output_size = [size if size != -1 else None for size in output_size] * spatial
        return function(x, output_size[:spatial], return_indices=return_indices.code == 1)

    name = f"adaptive_max_pool{spatial}d"
    case(name, adaptive_max,
         sample(distinct(*shape), output_size=[1]),
         sample(distinct(*shape), output_size=[4]),
         sample(distinct(*shape[1:]), output_size=[3]),
         sample(distinct(*shape), output_size=[4], return_indices=RETURNED),
         sample(distinct(*shape), output_size=sizes(spatial, 3, 5, 2)),
         dtypes=F32_F64)
    refuses(f"max_pool{spatial}d", sample(real(2, 3), kernel_size=[2])
            if spatial > 1 else sample(real(2), kernel_size=[2]), "dimensions")

refuses("max_pool2d", sample(real(2, 3, 4, 4), kernel_size=[5]), "too small")
refuses("max_pool2d", sample(real(2, 3, 4, 4), kernel_size=[2], padding=[2]), "padding")
refuses("max_pool2d", sample(real(2, 3, 4, 4), kernel_size=[2, 2, 2]), "kernel_size")
refuses("max_pool2d", sample(real(2, 3, 4, 4)), "kernel_size")
refuses("max_pool2d", sample(real(2, 3, 4, 4), kernel_size=[2], stride=[-1]), "positive")
refuses("max_pool2d", sample(real(2, 3, 4, 4), kernel_size=[2]), "floating", dtype=torch.int64)


# ---- means ----

def avg_pool(spatial):
    function = getattr(F, f"avg_pool{spatial}d")

    def reference(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False,
                  divisor_override=None):
        options = {"divisor_override": divisor_override} if divisor_override else {}
        return function(x, kernel_size, stride or None, padding or 0, ceil_mode, count_include_pad,
                        **options)
    return reference


for spatial, shape in SHAPES.items():
    case(f"avg_pool{spatial}d", avg_pool(spatial),
         sample(real(*shape), kernel_size=[2]),
         sample(real(*shape), kernel_size=[3], stride=[2], padding=[1], count_include_pad=True),
         sample(real(*shape), kernel_size=[3], stride=[2], padding=[1]),
         sample(real(*shape[1:]), kernel_size=[3], stride=[1], padding=[1]),
         sample(real(*shape), kernel_size=[2], stride=[2], ceil_mode=True, count_include_pad=True),
         sample(real(*shape), kernel_size=sizes(spatial, 3, 2, 4), stride=sizes(spatial, 1, 2, 3),
                padding=sizes(spatial, 1, 0, 2), ceil_mode=True, count_include_pad=True))
for spatial in (2, 3):
    case(f"avg_pool{spatial}d", avg_pool(spatial),
         sample(real(*SHAPES[spatial]), kernel_size=[3], stride=[2], padding=[1],
                divisor_override=5))
case("avg_pool2d", avg_pool(2),
     sample(real(1, 2, 40, 600), kernel_size=[2]),
     sample(real(1, 2, 41, 601), kernel_size=[3], stride=[2], padding=[1]),
     sample(real(2, 3, 30, 30), kernel_size=[30], count_include_pad=True))
refuses("avg_pool2d", sample(real(2, 3, 4, 4), kernel_size=[5]), "too small")

for spatial, shape in SHAPES.items():
    def adaptive_avg(x, output_size, spatial=spatial):
        function = getattr(F, f"adaptive_avg_pool{spatial}d")
        output_size = [size if size != -1 else None for size in output_size] * spatial
        return function(x, output_size[:spatial])

    case(f"adaptive_avg_pool{spatial}d", adaptive_avg,
         sample(real(*shape), output_size=[1]),
         sample(real(*shape), output_size=[4]),
         sample(real(*shape[1:]), output_size=[3]),
         sample(real(*shape), output_size=sizes(spatial, 3, 5, 2)))
case("adaptive_avg_pool2d",
     lambda x, output_size: F.adaptive_avg_pool2d(x, [n if n != -1 else None for n in output_size]),
     sample(real(2, 3, 8, 12), output_size=[4, 6]),
     sample(real(2, 3, 8, 12), output_size=[-1, 5]),
     sample(real(3, 4, 70, 70), output_size=[1, 1]))

for spatial in (1, 2):
    case(f"lp_pool{spatial}d", getattr(F, f"lp_pool{spatial}d"),
         sample(positive(*SHAPES[spatial]), norm_type=2.0, kernel_size=2, stride=2),
         sample(positive(*SHAPES[spatial]), norm_type=3.0, kernel_size=3, stride=2,
                ceil_mode=True), dtypes=F32_F64)
