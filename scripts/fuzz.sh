#!/usr/bin/env bash
# fuzz.sh [SECONDS] [TARGET...]: runs the fuzz targets of fuzz/, each for SECONDS (60), from the examples as seeds. No nightly compiler
# is needed: the flags are those that cargo-fuzz sets, and RUSTC_BOOTSTRAP lets the stable compiler take them. Crashes stand in
# fuzz/artifacts/TARGET; `fuzz.sh 60 TARGET` finds them again, as what was found is kept in fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}; shift || true
command -v g++ >/dev/null || { apt-get update -qq; apt-get install -y -qq g++; }
[ $# -gt 0 ] || set -- $(ls fuzz/fuzz_targets | sed 's/\.rs$//')

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing -Cdebug-assertions"
(cd fuzz && cargo build --release --target "$host")

failed=0
for target in "$@"; do
  corpus=fuzz/corpus/$target; artifacts=fuzz/artifacts/$target
  mkdir -p "$corpus" "$artifacts"
  case $target in
    pipeline) seeds=$(ls pipelines-examples/*.yml pipelines-examples/*/*.yml) ;;
    convert) seeds=$(ls crates/convert/tests/convert/*/*.yml) ;;
    payload) seeds=$(ls crates/forge/tests/payloads/*.json) ;;
    junit) seeds=$(ls crates/reports/tests/data/*.xml) ;;
    coverage) seeds=$(ls crates/reports/tests/data/*.info crates/reports/tests/data/*cov*.xml crates/reports/tests/data/*cobertura*.xml) ;;
    findings) seeds=$(ls crates/reports/tests/data/*.sarif) ;;
    *) seeds= ;;
  esac
  for seed in $seeds; do cp "$seed" "$corpus/seed-$(echo "$seed" | tr / -)"; done
  echo "== $target"
  "fuzz/target/$host/release/$target" "$corpus" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -max_len=8192 \
    -artifact_prefix="$artifacts/" -print_final_stats=1 >"$artifacts.log" 2>&1 || { failed=1; tail -n 40 "$artifacts.log"; }
  sed -n 's/^stat::number_of_executed_units: */executions: /p' "$artifacts.log"
done
exit $failed
