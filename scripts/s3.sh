#!/usr/bin/env bash
# Fetches s3rver, the S3 server of the tests, into target/s3: by npm, each package checked against the digest in its lock file.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

lock=$root/tests/support/s3
folder=$root/target/s3
cmp -s "$lock/package-lock.json" "$folder/fetched" && exit 0
rm -rf "$folder"
mkdir -p "$folder"
cp "$lock/package.json" "$lock/package-lock.json" "$folder/"
cd "$folder"
quietly npm-s3 npm ci --no-audit --no-fund --ignore-scripts
cp "$lock/package-lock.json" fetched
