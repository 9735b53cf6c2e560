#!/usr/bin/env python3
"""The recipes of `cresset train` on folders of pictures: parts made on the fly, broken pictures,
and what eval and predict make of the runs."""
import json
import os
import random
import re
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
                *more)

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


if __name__ == "__main__":
    unittest.main()
