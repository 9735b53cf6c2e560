#!/usr/bin/env python3
"""The zoo's classifiers of images against torchvision's: tensors have the same names and shapes,
the same weights give the same logits as PyTorch in float64 (within 1e-4 of the largest, in eval
mode, with running statistics of a batch), the same loss and, by norm, the same gradients.

Gradients are compared in float64 in both (within 1e-5), where no ReLU flips for the sake of
rounding. In float32 one that does changes the gradients of a deep net in their third digit, so
there the loss must be within 1e-3, and a gradient within 5e-3 or twice what PyTorch's own float32
is off by.

Without arguments some of each family are compared, on small images; with names of models those, and
with --all every one, Inception on images of 299 pixels; each gives a line of a table. Of models of
over --single million parameters (200) the float32 gradients are left out, for want of memory."""
import argparse
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
COLUMNS = ("logits", "PyTorch", "loss64", "grad64", "loss", "gradient", "PyTorch", "gradient")
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


def torch_gradients(net, x, target):
    """The loss of training, and the gradients by name, which the net does not keep."""
    net.train()
    net.zero_grad(set_to_none=True)
    loss = logits_and_loss(net, x, target)
    loss.backward()
    gradients = {}
    for key, value in net.named_parameters():
        if value.grad is not None:
            gradients[key], value.grad = value.grad, None
    return float(loss), gradients


def restore(net, state):
    """Weights and statistics as they were, in the net's dtype."""
    with torch.no_grad():
        for key, value in net.state_dict().items():
            value.copy_(state[key])


def own_gradients(net, state, x, target):
    net.load(state)  # the running statistics, too
    net.train(True)
    with cr.frame():
        loss = own_loss(net, x, target)
        loss.backward()
        parameters = net.tensors(parameters_only=True)
        gradients = {key: value.grad.torch().clone() for key, value in parameters.items()
                     if value.grad is not None}
        net.zero_grad()
        return float(loss.torch()), gradients


def apart(gradients, reference):
    """(the largest distance of a gradient, of which parameter)"""
    floor = 1e-4 * max(float(value.norm()) for value in reference.values())
    found = {key: distance(gradients[key], value.double(), floor)
             for key, value in reference.items()}
    worst = max(found, key=found.get)
    return found[worst], worst


def compare_logits(ours, theirs, x):
    """(the error of ours, that of PyTorch's float32) from PyTorch's float64, which `theirs` is in
    the end."""
    theirs.eval(), ours.train(False)
    with torch.no_grad(), cr.no_grad(), cr.frame():
        logits, rounded = ours(cr.tensor(x)).torch().clone(), theirs(x)
        expected = theirs.double()(x.double())
    scale = max(1, float(expected.abs().max()))
    error, rounding = (float((found - expected).abs().max()) / scale
                       for found in (logits, rounded))
    expect(error < max(1e-4, 2 * rounding), "logits differ by", error,
           "where PyTorch's float32 differ by", rounding)
    return error, rounding


def compare(name, whole, most_single, seed, logits_only):
    """A row of the table: the number of parameters and the COLUMNS."""
    torch.manual_seed(seed)
    side = side_of(name, whole)
    x, target = torch.randn(4, 3, side, side), torch.randint(0, CLASSES, (4,))
    theirs = make(name, side)
    if name == "inception_v3" and not whole:  # its head needs 299 pixels
        theirs.AuxLogits.forward = lambda _: None
    settle(theirs, torch.cat([x, torch.randn(12, 3, side, side)]))
    ours = Net(name, CLASSES, tuple(x.shape), auxiliary=name == "googlenet" or whole)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    own = ours.tensors()
    expect(set(own) == set(state), "names differ:", sorted(set(own) ^ set(state))[:8])
    for key, value in state.items():
        expect(own[key].shape == tuple(value.shape), key, own[key].shape, tuple(value.shape))
    ours.load(state)
    count = sum(value.numel() for value in theirs.parameters())
    in_single = count <= most_single and not logits_only
    singles = []
    if in_single:
        theirs_single = torch_gradients(theirs, x, target)
        singles = [own_gradients(ours, state, x, target), theirs_single]
        restore(theirs, state)
        ours.load(state)
    errors = compare_logits(ours, theirs, x)
    if logits_only:
        return count, *errors

    restore(theirs, state)
    loss, reference = torch_gradients(theirs, x.double(), target)
    del theirs, own
    if count > most_single:  # to hold less
        reference = {key: value.float() for key, value in reference.items()}
    ours.double()
    own_loss_value, gradients = own_gradients(ours, state, x.double(), target)
    loss_error = abs(own_loss_value - loss) / loss
    error, worst = apart(gradients, reference)
    expect(loss_error < 1e-6, "the loss differs by", loss_error, "in float64")
    expect(error < 1e-5, worst, "has a gradient that differs by", error, "in float64")
    row = [*errors, loss_error, error]
    for single_loss, single in singles:
        row += [abs(single_loss - loss) / loss, *apart(single, reference)]
    if singles:
        loss_error, error, worst, _, noise, _ = row[4:]
        expect(loss_error < 1e-3, "the loss differs by", loss_error)
        expect(error < max(5e-3, 2 * noise), worst, "has a gradient that differs by", error,
               "where PyTorch's float32 differs by", noise)
    return count, *(number for number in row if isinstance(number, float))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--logits", action="store_true", help="leave out losses and gradients")
    parser.add_argument("--single", type=int, default=200, metavar="MILLION")
    arguments = parser.parse_args()
    whole = arguments.all or bool(arguments.names)
    names = FAMILIES if arguments.all else arguments.names or (SHORT if SLOW else USUAL)
    print(f"{'model':20} {'parameters':>12} " + " ".join(f"{word:>8}" for word in COLUMNS) +
          "  seconds")
    faults = 0
    for name in names:
        start = time.monotonic()
        for seed in range(TRIES):
            try:
                with cr.frame():
                    count, *errors = compare(name, whole, arguments.single * 1e6, seed,
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
