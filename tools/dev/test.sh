#!/usr/bin/env bash
# ./dev test [--all] [--preset PRESET] [NAME...]: installs, builds and runs the tests.
#
#   ./dev test                 all but the slow ones
#   ./dev test --all           the slow ones too
#   ./dev test base layering   only these (names as in `ctest -N`; regular expressions)
#   ./dev test --preset asan   with a sanitizer
#
# In CI (CI=true) a skipped test is a failure. The last lines are ctest's summary.
set -euo pipefail
source tools/dev/lib.sh

preset=dev
select=(-LE slow)
names=()
while (($#)); do
  case "$1" in
    --all) select=() ;;
    --preset) preset=${2:?--preset needs a name} && shift ;;
    -*) die 64 "test does not know '$1'; ./dev test --help" ;;
    *) names+=("$1") ;;
  esac
  shift
done
((${#names[@]} == 0)) || select=(-R "^($(IFS='|' && echo "${names[*]}"))\$")

bash tools/dev/setup.sh

# Builds only what the named tests need, if that is known of each: a target NAME_test, or nothing (the checks).
targets=()
if ((${#names[@]})) && [[ -f build/$preset/build.ninja ]]; then
  known=$(ninja -C "build/$preset" -t targets all)
  checks=$(ctest --test-dir "build/$preset" -N -L '^check$')
  targets=(build.ninja)
  for name in "${names[@]}"; do
    if grep -q "^${name}_test: phony" <<<"$known"; then
      targets+=("${name}_test")
    elif ! grep -q ": $name\$" <<<"$checks"; then
      targets=()
      break
    fi
  done
fi
build_preset "$preset" "${targets[@]}"

say "testing"
log=build/$preset/ctest.log
status=0
ctest --test-dir "build/$preset" --output-on-failure -j2 --no-tests=error "${select[@]}" | tee "$log" || status=$?

summary() { sed -n '/% tests passed/,$p' "$log"; }
skipped=$(grep -hE '^(\[  SKIPPED \]|SKIPPED:)' "build/$preset/Testing/Temporary/LastTest.log" | sort -u) || true
if [[ -n $skipped ]]; then
  printf '\nSkipped (in CI each would be a failure):\n%s\n\n' "$skipped"
fi
if ((status)); then
  printf '\nTo run a failed test again:  ./dev test NAME     one case of it:  build/%s/bin/NAME_test --gtest_filter=...\n' "$preset"
  printf 'What each is for: docs/testing.md\n\n'
fi
[[ -z $skipped && $status == 0 ]] || summary
exit "$status"
