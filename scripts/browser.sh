#!/usr/bin/env bash
# Drives the real pages in a real Chromium, and runs axe on every one. Installs both where they are missing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

LONGSHORE_BROWSER=yes scripts/setup.sh
scripts/images.sh busybox
scripts/axe.sh
cargo test --locked -p longshore --test browser
