#!/usr/bin/env bash
# Fuzzes every target for SECONDS_EACH seconds (default 60), beginning with the stored corpus. New inputs go to target/fuzz-corpus; a crash ends it and names its input.
# libFuzzer's instrumentation is a nightly option of the compiler; RUSTC_BOOTSTRAP lets the stable one take it.
set -euo pipefail
cd "$(dirname "$0")"

export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target/fuzz}
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions"
cargo build --release --locked --target x86_64-unknown-linux-gnu --bins
for target in up down slots tally; do
  echo "== $target"
  found=$CARGO_TARGET_DIR/corpus/$target
  mkdir -p "$found"
  "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/$target" -max_total_time="${SECONDS_EACH:-60}" -max_len=16384 -print_final_stats=1 \
    -artifact_prefix="$found-crash-" "$found" "corpus/$target" 2>&1 | grep -E "^(stat::|INFO: seed|#[0-9]+.*(INITED|DONE)|==|SUMMARY)"
done
