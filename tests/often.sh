#!/usr/bin/env bash
# `make test-often`: the quick tests under conditions that must not matter. Ends at the first run that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
ROUNDS=${ROUNDS:-10}
quick=("$PYTHON" -m pytest -q -m "not ops" -n auto --dist loadgroup)

say() { printf '\n== %s\n' "$*"; }

# pytest-randomly puts the tests of every run in another order, and says which.
say "another time zone"
TZ=Pacific/Apia "${quick[@]}"
say "no language"
LANG=C LC_ALL=C "${quick[@]}"
say "one after the other, in the order of the files"
"$PYTHON" -m pytest -q -m "not ops" -p no:randomly
if unshare -n true 2> /dev/null; then
  say "without a network"
  unshare -n sh -c 'ip link set lo up 2> /dev/null || true; exec "$@"' sh "${quick[@]}"
fi
if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null; then
  say "as a user without rights"
  home=$(mktemp -d)
  models=${DAWNCHORUS_MODELS:-$HOME/.cache/dawnchorus/models}
  if [ -d "$models" ]; then mkdir "$home/models" && cp -r "$models/." "$home/models/"; fi
  chown -R nobody "$home"
  setpriv --reuid nobody --clear-groups env HOME="$home" DAWNCHORUS_MODELS="$home/models" PYTHONDONTWRITEBYTECODE=1 \
    "${quick[@]}" -p no:cacheprovider --basetemp "$home/tmp"
  rm -rf "$home"
fi
if command -v stress-ng > /dev/null; then
  stress-ng --cpu 8 --timeout 0 > /dev/null 2>&1 &
  trap "kill $! 2> /dev/null" EXIT
  for round in $(seq "$ROUNDS"); do
    say "beside eight busy processes, round $round of $ROUNDS"
    "${quick[@]}"
  done
fi
