#!/usr/bin/env python3
"""cresset data and its actions: what is shown, checked, split and made, and what is refused."""

import csv
import glob
import json
import os
import random
import shutil
import unittest

from command import FolderTest, run, write_data, write_png


class Data(FolderTest):
    def write(self, path, value, side=24):
        """A grey picture of noise that `value` tells."""
        path = self.path(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        dice = random.Random(value)
        # Blocks of 4 x 4, so that pictures of different values look different when made small.
        blocks = [[dice.randrange(256) for _ in range(side // 4)] for _ in range(side // 4)]
        pixels = bytes(blocks[y // 4][x // 4] for y in range(side) for x in range(side))
        write_png(path, pixels, side, side)
        return path

    def scans(self, name, patients=12):
        """Pictures CLASS/CLASS-PATIENT-NUMBER.png, two of each patient."""
        for label in ("CNV", "DME", "NORMAL"):
            for patient in range(patients):
                for number in range(2):
                    self.write(f"{name}/{label}/{label}-{patient + 100}-{number}.png",
                               f"{label}{patient}{number}")
        return self.path(name)

    def test_a_folder_is_shown(self):
        folder = self.scans("shown")
        said = self.assert_done("data", folder)
        self.assertIn("3 classes", said)
        self.assertRegex(said, r"(?m)^CNV +24$")
        self.assertRegex(said, r"(?m)^all +72$")
        answer = self.assert_json("data", folder, "--json")
        self.assertEqual(answer["sample_shape"], [3, -1, -1])
        self.assertEqual([part["name"] for part in answer["splits"]], ["train"])
        self.assertEqual(answer["splits"][0]["class_counts"], {"CNV": 24, "DME": 24, "NORMAL": 24})

    def test_a_check_finds_what_is_wrong(self):
        for part, count in (("train", 12), ("val", 4), ("test", 4)):
            for label in ("cat", "dog"):
                for i in range(count):
                    self.write(f"checked/{part}/{label}/{i}.png", f"{part}{label}{i}")
        first = self.path("checked/train/cat/3.png")
        shutil.copy(first, self.path("checked/test/cat/again.png"))
        shutil.copy(first, self.path("checked/train/dog/wrong.png"))
        with open(self.path("checked/val/dog/broken.png"), "wb") as file:
            with open(first, "rb") as whole:
                file.write(whole.read()[:60])
        page = self.path("page.html")
        answer = self.assert_json("data", "check", self.path("checked"), "--json", "--html", page)
        self.assertEqual([part["pictures"] for part in answer["parts"]], [25, 9, 9])
        self.assertEqual(answer["parts"][1]["class_counts"], {"cat": 4, "dog": 4})
        self.assertEqual(len(answer["broken"]), 1)
        self.assertIn("val/dog/broken.png is truncated", answer["broken"][0])
        twins = {os.path.basename(pair["picture"]): pair for pair in answer["duplicates"]}
        self.assertEqual(set(twins), {"again.png", "wrong.png"})
        self.assertTrue(twins["again.png"]["across_parts"])
        self.assertTrue(twins["wrong.png"]["labels_differ"])
        self.assertEqual(answer["sizes"]["largest"], [24, 24])
        findings = " ".join(answer["findings"])
        for words in ("that cannot be read: 1.", "that stand in two parts: 1.",
                      "with different labels: 1."):
            self.assertIn(words, findings)
        with open(page, encoding="utf-8") as file:
            html = file.read()
        self.assertIn("<title>", html)
        self.assertGreater(html.count("data:image/jpeg;base64,"), 10)
        self.assertIn("broken.png", html)
        text = self.assert_done("data", "check", self.path("checked"))
        self.assertIn("The same pixels", text)
        self.assertIn("(of another class)", text)

    def test_a_clean_set_has_nothing_wrong(self):
        answer = self.assert_json("data", "check", self.scans("clean", 30), "--json")
        self.assertEqual((answer["broken"], answer["duplicates"]), ([], []))
        self.assertEqual(answer["findings"], ["No picture is broken, and none comes twice."])

    def test_idx_sets_are_checked_too(self):
        os.mkdir(self.path("idx"))
        write_data(self.path("idx"))
        answer = self.assert_json("data", "check", self.path("idx"), "--json")
        self.assertEqual([part["name"] for part in answer["parts"]], ["train", "test"])

    def test_a_split_keeps_patients_together(self):
        folder, out = self.scans("patients"), self.path("parts")
        said = self.assert_done("data", "split", folder, "--out", out, "--fractions",
                                "0.5/0.25/0.25", "--group-by", "-([0-9]+)-")
        self.assertIn("written to", said)
        patients, pictures = {}, 0
        for part in ("train", "val", "test"):
            with open(os.path.join(out, part + ".csv"), newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self.assertEqual(len(rows), {"train": 36}.get(part, 18))
            for row in rows:
                pictures += 1
                patient = os.path.basename(row["path"]).split("-")[1]
                self.assertEqual(patients.setdefault(patient, part), part)
                self.assertEqual(row["label"], os.path.basename(os.path.dirname(row["path"])))
        self.assertEqual(pictures, 72)
        answer = self.assert_json("data", out, "--json")
        self.assertEqual([part["name"] for part in answer["splits"]],
                         ["train", "validation", "test"])
        self.assert_refused(1, "is there already", "data", "split", folder, "--out", out)

    def test_a_split_by_copies(self):
        folder, out = self.scans("whole"), self.path("copies")
        answer = self.assert_json("data", "split", folder, "--out", out, "--fractions", "0.75/0.25",
                                  "--copy", "--json")
        self.assertEqual(answer["class_counts"]["train"], {"CNV": 18, "DME": 18, "NORMAL": 18})
        self.assertEqual(len(glob.glob(os.path.join(out, "test/DME/*.png"))), 6)
        self.assertFalse(os.path.exists(os.path.join(out, "val")))

    def test_scans_of_retinas_are_made(self):
        out = self.path("oct")
        self.assert_done("data", "make", "oct", "--out", out, "--count", "4", "--width", "128",
                         "--height", "124")
        counts = {part: len(glob.glob(os.path.join(out, part, "*", "*.jpeg")))
                  for part in ("train", "val", "test")}
        self.assertEqual(counts, {"train": 16, "val": 4, "test": 4})
        answer = self.assert_json("data", "check", out, "--json")
        self.assertEqual(answer["broken"] + answer["duplicates"], [])
        self.assertEqual(answer["sizes"]["largest"], [128, 124])
        self.assertTrue(0.1 < answer["channel_means"][0] < 0.5)
        again = self.path("again")
        self.assert_done("data", "make", "oct", "--out", again, "--count", "4", "--width", "128",
                         "--height", "124")
        for path in sorted(glob.glob(os.path.join(out, "train", "DME", "*")))[:2]:
            with open(path, "rb") as one, open(path.replace(out, again), "rb") as other:
                self.assertEqual(one.read(), other.read())
        self.assert_refused(1, "is there already", "data", "make", "oct", "--out", out)

    def test_mistakes(self):
        self.assert_refused(2, "takes one operand", "data", "check")
        self.assert_refused(2, 'no action "chek"', "data", "chek", "x")
        self.assert_refused(2, "needs --out", "data", "split", "x")
        self.assert_refused(2, "knows oct only", "data", "make", "cats", "--out", "x")
        self.assert_refused(1, "no data set nowhere", "data", "check", "nowhere")
        folder = self.scans("few", 2)
        self.assert_refused(1, "which add up to", "data", "split", folder, "--out",
                            self.path("x"), "--fractions", "0.7/0.7")
        self.assert_refused(1, "finds no group", "data", "split", folder, "--out",
                            self.path("x"), "--group-by", "patient([0-9])")
        said = run("data", "check", folder, "--json")
        self.assertEqual(json.loads(said.stdout)["parts"][0]["pictures"], 12)


if __name__ == "__main__":
    unittest.main()
