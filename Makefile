# SPDX-License-Identifier: Apache-2.0
# Everything is built in one profile and, where there is a home directory, in one place outside of the checkout: RocksDB's
# C++ takes a quarter of an hour, so it is compiled once for the demo, the tests, the benches and further clones.
cache := $(or $(XDG_CACHE_HOME),$(if $(HOME),$(HOME)/.cache))
ifneq ($(cache),)
export CARGO_TARGET_DIR ?= $(cache)/slotmover/target
endif

target = $(or $(CARGO_TARGET_DIR),target)
cargo = cargo
ARGS ?=
TARGET ?= command

.PHONY: help demo build test lint soak bench fuzz setup

help:
	@echo 'make demo    moves slots of a small cluster in one process, under load, and checks every answer'
	@echo 'make build   builds the command slotmover, and says where it is'
	@echo 'make test    runs all tests'
	@echo 'make lint    checks format, lints and documentation'
	@echo 'make soak    kills everything at random times of many moves, SEEDS=0-1999 of them'
	@echo 'make bench   measures'
	@echo 'make fuzz TARGET=command    looks for input that a decoder fails on; needs cargo-fuzz and a nightly toolchain'
	@echo 'The first of them installs what a bare Debian lacks, and compiles RocksDB (about a quarter of an hour on two cores).'

# Cargo goes by names and ages: what another clone built later than this one was checked out would be taken for its own.
setup:
	@.ci/setup
	@mkdir -p '$(target)'
	@test "$$(cat '$(target)/checkout' 2>/dev/null)" = '$(CURDIR)' || \
		{ $(cargo) clean --quiet --release --locked $(addprefix -p ,mover replication snapshot) && \
		echo '$(CURDIR)' >'$(target)/checkout'; }

demo: setup
	$(cargo) run --release --locked -p mover --bin slotmover -- demo $(ARGS)

build: setup
	$(cargo) build --release --locked -p mover --bin slotmover
	@echo "built $(target)/release/slotmover"

# The moves in which everything dies take all of a machine: beside other tests they would be what those wait for.
test: setup
	$(cargo) test --release --locked --workspace $(or $(ARGS),-- --skip crash::)
	$(if $(ARGS),,$(cargo) test --release --locked -p mover --test integration crash:: -- --test-threads 1)

lint: setup
	$(cargo) fmt --check
	$(cargo) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(cargo) doc --release --locked --workspace --no-deps

# The random deaths of many seeds, as in SEEDS=0-1999.
SEEDS ?= 0-1999
soak: setup
	$(cargo) build --release --locked -p mover --example sandbox_node
	SLOTMOVER_SEEDS=$(SEEDS) $(cargo) test --release --locked -p mover --test integration anything_is_killed -- --nocapture

bench: setup
	$(cargo) bench --locked -p mover $(ARGS)

# New inputs go to the first directory. RocksDB is compiled once more, for this compiler's flags.
fuzz: setup
	@mkdir -p tests/fuzz/corpus/$(TARGET)
	$(cargo) +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none $(TARGET) tests/fuzz/corpus/$(TARGET) \
		tests/fuzz/seeds/$(TARGET) -- -max_total_time=300 -malloc_limit_mb=64 $(ARGS)
