#!/usr/bin/env bash
# Runs the tests on a database server and a Cloud Storage emulator of their own.
#
# usage: [MYSQLD=/path/of/mysqld] ./test.sh [PYTEST ARGUMENT...]
#
# The first run installs what is missing, into .local/ (and a database server and Chromium with
# apt).
set -euo pipefail

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")"
  # shellcheck source=local/setup.sh
  source local/setup.sh
  help_or_go_on "$@"
  set_up deploy/requirements.lock local/requirements.txt tests/requirements.txt
  ensure_browser
  # Where this is set, each process would compile every test anew.
  unset PYTHONDONTWRITEBYTECODE
  # Four processes, each with a server of its own: the tests wait more than they compute.
  exec "$PYTHON" -m pytest --numprocesses 4 "$@"
}

main "$@"
