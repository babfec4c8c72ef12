#!/usr/bin/env bash
# ./dev proto: lints the API definitions in proto/, says what breaks clients of origin/main, generates the C++ code
# (into build/dev/gen) and docs/errors.md.
set -euo pipefail
source tools/dev/lib.sh

bash tools/dev/setup.sh
tools/check/buf.sh
if [[ -x .deps/buf/bin/buf ]] && git rev-parse -q --verify origin/main >/dev/null; then
  say "what would break clients of origin/main"
  before=build/proto-before
  rm -rf "$before" && mkdir -p "$before"
  git archive origin/main proto buf.yaml | tar -x -C "$before"
  ln -s "$PWD/.deps" "$before/.deps"
  .deps/buf/bin/buf breaking proto --against "$before/proto"
fi
build_preset dev narthex_proto
python tools/check/reasons.py --write
