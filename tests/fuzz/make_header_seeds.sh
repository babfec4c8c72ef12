#!/bin/sh
# Makes seeds for header_scanner_fuzzer: make_header_seeds.sh FOLDER_OF_IMAGES OUT
# Each is an option byte (see the fuzzer) and the first 16 KiB of a file.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 FOLDER_OF_IMAGES OUT" >&2; exit 64; }
mkdir -p "$2"
number=0
find "$1" -type f -size -4096k | sort | while IFS= read -r file; do
  number=$((number + 1))
  case $((number % 3)) in
    0) printf '\000' ;;
    1) printf '\001' ;;
    *) printf '\003' ;;
  esac > "$2/$number"
  head -c 16384 "$file" >> "$2/$number"
done
