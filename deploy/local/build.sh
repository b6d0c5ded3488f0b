#!/usr/bin/env bash
# Builds bin/postbus and shows that it is at work: with empty caches the first
# build downloads and compiles for some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v go >/dev/null || { echo "postbus: Go 1.26 is needed and is not in PATH: https://go.dev/dl" >&2; exit 1; }
mkdir -p bin
log=bin/build.log
go build -v -o bin/postbus ./deploy/local >"$log" 2>&1 &
build=$!
trap 'kill $build 2>/dev/null || true' INT TERM
start=$SECONDS
while kill -0 $build 2>/dev/null; do
  for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; kill -0 $build 2>/dev/null || break; done
  took=$((SECONDS - start))
  [ $took -ge 2 ] && [ $((took % 2)) = 0 ] && printf 'postbus: compiling, %d s (minutes with empty caches, seconds later): %s\n' "$took" "$(tail -n 1 "$log" | cut -c1-80)"
done
wait $build || { cat "$log" >&2; echo "postbus: the build failed" >&2; exit 1; }
