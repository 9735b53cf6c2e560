#!/bin/bash
# Times Cresset against PyTorch on this machine, in one run, in turns:
#     bench/run.sh [--suite NAME] [--rounds N] [--threads N] [--json FILE]
# Suites: foundation (the default). Needs the built command and Debian's python3-torch; installs
# nothing. Prints a table with medians, ratios and their spread; smaller ratios are better for us.
set -eu
cd "$(dirname "$0")/.."
[ -x build/cresset ] || { echo "bench/run.sh: build first: scripts/demo.sh or cmake" >&2; exit 1; }
exec /usr/bin/python3 -B bench/compare.py "$@"
