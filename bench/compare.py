"""Runs each work in Cresset and in PyTorch by turns, each in a process of its own, and compares
seconds and the highest memory of the process (getrusage). See run.sh."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CRESSET = os.path.join(HERE, "..", "build", "cresset")
# work, words, options of `cresset bench`, runs of a training step and of inference in a process
WORKS = [
    ("mlp", "perceptron 784-128-10, batch 64", ["--batch-size", "64"], 400, 1000),
    ("small_cnn", "small CNN, batch 128, 28×28", ["--batch-size", "128"], 15, 30),
    ("resnet18", "ResNet-18 small stem, batch 128, 28×28",
     ["--small-stem", "--classes", "10", "--input", "1x28x28", "--batch-size", "128"], 3, 5),
    ("resnet34", "ResNet-34, batch 16, 224×224", ["--batch-size", "16"], 3, 5),
]
SUITES = {"foundation": [work[0] for work in WORKS]}


def run(command, threads):
    """(what it printed as JSON or None, seconds of the whole process, highest memory in bytes)."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), CRESSET_THREADS=str(threads))
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: failed")
    return json.loads(output), time.perf_counter() - begun, usage.ru_maxrss * 1024


def ours(work, mode, repeat, threads):
    name, _, options = work[:3]
    if mode == "start":
        options = [*options, "--batch-size", "1"]
    command = [CRESSET, "bench", name, *options, "--mode", "infer" if mode == "start" else mode,
               "--repeat", str(repeat), "--threads", str(threads), "--json"]
    printed, wall, memory = run(command, threads)
    return (wall if mode == "start" else printed["timings"][0]["seconds"]), memory


def theirs(work, mode, repeat, threads):
    command = ["/usr/bin/python3", os.path.join(HERE, "torch_work.py"), work[0], mode, str(repeat),
               str(threads)]
    printed, wall, memory = run(command, threads)
    return (wall if mode == "start" else printed["seconds"]), memory


def row(work, mode, rounds, threads):
    repeat = {"train": work[3], "infer": work[4], "start": 1}[mode]
    pairs = []
    for _ in range(rounds):
        pairs.append((ours(work, mode, repeat, threads), theirs(work, mode, repeat, threads)))
    ratios = [a[0] / b[0] for a, b in pairs]
    return {"work": work[1], "mode": mode, "precision": "f32", "peer": "PyTorch",
            "seconds": statistics.median(a[0] for a, _ in pairs),
            "peer_seconds": statistics.median(b[0] for _, b in pairs),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
            "memory": max(a[1] for a, _ in pairs), "peer_memory": max(b[1] for _, b in pairs),
            "memory_ratio": max(a[1] for a, _ in pairs) / max(b[1] for _, b in pairs)}


def print_row(r):
    print(f"| {r['work']} | {r['mode']} | {r['seconds'] * 1e3:.3g} | "
          f"{r['peer_seconds'] * 1e3:.3g} | {r['ratio']:.2f} | "
          f"{r['ratio_min']:.2f} – {r['ratio_max']:.2f} | "
          f"{r['memory'] / 1e6:.0f} | {r['peer_memory'] / 1e6:.0f} | {r['memory_ratio']:.2f} |",
          flush=True)


def main():
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("--suite", choices=SUITES, default="foundation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="one work, by its short name")
    parser.add_argument("--json", help="write the rows to this file")
    args = parser.parse_args()
    version = subprocess.run(["/usr/bin/python3", "-c", "import torch; print(torch.__version__)"],
                             capture_output=True, text=True, check=True).stdout.strip()
    print(f"Cresset against PyTorch {version}, {args.threads} threads, medians of {args.rounds} "
          "rounds in turn; milliseconds and MB\n")
    print("| work | mode | Cresset | PyTorch | ratio | spread | memory | PyTorch's | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for work in WORKS:
        if work[0] not in SUITES[args.suite] or args.only not in (None, work[0]):
            continue
        for mode in ("train", "infer", "start"):
            rows.append(row(work, mode, args.rounds, args.threads))
            print_row(rows[-1])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows}, file, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    main()
