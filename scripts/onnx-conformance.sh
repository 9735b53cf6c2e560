#!/bin/bash
# Runs trees of ONNX node tests: folders with model.onnx and test_data_set_N/input_N.pb and
# output_N.pb, such as those of the ONNX project. Prints what did not pass and why, then passed,
# failed and not supported by operator, and the totals. Needs a build with tests.
#     scripts/onnx-conformance.sh FOLDER…
set -eu
build=$(dirname "$0")/../build
[ $# -gt 0 ] || { echo "usage: $0 FOLDER…" >&2; exit 2; }
cmake --build "$build" --target run_node_tests >/dev/null
exec "$build/tests/run_node_tests" "$@"
