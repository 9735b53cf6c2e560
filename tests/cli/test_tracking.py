"""The event files that `cresset train` leaves for TensorBoard: they hold the numbers of the run,
and a resumed run adds a file that takes over from the epoch where it went on."""
import glob
import os
import re
import signal
import subprocess
import sys
import unittest

from command import CRESSET, FolderTest, clean_environment, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../formats"))
import tfevents  # pylint: disable=wrong-import-position

KEYS = {"loss/train": "train_loss", "loss/validation": "validation_loss",
        "accuracy/train": "train_accuracy", "accuracy/validation": "validation_accuracy",
        "learning_rate": "lr"}


class TrackingTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.words = ["train", "--data", self.make_data(), "--model", "mlp", "--batch-size", "32",
                      "--no-report", "--out", self.path("run")]

    def event_files(self):
        return sorted(glob.glob(self.path("run", "events.out.tfevents.*")))

    def test_events_hold_the_numbers_of_the_run(self):
        epochs = self.assert_json(*self.words, "--epochs", "3", "--json")["epochs"]
        path, = self.event_files()
        scalars = tfevents.scalars(path)
        self.assertEqual(scalars.keys(), KEYS.keys())
        for tag, key in KEYS.items():
            self.assertEqual(sorted(scalars[tag]), [1, 2, 3])
            for epoch in epochs:
                self.assertAlmostEqual(scalars[tag][epoch["epoch"]], epoch[key], delta=1e-6)

    def test_a_resumed_run_takes_over_in_a_file_of_its_own(self):
        process = subprocess.Popen([CRESSET, *self.words, "--epochs", "100"], text=True,
                                   env=clean_environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        with process.stdout as output:
            for line in output:
                if re.match(r" +2/100 ", line):
                    break
            process.send_signal(signal.SIGINT)
            output.read()
        self.assertEqual(process.wait(), 130)
        first, = self.event_files()
        last = max(tfevents.scalars(first)["loss/train"])
        self.assertGreaterEqual(last, 2)
        self.assertEqual(run("train", "--resume", self.path("run"), "--quiet").returncode, 0)
        _, second = self.event_files()
        start = tfevents.events(second)[1]
        self.assertEqual((start[2], start[7]), ([last + 1], [b"\x08\x01"]))
        self.assertEqual(sorted(tfevents.scalars(second)["loss/train"]),
                         list(range(last + 1, 101)))


if __name__ == "__main__":
    unittest.main()
