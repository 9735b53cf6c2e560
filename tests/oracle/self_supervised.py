#!/usr/bin/env python3
"""Learning without labels against PyTorch: the losses and their gradients, the accuracy of nearest
neighbours, and several steps of MoCo v2 and SimCLR with a small convolutional net, written here as
in the references: losses, gradients, the key encoder and the queue after each step."""
import copy
import ctypes
import sys
import unittest

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from cresset import lib
from models import distance
from torch import nn
from torch.nn import functional
from training import Model, Optimizer

_P, _I, _L, _D, _S = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double,
                      ctypes.c_char_p)
for _name, (_result, *_arguments) in {
        "oracle_info_nce": (_P, _P, _P, _P, _D), "oracle_nt_xent": (_P, _P, _P, _D),
        "cr_fixmatch_loss": (_P, _P, _P, _D, _P),
        "cr_neighbour_accuracy": (_D, _P, _P, _P, _P, _L, _L),
        "oracle_contrast_new": (_P, _P, _L, _I, _D, _D, _L, _L), "cr_contrast_free": (None, _P),
        "cr_contrast_loss": (_P, _P, _P, _P, _P, _P), "cr_contrast_state_count": (_I, _P),
        "oracle_contrast_name": (_S, _P, _I), "oracle_contrast_tensor": (_P, _P, _I)}.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _arguments

MOCO, SIMCLR = 1, 2
WIDTH, DIM, QUEUE, BATCH, STEPS = 4, 6, 20, 8, 6
torch.set_num_threads(1)


def info_nce(queries, keys, queue, temperature):
    """MoCo's, as its authors wrote it."""
    positive = torch.einsum("nc,nc->n", queries, keys).unsqueeze(-1)
    negative = torch.einsum("nc,kc->nk", queries, queue)
    logits = torch.cat([positive, negative], dim=1) / temperature
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))


def nt_xent(first, second, temperature):
    """SimCLR's, pair by pair, as the paper's equation (1)."""
    z = torch.cat([first, second])
    likeness = functional.cosine_similarity(z[:, None], z[None], dim=2) / temperature
    count, losses = len(first), []
    for i in range(2 * count):
        others = torch.cat([likeness[i, :i], likeness[i, i + 1:]])
        losses.append(torch.logsumexp(others, 0) - likeness[i, (i + count) % (2 * count)])
    return torch.stack(losses).mean()


def fixmatch(weak, strong, threshold):
    probability, label = functional.softmax(weak.detach(), 1).max(1)
    losses = functional.cross_entropy(strong, label, reduction="none")
    return (losses * (probability >= threshold)).mean()


class Losses(unittest.TestCase):
    def compare(self, own, reference, inputs, trained):
        """Losses in float64 and the gradients of the first `trained` inputs."""
        theirs = [value.clone().requires_grad_(i < trained) for i, value in enumerate(inputs)]
        expected = reference(*theirs)
        expected.backward()
        with cr.frame():
            ours = [cr.tensor(value, requires_grad=i < trained) for i, value in enumerate(inputs)]
            loss = cr.Tensor(cr.check(own(*[value.at for value in ours])))
            self.assertAlmostEqual(float(loss.torch()), float(expected), delta=1e-12)
            loss.backward()
            for mine, other in zip(ours, theirs[:trained]):
                self.assertLess(distance(mine.grad.torch(), other.grad), 1e-10)

    def test_info_nce(self):
        torch.manual_seed(0)
        for temperature in (0.07, 0.2, 1.0):
            units = [functional.normalize(torch.randn(n, 5, dtype=torch.float64))
                     for n in (7, 7, 11)]
            self.compare(lambda q, k, queue: lib.oracle_info_nce(q, k, queue, temperature),
                         lambda q, k, queue: info_nce(q, k, queue, temperature), units, 1)

    def test_nt_xent(self):
        torch.manual_seed(1)
        for temperature in (0.1, 0.5):
            views = [torch.randn(6, 5, dtype=torch.float64) for _ in range(2)]
            self.compare(lambda a, b: lib.oracle_nt_xent(a, b, temperature),
                         lambda a, b: nt_xent(a, b, temperature), views, 2)

    def test_fixmatch(self):
        torch.manual_seed(2)
        for threshold in (0.0, 0.5, 0.95):
            logits = [3 * torch.randn(9, 4, dtype=torch.float64) for _ in range(2)]
            share = ctypes.c_double()
            strong = logits[1].clone().requires_grad_()
            expected = fixmatch(logits[0], strong, threshold)
            expected.backward()
            with cr.frame():
                own = cr.tensor(logits[1], requires_grad=True)
                loss = cr.Tensor(cr.check(lib.cr_fixmatch_loss(
                    cr.tensor(logits[0]).at, own.at, threshold, ctypes.byref(share))))
                self.assertAlmostEqual(float(loss.torch()), float(expected), delta=1e-12)
                loss.backward()
                self.assertLess(distance(own.grad.torch(), strong.grad), 1e-10)
            confident = functional.softmax(logits[0], 1).amax(1) >= threshold
            self.assertAlmostEqual(share.value, float(confident.double().mean()))

    def test_neighbours(self):
        torch.manual_seed(3)
        centres = torch.randn(4, 5)
        bank_labels, labels = torch.randint(0, 4, (60,)), torch.randint(0, 4, (40,))
        bank = centres[bank_labels] + torch.randn(60, 5)
        vectors = centres[labels] + torch.randn(40, 5)
        cosines = functional.normalize(vectors) @ functional.normalize(bank).T
        nearest, index = cosines.topk(7, dim=1)
        votes = torch.zeros(40, 4, dtype=torch.float64)
        votes.scatter_add_(1, bank_labels[index], (nearest.double() / 0.07).exp())
        expected = float((votes.argmax(1) == labels).double().mean())
        self.assertGreater(expected, 0.3)
        with cr.frame():
            found = lib.cr_neighbour_accuracy(*[cr.tensor(value).at for value in (
                bank, bank_labels, vectors, labels)], 7, 4)
            cr.check()
        self.assertAlmostEqual(found, expected)


class Encoder(nn.Module):
    """The convolutional net of the zoo without its last layer, and a projection."""

    def __init__(self):
        super().__init__()
        widths = [1, WIDTH, 2 * WIDTH, 4 * WIDTH]
        for i in range(3):
            block = nn.Module()
            block.conv1 = nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False)
            block.bn1 = nn.BatchNorm2d(widths[i + 1])
            block.conv2 = nn.Conv2d(widths[i + 1], widths[i + 1], 3, padding=1, bias=False)
            block.bn2 = nn.BatchNorm2d(widths[i + 1])
            setattr(self, f"stage{i + 1}", block)
        self.projection = nn.Sequential(nn.Linear(4 * WIDTH, 4 * WIDTH), nn.ReLU(),
                                        nn.Linear(4 * WIDTH, DIM))

    def forward(self, x):
        for block in (self.stage1, self.stage2, self.stage3):
            x = torch.relu(block.bn1(block.conv1(x)))
            x = torch.max_pool2d(torch.relu(block.bn2(block.conv2(x))), 2)
        return self.projection(x.mean((2, 3)))


class Pretraining(unittest.TestCase):
    def both(self, method, temperature, momentum):
        """(our model, our method, PyTorch's encoder) of the same weights."""
        torch.manual_seed(4)
        theirs = Encoder()
        ours = Model()
        at = cr.check(lib.oracle_contrast_new(ours.at, WIDTH, method, temperature, momentum, QUEUE,
                                              DIM))
        self.addCleanup(lib.cr_contrast_free, at)
        ours.load(theirs.state_dict())
        return ours, at, theirs

    @staticmethod
    def state(at):
        return {lib.oracle_contrast_name(at, i).decode(): cr.Tensor(
            lib.oracle_contrast_tensor(at, i)) for i in range(lib.cr_contrast_state_count(at))}

    def own_step(self, ours, at, optimizer, views):
        with cr.frame():
            ours.zero_grad()
            rows, labels = ctypes.c_void_p(), ctypes.c_void_p()
            loss = cr.Tensor(cr.check(lib.cr_contrast_loss(
                at, cr.tensor(views[0]).at, cr.tensor(views[1]).at, ctypes.byref(rows),
                ctypes.byref(labels))))
            right = (cr.Tensor(rows.value).torch().argmax(1) ==
                     cr.Tensor(labels.value).torch()).sum()
            loss.backward()
            gradients = {key: value.grad.torch().clone()
                         for key, value in ours.tensors(parameters_only=True).items()}
            optimizer.step()
            return float(loss.torch()), gradients, int(right)

    def compare_step(self, loss, gradients, expected, theirs):
        self.assertAlmostEqual(loss, float(expected), delta=2e-5 * float(expected))
        reference = {key: value.grad for key, value in theirs.named_parameters()}
        floor = 1e-3 * max(float(value.norm()) for value in reference.values())
        for key, value in reference.items():
            self.assertLess(distance(gradients[key], value.double(), floor), 2e-3, key)

    def test_moco(self):
        ours, at, theirs = self.both(MOCO, 0.2, 0.9)
        key = copy.deepcopy(theirs)
        state = self.state(at)
        self.assertEqual(set(state), set(key.state_dict()) | {"moco.queue", "moco.pointer"})
        for name, value in key.state_dict().items():
            Model.write(state[name], value)
        queue = state["moco.queue"].torch().clone()
        self.assertTrue(torch.allclose(queue.norm(dim=1), torch.ones(QUEUE), atol=1e-5))
        pointer = 0
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
        own = Optimizer(ours, "sgd", lr=0.05, momentum=0.9)
        for _ in range(STEPS):
            views = torch.randn(2, BATCH, 1, 12, 12)
            loss, gradients, _ = self.own_step(ours, at, own, views)
            queries = functional.normalize(theirs(views[0]))
            with torch.no_grad():
                for a, b in zip(key.parameters(), theirs.parameters()):
                    a.data = a.data * 0.9 + b.data * (1 - 0.9)
                keys = functional.normalize(key(views[1]))
            expected = info_nce(queries, keys, queue.clone(), 0.2)
            for row in keys:  # 8 into 20 and around
                queue[pointer] = row
                pointer = (pointer + 1) % QUEUE
            optimizer.zero_grad()
            expected.backward()
            self.compare_step(loss, gradients, expected, theirs)
            optimizer.step()
            state = self.state(at)
            self.assertEqual(int(state["moco.pointer"].torch()), pointer)
            self.assertLess(float((state["moco.queue"].torch() - queue).abs().max()), 1e-4)
            for name, value in key.state_dict().items():
                self.assertLess(distance(state[name].torch(), value.double(), 1e-3), 1e-3, name)

    def test_simclr(self):
        ours, at, theirs = self.both(SIMCLR, 0.5, 0)
        self.assertEqual(self.state(at), {})
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
        own = Optimizer(ours, "sgd", lr=0.05, momentum=0.9)
        for _ in range(STEPS):
            views = torch.randn(2, BATCH, 1, 12, 12)
            loss, gradients, right = self.own_step(ours, at, own, views)
            z = theirs(torch.cat([views[0], views[1]]))
            expected = nt_xent(z[:BATCH], z[BATCH:], 0.5)
            unit = functional.normalize(z.detach())
            likeness = (unit @ unit.T).fill_diagonal_(-2)
            partner = (torch.arange(2 * BATCH) + BATCH) % (2 * BATCH)
            self.assertEqual(right, int((likeness.argmax(1) == partner).sum()))
            optimizer.zero_grad()
            expected.backward()
            self.compare_step(loss, gradients, expected, theirs)
            optimizer.step()


if __name__ == "__main__":
    unittest.main(verbosity=2)
