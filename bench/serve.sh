#!/bin/bash
# Loads model servers on this machine: 64 clients on kept connections ask one small convolutional
# net for 60 seconds each, in turns, of `cresset serve` with and without batching and of ONNX
# Runtime behind an HTTP server in Node:
#     bench/serve.sh [--seconds N] [--clients N] [--rounds N] [--threads N] [--peers DIR]
#                    [--json FILE]
# Needs the built command and wrk; Node and onnxruntime-node (bench/run.sh --install-peers) for the
# peer, which is left out without them. Prints requests a second, latencies, errors, and memory
# before and after. The answers are compared first.
set -eu
cd "$(dirname "$0")/.."
fail()
{
    echo "bench/serve.sh: $1" >&2
    exit 1
}
[ -x build/cresset ] || fail "build first: scripts/demo.sh or cmake"
command -v wrk >/dev/null || fail "wrk is not installed (apt-get install wrk)"
exec python3 -B bench/serve_load.py "$@"
