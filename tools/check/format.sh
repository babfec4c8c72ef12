#!/usr/bin/env bash
# format.sh [--write]: C++ as clang-format 14 writes it (.clang-format). To put it right: ./dev fix
set -euo pipefail
cd "$(dirname "$0")/../.."

mode=(--dry-run -Werror)
[[ ${1:-} != --write ]] || mode=(-i)
git ls-files -z -- '*.h' '*.cc' | xargs -0 -n 20 -P 2 clang-format-14 "${mode[@]}" ||
  { echo "To put it right: ./dev fix" >&2 && exit 1; }
