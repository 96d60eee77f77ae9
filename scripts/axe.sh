#!/usr/bin/env bash
# Fetches axe-core, which the browser's tests run on every page, into target/axe: by npm, checked against the digest below.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

version=4.14.1
integrity=sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
folder=$root/target/axe
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
quietly npm-pack npm pack --silent "axe-core@$version"
digest=sha512-$(openssl dgst -sha512 -binary "axe-core-$version.tgz" | base64 -w0)
[ "$digest" = "$integrity" ] || die "axe-core $version is not the one whose digest stands in scripts/axe.sh"
tar -xzf "axe-core-$version.tgz" --strip-components=1 package/axe.min.js package/LICENSE
rm "axe-core-$version.tgz"
echo "$version" >version
