# What the verbs of ./dev share. Sourced, from the root of the repository.
# shellcheck shell=bash

# Progress for people goes to standard error.
say() { printf '\n== %s\n' "$*" >&2; }

# die CODE TEXT...: ends the verb.
die() {
  local code=$1
  shift
  printf './dev: %s\n' "$*" >&2
  exit "$code"
}

# The Python of Debian (another one earlier in PATH lacks the packages that setup installs).
python() {
  if [[ -x /usr/bin/python3 ]]; then /usr/bin/python3 "$@"; else python3 "$@"; fi
}

# build_preset PRESET [TARGET...]: configures if needed and compiles.
build_preset() {
  local preset=$1
  shift
  local dir=build/$preset
  if [[ ! -f $dir/build.ninja || CMakePresets.json -nt $dir/build.ninja ]]; then
    say "configuring $dir"
    cmake --preset "$preset" >&2
  fi
  say "building $dir ${*:-(all)}"
  ninja -C "$dir" ${NARTHEX_JOBS:+-j "$NARTHEX_JOBS"} "$@" >&2
}
