# `make demo` and `make test` do everything on a machine that has Rust and Python 3; the tests' other
# servers are installed on Debian as root, and asked for elsewhere.

.DEFAULT_GOAL := help
.PHONY: help build demo test lint bench docs guide deny sweep mutants

help:  ## What can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

build:  ## The program, target/debug/groundwork
	cargo build --locked

# Without what only other plans and debuggers need; dependencies are shared with `make test`.
demo:  ## The quickstart in a local AWS and Vault, explained step by step
	CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 cargo build --locked --no-default-features
	./scripts/demo.sh

test:  ## All tests; those in tests/it start real servers
	./scripts/test_requirements.sh
	./scripts/test.sh

lint:  ## Format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features -- -D warnings

bench:  ## Calls, times and memory against the sandbox
	cargo build --locked --release
	./scripts/bench.py target/release/groundwork

docs: build  ## The pages and schemas in docs/ that the program prints
	./target/debug/groundwork explain --format markdown > docs/kinds.md
	./target/debug/groundwork explain --rules --format markdown > docs/lint.md
	./target/debug/groundwork explain --sections --format markdown > docs/guide/src/sections.md
	./target/debug/groundwork schema > docs/plan.schema.json
	./target/debug/groundwork schema --changeset > docs/changeset.schema.json
	./target/debug/groundwork schema --access > docs/access.schema.json

guide:  ## The guide in docs/guide as pages for a browser, target/guide/index.html
	./scripts/guide.sh

deny:  ## Licences, banned crates, sources (needs cargo-deny)
	cargo deny check bans licenses sources

# A case mostly waits for its servers.
sweep:  ## Every call and every fault, against real servers; takes more than an hour
	SWEEP_JOBS=$${SWEEP_JOBS:-$$((4 * $$(nproc)))} cargo test --locked --test it -- sweep::full_sweep_is_clean sweep::random_sequences_are_clean sweep::places \
		contract::every_vault_kind_keeps_contract_on_older_openbao --ignored --nocapture

mutants:  ## Take each protection out; its test must fail
	./tests/mutants.py
