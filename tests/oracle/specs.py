"""What inputs of a case look like: recipes that make a torch tensor for the dtype of a run, and the
layouts in memory that each is tried in."""
import dataclasses
import math
from typing import Callable, Optional

import torch

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
F32_F64 = (torch.float32, torch.float64)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
NUMBERS = FLOATS + INTEGERS
ALL = NUMBERS + (torch.bool,)


@dataclasses.dataclass(frozen=True)
class Spec:
    """One tensor input: `fill(rng, shape, dtype)` makes it, in `dtype` if that is fixed, else in
    the dtype of the run."""
    shape: tuple
    fill: Callable
    dtype: Optional[torch.dtype] = None
    grad: bool = True     # ask for its gradient, if it is floating
    expand: bool = True   # may be made constant along a dimension

    def make(self, rng, dtype):
        return self.fill(rng, self.shape, self.dtype or dtype)

    def frozen(self):
        """The same without a gradient."""
        return dataclasses.replace(self, grad=False)

    def of(self, dtype):
        """The same with a fixed dtype."""
        return dataclasses.replace(self, dtype=dtype)

    def shaped(self, shape):
        return dataclasses.replace(self, shape=tuple(shape))


def _uniform(low, high):
    def fill(rng, shape, dtype):
        if dtype == torch.bool:
            return torch.rand(shape, generator=rng) < 0.5
        if not dtype.is_floating_point:
            least = max(math.ceil(low), torch.iinfo(dtype).min)
            return torch.randint(least, max(math.floor(high), least) + 1, shape, generator=rng,
                                 dtype=dtype)
        values = torch.rand(shape, generator=rng, dtype=torch.float64)
        return (low + (high - low) * values).to(dtype)
    return fill


def real(*shape, low=-3.0, high=3.0):
    """Uniform in [low, high]; whole numbers of that range in integer runs."""
    return Spec(shape, _uniform(low, high))


def positive(*shape, low=0.2, high=3.0):
    """Uniform, well above zero (1, 2 or 3 in integer runs)."""
    return Spec(shape, _uniform(low, high))


def distinct(*shape, low=-3.0, high=3.0):
    """No two elements the same, in random order: for what compares or orders. In dtypes with few
    values keep it below a hundred elements."""
    def fill(rng, shape, dtype):
        count = math.prod(shape)
        order = torch.randperm(count, generator=rng).reshape(shape)
        if not dtype.is_floating_point:
            return order.to(dtype)
        return (low + (high - low) * (order.double() + 0.5) / max(count, 1)).to(dtype)
    return Spec(shape, fill, expand=False)


def away(*shape, points=(0.0,), gap=0.05, low=-3.0, high=3.0):
    """Uniform, but no closer than `gap` to the points, where the function has kinks or jumps."""
    def fill(rng, shape, dtype):
        values = _uniform(low, high)(rng, shape, dtype if not dtype.is_floating_point
                                     else torch.float64)
        if dtype.is_floating_point:
            for point in points:
                near = (values - point).abs() < gap
                values = torch.where(near, point + torch.where(values < point, -gap, gap), values)
        return values.to(dtype)
    return Spec(shape, fill)


def integer(*shape, low=0, high=9, dtype=torch.int64):
    """Whole numbers of [low, high] in a fixed dtype: indices, labels."""
    return Spec(shape, _uniform(low, high), dtype, grad=False)


def boolean(*shape):
    """Random truth values: masks."""
    return Spec(shape, _uniform(0, 1), torch.bool, grad=False)


def exactly(values, dtype=None, grad=True):
    """These elements (a tensor or nested lists), converted to the dtype of the run unless `dtype`
    is given."""
    values = torch.as_tensor(values)

    def fill(_, shape, run_dtype):
        return values.to(run_dtype).reshape(shape) if values.numel() == math.prod(shape) \
            else torch.zeros(shape, dtype=run_dtype)
    return Spec(tuple(values.shape), fill, dtype, grad, expand=False)


class Choice(str):
    """A word for the reference that stands for a number of an enum: choice("mean", 1)."""
    code: int


def choice(word, code):
    result = Choice(word)
    result.code = code
    return result


# ---- layouts: each takes (tensor, may be expanded) and gives it, differently stored; None: the
# layout does not apply. Only "expanded" changes elements. ----

def _garbage(dtype):
    if dtype == torch.bool:
        return True
    return math.nan if dtype.is_floating_point else torch.iinfo(dtype).max // 2


def _contiguous(tensor, _):
    return tensor


def _transposed(tensor, _):
    if tensor.dim() < 2:
        return None
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def _sliced(tensor, _):
    """An offset, steps of two in the last dimension, and garbage all around."""
    if tensor.dim() == 0:
        room = torch.full((3,), _garbage(tensor.dtype), dtype=tensor.dtype)
        place = room[1]
    else:
        sizes = [n + 2 for n in tensor.shape[:-1]] + [2 * tensor.shape[-1] + 1]
        room = torch.full(sizes, _garbage(tensor.dtype), dtype=tensor.dtype)
        place = room[tuple(slice(1, n + 1) for n in tensor.shape[:-1]) + (slice(1, None, 2),)]
    place.copy_(tensor)
    return place


def _expanded(first):
    def layout(tensor, expand):
        dims = [d for d in range(tensor.dim()) if tensor.shape[d] > 1]
        if not dims or not expand:
            return None
        return tensor.narrow(dims[0 if first else -1], 0, 1).expand(tensor.shape)
    return layout


LAYOUTS = {
    "contiguous": _contiguous,
    "transposed": _transposed,
    "sliced": _sliced,
    "expanded": _expanded(True),
    "expanded-inner": _expanded(False),
}
