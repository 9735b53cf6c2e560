"""`cresset serve` on models in ONNX files: inputs and outputs of several dtypes, batches of what
may be put together, and one bad request among good ones."""
import json
import os
import struct
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "onnx"))
try:
    import numpy
    from onnx_file import graph, model, node, port
except ImportError:
    print("skipped: NumPy is not installed")
    sys.exit(77)
from serving import Server, binary_request  # noqa: E402

TABLE = [[0.5, 1], [2, -3], [4, 8]]


def lookup(batch, length):
    """ids int64 (batch, length), keep bool (batch, length) → rows of TABLE, summed where kept; and
    ids, doubled."""
    nodes = [node("Gather", ["table", "ids"], ["rows"]),
             node("Cast", ["keep"], ["kept"], to=1), node("Unsqueeze", ["kept", "last"], ["k"]),
             node("Mul", ["rows", "k"], ["product"]),
             node("ReduceSum", ["product", "middle"], ["sum"], keepdims=0),
             node("Add", ["ids", "ids"], ["twice"])]
    values = {"table": numpy.array(TABLE, numpy.float32), "last": numpy.array([2], numpy.int64),
              "middle": numpy.array([1], numpy.int64)}
    return model(graph(nodes, [port("ids", "int64", [batch, length]),
                               port("keep", "bool", [batch, length])],
                       [port("sum", "float32", [batch, 2]), port("twice", "int64",
                                                                 [batch, length])], values))


def request(ids, keep):
    shape = [len(ids), len(ids[0])]
    return {"inputs": [{"name": "ids", "shape": shape, "datatype": "INT64", "data": ids},
                       {"name": "keep", "shape": shape, "datatype": "BOOL", "data": keep}]}


class GraphTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        for name, sizes in (("free", ("n", "l")), ("fixed", (1, 2))):
            with open(os.path.join(folder.name, name + ".onnx"), "wb") as file:
                file.write(lookup(*sizes))
        cls.server = Server(folder.name, "--max-delay-ms", 300)
        cls.addClassCleanup(cls.server.__exit__)

    def ask(self, body, name="free"):
        return self.server.post(f"/v2/models/{name}/infer", body)

    def test_metadata(self):
        about = self.server.get("/v2/models/free").json
        self.assertEqual(about["platform"], "cresset_onnx")
        self.assertEqual(about["inputs"], [
            {"name": "ids", "datatype": "INT64", "shape": [-1, -1]},
            {"name": "keep", "datatype": "BOOL", "shape": [-1, -1]}])
        self.assertEqual(self.server.get("/v2/models/fixed").json["outputs"][0],
                         {"name": "sum", "datatype": "FP32", "shape": [1, 2]})

    def test_values(self):
        for name in ("free", "fixed"):
            answer = self.ask(request([[1, 2]], [[True, False]]), name).json
            self.assertEqual([each["data"] for each in answer["outputs"]], [[2, -3], [2, 4]])
        answer = self.ask(request([[0, 1, 2], [2, 2, 0]], [[True] * 3, [True, True, False]])).json
        self.assertEqual(answer["outputs"][0]["data"], [6.5, 6, 8, 16])
        body, headers = binary_request(
            [("keep", "BOOL", [1, 2], b"\1\1"), ("ids", "INT64", [1, 2], struct.pack("<2q", 0, 2))],
            parameters={"binary_data_output": True}, outputs=[{"name": "twice"}])
        answer = self.server.post("/v2/models/free/infer", body, **headers)
        length = int(answer.headers["Inference-Header-Content-Length"])
        self.assertEqual(struct.unpack("<2q", answer.body[length:]), (0, 4))

    def test_together(self):
        """Three that fit, one of which is bad, and one of another length."""
        bodies = [request([[0, 1]], [[True, True]]), request([[0, 99]], [[True, True]]),
                  request([[2, 2]], [[True, True]]), request([[1]], [[True]])]
        answers = [None] * 4

        def ask(i):
            answers[i] = self.ask(bodies[i])
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual([each.status for each in answers], [200, 400, 200, 200])
        self.assertIn("99", answers[1].json["error"])
        self.assertEqual([answers[i].json["outputs"][0]["data"] for i in (0, 2, 3)],
                         [[2.5, -2], [8, 16], [2, -3]])
        self.assertEqual(answers[3].json["parameters"]["batch_size"], 1)

    def test_refusals(self):
        for change, words in ((lambda r: r["inputs"][1].update(shape=[2, 1]), "has 2 rows"),
                              (lambda r: r["inputs"].pop(), "lacks the input \"keep\""),
                              (lambda r: r["inputs"][0].update(data=[1, 2.5]), "is no INT64"),
                              (lambda r: r["inputs"][1].update(data=[1, 2]), "out of the range")):
            body = request([[1, 2]], [[True, False]])
            change(body)
            answer = self.ask(body)
            self.assertEqual(answer.status, 400, answer.body)
            self.assertIn(words, answer.json["error"])
        answer = self.ask(request([[1, 2], [1, 2]], [[True, False]] * 2), "fixed")
        self.assertIn("the model takes [1, 2]", answer.json["error"])
        answer = self.server.post("/predictions/free", b"picture")
        self.assertIn("does not classify pictures", answer.json["error"])
        self.assertEqual(json.loads(self.server.post("/v2/repository/index").body)[0]["name"],
                         "fixed")


if __name__ == "__main__":
    unittest.main()
