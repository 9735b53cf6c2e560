#!/usr/bin/env python3
"""Models of the zoo against torchvision's (text: in PyTorch under Hugging Face's names): tensors
have the same names, the same weights give the same results, losses and gradients, and 20 steps of
training give the same losses.

A ReLU that flips for the sake of rounding changes the gradients of a deep net in their third digit,
so what is asked of float32 is measured with PyTorch in float64: gradients within 5e-3 of it by
norm, or nearer to it than twice PyTorch's own float32 is. With CRESSET_SLOW set (by builds with
sanitizers) the deepest nets are left out and fewer steps taken."""
import copy
import os
import sys
import unittest
import unittest.mock

try:
    import torch
    import torchvision
except ImportError as missing:
    print(f"skipped: PyTorch or torchvision is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from reference_models import BertClassifier, BertModel, BiLstm, convnet, lenet5, mlp, small_cnn
from torch import nn
from training import Net, Optimizer, cross_entropy, squares

torch.set_num_threads(1)
SLOW = bool(os.environ.get("CRESSET_SLOW"))


def small_resnet(classes, channels):
    """torchvision's resnet18 with the stem for small images."""
    net = torchvision.models.resnet18(num_classes=classes)
    net.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def swin_t():
    """torchvision's, without the minute that its initial values take."""
    with unittest.mock.patch("torch.nn.init.trunc_normal_", nn.init.normal_):
        return torchvision.models.swin_t(num_classes=6)


CASES = [  # name, torch model, input shape, classes, small stem, width
    ("mlp", mlp, (4, 1, 28, 28), 10),
    ("lenet5", lenet5, (4, 1, 28, 28), 10),
    ("small_cnn", small_cnn, (4, 1, 28, 28), 10),
    ("convnet", convnet, (4, 1, 28, 28), 10),
    ("resnet18", lambda: torchvision.models.resnet18(num_classes=7), (2, 3, 64, 64), 7),
    ("resnet18", lambda: small_resnet(10, 1), (3, 1, 28, 28), 10, True),
    ("bilstm", BiLstm, (3, 11, 128), 0),
    ("bilstm", lambda: BiLstm(4), (3, 11, 128), 4),
    ("bert_base", lambda: BertModel(128), (2, 9), 0, False, 128),
    ("bert_base", lambda: BertClassifier(5, 128), (2, 9), 5, False, 128),
    ("swin_t", swin_t, (2, 3, 72, 64), 6),
    ("mobilenet_v2", lambda: torchvision.models.mobilenet_v2(num_classes=7), (4, 3, 64, 64), 7),
    ("resnet34", lambda: torchvision.models.resnet34(num_classes=5), (2, 3, 64, 64), 5),
    ("resnet50", lambda: torchvision.models.resnet50(num_classes=5), (2, 3, 64, 64), 5),
]
SHORT = CASES[:10]


def without_dropout(net):
    """The model with nothing random in its training."""
    for module in net.modules():
        if isinstance(getattr(module, "p", None), float):
            module.p = 0.0
    return net


def loss_of(result, target):
    if target.dtype == torch.int64:
        return nn.functional.cross_entropy(result, target)
    return (result - target.to(result.dtype)).square().mean()


class Zoo(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)

    def both(self, name, make, shape, classes, small=False, width=0):
        theirs = without_dropout(make())
        with torch.no_grad():  # norms and biases away from their initial values
            for value in theirs.parameters():
                if value.dim() == 1:
                    value.add_(torch.randn_like(value) * 0.1)
        ours = Net(name, classes, shape, small, width=width)
        ours.load(theirs.state_dict())
        return ours, theirs

    def test_results_and_gradients(self):
        for case in SHORT if SLOW else CASES:
            with self.subTest(name=case[0], input=case[2]):
                self.compare(case)

    def compare(self, case):
        shape, classes = case[2:4]
        ours, theirs = self.both(*case)
        exact = copy.deepcopy(theirs).double()
        x = torch.randn(shape) if len(shape) > 2 else torch.randint(0, 30522, shape)
        same = x.double() if x.is_floating_point() else x
        exact.eval(), ours.train(False)
        with torch.no_grad(), cr.no_grad():
            expected = exact(same)
            error = (ours(cr.tensor(x)).torch() - expected).abs().max()
            self.assertLess(error, 1e-4 * max(1, float(expected.abs().max())))
        target = torch.randint(0, classes, shape[:1]) if classes else torch.randn(expected.shape)
        exact.train(), theirs.train(), ours.train(True)
        loss = loss_of(exact(same), target)
        loss.backward()
        loss_of(theirs(x), target).backward()
        own = (cross_entropy if classes else squares)(ours(cr.tensor(x)), cr.tensor(target))
        self.assertAlmostEqual(lib_item(own), float(loss), delta=1e-4 * float(loss))
        own.backward()
        self.compare_gradients(ours, theirs, exact)
        for key, value in exact.named_buffers():
            got = ours.tensors()[key].torch()
            self.assertLess(distance(got, value.double()), 1e-3, key)

    def compare_gradients(self, ours, theirs, exact):
        own = ours.tensors(parameters_only=True)
        float32 = dict(theirs.named_parameters())
        reference = dict(exact.named_parameters())
        floor = 1e-4 * max(float(value.grad.norm()) for value in reference.values())
        noise = max(distance(float32[key].grad, value.grad, floor)
                    for key, value in reference.items())
        for key, value in reference.items():
            self.assertLess(distance(own[key].grad.torch(), value.grad, floor),
                            max(5e-3, 2 * noise), key)


def distance(value, reference, floor=1e-6):
    """How far a value is from its reference, by norm and in parts of it, or of what is nothing."""
    return float((value.double() - reference).norm() / (reference.double().norm() + floor))


def lib_item(tensor):
    return float(tensor.torch())


class Training(unittest.TestCase):
    """20 steps of a small ResNet from the same weights on the same batches."""

    def losses(self, kind, reference, settings):
        """(ours, PyTorch's, PyTorch's in float64) for each step."""
        torch.manual_seed(1)
        theirs = small_resnet(10, 1)
        exact = copy.deepcopy(theirs).double()
        ours = Net("resnet18", 10, (16, 1, 14, 14), True)
        ours.load(theirs.state_dict())
        others = [(net, reference(net.parameters(), **settings)) for net in (theirs, exact)]
        own = Optimizer(ours, kind, **settings)
        steps = []
        for _ in range(3 if SLOW else 20):
            x, labels = torch.randn(16, 1, 14, 14), torch.randint(0, 10, (16,))
            with cr.frame():
                ours.zero_grad()
                mine = cross_entropy(ours(cr.tensor(x)), cr.tensor(labels))
                mine.backward()
                own.step()
                row = [lib_item(mine)]
            for net, optimizer in others:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(net(x.to(next(net.parameters()).dtype)), labels)
                loss.backward()
                optimizer.step()
                row.append(float(loss))
            steps.append(row)
        return steps

    def test_loss_curves(self):
        # The rates are small because at larger ones a ReLU that flips for the sake of rounding
        # sends the nets apart: SGD at 1e-3 parts PyTorch from itself in float64 by 2e-3.
        for kind, reference, settings in (
                ("sgd", torch.optim.SGD, {"lr": 1e-4, "momentum": 0.9}),
                ("adam", torch.optim.Adam, {"lr": 1e-5}),
                ("adamw", torch.optim.AdamW, {"lr": 1e-5, "weight_decay": 0.05})):
            with self.subTest(kind=kind):
                steps = self.losses(kind, reference, settings)
                apart, error, noise = (max(abs(row[a] - row[b]) / row[b] for row in steps)
                                       for a, b in ((0, 1), (0, 2), (1, 2)))
                print(f"{kind}: largest relative difference of the loss in {len(steps)} steps: "
                      f"{apart:.1e} from PyTorch, {error:.1e} from PyTorch in float64 "
                      f"(PyTorch itself {noise:.1e}); losses {steps[0][1]:.4f} to "
                      f"{steps[-1][1]:.4f}")
                self.assertLess(error, max(1e-3, 2 * noise))


if __name__ == "__main__":
    unittest.main(verbosity=2)
