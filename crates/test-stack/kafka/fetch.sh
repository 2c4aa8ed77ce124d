#!/usr/bin/env bash
# Copies the jars of the broker that tests start into the cache folder, once. Where they come from
# is Maven's own setting.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
version="$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' pom.xml)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/foreshock"
target="$cache/kafka-$version"
[ -d "$target" ] && exit 0
mkdir -p "$cache"
partial="$(mktemp -d "$cache/.kafka-XXXXXX")"
trap 'rm -rf "$partial"' EXIT
mvn --batch-mode --quiet --file pom.xml dependency:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$partial/jars"
# All at once, or not at all.
mv "$partial/jars" "$target"
