#!/usr/bin/env bash
# run_test.sh COMMAND...: runs a test; with CI=true a test that skipped anything fails, because a skip that nobody
# sees is a hole. A skip is a line of GoogleTest ("[  SKIPPED ] ...") or of a script ("SKIPPED: why").
set -uo pipefail

if [[ ${CI:-} != true ]]; then
  exec "$@"
fi
output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$@" 2>&1 | tee "$output"
status=${PIPESTATUS[0]}
if ((status == 0)) && grep -Eq '^(\[  SKIPPED \]|SKIPPED:)' "$output"; then
  echo "CI: the test skipped something, see above; install what it misses or remove it" >&2
  exit 1
fi
exit "$status"
