#!/usr/bin/env python3
"""The recipes of `cresset train` on folders of pictures: parts made on the fly, broken pictures,
and what eval and predict make of the runs."""
import json
import os
import random
import re
import shutil
import unittest

from command import CLASSES, SIDE, FolderTest, picture, run, write_png


class RecipeTest(FolderTest):
    """Pictures patients/PATIENT-NUMBER-classC.png in one folder, two of each patient and class."""

    PATIENTS = 24

    def setUp(self):
        super().setUp()
        generator = random.Random(3)
        os.mkdir(self.path("patients"))
        for patient in range(self.PATIENTS):
            for number in range(2):
                for label in range(CLASSES):
                    self.write(f"patients/{patient + 100}-{number}-class{label}.png", label,
                               generator)

    def write(self, path, label, generator):
        write_png(self.path(path), picture(label, generator), SIDE, SIDE)

    def words(self, *more):
        return ("train", "--data", "patients", "--label-by", "class([0-9])", "--model", "mlp",
                "--preprocess", "resize:8:8", "--epochs", "3", "--batch-size", "16", "--lr", "0.01",
                "--threads", "1", *more)

    def train(self, out, *more):
        return self.assert_json(*self.words("--out", out, "--json", *more), cwd=self.folder)

    def log(self, out):
        with open(self.path(out, "log.txt")) as file:
            return file.read()


class SplitTest(RecipeTest):
    def test_parts_on_the_fly(self):
        answer = self.train("run", "--split", "0.75/0.25", "--validation", "0.1")
        self.assertEqual(answer["test_samples"], 48)
        self.assertGreater(answer["test_accuracy"], 0.9)
        sizes = {}
        for split in ("train", "validation", "test"):
            own = self.assert_json("eval", "run", "--split", split, "--json", "--bootstrap", "0",
                                   cwd=self.folder)
            sizes[split] = own["samples"]
        self.assertEqual(sizes, {"train": 130, "validation": 14, "test": 48})
        self.assertEqual(own["loss"], answer["test_loss"])

    def test_no_patient_on_both_sides(self):
        words = self.words("--dry-run", "--split", "0.5/0.25/0.25", "--group-by", "([0-9]+)-")
        self.assertIn("96 to train, 48 to validate, 48 to test",
                      self.assert_done(*words, cwd=self.folder))
        self.train("run", "--split", "0.5/0.5", "--group-by", "([0-9]+)-", "--validation", "0.25")
        parts = []
        for split in ("train", "validation", "test"):
            self.assert_done("eval", "run", "--split", split, "--report", split, "--bootstrap", "0",
                             cwd=self.folder)
            with open(self.path(split, "predictions.csv")) as file:
                parts.append({re.search(r"([0-9]+)-[0-9]-class", line).group(1)
                              for line in file.readlines()[1:]})
        self.assertEqual([len(part) for part in parts], [9, 3, 12])
        self.assertEqual(len(set.union(*parts)), self.PATIENTS)

    def test_mistakes(self):
        self.assert_refused(1, "--split 0.75", *self.words("--split", "0.75"), cwd=self.folder)
        self.assert_refused(1, "finds no group", *self.words("--split", "0.5/0.5", "--group-by",
                                                             "scan([0-9]+)"), cwd=self.folder)
        self.assert_refused(1, "part it with --split", *self.words("--validation", "0"),
                            cwd=self.folder)


class BrokenTest(RecipeTest):
    def setUp(self):
        super().setUp()
        with open(self.path("patients/100-0-class1.png"), "r+b") as file:
            file.truncate(60)

    def test_fatal_by_default(self):
        error = self.assert_refused(1, "100-0-class1.png", *self.words("--split", "0.75/0.25"),
                                    cwd=self.folder)
        self.assertIn("--broken skip", error)

    def test_skipped_and_named(self):
        words = self.words("--split", "0.75/0.25", "--broken", "skip", "--out", "run")
        result = run(*words, cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^left out  patients/100-0-class1.png")
        self.assertIn("100-0-class1.png", self.log("run"))
        with open(self.path("run/report.html")) as file:
            self.assertIn("100-0-class1.png", file.read())
        answer = self.train("again", "--split", "0.75/0.25", "--broken", "skip")
        self.assertEqual(len(answer["left_out"]), 1)
        self.assertEqual(self.assert_json("eval", "run", "--json", cwd=self.folder)["samples"],
                         answer["test_samples"])


class SettingTest(RecipeTest):
    def test_average_of_epochs(self):
        answer = self.train("run", "--split", "0.75/0.25", "--swa-start", "2", "--swa-lr", "0.005",
                            "--epochs", "4")
        self.assertGreater(answer["average"]["validation_accuracy"], 0.9)
        self.assertIn("the average of epochs 2 to 4", self.log("run"))
        with open(self.path("run/report.html")) as file:
            self.assertIn("averaged over epochs (SWA)", file.read())
        self.assert_refused(1, "exclude each other",
                            *self.words("--split", "0.75/0.25", "--swa-start", "2", "--ema", "0.9"),
                            cwd=self.folder)

    def test_parts_of_the_model(self):
        text = self.assert_done(*self.words("--split", "0.75/0.25", "--unfreeze-every", "2",
                                            "--model", "resnet18", "--dry-run"), cwd=self.folder)
        self.assertIn("parts     conv1 bn1 layer1 layer2 layer3 layer4 fc", text)
        self.train("run", "--split", "0.75/0.25", "--unfreeze-every", "2")
        self.assertIn("epoch 1: of 2 parts of the model fc2", self.log("run"))
        self.assertIn("epoch 3: of 2 parts of the model fc1", self.log("run"))
        self.assert_refused(1, "--freeze layer9 matches no parameter",
                            *self.words("--split", "0.75/0.25", "--freeze", "fc1,layer9"),
                            cwd=self.folder)

    def test_learning_rate_and_first_batch(self):
        answer = self.assert_json(*self.words("--split", "0.75/0.25", "--find-lr", "--json",
                                              "--find-lr-steps", "40"), cwd=self.folder)
        self.assertEqual(answer["folder"], "runs/mlp-lr-001")
        self.assertEqual(len(answer["points"]), 40)
        self.assertAlmostEqual(answer["suggested"], answer["lowest_loss_at"] / 10)
        self.assertEqual(sorted(os.listdir(self.path("runs/mlp-lr-001"))),
                         ["find_lr.csv", "find_lr.png", "find_lr.svg"])
        self.assert_done(*self.words("--show-batch", "batch.png", "--augment", "rotate:20"),
                         cwd=self.folder)
        with open(self.path("batch.png"), "rb") as file:
            self.assertTrue(file.read().startswith(b"\x89PNG"))
        self.assertEqual(os.listdir(self.path("runs")), ["mlp-lr-001"])


class LabelsTest(FolderTest):
    """Pictures with any of four bright quarters, whose names are the labels of the picture."""

    QUARTERS = ("north", "east", "south", "west")

    def setUp(self):
        super().setUp()
        generator = random.Random(5)
        for part, count in (("train", 240), ("val", 80), ("test", 80)):
            os.makedirs(self.path("data", part), exist_ok=True)
            rows = ["path,labels"]
            for i in range(count):
                there = [generator.random() < (0.5, 0.4, 0.3, 0.12)[c] for c in range(CLASSES)]
                pixels = bytearray(generator.randrange(80) for _ in range(SIDE * SIDE))
                for c, on in enumerate(there):
                    for at in range(SIDE * SIDE // 4 if on else 0):
                        y = at // (SIDE // 2) + c // 2 * SIDE // 2
                        pixels[y * SIDE + at % (SIDE // 2) + c % 2 * SIDE // 2] += 25
                write_png(self.path("data", part, f"{i}.png"), bytes(pixels), SIDE, SIDE)
                labels = "|".join(name for name, on in zip(self.QUARTERS, there) if on)
                rows.append(f"{part}/{i}.png,{labels}")
            with open(self.path("data", f"{part}.csv"), "w") as file:
                file.write("\n".join(rows) + "\n")

    def words(self, *more):
        return ("train", "--data", "data", "--model", "mlp", "--preprocess", "resize:8:8",
                "--epochs", "5", "--batch-size", "16", "--lr", "0.01", "--threads", "1", *more)

    def test_from_table_to_prediction(self):
        text = self.assert_done(*self.words("--out", "run", "--class-weights"), cwd=self.folder)
        self.assertIn("4 labels", text)
        self.assertIn("val mAP", text)
        self.assertRegex(text, r"test +mean average precision (0.9|1.0)[0-9]+")
        with open(self.path("run/metrics.csv")) as file:
            self.assertIn("validation_average_precision", file.readline())
        with open(self.path("run/report.html")) as file:
            page = file.read()
        self.assertIn("Scores by label", page)
        self.assertIn("Precision and recall", page)
        self.assertNotIn("Confusion matrix", page)

        answer = self.assert_json("eval", "run", "--json", cwd=self.folder)
        self.assertGreater(answer["mean_average_precision"], 0.95)
        self.assertEqual([label["name"] for label in answer["labels"]], sorted(self.QUARTERS))
        self.assertTrue(all(0 < label["threshold"] <= 1 for label in answer["labels"]))
        half = self.assert_json("eval", "run", "--json", "--threshold", "0.5", cwd=self.folder)
        self.assertEqual({label["threshold"] for label in half["labels"]}, {0.5})
        self.assertIn("label,threshold,precision",
                      self.assert_done("eval", "run", "--csv", cwd=self.folder))
        self.assertIn("mean average precision", self.assert_done("eval", "run", "--report", "page",
                                                                 cwd=self.folder))
        for name in ("report.html", "scores.json", "predictions.csv", "plots/roc.png"):
            self.assertTrue(os.path.getsize(self.path("page", name)) > 0, name)
        self.assert_refused(1, "several labels", "eval", "run", "--analyze", cwd=self.folder)

        with open(self.path("data/test.csv")) as file:
            truth = dict(line.strip().split(",") for line in file.readlines()[1:])
        files = [f"data/{name}" for name in list(truth)[:20]]
        answers = self.assert_json("predict", "run", "--json", *files, cwd=self.folder)
        right = sum(sorted(answer["labels"]) == sorted(filter(None, truth[name].split("|")))
                    for answer, name in zip(answers, truth))
        self.assertGreater(right, 15)
        self.assertIn("labels", self.assert_done("predict", "run", files[0], cwd=self.folder))

    def test_scores_are_those_of_scikit_learn(self):
        try:
            import numpy
            from sklearn import metrics
        except ImportError as missing:
            self.skipTest(str(missing))
        self.assert_done(*self.words("--out", "run", "--epochs", "1"), cwd=self.folder)
        answer = self.assert_json("eval", "run", "--json", "--threshold", "0.5", cwd=self.folder)
        with open(self.path("data/test.csv")) as file:
            rows = [line.strip().split(",") for line in file.readlines()[1:]]
        names = sorted(self.QUARTERS)
        truth = numpy.array([[name in row[1].split("|") for name in names] for row in rows])
        self.assert_done("predict", "run", "--format", "npy", "--output", "p.npy",
                         *(f"data/{row[0]}" for row in rows), cwd=self.folder)
        found = numpy.load(self.path("p.npy"))
        self.assertAlmostEqual(answer["mean_average_precision"],
                               metrics.average_precision_score(truth, found), places=5)
        self.assertAlmostEqual(answer["loss"], numpy.mean([metrics.log_loss(
            truth[:, c], found[:, c].astype(float)) for c in range(4)]), places=4)
        self.assertAlmostEqual(answer["macro avg"]["f1-score"],
                               metrics.f1_score(truth, found >= 0.5, average="macro"), places=6)
        self.assertAlmostEqual(answer["subset_accuracy"],
                               metrics.accuracy_score(truth, found >= 0.5), places=6)

    def test_classes_cannot_be_balanced(self):
        self.assert_refused(1, "several labels cannot be drawn",
                            *self.words("--sampler", "balanced"), cwd=self.folder)


class FoldsTest(RecipeTest):
    def test_folds_are_runs_and_an_ensemble(self):
        words = self.words("--out", "run", "--folds", "3", "--group-by", "([0-9]+)-", "--epochs",
                           "1", "--lr", "0.003")
        text = self.assert_done(*words, cwd=self.folder)
        self.assertRegex(text, r"(?m)^fold 3 of 3$")
        self.assertRegex(text, r"accuracy [0-9.]+ %, deviation [0-9.]+ points over 3 folds")
        with open(self.path("run/summary.json")) as file:
            summary = json.load(file)
        values = [fold["accuracy"] for fold in summary["folds"]]
        mean = sum(values) / 3
        self.assertAlmostEqual(summary["mean"], mean, places=9)
        self.assertAlmostEqual(summary["deviation"] ** 2,
                               sum((value - mean) ** 2 for value in values) / 2, places=9)
        self.assertEqual([fold["samples"] for fold in summary["folds"]], [64, 64, 64])
        with open(self.path("run/report.html")) as file:
            self.assertIn("How steady is it over the folds?", file.read())
        # Each fold is a run whose own samples can be evaluated again, and no patient is in two.
        patients = []
        for fold in (1, 2, 3):
            answer = self.assert_json("eval", f"run/fold-{fold}", "--json", "--report", f"e{fold}",
                                      cwd=self.folder)
            self.assertAlmostEqual(answer["accuracy"], values[fold - 1], places=9)
            with open(self.path(f"e{fold}/predictions.csv")) as file:
                patients.append(set(re.findall(r"([0-9]+)-[0-9]-class", file.read())))
        self.assertEqual(len(set.union(*patients)), sum(map(len, patients)))
        # A run that was stopped goes on with what is missing, to the same bits.
        with open(self.path("run/fold-2/weights/best.safetensors"), "rb") as file:
            before = file.read()
        shutil.rmtree(self.path("run/fold-2"))
        os.remove(self.path("run/summary.json"))
        self.assert_done("train", "--resume", "run", cwd=self.folder)
        with open(self.path("run/fold-2/weights/best.safetensors"), "rb") as file:
            self.assertEqual(file.read(), before)
        with open(self.path("run/summary.json")) as file:
            self.assertEqual(json.load(file)["mean"], summary["mean"])
        # All folds together are one model.
        self.assert_refused(1, "no part that no fold was trained on", "eval", "run",
                            cwd=self.folder)
        answer = self.assert_json("predict", "run", "--json", "patients/100-0-class1.png",
                                  cwd=self.folder)
        self.assertEqual(answer[0]["predictions"][0]["name"], "1")

    def test_wrong_usage(self):
        for words in (("--folds", "1"), ("--folds", "3", "--fold", "4")):
            self.assert_refused(2, "--folds K are two or more", *self.words(*words),
                                cwd=self.folder)
        self.assert_refused(1, "cannot be parted into 30 folds",
                            *self.words("--folds", "30", "--group-by", "([0-9]+)-"),
                            cwd=self.folder)


class EnsembleTest(RecipeTest):
    def test_mean_of_models_and_views(self):
        for seed in ("1", "2"):
            self.assert_done(*self.words("--out", f"run{seed}", "--split", "0.75/0.25", "--epochs",
                                         "1", "--seed", seed), cwd=self.folder)
        files = [f"patients/{100 + i}-0-class{i % 4}.png" for i in range(8)]

        def probabilities(*words):
            answers = self.assert_json("predict", *words, "--top", "4", "--json", *files,
                                       cwd=self.folder)
            return [{rank["class"]: rank["probability"] for rank in answer["predictions"]}
                    for answer in answers]
        one, two = probabilities("run1"), probabilities("run2")
        both = probabilities("run1", "--ensemble", "run2")
        for a, b, mean in zip(one, two, both):
            for label in range(CLASSES):
                self.assertAlmostEqual(mean[label], (a[label] + b[label]) / 2, places=5)
        answer = self.assert_json("eval", "run1", "--ensemble", "run2", "--tta", "flip", "--json",
                                  cwd=self.folder)
        self.assertEqual((answer["models"], answer["views"]), (2, "flip"))
        text = self.assert_done("eval", "run1", "--tta", "flips", cwd=self.folder)
        self.assertIn("mean over views: the picture, mirrored left to right, upside down, and both",
                      text)
        self.assert_refused(1, "no center_crop is among", "eval", "run1", "--tta", "ten_crop",
                            cwd=self.folder)

    def test_crops(self):
        self.assert_done(*self.words("--out", "run", "--split", "0.75/0.25", "--epochs", "1",
                                     "--preprocess", "resize:10:10,center_crop:8"), cwd=self.folder)
        for views in ("five_crop", "ten_crop"):
            answer = self.assert_json("eval", "run", "--tta", views, "--json", cwd=self.folder)
            self.assertEqual(answer["views"], views)


if __name__ == "__main__":
    unittest.main()
