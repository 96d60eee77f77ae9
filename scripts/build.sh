#!/usr/bin/env bash
# Builds the static release program and leaves it at target/release/longshore.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh build
say "building target/release/longshore (minutes the first time, seconds after)"
cargo build --release --locked -p longshore
host=$(rustc -vV | sed -n 's/^host: //p')
built=${CARGO_TARGET_DIR:-target}/$host/release/longshore
mkdir -p target/release
cmp -s "$built" "$release_program" || install -m 0755 "$built" "$release_program"
if ldd "$release_program" 2>/dev/null | grep -q '=>'; then die "$release_program is not linked statically"; fi
say "$release_program, $(stat -c %s "$release_program" | awk '{ printf "%.1f MB", $1 / 1e6 }'), static ($SECONDS s)"
