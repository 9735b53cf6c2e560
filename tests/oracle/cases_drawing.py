"""Cases of the ops in src/ops/drawing.c: moments, ranges and shapes, as the bits are our own."""
import torch

from harness import F32_F64, FLOATS, case, exactly, real, refuses, sample

F32, I64 = torch.float32, torch.int64
ONCE = {"dtypes": (F32,), "layouts": ("contiguous",), "gradient": False, "empty": False,
        "zero_dim": False, "meta": False}


def moments(values, mean, deviation):
    """What is wrong with 100 000 and more numbers of this mean and standard deviation."""
    values = values.double()
    far = abs(values.mean().item() - mean) > 0.02 * max(deviation, 1e-9)
    wide = abs(values.std().item() / deviation - 1) > 0.02
    return f"mean {values.mean()}, deviation {values.std()}" if far or wide else None


def uniform(inputs, outputs, attributes):
    low, high = attributes["from"], attributes["until"]
    if outputs[0].min() < low or outputs[0].max() > high:
        return "outside the range"
    return moments(outputs[0], (low + high) / 2, (high - low) / 12**0.5)


def normal(inputs, outputs, attributes):
    return moments(outputs[0], attributes["mean"], attributes["std"])


def randint(inputs, outputs, attributes):
    low, high = attributes["low"], attributes["high"]
    values = outputs[0]
    if values.dtype != attributes["dtype"] or values.min() < low or values.max() >= high:
        return "outside the range"
    return moments(values, (low + high - 1) / 2, (((high - low)**2 - 1) / 12)**0.5)


def randperm(inputs, outputs, attributes):
    expected = torch.arange(attributes["n"])
    if not torch.equal(outputs[0].sort()[0], expected):
        return "no permutation"
    return "in order" if torch.equal(outputs[0], expected) else None


def bernoulli(inputs, outputs, attributes):
    chance, drawn = inputs[0].double(), outputs[0].double()
    if not torch.equal(drawn, (drawn != 0).double()):
        return "not 0 or 1"
    return "not as likely" if abs((drawn - chance).mean().item()) > 0.01 else None


def multinomial(inputs, outputs, attributes):
    weights, drawn = inputs[0].double(), outputs[0]
    if not attributes["replacement"]:
        twice = any(row.unique().numel() < row.numel() for row in drawn)
        return "a column twice" if twice else None
    count = torch.stack([torch.bincount(row, minlength=weights.shape[1]) for row in drawn])
    share = weights / weights.sum(1, keepdim=True)
    return "not by weight" if (count / drawn.shape[1] - share).abs().max() > 0.02 else None


case("rand", None,
     *(sample(**{"from": 0.0, "until": 1.0}, size=(400, 301), dtype=dtype)
       for dtype in (F32, torch.float64, torch.float16, torch.bfloat16)),
     sample(**{"from": -3.0, "until": 5.0}, size=(120001,), dtype=F32), verify=uniform, **ONCE)
case("normal", None,
     *(sample(mean=0.0, std=1.0, size=(400, 301), dtype=dtype)
       for dtype in (F32, torch.float64, torch.float16, torch.bfloat16)),
     sample(mean=2.0, std=0.5, size=(120001,), dtype=F32), verify=normal, **ONCE)
case("randint", None,
     sample(low=-3, high=4, size=(120001,), dtype=I64),
     sample(low=0, high=2**40, size=(120001,), dtype=I64),
     sample(low=0, high=100, size=(300, 400), dtype=torch.int8), verify=randint, **ONCE)
case("randperm", None, sample(n=1000), verify=randperm, **ONCE)
case("bernoulli", None, sample(real(300, 401, low=0.0, high=1.0)), dtypes=FLOATS,
     verify=bernoulli)
WEIGHTS = exactly([[1.0, 2.0, 3.0, 0.0], [0.0, 1.0, 1.0, 5.0]])
case("multinomial", None,
     sample(WEIGHTS, num_samples=50000, replacement=True),
     sample(WEIGHTS, num_samples=3, replacement=False), dtypes=F32_F64,
     layouts=("contiguous", "transposed", "sliced"), gradient=False, empty=False, zero_dim=False,
     meta=False, verify=multinomial)

refuses("rand", sample(**{"from": 1.0, "until": 0.0}, size=(2,), dtype=F32), "empty")
refuses("normal", sample(mean=0.0, std=-1.0, size=(2,), dtype=F32), "negative")
refuses("normal", sample(mean=0.0, std=1.0, size=(2,), dtype=I64), "floating, not int64")
refuses("randint", sample(low=3, high=3, size=(2,), dtype=I64), "empty")
refuses("randperm", sample(n=-1), "negative")
refuses("bernoulli", sample(real(3)), "floating", dtype=I64)
refuses("multinomial", sample(WEIGHTS, num_samples=4, replacement=False), "too few")
refuses("multinomial", sample(exactly([-1.0, 2.0]), num_samples=1, replacement=True), "no weight")
