"""`cresset pretrain` and `cresset train --unlabeled`: what they leave behind, that they can be
stopped, resumed and repeated, and that training begins with what pretraining gave."""
import json
import os
import re
import signal
import subprocess
import unittest

from command import CRESSET, FolderTest, clean_environment, run, tensors


class LabelTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.data = self.make_data()

    def pretrain_words(self, *more):
        return ("pretrain", "--data", self.data, "--model", "convnet", "--width", "4", "--epochs",
                "3", "--batch-size", "16", "--queue", "40", "--validation", "0.2",
                "--projection", "8", *more)

    def train_words(self, *more):
        return ("train", "--data", self.data, "--model", "convnet", "--width", "4", "--epochs", "3",
                "--batch-size", "8", "--validation", "0.2", "--labels", "10", "--unlabeled",
                self.data, "--unlabeled-ratio", "2", "--samples-per-epoch", "32", "--augment",
                "flip", "--confidence", "0.3", "--no-report", *more)

    def weights(self, out, name="last"):
        return tensors(os.path.join(out, f"weights/{name}.safetensors"))

    def stop_after_first_epoch(self, words):
        """What a run says that is stopped by Ctrl-C."""
        process = subprocess.Popen([CRESSET, *words], cwd=self.folder, text=True,
                                   env=clean_environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if re.match(r" +1/40 ", line):
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, output + errors)
        return errors

    def check_resumes(self, words):
        """The same bits from a run straight through and from one that was stopped and went on with
        other threads."""
        straight, stopped = self.path("straight"), self.path("stopped")
        self.assertIn(f"go on with: cresset {words[0]} --resume {stopped}",
                      self.stop_after_first_epoch([*words, "--epochs", "40", "--out", stopped]))
        self.assert_done(words[0], "--resume", stopped, "--quiet", "--threads", "1", "--workers",
                         "0")
        self.assert_done(*words, "--epochs", "40", "--out", straight, "--quiet")
        for name in ("best", "last"):
            self.assertEqual(self.weights(straight, name), self.weights(stopped, name))

    def check_repeats(self, words):
        """The same bits at any number of threads and workers."""
        found = []
        for threads, workers in ((1, 0), (2, 3)):
            out = self.path(f"run{threads}")
            self.assert_done(*words, "--threads", threads, "--workers", workers, "--out", out,
                             "--quiet")
            found.append(self.weights(out))
        self.assertEqual(found[0], found[1])
        return found[0]


class PretrainTest(LabelTest):
    def test_run_and_what_training_takes_of_it(self):
        answer = self.assert_json(*self.pretrain_words("--json"), cwd=self.folder)
        self.assertEqual(answer["run"], "runs/convnet-moco-001")
        self.assertGreater(answer["neighbour_accuracy"], 0.3)
        for name in ("args.json", "metrics.csv", "log.txt", "weights/best.safetensors",
                     "weights/last.safetensors"):
            self.assertGreater(os.path.getsize(self.path("runs/convnet-moco-001", name)), 0, name)
        weights = self.path(answer["weights"])
        names = set(tensors(weights))
        self.assertIn("projection.2.weight", names)
        self.assertNotIn("fc.weight", names)
        result = run("train", "--data", self.data, "--model", "convnet", "--width", "4",
                     "--weights", weights, "--epochs", "1", "--lr-scale", "stage1=0", "--out",
                     self.path("run"), "--no-report", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("36 of 38 tensors of the model found in the file", result.stdout)
        self.assertEqual(tensors(weights)["stage1.conv1.weight"],
                         self.weights(self.path("run"))["stage1.conv1.weight"])
        self.assert_refused(1, "what pretraining gave, which tells no classes apart", "eval",
                            self.path(answer["run"]), "--data", self.data)

    def test_moco_repeats(self):
        weights = self.check_repeats(self.pretrain_words())
        self.assertIn("contrast.moco.queue", weights)
        self.assertNotEqual(weights["contrast.stage1.conv1.weight"],
                            weights["stage1.conv1.weight"])

    def test_moco_resumes(self):
        self.check_resumes(self.pretrain_words())

    def test_simclr(self):
        weights = self.check_repeats(self.pretrain_words("--method", "simclr"))
        self.assertFalse([name for name in weights if name.startswith("contrast.")])

    def test_simclr_resumes(self):
        self.check_resumes(self.pretrain_words("--method", "simclr", "--optimizer", "adamw", "--lr",
                                               "0.001"))

    def test_loss_that_is_not_finite(self):
        self.assert_refused(1, "the loss became",
                            *self.pretrain_words("--lr", "1e6", "--weight-decay", "1e3", "--quiet"),
                            cwd=self.folder)

    def test_too_few_samples(self):
        self.assert_refused(1, "has fewer samples than a batch of 4096",
                            *self.pretrain_words("--batch-size", "4096"), cwd=self.folder)

    def test_flat_folder_of_pictures(self):
        os.makedirs(self.path("pictures/deep"))
        for i in range(20):
            with open(self.path(f"pictures/{'deep/' * (i % 2)}{i:02}.pgm"), "wb") as file:
                file.write(b"P5 10 9 255\n" + bytes((i * 7 + j * (i + 3)) % 256 for j in range(90)))
        answer = self.assert_json("pretrain", "--data", self.path("pictures"), "--model", "convnet",
                                  "--width", "2", "--preprocess", "resize:8:8", "--epochs", "2",
                                  "--batch-size", "8", "--method", "simclr", "--json",
                                  cwd=self.folder)
        self.assertIsNone(answer["neighbour_accuracy"])
        self.assertGreater(answer["loss"], 0)


class ConsistencyTest(LabelTest):
    def test_repeats(self):
        self.check_repeats(self.train_words())

    def test_resumes(self):
        self.check_resumes(self.train_words())

    def test_teacher(self):
        words = self.train_words("--ema", "0.9", "--teacher")
        self.assertNotEqual(self.check_repeats(words),
                            self.weights(self.plain(words, "--ema", "0.9")))
        self.assert_refused(1, "a teacher is the moving average",
                            *self.train_words("--teacher", "--out", self.path("none")))

    def plain(self, words, *more):
        out = self.path("plain")
        self.assert_done(*self.train_words(*more), "--out", out, "--quiet")
        return out

    def test_settings_are_recorded(self):
        self.assert_done(*self.train_words("--out", self.path("run"), "--quiet"))
        with open(self.path("run/args.json")) as file:
            settings = json.load(file)
        self.assertEqual(settings["labels"], 10)
        self.assertEqual(settings["unlabeled"], self.data)

    def test_refusals(self):
        self.assert_refused(1, "samples without labels, and 6400 come with each batch",
                            *self.train_words("--unlabeled-ratio", "800"), cwd=self.folder)
        self.assert_refused(1, "is more than the",
                            *self.train_words("--labels", "1000000"), cwd=self.folder)


if __name__ == "__main__":
    unittest.main()
