#!/usr/bin/env bash
# Podman's socket, to test against: an engine with Docker's API that behaves differently in places.
# Usage: podman.sh start | stop | env | test
#   start  starts the service of the Podman that is installed (Debian: apt-get install podman), and prints its address
#   stop   ends it, and removes its data
#   env    prints the environment for `cargo test`
#   test   starts it, runs the tests of Podman on it, and stops it
# It keeps everything in target/podman and in a network namespace of its own: nothing of the machine's Podman or Docker is touched.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

home=$root/target/podman
run=/run/longshore-podman
address=unix://$run/podman.sock
namespace=longshore-podman

answers() { DOCKER_HOST=$address docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Raising limits takes CAP_SYS_RESOURCE (bit 24), and machines without it start no container of Podman's: there, the runtime is asked for
# none.
may_raise_limits() { (((0x$(awk '/^CapEff/ { print $2 }' /proc/self/status) >> 24) & 1)); }

configure() {
  mkdir -p "$home"
  cat >"$home/runtime" <<'RUNTIME'
#!/usr/bin/env python3
"""runc, asked for no process limits."""
import json, os, sys

arguments = sys.argv[1:]
for flag in ("--bundle", "-b"):
    if "create" in arguments and flag in arguments:
        path = os.path.join(arguments[arguments.index(flag) + 1], "config.json")
        with open(path) as file:
            spec = json.load(file)
        spec.get("process", {}).pop("rlimits", None)
        spec.get("process", {}).pop("oomScoreAdj", None)
        with open(path, "w") as file:
            json.dump(spec, file)
os.execvp("runc", ["runc", *arguments])
RUNTIME
  chmod +x "$home/runtime"
  local runtime=runc
  may_raise_limits || runtime=longshore
  cat >"$home/containers.conf" <<TOML
[engine]
runtime = "$runtime"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
longshore = ["$home/runtime"]
[network]
network_config_dir = "$home/networks"
TOML
}

start() {
  have podman || die "there is no Podman here: apt-get install podman, then start again"
  have runc || die "there is no runc here: apt-get install runc, then start again"
  if answers; then return; fi
  configure
  stop
  configure
  as_root mkdir -p "$run"
  mkdir -p "$logs" "$home/networks"
  as_root ip netns add "$namespace" 2>/dev/null || true
  as_root nsenter --net="/run/netns/$namespace" ip link set lo up
  # A way out, so that jobs have an address to be found by; it leads nowhere.
  as_root nsenter --net="/run/netns/$namespace" sh -c 'ip link add out type dummy 2>/dev/null && ip addr add 192.0.2.2/24 dev out && ip link set out up && ip route add default dev out' || true
  # shellcheck disable=SC2016 # expanded by the inner shell
  as_root setsid nsenter --net="/run/netns/$namespace" env CONTAINERS_CONF="$home/containers.conf" sh -c \
    'echo $$ >"$1/podman.pid"; exec podman --root "$2/root" --runroot "$1/root" --tmpdir "$1/tmp" system service -t 0 "$3" >"$4" 2>&1 </dev/null' \
    sh "$run" "$home" "$address" "$logs/podman.log" >/dev/null 2>&1 </dev/null &
  disown
  wait_until 30 answers || die "Podman does not answer: see $logs/podman.log"
}

gone() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" != podman ]; }

stop() {
  local pid
  if pid=$(cat "$run/podman.pid" 2>/dev/null); then
    if answers; then DOCKER_HOST=$address docker ps -aq | DOCKER_HOST=$address xargs -r docker rm -f >/dev/null 2>&1 || true; fi
    gone "$pid" || as_root kill "$pid"
    wait_until 30 gone "$pid" || as_root kill -KILL "$pid"
  fi
  awk -v data="$home/" -v run="$run/" 'index($2, data) == 1 || index($2, run) == 1 { print $2 }' /proc/mounts | sort -r | as_root xargs -r -n 1 umount -l
  as_root rm -rf "$run" "$home"
  [ ! -e "/run/netns/$namespace" ] || as_root ip netns delete "$namespace"
}

case ${1:-} in
  start)
    start
    printf '%s\n' "$address"
    ;;
  stop) stop ;;
  env) printf 'LONGSHORE_TEST_DOCKER_HOST=%s\n' "$address" ;;
  test)
    cd "$root"
    # The second one is of the program, which jobs run in.
    cargo test --locked --workspace --test podman --test command_line --no-run
    start
    trap stop EXIT
    LONGSHORE_TEST_DOCKER_HOST=$address cargo test --locked --workspace --test podman -- --ignored
    ;;
  *) die "usage: podman.sh start | stop | env | test" ;;
esac
