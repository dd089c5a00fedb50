#!/usr/bin/env bash
# Runs the tests with cargo-nextest and names the slowest. Arguments choose tests, as nextest takes
# them: `scripts/test.sh contract::` or `scripts/test.sh -E 'test(custody)'`.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/target/test-tools/bin:$PATH"
# Each sandbox asks `python3` which interpreter it is. The wrapper of a version manager takes longer to answer
# than the interpreter itself, so that one goes first.
PATH="$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):$PATH"
# What whoever runs the tests has allowed to his own plans is none of theirs.
export GROUNDWORK_CONFIG_DIR="$PWD/target/tmp/nothing-remembered"

if ! cargo nextest --version >/dev/null 2>&1; then
  echo "cargo-nextest is not here: the tests run with cargo test, which takes longer" >&2
  exec cargo test --locked "$@"
fi
status=0
cargo nextest run --locked --config-file tests/nextest.toml "$@" || status=$?
echo "the slowest tests:"
./scripts/slowest_tests.py target/nextest/default/junit.xml 20
exit "$status"
