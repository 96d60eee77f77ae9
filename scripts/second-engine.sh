#!/usr/bin/env bash
# A second, newer Docker engine beside the machine's own, to test against: 26.1 from Debian trixie's packages.
# Usage: second-engine.sh start | stop | restart | running | env | within COMMAND...
#   start  downloads, unpacks and starts it where that is still to do, and prints its address
#   stop   ends it; its packages and images stay in target/engine-26
#   restart  ends the daemon, as an update of Docker does, and starts it again; with LIVE_RESTORE=no the containers end
#            with it
#   running  ends with 0 if it answers
#   env    prints the environment for `cargo test`
#   within  runs a command where the addresses of the engine's containers are reached, with its environment
# With DATA_MB it starts on an empty disk of its own of so many megabytes, in memory, at target/engine-26/data.
# Nothing of the system is changed: apt has sources and lists of its own here, nothing is installed, and the engine
# lives in a network namespace of its own, since two engines in one would rewrite each other's packet filter.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin

home=$root/target/engine-26
# The path of a socket is limited to 107 bytes.
run=/run/longshore-engine-26
address=unix://$run/docker.sock

answers() { DOCKER_HOST=$address docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

apt_here() {
  apt-get -o Dir::Etc::SourceList="$home/apt/sources.list" -o Dir::Etc::SourceParts=- \
    -o Dir::State::Lists="$home/apt/lists" -o Dir::Cache="$home/apt/cache" -o Acquire::Languages=none \
    -o APT::Sandbox::User="$(id -un)" -o APT::Get::List-Cleanup=false "$@"
}

download() {
  local sources
  sources=$(debian_sources trixie)
  [ -n "$sources" ] || die "this machine's apt knows no Debian mirror, and the second engine comes from Debian's packages"
  mkdir -p "$home"/apt/{lists/partial,cache/archives/partial} "$home/packages"
  printf '%s\n' "$sources" >"$home/apt/sources.list"
  quietly engine-26-update apt_here update
  (cd "$home/packages" && quietly engine-26-download apt_here download docker.io docker-cli containerd)
}

unpack() {
  local package
  rm -rf "$home/root.part"
  for package in "$home"/packages/*.deb; do dpkg-deb -x "$package" "$home/root.part"; done
  rm -rf "$home/root"
  mv "$home/root.part" "$home/root"
}

# launch LOG COMMAND...: in the background as root, with the engine's own programs first. It must not keep our own
# output open: who reads the address through a pipe would wait for the daemon's end.
launch() {
  local log=$1
  shift
  # shellcheck disable=SC2016 # expanded by the inner shell
  as_root setsid env PATH="$home/root/usr/bin:$home/root/usr/sbin:$PATH" sh -c \
    'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null' sh "$log" "$@" >/dev/null 2>&1 </dev/null &
  disown
}

containerd_answers() { as_root "$home/root/usr/bin/ctr" --address "$run/containerd.sock" version >/dev/null 2>&1; }

start() {
  steps=3
  if answers; then
    say "the second engine already runs"
    return
  fi
  step "Downloading Docker 26.1 from Debian trixie"
  compgen -G "$home/packages/docker.io_*.deb" >/dev/null || download
  step "Unpacking"
  [ -x "$home/root/usr/sbin/dockerd" ] || unpack
  step "Starting it"
  stop
  as_root mkdir -p "$run"
  mkdir -p "$home/data" "$logs"
  [ -z "${DATA_MB:-}" ] || as_root mount -t tmpfs -o "size=${DATA_MB}m" longshore-engine-26 "$home/data"
  cat >"$home/containerd.toml" <<TOML
version = 2
root = "$home/data/containerd"
state = "$run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$run/containerd.sock"
[ttrpc]
address = "$run/containerd.sock.ttrpc"
TOML
  # The namespace is held by its file, so that both daemons and what they start are in the same one.
  as_root ip netns add longshore-engine-26 2>/dev/null || true
  as_root nsenter --net=/run/netns/longshore-engine-26 ip link set lo up
  # shellcheck disable=SC2016
  launch "$logs/engine-26-containerd.log" nsenter --net=/run/netns/longshore-engine-26 sh -c \
    'echo $$ >"$1/containerd.pid"; exec containerd --config "$2"' sh "$run" "$home/containerd.toml"
  wait_until 30 containerd_answers || failed engine-26-containerd
  launch_daemon
}

# Containers outlive the daemon (live-restore) unless LIVE_RESTORE=no.
launch_daemon() {
  local live=--live-restore
  [ "${LIVE_RESTORE:-yes}" = yes ] || live=--live-restore=false
  launch "$logs/engine-26-dockerd.log" nsenter --net=/run/netns/longshore-engine-26 dockerd \
    --host "$address" --group "$(id -gn)" --containerd "$run/containerd.sock" \
    --data-root "$home/data/docker" --exec-root "$run/docker" --pidfile "$run/docker.pid" \
    --bip 10.213.0.1/24 --default-address-pool base=10.214.0.0/16,size=24 "$live"
  wait_until 60 answers || failed engine-26-dockerd
}

restart() {
  end "$run/docker.pid" dockerd
  launch_daemon
}

failed() {
  tail -n 25 "$logs/$1.log" >&2
  stop
  die "the second engine does not start: see $logs/$1.log"
}

# ended PID NAME: succeeds if no process of that name has that id.
ended() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" != "$2" ]; }

# end PIDFILE NAME: sends TERM, then KILL if that does not help. Leaves another process that got the same id alone.
end() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  ended "$pid" "$2" || as_root kill "$pid"
  wait_until 30 ended "$pid" "$2" || as_root kill -KILL "$pid"
  as_root rm -f "$1"
}

stop() {
  end "$run/docker.pid" dockerd
  end "$run/containerd.pid" containerd
  # Its own disk, if it has one, and mounts that the daemon leaves.
  awk -v data="$home/data" -v run="$run/" 'index($2, data) == 1 || index($2, run) == 1 { print $2 }' /proc/mounts | sort -r | as_root xargs -r -n 1 umount -l
  as_root rm -rf "$run"
  [ ! -e /run/netns/longshore-engine-26 ] || as_root ip netns delete longshore-engine-26
}

case ${1:-} in
  start)
    start
    say "      Docker $(DOCKER_HOST=$address docker version --format '{{.Server.Version}}, API {{.Server.APIVersion}}')"
    printf '%s\n' "$address"
    ;;
  stop) stop ;;
  restart) restart ;;
  running) answers ;;
  env) printf 'LONGSHORE_TEST_DOCKER_HOST=%s\n' "$address" ;;
  within)
    shift
    mapfile -d '' -t environment < <(env -0)
    as_root nsenter --net=/run/netns/longshore-engine-26 --setuid "$(id -u)" --setgid "$(id -g)" \
      env "${environment[@]}" DOCKER_HOST="$address" LONGSHORE_TEST_DOCKER_HOST="$address" "$@"
    ;;
  *) die "usage: second-engine.sh start | stop | restart | running | env | within COMMAND..." ;;
esac
