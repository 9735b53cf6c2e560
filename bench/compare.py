"""Runs each work in Cresset and in its peers by turns, each run in a process of its own, and
compares seconds and the highest memory of the process (getrusage). Before a work is timed, the
result of inference, the loss and a step of training are compared with PyTorch's from the same
weights (answers.py). See run.sh."""
import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from works import SUITES, WORKS

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CRESSET = os.path.join(ROOT, "build", "cresset")
TORCH_PYTHON = "/usr/bin/python3"  # Debian's python3-torch belongs to the system's interpreter
# Largest differences from PyTorch in f32, in parts of it: of the result of inference, of the step
# of the weights, and of the loss. In bf16 a step is far off where a gradient is a small difference
# of large numbers, but the loss is not.
ALLOWED = {("infer", "f32"): 2e-5, ("train", "f32"): 2e-2, ("infer", "bf16"): 1e-1,
           ("train", "bf16"): 1.0}
ALLOWED_LOSS = {"f32": 1e-5, "bf16": 1e-2}


def run(command, threads):
    """(what it printed as JSON, seconds of the whole process, highest memory in bytes)."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), CRESSET_THREADS=str(threads))
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: failed")
    return json.loads(output), time.perf_counter() - begun, usage.ru_maxrss * 1024


class Bench:
    """The works of a run, their files, and the peers there are."""

    def __init__(self, args, folder):
        self.args, self.folder, self.prepared = args, folder, {}  # type and shape of each input

    def files(self, work):
        return os.path.join(self.folder, work.key)

    def cresset(self, work, mode, precision, repeat, *more):
        words = [CRESSET, "bench", work.model, *work.options, "--batch-size", str(work.batch),
                 "--mode", "infer" if mode == "start" else mode, "--repeat", str(repeat),
                 "--threads", str(self.args.threads), "--precision", precision, "--load",
                 os.path.join(self.files(work), "begin.safetensors"), "--json", *more]
        return run(words, self.args.threads)

    def torch(self, work, mode, repeat, *more):
        return run([TORCH_PYTHON, "-B", os.path.join(HERE, "torch_work.py"), work.key, mode,
                    self.files(work), str(repeat), str(self.args.threads), *more],
                   self.args.threads)

    def onnx(self, work, repeat):
        kind, shape = self.prepared[work.key]["type"], self.prepared[work.key]["shape"]
        return run(["node", os.path.join(HERE, "ort_work.js"), self.args.peers, self.files(work),
                    str(repeat), str(self.args.threads), kind, "x".join(map(str, shape))],
                   self.args.threads)

    def prepare(self, work):
        """Weights and a batch from PyTorch, once a work."""
        if work.key in self.prepared:
            return
        os.makedirs(self.files(work))
        self.prepared[work.key] = self.torch(work, "prepare", 0)[0]

    # ---- the same answers ----

    def differences(self, work, mode, precision):
        """From PyTorch, which answers.py finds: the largest, and of training that of the loss."""
        ours = os.path.join(self.files(work), "ours.safetensors")
        printed = self.cresset(work, mode, precision, 1, "--warm-up", "0", "--no-dropout",
                               "--optimizer", "sgd", "--save", ours)[0]
        if mode != "train":
            return self.answers(work, "infer")
        return self.answers(work, "train", repr(printed["timings"][0]["loss"]))

    def answers(self, work, *words):
        return run([sys.executable, "-B", os.path.join(HERE, "answers.py"), words[0],
                    self.files(work), *words[1:]], self.args.threads)[0]

    def check(self, work, mode, precision):
        answers = self.differences(work, mode, precision)
        found, loss = answers["difference"], answers["loss"]
        if not found <= ALLOWED["train" if mode == "train" else "infer", precision]:
            sys.exit(f"{work.words}, {mode}, {precision}: differs from PyTorch by {found:.1e}")
        if loss is not None and not loss <= ALLOWED_LOSS[precision]:
            sys.exit(f"{work.words}, {precision}: the loss differs from PyTorch's by {loss:.1e}")
        return found

    def prepare_onnx(self, work):
        """The graph from PyTorch's exporter, whose result has to be PyTorch's, too."""
        self.torch(work, "onnx", 0)
        self.onnx(work, 1)
        found = self.answers(work, "onnx")["difference"]
        if not found <= ALLOWED["infer", "f32"]:
            sys.exit(f"{work.words}: ONNX Runtime differs from PyTorch by {found:.1e}")

    # ---- timing ----

    def peers_of(self, mode, precision):
        names = ["PyTorch"]
        if self.args.autocast and precision == "bf16":
            names.append("PyTorch autocast")
        if mode != "train" and has_onnx_runtime(self.args.peers):
            names.append("ONNX Runtime")
        return names

    def once(self, work, mode, precision, who):
        """(seconds, memory) of one process."""
        repeat = work.runs[mode]
        if who == "Cresset":
            more = ["--warm-up", "0"] if mode == "start" else []
            more += ["--optimizer", work.optimizer] if mode == "train" else []
            printed, wall, memory = self.cresset(work, mode, precision, repeat, *more)
            seconds = printed["timings"][0]["seconds"]
        elif who == "ONNX Runtime":
            printed, wall, memory = self.onnx(work, repeat)
            seconds = printed["seconds"]
        else:
            kind = "autocast" if who.endswith("autocast") else "f32"
            printed, wall, memory = self.torch(work, mode, repeat, kind)
            seconds = printed["seconds"]
        return (wall if mode == "start" else seconds), memory

    def rows(self, work, mode, precision):
        self.prepare(work)
        difference = self.check(work, mode, precision)
        names = self.peers_of(mode, precision)
        if "ONNX Runtime" in names:
            self.prepare_onnx(work)
        runs = [{who: self.once(work, mode, precision, who) for who in ["Cresset", *names]}
                for _ in range(self.args.rounds)]
        return [row(work, mode, precision, peer, runs, difference) for peer in names]


def has_onnx_runtime(peers):
    return (shutil.which("node") is not None and
            os.path.isdir(os.path.join(peers, "node_modules", "onnxruntime-node")))


def row(work, mode, precision, peer, runs, difference):
    own, other = ([turn[who] for turn in runs] for who in ("Cresset", peer))
    ratios = [a[0] / b[0] for a, b in zip(own, other)]
    memory, peer_memory = (max(one[1] for one in each) for each in (own, other))
    return {"work": work.words, "mode": mode, "precision": precision, "peer": peer,
            "seconds": statistics.median(one[0] for one in own),
            "peer_seconds": statistics.median(one[0] for one in other),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios),
            "ratio_max": max(ratios), "memory": memory, "peer_memory": peer_memory,
            "memory_ratio": memory / peer_memory, "difference": difference}


HEADINGS = ("work", "mode", "precision", "peer", "Cresset ms", "peer ms", "ratio", "spread",
            "memory MB", "peer's MB", "ratio", "largest difference")


def memory_words(r):
    """The columns of memory, which products of matrices in one process have not."""
    if r["memory_ratio"] is None:
        return "– | – | –"
    return (f"{r['memory'] / 1e6:.0f} | {r['peer_memory'] / 1e6:.0f} | "
            f"{r['memory_ratio']:.2f}")


def geometric_mean(values):
    return math.exp(statistics.mean(map(math.log, values)))


def print_row(r):
    print(f"| {r['work']} | {r['mode']} | {r['precision']} | {r['peer']} | "
          f"{r['seconds'] * 1e3:.3g} | {r['peer_seconds'] * 1e3:.3g} | {r['ratio']:.2f} | "
          f"{r['ratio_min']:.2f} – {r['ratio_max']:.2f} | {memory_words(r)} | "
          f"{r['difference']:.0e} |",
          flush=True)


def print_means(rows):
    """Geometric means over the rows of each kind."""
    kinds = {}
    for r in rows:
        kinds.setdefault((r["mode"], r["precision"], r["peer"]), []).append(r)
    print("\n| mode | precision | peer | rows | mean ratio | worst | mean memory ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, members in kinds.items():
        ratios = [r["ratio"] for r in members]
        memory = [r["memory_ratio"] for r in members if r["memory_ratio"] is not None]
        print(f"| {' | '.join(kind)} | {len(members)} | {geometric_mean(ratios):.2f} | "
              f"{max(ratios):.2f} | {f'{geometric_mean(memory):.2f}' if memory else '–'} |")


def print_all(rows):
    print("| " + " | ".join(HEADINGS) + " |")
    print("| " + " | ".join("---" for _ in HEADINGS) + " |", flush=True)
    for r in rows:
        print_row(r)


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("--suite", choices=SUITES, default="foundation")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each, in turn [5]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", default="f32", help="f32, bf16 or f32,bf16")
    parser.add_argument("--only", help="one work, by its short name")
    parser.add_argument("--mode", choices=("train", "infer", "start"), help="rows of one mode")
    parser.add_argument("--peers", default=os.path.join(ROOT, "build", "peers"), metavar="DIR",
                        help="where `npm install onnxruntime-node` was done [build/peers]")
    parser.add_argument("--autocast", action="store_true",
                        help="with bf16, also PyTorch's autocast, for information")
    parser.add_argument("--json", help="write the rows to this file")
    return parser.parse_args()


def main():
    args = arguments()
    if not has_onnx_runtime(args.peers):
        print(f"ONNX Runtime is left out: it is not in {os.path.relpath(args.peers, ROOT)}.\n")
    print(f"{args.threads} threads, medians of {args.rounds} rounds in turn\n")
    print_all([])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        for precision in args.precision.split(","):
            for key, mode in SUITES[args.suite]:
                if args.only in (None, key) and args.mode in (None, mode):
                    for one in bench.rows(WORKS[key], mode, precision):
                        rows.append(one)
                        print_row(one)
                    if args.json:
                        with open(args.json, "w", encoding="utf-8") as file:
                            json.dump({"rows": rows}, file, indent=2, ensure_ascii=False)
    print_means(rows)


if __name__ == "__main__":
    main()
