#!/usr/bin/env bash
# ./dev bench [NAME...]: builds the release preset and measures.
#
#   ./dev bench                 every micro-benchmark (one per module, Google Benchmark)
#   ./dev bench staging         one of them
#   ./dev bench --system ...    the whole server beside its peers: tools/bench, which gets the other arguments
#   ./dev bench --system --quick   a tenth of the data, one round
#
# Numbers that are quoted anywhere name the machine and this command.
set -euo pipefail
source tools/dev/lib.sh

bash tools/dev/setup.sh
if [[ ${1:-} == --system ]]; then
  shift
  [[ -x tools/bench/run ]] || die 1 "tools/bench/run is not there"
  build_preset release
  exec tools/bench/run "$@"
fi
names=("$@")
build_preset release "${names[@]/%/_benchmark}"
if ((${#names[@]} == 0)); then
  mapfile -t names < <(find build/release/bin -name '*_benchmark' -printf '%f\n' | sed 's/_benchmark$//' | sort)
fi
for name in "${names[@]}"; do
  say "$name"
  "build/release/bin/${name}_benchmark"
done
