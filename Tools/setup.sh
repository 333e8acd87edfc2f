#!/bin/bash
# Install what building, testing and the demo need, and the packages named as arguments, as far as this system lacks them. Where
# nothing is missing, nothing is called.
set -euo pipefail

packages=(
    ca-certificates    # for downloads
    ocl-icd-opencl-dev # the OpenCL loader
    opencl-headers
    pocl-opencl-icd # OpenCL on the CPU: every machine has one device to test on
    libarchive-dev # tar archives
    libdeflate-dev # writing PNG
    libexpat1-dev # boxes in XML
    libgif-dev
    libpangocairo-1.0-0 # labels beyond ASCII on sheets
    libpng-dev
    libtiff-dev
    libturbojpeg0-dev
    libwebp-dev
    nettle-dev # SHA-256
    pkg-config
    zlib1g-dev # tar.gz
    python3-h5py # these three for the model tool
    python3-numpy
    python3-venv
)
packages+=("$@") # what a caller needs besides
needed_swift=6.3

fail() {
    echo "setup: $*" >&2
    exit 1
}

if ! command -v swift >/dev/null; then
    fail "Swift $needed_swift or newer is needed and there is no 'swift' on the PATH; get it from swift.org and run make again."
fi
swift_version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9][0-9.]*\).*/\1/p' | head -n 1)
if [[ $(printf '%s\n' "$needed_swift" "${swift_version:-0}" | sort -V | head -n 1) != "$needed_swift" ]]; then
    fail "Swift $needed_swift or newer is needed and 'swift' is version ${swift_version:-unknown}; get a newer one from swift.org."
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    fail "this system has no apt-get: install what Debian calls ${packages[*]} with its own tools, then run make with SETUP=no."
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || fail "installing ${missing[*]} needs root or sudo, and here is neither; ask for them to be installed."
    as_root=(sudo)
fi

echo "Installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for step in "update" "install --yes --no-install-recommends ${missing[*]}"; do
    # shellcheck disable=SC2086 # the words of a step are meant to be split
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 --quiet $step >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "'apt-get $step' failed; its last lines are above."
    fi
done
