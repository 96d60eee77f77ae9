#!/usr/bin/env bash
# Brings a machine to where Longshore can be built, started and tested: Debian's packages that are missing, and a
# Docker engine that answers. Safe to repeat; a Docker that is already there is used as it is and never restarted.
# Usage: setup.sh [build]   (build: only what compiling needs, no Docker)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
only=${1:-all}
# shellcheck disable=SC2034 # read by step
case $only in
  all) steps=4 ;;
  build) steps=3 ;;
  *) die "usage: setup.sh [build]" ;;
esac
export PATH=$PATH:/usr/sbin:/sbin

step "Looking for what is needed"
# need COMMAND PACKAGE...: adds the packages if the command is missing.
packages=()
need() {
  local command=$1
  shift
  have "$command" || packages+=("$@")
}
need git git
need make make
need cc gcc
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
if [ "$only" = all ]; then
  need python3 python3
  need jq jq
  need curl curl ca-certificates
  need openssl openssl
  need mmdebstrap mmdebstrap
  if [ "${LONGSHORE_BROWSER:-no}" = yes ]; then
    need chromedriver chromium-driver chromium
    need npm npm
    need nginx nginx-light
    need sshd openssh-server
    need git-lfs git-lfs
    need pip3 python3-pip
  fi
  if ! have busybox || ldd "$(command -v busybox)" >/dev/null 2>&1; then packages+=(busybox-static); fi
  if ! have docker || ! engine_answers; then
    if ! have docker || ! have dockerd; then packages+=(docker.io); fi
    need iptables iptables
    need ip iproute2
  fi
fi

step "Installing: ${packages[*]:-nothing is missing}"
if ((${#packages[@]})); then
  have apt-get || die "this machine has no apt: install what Debian calls ${packages[*]}, then start again"
  export DEBIAN_FRONTEND=noninteractive
  quietly apt-update as_root apt-get update
  # Newer Debian has the client in a package of its own.
  if [[ " ${packages[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
  hash -r
  # Debian starts them as the machine's own servers. Here only tests start them, each its own.
  if [ -d /run/systemd/system ]; then
    if [[ " ${packages[*]} " == *" nginx-light "* ]]; then as_root systemctl disable --now nginx || true; fi
    if [[ " ${packages[*]} " == *" openssh-server "* ]]; then as_root systemctl disable --now ssh || true; fi
  fi
fi

step "The Rust toolchain"
have cargo || die "there is no cargo here: install Rust by rustup (https://rustup.rs), then start again"
toolchain=$(cargo --version) ||
  die "cargo does not start with the toolchain that rust-toolchain.toml names: 'rustup toolchain install' here, then start again"
say "      $toolchain"

[ "$only" = all ] || exit 0

# A pid file survives a restart of the machine. The daemons then refuse to start, or take another process for themselves.
drop_stale_pid() {
  local file=$1 name=$2 pid
  pid=$(cat "$file" 2>/dev/null) || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ] || as_root rm -f "$file"
}

start_engine() {
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker
    return
  fi
  drop_stale_pid /var/run/docker.pid dockerd
  drop_stale_pid /var/run/docker/containerd/containerd.pid containerd
  # Without an init system nobody has mounted the control groups.
  mountpoint -q /sys/fs/cgroup || as_root mount -t cgroup2 cgroup2 /sys/fs/cgroup
  as_root mkdir -p /var/log/longshore-setup
  # dockerd starts and watches its own containerd if no other one runs.
  as_root setsid sh -c 'exec dockerd >/var/log/longshore-setup/dockerd.log 2>&1' >/dev/null 2>&1 </dev/null &
  disown
}

step "The Docker engine"
if ! engine_answers; then
  if [ -S "$(docker_socket)" ] && [ ! -w "$(docker_socket)" ]; then
    die "$(docker_socket) is not yours to use: run this as root, or become a member of the group $(stat -c %G "$(docker_socket)")"
  fi
  [ -z "${DOCKER_HOST:-}" ] || die "no engine answers at DOCKER_HOST=$DOCKER_HOST"
  say "      starting it"
  start_engine
  if ! wait_until 60 engine_answers; then
    tail -n 25 /var/log/longshore-setup/dockerd.log >&2 2>/dev/null || true
    die "the Docker engine does not answer within 60 s"
  fi
fi
say "      Docker $(docker version --format '{{.Server.Version}}, API {{.Server.APIVersion}}') at $(docker_socket)"
