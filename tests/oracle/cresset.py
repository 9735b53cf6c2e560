"""Cresset from Python, for the tests: tensors, ops by name with attributes, gradients, errors.

Loads the shim (a shared library linked to libcresset) that the environment variable CRESSET_SHIM
names, by default the one of build/. Tensors belong to the innermost `frame()`, as in C."""
import contextlib
import ctypes
import os
import pathlib
import struct

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHIM = os.environ.get("CRESSET_SHIM", str(ROOT / "build/tests/liboracle_shim.so"))

# In the order of enum cr_dtype.
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32,
          torch.int16, torch.int8, torch.uint8, torch.bool)
CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
MAX_DIMS, MAX_OUTPUTS, TEXT_SIZE = 8, 4, 128
NOT_DIFFERENTIABLE, RANDOM = 4, 8

_P, _I, _L, _B, _D, _S = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_bool,
                          ctypes.c_double, ctypes.c_char_p)
_FUNCTIONS = {  # name: (result, arguments)
    "oracle_from_buffer": (_P, _P, _I, _P, _I), "oracle_meta": (_P, _I, _P, _I),
    "oracle_geometry": (_I, _P, _P, _P), "oracle_as_strided": (_P, _P, _I, _P, _P, _L),
    "oracle_frame_begin": (None, _P), "oracle_frame_end": (None, _P),
    "oracle_op_name": (_S, _P), "oracle_op_inputs": (_S, _P), "oracle_op_flags": (_I, _P),
    "oracle_op_parts": (_I, _P), "oracle_op_counts": (None, _P, _P),
    "oracle_op_attribute": (_S, _P, _I, _P, _P), "oracle_apply": (_I, _P, _I, _P, _P, _P),
    "oracle_observe": (None,), "oracle_seen": (_S, _I),
    "oracle_memory": (None, _P), "cr_memory_fail_after": (ctypes.c_uint64, _L),
    "oracle_backward": (_I, _P, _P, _B, _B), "oracle_grad": (_I, _P, _P, _B, _B, _P, _I, _P),
    "cr_op_count": (_I,), "cr_op_at": (_P, _I), "cr_op_find": (_P, _S),
    "cr_failed": (_B,), "cr_error_message": (_S,), "cr_error_clear": (None,),
    "cr_dtype_of": (_I, _P), "cr_device_of": (_I, _P), "cr_numel": (_L, _P),
    "cr_is_contiguous": (_B, _P), "cr_shares_storage": (_B, _P, _P),
    "cr_to_buffer": (_I, _P, _P, ctypes.c_size_t), "cr_item": (_D, _P),
    "cr_scalar": (_P, _D), "cr_scalar_int": (_P, _L),
    "cr_retain": (_P, _P), "cr_release": (None, _P), "cr_frame_add": (_P, _P),
    "cr_set_requires_grad": (_P, _P, _B), "cr_requires_grad": (_B, _P), "cr_is_leaf": (_B, _P),
    "cr_grad_of": (_P, _P), "cr_set_grad": (_I, _P, _P), "cr_retain_grad": (_P, _P),
    "cr_detach": (_P, _P), "cr_register_hook": (_I, _P, _P, _P),
    "cr_set_grad_enabled": (_B, _B), "cr_grad_enabled": (_B,), "cr_set_anomaly_mode": (_B, _B),
    "cr_set_autocast": (_I, _I), "cr_checkpoint": (_P, _P, _P, _I, _P),
    "cr_add_": (_I, _P, _P, _D), "cr_copy_": (_I, _P, _P),
    "cr_manual_seed": (None, ctypes.c_uint64), "cr_set_num_threads": (None, _I),
    "cr_num_threads": (_I,), "oracle_pool2d": (_P, _S, _P, _P),
}


def _load():
    library = ctypes.CDLL(SHIM)
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = _load()


class CressetError(Exception):
    """What Cresset reported; the message is its sentence."""


def check(value=None, failed=None):
    """Raises, and clears, the standing error; gives `value` back if there is none."""
    if failed or lib.cr_failed():
        message = lib.cr_error_message().decode()
        lib.cr_error_clear()
        raise CressetError(message or "failed without a message")
    return value


def _integers(values):
    return (ctypes.c_int64 * max(len(values), 1))(*values)


def _pointers(tensors):
    return (ctypes.c_void_p * max(len(tensors), 1))(*[t.at if t is not None else None
                                                      for t in tensors])


class Tensor:
    """A handle that the frame owns."""
    __slots__ = ("at",)

    def __init__(self, at):
        self.at = at

    def geometry(self):
        sizes, strides = _integers([0] * MAX_DIMS), _integers([0] * MAX_DIMS)
        ndim = lib.oracle_geometry(self.at, sizes, strides)
        return tuple(sizes[:ndim]), tuple(strides[:ndim])

    @property
    def shape(self):
        return self.geometry()[0]

    @property
    def dtype(self):
        return DTYPES[lib.cr_dtype_of(self.at)]

    @property
    def requires_grad(self):
        return lib.cr_requires_grad(self.at)

    @property
    def grad(self):
        at = lib.cr_grad_of(self.at)
        return Tensor(at) if at else None

    def torch(self):
        """A copy as a torch tensor."""
        result = torch.empty(self.shape, dtype=self.dtype)
        status = lib.cr_to_buffer(self.at, result.data_ptr(),
                                  result.numel() * result.element_size())
        return check(result, status)

    def requires_grad_(self, on=True):
        check(failed=not lib.cr_set_requires_grad(self.at, on))
        return self

    def detach(self):
        return Tensor(check(lib.cr_detach(self.at)))

    def backward(self, gradient=None, retain_graph=False, create_graph=False):
        check(failed=lib.oracle_backward(self.at, gradient.at if gradient else None, retain_graph,
                                         create_graph))


def _whole_storage(tensor):
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.storage())


def tensor(source, requires_grad=False):
    """The torch tensor's elements under the same sizes, strides and offset; a Python number becomes
    a number (cr_scalar); None stays None."""
    if source is None:
        return None
    if isinstance(source, (bool, int)):
        return Tensor(check(lib.cr_scalar_int(int(source))))
    if isinstance(source, float):
        return Tensor(check(lib.cr_scalar(source)))
    source = source.detach()
    flat = _whole_storage(source)
    plain = source.is_contiguous() and source.storage_offset() == 0
    sizes = tuple(source.shape) if plain else tuple(flat.shape)
    made = check(lib.oracle_from_buffer(flat.data_ptr(), len(sizes), _integers(sizes),
                                        CODES[source.dtype]))
    if not plain:
        made = check(lib.oracle_as_strided(made, source.dim(), _integers(source.shape),
                                           _integers(source.stride()), source.storage_offset()))
    result = Tensor(made)
    return result.requires_grad_() if requires_grad else result


def meta(shape, dtype):
    """A tensor without data."""
    return Tensor(check(lib.oracle_meta(len(shape), _integers(shape), CODES[dtype])))


class Op:
    """One record of the table."""

    def __init__(self, at):
        self.at = at
        self.name = lib.oracle_op_name(at).decode()
        self.input_names = (lib.oracle_op_inputs(at) or b"").decode()
        self.flags = lib.oracle_op_flags(at)
        parts = lib.oracle_op_parts(at)
        self.has_backward, self.is_composed = bool(parts & 1), bool(parts & 2)
        counts = _integers([0] * 4)
        lib.oracle_op_counts(at, counts)
        self.min_inputs, self.max_inputs, self.output_count, self.attribute_size = counts
        self.attributes = dict(self._attributes())

    def _attributes(self):
        kind, offset = ctypes.c_int(), ctypes.c_int64()
        for i in range(1000):
            name = lib.oracle_op_attribute(self.at, i, ctypes.byref(kind), ctypes.byref(offset))
            if name is None:
                return
            yield name.decode(), (kind.value, offset.value)

    @property
    def is_inner(self):
        """By its name: a kernel behind another op, or behind the gradient of one."""
        return self.name.startswith(("_", "native_")) or "_backward" in self.name

    @property
    def is_differentiable(self):
        return not self.flags & NOT_DIFFERENTIABLE

    @property
    def is_random(self):
        return bool(self.flags & RANDOM)

    def pack(self, values):
        """The attribute struct with these values; what is not named is zero."""
        block = bytearray(max(self.attribute_size, 1))
        for name, value in values.items():
            if name not in self.attributes:
                raise TypeError(f"{self.name} has no attribute {name}; it has "
                                f"{', '.join(self.attributes) or 'none'}")
            kind, offset = self.attributes[name]
            try:
                data = _PACK[kind](getattr(value, "code", value))
            except (TypeError, struct.error) as error:
                raise TypeError(f"{self.name}: {name}={value!r}: {error}") from error
            block[offset:offset + len(data)] = data
        return bytes(block)


def _pack_integers(values):
    values = (values,) if isinstance(values, int) else tuple(values)
    return struct.pack("=i4x8q", len(values), *values, *[0] * (MAX_DIMS - len(values)))


def _pack_enum(value):
    return struct.pack("=i", CODES[value] if isinstance(value, torch.dtype) else value)


_PACK = (lambda v: struct.pack("=q", v), lambda v: struct.pack("=d", v),
         lambda v: struct.pack("=?", v), _pack_enum, _pack_integers,
         lambda v: struct.pack(f"={TEXT_SIZE}s", v.encode()))  # in the order of cr_attribute_kind

_found = {}


def find(name):
    """The record of the op of this name; KeyError if there is none."""
    if name not in _found:
        at = lib.cr_op_find(name.encode())
        if not at:
            raise KeyError(f"the table has no op named {name}")
        _found[name] = Op(at)
    return _found[name]


def table():
    """All records."""
    return [Op(lib.cr_op_at(i)) for i in range(lib.cr_op_count())]


def apply(name, inputs, **attributes):
    """Runs an op by name on Tensors (None where an optional one is absent); the list of outputs."""
    op = find(name) if isinstance(name, str) else name
    outputs = (ctypes.c_void_p * MAX_OUTPUTS)()
    status = lib.oracle_apply(op.at, len(inputs), _pointers(inputs), op.pack(attributes), outputs)
    check(failed=status)
    return [Tensor(at) if at else None for at in outputs[:op.output_count]]


def call(name, *inputs, **attributes):
    """The same for one output."""
    return apply(name, inputs, **attributes)[0]


def grad(output, inputs, gradient=None, retain_graph=False, create_graph=False):
    """As torch.autograd.grad for one output; None where it does not depend on the input."""
    grads = (ctypes.c_void_p * max(len(inputs), 1))()
    check(failed=lib.oracle_grad(output.at, gradient.at if gradient else None, retain_graph,
                                 create_graph, _pointers(inputs), len(inputs), grads))
    return [Tensor(at) if at else None for at in grads[:len(inputs)]]


@contextlib.contextmanager
def frame():
    """Releases at its end what was made inside."""
    room = (ctypes.c_uint64 * 2)()
    lib.oracle_frame_begin(room)
    try:
        yield
    finally:
        lib.oracle_frame_end(room)


@contextlib.contextmanager
def no_grad():
    was = lib.cr_set_grad_enabled(False)
    try:
        yield
    finally:
        lib.cr_set_grad_enabled(was)


@contextlib.contextmanager
def threads(count):
    lib.cr_set_num_threads(count)
    try:
        yield
    finally:
        lib.cr_set_num_threads(0)


def seen():
    """The names of the ops that ran since lib.oracle_observe()."""
    names, i = set(), 0
    while (name := lib.oracle_seen(i)) is not None:
        names.add(name.decode())
        i += 1
    return names


def memory():
    """What is in use: (bytes of buffers, small blocks)."""
    use = (ctypes.c_uint64 * 2)()
    lib.oracle_memory(use)
    return tuple(use)


@contextlib.contextmanager
def failing_after(successes):
    """Every allocation after so many fails."""
    lib.cr_memory_fail_after(successes)
    try:
        yield
    finally:
        lib.cr_memory_fail_after(-1)
