#!/bin/sh
# Runs tests with Clang's sanitizers: `Tools/sanitize.sh address`, `Tools/sanitize.sh thread`, through `make sanitize`.
#
# address   (with leaks) what computes in this process. What reads files is attacked with this sanitizer by `make fuzz` too
# thread    OpenCL's layer, the pool of threads in C, and sessions, on the CPU and on OpenCL
#
# Each has a build of its own, and everything is compiled for it. A report of a sanitizer is a failure.
set -eu

case $1 in
  address) suites='TextTests|FilesTests|CLRuntimeTests|KernelsTests|ONNXTests|FuzzTests|ImagingTests|ExplainTests' ;;
  thread) suites='CLRuntimeTests|KernelsTests.ThreadsTests|ExplainTests.SessionTests|ExplainTests.ExactNumberTests' ;;
  *)
    echo "There is no sanitizer “$1”; choose address or thread." >&2
    exit 64
    ;;
esac
# Names in reports instead of addresses.
symbolizer=$(dirname "$(readlink -f "$(command -v swift)")")/llvm-symbolizer
# No leaks: what is made once for the process, at which Swift points with a tag in the pointer; and Foundation's own, where a file that it
# reads is gone. No races: bodies of Mutex.withLock (closures of `inout sending` that give `sending`, as their mangled names say): where two
# threads meet, the kernel hands on Swift's mutex, and the sanitizer does not see it.
suppressions=$(mktemp)
case $1 in
  address) printf 'leak:once_slow\nleak:readBytesFromFile\n' ;;
  thread) printf 'race:zYu*YTXEfU\n' ;;
esac > "$suppressions"
export ASAN_SYMBOLIZER_PATH="$symbolizer" LSAN_OPTIONS="suppressions=$suppressions"
export TSAN_OPTIONS="external_symbolizer_path=$symbolizer suppressions=$suppressions"
# Compiling OpenCL's programs is tested as well.
WHITEBOX_CACHE_DIR=$(mktemp -d)
export WHITEBOX_CACHE_DIR
trap 'rm -rf "$WHITEBOX_CACHE_DIR" "$suppressions"' EXIT
swift test -c release --disable-testable-imports --disable-xctest --sanitize "$1" --scratch-path ".build/$1-sanitizer" \
  --filter "$suites"
