# shellcheck shell=bash
# Sets up what run.sh, test.sh and .ci/run need: a virtual environment with the required packages,
# and a database server. Sourced from the project's folder; everything goes to .local/.

readonly LOCAL=.local
readonly VENV=$LOCAL/venv
readonly PYTHON=$VENV/bin/python

# usage: help_or_go_on ARGUMENT...
# With --help, prints the comment at the top of the script, and ends it.
help_or_go_on() {
  [[ ${1:-} == --help || ${1:-} == -h ]] || return 0
  awk 'NR > 1 { if (!sub(/^# ?/, "")) exit; print }' "${0##*/}"
  exit
}

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# usage: as_root COMMAND...
as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

# usage: install_packages PACKAGE...
# Installs Debian packages, or fails with a message that names them.
install_packages() {
  { command -v apt-get >/dev/null && as_root true 2>/dev/null; } ||
    die "please install $*, for example with: sudo apt-get install $*"
  printf 'installing %s ...\n' "$*" >&2
  {
    as_root apt-get -q update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"
  } </dev/null >"$LOCAL/apt.log" 2>&1 || {
    tail -n 20 "$LOCAL/apt.log" >&2
    die "could not install $*"
  }
}

check_python() {
  command -v python3 >/dev/null || die "python3 is missing; 3.11 or newer is needed"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is needed; python3 is $(python3 --version 2>&1)"
}

# Makes the virtual environment, or makes a new one if python3 has another version.
make_venv() {
  local version
  version=$(python3 --version)
  if [[ $(cat "$VENV/made-with" 2>/dev/null) == "$version" ]] && "$PYTHON" -c '' 2>/dev/null; then
    return
  fi
  # Debian keeps what venv needs in a package of its own.
  python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  printf 'making a virtual environment in %s ...\n' "$VENV" >&2
  python3 -m venv --clear "$VENV"
  printf '%s\n' "$version" >"$VENV/made-with"
}

# usage: install_requirements FILE
# Does nothing if FILE was installed before and has not changed.
install_requirements() {
  local stamp=$VENV/${1//\//-}
  if cmp -s "$1" "$stamp"; then return; fi
  printf 'installing %s ...\n' "$1" >&2
  # Python compiles what it imports; most of what is installed is never imported.
  local options=(--quiet --disable-pip-version-check --no-compile)
  # The lock of the deployed packages: pip installs only what matches its checksums.
  [[ $1 != *.lock ]] || options+=(--require-hashes)
  "$PYTHON" -m pip install "${options[@]}" -r "$1"
  cp "$1" "$stamp"
}

# The client package has a tool that creates a server's data folder.
install_mariadb() {
  install_packages mariadb-server-core mariadb-client-core
}

# Finds a database server or installs one; does not check a server that MYSQLD names.
ensure_database_server() {
  if [[ -n ${MYSQLD:-} ]] || "$PYTHON" -m local.database >/dev/null 2>&1; then return; fi
  install_mariadb
}

# Installs Chromium, and the library that what drives it needs, for the tests of the page, which are
# skipped if it is missing. CHROMIUM names another browser of that kind.
ensure_browser() {
  [[ -z ${CHROMIUM:-} ]] && ! command -v chromium >/dev/null || return 0
  (install_packages chromium libatomic1) || printf 'the tests in a browser will be skipped\n' >&2
}

# usage: set_up REQUIREMENTS_FILE...
set_up() {
  local file
  check_python
  mkdir -p "$LOCAL"
  # Two set-ups at once would write into the same environment: the second waits for the first.
  exec 8>"$LOCAL/setup.lock"
  flock 8
  make_venv
  for file in "$@"; do install_requirements "$file"; done
  ensure_database_server
  exec 8>&-
}
