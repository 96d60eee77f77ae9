#!/usr/bin/env bash
# The demo: builds Longshore and its image, starts it as the README says, starts a git host beside it with one
# repository, registers that, pushes a commit over HTTP, and follows the build that the push's webhook starts. Ends with
# the server's address as the last line, or with the build's exit code if it is not green. Safe to repeat: a newer image
# replaces the container, data stay. `make down` removes all of it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # read by step
steps=8
state=$root/target/up
git_host=longshore-demo-git

# ours KIND NAME: fails if a container or volume of that name exists that `make up` did not make.
ours() {
  local label
  if [ "$1" = container ]; then
    label=$(docker container inspect --format '{{index .Config.Labels "longshore.demo"}}' "$2" 2>/dev/null) || return 0
  else
    label=$(docker volume inspect --format '{{index .Labels "longshore.demo"}}' "$2" 2>/dev/null) || return 0
  fi
  case $label in
    '' | '<no value>') die "there is a $1 named $2 that 'make up' did not make; it is left alone: rename or remove it, then start again" ;;
  esac
}

# port_of CONTAINER PORT: prints the host's port for it; empty if the container does not run.
port_of() { { docker port "$1" "$2" 2>/dev/null || true; } | sed -n '1s/.*:\([0-9]*\)$/\1/p'; }
address_of() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$1" | awk '{ print $1 }'; }
port_is_free() { python3 -c 'import socket, sys; socket.create_server(("0.0.0.0", int(sys.argv[1])))' "$1" 2>/dev/null; }

# the_log CONTAINER: prints its last lines, for an error.
the_log() { docker logs --tail 30 "$1" >&2 || true; }

step "Setting up"
scripts/setup.sh
mkdir -p "$state"
ours container longshore
ours container "$git_host"
ours volume longshore
ours volume "$git_host"

step "Building the program"
scripts/build.sh

step "Making the images"
scripts/images.sh busybox debian
scripts/image.sh longshore:latest

step "Starting Longshore in its container"
port=$(port_of longshore 8080/tcp)
# TERM first: running jobs go on, and the next container adopts them.
docker stop longshore >/dev/null 2>&1 || true
docker rm -f longshore >/dev/null 2>&1 || true
if [ -z "$port" ]; then
  port=8080
  until port_is_free "$port"; do
    say "      port $port is taken"
    port=$((port + 1))
  done
fi
docker volume create --label longshore.demo=data longshore >/dev/null
other_port=()
[ "$port" = 8080 ] || other_port=(-e "LONGSHORE_URL=http://localhost:$port")
docker run -d --name longshore --label longshore.demo=server -p "$port:8080" \
  -v "$(docker_socket):/var/run/docker.sock" -v longshore:/var/lib/longshore \
  "${other_port[@]}" longshore >/dev/null
url=http://localhost:$port
ready() { curl -fsS --noproxy '*' --max-time 5 "$url/readyz" >/dev/null 2>&1; }
if ! wait_until 60 ready; then
  the_log longshore
  die "Longshore is not ready after 60 s"
fi
# The server's instance name, for `make down`.
demo_instance >"$state/instance"
LONGSHORE_TOKEN=$(docker exec longshore cat /var/lib/longshore/admin-token)
export LONGSHORE_TOKEN LONGSHORE_URL=$url
say "      $url answers"

step "Starting a git host"
docker rm -f "$git_host" >/dev/null 2>&1 || true
docker volume create --label longshore.demo=git "$git_host" >/dev/null
docker create --name "$git_host" --label longshore.demo=git -p 127.0.0.1::8000 -v "$git_host:/srv/git" \
  longshore/debian:bookworm python3 /usr/local/bin/git-http.py --root /srv/git --listen 0.0.0.0:8000 --allow-push >/dev/null
docker cp scripts/git-http.py "$git_host:/usr/local/bin/git-http.py"
docker start "$git_host" >/dev/null
on_git_host() { docker exec -i "$git_host" "$@"; }
on_git_host test -d /srv/git/hello.git || on_git_host git init --quiet --bare --initial-branch main /srv/git/hello.git
git_url=http://127.0.0.1:$(port_of "$git_host" 8000/tcp)/hello.git
git_answers() { git ls-remote "$git_url" >/dev/null 2>&1; }
if ! wait_until 20 git_answers; then
  the_log "$git_host"
  die "the git host does not answer at $git_url"
fi
say "      $git_url"

step "Registering the repository"
longshore() { "$release_program" "$@"; }
clone_url=http://$(address_of "$git_host"):8000/hello.git
on_the_host() { on_git_host git -C /srv/git/hello.git config "$@"; }
if repo=$(longshore repo show hello --json 2>/dev/null) && on_the_host longshore.hook-secret >/dev/null; then
  # The containers' addresses change with each start.
  curl -fsS --noproxy '*' -X PATCH -H @- -H 'Content-Type: application/json' --data "{\"clone_url\": \"$clone_url\"}" \
    "$url/api/v1/repos/$(jq -r .id <<<"$repo")" <<<"Authorization: Bearer $LONGSHORE_TOKEN" >/dev/null
else
  longshore repo remove --yes hello >/dev/null 2>&1 || true
  repo=$(longshore repo add hello "$clone_url" --json)
  on_the_host longshore.hook-secret "$(jq -r .hook_secret <<<"$repo")"
fi
repo_id=$(jq -r .id <<<"$repo")
on_the_host longshore.hook-url "http://$(address_of longshore):8080/hooks/$repo_id"
say "      hello, cloned from $clone_url"

step "Pushing a commit"
work=$state/hello
rm -rf "$work"
git clone --quiet "$git_url" "$work" 2>/dev/null
cp -r examples/hello/. "$work"
in_work() { git -C "$work" -c user.name='Longshore demo' -c user.email=demo@localhost -c commit.gpgsign=false "$@"; }
in_work checkout --quiet -B main
in_work add --all
in_work commit --quiet --allow-empty --message "Say hello ($(date +%H:%M:%S))"
in_work push --quiet origin main
commit=$(in_work rev-parse HEAD)

step "The build of ${commit:0:10}, live"
api() { curl -fsS --noproxy '*' -H @- "$url/api/v1/$1" <<<"Authorization: Bearer $LONGSHORE_TOKEN"; }
the_build() {
  build=$(api "repos/$repo_id/builds?limit=20" | jq -r --arg commit "$commit" '[.items[] | select(.commit == $commit)][0].id // empty')
  [ -n "$build" ]
}
build=
if ! wait_until 30 the_build; then
  api "repos/$repo_id/deliveries?limit=3" | jq . >&2 || true
  the_log longshore
  die "the push became no build within 30 s"
fi
status=0
longshore build logs --follow "$build" || status=$?
longshore build show "$build"
if ((status != 0)); then
  say "the build is not green (exit code $status); Longshore runs on at $url"
  exit "$status"
fi
say ""
say "Longshore runs in the container 'longshore'; its first token: docker exec longshore cat /var/lib/longshore/admin-token"
printf '%s\n' "$url"
