#!/usr/bin/env bash
# Measures Longshore beside the raw engine, in one run: prints a table and writes target/bench.json.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

LONGSHORE_BROWSER=yes scripts/setup.sh
scripts/build.sh
scripts/images.sh busybox docker
cargo bench --locked -p longshore --bench figures -- "$@"
