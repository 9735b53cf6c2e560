#!/usr/bin/env python3
"""Imported models in the command: `cresset train --model net.onnx` with their own last layer and
with another one, resumed bit for bit, and what eval, predict and models make of them. CRESSET
names the program."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest

try:
    import numpy
except ImportError:
    print("NumPy is missing: skipped")
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cli"))
from command import CLASSES, CRESSET, SIDE, FolderTest, run, tensors, write_png, picture  # noqa
from onnx_file import graph, model, node, port


def net(classes, last="Gemm", side=SIDE):
    """Conv, BatchNormalization, Relu, and a linear layer "fc" with softmax, or a convolution."""
    r = numpy.random.default_rng(3)
    f = lambda *shape: (0.3 * r.standard_normal(shape)).astype("float32")
    weights = {"conv.weight": f(8, 1, 3, 3), "bn.weight": 1 + 0 * f(8), "bn.bias": 0 * f(8),
               "bn.running_mean": 0 * f(8), "bn.running_var": 1 + 0 * f(8),
               "ratio": numpy.float32(0.2), "drops": numpy.array(True)}
    nodes = [node("Conv", ["x", "conv.weight"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
             node("BatchNormalization", ["a", "bn.weight", "bn.bias", "bn.running_mean",
                                         "bn.running_var"], ["b", "mean", "var"],
                  training_mode=1),  # as PyTorch exports for training; the model's mode counts
             node("Relu", ["b"], ["c"])]
    if last == "Gemm":
        features = 8 * (side // 2) ** 2
        weights |= {"fc.weight": f(classes, features) / 4, "fc.bias": f(classes)}
        nodes += [node("Flatten", ["c"], ["d"]), node("Dropout", ["d", "ratio", "drops"], ["e"]),
                  node("Gemm", ["e", "fc.weight", "fc.bias"], ["g"], transB=1),
                  node("Softmax", ["g"], ["y"])]
    else:
        weights |= {"last.weight": f(classes, 8, 1, 1)}
        nodes += [node("Conv", ["c", "last.weight"], ["d"]),
                  node("GlobalAveragePool", ["d"], ["e"]),
                  node("Flatten", ["e"], ["y"])]
    return model(graph(nodes, [port("x", "float32", ["n", 1, side, side])],
                       [port("y", "float32", ["n", classes])], weights))


class OnnxTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.data = self.make_data()

    def net(self, *args):
        path = self.path("net.onnx")
        pathlib.Path(path).write_bytes(net(*args))
        return path

    def train(self, path, *more):
        return self.assert_json("train", "--data", self.data, "--model", path, "--epochs", "3",
                                "--batch-size", "32", "--validation", "0.2", "--threads", "1",
                                "--lr", "0.01", "--json", *more, cwd=self.folder)

    def test_train_eval_predict(self):
        self.train(self.net(CLASSES), "--out", self.path("run"))
        self.assertEqual({n for n in tensors(self.path("run/weights/best.safetensors"))},
                         {"conv.weight", "bn.weight", "bn.bias", "bn.running_mean",
                          "bn.running_var", "fc.weight", "fc.bias"})
        os.unlink(self.path("net.onnx"))  # the run is enough to go on
        accuracy = self.assert_json("eval", self.path("run"), "--data", self.data,
                                    "--json")["accuracy"]
        self.assertGreater(accuracy, 0.9)
        write_png(self.path("one.png"), picture(2, random.Random(5)), SIDE, SIDE)
        self.assertIn("2", self.assert_done("predict", self.path("run"), self.path("one.png")))

    def test_another_last_layer(self):
        self.train(self.net(1000), "--out", self.path("run"))
        shapes = tensors(self.path("run/weights/best.safetensors"))
        self.assertIn("fc.weight", shapes)
        self.assert_json("eval", self.path("run"), "--data", self.data, "--json")
        self.train(self.net(CLASSES), "--head", "16", "--out", self.path("head"))
        self.assertIn("fc.3.weight", tensors(self.path("head/weights/best.safetensors")))

    def test_layer_that_cannot_be_replaced(self):
        result = run("train", "--data", self.data, "--model", self.net(7, "Conv"), "--epochs", "1",
                     cwd=self.folder)
        self.assertEqual(result.returncode, 1)
        self.assertIn("its last layer is not a linear one", result.stderr)

    def test_resume_bit_for_bit(self):
        path, words = self.net(CLASSES), ("--epochs", "30", "--no-report")
        self.train(path, *words, "--out", self.path("straight"))
        out = self.path("killed")
        process = subprocess.Popen([CRESSET, "train", "--data", self.data, "--model", path,
                                    "--batch-size", "32", "--validation", "0.2", "--threads", "1",
                                    "--lr", "0.01", *words, "--save-seconds", "0.01", "--quiet",
                                    "--out", out], cwd=self.folder)
        while not os.path.exists(os.path.join(out, "weights/last.safetensors")):
            self.assertIsNone(process.poll())
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.unlink(path)
        self.assert_done("train", "--resume", out, "--quiet")
        for name in ("best", "last"):
            self.assertEqual(tensors(os.path.join(out, f"weights/{name}.safetensors")),
                             tensors(self.path(f"straight/weights/{name}.safetensors")))

    def test_models(self):
        answer = self.assert_json("models", self.net(CLASSES), "--json")
        self.assertEqual([row["kind"] for row in answer["layers"]],
                         ["Conv", "BatchNormalization", "Gemm"])
        self.assertEqual(answer["parameters"], 72 + 16 + 4 * 128 + 4)
        pathlib.Path(self.path("bad.onnx")).write_bytes(b"not onnx")
        self.assert_refused(1, "bad.onnx", "models", self.path("bad.onnx"))


if __name__ == "__main__":
    unittest.main()
