#!/usr/bin/env python3
"""What autograd does besides computing gradients, side by side with PyTorch: accumulation, modes,
hooks, seeds, retained graphs, second order, edits in place, anomaly mode, checkpoints, deep
graphs."""
import ctypes
import sys
import traceback
import unittest
import warnings

try:
    import torch
except ImportError as missing:
    print(f"skipped: PyTorch is not installed for {sys.executable} ({missing})")
    sys.exit(77)

import cresset as cr

HOOK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
CHECKPOINT = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int,
                              ctypes.c_void_p)


def add(a, b):
    return cr.call("add", _tensor(a), _tensor(b))


def mul(a, b):
    return cr.call("mul", _tensor(a), _tensor(b))


def div(a, b):
    return cr.call("div", _tensor(a), _tensor(b))


def total(x):
    return cr.call("sum", x)


def _tensor(value):
    return value if isinstance(value, cr.Tensor) else cr.tensor(value)


def leaf(values, dtype=torch.float32):
    """The same leaf on both sides: (ours, theirs)."""
    theirs = torch.tensor(values, dtype=dtype, requires_grad=True)
    return cr.tensor(theirs, requires_grad=True), theirs


class ChannelsLast(unittest.TestCase):
    """Pooling of images that lie in memory as (N, H, W, C), which has a kernel of its own."""

    def compare(self, kind, x, wanted, *numbers):
        numbers = (ctypes.c_int64 * 6)(*numbers)
        last = x.to(memory_format=torch.channels_last)
        for threads in (1, 2):
            cr.lib.cr_set_num_threads(threads)
            at = cr.lib.oracle_pool2d(kind.encode(), cr.tensor(last).at, numbers)
            found = cr.Tensor(cr.check(at))
            height, width, channels = found.shape[2], found.shape[3], x.shape[1]
            if height * width > 1 and kind != "avg":
                self.assertEqual(found.geometry()[1], (height * width * channels, 1,
                                                       width * channels, channels))
            torch.testing.assert_close(found.torch(), wanted, rtol=1e-5, atol=1e-6,
                                       equal_nan=True)
        cr.lib.cr_set_num_threads(0)

    def test_pooling(self):
        pool = torch.nn.functional
        for shape in ((2, 3, 7, 9), (1, 64, 15, 15), (3, 19, 4, 30)):
            x = torch.randn(shape)
            x[0, 0, 0, 1] = float("nan")
            self.compare("max", x, pool.max_pool2d(x, 3, 2, 1), 3, 2, 1, 0, 0, 0)
            self.compare("max", x, pool.max_pool2d(x, 2, 1, 0, 2), 2, 1, 0, 2, 0, 0)
            self.compare("max", x, pool.max_pool2d(x, 2, 2, ceil_mode=True), 2, 2, 0, 0, 1, 0)
            x[0, 0, 0, 1] = 1
            self.compare("avg", x, pool.avg_pool2d(x, 3, 2, 1), 3, 2, 1, 0, 0, 0)
            self.compare("avg", x, pool.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
                         3, 2, 1, 0, 0, 1)
            for size in (1, 3):
                self.compare("adaptive", x, pool.adaptive_avg_pool2d(x, size), size)


class Semantics(unittest.TestCase):
    def setUp(self):
        frame = cr.frame()
        frame.__enter__()
        self.addCleanup(frame.__exit__, None, None, None)
        self.kept = []  # callbacks that C still calls

    def same(self, ours, theirs):
        self.assertIsNotNone(ours, "no gradient")
        got = ours.torch()
        self.assertEqual(got.dtype, theirs.dtype)
        self.assertTrue(torch.allclose(got, theirs.detach(), rtol=1e-6, atol=1e-7),
                        f"{got} instead of {theirs}")

    def refused(self, words):
        return self.assertRaisesRegex(cr.CressetError, words)

    def hook(self, tensor, function):
        """Adds a hook; `function` takes and gives a Tensor."""
        callback = HOOK(lambda at, _: function(cr.Tensor(at)).at)
        self.kept.append(callback)
        cr.check(failed=cr.lib.cr_register_hook(tensor.at, callback, None))


class Accumulation(Semantics):
    def test_two_walks_add_up(self):
        x, tx = leaf([1.0, 2.0])
        for factor in (2.0, 5.0):
            total(mul(x, factor)).backward()
            (tx * factor).sum().backward()
        self.same(x.grad, tx.grad)

    def test_a_leaf_used_many_times(self):
        x, tx = leaf([1.0, -2.0])
        total(add(mul(x, x), mul(add(x, x), x))).backward()
        (tx * tx + (tx + tx) * tx).sum().backward()
        self.same(x.grad, tx.grad)

    def test_gradients_of_two_leaves_have_memory_of_their_own(self):
        x, _ = leaf([1.0, 2.0])
        y, _ = leaf([3.0, 4.0])
        seed = cr.tensor(torch.tensor([1.0, 1.0]))
        add(x, y).backward(seed)
        self.assertFalse(cr.lib.cr_shares_storage(x.grad.at, y.grad.at))
        self.assertFalse(cr.lib.cr_shares_storage(x.grad.at, seed.at))

    def test_a_leaf_as_output(self):
        x, tx = leaf([3.0])
        seed = torch.tensor([7.0])
        ours = cr.tensor(seed)
        x.backward(ours)
        tx.backward(seed)
        self.same(x.grad, tx.grad)
        self.assertFalse(cr.lib.cr_shares_storage(x.grad.at, ours.at))

    def test_a_gradient_set_by_hand_is_added_to(self):
        x, tx = leaf([1.0, 2.0])
        cr.check(failed=cr.lib.cr_set_grad(x.at, cr.tensor(torch.tensor([10.0, 20.0])).at))
        tx.grad = torch.tensor([10.0, 20.0])
        total(mul(x, 2.0)).backward()
        (tx * 2).sum().backward()
        self.same(x.grad, tx.grad)
        cr.check(failed=cr.lib.cr_set_grad(x.at, None))
        self.assertIsNone(x.grad)
        with self.refused("set_grad.*float64.*float32"):
            cr.check(failed=cr.lib.cr_set_grad(x.at, cr.tensor(torch.zeros(2).double()).at))

    def test_dtypes_of_gradients_are_those_of_the_leaves(self):
        x, tx = leaf([1.0, 2.0])
        y, ty = leaf([3.0, 4.0], torch.float64)
        total(mul(x, y)).backward()
        (tx * ty).sum().backward()
        self.same(x.grad, tx.grad)
        self.same(y.grad, ty.grad)

    def test_graph_outlives_the_frame_it_was_made_in(self):
        x, tx = leaf([1.0, 2.0])
        with cr.frame():
            inner = mul(mul(x, x), x)
            cr.lib.cr_retain(inner.at)
        total(cr.Tensor(cr.lib.cr_frame_add(inner.at))).backward()
        (tx ** 3).sum().backward()
        self.same(x.grad, tx.grad)


class Modes(Semantics):
    def test_no_grad(self):
        x, _ = leaf([1.0])
        with cr.no_grad():
            y = mul(x, 2.0)
            with cr.no_grad():
                pass
            self.assertFalse(cr.lib.cr_grad_enabled())
        self.assertTrue(cr.lib.cr_grad_enabled())
        self.assertFalse(y.requires_grad)
        with self.refused("does not require a gradient"):
            y.backward()

    def test_detach(self):
        x, tx = leaf([3.0])
        cut = x.detach()
        self.assertFalse(cut.requires_grad)
        self.assertTrue(cr.lib.cr_shares_storage(cut.at, x.at))
        mul(x, cut).backward()
        (tx * tx.detach()).backward()
        self.same(x.grad, tx.grad)

    def test_integers_have_no_gradient(self):
        with self.refused("floating.*int64"):
            cr.tensor(torch.tensor([1]), requires_grad=True)
        x, _ = leaf([1.5])
        self.assertFalse(cr.call("to_dtype", x, dtype=torch.int64).requires_grad)

    def test_results_cannot_stop_requiring_a_gradient(self):
        x, _ = leaf([1.0])
        with self.refused("cr_detach"):
            mul(x, 2.0).requires_grad_(False)

    def test_what_requires_a_gradient(self):
        x, _ = leaf([1.0])
        plain = cr.tensor(torch.tensor([1.0]))
        self.assertTrue(cr.lib.cr_is_leaf(x.at))
        self.assertTrue(mul(x, plain).requires_grad)
        self.assertFalse(cr.lib.cr_is_leaf(mul(x, plain).at))
        self.assertFalse(mul(plain, 2.0).requires_grad)

    def test_backward_on_the_meta_device_gives_shapes(self):
        x = cr.meta((2, 3), torch.float32).requires_grad_()
        total(mul(x, x)).backward()
        self.assertEqual(x.grad.shape, (2, 3))


class Seeds(Semantics):
    def test_seed_of_a_matrix(self):
        x, tx = leaf([[1.0, 2.0], [3.0, 4.0]])
        seed = torch.tensor([[1.0, 0.5], [-1.0, 2.0]])
        mul(x, x).backward(cr.tensor(seed))
        (tx * tx).backward(seed)
        self.same(x.grad, tx.grad)

    def test_seed_of_another_dtype_is_converted(self):
        x, _ = leaf([1.0, 2.0])
        mul(x, 3.0).backward(cr.tensor(torch.tensor([1.0, 2.0], dtype=torch.float64)))
        self.same(x.grad, torch.tensor([3.0, 6.0]))

    def test_seed_missing_or_of_another_shape(self):
        x, _ = leaf([1.0, 2.0])
        with self.refused(r"\(2,\)"):
            mul(x, x).backward()
        with self.refused(r"\(3,\).*\(2,\)"):
            mul(x, x).backward(cr.tensor(torch.ones(3)))

    def test_one_element_of_any_shape_needs_no_seed(self):
        x, tx = leaf([[[2.0]]])
        mul(x, x).backward()
        (tx * tx).backward()
        self.same(x.grad, tx.grad)


class Grad(Semantics):
    def test_leaves_keep_their_gradients(self):
        x, _ = leaf([1.0, 2.0])
        y, _ = leaf([1.0, 2.0])
        found = cr.grad(total(mul(mul(x, x), y)), [x])
        self.same(found[0], torch.tensor([2.0, 8.0]))
        self.assertIsNone(x.grad)
        self.assertIsNone(y.grad)

    def test_intermediate_output_twice_and_unrelated(self):
        x, tx = leaf([1.0, 2.0])
        other, _ = leaf([1.0])
        middle, their_middle = mul(x, x), tx * tx
        out, their_out = total(mul(middle, middle)), (their_middle * their_middle).sum()
        ours = cr.grad(out, [middle, out, x, x, other])
        theirs = torch.autograd.grad(their_out, [their_middle, their_out, tx])
        self.same(ours[0], theirs[0])
        self.same(ours[1], theirs[1])
        self.same(ours[2], theirs[2])
        self.same(ours[3], theirs[2])
        self.assertIsNone(ours[4])

    def test_input_without_gradient_is_refused(self):
        x, _ = leaf([1.0])
        with self.refused("grad: input 1 "):
            cr.grad(mul(x, x), [x, cr.tensor(torch.ones(1))])


class Hooks(Semantics):
    def test_hook_of_a_leaf_sees_the_whole_gradient_once(self):
        x, tx = leaf([1.0, 2.0])
        seen, theirs = [], []
        self.hook(x, lambda g: (seen.append(g.torch()), g)[1])
        tx.register_hook(lambda g: theirs.append(g.clone()))
        total(add(mul(x, x), mul(x, 3.0))).backward()
        (tx * tx + tx * 3).sum().backward()
        self.assertEqual(len(seen), len(theirs))
        self.assertTrue(torch.equal(seen[0], theirs[0]))

    def test_hook_of_an_intermediate_and_order(self):
        x, tx = leaf([1.0, 2.0])
        y, ty = mul(x, x), tx * tx
        order = []
        self.hook(y, lambda g: (order.append("a"), mul(g, 2.0))[1])
        self.hook(y, lambda g: (order.append("b"), add(g, 1.0))[1])
        ty.register_hook(lambda g: g * 2)
        ty.register_hook(lambda g: g + 1)
        cr.lib.cr_retain_grad(y.at)
        ty.retain_grad()
        total(add(y, mul(y, 3.0))).backward()
        (ty + ty * 3).sum().backward()
        self.assertEqual(order, ["a", "b"])
        self.same(x.grad, tx.grad)

    def test_hook_replaces_the_gradient_of_a_leaf(self):
        x, tx = leaf([1.0, 2.0])
        self.hook(x, lambda g: mul(g, 10.0))
        tx.register_hook(lambda g: g * 10)
        for _ in range(2):
            total(mul(x, x)).backward()
            (tx * tx).sum().backward()
        self.same(x.grad, tx.grad)
        # As in PyTorch since 2.0; before, hooks of leaves did not run for torch.autograd.grad.
        self.same(cr.grad(total(mul(x, x)), [x])[0], 20 * tx.detach())

    def test_hook_that_fails_or_gives_another_shape(self):
        x, _ = leaf([1.0, 2.0])
        self.hook(x, lambda g: cr.Tensor(None))
        with self.refused("hook returned NULL"):
            total(mul(x, x)).backward()
        y, _ = leaf([1.0, 2.0])
        self.hook(y, lambda g: cr.tensor(torch.ones(3)))
        with self.refused(r"hook.*\(3,\).*\(2,\)"):
            total(mul(y, y)).backward()
        plain = cr.tensor(torch.ones(2))
        with self.refused("register_hook"):
            self.hook(plain, lambda g: g)

    def test_hook_that_runs_backward_itself(self):
        x, _ = leaf([1.0, 2.0])
        y, ty = leaf([3.0])
        inner = mul(y, y)
        self.hook(x, lambda g: (inner.backward(), g)[1])
        total(mul(x, x)).backward()
        (ty * ty).backward()
        self.same(y.grad, ty.grad)
        self.same(x.grad, torch.tensor([2.0, 4.0]))

    def test_retained_gradient_of_an_intermediate(self):
        x, tx = leaf([1.0, 2.0])
        y, ty = mul(x, x), tx * tx
        cr.lib.cr_retain_grad(y.at)
        ty.retain_grad()
        total(mul(y, y)).backward()
        (ty * ty).sum().backward()
        self.same(y.grad, ty.grad)
        z = mul(x, 2.0)
        total(z).backward()
        self.assertIsNone(z.grad)


class Graphs(Semantics):
    def setUp(self):
        super().setUp()
        warnings.simplefilter("ignore", UserWarning)  # of torch, about create_graph

    def test_walked_twice(self):
        for keep in (False, True):
            x, tx = leaf([1.0, 2.0])
            y, ty = total(mul(x, x)), (tx * tx).sum()
            y.backward(retain_graph=keep)
            ty.backward(retain_graph=keep)
            if keep:
                y.backward()
                ty.backward()
                self.same(x.grad, tx.grad)
            else:
                with self.refused("mul.*retain_graph"):
                    y.backward()

    def test_a_walk_inside_a_walk_over_the_same_nodes(self):
        x, tx = leaf([1.0, 2.0])
        y, _ = leaf([1.0])
        middle = mul(x, x)
        first, second = total(mul(middle, 2.0)), total(mul(middle, add(y, 3.0)))
        self.hook(y, lambda g: (first.backward(retain_graph=True), g)[1])
        second.backward()
        (2 * tx * tx + 4 * tx * tx).sum().backward()
        self.same(x.grad, tx.grad)

    def test_a_graph_that_saved_nothing_may_be_walked_again(self):
        x, tx = leaf([1.0, 2.0])
        y, ty = total(add(x, 1.0)), (tx + 1).sum()
        for _ in range(2):
            y.backward()
            ty.backward()
        self.same(x.grad, tx.grad)

    def test_first_second_and_third_order(self):
        x, tx = leaf([1.5, -2.0])
        y = mul(mul(mul(x, x), x), x)
        ty = tx ** 4
        for _ in range(3):
            y = cr.grad(total(y), [x], create_graph=True)[0]
            ty, = torch.autograd.grad(ty.sum(), [tx], create_graph=True)
            self.same(y, ty)

    def test_second_order_through_backward(self):
        x, tx = leaf([1.5, -2.0])
        total(mul(mul(x, x), x)).backward(create_graph=True)
        (tx ** 3).sum().backward(create_graph=True)
        self.assertTrue(x.grad.requires_grad)
        penalty = total(mul(x.grad, x.grad))
        ours, = cr.grad(penalty, [x])
        theirs, = torch.autograd.grad((tx.grad * tx.grad).sum(), [tx])
        self.same(ours, theirs)
        tx.grad = None
        cr.lib.cr_set_grad(x.at, None)  # the gradient's graph holds x, and x the gradient

    def test_a_million_nodes_in_a_row(self):
        x, _ = leaf([1.0])
        y = x
        number = cr.tensor(1.0)
        for _ in range(20):
            with cr.frame():
                for _ in range(5000):
                    y = add(y, number)
                cr.lib.cr_retain(y.at)
            cr.lib.cr_frame_add(y.at)
        y.backward()
        self.same(x.grad, torch.tensor([1.0]))

    def test_as_many_paths_as_two_to_the_sixty(self):
        x, _ = leaf([1.0])
        y = x
        for _ in range(60):
            y = add(y, y)
        y.backward()
        self.same(x.grad, torch.tensor([2.0 ** 60]))

    def test_a_node_with_an_output_that_nobody_used(self):
        x, tx = leaf([[1.0, 2.0], [3.0, 4.0]])
        y = mul(x, x)
        mul(y, 100.0)  # has a node, and no part in what follows
        total(y).backward()
        (tx * tx).sum().backward()
        self.same(x.grad, tx.grad)


class Exceptions(Semantics):
    """What coverage.py lets the harness leave out."""

    def test_a_draw_has_a_gradient_of_zero(self):
        x, tx = leaf([0.2, 0.5, 0.9])
        total(cr.call("bernoulli", x)).backward()
        torch.bernoulli(tx).sum().backward()
        self.assertIsNone(x.grad)  # ours leaves a zero out
        self.assertEqual(tx.grad.abs().sum().item(), 0)

    def test_the_slope_of_ctc_behind_log_softmax(self):
        torch.manual_seed(0)
        logits = torch.randn(7, 2, 5, dtype=torch.float64)
        others = [torch.tensor(v) for v in ([[1, 2, 2], [3, 4, 1]], [7, 6], [3, 2])]

        def loss(x):
            return cr.call("ctc_loss", cr.call("log_softmax", x, dim=2), *map(cr.tensor, others),
                           reduction=2)  # the sum
        x = cr.tensor(logits, requires_grad=True)
        loss(x).backward()
        for _ in range(3):
            step = 1e-6 * torch.randn(logits.shape, dtype=torch.float64)
            ends = [loss(cr.tensor(end)).torch().item() for end in (logits + step, logits - step)]
            slope = (2 * step * x.grad.torch()).sum().item()
            self.assertAlmostEqual(ends[0] - ends[1], slope, delta=1e-5 * abs(slope) + 1e-13)


class InPlace(Semantics):
    def edit(self, tensor, value):
        with cr.no_grad():
            cr.check(failed=cr.lib.cr_add_(tensor.at, cr.tensor(value).at, 1.0))

    def test_what_backward_needs_is_protected(self):
        x, _ = leaf([1.0, 2.0])
        y = mul(x, x)
        z = mul(y, y)
        self.edit(y, torch.ones(2))
        with self.refused("mul.*changed in place"):
            total(z).backward()

    def test_an_edit_through_a_view_counts(self):
        x, _ = leaf([1.0, 2.0])
        factor = cr.tensor(torch.tensor([3.0, 4.0]))
        z = mul(x, factor)
        self.edit(cr.call("view", factor, shape=(2, 1)), torch.ones(2, 1))
        with self.refused("mul.*changed in place"):
            total(z).backward()

    def test_what_backward_does_not_need_may_be_edited(self):
        x, tx = leaf([1.0, 2.0])
        y = add(x, 1.0)
        z = add(y, y)
        self.edit(y, torch.ones(2))
        total(z).backward()
        self.same(x.grad, torch.tensor([2.0, 2.0]))
        with torch.no_grad():
            tx += 1
        self.edit(x, torch.ones(2))
        self.assertTrue(torch.equal(x.torch(), tx.detach()))

    def test_edits_are_not_recorded(self):
        x, _ = leaf([1.0, 2.0])
        with self.refused("add_.*not recorded"):
            cr.check(failed=cr.lib.cr_add_(x.at, cr.tensor(torch.ones(2)).at, 1.0))
        with self.refused(r"copy_.*\(3,\).*\(2,\)"), cr.no_grad():
            cr.check(failed=cr.lib.cr_copy_(x.at, cr.tensor(torch.ones(3)).at))

    def test_an_edit_of_overlapping_elements_is_refused(self):
        one = cr.tensor(torch.ones(1))
        many = cr.call("expand", one, shape=(3,))
        with self.refused("add_.*overlap"), cr.no_grad():
            cr.check(failed=cr.lib.cr_add_(many.at, cr.tensor(torch.ones(3)).at, 1.0))


class Anomaly(Semantics):
    def setUp(self):
        super().setUp()
        cr.lib.cr_set_anomaly_mode(True)
        self.addCleanup(cr.lib.cr_set_anomaly_mode, False)

    def test_the_op_that_makes_a_nan_is_named(self):
        zero = cr.tensor(torch.zeros(2))
        with self.refused(r"^div made a NaN in its result of shape \(2,\)"):
            div(zero, zero)

    def test_the_op_whose_gradient_is_nan_is_named(self):
        x, _ = leaf([0.0, 1.0])
        y = div(mul(x, 0.0), add(x, 1.0))
        total(mul(y, 2.0)).backward()
        z, _ = leaf([1.0])
        with self.refused("^backward of mul: .*made a NaN"):
            mul(z, cr.tensor(torch.tensor([float("inf")]))).backward(
                cr.tensor(torch.tensor([0.0])))

    def test_infinity_is_not_an_anomaly(self):
        self.assertTrue(div(cr.tensor(torch.ones(1)), 0.0).torch().isinf().all())


class Checkpoint(Semantics):
    def checkpoint(self, function, *inputs):
        """cr_checkpoint of a function of Tensors; counts its runs."""
        self.runs = 0

        def run(pointers, count, _):
            self.runs += 1
            try:
                return function(*[cr.Tensor(pointers[i]) for i in range(count)]).at
            except Exception:  # it must not pass through C
                traceback.print_exc()
                return None
        callback = CHECKPOINT(run)
        self.kept.append(callback)
        at = cr.lib.cr_checkpoint(callback, cr._pointers(inputs), len(inputs), None)
        return cr.Tensor(cr.check(at, not at))

    def test_same_gradients_in_two_runs(self):
        x, tx = leaf([1.0, 2.0])
        w, tw = leaf([3.0, 4.0])
        y = self.checkpoint(lambda a, b: mul(mul(a, b), a), x, w)
        self.assertEqual(self.runs, 1)
        total(mul(y, y)).backward()
        self.assertEqual(self.runs, 2)
        ((tx * tw * tx) ** 2).sum().backward()
        self.same(x.grad, tx.grad)
        self.same(w.grad, tw.grad)

    def test_a_parameter_that_is_not_an_input(self):
        x, tx = leaf([1.0, 2.0])
        w, tw = leaf([3.0, 4.0])
        y = self.checkpoint(lambda a: mul(mul(a, w), w), x)
        total(y).backward()
        (tx * tw * tw).sum().backward()
        self.same(x.grad, tx.grad)
        self.same(w.grad, tw.grad)

    def test_an_intermediate_that_is_not_an_input(self):
        """PyTorch's reentrant checkpoint walks into it, too; it must not go wrong in silence."""
        x, tx = leaf([1.0, 2.0])
        outer, their_outer = mul(x, x), tx * tx
        y = self.checkpoint(lambda a: mul(a, outer), x)
        try:
            total(add(y, outer)).backward()
        except cr.CressetError as error:
            self.assertRegex(str(error), "walked before")
            return
        (tx * their_outer + their_outer).sum().backward()
        self.same(x.grad, tx.grad)

    def test_nested(self):
        x, tx = leaf([1.5, 2.0])
        y = self.checkpoint(lambda a: self.checkpoint(lambda b: mul(b, b), mul(a, a)), x)
        total(y).backward()
        (tx ** 4).sum().backward()
        self.same(x.grad, tx.grad)

    def test_random_numbers_are_drawn_again(self):
        x, _ = leaf([1.0] * 64)
        half = cr.tensor(torch.full((64,), 0.5))
        cr.lib.cr_manual_seed(3)
        y = self.checkpoint(lambda a: mul(a, cr.call("bernoulli", half)), x)
        other = cr.call("bernoulli", half).torch()
        forward = y.torch()
        total(y).backward()
        self.assertTrue(torch.equal(x.grad.torch(), forward))
        self.assertTrue(0 < int(forward.sum()) < 64)
        self.assertFalse(torch.equal(other, forward), "the generator did not move on")
        after = cr.call("bernoulli", half).torch()
        self.assertFalse(torch.equal(other, after), "the generator was set back for good")

    def test_walked_twice(self):
        x, tx = leaf([1.0, 2.0])
        y = total(self.checkpoint(lambda a: mul(a, a), x))
        y.backward(retain_graph=True)
        y.backward()
        self.assertEqual(self.runs, 3)
        self.same(x.grad, 4 * tx.detach())

    def test_without_recording(self):
        x, _ = leaf([1.0])
        with cr.no_grad():
            self.assertFalse(self.checkpoint(lambda a: mul(a, a), x).requires_grad)

    def test_second_order_is_refused(self):
        x, _ = leaf([1.0, 2.0])
        y = self.checkpoint(lambda a: mul(a, a), x)
        with self.refused("checkpoint.*second"):
            cr.grad(total(y), [x], create_graph=True)

    def test_a_function_that_gives_nothing(self):
        x, _ = leaf([1.0, 2.0])
        with self.refused("checkpoint.*NULL"):
            self.checkpoint(lambda a: cr.Tensor(None), x)

    def test_an_error_inside(self):
        x, _ = leaf([1.0, 2.0])
        def fails(a):
            room = (ctypes.c_void_p * cr.MAX_OUTPUTS)()
            other = cr.tensor(torch.ones(3))
            cr.lib.oracle_apply(cr.find("add").at, 2, cr._pointers([a, other]), b"", room)
            return cr.Tensor(room[0])  # NULL, and the error stands
        with self.refused(r"add.*\(2,\).*\(3,\)"):
            self.checkpoint(fails, x)


if __name__ == "__main__":
    unittest.main()
