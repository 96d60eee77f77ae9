#!/usr/bin/env bash
# Checks licences, sources and banned crates with cargo-deny, and advisories where their database can be fetched.
# cargo-deny is compiled once and kept in target/tools, without optimisation, which would take longer than it saves.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

version=0.20.2
tool=$root/target/tools/bin/cargo-deny
if [ "$("$tool" --version 2>/dev/null)" != "cargo-deny $version" ]; then
  say "      compiling cargo-deny $version, once"
  CARGO_PROFILE_DEV_DEBUG=0 quietly cargo-deny-install cargo install cargo-deny --debug --locked --version "$version" \
    --root target/tools --target-dir target/tools/build
  rm -rf target/tools/build
fi

"$tool" --locked check licenses bans sources
if timeout 60 "$tool" --locked fetch db >"$logs/advisories.log" 2>&1; then
  "$tool" --locked check --disable-fetch advisories
else
  say "      advisories: not checked, their database cannot be fetched from here"
fi
