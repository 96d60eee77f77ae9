#!/usr/bin/env bash
# Runs all checks: format, dependencies between crates, lints, documentation, licences, and all tests (those of the pages in a real
# Chromium, which it installs). At the same time it runs the tests of the engine's crate and of the guard's sockets on a newer engine. At
# the end it checks that the tests left nothing on the engines.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # read by step
steps=8
first_log=$logs/tests.log
second_log=$logs/tests-second-engine.log
lints_log=$logs/lints.log
mkdir -p "$logs"
: >"$second_log"

# ours ENGINE: prints everything there with Longshore's label: "INSTANCE container NAME" and so on.
ours() {
  DOCKER_HOST=$1 docker ps -a --filter label=longshore.instance --format '{{.Label "longshore.instance"}} container {{.Names}}'
  DOCKER_HOST=$1 docker network ls --filter label=longshore.instance --format '{{.Label "longshore.instance"}} network {{.Name}}'
  DOCKER_HOST=$1 docker volume ls --filter label=longshore.instance --format '{{.Label "longshore.instance"}} volume {{.Name}}'
}

# miscounted ENGINE NETWORK: succeeds if the engine keeps a network because of an endpoint that does not exist. It happens under
# load, and only a restart of the engine helps (moby/moby#42119).
miscounted() {
  [ "$(DOCKER_HOST=$1 docker network inspect --format '{{len .Containers}}' "$2")" = 0 ] &&
    [[ $(DOCKER_HOST=$1 docker network rm "$2" 2>&1) == *'has active endpoints'* ]]
}

# leftovers ENGINE INSTANCES: prints what is there of other instances than these, which existed before the tests. Waits a little
# for background removals.
leftovers() {
  local now i line left=
  for ((i = 0; i < 900; i++)); do
    now=$(ours "$1" | awk -v others="$2" 'BEGIN { split(others, list); for (i in list) other[list[i]] } !($1 in other)')
    [ -n "$now" ] || return 0
    sleep 0.2
  done
  while read -r line; do
    case $line in
      *' network '*) if miscounted "$1" "${line##* }"; then
          say "      ${line##* } stays until the engine is restarted: it counts an endpoint that is not there"
          continue
        fi ;;
    esac
    left+="$line"$'\n'
  done <<<"$now"
  [ -n "$left" ] || return 0
  printf 'left on %s:\n%s' "$1" "$left" >&2
  return 1
}

# forget_agents ENGINE: removes the tests' agents. All instances share agents, which otherwise stay for the next run.
forget_agents() {
  DOCKER_HOST=$1 docker volume ls -q --filter label=longshore.kind=agent |
    DOCKER_HOST=$1 xargs -r docker volume rm >/dev/null 2>&1 || true
  DOCKER_HOST=$1 docker image ls -q --filter label=longshore.kind=agent | sort -u |
    DOCKER_HOST=$1 xargs -r docker image rm >/dev/null 2>&1 || true
}

# instances ENGINE: prints the instances that have something there, on one line.
instances() {
  ours "$1" | awk '{ print $1 }' | sort -u | tr '\n' ' '
}

# nothing_left ENGINE INSTANCES: removes the agents, and checks that the tests left nothing else of instances that were not there before.
nothing_left() {
  forget_agents "$1"
  leftovers "$1" "$2"
}

tests_on_second() {
  local names=() test others status=0
  for test in crates/engine-docker/tests/*.rs; do names+=(--test "$(basename "$test" .rs)"); done
  others=$(instances "$second")
  DOCKER_HOST=$second LONGSHORE_TEST_DOCKER_HOST=$second scripts/run-tests.py 1 "${names[@]}" || status=1
  # The guard leads to containers by their addresses.
  scripts/second-engine.sh within scripts/run-tests.py 1 --test guarded || status=1
  nothing_left "$second" "$others" || status=1
  return $status
}

# lints: what clippy, rustdoc and cargo-deny find. They have a target directory of their own: cargo locks it while it compiles.
lints() {
  local status=0
  export CARGO_TARGET_DIR=$root/target/lints
  cargo clippy --workspace --all-targets --locked -- -D warnings || status=1
  RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
    cargo doc --workspace --no-deps --document-private-items --locked || status=1
  scripts/deny.sh || status=1
  return $status
}

# make_images: makes the images, fetches what calls to forges are checked against, and starts the second engine with its own images. Its address goes to $second_address, which stays empty if
# there is none. It mostly waits for packages, so it goes on beside the compilers.
make_images() {
  scripts/images.sh
  scripts/contract.sh
  : >"$second_address"
  if have apt-get; then
    scripts/second-engine.sh start >"$second_address"
    # The services are for the tests of the whole program.
    DOCKER_HOST=$(cat "$second_address") scripts/images.sh busybox no-shell debian
  fi
}

# Nothing is compiled a second time there.
if [ -n "${CI:-}" ]; then export CARGO_INCREMENTAL=0; fi

step "Setting up"
LONGSHORE_BROWSER=yes scripts/setup.sh
scripts/axe.sh
scripts/smtp.sh
scripts/s3.sh
first=unix://$(docker_socket)
second_address=$logs/second-engine.address
# An engine that somebody else started keeps running.
theirs=no
if scripts/second-engine.sh running; then theirs=yes; fi
make_images >"$logs/images.log" 2>&1 </dev/null &
images=$!
lints=
trap 'kill "$images" 2>/dev/null || true; [ -z "$lints" ] || kill -- -"$lints" 2>/dev/null || true; [ "$theirs" = yes ] || scripts/second-engine.sh stop' EXIT

step "Format"
cargo fmt --all --check

step "Which crate knows which, and what documents name"
scripts/check-crates.py
scripts/check-docs.py
if python3 -c 'import jsonschema, yaml' 2>/dev/null; then
    scripts/check-schema.py
else
    echo "the schema is not checked by another validator: python3-jsonschema and python3-yaml are missing"
fi

step "Compiling the tests"
cargo test --locked --workspace --no-run

step "Engines and images for the tests, which were begun at the start"
status=0
wait "$images" || status=$?
cat "$logs/images.log"
[ "$status" = 0 ] || die "the engines and images for the tests were not made: see above"
second=$(cat "$second_address")
[ -n "$second" ] || say "      no second engine: it is made from Debian's packages, and this machine has no apt"

# The lints take what the tests leave of the processors, which mostly wait for engines.
export -f lints say
export root
setsid bash -c 'renice -n 19 $$; echo 19 >/proc/self/autogroup; lints' >"$lints_log" 2>&1 </dev/null &
lints=$!
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
step "Tests, on Docker $(docker version --format '{{.Server.Version}}')${second:+; those of engine-docker and of the guard on a second engine beside them}"
status=0
others=$(instances "$first")
{ [ -z "$second" ] || tests_on_second; } >"$second_log" 2>&1 &
beside=$!
{
  most=0
  # Tests are selected by name from the whole workspace: with the features of one crate alone everything would be compiled again.
  scripts/run-tests.py 2 --lib --bins --tests || most=1
  cargo test --locked --workspace --doc || most=1
  say "      jobs once more, with a guard between executor and engine"
  LONGSHORE_TEST_GUARD=1 scripts/run-tests.py 2 --test pods --test outcomes --test checkouts || most=1
  exit $most
} 2>&1 | tee "$first_log" || status=1
wait "$beside" || status=1
if [ -n "$second" ]; then
  say "      on Docker $(DOCKER_HOST=$second docker version --format '{{.Server.Version}}')"
  cat "$second_log"
fi
nothing_left "$first" "$others" || status=1

step "Lints (clippy and rustdoc: warnings are errors), licences, sources, banned crates"
wait "$lints" || status=1
lints=
grep -v '^ *\(Compiling\|Checking\|Documenting\|Downloaded\) ' "$lints_log" || true

step "Done"
# The outputs are long: what failed is said once more where it is looked for first.
sed -n '/^--- .* failed:$/,/^---$/p' "$first_log" "$second_log"
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$first_log" "$second_log"
exit $status
