#!/usr/bin/env python3
"""Every block of shell in the README and the guide to classification is run, in order, in a folder
with the built command, its epochs cut short and on the first pictures of Fashion-MNIST only. Run
as: test_commands.py SOURCE_TREE COMMAND."""

import gzip
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.S | re.M)
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")
PAGES = ("README.md", "docs/image-classification.md", "docs/profiling.md")


def shortened(line):
    """The same command on little data; None for what is tested elsewhere (the build)."""
    if not line.startswith("build/cresset"):
        return None
    line = re.sub(r"--epochs \d+", "--epochs 1", line)
    line = re.sub(r"\bfashion-mnist\b", "first-pictures", line)
    if "cresset train" in line and "--resume" not in line and "--epochs" not in line:
        line += " --epochs 1"
    return line + " --repeat 1" if "cresset bench" in line else line


def write_first(folder):
    """Files of the same layout with 1024 pictures to train and 256 to test."""
    folder.mkdir()
    for part, count in (("train", 1024), ("t10k", 256)):
        for kind, dims in (("images-idx3", 3), ("labels-idx1", 1)):
            content = gzip.decompress((DATA / f"{part}-{kind}-ubyte.gz").read_bytes())
            first = count * (28 * 28 if dims == 3 else 1)
            head = 4 + 4 * dims
            (folder / f"{part}-{kind}-ubyte").write_bytes(
                content[:4] + struct.pack(">I", count) + content[8:head + first])


def main():
    root, command = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    if not DATA.exists():
        print(f"skipped: {DATA} is not there (Debian package dataset-fashion-mnist)")
        return 77
    lines = [line for page in PAGES for block in BLOCK.findall((root / page).read_text())
             for line in block.splitlines() if line.strip()]
    count = faults = 0
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "build").mkdir()
        (pathlib.Path(folder) / "build/cresset").symlink_to(command)
        shutil.copytree(root / "examples", f"{folder}/examples")
        write_first(pathlib.Path(folder) / "first-pictures")
        for line in filter(None, map(shortened, lines)):
            count += 1
            done = subprocess.run(line, shell=True, cwd=folder, text=True, capture_output=True,
                                  check=False)
            if done.returncode:
                faults += 1
                print(f"$ {line}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    print(f"{count} commands, {faults} faults")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
