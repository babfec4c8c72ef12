#!/usr/bin/env bash
# ./dev run [--once] [--data-dir DIR] [--preset PRESET]: the demonstration.
#
# Installs what is missing, builds, and starts a server (with a PostgreSQL and a DICOM gateway of its own). Makes two
# small studies, pushes one over DICOM and uploads the other, archives both, prints what happened and how to look
# further, and serves until Ctrl-C.
#
#   --once           stop after the demonstration; exit code 0 if both studies were archived, else 1
#   --data-dir DIR   keep everything in DIR and go on with what is there (else: a new folder, removed at the end)
#   --preset PRESET  which build to run (dev)
set -euo pipefail
source tools/dev/lib.sh

preset=dev
arguments=()
while (($#)); do
  case "$1" in
    --once) arguments+=(--once) ;;
    --data-dir)
      arguments+=(--data-dir "$(cd "$NARTHEX_CALLER_DIR" && realpath -m "${2:?--data-dir needs a folder}")")
      shift
      ;;
    --preset) preset=${2:?--preset needs a name} && shift ;;
    *) die 64 "run does not know '$1'; ./dev run --help" ;;
  esac
  shift
done

bash tools/dev/setup.sh
build_preset "$preset" narthexd narthex narthex-phantom narthex-pixels
python tools/dev/demo.py --bin "$PWD/build/$preset/bin" "${arguments[@]}"
