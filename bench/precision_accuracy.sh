#!/bin/bash
# Trains the same classifier in f32 and in bf16 with several seeds each and compares the accuracy
# on the test pictures:
#     bench/precision_accuracy.sh [--data DATA] [--seeds N] [options of cresset train]
# Prints each accuracy, the means and deviations of both precisions and their difference; fails if
# it is more than 0.2 points. The default is three seeds of the convnet on Fashion-MNIST.
set -eu
cd "$(dirname "$0")/.."
data=fashion-mnist
seeds=3
while [ $# -gt 0 ]; do
    case $1 in
        --data) data=$2 ;;
        --seeds) seeds=$2 ;;
        *) break ;;
    esac
    shift 2
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for seed in $(seq "$seeds"); do
    for precision in f32 bf16; do
        out=$folder/$precision-$seed
        build/cresset train --data "$data" --precision "$precision" --seed "$seed" --out "$out" \
            "$@" >/dev/null
        accuracy=$(build/cresset eval "$out" --data "$data" --precision "$precision" --json |
            python3 -c 'import json, sys; print(100 * json.load(sys.stdin)["accuracy"])')
        echo "$precision $seed $accuracy" | tee -a "$folder/accuracies"
    done
done
python3 - "$folder/accuracies" <<'PYTHON'
import statistics
import sys

found = {"f32": [], "bf16": []}
for line in open(sys.argv[1]):
    precision, _, accuracy = line.split()
    found[precision].append(float(accuracy))
means = {}
for precision, values in found.items():
    means[precision] = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0
    print(f"{precision}: {means[precision]:.2f} % ± {deviation:.2f} over {len(values)} seeds")
difference = means["bf16"] - means["f32"]
print(f"bf16 differs by {difference:+.2f} points")
sys.exit(abs(difference) > 0.2)
PYTHON
