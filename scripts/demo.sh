#!/bin/bash
# The main job, from nothing: demo.sh [--data DIR] [options of cresset train]. Installs what is
# needed, builds, trains an image classifier on Fashion-MNIST, evaluates it on the test pictures,
# predicts a handful and shows them, and says where the report is. DIR holds the four idx files
# (train-images-idx3-ubyte and so on, plain or gzipped); without it Debian's package
# dataset-fashion-mnist is used. Safe to run twice: each run gets a folder of its own under runs/.
set -eu
cd "$(dirname "$0")/.."
data=/usr/share/datasets/fashion-mnist
packages=(build demo)
extra=()
while [ $# -gt 0 ]; do
    case $1 in
        --data)
            data=${2:?demo.sh: --data needs a folder}
            packages=(build)
            shift 2
            ;;
        --data=*)
            data=${1#--data=}
            packages=(build)
            shift
            ;;
        -h | --help)
            sed -n '2,6s/^# //p' "$0"
            exit 0
            ;;
        *)
            extra+=("$1")
            shift
            ;;
    esac
done

scripts/setup.sh "${packages[@]}"

if [ ! -x build/cresset ] || ! cmake --build build --target cresset >/dev/null 2>&1; then
    echo "demo.sh: building (a minute or two)"
    generator=()
    [ -f build/CMakeCache.txt ] || generator=(-G Ninja)
    cmake "${generator[@]}" -S . -B build -DCRESSET_TESTS=OFF >build.log 2>&1 &&
        cmake --build build --target cresset >>build.log 2>&1 || {
        tail -n 30 build.log >&2
        echo "demo.sh: the build failed; the whole log is build.log" >&2
        exit 1
    }
    rm -f build.log
fi

run=runs/fashion-$(date +%Y%m%d-%H%M%S)
say()
{
    printf '\n$ build/cresset %s\n' "$*"
    build/cresset "$@"
}

say data "$data"
say train --data "$data" --config examples/fashion_mnist.json --out "$run" "${extra[@]}"
say eval "$run" --data "$data"
say predict "$run" --data "$data" --show 0-7
echo
echo "The run is in $run; open $run/report.html in a browser."
