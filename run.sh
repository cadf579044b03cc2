#!/usr/bin/env bash
# Serves the four functions on http://localhost:$PORT, with a database server, a Cloud Storage
# emulator and sample data of their own.
#
# usage: [PORT=8080] [MYSQLD=/path/of/mysqld] ./run.sh
#
# The first run installs what is missing, into .local/ (and a database server with apt if there is
# none). Ctrl-C stops everything; data is kept.
set -euo pipefail

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")"
  # shellcheck source=local/setup.sh
  source local/setup.sh
  help_or_go_on "$@"
  (($# == 0)) || die "./run.sh takes no argument but --help"
  mkdir -p "$LOCAL"
  # The lock is held until this process, which becomes the stack, has ended.
  exec 9>"$LOCAL/run.lock"
  flock --nonblock 9 || die "./run.sh is running already"
  set_up deploy/requirements.lock local/requirements.txt
  exec "$PYTHON" -m local "${PORT:-8080}"
}

main "$@"
