#!/bin/sh
# The entrypoint of the tests' Redis: becomes its own user, as the public image's does.
set -eu
case ${1:-} in
  '' | -*) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
[ "$1" != redis-server ] || set -- "$@" --protected-mode no --bind '* -::*' --dir /tmp
exec "$@"
