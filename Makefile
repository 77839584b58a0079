# Every command a person needs, one line each.
FUZZ_SECONDS ?= 30
STORM_SECONDS ?= 300
STORM_SEED ?= 1
PREFIX ?= /usr/local
STATIC ?= $(shell uname -m)-unknown-linux-musl
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help try-systemd demo run load test bench bench-games bench-smoke soak storm check fmt audit fuzz tools diagrams clean build man install uninstall static deb

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

demo:            ## play a whole match between two bots, with what happens on screen
	@cargo build --quiet --workspace --bins && scripts/demo

run:             ## run the daemon with its defaults; ARGS="--config FILE" for others
	cargo run --quiet --bin muster -- serve $(ARGS)

load:            ## many players for a daemon that runs; ARGS="--players 1000"; docs/load.md
	cargo run --quiet --release --bin muster-load -- $(ARGS)

test: tools      ## run all tests
	scripts/build-stub
	cargo build --workspace --bins
	cargo test --workspace

bench:           ## how far Muster is from the machine's limit, beside bare programs; ARGS="--quick" for less
	@scripts/bench $(ARGS)

bench-games:     ## the part of it that is about games as processes
	@scripts/bench --only start,rate,memory,ticks,confinement,stall $(ARGS)

bench-smoke:     ## all of it in under a minute, to see that it works; its numbers say nothing
	@scripts/bench --smoke $(ARGS)

soak:            ## 19,000 players for ten minutes: nobody is lost, memory is flat; ARGS="--players 5000 --duration 2m"
	@scripts/soak $(ARGS)

storm:           ## for STORM_SECONDS (300), a daemon that crashes, hangs and is upgraded: nobody is lost; STORM_SEED=7
	@MUSTER_STORM_SECONDS=$(STORM_SECONDS) MUSTER_STORM_SEED=$(STORM_SEED) MUSTER_STORM_ARGS="$(ARGS)" \
		cargo test --quiet -p muster-tests --test storm -- --nocapture

try-systemd:     ## the units under a real systemd, in namespaces of its own; takes root
	cargo build --quiet --workspace --bins
	scripts/try-systemd

check:           ## format, lints, docs and systemd units, warnings denied
	@scripts/check-units
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet

fmt:             ## format the code
	cargo fmt --all

audit:           ## licences, bans and sources of what we depend on
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

fuzz:            ## fuzz every target for FUZZ_SECONDS
	scripts/fuzz $(FUZZ_SECONDS)

build:           ## the programs as they are installed
	cargo build --release --workspace --bins

man: build       ## the manual pages, into target/man
	scripts/man $(TARGET)/release $(TARGET)/man

install:         ## install what `make build` built: PREFIX=/usr/local DESTDIR=
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install $(TARGET)/release

uninstall:       ## take that away again, but for the configuration
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install $(TARGET)/release --remove

static:          ## programs that need no library of the host: any Linux on this processor takes them
	@rustup target add $(STATIC)
	cargo build --release --target $(STATIC) --bins -p muster-orchestrator -p muster-game-child -p muster-client -p muster-harness

deb: build       ## a Debian package, into target
	scripts/build-deb $(TARGET)/release $(TARGET)

tools:           ## the programs that the tests need besides Rust
	@scripts/need nc:netcat-openbsd python3:python3 node:nodejs cc:gcc socat:socat

diagrams:        ## render the README's diagram; needs mmdc
	scripts/diagrams

clean:           ## remove what was built
	cargo clean
