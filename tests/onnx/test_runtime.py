#!/usr/bin/env python3
"""Exported models and ops in ONNX Runtime: test_runtime.py BUILD_FOLDER PEERS_FOLDER [--all]

write_zoo writes models with random weights, write_ops a graph for nearly every op, and both read
and run their files again; then ONNX Runtime for Node runs them. What either gives is compared
within 1e-4 of the largest result (of 1, if that is less). Where Debian's python3-onnx
is there, its checker sees each file first. ONNX Runtime is left out where npm cannot install
onnxruntime-node. With --all (or CRESSET_SLOW=1), every model of the zoo, one after the other."""

import array
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4
LARGE = {"inception_v3": 75, "vit_h_14": 56, "bert_base": 128, "bilstm": 50}  # where 64 will not do
ITS_OWN = ("mlp", "lenet5", "small_cnn", "convnet")


def install_peers(peers):
    """Whether ONNX Runtime is there, or could be had."""
    if (peers / "node_modules" / "onnxruntime-node").is_dir():
        return True
    if not shutil.which("npm") or not shutil.which("node"):
        return False
    environment = dict(os.environ, npm_config_fetch_retries="0", npm_config_fetch_timeout="60000")
    try:
        script = HERE.parents[1] / "bench/run.sh"
        done = subprocess.run([script, "--install-peers", "--peers", peers], env=environment,
                              capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def check_file(path):
    """What the checker of the onnx package has against a file; None where there is no checker."""
    try:
        import onnx  # Debian's python3-onnx; not everywhere
    except ImportError:
        return None
    try:
        onnx.checker.check_model(str(path), full_check=path.stat().st_size < 10e6)
    except Exception as error:  # of several kinds, and of those of protobuf
        return str(error).strip().splitlines()[0]
    return ""


def run_in_ort(lines, peers, folder):
    """What ONNX Runtime makes of the files that lines of JSON name: name, error or difference."""
    done = subprocess.run(["node", HERE / "run_in_ort.js", peers, folder],
                          input="\n".join(map(json.dumps, lines)), capture_output=True, text=True,
                          check=False)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    if len(results) < len(lines):
        results.append({"name": "ONNX Runtime", "error": done.stderr.strip()[-500:]})
    return results


def largest_of(outputs, folder):
    """The largest of the numbers that a model should give."""
    return max((abs(number) for output in outputs if output["type"] == "float32"
                for number in array.array("f", (folder / output["file"]).read_bytes())), default=0)


def run(command, peers, folder):
    """The results for what a program writes; peers: None where there is no ONNX Runtime."""
    written = subprocess.run([*command], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in written.stdout.splitlines() if line]
    if not lines:
        return [{"name": " ".join(map(str, command)), "error": written.stderr.strip() or "nothing"}]
    results = []
    for line in lines:
        name, again = line["name"], line.get("imported")
        fault = check_file(folder / line["model"]) if "model" in line else line["error"]
        if fault:
            results.append({"name": name, "error": f"checker: {fault}"})
        elif isinstance(again, str):
            results.append({"name": name + ", imported", "error": again})
        else:
            results.append({"name": name + ", imported", "difference": again,
                            "largest": largest_of(line["outputs"], folder)})
    return results + (run_in_ort(lines, peers, folder) if peers else [])


def is_good(result):
    if "error" in result or result["difference"] == "infinite":
        return False
    return result["difference"] <= TOLERANCE * max(result["largest"], 1)


def show(result):
    words = result.get("error") or f"{result['difference']:.1e} of {result['largest']:.3g}"
    print(f"{'ok    ' if is_good(result) else 'FAILED'} {result['name']}: {words}", flush=True)


def all_models(build):
    listed = subprocess.run([build / "cresset", "models", "--json"], capture_output=True, text=True,
                            check=True)
    for model in json.loads(listed.stdout):
        name = model["name"] if "name" in model else model["model"]
        yield name if name in ITS_OWN else f"{name}@{LARGE.get(name, 64)}"


def main():
    build, peers = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    everything = "--all" in sys.argv or os.environ.get("CRESSET_SLOW") == "1"
    if not install_peers(peers):
        print("left out: ONNX Runtime is not there and npm cannot install onnxruntime-node")
        peers = None
    results = []
    programs = [[build / "tests/write_ops"], [build / "tests/write_zoo"]]
    if everything:
        programs = [[build / "tests/write_zoo", name] for name in all_models(build)]
    for program, *names in programs:
        with tempfile.TemporaryDirectory() as folder:
            some = run([program, folder, *names], peers, pathlib.Path(folder))
        for result in some:
            show(result)
        results += some
    failed = [result for result in results if not is_good(result)]
    worst = max((result["difference"] / max(result["largest"], 1)
                 for result in results if is_good(result)), default=0)
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed, "
          f"largest difference of those that passed {worst:.1e}")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
