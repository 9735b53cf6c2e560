#!/usr/bin/env python3
"""The zoo's classifiers of images against torchvision's: tensors have the same names and shapes,
the same weights give the same logits as PyTorch in float64 (within 1e-4 of the largest, in eval
mode, with running statistics of a batch), the same loss and, by norm, the same gradients.

Without arguments some of each family are compared, on small images; with names of models those, and
with --all every one, Inception on images of 299 pixels; each gives a line of a table. What a ReLU
that flips for the sake of rounding does is measured with PyTorch's own float32, as in models.py.
Models of over --exact million parameters (200) are compared with PyTorch's float32 alone: there its
noise is unknown and 1e-2 allowed."""
import argparse
import copy
import os
import sys
import time
import unittest.mock
import warnings

try:
    import torch
    import torchvision
except ImportError as missing:
    print(f"skipped: PyTorch or torchvision is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from models import distance, without_dropout
from torch import nn
from training import Net, auxiliary, cross_entropy

warnings.simplefilter("ignore")
torch.set_num_threads(1)
SLOW = bool(os.environ.get("CRESSET_SLOW"))
CLASSES = 5
TRIES = 3  # other weights and images: a ReLU may flip in ours and not in PyTorch's float32
FAMILIES = (
    "alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn googlenet inception_v3 "
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d "
    "resnext101_64x4d wide_resnet50_2 wide_resnet101_2 squeezenet1_0 squeezenet1_1 mobilenet_v2 "
    "mobilenet_v3_small mobilenet_v3_large shufflenet_v2_x0_5 shufflenet_v2_x1_0 "
    "shufflenet_v2_x1_5 shufflenet_v2_x2_0 mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 "
    "densenet121 densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 "
    "efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 "
    "efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l regnet_y_400mf "
    "regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf "
    "regnet_y_128gf regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf "
    "regnet_x_16gf regnet_x_32gf convnext_tiny convnext_small convnext_base convnext_large "
    "vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14 swin_t swin_s swin_b swin_v2_t swin_v2_s "
    "swin_v2_b").split()
SHORT = ("squeezenet1_1 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 regnet_y_400mf "
         "regnet_x_400mf").split()
USUAL = SHORT + ("googlenet densenet121 efficientnet_b0 resnext50_32x4d convnext_tiny swin_v2_t "
                 "vit_b_32").split()


def side_of(name, whole):
    """Height and width of the images that a model is compared on."""
    if name == "inception_v3":
        return 299 if whole else 107
    if name == "vit_h_14":
        return 56
    return 64


def plain_normal(value, mean=0.0, std=1.0, **_):
    return nn.init.normal_(value, mean, std)


def make(name, side):
    """torchvision's model, without the minute that the initial values of some take."""
    settings = {"image_size": side} if name.startswith("vit") else {}
    with unittest.mock.patch("torch.nn.init.trunc_normal_", plain_normal):
        net = getattr(torchvision.models, name)(num_classes=CLASSES, **settings)
    with torch.no_grad():
        for key, value in net.named_parameters():
            if value.dim() in (1, 3):  # norms, biases, scales and tokens away from where they begin
                value.add_(torch.randn_like(value) * 0.1)
            elif not value.any():
                value.normal_(0, 0.02)
    return without_dropout(net)


def settle(net, x):
    """Gives batch norms the statistics of a batch, so that results in eval mode tell something."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    net.train()
    with torch.no_grad():
        net(x)
    for norm, momentum in zip(norms, usual):
        norm.momentum = momentum


def logits_and_loss(net, x, target):
    """The loss of training, with that of auxiliary heads."""
    result = net(x)
    loss = nn.functional.cross_entropy
    if isinstance(result, torch.Tensor):
        return loss(result, target)
    heads = [head for head in result[1:] if head is not None]
    weight = 0.3 if len(heads) == 2 else 0.4
    return loss(result[0], target) + weight * sum(loss(head, target) for head in heads)


class Difference(Exception):
    """What does not agree."""


def expect(holds, *words):
    if not holds:
        raise Difference(" ".join(map(str, words)))


def own_loss(ours, x, target):
    loss = cross_entropy(ours(cr.tensor(x)), cr.tensor(target))
    heads, weight = auxiliary()
    for head in heads:
        part = cross_entropy(head, cr.tensor(target))
        loss = cr.call("add", loss, cr.call("mul", part, cr.tensor(torch.tensor(weight))))
    return loss


def compare(name, whole, most_exact, seed, logits_only):
    """A row of the table: (parameters, error of logits, that of PyTorch's float32, error of the
    loss, of gradients, that of PyTorch's float32)."""
    torch.manual_seed(seed)
    side = side_of(name, whole)
    x, target = torch.randn(4, 3, side, side), torch.randint(0, CLASSES, (4,))
    theirs = make(name, side)
    if name == "inception_v3" and not whole:  # its head needs 299 pixels
        theirs.AuxLogits.forward = lambda _: None
    settle(theirs, torch.cat([x, torch.randn(12, 3, side, side)]))
    ours = Net(name, CLASSES, tuple(x.shape), auxiliary=name == "googlenet" or whole)
    state = theirs.state_dict()
    own = ours.tensors()
    expect(set(own) == set(state), "names differ:", sorted(set(own) ^ set(state))[:8])
    for key, value in state.items():
        expect(own[key].shape == tuple(value.shape), key, own[key].shape, tuple(value.shape))
    ours.load(state)
    count = sum(value.numel() for value in theirs.parameters())
    exact = copy.deepcopy(theirs).double() if count <= most_exact else theirs
    kind = next(exact.parameters()).dtype

    exact.eval(), ours.train(False)
    with torch.no_grad(), cr.no_grad(), cr.frame():
        expected = exact(x.to(kind))
        logits = ours(cr.tensor(x)).torch()
        scale = max(1, float(expected.abs().max()))
        error = float((logits - expected).abs().max()) / scale
        theirs.eval()
        rounding = float((theirs(x) - expected).abs().max()) / scale
    expect(error < max(1e-4, 2 * rounding), "logits differ by", error,
           "where PyTorch's float32 differ by", rounding)

    if logits_only:
        return count, error, rounding
    exact.train(), theirs.train(), ours.train(True)
    loss = logits_and_loss(exact, x.to(kind), target)
    loss.backward()
    reference = {key: value.grad.clone() for key, value in exact.named_parameters()
                 if value.grad is not None}
    floor = 1e-4 * max(float(grad.norm()) for grad in reference.values())
    noise = 0.0
    if exact is not theirs:
        logits_and_loss(theirs, x, target).backward()
        noise = max(distance(value.grad, reference[key], floor)
                    for key, value in theirs.named_parameters() if key in reference)
    with cr.frame():
        mine = own_loss(ours, x, target)
        loss_error = abs(float(mine.torch()) - float(loss)) / float(loss)
        mine.backward()
        parameters = ours.tensors(parameters_only=True)
        gradients = {key: distance(parameters[key].grad.torch(), value, floor)
                     for key, value in reference.items()}
    worst = max(gradients, key=gradients.get)
    expect(loss_error < 1e-3, "the loss differs by", loss_error)
    allowed = max(5e-3, 2 * noise) if exact is not theirs else 1e-2
    expect(gradients[worst] < allowed, worst, "has a gradient that differs by", gradients[worst],
           "where PyTorch's float32 differs by", noise)
    return count, error, rounding, loss_error, gradients[worst], noise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--logits", action="store_true", help="leave out losses and gradients")
    parser.add_argument("--exact", type=int, default=200, metavar="MILLION")
    arguments = parser.parse_args()
    whole = arguments.all or bool(arguments.names)
    names = FAMILIES if arguments.all else arguments.names or (SHORT if SLOW else USUAL)
    print(f"{'model':20} {'parameters':>12} {'logits':>8} {'float32':>8} {'loss':>8} "
          f"{'gradient':>8} {'float32':>8} {'seconds':>7}")
    faults = 0
    for name in names:
        start = time.monotonic()
        for seed in range(TRIES):
            try:
                with cr.frame():
                    count, *errors = compare(name, whole, arguments.exact * 1e6, seed,
                                             arguments.logits)
                break
            except (Difference, cr.CressetError) as fault:
                print(f"{name:20} {fault}", flush=True)
        else:
            faults += 1
            continue
        print(f"{name:20} {count:12,} " + " ".join(f"{error:8.1e}" for error in errors) +
              f" {time.monotonic() - start:7.1f}", flush=True)
    print(f"{len(names)} models, {faults} differ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
