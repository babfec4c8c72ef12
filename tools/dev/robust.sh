#!/usr/bin/env bash
# ./dev robust [--cycles N | --every | --soak SECONDS] [--seed N] [NAME...]: crash tests of real servers, at any size.
# NAME is one of kill9, crash_points, others_die, power_loss, backup_cuts, sql_faults, io_faults (without NAME: all of them, N
# cycles each, 100 if not said).
#
#   ./dev robust --cycles 1000 kill9
#   ./dev robust --every sql_faults      every call to PostgreSQL, instead of so many; io_faults: on files
#   ./dev robust --soak 3600
#
# What a violation leaves is kept, and the seed is printed; docs/durability.md says what is checked.
set -euo pipefail
source tools/dev/lib.sh

cycles=100
every=
soak=
more=()
names=()
while (($#)); do
  case "$1" in
    --cycles) cycles=${2:?--cycles needs a number} && shift ;;
    --every) every=1 ;;
    --soak) soak=${2:?--soak needs seconds} && shift ;;
    --seed) more=(--seed "${2:?--seed needs a number}") && shift ;;
    -*) die 64 "robust does not know '$1'; ./dev robust --help" ;;
    *) names+=("$1") ;;
  esac
  shift
done

bash tools/dev/setup.sh
build_preset dev narthexd narthex narthex-gateway narthex-verify narthex-phantom io_faults
export NARTHEX_BIN=$PWD/build/dev/bin
if [[ -n $soak ]]; then
  python -W ignore -B tests/robustness/soak.py --seconds "$soak" "${more[@]}"
  exit
fi
((${#names[@]})) || names=(kill9 crash_points others_die power_loss backup_cuts sql_faults io_faults)
for name in "${names[@]}"; do
  say "$name, $cycles cycles"
  count=(--cycles "$cycles")
  [[ $name != crash_points ]] || count=(--rounds "$(((cycles + 12) / 13))")
  [[ $name != *_faults || -z $every ]] || count=(--every)
  python -W ignore -B "tests/robustness/$name.py" "${count[@]}" "${more[@]}"
done
