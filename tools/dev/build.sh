#!/usr/bin/env bash
# ./dev build [PRESET] [TARGET...]: compiles into build/PRESET; programs are in build/PRESET/bin.
#
#   ./dev build                     preset dev: quick to compile, with assertions
#   ./dev build release             narthexd, narthex and narthex-gateway as they are shipped
#   ./dev build asan base_test      one target; also tsan, fuzz (CMakePresets.json)
#
# NARTHEX_JOBS=N limits how many compilers run at once.
set -euo pipefail
source tools/dev/lib.sh

preset=dev
if [[ ${1:-} =~ ^(dev|release|asan|tsan|fuzz)$ ]]; then
  preset=$1
  shift
fi
bash tools/dev/setup.sh
build_preset "$preset" "$@"
