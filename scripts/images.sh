#!/usr/bin/env bash
# Makes the images that the demo, the tests and the bench run jobs in, without any registry:
#   longshore-test/busybox    a static busybox with its applets
#   longshore-test/no-shell   a program and nothing else: no /bin/sh
#   longshore/debian:bookworm Debian 12 with git and python3, made by mmdebstrap; also the demo's git host
#   longshore-test/docker     Debian 12 with clients of Docker's: its command line, docker-compose, docker-py, testcontainers
#   longshore-test/postgres   PostgreSQL of Debian 12, with an entrypoint like the public image's
#   longshore-test/redis      Redis, in the same way
#   longshore-test/clients    the same file system for jobs: Python with psycopg, Node with ioredis
# Usage: images.sh [busybox] [no-shell] [debian] [docker] [services]   (all of them where none is named)
# They go to the engine that DOCKER_HOST names. An image whose label says that it was made from the same recipe is kept.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

busybox=$(command -v busybox) || die "there is no busybox here: run scripts/setup.sh first"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# import IMAGE HASH TAR CHANGE...: imports the tar as an image with the label of its recipe.
import() {
  local image=$1 hash=$2 tar=$3 change
  local -a changes=(--change "LABEL longshore.recipe=$hash")
  shift 3
  for change in "$@"; do changes+=(--change "$change"); done
  docker import "${changes[@]}" "$tar" "$image" >/dev/null
  say "      $image: made"
}

# minimal_etc DIR: writes the two users that the tests expect.
minimal_etc() {
  mkdir -p "$1/etc" "$1/root"
  printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'tester:x:1234:1234:a user of the tests:/home/tester:/bin/sh' >"$1/etc/passwd"
  printf '%s\n' 'root:x:0:' 'tester:x:1234:' 'extra:x:1235:tester' >"$1/etc/group"
}

make_busybox() {
  local image=longshore-test/busybox:latest dir=$scratch/busybox hash applet
  hash=$(recipe_hash "$busybox" "$(declare -f make_busybox minimal_etc)")
  if image_is_current "$image" "$hash"; then return; fi
  mkdir -p "$dir"/{bin,usr,home/tester}
  install -d -m 1777 "$dir/tmp"
  minimal_etc "$dir"
  cp "$busybox" "$dir/bin/busybox"
  for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$dir/bin/$applet"; done
  ln -s ../bin "$dir/usr/bin"
  tar -C "$dir" --numeric-owner --owner=0 --group=0 -cf "$scratch/busybox.tar" .
  import "$image" "$hash" "$scratch/busybox.tar" 'ENV PATH=/usr/local/bin:/usr/bin:/bin' 'CMD ["sh"]'
}

make_no_shell() {
  local image=longshore-test/no-shell:latest dir=$scratch/no-shell hash
  hash=$(recipe_hash "$busybox" "$(declare -f make_no_shell minimal_etc)")
  if image_is_current "$image" "$hash"; then return; fi
  mkdir -p "$dir/bin"
  minimal_etc "$dir"
  # busybox is what its name says: here only `true`.
  cp "$busybox" "$dir/bin/true"
  tar -C "$dir" --numeric-owner --owner=0 --group=0 -cf "$scratch/no-shell.tar" .
  import "$image" "$hash" "$scratch/no-shell.tar" 'ENV PATH=/bin' 'CMD ["true"]'
}

make_debian() {
  local image=longshore/debian:bookworm hash
  hash=$(recipe_hash "$(declare -f make_debian)")
  if image_is_current "$image" "$hash"; then return; fi
  debian_tarball "debian-$hash" bookworm --variant=minbase --include=git,ca-certificates,python3 \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
  import "$image" "$hash" "target/images/debian-$hash.tar" \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'CMD ["bash"]'
}

make_docker() {
  local image=longshore-test/docker:latest hash wheel
  hash=$(recipe_hash "$(declare -f make_docker)")
  if image_is_current "$image" "$hash"; then return; fi
  # Debian has its dependencies, and not testcontainers itself.
  wheel=$scratch/wheel
  mkdir -p "$wheel/files"
  quietly testcontainers curl -fsSL --retry 3 -o "$wheel/testcontainers.whl" \
    https://files.pythonhosted.org/packages/80/77/5ac0dff2903a033d83d971fd85957356abdb66a327f3589df2b3d1a586b4/testcontainers-4.8.2-py3-none-any.whl
  echo "9e19af077cd96e1957c13ee466f1f32905bc6c5bc1bc98643eb18be1a989bfb0  $wheel/testcontainers.whl" | sha256sum --quiet -c -
  python3 -m zipfile -e "$wheel/testcontainers.whl" "$wheel/files"
  tar -C "$wheel/files" --numeric-owner --owner=0 --group=0 -cf "$wheel/files.tar" .
  debian_tarball "docker-$hash" bookworm --variant=minbase \
    --include=docker.io,docker-compose,python3-docker,python3-wrapt,python3-dotenv,python3-typing-extensions \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/sbin/dockerd' --dpkgopt='path-exclude=/usr/bin/containerd*' --dpkgopt='path-exclude=/usr/sbin/runc' \
    --customize-hook="tar-in $wheel/files.tar /usr/lib/python3/dist-packages"
  import "$image" "$hash" "target/images/docker-$hash.tar" \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'CMD ["bash"]'
}

# node_module DIR PACKAGE VERSION: unpacks a package of npm's registry. No npm is needed for that.
node_module() {
  local dir=$1/srv/node_modules/$2 file=$2-$3
  mkdir -p "$dir"
  quietly "npm-${file//\//-}" curl -fsSL --retry 3 -o "$scratch/module.tgz" "https://registry.npmjs.org/$2/-/${file##*/}.tgz"
  tar -C "$dir" --strip-components=1 -xzf "$scratch/module.tgz"
}

make_services() {
  local name=longshore-test hash dir=$scratch/services module
  local -a modules=(ioredis@5.4.1 @ioredis/commands@1.2.0 cluster-key-slot@1.1.2 debug@4.3.7 denque@2.1.0 lodash.defaults@4.2.0
    lodash.isarguments@3.1.0 ms@2.1.3 redis-errors@1.2.0 redis-parser@3.0.0 standard-as-callback@2.1.0)
  hash=$(recipe_hash "$(declare -f make_services node_module)")
  if ! image_is_current "$name/clients:latest" "$hash"; then
    if [ ! -s "target/images/services-$hash.tar" ]; then
      mkdir -p "$dir"
      for module in "${modules[@]}"; do node_module "$dir" "${module%@*}" "${module##*@}"; done
      debian_tarball "services-$hash" bookworm --variant=minbase \
        --include=postgresql,redis-server,python3-psycopg,nodejs --customize-hook="sync-in $dir /" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
    fi
    import "$name/clients:latest" "$hash" "target/images/services-$hash.tar" 'ENV NODE_PATH=/srv/node_modules' \
      'ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'CMD ["bash"]'
  fi
  service postgres postgres 5432 'ENV PGDATA=/var/lib/postgresql/data'
  service redis redis-server 6379
}

# service NAME COMMAND PORT [LINE]: makes longshore-test/NAME of the clients' image, with the entrypoint in docker/.
service() {
  docker build -q -t "longshore-test/$1" -f - docker >/dev/null 2>&1 <<END
FROM longshore-test/clients
COPY $1-entrypoint.sh /usr/local/bin/
ENTRYPOINT ["$1-entrypoint.sh"]
CMD ["$2"]
EXPOSE $3
${4:-}
END
}

[ $# -gt 0 ] || set -- busybox no-shell debian docker services
for wanted in "$@"; do
  case $wanted in
    busybox) make_busybox ;;
    no-shell) make_no_shell ;;
    debian) make_debian ;;
    docker) make_docker ;;
    services) make_services ;;
    *) die "images.sh knows busybox, no-shell, debian, docker and services, not '$wanted'" ;;
  esac
done
