# Shared by all scripts: paths, progress messages, and the choice of the Docker engine.
# Sourced, never run. Sets `root`, the top of the checkout, and goes there.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
logs=$root/target/logs

# The static program of a release and of a debug build. The target is this machine's own ("host-tuple").
# shellcheck disable=SC2034
release_program=$root/target/release/longshore

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# step "text": prints the head of the next part, "[2/6] text (12 s)". The script sets `steps` to the number of its parts.
step_number=0
step() {
  step_number=$((step_number + 1))
  printf '[%d/%d] %s%s\n' "$step_number" "${steps:?}" "$*" "$( ((SECONDS > 1)) && printf ' (%d s so far)' "$SECONDS")" >&2
}

# quietly NAME COMMAND...: runs it with its output in target/logs/NAME.log; every ten seconds says how long it has
# run and what it printed last; if it fails, shows the end of the log.
quietly() {
  local name=$1 log=$logs/$1.log begun=$SECONDS pid status=0 waited=0
  shift
  mkdir -p "$logs"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    waited=$((waited + 1))
    if ((waited % 50 == 0)); then
      say "      … $name, $((SECONDS - begun)) s: $(tail -n 1 "$log" | tr -d '\r' | cut -c1-110)"
    fi
  done
  wait "$pid" || status=$?
  if ((status != 0)); then
    say "--- the end of $log"
    tail -n 25 "$log" | cut -c1-300 >&2
    say "--- $name failed with exit code $status"
    return "$status"
  fi
}

# as_root COMMAND...: runs it as root, through sudo if necessary.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "'$*' has to run as root, and there is no sudo here: run it as root, then start again"
  fi
}

# The socket of this machine's engine, as the server's container gets it.
docker_socket() {
  case ${DOCKER_HOST:-} in
    '') printf '/var/run/docker.sock' ;;
    unix://*) printf '%s' "${DOCKER_HOST#unix://}" ;;
    *) die "DOCKER_HOST is $DOCKER_HOST: Longshore's container needs an engine behind a unix socket of this machine" ;;
  esac
}

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# wait_until SECONDS COMMAND...: tries it five times a second.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

# recipe_hash TEXT-OR-FILE...: prints a short hash of what an image is made from, for its label longshore.recipe.
recipe_hash() {
  local part
  for part in "$@"; do
    if [ -f "$part" ]; then cat "$part"; else printf '%s\n' "$part"; fi
  done | sha256sum | cut -c1-16
}

image_is_current() {
  [ "$(docker image inspect --format '{{index .Config.Labels "longshore.recipe"}}' "$1" 2>/dev/null)" = "$2" ]
}

# debian_sources RELEASE: apt lines for that release (with updates and security), on the mirrors that this machine's
# own sources use. Empty if it has none: mmdebstrap then takes Debian's default.
debian_sources() {
  have apt-get || return 0
  # shellcheck disable=SC2016 # apt's own placeholders
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v release="$1" '$1 == "Debian" {
      suffix = match($2, /-/) ? substr($2, RSTART) : ""
      if (suffix == "" || suffix == "-updates" || suffix == "-security") print "deb", $3, release suffix, "main"
    }' | sort -u
}

# debian_tarball NAME RELEASE OPTION...: a root file system made by mmdebstrap, as target/images/NAME.tar. One that is
# there already is kept: NAME carries the hash of its recipe.
debian_tarball() {
  local name=$1 release=$2 sources
  local -a arguments
  shift 2
  [ ! -s "target/images/$name.tar" ] || return 0
  mkdir -p target/images
  sources=$(debian_sources "$release")
  arguments=("$@" "$release" "target/images/$name.tar.part")
  if [ -n "$sources" ]; then
    printf '%s\n' "$sources" >"target/images/$name.list"
    arguments+=("target/images/$name.list")
  fi
  say "      making $name from Debian's packages, about a minute"
  quietly "mmdebstrap-$name" as_root mmdebstrap --format=tar "${arguments[@]}"
  mv "target/images/$name.tar.part" "target/images/$name.tar"
}

# demo_instance: prints the instance name of the server that `make up` started; empty if there is none.
demo_instance() {
  { docker logs longshore 2>&1 || true; } | sed -n 's/.* ready .*instance="\([0-9a-f]*\)".*/\1/p' | tail -n 1
}
