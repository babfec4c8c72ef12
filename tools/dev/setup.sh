#!/usr/bin/env bash
# ./dev setup: installs what building, running and testing Narthex need, on Debian 12.
#
# Debian packages are those of tools/setup/debian-packages.txt. Google's API definitions (google/rpc,
# google/longrunning) come from PyPI into .deps/, checked by digest; so does buf, the linter of API definitions, from
# npm, on machines that have npm (without it `./dev check` leaves that check out and says so). Does nothing, and
# asks for no password, when all is there. Run it as root, or as a user who may use sudo.
#
#   ./dev setup            install
#   ./dev setup --list     print what is missing, install nothing; exit code 1 if anything is
set -euo pipefail
source tools/dev/lib.sh

googleapis="googleapis-common-protos==1.63.2"
googleapis_sha256=27a2499c7e8aff199665b22741997e485eccc8645aa9176c7c988e6fae507945

buf_version=1.75.0
declare -A buf_sha512=(
  [x64]=YGGJAx0lpMCE7aMWjNOJcfoEaG/e+iYHnTC4SZ0P5eS4IffMryA9Z4/bb1m1wNXAEJ8ATFMEZOAk/5x9VE47ig==
  [aarch64]=eX+XyokzJDqsNIFo8b1O3DBvbnksOozPJX4QVsNn61JqSUtWspyTNeYqwg8lRDancML+bDqZEDFPABjAsVCQGQ==
)

missing_packages() {
  local wanted
  mapfile -t wanted < <(grep -Ev '^(#|$)' tools/setup/debian-packages.txt)
  # shellcheck disable=SC2016 # the format is dpkg-query's, not the shell's
  comm -23 <(printf '%s\n' "${wanted[@]}" | sort) \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p' | sort -u)
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die 1 "not root and no sudo; as root, run: $*"
  fi
}

apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2; }

install_packages() {
  local packages=("$@")
  say "installing ${#packages[@]} Debian packages"
  as_root apt-get update -q >&2
  if [[ " ${packages[*]} " == *" postgresql "* ]]; then
    # Narthex runs a cluster of its own; Debian's default one would only take a port and memory.
    apt_install postgresql-common
    as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  fi
  apt_install "${packages[@]}"
  if [[ " ${packages[*]} " == *" orthanc "* ]] && command -v systemctl >/dev/null; then
    as_root systemctl disable --now orthanc >/dev/null 2>&1 || true # the tests start their own, on ports of their own
  fi
}

install_googleapis() {
  say "fetching $googleapis"
  local partial=.deps/googleapis.partial
  rm -rf "$partial" .deps/googleapis && mkdir -p "$partial"
  python -m pip download -q --no-deps --no-binary :none: --require-hashes -d "$partial" \
    -r <(echo "$googleapis --hash=sha256:$googleapis_sha256") >&2
  python -m zipfile -e "$partial"/*.whl "$partial"
  rm "$partial"/*.whl
  mv "$partial" .deps/googleapis # only now complete
}

# Optional: what goes wrong here is said and left.
install_buf() {
  local arch partial=.deps/buf.partial
  arch=$(uname -m | sed 's/x86_64/x64/')
  say "fetching buf $buf_version"
  rm -rf "$partial" .deps/buf && mkdir -p "$partial"
  (
    cd "$partial" && npm pack --silent "@bufbuild/buf-linux-$arch@$buf_version" >/dev/null 2>&1 &&
      [[ $(openssl dgst -sha512 -binary ./*.tgz | base64 -w0) == "${buf_sha512[$arch]:-unknown}" ]] &&
      tar -xzf ./*.tgz --strip-components=1 package/bin/buf
  ) || { echo "buf could not be fetched or fails its digest; going on without it" >&2 && return; }
  mv "$partial" .deps/buf
}

mapfile -t missing < <(missing_packages)
[[ -f .deps/googleapis/google/longrunning/operations.proto ]] && have_googleapis=yes || have_googleapis=no

case "${1:-}" in
  "") ;;
  --list)
    ((${#missing[@]} == 0)) || printf '%s\n' "${missing[@]}"
    [[ $have_googleapis == yes ]] || echo "$googleapis"
    [[ ${#missing[@]} == 0 && $have_googleapis == yes ]]
    exit
    ;;
  *) die 64 "setup does not know '$1'; ./dev setup --help" ;;
esac

((${#missing[@]} == 0)) || install_packages "${missing[@]}"
[[ $have_googleapis == yes ]] || install_googleapis
[[ -x .deps/buf/bin/buf ]] || ! command -v npm >/dev/null || install_buf
