#!/bin/bash
# Installs Debian packages that are missing: setup.sh PURPOSE…, where a purpose is build, tests,
# arm64 (to build for 64-bit ARM, and run that), devices (to try models written as C for 32-bit x86,
# a big-endian machine and a Cortex-M) or demo. Does nothing, and needs neither network nor rights,
# when all are there. Made for Debian 12; elsewhere it names the packages and goes on.
set -u

packages_for()
{
    case $1 in
        build) echo build-essential cmake ninja-build pkg-config libjansson-dev zlib1g-dev \
                   libcairo2-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libtiff-dev \
                   libmicrohttpd-dev ;;
        tests) echo libcmocka-dev python3 python3-torch python3-torchvision python3-numpy \
                   python3-sklearn python3-pil libopenblas0-pthread clang-format \
                   dataset-fashion-mnist fonts-dejavu-core man-db groff-base mandoc zsh fish \
                   openssl curl ;;
        arm64) echo cmake ninja-build gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ;;
        devices) echo build-essential libc6-dev-i386 lib32gcc-12-dev gcc-s390x-linux-gnu \
                     libc6-dev-s390x-cross qemu-user gcc-arm-none-eabi libnewlib-arm-none-eabi \
                     qemu-system-arm ;;
        demo) echo dataset-fashion-mnist fonts-dejavu-core ;;
        *) return 1 ;;
    esac
}

is_installed()
{
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Runs apt-get as root, with sudo if need be.
apt()
{
    local rights=()
    [ "$(id -u)" -eq 0 ] || rights=(sudo)
    "${rights[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root "$@"
}

missing=()
for purpose in "$@"; do
    list=$(packages_for "$purpose") || {
        echo "setup.sh: '$purpose' is not one of build, tests, arm64, devices, demo" >&2
        exit 2
    }
    for package in $list; do
        if ! command -v dpkg-query >/dev/null; then
            missing+=("$package")
        elif ! is_installed "$package" && [[ " ${missing[*]} " != *" $package "* ]]; then
            missing+=("$package")
        fi
    done
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is not Debian; make sure to have what there is called: ${missing[*]}" >&2
    exit 0
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    echo "setup.sh: missing are ${missing[*]}; install them as root, as sudo is not there" >&2
    exit 1
fi
echo "setup.sh: installing ${missing[*]}"
log=$(mktemp)
if { apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    rm -f "$log"
else
    tail -n 20 "$log" >&2
    echo "setup.sh: apt-get could not install them; the whole log is $log" >&2
    exit 1
fi
