#!/bin/bash
# Times Cresset against other libraries on this machine, in one run, in turns:
#     bench/run.sh [--suite NAME] [--precision f32,bf16] [--rounds N] [--threads N] [--json FILE]
#     bench/run.sh --install-peers         ONNX Runtime by npm into build/peers (or --peers DIR)
# Suites: foundation (the default), engine (training and inference of all models), kernels (matrix
# products against OpenBLAS and oneDNN). Needs the built command and Debian's python3-torch; what
# is not there of the peers is left out with a sentence. Prints tables with medians, ratios and
# their spread; smaller ratios are better for us. bench/run.sh --help lists all options.
set -eu
cd "$(dirname "$0")/.."
if [ "${1-}" = --install-peers ]; then
    peers=${3-build/peers}
    mkdir -p "$peers"
    exec npm install --prefix "$peers" --ignore-scripts onnxruntime-node
fi
[ -x build/cresset ] || { echo "bench/run.sh: build first: scripts/demo.sh or cmake" >&2; exit 1; }
case " $* " in
*" --suite kernels "*)
    ninja -C build bench_gemm_peers >/dev/null
    exec build/bench/bench_gemm_peers "$@" ;;
esac
exec /usr/bin/python3 -B bench/compare.py "$@"
