"""Cases of the ops in src/ops/dropout.c: what is dropped is read from our result, and its share
must fit the probability."""
import math

import torch

from harness import F32_F64, away, case, real, refuses, sample

SELU_FLOOR = -1.7580993408473766


def dropout(x, p, training, ours):
    if not training or p == 0:
        return x * 1
    kept = ours[0] != 0
    return torch.where(kept, x / (1 - p) if p < 1 else x * 0, x * 0)


def alpha_dropout(x, p, training, ours):
    if not training or p == 0:
        return x * 1
    scale = 1 / math.sqrt((SELU_FLOOR ** 2 * p + 1) * (1 - p))
    shift = -scale * SELU_FLOOR * p
    dropped = scale * SELU_FLOOR + shift
    kept = (ours[0].to(torch.float64) - dropped).abs() > 0.02
    return torch.where(kept, x * scale + shift, torch.full_like(x, dropped))


def native(x, scale, shift, dropped, p, mask_dims, ours):
    kept = ours[1]
    return torch.where(kept, x * scale + shift, torch.full_like(x, dropped)), kept


SHAPES = ((3, 5), (2, 3, 4), (1100,), (150, 333))
for training in (True, False):
    case("dropout", dropout, *(sample(away(*s), p=0.3, training=training) for s in SHAPES),
         sees_output=True)
    for name, shapes in (("dropout1d", ((4, 5, 6), (5, 6))),
                         ("dropout2d", ((4, 5, 6, 7), (20, 30, 9, 9))),
                         ("dropout3d", ((4, 5, 2, 3, 4), (5, 2, 3, 4)))):
        case(name, dropout, *(sample(away(*s), p=0.4, training=training) for s in shapes),
             sees_output=True)
    case("stochastic_depth", dropout, *(sample(away(*s), p=0.4, training=training)
                                        for s in ((40, 3, 5), (5,), (30, 7, 6, 8))),
         sees_output=True)
    for name in ("alpha_dropout", "feature_alpha_dropout"):
        case(name, alpha_dropout, *(sample(real(*s, low=-0.8), p=0.3, training=training)
                                    for s in SHAPES), sees_output=True, dtypes=F32_F64)
case("dropout", dropout, sample(away(5, 7), p=0.0, training=True),
     sample(away(5, 7), p=1.0, training=True), sees_output=True)
case("native_dropout", native,
     sample(real(30, 50), scale=2.0, shift=0.5, dropped=-1.0, p=0.5, mask_dims=0),
     sample(real(3, 4, 5), scale=2.0, shift=0.0, dropped=0.0, p=0.5, mask_dims=2),
     sees_output=True, dtypes=F32_F64)


def share_is_right(inputs, outputs, attributes):
    """The share of kept elements, within five standard deviations."""
    count = outputs[0].numel()
    kept = (outputs[0] != 0).double().mean().item()
    p = attributes["p"]
    if abs(kept - (1 - p)) > 5 * math.sqrt(p * (1 - p) / count):
        return f"{kept} of the elements are kept, not {1 - p}"
    return None


def channels_are_whole(inputs, outputs, attributes):
    flat = (outputs[0] != 0).flatten(2)
    return None if bool((flat == flat[..., :1]).all()) else "a channel is dropped in parts"


def samples_are_whole(inputs, outputs, attributes):
    flat = (outputs[0] != 0).flatten(1)
    share = flat[:, 0].double().mean()
    whole = bool((flat == flat[:, :1]).all()) and 0 < share < 1
    return None if whole else f"samples are dropped in parts, or {share} of them kept"


case("dropout", None, *(sample(away(500, 400), p=p, training=True) for p in (0.1, 0.5, 0.9)),
     verify=share_is_right, dtypes=F32_F64, gradient=False)
case("dropout2d", None, sample(away(8, 9, 5, 6), p=0.5, training=True), verify=channels_are_whole,
     dtypes=F32_F64, gradient=False, empty=False, zero_dim=False)

refuses("dropout", sample(real(3), p=1.5, training=True), "between 0 and 1")
case("stochastic_depth", None, sample(away(60, 2, 5, 6), p=0.5, training=True),
     verify=samples_are_whole, dtypes=F32_F64, gradient=False, empty=False, zero_dim=False)

refuses("stochastic_depth", sample(real(3, 4), p=-0.5, training=True), "between 0 and 1")
refuses("dropout2d", sample(real(3, 4), p=0.5, training=True), "dimensions")
