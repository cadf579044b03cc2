#!/usr/bin/env bash
# Runs ./run.sh and ./test.sh on a bare Debian, as the README promises.
# usage: local/try-debian.sh [SUITE...]
#
# The default is 12 (bookworm) and 13 (trixie). Needs root and debootstrap on a Debian machine, whose
# package archive, pip settings and certificates it uses. Tries the last commit. A system on which
# something failed stays in .local/debian.
set -euo pipefail

readonly SERVE_SECONDS=600
readonly NEEDED=ca-certificates,curl,git,procps,python3

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints the address of the archive that this machine's apt uses.
archive() {
  local all
  all=$(apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' | grep -v security)
  printf '%s\n' "${all%%$'\n'*}"
}

# usage: make_system SUITE FOLDER
make_system() {
  local suite=$1 folder=$2 file
  [[ -e $folder/etc/debian_version ]] ||
    debootstrap --variant=minbase --include="$NEEDED" "$suite" "$folder" "$(archive)"
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip /etc/resolv.conf; do
    [[ ! -e $file ]] || cp -r --dereference --parents "$file" "$folder"
  done
  rm -rf "$folder/project"
  git clone --quiet "$PWD" "$folder/project"
  mkdir -p "$folder/dev/shm"
  # Every installation has it; debootstrap leaves it to Debian's installer.
  printf '127.0.0.1 localhost\n' >"$folder/etc/hosts"
}

# usage: inside FOLDER COMMAND...
# Runs a command in the system, with a plain shell's environment and this machine's pip settings.
# The mounts are in a namespace of their own and end with it.
inside() {
  local folder=$1 settings
  shift
  mapfile -t settings < <(env | grep -E '^(PIP_|SSL_CERT|REQUESTS_CA|[a-zA-Z]+_(proxy|PROXY)=)')
  # shellcheck disable=SC2016 # the inner shell expands these
  unshare --mount --pid --fork --kill-child bash -euc '
    folder=$1; shift
    mount -t proc proc "$folder/proc"
    mount --rbind /dev "$folder/dev"
    for wheels in ${PIP_FIND_LINKS:-}; do
      mkdir -p "$folder$wheels" && mount --bind "$wheels" "$folder$wheels"
    done
    exec chroot "$folder" "$@"
  ' bash "$folder" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    "${settings[@]}" bash -c 'cd /project && exec "$@"' bash "$@"
}

# Waits until ./run.sh serves, asks for a report, and stops it. Runs inside the system.
try_run() {
  ./run.sh &
  local stack=$! waited=0
  until curl --silent --fail http://localhost:8080/quarterly-hired >report.txt; do
    kill -0 "$stack" || return 1
    ((waited++ < SERVE_SECONDS)) || return 1
    sleep 1
  done
  printf './run.sh served %s lines after %s s\n' "$(wc -l <report.txt)" "$waited"
  rm report.txt
  kill -TERM "$stack"
  wait "$stack"
}

# usage: try SUITE
try() {
  local folder=$PWD/.local/debian/$1
  mkdir -p "$folder"
  make_system "$1" "$folder"
  printf '\n== Debian %s: ./run.sh\n' "$(<"$folder/etc/debian_version")"
  inside "$folder" bash -euc "SERVE_SECONDS=$SERVE_SECONDS; $(declare -f try_run); try_run"
  printf '\n== Debian %s: ./test.sh\n' "$(<"$folder/etc/debian_version")"
  inside "$folder" ./test.sh
  rm -rf "$folder"
}

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  [[ $EUID -eq 0 ]] || die "root is needed: chroot and mount are root's"
  command -v debootstrap >/dev/null || die "please install debootstrap"
  (($#)) || set -- bookworm trixie
  local suite
  for suite in "$@"; do try "$suite"; done
}

main "$@"
