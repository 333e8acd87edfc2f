#!/bin/sh
# Coverage-guided fuzzing of what reads strangers' files: `Tools/fuzz.sh FUZZER MINUTES [TARGET…]`, through `make fuzz`.
#
# Each target runs for MINUTES (a fraction will do), from the corpus in Tests/FuzzTests/Corpus and from what earlier runs kept
# in .build/fuzz-corpus. A finding ends its target and is kept in .build/fuzz-findings: mend what it shows, and put the file
# into the corpus, which `make test` replays. Memory, time and length of one execution have limits, and beyond them is a finding too;
# so is a leak. FUZZ_OPTIONS are libFuzzer's own: `FUZZ_OPTIONS=-runs=1000000` ends a target after so many executions.
set -eu

fuzzer=$1 minutes=$2
shift 2
[ $# -gt 0 ] || set -- onnx png jpeg webp tiff gif bmp tar exif npy json coco voc mask
seconds=$(awk "BEGIN { print int($minutes * 60) }")
findings=.build/fuzz-findings
mkdir -p "$findings"
# A trap is a finding; nobody waits for Swift to describe it.
export SWIFT_BACKTRACE=enable=no

failed=
for target; do
  case $target in
    onnx) length=4096 ;;
    png | mask | jpeg | webp | tiff | gif | bmp) length=2048 ;;
    tar) length=8192 ;;
    json | coco | voc) length=1024 ;;
    npy) length=512 ;;
    *) length=256 ;;
  esac
  kept=.build/fuzz-corpus/$target
  log=$findings/$target.log
  mkdir -p "$kept"
  if ! FUZZ_TARGET=$target "$fuzzer" -max_total_time="$seconds" -max_len="$length" -timeout=20 -rss_limit_mb=3072 \
    -malloc_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$findings/$target-" ${FUZZ_OPTIONS-} \
    "$kept" "Tests/FuzzTests/Corpus/$target" > "$log" 2>&1; then
    failed="$failed $target"
  fi
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  coverage=$(sed -n 's/.*\(cov: [0-9]*\).*/\1/p' "$log" | tail -1)
  # What libFuzzer says of a finding: its kind, or Swift's message.
  what=$(grep -E '^(Fatal error|.*Fatal error:|==.*ERROR|SUMMARY)' "$log" | head -2 | cut -c 1-200 || true)
  echo "$target: ${executions:-no} executions in $seconds s at most, ${coverage:-no coverage}${what:+
$what}"
done
if [ -n "$failed" ]; then
  echo "Findings in:$failed. They are in $findings."
  exit 1
fi
