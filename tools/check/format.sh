#!/usr/bin/env bash
# format.sh [--write]: C++ as clang-format 14 writes it (.clang-format). To put it right: ./dev fix
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ ${1:-} == --write ]]; then
  git ls-files -z -- '*.h' '*.cc' | xargs -0 -n 20 -P 2 clang-format-14 -i
  exit
fi
changed=$(git ls-files -z -- '*.h' '*.cc' | xargs -0 -n 20 -P 2 clang-format-14 --dry-run 2>&1 |
  sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: warning: code should be clang-formatted.*/\1/p' | sort | uniq -c) || true
if [[ -n $changed ]]; then
  printf 'places  file that clang-format would change\n%s\nTo put it right: ./dev fix\n' "$changed" >&2
  exit 1
fi
