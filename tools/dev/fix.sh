#!/usr/bin/env bash
# ./dev fix: puts right what a program can: formats C++ (clang-format 14) and API definitions (buf), and writes the
# files that are made from others (docs/errors.md).
set -euo pipefail
source tools/dev/lib.sh

bash tools/dev/setup.sh
tools/check/format.sh --write
tools/check/buf.sh --write
python tools/check/reasons.py --write
python tools/check/limits.py --write
say "what ./dev check still finds is for a person"
