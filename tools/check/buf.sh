#!/usr/bin/env bash
# buf.sh: lint and format of the API definitions (buf.yaml). buf.sh --write formats them.
# buf comes with ./dev setup where npm is; without it nothing is checked, and that is said.
set -euo pipefail
cd "$(dirname "$0")/../.."

buf=.deps/buf/bin/buf
if [[ ! -x $buf ]]; then
  echo "not checked: buf is not installed (install npm, then ./dev setup)"
  exit 0
fi
if [[ ${1:-} == --write ]]; then
  exec "$buf" format --write proto
fi
"$buf" lint proto
"$buf" format --diff --exit-code proto || { echo "To put it right: ./dev fix" >&2 && exit 1; }
