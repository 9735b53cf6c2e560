#!/usr/bin/env python3
"""The order of the layers and the headers: a folder of src/ includes only folders above it, those
on top use public headers only, some system headers have one home, and every public header compiles
alone as C11 and as C++17. Run as: test_layers.py [root of the source tree]."""

import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys

ORDER = ("base tensor kernels profile autograd ops nn optim io data text models metrics graph "
         "train track plot images serve dist cli").split()
PUBLIC_ONLY = {"models", "train", "track", "plot", "images", "serve", "cli"}
HOMES = {r"mpi\.h": "src/dist/", r"(sys/(socket|un)|netinet/.*|arpa/.*|netdb)\.h": "src/serve/",
         r"(cuda|cublas|cudnn|nccl).*": "src/kernels/cuda/"}
NAMESAKES = {"text": "base"}  # public headers named like a folder that is not theirs
C = ["-x", "c", "-std=c11"]
CXX = ["-x", "c++", "-std=c++17"]
COMPILERS = [("gcc", C), ("clang", C), ("g++", CXX), ("clang++", CXX)]
FLAGS = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iinclude", "-"]


def fault_of_include(path, folder, name):
    """What is wrong with a file of src/FOLDER or examples/ including this name; None if nothing."""
    for pattern, home in HOMES.items():
        if re.fullmatch(pattern, name) and not path.startswith(home):
            return f"only {home} may include {name}"
    top, _, rest = name.partition("/")
    public = top == "cresset"
    if public:
        top = rest.removesuffix(".h")  # a header that is named after a folder stands for it
        top = NAMESAKES.get(top, top)
    if folder == "examples":
        return f"an example includes the private {name}" if not public and top in ORDER else None
    if top not in ORDER:
        return None
    if ORDER.index(top) > ORDER.index(folder):
        return f"{folder}/ includes {name}, and {top}/ stands below it"
    if not public and folder in PUBLIC_ONLY and top != folder:
        return f"{folder}/ includes the private {name}"
    return None


def faults_of_includes(root):
    sources = [p for base in ("src", "examples") for p in (root / base).rglob("*.[ch]")]
    for path in sorted(sources):
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[1] if name.startswith("src/") else "examples"
        if folder not in ORDER and folder != "examples":
            yield f"{name}: {folder}/ is not a folder of the design"
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)
            fault = found and fault_of_include(name, folder, found[1])
            if fault:
                yield f"{name}:{number}: {fault}"


def fault_of_header(root, compiler, language, header):
    source = f'#include "cresset/{header}"\n'
    done = subprocess.run([compiler, *language, *FLAGS], input=source, cwd=root, text=True,
                          capture_output=True, check=False)
    return done.stderr and f"{header} does not compile alone by {compiler}:\n{done.stderr}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parents[2]
    faults = list(faults_of_includes(root))
    headers = sorted(p.name for p in (root / "include/cresset").glob("*.h"))
    found = [(name, language) for name, language in COMPILERS if shutil.which(name)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(fault_of_header, root, name, language, header)
                for name, language in found for header in headers]
        faults += [run.result() for run in runs if run.result()]
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{len(headers)} headers, {len(found)} compilers, {len(faults)} faults")
    return 1 if faults or not headers or not found else 0


if __name__ == "__main__":
    sys.exit(main())
