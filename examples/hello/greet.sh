#!/bin/sh
# Greets slowly, so that there is something to follow live.
set -eu
case $1 in
  english) words="good morning, harbour" ;;
  spanish) words="buenos dias, puerto" ;;
  *) echo "unknown language: $1" >&2; exit 1 ;;
esac
for word in $words; do
  echo "$word"
  sleep 0.5
done
