#!/usr/bin/env bash
# The quickstart, from nothing to an application that reads its secrets, in a sandbox of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/target/debug:$PATH"
work=.groundwork/demo
plan=$work/plans/quickstart.yaml

say() { printf '\n== %s\n' "$*"; }
inside() { groundwork sandbox run --dir "$work/sandbox" -- "$@"; }
finish() { groundwork sandbox down --dir "$work/sandbox" --purge; }

# What an earlier demo left belongs to servers that are gone.
groundwork sandbox down --dir "$work/sandbox" --purge 2>/dev/null || true
rm -rf "$work"
mkdir -p "$work/plans"
cp plans/quickstart.yaml "$work/plans/"
cp -r templates "$work/plans/templates"
trap finish EXIT

say "Start a local AWS and an uninitialised Vault"
groundwork sandbox up --dir "$work/sandbox"

say "Apply plans/quickstart.yaml: what will be done, then doing it"
inside groundwork apply --yes "$plan"

say "Apply it again: nothing is written"
inside groundwork apply --yes "$plan"

say "Somebody changes a policy by hand"
inside groundwork login "$plan" -- python3 scripts/by_hand.py widen-policy

say "The next apply shows it and puts it right"
inside groundwork apply --yes "$plan"

say "Be the application: log in, read the secrets, be refused the rest"
inside groundwork login "$plan" -- python3 scripts/by_hand.py be-the-app

say "What is left on this machine, in $work/plans"
(cd "$work/plans" && find .groundwork rendered -type f | sort)
printf '\nThe files under custody/ are encrypted with a key in KMS; the journal names no secret.\n'

say "Take the sandbox down"
