#!/usr/bin/env bash
# ./dev fuzz [--seconds N] [NAME...]: feeds the parsers mutated input (libFuzzer, address and undefined-behaviour
# sanitizers), N seconds each (60 if not said). Without NAME: every fuzzer in turn.
#
#   ./dev fuzz --seconds 600 header_scanner
#
# Start input: tests/fuzz/corpus/NAME, and what tests/fuzz/make_seeds.py makes of the real images in the folder that
# NARTHEX_SHARED names, or ../shared beside the checkout, if there (build/fuzz/seeds/NAME). New input is collected in build/fuzz/corpus/NAME; what crashes lies
# in build/fuzz/finds/NAME-*, and `build/fuzz/bin/NAME_fuzzer FILE` repeats it. Each find becomes a test.
set -euo pipefail
source tools/dev/lib.sh

seconds=60
names=()
while (($#)); do
  case "$1" in
    --seconds) seconds=${2:?--seconds needs a number} && shift ;;
    -*) die 64 "fuzz does not know '$1'; ./dev fuzz --help" ;;
    *) names+=("$1") ;;
  esac
  shift
done

bash tools/dev/setup.sh
build_preset fuzz "${names[@]/%/_fuzzer}"
if ((${#names[@]} == 0)); then
  mapfile -t names < <(find build/fuzz/bin -name '*_fuzzer' -printf '%f\n' | sed 's/_fuzzer$//' | sort)
fi
mkdir -p build/fuzz/finds
data=$(realpath -m "${NARTHEX_SHARED:-../shared}")/data
if [[ ! -d $data ]]; then
  say "no real images at $data: starting from tests/fuzz/corpus alone (set NARTHEX_SHARED)"
elif [[ ! -d build/fuzz/seeds ]]; then
  say "making seeds of $data"
  python tests/fuzz/make_seeds.py "$data" build/fuzz/seeds.part && mv build/fuzz/seeds.part build/fuzz/seeds
fi
for name in "${names[@]}"; do
  say "fuzzing $name for $seconds s"
  corpora=("build/fuzz/corpus/$name")
  mkdir -p "${corpora[0]}"
  [[ $name != type_file ]] || corpora+=(imaging/session/types)
  for folder in "tests/fuzz/corpus/$name" "build/fuzz/seeds/$name"; do
    [[ ! -d $folder ]] || corpora+=("$folder")
  done
  "build/fuzz/bin/${name}_fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/finds/$name-" "${corpora[@]}"
done
