#!/usr/bin/env bash
# Builds the server's image, `longshore:latest`, from docker/Dockerfile and the program at target/release/longshore.
# The base is made from Debian's packages by mmdebstrap; BASE=debian:bookworm-slim takes one from a registry instead.
# Usage: image.sh [IMAGE]
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

image=${1:-longshore:latest}
[ -x "$release_program" ] || die "there is no $release_program: run 'make build' first"

base=${BASE:-}
if [ -z "$base" ]; then
  options=(--variant=essential --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --dpkgopt=docker/dpkg-excludes
    "--include=usr-is-merged,passwd,git,openssh-client,ca-certificates,tzdata")
  hash=$(recipe_hash docker/dpkg-excludes "${options[*]}")
  base=longshore/server-base:bookworm
  if ! image_is_current "$base" "$hash"; then
    debian_tarball "server-base-$hash" bookworm "${options[@]}"
    docker import --change "LABEL longshore.recipe=$hash" \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      "target/images/server-base-$hash.tar" "$base" >/dev/null
  fi
fi

hash=$(recipe_hash docker/Dockerfile docker/dpkg-excludes "$release_program" "$(docker image inspect --format '{{.Id}}' "$base" 2>/dev/null)")
if image_is_current "$image" "$hash"; then
  say "      $image is up to date"
  exit 0
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp docker/Dockerfile docker/dpkg-excludes "$release_program" "$context/"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Uses the classic builder, which every engine has. BuildKit needs a plugin of the client that many machines lack.
DOCKER_BUILDKIT=0 quietly image docker build --build-arg "BASE=$base" --build-arg "VERSION=$version" \
  --label "longshore.recipe=$hash" --tag "$image" "$context"
# Removes the image that had the name before, unless a container still uses it.
docker image prune --force --filter label=longshore.recipe >/dev/null
say "      $image: $(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
