# SPDX-License-Identifier: Apache-2.0
# Everything is built in one profile and, where there is a home directory, in one place outside of the checkout: RocksDB's
# C++ takes a quarter of an hour, so it is compiled once for the demo, the tests, the benches and further clones.
cache := $(or $(XDG_CACHE_HOME),$(if $(HOME),$(HOME)/.cache))
ifneq ($(cache),)
export CARGO_TARGET_DIR ?= $(cache)/slotmover/target
endif

cargo = cargo
ARGS ?=

.PHONY: help demo build test lint bench setup

help:
	@echo 'make demo    moves slots of a small cluster in one process, under load, and checks every answer'
	@echo 'make build   builds the command slotmover, and says where it is'
	@echo 'make test    runs all tests'
	@echo 'make lint    checks format, lints and documentation'
	@echo 'make bench   measures'
	@echo 'The first of them installs what a bare Debian lacks, and compiles RocksDB (about a quarter of an hour on two cores).'

setup:
	@.ci/setup

demo: setup
	$(cargo) run --release --locked -p mover --bin slotmover -- demo $(ARGS)

build: setup
	$(cargo) build --release --locked -p mover --bin slotmover
	@echo "built $(or $(CARGO_TARGET_DIR),target)/release/slotmover"

test: setup
	$(cargo) test --release --locked --workspace $(ARGS)

lint: setup
	$(cargo) fmt --check
	$(cargo) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(cargo) doc --release --locked --workspace --no-deps

bench: setup
	$(cargo) bench --locked -p mover $(ARGS)
