#!/usr/bin/env bash
# Fetches what the calls to forges are checked against into target/contract: GitHub's description of its API and a validator of JSON
# schemas by npm, checked against the digests in tests/contract/package-lock.json; and Gitea's by Go's proxy, where Go is installed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

gitea=v1.26.0
folder=$root/target/contract
version=$(cat tests/contract/package-lock.json - <<<"$gitea" | sha256sum)
[ "$(cat "$folder/version" 2>/dev/null)" = "$version" ] && exit 0
rm -rf "$folder"
mkdir -p "$folder"
cp tests/contract/package.json tests/contract/package-lock.json "$folder"
quietly npm-contract npm ci --silent --ignore-scripts --no-audit --no-fund --prefix "$folder"
# Most of it is the same for other editions.
find "$folder/node_modules/@octokit/openapi/generated" -type f ! -name api.github.com.json -delete
if have go; then
  export GOFLAGS=-modcacherw GOMODCACHE=$folder/go
  quietly go-contract go mod download "code.gitea.io/gitea@$gitea"
  cp "$folder/go/code.gitea.io/gitea@$gitea/templates/swagger/v1_json.tmpl" "$folder/gitea.json"
  rm -rf "$folder/go"
else
  say "Go is not installed: calls to Gitea are not checked against its description"
fi
echo "$version" >"$folder/version"
