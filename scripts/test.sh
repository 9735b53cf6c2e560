#!/bin/bash
# Builds and tests everything: test.sh [--no-sanitizers] [--no-install]. Installs what the tests
# need, builds with warnings as errors, runs all tests (comparisons with PyTorch and the style of
# the sources included), and the variants of the kernels for 64-bit ARM under qemu; then those of
# the program once more under AddressSanitizer with UndefinedBehaviorSanitizer, and the loader under
# ThreadSanitizer. Exits 1 after any failure; the last line is "N passed, N failed, N skipped".
# Build folders: build, build-arm64, build-asan, build-tsan.
set -u
cd "$(dirname "$0")/.." || exit 2
jobs=$(nproc)
# As many tests as processors run at once, each with threads of its own: waiting ones must not spin.
export OMP_WAIT_POLICY=passive
sanitizers=yes
install=yes
for word in "$@"; do
    case $word in
        --no-sanitizers) sanitizers=no ;;
        --no-install) install=no ;;
        *)
            sed -n '2,7s/^# //p' "$0"
            exit 2
            ;;
    esac
done

passed=0 failed=0 skipped=0
count()
{
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

heading()
{
    printf '\n== %s (%d min) ==\n' "$1" $((SECONDS / 60))
}

# The number that attribute $2 has in the first element of the report $1.
number_of()
{
    grep -o "\\b$2=\"[0-9]*\"" "$1" | head -n 1 | tr -dc 0-9
}

# Prints why tests of a report were skipped, from the line with which each says so.
print_reasons()
{
    awk '/<testcase/ { name = $0; sub(/.*name="/, "", name); sub(/".*/, "", name) }
         /<skipped/ { left = 1; reason = $0; gsub(/.*message="|".*/, "", reason) }
         /skipped: / && left { reason = $0; sub(/.*skipped: /, "", reason) }
         /<\/testcase/ { if (left) print "skipped " name ": " reason; left = 0 }' "$1"
}

# run_tests FOLDER CTEST-OPTIONS…: counts each test of a build folder.
run_tests()
{
    local folder=$1 report
    shift
    report=$PWD/$folder/report.xml
    rm -f "$report"
    ctest --test-dir "$folder" -j "$jobs" --output-on-failure --output-junit "$report" "$@"
    if [ ! -s "$report" ]; then
        echo "$folder: ctest left no report"
        count 0 1 0
        return
    fi
    local all bad off
    all=$(number_of "$report" tests) bad=$(number_of "$report" failures)
    off=$(($(number_of "$report" skipped) + $(number_of "$report" disabled)))
    count $((all - bad - off)) "$bad" "$off"
    print_reasons "$report"
    # What the tests of variants left out: instruction sets that are not here.
    sed -n 's/^skipped: \(.*, which .*\)/not tried: kernels for \1/p' "$report"
}

# build FOLDER TARGET CMAKE-OPTIONS…: quiet unless it fails, which counts as one failed check.
build()
{
    local folder=$1 target=$2 log=$1/build.log generator=()
    shift 2
    mkdir -p "$folder"
    [ -f "$folder/CMakeCache.txt" ] || generator=(-G Ninja)
    if cmake "${generator[@]}" -S . -B "$folder" -DCRESSET_WERROR=ON -DCRESSET_TESTS=ON "$@" \
        >"$log" 2>&1 &&
        cmake --build "$folder" -j "$jobs" --target "$target" >>"$log" 2>&1; then
        count 1 0 0
        return 0
    fi
    grep -E 'error|Error|FAILED' "$log" | head -n 30
    echo "the build in $folder failed; all of it is in $log"
    count 0 1 0
    return 1
}

test_all()
{
    heading "build"
    build build all -DCMAKE_BUILD_TYPE=Release || return
    heading "tests"
    run_tests build
}

# The kernels for another processor, which need none of the libraries for it.
test_arm64()
{
    heading "kernels for 64-bit ARM, under qemu"
    local tool
    for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
        if ! command -v "$tool" >/dev/null; then
            echo "skipped kernels for 64-bit ARM: $tool is not installed (scripts/setup.sh arm64)"
            count 0 0 1
            return
        fi
    done
    build build-arm64 all --toolchain cmake/aarch64-linux-gnu.cmake -DCRESSET_KERNELS_ONLY=ON \
        -DCMAKE_BUILD_TYPE=Release || return
    run_tests build-arm64
}

test_memory()
{
    heading "build with AddressSanitizer and UndefinedBehaviorSanitizer"
    build build-asan all -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 \
        -DCRESSET_SANITIZE=address,undefined -DCRESSET_EXAMPLES=OFF || return
    heading "tests with AddressSanitizer and UndefinedBehaviorSanitizer"
    run_tests build-asan --exclude-regex '^(style|layers)$'
}

# libgomp is not built for ThreadSanitizer, so kernels keep to one thread; the loader's own remain.
test_threads()
{
    heading "the loader with ThreadSanitizer"
    local tests
    tests=$(cd tests/unit && echo test_*loader*.c)
    if [ ! -f "tests/unit/${tests%% *}" ]; then
        echo "skipped loader with ThreadSanitizer: there is no test of a loader in tests/unit"
        count 0 0 1
        return
    fi
    local name
    for name in $tests; do
        build build-tsan "${name%.c}" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=-O1 \
            -DCRESSET_SANITIZE=thread -DCRESSET_EXAMPLES=OFF || return
    done
    OMP_NUM_THREADS=1 run_tests build-tsan --tests-regex '^unit\.test_.*loader'
}

if [ $install = yes ]; then
    scripts/setup.sh build tests || count 0 1 0
    # A mirror without the cross compiler is no failure of Cresset: test_arm64 says what is missing.
    scripts/setup.sh arm64
fi
test_all
test_arm64
if [ $sanitizers = yes ]; then
    test_memory
    test_threads
else
    echo "skipped the sanitizers: --no-sanitizers was given"
    count 0 0 2
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
