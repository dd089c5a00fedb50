#!/usr/bin/env bash
# What the tests need beside Rust and Python: PostgreSQL for the kinds that need a database, and
# chromium for the page of `plan --format html`. Installed on Debian when run as root.
set -euo pipefail

missing=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "for the tests: ${missing[*]}"
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${missing[@]}"
else
  echo "the tests want these packages, which only root can install: ${missing[*]}" >&2
fi
