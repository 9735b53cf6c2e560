"""`cresset export`: files that other programs and we ourselves read."""
import json
import os
import tempfile
import unittest

from command import SIDE, CommandTest, run, write_data

INPUT = f"1x{SIDE}x{SIDE}"


class ExportTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.trained = os.path.join(folder.name, "trained")
        data = os.path.join(folder.name, "data")
        os.mkdir(data)
        write_data(data)
        result = run("train", "--data", data, "--model", "convnet", "--width", "8", "--epochs", "1",
                     "--out", cls.trained, "--no-report", "--quiet")
        assert result.returncode == 0, result.stderr

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_run_as_onnx(self):
        file = self.path("run.onnx")
        text = self.assert_done("export", self.trained, "-o", file)
        self.assertRegex(text, r"ONNX opset 17, IR 8")
        self.assertRegex(text, r"6 batch norms folded")
        self.assertRegex(text, rf"input   input, float32 \(batch, 1, {SIDE}, {SIDE}\)")
        self.assertRegex(text, r"output  logits, float32 \(batch, 10\)")
        answer = self.assert_json("export", self.trained, "-o", file, "--json")
        self.assertLess(answer["largest_difference"], 1e-4 * max(1, answer["largest_result"]))
        self.assertEqual(answer["bytes"], os.path.getsize(file))
        with open(file, "rb") as content:
            content = content.read()
        for word in (b'"architecture":"convnet"', b"stage1.conv1.weight", b"batch"):
            self.assertIn(word, content)

    def test_without_folding(self):
        answer = self.assert_json("export", self.trained, "--no-fold", "-o", self.path("raw.onnx"),
                                  "--json")
        self.assertEqual(answer["folded_batch_norms"], 0)
        with open(self.path("raw.onnx"), "rb") as content:
            self.assertIn(b"stage1.bn1.running_var", content.read())

    def test_architecture(self):
        file = self.path("net.onnx")
        result = run("export", "resnet18", "--small-stem", "--classes", "3", "--input", "3x16x16",
                     "-o", file, "--external-data", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("random", result.stderr)
        answer = json.loads(result.stdout)
        self.assertEqual(answer["data_bytes"], os.path.getsize(file + ".data"))
        self.assertEqual(answer["inputs"][0]["shape"], ["batch", 3, 16, 16])

    def test_dynamic_size(self):
        answer = self.assert_json("export", self.trained, "--dynamic-size", "-o",
                                  self.path("any.onnx"), "--json")
        self.assertEqual(answer["inputs"][0]["shape"], ["batch", 1, "height", "width"])
        self.assertLess(answer["largest_difference"], 1e-4 * max(1, answer["largest_result"]))
        result = run("export", "lenet5", "--dynamic-size", "-o", self.path("fixed.onnx"))
        self.assertEqual(result.returncode, 1)
        self.assertFalse(os.path.exists(self.path("fixed.onnx")))

    def test_state_dicts(self):
        for ending in ("safetensors", "pth"):
            file = self.path("weights." + ending)
            answer = self.assert_json("export", self.trained, "-o", file, "--json")
            self.assertEqual(answer["format"], ending)
            again = self.path("again.onnx")
            if ending == "safetensors":
                self.assert_done("export", file, "-o", again)
            else:
                self.assert_done("export", "convnet", "--width", "8", "--classes", "10", "--input",
                                 INPUT, "--weights", file, "-o", again)

    def test_default_name(self):
        result = run("export", self.trained, "--format", "safetensors", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(os.path.exists(self.path("trained.safetensors")))

    def test_mistakes(self):
        self.assert_refused(1, 'did you mean "resnet18"', "export", "resnet19")
        self.assert_refused(2, "--weights", "export", self.trained, "--weights", "x.pth")
        self.assert_refused(1, "none.pth", "export", "mlp", "--weights", self.path("none.pth"))
        self.assert_refused(2, "--input", "export", "mlp", "--input", "28x28")
        self.assert_refused(2, "--input", "export", self.trained, "--input", "8x8")

    def test_again(self):
        """What was exported is a model that can be exported."""
        first, second = self.path("first.onnx"), self.path("second.onnx")
        self.assert_done("export", self.trained, "--no-fold", "-o", first)
        answer = self.assert_json("export", first, "-o", second, "--json")
        self.assertEqual(answer["folded_batch_norms"], 6)
        self.assertLess(answer["largest_difference"], 1e-4)
        self.assertGreater(answer["largest_result"], 0)
        with open(second, "rb") as content:
            self.assertIn(b'"architecture":"convnet"', content.read())
        answer = self.assert_json("export", first, "-o", self.path("first.safetensors"), "--json")
        self.assertGreater(answer["tensors"], 20)


if __name__ == "__main__":
    unittest.main()
