#!/usr/bin/env python3
"""Runs the examples and checks what they say. fashion_mnist and inference need data and an
installed library: tests/install runs them. Run as: test_examples.py SOURCE_TREE PROGRAMS."""

import pathlib
import re
import subprocess
import sys
import tempfile

# What the last lines must match, and the largest loss at the end.
EXPECTED = {
    "tensors_and_gradients": (
        r"3 x²\ntensor\(\[3\. +, 0\.75, 0\. +, 0\.75, 3\. +\]\)\n\n"
        r"the line: y = 2\.000 x \+ 1\.000\n\na mistake: matmul: .*\n$", None),
    "custom_layer": (r"blocks\.1\.conv2 +Conv2d +\(1, 16, 16, 16\) +2320\n"
                     r"fc +Linear +\(1, 4\) +68\n\d+ parameters, \d+ multiply-adds\n", 0.5),
    "transfer_learning": (r"frozen: 2 parameters\nthe second task\n", 0.2),
    "oct_transfer": (r"epoch 1: loss \S+, .*; rate 0\.004\n\n +precision +recall .*"
                     r"NORMAL .*weighted avg .*(\n +\d+ +\d+ +\d+ +\d+){4}\n$", None),
    "sequence_classifier": (r"step 150: loss \S+, accuracy (9\d\.\d|100\.0) %\n$", 0.2),
}


def arguments_of(name, folder, here):
    """What an example is called with; scans are drawn for the one that needs them."""
    if name != "oct_transfer":
        return []
    subprocess.run([folder.parent / "cresset", "data", "make", "oct", "--out", "scans", "--count",
                    "6", "--width", "64", "--height", "64"], cwd=here, check=True,
                   stdout=subprocess.DEVNULL)
    return ["scans", "run", "-", "48", "1", "30"]


def fault_of(name, folder):
    with tempfile.TemporaryDirectory() as here:
        done = subprocess.run([folder / name, *arguments_of(name, folder, here)], cwd=here,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
    pattern, most = EXPECTED[name]
    if done.returncode != 0:
        return f"ended with {done.returncode}"
    if not re.search(pattern, done.stdout, re.S):
        return f"does not say {pattern}"
    losses = re.findall(r"loss (\S+?),?\s", done.stdout)
    if most is not None and not float(losses[-1]) <= most:
        return f"ends with a loss of {losses[-1]}, which is over {most}"
    return ""


def main():
    source, folder = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    names = {path.stem for path in (source / "examples").glob("*.c")}
    names -= {"fashion_mnist", "inference"}
    faults = [f"{name}: nothing is expected of it" for name in sorted(names - EXPECTED.keys())]
    faults += [f"{name}: there is no such example" for name in sorted(EXPECTED.keys() - names)]
    for name in sorted(names & EXPECTED.keys()):
        fault = fault_of(name, folder)
        if fault:
            faults.append(f"{name}: {fault}")
    print(*faults, f"{len(names)} examples, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
