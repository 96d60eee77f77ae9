#!/usr/bin/env bash
# Removes what `make up` and the tests made: the demo's containers and volumes with all data, what its server created on
# the engine, and the images of the scripts. Other Longshores on the same engine are left alone. Asks nothing.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

if ! have docker || ! engine_answers; then
  say "no Docker engine answers here, so nothing runs on it"
  exit 0
fi
left=0
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
instance=$(cat target/up/instance 2>/dev/null || true)

# remove KIND FILTER: removes everything of that kind with that label.
remove() {
  local kind=$1 filter=$2 one
  local -a found options=()
  case $kind in
    container)
      mapfile -t found < <(docker ps -aq --no-trunc --filter "$filter")
      options=(-f -v)
      ;;
    # By name: a base of other images only loses its name, and is removed with the last of them.
    image)
      mapfile -t found < <(docker images --no-trunc --filter "$filter" \
        --format '{{if eq .Repository "<none>"}}{{.ID}}{{else}}{{.Repository}}:{{.Tag}}{{end}}')
      ;;
    volume | network) mapfile -t found < <(docker "$kind" ls -q --filter "$filter") ;;
  esac
  for one in "${found[@]}"; do
    if docker "$kind" rm "${options[@]}" "$one" >/dev/null 2>"$errors"; then
      say "removed $kind $one"
    elif [ "$kind" = image ]; then
      # Another Longshore of the same version may use the agent image, and other containers a test image.
      say "kept image $one, others use it"
    else
      cat "$errors" >&2
      left=1
    fi
  done
}

# The server first, so that it starts nothing again.
remove container label=longshore.demo
if [ -n "$instance" ]; then
  remove container "label=longshore.instance=$instance"
  remove volume "label=longshore.instance=$instance"
  remove network "label=longshore.instance=$instance"
  remove image "label=longshore.instance=$instance"
fi
remove volume label=longshore.demo
remove image label=longshore.recipe
((left == 0)) || die "some of it is still in use: see above"
rm -rf target/up
say "nothing of the demo is left on the engine"
