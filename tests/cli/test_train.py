"""`cresset train`: what a run leaves behind, what it prints where, and that it can be stopped,
resumed and repeated."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import unittest

from command import CRESSET, FolderTest, clean_environment, run, tensors


class TrainTest(FolderTest):
    def setUp(self):
        super().setUp()
        self.data = self.make_data()

    def words(self, *more):
        return ("train", "--data", self.data, "--model", "mlp", "--epochs", "3",
                "--batch-size", "32", "--validation", "0.2", *more)

    def train(self, *more, **settings):
        """The JSON result of a small run."""
        return self.assert_json(*self.words("--json", *more), cwd=self.folder, **settings)

    def start(self, *more):
        """A run in the background whose standard error is read by the caller."""
        process = subprocess.Popen([CRESSET, *self.words(*more)], cwd=self.folder, text=True,
                                   env=clean_environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process


class ResultTest(TrainTest):
    def test_run_directory(self):
        answer = self.train()
        self.assertEqual(answer["run"], "runs/mlp-001")
        self.assertGreater(answer["test_accuracy"], 0.9)
        self.assertEqual(len(answer["epochs"]), 3)
        for name in ("args.json", "metrics.csv", "log.txt", "weights/best.safetensors",
                     "weights/last.safetensors", "report.html", "plots/curves.png",
                     "plots/confusion_matrix.png"):
            path = self.path("runs/mlp-001", name)
            self.assertTrue(os.path.getsize(path) > 0, name)
        names = os.listdir(self.path("runs/mlp-001"))
        self.assertEqual(sum(name.startswith("events.out.tfevents") for name in names), 1)
        self.assertEqual(self.train()["run"], "runs/mlp-002")

    def test_settings_are_recorded_and_can_be_given_back(self):
        first = self.train("--lr", "0.004", "--label-smoothing", "0.1", "--name", "first")
        with open(self.path("runs/first-001/args.json")) as file:
            settings = json.load(file)
        self.assertEqual(settings["lr"], 0.004)
        self.assertEqual(settings["model"], "mlp")
        again = self.assert_json("train", "--config", "runs/first-001/args.json", "--json",
                                 cwd=self.folder)
        self.assertEqual(again["run"], "runs/first-002")
        self.assertEqual(again["test_loss"], first["test_loss"])

    def test_same_seed_gives_the_same_weights_at_any_thread_count(self):
        files = []
        for threads, workers in ((1, 0), (2, 2)):
            out = self.path(f"run{threads}")
            self.train("--threads", threads, "--workers", workers, "--out", out,
                       "--dropout", "0.2", "--augment", "shift:0.1")
            files.append(tensors(os.path.join(out, "weights/best.safetensors")))
        self.assertEqual(files[0], files[1])
        self.assertTrue(files[0])

    def test_no_report_and_no_events(self):
        self.train("--no-report", "--no-events", "--out", self.path("run"))
        self.assertEqual(sorted(os.listdir(self.path("run"))),
                         ["args.json", "log.txt", "metrics.csv", "weights"])

    def test_fine_tuning(self):
        self.train("--out", self.path("run"))
        answer = self.assert_json("train", "--data", self.data, "--from", "run", "--epochs", "1",
                                  "--freeze", "fc1.*", "--json", cwd=self.folder)
        self.assertGreater(answer["test_accuracy"], 0.9)
        frozen = tensors(self.path("run/weights/best.safetensors"))
        tuned = tensors(self.path(answer["run"], "weights/best.safetensors"))
        self.assertEqual(frozen["fc1.weight"], tuned["fc1.weight"])
        self.assertNotEqual(frozen["fc2.weight"], tuned["fc2.weight"])

    def test_recipe_of_parts(self):
        """Weights of another file as far as they fit, a head of its own, rates by part."""
        self.train("--out", self.path("first"))
        best = self.path("first/weights/best.safetensors")
        words = self.words("--out", self.path("second"), "--weights", best, "--head", "8",
                           "--dropout", "0.1", "--lr-scale", "fc1=0,fc2=1", "--mixup", "0.2",
                           "--sampler", "balanced", "--preprocess", "resize:8",
                           "--augment", "rotate:2", "--lr", "0.01", "--class-weights")
        result = run(*words, cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("2 of 6 tensors of the model found in the file", result.stdout)
        self.assertIn("fc2.0.weight", result.stdout)
        before, after = tensors(best), tensors(self.path("second/weights/last.safetensors"))
        self.assertEqual(before["fc1.weight"], after["fc1.weight"])
        answer = self.assert_json("eval", self.path("second"), "--json")
        self.assertGreater(answer["accuracy"], 0.5)

    def test_dry_run(self):
        text = self.assert_done(*self.words("--dry-run"), cwd=self.folder)
        self.assertIn("320 to train, 80 to validate, 100 to test", text)
        self.assertFalse(os.path.exists(self.path("runs")))


class OutputTest(TrainTest):
    def test_plain_lines_when_not_on_a_terminal(self):
        result = run(*self.words(), cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("\033", result.stdout + result.stderr)
        self.assertNotIn("\r", result.stdout + result.stderr)
        for epoch in (1, 2, 3):
            self.assertRegex(result.stdout, rf"(?m)^ +{epoch}/3 +\d\.\d{{4}} ")
        self.assertIn("report", result.stdout)

    def test_quiet(self):
        result = run(*self.words("--quiet"), cwd=self.folder)
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def on_terminal(self, env):
        """What a run prints on a terminal of 100 columns."""
        settings = clean_environment({"TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "100"})
        settings.update(env)
        try:
            child, terminal = pty.fork()
        except OSError as missing:  # a system without /dev/pts, such as a bare chroot
            self.skipTest(f"there is no terminal to be had: {missing}")
        if child == 0:
            os.execve(CRESSET, [CRESSET, *self.words("--out", self.path("terminal"))], settings)
        output = b""
        while select.select([terminal], [], [], 60)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError: # the other end is closed
                break
            if not piece:
                break
            output += piece
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, output)
        return output.decode()

    def test_bar_on_a_terminal(self):
        output = self.on_terminal({})
        self.assertRegex(output, r"\repoch 1/3 .*%.*loss")
        self.assertIn("\033[K", output)
        self.assertIn("━", output)
        for line in re.split(r"\r\n|\r", re.sub("\033\\[[0-9;]*[mK]", "", output)):
            self.assertLess(len(line), 100)

    def test_no_color(self):
        self.assertNotRegex(self.on_terminal({"NO_COLOR": "1"}), "\033\\[[0-9;]*m")


class MistakeTest(TrainTest):
    def test_wrong_usage(self):
        self.assert_refused(2, "--data is missing", "train")
        self.assert_refused(2, "did you mean resnet18?", *self.words("--model", "resnet8"))
        self.assert_refused(2, "did you mean --epochs?", *self.words("--epcohs", "3"))
        self.assert_refused(2, "--milestones", *self.words("--schedule", "multistep"))
        self.assert_refused(2, "flop", *self.words("--augment", "flop"))
        self.assert_refused(2, "--from brings its own model", *self.words("--from", "x"))

    def test_failures(self):
        self.assert_refused(1, "there is no data set", "train", "--data", "nowhere")
        self.assert_refused(1, "no data set that is known", "train", "--data", self.folder)
        self.assert_refused(1, "--freeze zz* matches no parameter", *self.words("--freeze", "zz*"),
                            cwd=self.folder)
        self.assert_refused(1, "not a run directory", "train", "--resume", self.folder)

    def test_used_folder_is_refused(self):
        self.train("--out", self.path("run"))
        self.assert_refused(1, "already holds a run", *self.words("--out", self.path("run")))

    def test_loss_that_is_not_finite(self):
        self.assert_refused(1, "the loss became", *self.words("--optimizer", "sgd", "--lr", "1e6",
                                                              "--quiet", "--epochs", "50"),
                            cwd=self.folder)


    def test_parts_that_do_not_fit(self):
        for words, status, message in (
                (("--lr-scale", "fc1"), 2, "takes names with multiples"),
                (("--lr-scale", "layer9=1"), 1, "layer9, which no parameter is called"),
                (("--crop", "random:3"), 2, "--crop is center:N"),
                (("--preprocess", "normalise:1"), 2, "is not a transform"),
                (("--normalize", "imagenet"), 1, "of 3 channels"),
                (("--augment", "erase,resize:20"), 2, "must stand before erase")):
            with self.subTest(words=words):
                result = run(*self.words(*words, "--out", self.path("none")), cwd=self.folder)
                self.assertEqual(result.returncode, status, result.stderr)
                self.assertIn(message, result.stderr)


class ConfigTest(TrainTest):
    def write_config(self, settings):
        with open(self.path("settings.json"), "w") as file:
            json.dump(settings, file)
        return self.path("settings.json")

    def test_command_line_wins(self):
        config = self.write_config({"data": self.data, "model": "mlp", "epochs": 2,
                                    "batch_size": 64, "lr": 0.01, "report": False, "json": True})
        answer = self.assert_json("train", "--config", config, cwd=self.folder)
        self.assertEqual(len(answer["epochs"]), 2)
        self.assertFalse(os.path.exists(self.path("runs/mlp-001/report.html")))
        answer = self.assert_json("train", "--config", config, "--epochs", "1", cwd=self.folder)
        self.assertEqual(len(answer["epochs"]), 1)
        with open(self.path("runs/mlp-002/args.json")) as file:
            settings = json.load(file)
        self.assertEqual((settings["epochs"], settings["lr"]), (1, 0.01))

    def test_unknown_setting(self):
        config = self.write_config({"epoch": 2})
        self.assert_refused(2, 'no setting "epoch"; did you mean "epochs"?', "train", "--config",
                            config)


class ResumeTest(TrainTest):
    def interrupted_run(self, out):
        """A run stopped by Ctrl-C after its first epoch; what it said."""
        process = self.start("--out", out, "--epochs", "200", "--no-report")
        for line in process.stdout:
            if re.match(r" +1/200 ", line):
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, output + errors)
        return errors

    def test_interrupt_saves_and_resume_goes_on_bit_for_bit(self):
        straight, stopped = self.path("straight"), self.path("stopped")
        self.assertIn(f"go on with: cresset train --resume {stopped}",
                      self.interrupted_run(stopped))
        self.assertTrue(tensors(os.path.join(stopped, "weights/last.safetensors")))
        self.assert_done("train", "--resume", stopped, "--quiet", "--threads", "1")
        self.train("--out", straight, "--epochs", "200", "--no-report")
        for name in ("best", "last"):
            self.assertEqual(tensors(os.path.join(straight, f"weights/{name}.safetensors")),
                             tensors(os.path.join(stopped, f"weights/{name}.safetensors")))

    def test_killed_at_any_moment(self):
        straight = self.path("straight")
        self.train("--out", straight, "--epochs", "30", "--no-report")
        wanted = tensors(os.path.join(straight, "weights/best.safetensors"))
        for number, seconds in enumerate((0, 0.02, 0.2)):
            out = self.path(f"killed{number}")
            process = self.start("--out", out, "--epochs", "30", "--no-report",
                                 "--save-seconds", "0.01")
            while not os.path.exists(os.path.join(out, "args.json")):
                self.assertIsNone(process.poll())
                time.sleep(0.001)
            time.sleep(seconds)
            process.kill()
            process.wait()
            self.assert_done("train", "--resume", out, "--quiet")
            self.assertEqual(tensors(os.path.join(out, "weights/best.safetensors")), wanted,
                             f"killed after {seconds} seconds")

    def test_only_what_changes_no_result_may_be_changed(self):
        self.train("--out", self.path("run"))
        self.assert_refused(2, "leave --lr out", "train", "--resume", self.path("run"), "--lr",
                            "0.1")

    def test_resume_of_a_finished_run(self):
        self.train("--out", self.path("run"))
        before = tensors(self.path("run/weights/last.safetensors"))
        answer = self.assert_json("train", "--resume", self.path("run"), "--json")
        self.assertEqual(len(answer["epochs"]), 3)
        self.assertEqual(tensors(self.path("run/weights/last.safetensors")), before)


if __name__ == "__main__":
    unittest.main()
