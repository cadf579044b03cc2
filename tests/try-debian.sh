#!/usr/bin/env bash
# Runs ./test.sh, and ./run.sh as its slow tests do, on a bare Debian, as the README promises.
#
# usage: tests/try-debian.sh [SUITE...]
#
# The default is 12 (bookworm) and 13 (trixie). Needs root and mmdebstrap; tries the last commit, with the
# environment and the certificates of this machine.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($#)) || set -- bookworm trixie
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone/project"
for suite in "$@"; do
  printf '\n== Debian %s\n' "$suite"
  # Every installation knows localhost; a bare system leaves that to Debian's installer.
  mmdebstrap --variant=minbase --include=ca-certificates,curl,git,procps,python3 \
    --customize-hook="copy-in '$clone/project' /etc/ssl/certs/ca-certificates.crt /" \
    --chrooted-customize-hook="
      mv /ca-certificates.crt /etc/ssl/certs
      echo 127.0.0.1 localhost >/etc/hosts
      cd /project
      ./test.sh
      ./test.sh -m slow tests/project/test_local.py" \
    "$suite" /dev/null
done
