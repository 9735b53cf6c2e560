#!/usr/bin/env python3
"""Optimisers, clipping and schedules against torch.optim: the same gradients, step by step."""
import ctypes
import math
import sys
import unittest

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr
from training import Model, Optimizer, lib, set_grad

SHAPES = {"a": (3, 4), "b": (5,), "c.weight": (2, 3, 4), "d": (20000,)}
NAMES = {"beta1": None, "beta2": None, "max_iterations": "max_iter", "history": "history_size",
         "initial_accumulator": "initial_accumulator_value"}
KINDS = [
    ("sgd", torch.optim.SGD, {"lr": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.9}),
    ("adam", torch.optim.Adam, {"amsgrad": True, "eps": 1e-4}),
    ("adamw", torch.optim.AdamW, {}),
    ("adamw", torch.optim.AdamW, {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
    ("rmsprop", torch.optim.RMSprop, {}),
    ("rmsprop", torch.optim.RMSprop, {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("adagrad", torch.optim.Adagrad, {}),
    ("adagrad", torch.optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator": 0.2,
                                      "weight_decay": 0.1}),
    ("adadelta", torch.optim.Adadelta, {}),
    ("adadelta", torch.optim.Adadelta, {"rho": 0.8, "weight_decay": 0.1}),
    ("radam", torch.optim.RAdam, {}),
    ("radam", torch.optim.RAdam, {"lr": 0.01, "weight_decay": 0.1}),
]


class Nadam:
    """As PyTorch's documentation has it; the code of 1.13 counts mu_t twice in the second product,
    which later versions mended."""

    def __init__(self, params, lr=2e-3, eps=1e-8, weight_decay=0, momentum_decay=4e-3):
        self.params, self.lr, self.eps = params, lr, eps
        self.weight_decay, self.momentum_decay = weight_decay, momentum_decay
        self.t, self.product = 0, 1.0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self):
        self.t += 1
        mu, mu_next = (0.9 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))
                       for t in (self.t, self.t + 1))
        self.product *= mu
        for p, m, v in zip(self.params, self.m, self.v):
            g = p.grad + self.weight_decay * p
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(0.999).addcmul_(g, g, value=0.001)
            scale = (v / (1 - 0.999 ** self.t)).sqrt() + self.eps
            p -= self.lr * ((1 - mu) / (1 - self.product) * g
                            + mu_next / (1 - self.product * mu_next) * m) / scale


KINDS += [("nadam", Nadam, {}), ("nadam", Nadam, {"momentum_decay": 0.01, "weight_decay": 0.1})]


class Lamb:
    """You et al., 2019, written plainly; PyTorch has none."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        self.params, self.lr, self.betas = params, lr, betas
        self.eps, self.decay, self.t = eps, weight_decay, 0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self):
        self.t += 1
        b1, b2 = self.betas
        for p, m, v in zip(self.params, self.m, self.v):
            m.mul_(b1).add_(p.grad, alpha=1 - b1)
            v.mul_(b2).add_(p.grad ** 2, alpha=1 - b2)
            r = m / (1 - b1 ** self.t) / ((v / (1 - b2 ** self.t)).sqrt() + self.eps)
            r = r + self.decay * p
            p -= self.lr * p.norm() / r.norm() * r


def theirs_of(settings):
    """Our names of settings as torch's."""
    result = {NAMES.get(k, k): v for k, v in settings.items() if NAMES.get(k, k)}
    if "beta1" in settings:
        result["betas"] = (settings["beta1"], settings["beta2"])
    return result


def pair(dtype=torch.float32, seed=0):
    """A model of ours and torch parameters with the same values."""
    torch.manual_seed(seed)
    theirs = {name: torch.randn(shape, dtype=dtype).requires_grad_()
              for name, shape in SHAPES.items()}
    model = Model()
    ours = {name: model.parameter(name, value) for name, value in theirs.items()}
    return model, ours, theirs


class Optimizers(unittest.TestCase):
    def setUp(self):
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)

    def run_steps(self, ours, theirs, own, other, steps):
        for step in range(steps):
            for name, value in theirs.items():
                grad = torch.randn(value.shape) * (1 + step % 3) + value.detach() * 0.1
                value.grad = grad.clone()
                set_grad(ours[name], grad)
            own.step()
            other.step()

    def compare(self, ours, theirs, tolerance, what):
        for name, value in theirs.items():
            error = (ours[name].torch() - value.detach()).abs().max() / value.detach().abs().max()
            self.assertLess(error, tolerance, f"{what}: {name}")

    def test_against_torch(self):
        for kind, reference, settings in KINDS:
            with self.subTest(kind=kind, **settings):
                model, ours, theirs = pair()
                own = Optimizer(model, kind, **settings)
                other = reference(list(theirs.values()), **{"lr": 0.1, **theirs_of(settings)}
                                  if kind == "sgd" else theirs_of(settings))
                self.run_steps(ours, theirs, own, other, 25)
                self.compare(ours, theirs, 3e-6, f"{kind} {settings}")

    def test_lamb(self):
        model, ours, theirs = pair()
        self.run_steps(ours, theirs, Optimizer(model, "lamb"), Lamb(list(theirs.values())), 25)
        self.compare(ours, theirs, 3e-6, "lamb")

    def test_same_bits_at_any_thread_count(self):
        for kind in ("sgd", "adamw", "lamb", "nadam"):
            results = []
            for count in (1, 2):
                with cr.threads(count):
                    model, ours, theirs = pair()
                    own = Optimizer(model, kind, momentum=0.9)
                    self.run_steps(ours, theirs, own, own, 5)
                    results.append(ours["d"].torch())
            self.assertTrue(torch.equal(*results), kind)

    def test_state_goes_on_exactly(self):
        for kind, _, settings in KINDS:
            with self.subTest(kind=kind, **settings):
                model, ours, theirs = pair()
                own = Optimizer(model, kind, **settings)
                self.run_steps(ours, theirs, own, own, 3)
                values = {name: tensor.torch() for name, tensor in ours.items()}
                state = own.state()
                torch.manual_seed(7)
                self.run_steps(ours, theirs, own, own, 3)
                straight = {name: tensor.torch() for name, tensor in ours.items()}
                model, ours, _ = pair()
                for name, value in values.items():
                    Model.write(ours[name], value)
                fresh = Optimizer(model, kind, **settings)
                fresh.load_state(state)
                torch.manual_seed(7)
                self.run_steps(ours, theirs, fresh, fresh, 3)
                for name, value in straight.items():
                    self.assertTrue(torch.equal(ours[name].torch(), value), name)

    def test_state_that_does_not_fit_is_refused(self):
        model, _, _ = pair()
        own = Optimizer(model, "adam")
        with self.assertRaisesRegex(cr.CressetError, "exp_avg.a has shape"):
            own.load_state({"exp_avg.a": torch.zeros(2)})
        with self.assertRaisesRegex(cr.CressetError, "does not belong"):
            own.load_state({"exp_avg.nobody": torch.zeros(2)})

    def test_groups(self):
        model, ours, theirs = pair()
        own = Optimizer(model, "adamw", lr=0.01)
        self.assertEqual(lib.cr_optim_group(own.at, b"c.*", 0.1, 0.0), 1)
        rest = [v for k, v in theirs.items() if k != "c.weight"]
        other = torch.optim.AdamW([{"params": rest},
                                   {"params": [theirs["c.weight"]], "lr": 0.001,
                                    "weight_decay": 0}], lr=0.01)
        self.run_steps(ours, theirs, own, other, 10)
        self.compare(ours, theirs, 3e-6, "groups")

    def test_parameters_without_gradient_stay(self):
        model, ours, theirs = pair()
        own = Optimizer(model, "adamw", lr=0.1)
        before = ours["a"].torch()
        set_grad(ours["b"], torch.ones(5))
        own.step()
        self.assertTrue(torch.equal(before, ours["a"].torch()))
        self.assertFalse(torch.equal(theirs["b"].detach(), ours["b"].torch()))

    def test_clipping(self):
        for norm in (2.0, math.inf, 1.0):
            model, ours, theirs = pair()
            own = Optimizer(model, "sgd")
            for name, value in theirs.items():
                value.grad = torch.randn(value.shape)
                set_grad(ours[name], value.grad)
            expected = torch.nn.utils.clip_grad_norm_(theirs.values(), 0.7, norm)
            got = lib.cr_clip_grad_norm(own.at, 0.7, norm)
            self.assertAlmostEqual(got, float(expected), delta=2e-5 * float(expected))
            for name, value in theirs.items():
                self.assertTrue(torch.allclose(ours[name].grad.torch(), value.grad, rtol=1e-4))
            torch.nn.utils.clip_grad_value_(theirs.values(), 1e-4)
            lib.cr_clip_grad_value(own.at, 1e-4)
            for name, value in theirs.items():
                self.assertTrue(torch.allclose(ours[name].grad.torch(), value.grad, rtol=1e-4))


class Lbfgs(unittest.TestCase):
    """On Rosenbrock's valley, the gradient taken by torch on both sides."""

    def run_both(self, wolfe, lr, steps):
        with cr.frame():
            start = torch.tensor([0.4, 1.0, 0.7, 2.0], dtype=torch.float32)
            theirs = start.clone().requires_grad_()
            other = torch.optim.LBFGS([theirs], lr=lr, line_search_fn="strong_wolfe" if wolfe
                                      else None)
            model = Model()
            ours = model.parameter("x", start)
            own = Optimizer(model, "lbfgs", lr=lr, strong_wolfe=wolfe)

            def valley(x):
                return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

            def their_closure():
                other.zero_grad()
                loss = valley(theirs)
                loss.backward()
                return loss

            def our_closure():
                x = ours.torch().requires_grad_()
                loss = valley(x)
                loss.backward()
                set_grad(ours, x.grad)
                return float(loss)

            for _ in range(steps):
                other.step(their_closure)
                own.step(our_closure)
            return ours.torch(), theirs.detach(), float(valley(ours.torch()))

    def test_first_steps_are_torchs(self):
        ours, theirs, _ = self.run_both(wolfe=False, lr=0.02, steps=1)
        self.assertLess((ours - theirs).abs().max(), 2e-3)

    def test_line_search_finds_the_minimum(self):
        _, theirs, loss = self.run_both(wolfe=True, lr=1, steps=8)
        self.assertLess(loss, 1e-6)
        self.assertLess((theirs - 1).abs().max(), 1e-2)


class Schedules(unittest.TestCase):
    def compare(self, schedule, reference, steps=50, lr=0.1, tolerance=1e-9):
        parameter = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([parameter], lr=lr, momentum=0.9)
        theirs = reference(optimizer)
        for t in range(steps):
            expected = optimizer.param_groups[0]["lr"]
            got = lib.cr_schedule_lr(schedule, lr, t)
            self.assertAlmostEqual(got, expected, delta=tolerance, msg=f"step {t}")
            momentum = lib.cr_schedule_momentum(schedule, t)
            if momentum >= 0:
                self.assertAlmostEqual(momentum, optimizer.param_groups[0]["momentum"],
                                       delta=1e-9)
            optimizer.step()
            if t + 1 < steps:
                theirs.step()
        lib.cr_schedule_free(schedule)

    def test_closed_forms(self):
        s = torch.optim.lr_scheduler
        miles = (ctypes.c_int64 * 3)(5, 20, 40)
        self.compare(lib.cr_schedule_step(7, 0.5), lambda o: s.StepLR(o, 7, 0.5))
        self.compare(lib.cr_schedule_multistep(miles, 3, 0.3),
                     lambda o: s.MultiStepLR(o, [5, 20, 40], 0.3))
        self.compare(lib.cr_schedule_exponential(0.9), lambda o: s.ExponentialLR(o, 0.9))
        self.compare(lib.cr_schedule_polynomial(30, 2.0),
                     lambda o: s.PolynomialLR(o, 30, 2.0))
        self.compare(lib.cr_schedule_cosine(50, 0.01), lambda o: s.CosineAnnealingLR(o, 50, 0.01))
        self.compare(lib.cr_schedule_cosine_restarts(5, 2, 0.01),
                     lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2, 0.01))
        self.compare(lib.cr_schedule_linear(10, 0.25, 1.0), lambda o: s.LinearLR(o, 0.25, 1.0, 10))
        self.compare(lib.cr_schedule_constant(), lambda o: s.LambdaLR(o, lambda t: 1))

    def test_one_cycle(self):
        s = torch.optim.lr_scheduler
        for strategy in ("cos", "linear"):
            for three in (False, True):
                with self.subTest(strategy=strategy, three=three):
                    self.compare(lib.oracle_one_cycle(50, 0.3, strategy == "linear", three),
                                 lambda o: s.OneCycleLR(o, 0.1, 50, anneal_strategy=strategy,
                                                        three_phase=three))

    def test_parts(self):
        s = torch.optim.lr_scheduler
        parts = (ctypes.c_void_p * 2)(lib.cr_schedule_linear(10, 0.1, 1.0),
                                      lib.cr_schedule_exponential(0.9))
        self.compare(lib.cr_schedule_sequential(parts, (ctypes.c_int64 * 2)(0, 10), 2),
                     lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 10),
                                                  s.ExponentialLR(o, 0.9)], [10]))
        parts = (ctypes.c_void_p * 2)(lib.cr_schedule_step(6, 0.5),
                                      lib.cr_schedule_exponential(0.95))
        self.compare(lib.cr_schedule_chained(parts, 2),
                     lambda o: s.ChainedScheduler([s.StepLR(o, 6, 0.5), s.ExponentialLR(o, 0.95)]))

    def test_plateau(self):
        torch.manual_seed(3)
        metrics = [float(v) for v in torch.rand(60)]
        for mode in ("min", "max"):
            parameter = torch.zeros(1, requires_grad=True)
            optimizer = torch.optim.SGD([parameter], lr=1.0)
            theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, 0.5, 3, cooldown=2)
            scales = (ctypes.c_double * 60)()
            lib.oracle_plateau(60, (ctypes.c_double * 60)(*metrics), 0.5, 3, 2, mode == "max",
                               scales)
            for metric, scale in zip(metrics, scales):
                theirs.step(metric)
                self.assertAlmostEqual(scale, optimizer.param_groups[0]["lr"], places=9)


if __name__ == "__main__":
    unittest.main()
