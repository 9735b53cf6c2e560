#!/bin/bash
# Trains each work of the engine suite for a few steps at 1, 2 and 4 threads, at its real size, and
# compares the SHA-256 of the weights: bench/determinism.sh [STEPS]. The small sizes are among the
# tests (tests/cli/test_models.py).
set -eu
cd "$(dirname "$0")/.."
steps=${1-3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
faults=0
check()
{
    local digests=""
    build/cresset bench "$@" --mode infer --warm-up 0 --repeat 1 --save "$folder/begin" >/dev/null
    for threads in 1 2 4; do
        build/cresset bench "$@" --mode train --warm-up 0 --repeat "$steps" --optimizer adamw \
            --threads "$threads" --load "$folder/begin" --save "$folder/end" >/dev/null
        digests+="$(sha256sum <"$folder/end")"$'\n'
    done
    local word=same
    [ "$(printf %s "$digests" | sort -u | wc -l)" = 1 ] || { word=DIFFERENT; faults=1; }
    echo "$word  $(printf %s "$digests" | head -c 16)  $*"
}
check mlp --batch-size 64
check small_cnn --batch-size 128
check resnet18 --small-stem --classes 10 --input 1x28x28 --batch-size 128
check resnet34 --batch-size 16
check swin_t --batch-size 8
check bert_base --batch-size 8
check bilstm --batch-size 32
exit "$faults"
