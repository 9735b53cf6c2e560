"""Writes ONNX files for tests: models of a few nodes, and tensors beside them, as the folders of
node tests have them. Only what the tests need of the format is here."""

import pathlib
import struct

import numpy

TYPES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
         "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13}


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    value = value.encode() if isinstance(value, str) else bytes(value)
    return varint(field << 3 | 2) + varint(len(value)) + value


def real(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def tensor(array, name="", raw=True):
    array = numpy.asarray(array)
    out = b"".join(number(1, size) for size in array.shape) + number(2, TYPES[array.dtype.name])
    out += data(8, name)
    if raw:
        return out + data(9, array.tobytes())
    if array.dtype == numpy.float32:
        return out + data(4, array.tobytes())
    field = 7 if array.dtype == numpy.int64 else 5
    return out + data(field, b"".join(varint(int(v)) for v in array.ravel()))


def attribute(name, value):
    out = data(1, name)
    if isinstance(value, bool) or isinstance(value, int):
        return out + number(3, int(value)) + number(20, 2)
    if isinstance(value, float):
        return out + real(2, value) + number(20, 1)
    if isinstance(value, str):
        return out + data(4, value) + number(20, 3)
    if isinstance(value, numpy.ndarray):
        return out + data(5, tensor(value)) + number(20, 4)
    if isinstance(value, bytes):  # a graph
        return out + data(6, value) + number(20, 5)
    if all(isinstance(v, int) for v in value):
        return out + b"".join(number(8, v) for v in value) + number(20, 7)
    return out + b"".join(real(7, v) for v in value) + number(20, 6)


def node(op, inputs, outputs, name="", domain="", **attributes):
    out = b"".join(data(1, i) for i in inputs) + b"".join(data(2, o) for o in outputs)
    out += data(3, name) + data(4, op)
    out += b"".join(data(5, attribute(k, v)) for k, v in attributes.items())
    return out + (data(7, domain) if domain else b"")


def port(name, dtype, shape=None):
    """shape: sizes, names for those that vary; None: unknown."""
    kind = number(1, TYPES[numpy.dtype(dtype).name])
    if shape is not None:
        kind += data(2, b"".join(data(1, number(1, s) if isinstance(s, int) else data(2, s))
                                 for s in shape))
    return data(1, name) + data(2, data(1, kind))


def graph(nodes, inputs, outputs, initializers=(), name="g"):
    """initializers: a dict of arrays, or tensors as bytes."""
    if isinstance(initializers, dict):
        initializers = [tensor(v, k) for k, v in initializers.items()]
    return (b"".join(data(1, n) for n in nodes) + data(2, name) +
            b"".join(data(5, t) for t in initializers) +
            b"".join(data(11, p) for p in inputs) + b"".join(data(12, p) for p in outputs))


def model(graph_bytes, opset=17, domains=(), metadata=()):
    out = number(1, 8) + data(2, "tests") + data(7, graph_bytes) + data(8, number(2, opset))
    out += b"".join(data(8, data(1, d) + number(2, 1)) for d in domains)
    return out + b"".join(data(14, data(1, k) + data(2, v)) for k, v in metadata)


def write_test(folder, model_bytes, inputs, outputs):
    """A folder as those of node tests."""
    values = pathlib.Path(folder) / "test_data_set_0"
    values.mkdir(parents=True)
    (values.parent / "model.onnx").write_bytes(model_bytes)
    for kind, arrays in (("input", inputs), ("output", outputs)):
        for i, array in enumerate(arrays):
            if array is not None:
                (values / f"{kind}_{i}.pb").write_bytes(tensor(array))
