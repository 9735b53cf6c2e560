"""`--profile` and `--memory`: tables for people, JSON for programs, a trace that viewers open."""
import json
import os
import unittest

from command import FolderTest


class ProfileTest(FolderTest):
    def assert_trace(self, path):
        """The trace-event format: events of one thread lie within each other or apart."""
        with open(path) as file:
            events = json.load(file)["traceEvents"]
        open_until = {}
        for event in sorted((e for e in events if e["ph"] == "X"),
                            key=lambda e: (e["tid"], e["ts"], -e["dur"])):
            end = event["ts"] + event["dur"]
            around = open_until.setdefault(event["tid"], [])
            while around and around[-1] <= event["ts"] + 0.002:
                around.pop()
            self.assertTrue(not around or end <= around[-1] + 0.002, event)
            around.append(end)
        self.assertIn("step", {event.get("cat") for event in events})
        return events

    def assert_profile(self, profile, *names):
        rows = {row["name"]: row for row in profile["operations"]}
        for name in names:
            self.assertIn(name, rows)
        whole = sum(row["share"] for row in rows.values()
                    if row["kind"] != "part" and not row.get("other_thread"))
        self.assertAlmostEqual(whole, 1, delta=0.02)
        self.assertGreater(profile["peak"]["gflops"], 0)
        return rows

    def test_train_predict_and_eval(self):
        data = self.make_data()
        words = ("train", "--data", data, "--model", "small_cnn", "--epochs", "2",
                 "--batch-size", "32", "--no-report", "--no-events")
        text = self.assert_done(*words, "--profile", cwd=self.folder)
        self.assertIn("profile of 10 steps", text)
        for name in ("conv2d backward", "optimizer step", "data: waiting", "conv1"):
            self.assertIn(name, text)
        run = self.path("runs/small_cnn-001")
        self.assert_trace(os.path.join(run, "trace.json"))
        with open(os.path.join(run, "args.json")) as file:
            self.assertNotIn("profile", json.load(file))
        answer = self.assert_json(*words, "--json", "--profile", "--profile-steps", "3",
                                  "--profile-trace", "t.json", cwd=self.folder)
        rows = self.assert_profile(answer["profile"], "conv2d", "conv2d backward",
                                   "data: making a batch")
        self.assertEqual(rows["conv2d"]["calls"], 6)
        self.assert_trace(self.path("t.json"))
        answer = self.assert_json("eval", run, "--json", "--profile", "--batch-size", "10",
                                  cwd=self.folder)
        self.assert_profile(answer["profile"], "linear", "data: waiting")
        answer = self.assert_json("predict", run, "--json", "--profile", "--data", data, "0-3",
                                  cwd=self.folder)
        self.assertEqual(len(answer["answers"]), 4)
        self.assert_profile(answer["profile"], "linear")
        text = self.assert_done("predict", run, "--profile", "--data", data, "0-3",
                                cwd=self.folder)
        self.assertIn("profile of 1 step", text)

    def test_bench(self):
        words = ("bench", "lenet5", "--batch-size", "4", "--repeat", "2")
        text = self.assert_done(*words, "--profile", "--memory", cwd=self.folder)
        for name in ("conv2d backward", "parameters", "tensors together", "process (resident)",
                     "memory of inference"):
            self.assertIn(name, text)
        self.assert_trace(self.path("trace.json"))
        answer = self.assert_json(*words, "--json", "--profile", "--memory", cwd=self.folder)
        self.assert_profile(answer["profile"], "conv2d")
        for timing in answer["timings"]:
            memory = timing["memory"]
            self.assertEqual(sum(memory["parts"].values()), memory["tensor_bytes"])
        kept = answer["timings"][0]["memory"]
        self.assertEqual(sum(row["bytes"] for row in kept["kept_by_layer"]),
                         kept["parts"]["kept for backward"])

    def test_peak(self):
        self.assertIn("GFLOP/s", self.assert_done("info", "--peak"))
        self.assertGreater(self.assert_json("info", "--peak", "--json")["peak"]["gflops"], 0)


if __name__ == "__main__":
    unittest.main()
