#!/usr/bin/env bash
# ./dev check [--tidy | --tidy-all]: says what must be put right and with which command; changes nothing.
#
#   ./dev check              format, layers, style, error reasons, documents, API lint, shell scripts: seconds
#   ./dev check --tidy       also clang-tidy with thread-safety analysis, on the C++ sources that differ from origin/main
#                            (or, without that branch, from the commit before the last)
#   ./dev check --tidy-all   on all of them: minutes
#
# The quick part is also part of ./dev test (label `check` of ctest).
set -euo pipefail
source tools/dev/lib.sh

quick() {
  local failed=() name
  for name in layering style reasons documents evidence limits failures release; do
    say "$name"
    python "tools/check/$name.py" || failed+=("$name")
  done
  for name in format buf shell; do
    say "$name"
    "tools/check/$name.sh" || failed+=("$name")
  done
  ((${#failed[@]} == 0)) || { say "found something: ${failed[*]}" && return 1; }
}

changed_sources() {
  local base
  base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD~1)
  { git diff --name-only --diff-filter=d "$base" -- '*.cc' && git ls-files --others --exclude-standard -- '*.cc'; } | sort -u
}

tidy() {
  local files=("$@")
  say "clang-tidy on ${#files[@]} files"
  ((${#files[@]})) || return 0
  # Configured by clang, so that the flags are ones that clang-tidy knows; the generated headers are built, no more.
  cmake -S . -B build/tidy -G Ninja -DCMAKE_BUILD_TYPE=Dev -DNARTHEX_PCH=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
    -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 >/dev/null
  ninja -C build/tidy -t targets all | grep -oE '^[^ ]+\.pb\.h' | xargs ninja -C build/tidy >&2
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-14 -p build/tidy --quiet ||
    { echo "To put it right: edit, or NOLINTNEXTLINE(check): reason" >&2 && return 1; }
}

bash tools/dev/setup.sh
case "${1:-}" in
  "") quick ;;
  --tidy | --tidy-all)
    status=0
    quick || status=1
    if [[ $1 == --tidy ]]; then mapfile -t sources < <(changed_sources); else mapfile -t sources < <(git ls-files -- '*.cc'); fi
    tidy "${sources[@]}" || status=1
    exit "$status"
    ;;
  *) die 64 "check does not know '$1'; ./dev check --help" ;;
esac
