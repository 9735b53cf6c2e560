#!/bin/bash
# Times everything that docs/performance.md shows and writes its tables: bench/report.sh [options of
# bench/run.sh]. The JSON files stay in build/bench.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/bench
bench/run.sh --suite foundation "$@" --json build/bench/foundation.json
bench/run.sh --suite engine --precision f32,bf16 "$@" --json build/bench/engine.json
bench/run.sh --suite kernels "$@" --json build/bench/kernels.json
/usr/bin/python3 -B bench/report.py foundation=build/bench/foundation.json \
    engine=build/bench/engine.json kernels=build/bench/kernels.json
