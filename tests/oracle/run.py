#!/usr/bin/env python3
"""Runs one family of comparisons with PyTorch: run.py FAMILY [OP …] [-v]. Prints a line for each
failure and a last line of counts; exits 1 after a failure, 77 (skipped) without PyTorch. With
CRESSET_RESULTS set to a folder, leaves FAMILY.json there for coverage.py."""
import argparse
import importlib
import json
import os
import pathlib
import sys
import time


def write_report(folder, family, results):
    report = {"counts": results.counts, "failed": results.failed,
              "reached": {op: sorted(names) for op, names in results.reached.items()}}
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{family}.json"
    beside.write_text(json.dumps(report), encoding="utf-8")
    beside.replace(folder / f"{family}.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("ops", nargs="*", help="only these")
    parser.add_argument("-v", "--verbose", action="store_true", help="where exceptions came from")
    arguments = parser.parse_args()
    try:
        import torch  # noqa: F401
    except ImportError as error:
        print(f"skipped: PyTorch is not installed for {sys.executable} ({error}); on Debian it is "
              "the package python3-torch")
        return 77
    import harness
    began = time.monotonic()
    importlib.import_module(f"cases_{arguments.family}")
    results = harness.run_all(set(arguments.ops), arguments.verbose)
    if "CRESSET_RESULTS" in os.environ and not arguments.ops:
        write_report(os.environ["CRESSET_RESULTS"], arguments.family, results)
    print(f"{arguments.family}: {len(results.counts)} ops, {results.compared} comparisons, "
          f"{results.failed} failed, {time.monotonic() - began:.1f} s")
    return 1 if results.failed or not results.compared else 0


if __name__ == "__main__":
    sys.exit(main())
