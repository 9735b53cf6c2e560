"""The comparison with PyTorch. Files cases_FAMILY.py declare cases; everything that is compared is
derived from them here (see README.md): forward and gradients over layouts and dtypes, finite
differences, second-order gradients, the meta device, thread counts, empty and 0-dim inputs."""
import collections
import dataclasses
import math
import re
import traceback
import zlib
from typing import Any, Callable, Optional

import torch

import cresset as cr
from specs import (ALL, F32_F64, FLOATS, INTEGERS, LAYOUTS, NUMBERS, Spec, away,  # noqa: F401
                   boolean, choice, distinct, exactly, integer, positive, real)

HALVES = (torch.bfloat16, torch.float16)
# By dtype: the largest error allowed, as a part of the size of the elements.
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 1.6e-2,
              torch.float16: 4e-3}
FLOORS = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2, torch.float16: 1e-3}
STEP = 1e-6          # of finite differences
BIG = 20000          # samples with more elements are compared in fewer ways
MOST_ALLOCATIONS = 2000  # that are failed in turn
MOST_PRINTED = 5     # failures of one kind of one op


# ---- what a file of cases says ----

@dataclasses.dataclass
class Sample:
    inputs: tuple
    attributes: dict


def sample(*inputs, **attributes):
    """One call: inputs are specs, Python numbers, or None for an absent optional one."""
    return Sample(inputs, attributes)


@dataclasses.dataclass
class Case:
    """The fields after `samples` are options of case()."""
    op: str
    reference: Optional[Callable]   # (*torch tensors, **attributes) -> tensor or tuple
    samples: tuple
    dtypes: tuple = FLOATS          # of the inputs without a fixed dtype
    layouts: tuple = tuple(LAYOUTS)
    loosen: float = 1.0             # multiplies the tolerances
    tolerances: dict = dataclasses.field(default_factory=dict)  # replaces TOLERANCES by dtype
    native: bool = False    # bf16 and f16: run the reference in that dtype, not in float32
    sees_output: bool = False       # the reference also gets ours=[our outputs]
    verify: Optional[Callable] = None  # instead of a reference: (inputs, outputs, attributes) -> ""
    gradient: bool = True
    half_gradient: bool = True      # gradients in bf16 and f16, too
    finite: bool = True             # finite differences; False needs a line in coverage.py
    gradgrad: bool = True           # second order; where PyTorch has one
    meta: bool = True               # False: the shape depends on the data
    empty: bool = True              # try it with 0 elements, if PyTorch takes that
    zero_dim: bool = True           # try it with inputs without dimensions, if PyTorch takes that
    threads: bool = True            # the same bits with 1 and 2 threads


@dataclasses.dataclass
class Refusal:
    op: str
    sample: Sample
    words: str
    dtype: Any


cases, refusals = [], []


def case(op, reference, *samples, **options):
    """Declares that an op equals a function of torch on these samples."""
    cases.append(Case(op, reference, samples, **options))


def refuses(op, what, words, dtype=torch.float32):
    """Declares that a sample is refused with a message that names the op and matches `words`."""
    refusals.append(Refusal(op, what, words, dtype))


# ---- results ----

class Results:
    """Counts of comparisons by op and kind, and the failures."""

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.failures = collections.Counter()
        self.reached = collections.defaultdict(set)  # by op: which ops ran for it

    def add(self, op, kind, fault=None, where=""):
        self.counts[op][kind] += 1
        if fault:
            self.failures[op, kind] += 1
            if self.failures[op, kind] <= MOST_PRINTED:
                print(f"FAIL {op}: {kind}: {where}: {fault}", flush=True)

    def note(self, op, what):
        """Counts something that is not a comparison: a layout or dtype that was covered."""
        self.counts[op][what] += 1

    @property
    def failed(self):
        return sum(self.failures.values())

    @property
    def compared(self):
        return sum(count for kinds in self.counts.values() for kind, count in kinds.items()
                   if ":" not in kind)


# ---- comparing ----

def _text(shape):
    return str(tuple(shape)).replace(" ", "")


def difference(ours, expected, tolerance, floor):
    """What is wrong with `ours`; None if every element is within the tolerance of its own size
    plus the root mean square of all, plus the floor. NaN and infinity must be equal."""
    if tuple(ours.shape) != tuple(expected.shape):
        return f"shape {_text(ours.shape)} instead of {_text(expected.shape)}"
    if expected.numel() == 0:
        return None
    if not ours.dtype.is_floating_point:
        wrong = (ours != expected).reshape(-1)
        error = wrong.double()
    else:
        a, b = ours.double().reshape(-1), expected.double().reshape(-1)
        same = (a == b) | (a.isnan() & b.isnan())
        finite = b.isfinite()
        size = b[finite].square().mean().sqrt().item() if finite.any() else 0.0
        error = torch.where(same, torch.zeros_like(a), (a - b).abs())
        wrong = ~same & ~(error <= tolerance * (b.abs() + size) + floor)
        wrong |= ~same & ~(finite & a.isfinite())
    if not wrong.any():
        return None
    error = torch.where(wrong, error.nan_to_num(math.inf, math.inf), torch.zeros_like(error))
    at = int(error.argmax())
    place = []
    for n in reversed(expected.shape):
        place.insert(0, at % n)
        at //= n
    return (f"largest error {error.max().item():.3g} at {_text(place)}: "
            f"{ours[tuple(place)].item():.8g} instead of {expected[tuple(place)].item():.8g}; "
            f"{int(wrong.sum())} of {wrong.numel()} elements differ")


def _as_list(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _brief(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


class Run:
    """One sample in one dtype and one layout: the inputs of both sides and what comes out."""

    def __init__(self, case_, sample_, dtype, layout="contiguous"):
        self.case, self.sample, self.dtype, self.layout = case_, sample_, dtype, layout
        text = f"{case_.op} {[getattr(i, 'shape', i) for i in sample_.inputs]}"
        self.rng = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        self.applies = layout == "contiguous"
        self.inputs = [self._input(i) for i in sample_.inputs]
        self.wide = dtype in HALVES and not case_.native  # the reference computes in float32
        self.differentiable = [] if not (case_.gradient and cr.find(case_.op).is_differentiable) \
            else [i for i, x in enumerate(self.inputs) if torch.is_tensor(x)
                  and x.is_floating_point() and sample_.inputs[i].grad]

    def _input(self, spec):
        if not isinstance(spec, Spec):
            return spec
        made = spec.make(self.rng, self.dtype)
        stored = LAYOUTS[self.layout](made, spec.expand)
        if stored is None:
            return made
        self.applies = True
        return stored

    @property
    def where(self):
        shapes = " ".join(_text(x.shape) if torch.is_tensor(x) else str(x) for x in self.inputs)
        attributes = "".join(f" {k}={v}" for k, v in self.sample.attributes.items())
        return f"{self.layout} {str(self.dtype).removeprefix('torch.')} {shapes}{attributes}"

    @property
    def elements(self):
        return sum(x.numel() for x in self.inputs if torch.is_tensor(x))

    def tolerance(self, dtype, loosen=1.0):
        """For a result of this dtype; what was computed from halves is as coarse as they are."""
        if self.dtype in HALVES or not dtype.is_floating_point:
            dtype = self.dtype if self.dtype.is_floating_point else torch.float32
        tolerance = self.case.tolerances.get(dtype, TOLERANCES[dtype] * self.case.loosen)
        return tolerance * loosen, FLOORS[dtype] * self.case.loosen * loosen

    # ---- our side ----

    def ours(self, gradients=True, inputs=None):
        """(leaves, outputs): the op run on fresh tensors."""
        leaves = [cr.tensor(x, gradients and i in self.differentiable)
                  for i, x in enumerate(self.inputs if inputs is None else inputs)]
        cr.lib.cr_manual_seed(7)
        return leaves, cr.apply(self.case.op, leaves, **self.sample.attributes)

    def our_gradients(self, leaves, outputs, seeds, create_graph=False):
        """Of sum(output * seed), by input; a list of Tensors for each."""
        chosen = [leaves[i] for i in self.differentiable]
        found = [[] for _ in chosen]
        for output, seed in zip(outputs, seeds):
            if seed is None:
                continue
            grads = cr.grad(output, chosen, seed, retain_graph=True, create_graph=create_graph)
            for place, grad in zip(found, grads):
                if grad is not None:
                    place.append(grad)
        return found

    # ---- the reference's side ----

    def theirs(self, outputs=None):
        """(leaves, outputs) of the reference; halves are widened to float32."""
        leaves = []
        for i, x in enumerate(self.inputs):
            if torch.is_tensor(x):
                x = x.float() if self.wide and x.dtype in HALVES else x.detach()
                x = x.requires_grad_(i in self.differentiable)
            leaves.append(x)
        extra = {"ours": outputs} if self.case.sees_output else {}
        return leaves, _as_list(self.case.reference(*leaves, **self.sample.attributes, **extra))

    def seeds(self, outputs):
        """A random gradient for each output that has one, stored in the layout of the run."""
        result = []
        for output in outputs:
            if output is None or not output.requires_grad:
                result.append(None)
                continue
            seed = torch.randn(output.shape, generator=self.rng, dtype=torch.float64)
            seed = seed.to(self.dtype if self.wide and output.dtype == torch.float32
                           else output.dtype)
            stored = LAYOUTS[self.layout](seed, True)
            result.append(seed if stored is None else stored)
        return result


def _sum(tensors, like):
    if not tensors:
        return torch.zeros_like(like)
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


# ---- the comparisons of one run ----

def _compare_outputs(results, run, kind, outputs, expected):
    for i, want in enumerate(expected):
        if want is None:
            continue
        want = want.detach()
        dtype = run.dtype if run.wide and want.dtype == torch.float32 else want.dtype
        got = outputs[i]
        if got.dtype != dtype:
            fault = f"dtype {got.dtype} instead of {dtype}"
        else:
            fault = difference(got, want, *run.tolerance(dtype))
        results.add(run.case.op, kind, fault, f"{run.where} output {i}")


def _compare_gradients(results, run, leaves, outputs, their_leaves, expected):
    """Returns (seeds, gradients by input as torch tensors), or None without differentiable ones."""
    seeds = run.seeds(expected)
    chosen = [their_leaves[i] for i in run.differentiable]
    if all(seed is None for seed in seeds) or not chosen:
        return None
    pairs = [(y, s.to(y.dtype)) for y, s in zip(expected, seeds) if s is not None]
    want = torch.autograd.grad([y for y, _ in pairs], chosen, [s for _, s in pairs],
                               allow_unused=True, retain_graph=True)
    found = run.our_gradients(leaves, outputs, [cr.tensor(s) for s in seeds])
    got = [_sum([g.torch() for g in grads], run.inputs[i])
           for grads, i in zip(found, run.differentiable)]
    for i, ours, theirs in zip(run.differentiable, got, want):
        theirs = torch.zeros_like(run.inputs[i]) if theirs is None else theirs
        fault = f"dtype {ours.dtype} instead of {run.inputs[i].dtype}" \
            if ours.dtype != run.inputs[i].dtype \
            else difference(ours, theirs, *run.tolerance(ours.dtype, 4))
        results.add(run.case.op, "gradient", fault, f"{run.where} input {i}")
    return seeds, got


def _compare_finite_differences(results, run, seeds, gradients):
    """Central differences along a random direction, of sum(output * seed) as our forward gives
    it."""
    def value(inputs):
        _, outputs = run.ours(gradients=False, inputs=inputs)
        terms = [(y.torch() * s) for y, s in zip(outputs, seeds) if s is not None]
        return (sum(t.sum().item() for t in terms), sum(t.abs().sum().item() for t in terms))

    for i, gradient in zip(run.differentiable, gradients):
        direction = torch.randn(run.inputs[i].shape, generator=run.rng, dtype=torch.float64)
        ends = []
        for step in (STEP, -STEP):
            inputs = list(run.inputs)
            inputs[i] = inputs[i] + step * direction
            ends.append(value(inputs))
        slope = (ends[0][0] - ends[1][0]) / (2 * STEP)
        expected = (gradient * direction).sum().item()
        scale = (gradient * direction).abs().sum().item()
        allowed = (1e-6 * scale + 2e-9 * max(ends[0][1], 1.0)) * run.case.loosen
        fault = None if abs(slope - expected) <= allowed else \
            f"the differences give {slope:.8g}, the gradient {expected:.8g}"
        results.add(run.case.op, "finite differences", fault, f"{run.where} input {i}")


def _compare_second_order(results, run):
    """Gradients of sum(gradient * random) with respect to the inputs and the seed."""
    leaves, expected = run.theirs([y.torch() for y in run.ours()[1]])
    seeds = run.seeds(expected)
    chosen = [leaves[i] for i in run.differentiable]
    seed_leaves = [s.clone().requires_grad_() for s in seeds if s is not None]
    try:
        first = torch.autograd.grad([y for y, s in zip(expected, seeds) if s is not None], chosen,
                                    seed_leaves, allow_unused=True, create_graph=True)
        first = [g if g is not None and g.requires_grad else None for g in first]
        weights = [None if g is None else torch.randn(g.shape, generator=run.rng, dtype=g.dtype)
                   for g in first]
        if not any(g is not None for g in first):
            return
        want = torch.autograd.grad([g for g in first if g is not None], chosen + seed_leaves,
                                   [w for w in weights if w is not None], allow_unused=True)
    except RuntimeError:
        results.note(run.case.op, "second order: PyTorch has none")
        return
    our_leaves, outputs = run.ours()
    our_seeds = [None if s is None else cr.tensor(s, True) for s in seeds]
    grads = run.our_gradients(our_leaves, outputs, our_seeds, create_graph=True)
    targets = [our_leaves[i] for i in run.differentiable] + [s for s in our_seeds if s is not None]
    found = [[] for _ in targets]
    for parts, weight in zip(grads, weights):
        for part in parts:
            if weight is None or not part.requires_grad:
                continue
            for place, grad in zip(found, cr.grad(part, targets, cr.tensor(weight), True)):
                if grad is not None:
                    place.append(grad.torch())
    for i, (ours, theirs, leaf) in enumerate(zip(found, want, chosen + seed_leaves)):
        theirs = torch.zeros_like(leaf) if theirs is None else theirs
        fault = difference(_sum(ours, leaf), theirs, *run.tolerance(leaf.dtype, 10))
        what = f"input {i}" if i < len(chosen) else "seed"
        results.add(run.case.op, "second order", fault, f"{run.where} {what}")


def _compare_meta(results, run, outputs):
    inputs = [cr.meta(x.shape, x.dtype) if torch.is_tensor(x) else cr.tensor(x)
              for x in run.inputs]
    inferred = cr.apply(run.case.op, inputs, **run.sample.attributes)
    for i, (want, got) in enumerate(zip(outputs, inferred)):
        if want is None:
            continue
        fault = None if (got.shape, got.dtype) == (want.shape, want.dtype) else \
            f"{_text(got.shape)} {got.dtype} instead of {_text(want.shape)} {want.dtype}"
        results.add(run.case.op, "meta", fault, f"{run.where} output {i}")


def _compare_threads(results, run, seeds):
    """The bits of outputs and gradients with one and with two threads."""
    bits = []
    for count in (1, 2):
        with cr.threads(count), cr.frame():
            leaves, outputs = run.ours()
            found = [y.torch() for y in outputs if y is not None]
            if seeds:
                for grads in run.our_gradients(leaves, outputs, [cr.tensor(s) for s in seeds]):
                    found += [g.torch() for g in grads]
            bits.append([t.contiguous().numpy().tobytes() if t.dtype != torch.bfloat16
                         else t.view(torch.int16).numpy().tobytes() for t in found])
    fault = None if bits[0] == bits[1] else "other bits with 2 threads than with 1"
    results.add(run.case.op, "threads", fault, run.where)


def _fail_allocations(results, run):
    """Fails every allocation of a call and its gradients in turn: an error each time that says so,
    and nothing left behind."""
    def attempt(successes):
        with cr.frame():
            leaves = [cr.tensor(x, i in run.differentiable) for i, x in enumerate(run.inputs)]
            with cr.failing_after(successes):
                output = cr.call(run.case.op, *leaves, **run.sample.attributes)
                if output.requires_grad:
                    seed = cr.call("mul", output.detach(), cr.tensor(1.0))
                    cr.grad(output, [leaves[i] for i in run.differentiable], seed)

    attempt(-1)
    before, fault, successes = cr.memory(), None, 0
    while not fault and successes < MOST_ALLOCATIONS:
        try:
            attempt(successes)
            break
        except cr.CressetError as error:
            if "memory" not in str(error):
                fault = f"allocation {successes} fails as '{error}'"
        successes += 1
    if not fault and cr.memory() != before:
        fault = f"(buffer bytes, blocks) in use are {cr.memory()} instead of {before}"
    results.add(run.case.op, "out of memory", fault, run.where)


def _verify(results, run):
    """A case without a reference: its own function looks at the outputs."""
    with cr.frame():
        _, outputs = run.ours()
        fault = run.case.verify(run.inputs, [None if y is None else y.torch() for y in outputs],
                                run.sample.attributes)
        results.add(run.case.op, "forward", fault, run.where)
        if run.case.meta and run.layout == "contiguous":
            _compare_meta(results, run, outputs)
    if run.case.threads and run.layout == "contiguous":
        _compare_threads(results, run, None)


def _compare(results, run):
    """All comparisons that this run is for."""
    op, c, plain = run.case.op, run.case, run.layout == "contiguous"
    results.note(op, f"layout: {run.layout}")
    results.note(op, f"dtype: {str(run.dtype).removeprefix('torch.')}")
    if c.verify:
        _verify(results, run)
        return
    with cr.frame():
        leaves, outputs = run.ours()
        values = [None if y is None else y.torch() for y in outputs]
        their_leaves, expected = run.theirs(values)
        _compare_outputs(results, run, "forward", values, expected)
        if plain and c.meta:
            _compare_meta(results, run, outputs)
        if plain and run.dtype == torch.float32 and run.differentiable:
            with cr.no_grad():
                quiet = [None if y is None else y.torch() for y in run.ours()[1]]
            _compare_outputs(results, run, "forward without gradients", quiet, expected)
        seeds = None
        if run.differentiable and (c.half_gradient or run.dtype not in HALVES):
            both = _compare_gradients(results, run, leaves, outputs, their_leaves, expected)
            if both:
                seeds, gradients = both
    small = run.elements <= BIG
    if plain and seeds and run.dtype == torch.float64 and small:
        with cr.frame():
            if c.finite:
                _compare_finite_differences(results, run, seeds, gradients)
            if c.gradgrad:
                _compare_second_order(results, run)
    if plain and c.threads and run.dtype == torch.float32:
        _compare_threads(results, run, seeds)


# ---- which runs a case means ----

def _degenerate(case_, kind):
    """The first sample without elements or without dimensions, if the reference takes it."""
    first = case_.samples[0]
    shapes = [i.shape for i in first.inputs if isinstance(i, Spec)]
    if not shapes or not shapes[0]:
        return None
    if kind == "empty":
        def change(spec):
            same = spec.shape and spec.shape[0] == shapes[0][0]
            return spec.shaped((0,) + spec.shape[1:]) if same else spec
    else:
        def change(spec):
            return spec.shaped(())
    changed = Sample(tuple(change(i) if isinstance(i, Spec) else i for i in first.inputs),
                     first.attributes)
    run = Run(case_, changed, case_.dtypes[0])
    if case_.sees_output or case_.verify:
        return None
    try:
        run.theirs()
    except Exception:  # whatever torch raises: the sample is not legal
        return None
    return run


def _runs(case_):
    main = [d for d in case_.dtypes if d in F32_F64] or list(case_.dtypes[:2])
    for sample_ in case_.samples:
        for dtype in case_.dtypes:
            for layout in case_.layouts:
                run = Run(case_, sample_, dtype, layout)
                every = dtype in main and (run.elements <= BIG or case_.verify is not None)
                if run.applies and (every or layout in ("contiguous", "transposed")):
                    yield run
    for kind in ("empty", "zero_dim"):
        run = _degenerate(case_, kind) if getattr(case_, kind) else None
        if run:
            yield run


def _note_degenerate(results, run):
    tensors = [x for x in run.inputs if torch.is_tensor(x)]
    if any(x.numel() == 0 for x in tensors):
        results.note(run.case.op, "layout: empty")
    if any(x.dim() == 0 for x in tensors):
        results.note(run.case.op, "layout: 0-dim")


def _run_case(results, case_, verbose):
    for run in _runs(case_):
        try:
            _compare(results, run)
            _note_degenerate(results, run)
            if not results.counts[case_.op]["out of memory"] and run.dtype == torch.float32 \
                    and run.elements <= BIG:
                _fail_allocations(results, run)
        except Exception as error:  # a failure of this run, not of the tests that follow
            results.add(case_.op, "forward", _brief(error), run.where)
            if verbose:
                traceback.print_exc()


def _run_refusal(results, refusal):
    case_ = Case(refusal.op, None, (refusal.sample,), verify=bool)
    run = Run(case_, refusal.sample, refusal.dtype)
    fault = "is not refused"
    with cr.frame():
        try:
            run.ours()
        except cr.CressetError as error:
            message = str(error)
            fault = None
            if refusal.op not in message:
                fault = f"the message does not name the op: {message}"
            elif not re.search(refusal.words, message):
                fault = f"the message does not match '{refusal.words}': {message}"
    results.add(refusal.op, "refusal", fault, run.where)


def run_all(only=(), verbose=False):
    """Runs the declared cases (of the ops in `only`, if any are given); the results."""
    torch.set_num_threads(1)
    results = Results()
    for case_ in cases:
        if not only or case_.op in only:
            try:
                cr.find(case_.op)
            except KeyError as error:
                results.add(case_.op, "forward", error.args[0])
                continue
            cr.lib.oracle_observe()
            _run_case(results, case_, verbose)
            results.reached[case_.op] |= cr.seen()
    for refusal in refusals:
        if not only or refusal.op in only:
            _run_refusal(results, refusal)
    return results
