"""`cresset eval` and `cresset predict` on a small trained model."""
import csv
import json
import os
import struct
import tempfile
import unittest

from command import SIDE, CommandTest, run, write_data, write_png


class TrainedTest(CommandTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.data = os.path.join(folder.name, "data")
        cls.trained = os.path.join(folder.name, "trained")
        os.mkdir(cls.data)
        cls.samples = write_data(cls.data)
        result = run("train", "--data", cls.data, "--model", "mlp", "--epochs", "3",
                     "--batch-size", "32", "--out", cls.trained, "--no-report", "--quiet")
        assert result.returncode == 0, result.stderr

    def path(self, name):
        return os.path.join(self.folder, name)


class EvalTest(TrainedTest):
    def test_json(self):
        answer = self.assert_json("eval", self.trained, "--json")
        self.assertGreater(answer["accuracy"], 0.9)
        self.assertEqual(answer["samples"], 100)
        self.assertEqual(sum(map(sum, answer["confusion_matrix"])), 100)

    def test_text(self):
        text = self.assert_done("eval", self.trained)
        self.assertRegex(text, r"accuracy \d+\.\d\d %")
        self.assertIn("macro avg", text)
        self.assertIn("truth, predicted as", text)

    def test_file_of_weights(self):
        path = os.path.join(self.trained, "weights", "best.safetensors")
        self.assert_refused(1, "give --data DATA", "eval", path)
        answer = self.assert_json("eval", path, "--data", self.data, "--split", "train", "--json")
        self.assertEqual(answer["samples"], 400)

    def test_scores_with_intervals(self):
        answer = self.assert_json("eval", self.trained, "--json", "--bootstrap", "50")
        scores = answer["scores"]
        self.assertAlmostEqual(scores["accuracy"]["value"], answer["accuracy"])
        for name in ("roc_auc_macro", "average_precision_macro", "cohen_kappa", "log_loss"):
            self.assertLessEqual(scores[name]["low"], scores[name]["value"], name)
            self.assertGreaterEqual(scores[name]["high"], scores[name]["value"], name)
        self.assertEqual(sum(each["count"] for each in answer["calibration"]), 100)
        self.assertGreater(answer["classes"][0]["roc_auc"], 0.9)
        plain = self.assert_json("eval", self.trained, "--json", "--bootstrap", "0")
        self.assertIsNone(plain["scores"]["accuracy"]["low"])
        text = self.assert_done("eval", self.trained)
        self.assertRegex(text, r"Matthews correlation +\d\.\d{4}  \d\.\d{4} to \d\.\d{4}")

    def test_csv(self):
        lines = self.assert_done("eval", self.trained, "--csv").splitlines()
        self.assertEqual(lines[0], "class,precision,recall,f1-score,support")
        self.assertEqual(lines[1].split(",")[0], "0")
        self.assertEqual(lines[-1].split(",")[0], "weighted avg")
        self.assert_refused(2, "give one of them", "eval", self.trained, "--csv", "--json")

    def test_report(self):
        self.assert_done("eval", self.trained, "--report", self.path("page"))
        with open(self.path("page/report.html"), encoding="utf-8") as file:
            page = file.read()
        for part in ("<h2>Scores</h2>", "<h2>Ranking and calibration</h2>"):
            self.assertIn(part, page)
        for name in ("confusion_matrix", "confusion_matrix_normalized", "roc", "precision_recall",
                     "reliability"):
            for ending in (".png", ".svg"):
                self.assertTrue(os.path.getsize(self.path(f"page/plots/{name}{ending}")) > 0)
        with open(self.path("page/scores.json"), encoding="utf-8") as file:
            self.assertIn("roc_auc_macro", json.load(file)["scores"])
        with open(self.path("page/predictions.csv"), encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 100)
        self.assertEqual({row["correct"] for row in rows} - {"0", "1"}, set())
        with open(self.path("page/scores.csv"), encoding="utf-8") as file:
            self.assertEqual(next(csv.reader(file)), ["score", "value", "low", "high"])
        self.assertTrue(os.path.getsize(self.path("page/classification_report.csv")) > 0)

    def test_analysis(self):
        answer = self.assert_json("eval", self.trained, "--json", "--analyze", "--new-data",
                                  self.data, "--learning-curve", "20,100", "--learning-epochs", "1",
                                  "--analysis-samples", "60", "--report", self.path("analysis"))
        found = {each["question"]: each for each in answer["analysis"]}
        for question in ("Are the classes even?", "Is each class good enough?",
                         "Is it as sure as it is right?", "Does it overfit?",
                         "Will it hold on worse pictures?", "Is the data enough?",
                         "Is the evaluated data like the training data?",
                         "Is the new data like the training data?"):
            self.assertIn(question, found)
            self.assertRegex(found[question]["answer"], r"\d.*\.$")
        self.assertIn("from 76 to 380 training samples",
                      found["Is the data enough?"]["answer"].lower())
        with open(self.path("analysis/report.html"), encoding="utf-8") as file:
            self.assertIn("<h2>Analysis of errors</h2>", file.read())
        text = self.assert_done("eval", self.trained, "--analyze", "--analysis-samples", "40")
        self.assertIn("Will it hold on worse pictures? [", text)
        self.assert_refused(2, "go with --analyze", "eval", self.trained, "--new-data", self.data)

    def test_mistakes(self):
        self.assert_refused(1, "cannot open nowhere", "eval", "nowhere")
        self.assert_refused(1, "", "eval", os.path.join(self.trained, "args.json"), "--data",
                            self.data)


class ExplainTest(TrainedTest):
    def test_where_the_model_looked(self):
        trained = self.path("convolving")
        self.assert_done("train", "--data", self.data, "--model", "convnet", "--width", "4",
                         "--epochs", "1", "--batch-size", "32", "--lr", "0.000001", "--out",
                         trained, "--no-report", "--quiet")
        write_png(self.path("seen.png"), self.samples[0][0], SIDE, SIDE)
        self.assert_done("predict", trained, self.path("seen.png"), "--explain", self.path("why"))
        with open(self.path("why/0000-seen.png"), "rb") as file:
            self.assertEqual(struct.unpack(">II", file.read(24)[16:]), (SIDE, SIDE))
        self.assert_done("predict", trained, "--data", self.data, "3-4", "--explain",
                         self.path("why"))
        self.assertTrue(os.path.exists(self.path("why/0001-sample-4.png")))
        answer = self.assert_json("eval", trained, "--json", "--analyze", "--analysis-samples",
                                  "50", "--report", self.path("why"))
        groups = [each["answer"] for each in answer["analysis"]
                  if each["question"] == "Which mistakes look alike?"]
        self.assertRegex(groups[0], r"Of \d+ mistakes \d+ \(\d+ %\) look alike to the model")
        with open(self.path("why/report.html"), encoding="utf-8") as file:
            self.assertIn("where the model looked", file.read())

    def test_a_perceptron_looks_nowhere(self):
        self.assert_refused(1, "mlp has no layer with places", "predict", self.trained, "--data",
                            self.data, "3", "--explain", self.path("nowhere"))


class PredictTest(TrainedTest):
    def test_samples_of_a_data_set(self):
        answers = self.assert_json("predict", self.trained, "--data", self.data, "0-9", "42",
                                   "--json")
        self.assertEqual([answer["input"] for answer in answers], [*range(10), 42])
        right = sum(answer["predictions"][0]["name"] == answer["truth"] for answer in answers)
        self.assertGreaterEqual(right, 9)
        for answer in answers:
            probabilities = [each["probability"] for each in answer["predictions"]]
            self.assertEqual(probabilities, sorted(probabilities, reverse=True))

    def test_top(self):
        answer = self.assert_json("predict", self.trained, "--data", self.data, "0", "--top", "10",
                                  "--format", "json")[0]
        self.assertEqual(len(answer["predictions"]), 10)
        self.assertAlmostEqual(sum(p["probability"] for p in answer["predictions"]), 1, places=5)

    def test_array(self):
        path = self.path("scores.npy")
        self.assert_done("predict", self.trained, "--data", self.data, "0-9", "--format", "npy",
                         "--output", path)
        with open(path, "rb") as file:
            data = file.read()
        self.assertIn(b"'shape': (10, 10)", data)
        scores = struct.unpack("<100f", data[-400:])
        for row in range(10):
            self.assertAlmostEqual(sum(scores[10 * row:10 * row + 10]), 1, places=5)
        self.assert_refused(2, "go together", "predict", self.trained, "x.png", "--format", "npy")

    def test_picture_file(self):
        pixels, label = self.samples[5]
        write_png(self.path("same.png"), pixels, SIDE, SIDE)
        double = bytes(pixels[y // 2 * SIDE + x // 2] for y in range(2 * SIDE)
                       for x in range(2 * SIDE))
        write_png(self.path("double.png"), double, 2 * SIDE, 2 * SIDE)
        sample = self.assert_json("predict", self.trained, "--data", self.data, "5", "--json")[0]
        same, twice = self.assert_json("predict", self.trained, self.path("same.png"),
                                       self.path("double.png"), "--json")
        self.assertEqual(same["predictions"][0]["class"], label)
        for a, b in zip(same["predictions"], sample["predictions"]):
            self.assertAlmostEqual(a["probability"], b["probability"], places=5)
        self.assertEqual(twice["predictions"][0]["class"], label)

    def test_folders_and_standard_input(self):
        os.makedirs(self.path("scans/below"), exist_ok=True)
        paths = [self.path(name) for name in ("scans/b.png", "scans/c,d.png", "scans/below/a.png")]
        for path, (pixels, _) in zip(paths, self.samples):
            write_png(path, pixels, SIDE, SIDE)
        with open(self.path("scans/notes.txt"), "w", encoding="utf-8") as file:
            file.write("no picture")
        table = self.assert_done("predict", self.trained, self.path("scans"), "--format", "csv")
        rows = list(csv.DictReader(table.splitlines()))
        self.assertEqual([row["input"] for row in rows], paths)
        answers = self.assert_json("predict", self.trained, *paths, "--json")
        for row, answer in zip(rows, answers):
            best = answer["predictions"][0]
            self.assertEqual(row["prediction"], best["name"])
            self.assertAlmostEqual(float(row[best["name"]]), best["probability"], places=5)
        piped = run("predict", self.trained, "-", "--format", "csv", stdin="\n".join(paths) + "\n")
        self.assertEqual((piped.returncode, piped.stdout), (0, table))
        truths = self.assert_done("predict", self.trained, "--data", self.data, "0-1", "--format",
                                  "csv")
        self.assertTrue(truths.startswith("sample,truth,prediction,"))
        os.makedirs(self.path("empty"), exist_ok=True)
        self.assert_refused(1, "has no pictures", "predict", self.trained, self.path("empty"))

    def test_text_and_pictures(self):
        text = self.assert_done("predict", self.trained, "--data", self.data, "0-3", "--show")
        self.assertIn("truth", text)
        self.assertRegex(text, r"(?m)^3 +3 ")
        self.assertRegex(text, r"\d %")

    def test_mistakes(self):
        self.assert_refused(2, "INPUT... is missing", "predict", self.trained)
        self.assert_refused(1, "no sample 100", "predict", self.trained, "--data", self.data, "100")
        self.assert_refused(1, '"x" is not a number', "predict", self.trained, "--data", self.data,
                            "x")
        self.assert_refused(1, "No such file", "predict", self.trained, self.path("no.png"))
        self.assert_refused(1, "is not a picture", "predict", self.trained, __file__)


if __name__ == "__main__":
    unittest.main()
