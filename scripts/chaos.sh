#!/usr/bin/env bash
# Chaos: builds of known output while the server is killed and the engine restarts, on a second engine that may be.
# KILLS, POD_KILLS, HOOK_RESTARTS, ENGINE_RESTARTS, ENGINE_LOSSES, ENGINE_FULL, CACHES and DOCKER_JOBS say how many, SEED
# which schedule. Figures: target/chaos-*.json.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # read by step
steps=12
seed=${SEED:-1}

step "Setting up"
scripts/setup.sh
started=no
if ! scripts/second-engine.sh running; then
  started=yes
  trap 'scripts/second-engine.sh stop' EXIT
fi
engine=$(scripts/second-engine.sh start)
export LONGSHORE_TEST_DOCKER_HOST=$engine LONGSHORE_CHAOS_RESTART="$root/scripts/second-engine.sh restart"
DOCKER_HOST=$engine scripts/images.sh busybox docker

step "Compiling"
quietly chaos-build cargo test --locked --workspace --test chaos --no-run

play() { cargo test --quiet --locked --workspace --test chaos -- "$@" --seed "$seed"; }

step "${KILLS:-200} kills of the server during builds"
play kills --count "${KILLS:-200}"
step "${POD_KILLS:-200} kills of the server under jobs with services and steps with images of their own"
play pods --count "${POD_KILLS:-200}"
step "${HOOK_RESTARTS:-100} restarts under 20 webhooks a second"
play hooks --count "${HOOK_RESTARTS:-100}"
step "${ENGINE_RESTARTS:-20} restarts of the engine under running jobs"
play engine-restarts --count "${ENGINE_RESTARTS:-20}"
step "Recovery of 50 running jobs"
play recovery --count 50
step "${ENGINE_LOSSES:-5} restarts of the engine that take its containers with them"
play engine-losses --count "${ENGINE_LOSSES:-5}"
step "${DOCKER_JOBS:-100} jobs with Docker at once, while server, engine and guards are killed"
play docker --count "${DOCKER_JOBS:-100}"
if [ "$started" = yes ]; then
  step "${ENGINE_FULL:-5} times no room on the engine's disk"
  scripts/second-engine.sh stop
  DATA_MB=1024 scripts/second-engine.sh start >/dev/null
  DOCKER_HOST=$engine scripts/images.sh busybox
  LONGSHORE_CHAOS_DISK=$root/target/engine-26/data play engine-full --count "${ENGINE_FULL:-5}"
  step "${CACHES:-1000} builds with a unique cache each"
  LONGSHORE_CHAOS_DISK=$root/target/engine-26/data play caches --count "${CACHES:-1000}"
else
  step "No room on the engine's disk: skipped, the second engine was running already and has none of its own"
  step "${CACHES:-1000} builds with a unique cache each, within their budget"
  play caches --count "${CACHES:-1000}"
fi
step "Done"
cat target/chaos-*.json
