#!/usr/bin/env bash
# Drives the real pages in Chromium and keeps the README's pictures of them in docs/pictures.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/browser.sh
mkdir -p docs/pictures
for picture in readme-build:build readme-log:failing-log readme-phone:phone readme-dark:dark; do
  cp "target/screenshots/${picture%%:*}.png" "docs/pictures/${picture##*:}.png"
done
ls -l docs/pictures
