#!/usr/bin/env bash
# Builds the local system into the named file and shows that it is at work: with
# empty caches Go downloads and compiles for some minutes.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-bin/postbus}
log=$out.log
command -v go >/dev/null || { echo "postbus: needs Go 1.26, which is not in PATH: https://go.dev/dl" >&2; exit 1; }
mkdir -p "$(dirname "$out")" && : >"$log" || exit 1

# -v prints a package as soon as it is compiled. The build is a process group of
# its own (-m), so that a Ctrl-C ends its compilers too. Git is not asked for a
# version: it refuses in a checkout of another user.
set -m
go build -v -buildvcs=false -o "$out" ./deploy/local >"$log" 2>&1 </dev/null &
build=$!
set +m
# A shell that is just about to start a program may miss a signal: it is told
# again, and ended if it does not listen.
stop() {
  for _ in 1 2 3 4 5; do
    kill -INT -- -$build 2>/dev/null
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $build 2>/dev/null || exit 130; sleep 0.1; done
  done
  kill -KILL -- -$build 2>/dev/null
  exit 130
}
trap stop INT TERM

progress() {
  local text="postbus: building"
  [ -s "$log" ] && text+=", $1 s, compiled: $(grep -vc '^go: ' "$log"), last: $(tail -n 1 "$log" | cut -c1-60)"
  # In a terminal the line is written over; elsewhere each one stays.
  if [ -t 1 ]; then printf '\r\033[K%s' "$text"; else printf '%s\n' "$text"; fi
}

SECONDS=0 next=0
while kill -0 $build 2>/dev/null; do
  if [ $SECONDS -ge $next ]; then progress $SECONDS; next=$((SECONDS + 2)); fi
  sleep 0.1
done
[ -t 1 ] && printf '\r\033[K'
wait $build || { cat "$log" >&2; echo "postbus: the build failed" >&2; exit 1; }
