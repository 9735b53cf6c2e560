#!/usr/bin/env python3
"""The importer of ONNX: node tests of our own (node_cases.py), graphs in graphs, weights in fields
and in files beside the model, and what is refused, with its sentence. Run as: test_onnx.py
RUN_NODE_TESTS."""

import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch  # noqa: F401, by node_cases
except ImportError:
    print("NumPy or PyTorch is missing: skipped")
    sys.exit(77)

import node_cases
from onnx_file import data, graph, model, node, number, port, tensor, write_test

RUNNER = sys.argv[1]
F = numpy.float32


def run(folder):
    done = subprocess.run([RUNNER, str(folder)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def write_case(root, name, op, inputs, outputs, attributes, opset):
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    weights = {names[i]: x.array for i, x in enumerate(inputs)
               if isinstance(x, node_cases.Weight)}
    given = [(names[i], x) for i, x in enumerate(inputs) if names[i] and names[i] not in weights]
    results = [f"y{i}" for i in range(len(outputs))]
    body = graph([node(op, names, results, **attributes)],
                 [port(n, a.dtype, a.shape) for n, a in given],
                 [port(n, a.dtype) for n, a in zip(results, outputs)], weights)
    write_test(root / name, model(body, opset), [a for _, a in given], outputs)


def test_nodes(root):
    for each in node_cases.CASES:
        write_case(root, *each)
    text = run(root)
    count = len(node_cases.CASES)
    assert f"{count} passed, 0 failed, 0 not supported" in text, text


def loop_body():
    """i, condition, sum → condition, sum + i, i"""
    return graph([node("Identity", ["c"], ["c2"]), node("Cast", ["i"], ["f"], to=1),
                  node("Add", ["s", "f"], ["s2"]), node("Mul", ["f", "outer"], ["scaled"])],
                 [port("i", "int64"), port("c", "bool"), port("s", "float32")],
                 [port("c2", "bool"), port("s2", "float32"), port("scaled", "float32")])


def test_graphs(root):
    """A Loop that reads a name from outside, and an If on its result."""
    then = graph([node("Neg", ["sum"], ["t"])], [], [port("t", "float32")])
    other = graph([node("Identity", ["sum"], ["e"])], [], [port("e", "float32")])
    body = graph([node("Loop", ["n", "", "zero"], ["sum", "all"], body=loop_body()),
                  node("Greater", ["sum", "five"], ["big"]),
                  node("If", ["big"], ["y"], then_branch=then, else_branch=other)],
                 [port("n", "int64", []), port("outer", "float32", [])],
                 [port("y", "float32"), port("all", "float32")],
                 {"zero": F(0), "five": F(5)})
    for n, y in ((3, 3.0), (5, -10.0)):
        write_test(root / f"loop{n}", model(body), [numpy.int64(n), F(2)],
                   [F(y), 2 * numpy.arange(n, dtype="float32")])
    assert "2 passed" in run(root), run(root)


def test_numbers_in_fields(root):
    w, b = F([[1, 2], [3, 4]]), F([10, 20])
    shape = numpy.array([2], "int64")
    body = graph([node("Gemm", ["x", "w", "b"], ["y"]), node("Reshape", ["y", "s"], ["z"])],
                 [port("x", "float32", ["batch", 2]), port("w", "float32", [2, 2])],
                 [port("z", "float32", [2])],
                 [tensor(w, "w", raw=False), tensor(b, "b", raw=False),
                  tensor(shape, "s", raw=False)])
    write_test(root / "fields", model(body), [F([[1, 1]])], [F([14, 26])])
    assert "1 passed" in run(root), run(root)


def external(name, location, offset, length):
    pairs = [("location", location), ("offset", str(offset)), ("length", str(length))]
    return (number(1, 2) + number(2, 1) + data(8, name) +
            b"".join(data(13, data(1, k) + data(2, v)) for k, v in pairs) + number(14, 1))


def external_model(location, offset=4, length=8):
    return model(graph([node("Add", ["x", "w"], ["y"])], [port("x", "float32", [2])],
                       [port("y", "float32", [2])], [external("w", location, offset, length)]))


def test_external(root):
    write_test(root / "good", external_model("sub/w.bin"), [F([1, 2])], [F([11, 22])])
    (root / "good/sub").mkdir()
    (root / "good/sub/w.bin").write_bytes(b"xxxx" + F([10, 20]).tobytes())
    assert "1 passed" in run(root), run(root)
    outside = root / "outside.bin"
    outside.write_bytes(b"xxxx" + F([10, 20]).tobytes())
    os.symlink(outside, root / "good/link.bin")
    for location, words in (("../outside.bin", "outside of the model's folder"),
                            (str(outside), "outside of the model's folder"),
                            ("link.bin", "a link that leads out"),
                            ("none.bin", "No such file")):
        (root / "good/model.onnx").write_bytes(external_model(location))
        assert words in run(root / "good"), run(root / "good")
    (root / "good/model.onnx").write_bytes(external_model("sub/w.bin", 8))
    assert "ends after the end of its external data" in run(root / "good")


def refusals():
    x, y = [port("x", "float32", [2])], [port("y", "float32", [2])]
    relu = [node("Relu", ["x"], ["y"])]
    deep = graph([node("Identity", ["x"], ["y"])], [], y)
    for _ in range(20):
        deep = graph([node("If", ["c"], ["y"], then_branch=deep)], [], y)
    yield "not supported: Blur, my.Warp", model(graph(
        [node("Blur", ["x"], ["a"]), node("Blur", ["a"], ["b"]),
         node("Warp", ["b"], ["y"], domain="my")], x, y), domains=["my"])
    yield "uses operator set 99", model(graph(relu, x, y), 99)
    yield "is defined twice", model(graph(relu + relu, x, y))
    yield "which nothing before it makes", model(graph([node("Add", ["x", "z"], ["y"])], x, y))
    yield "is made by no node", model(graph([], x, y))
    yield "of another size than its shape says", model(graph(relu, x, y, [
        number(1, 3) + number(2, 1) + data(8, "w") + data(9, b"1234")]))
    yield "more elements than can be addressed", model(graph(relu, x, y, [
        number(1, 1 << 40) * 2 + number(2, 1) + data(8, "w") + data(9, b"1234")]))
    yield "nested too deep", model(deep)
    yield "it is not an ONNX file", b""
    yield "is not an ONNX file, or is damaged", model(graph(relu, x, y))[:-9]


def test_refusals(root):
    for i, (words, content) in enumerate(refusals()):
        folder = root / str(i)
        write_test(folder, content, [F([1, 2])], [F([1, 2])])
        assert words in run(folder), (words, run(folder))


def main():
    tests = {k: f for k, f in globals().items() if k.startswith("test_")}
    for name, function in tests.items():
        with tempfile.TemporaryDirectory() as folder:
            function(pathlib.Path(folder))
        print(name, "passed")


if __name__ == "__main__":
    main()
