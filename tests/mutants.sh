#!/bin/sh
# Takes one protection out at a time, as the patches in tests/mutations say, and requires that the
# test that guards it fails. Without arguments all of them, else those that are named.
set -eu
cd "$(dirname "$0")/.."
git diff --quiet -- src || { echo "src has changes that are not committed" >&2; exit 64; }
patch=
restore() { [ -z "$patch" ] || git apply -R "$patch"; patch=; }
trap restore EXIT
trap 'exit 130' INT TERM
survived=0
[ $# -gt 0 ] || set -- tests/mutations/*.patch
for one in "$@"; do
    name=$(basename "$one" .patch)
    one=tests/mutations/$name.patch
    test=$(sed -n 's/^# test: //p' "$one")
    git apply "$one"
    patch=$one
    # A mutant that does not compile proves nothing.
    cargo test --quiet --test it --no-run
    if cargo test --quiet --test it "$test" -- --exact >/dev/null 2>&1; then
        echo "$name: SURVIVED $test"
        survived=$((survived + 1))
    else
        echo "$name: caught by $test"
    fi
    restore
done
echo "$survived survived"
[ "$survived" -eq 0 ]
