# All commands for developers, one line each.
FUZZ_SECONDS ?= 30
STORM_SECONDS ?= 300
STORM_SEED ?= 1
SIMULATE_SECONDS ?= 300
PREFIX ?= /usr/local
STATIC ?= $(shell uname -m)-unknown-linux-musl
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help simulate try-systemd try-readme try-clocks demo run load test bench bench-games bench-smoke soak storm check fmt audit fuzz tools clean build man install uninstall static deb

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

demo:            ## play a whole match between two bots, and show each step
	@cargo build --locked --workspace --bins && scripts/demo

run:             ## run the daemon with its defaults; ARGS="--config FILE" for others
	@cargo build --locked --workspace --bins
	@$(TARGET)/debug/muster serve $(ARGS)

load:            ## simulate many players for a running daemon; ARGS="--players 1000"; docs/load.md
	cargo run --locked --quiet --release --bin muster-load -- $(ARGS)

test: tools      ## run all tests
	scripts/build-stub
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --no-fail-fast

bench:           ## compare Muster with bare programs; ARGS="--quick" for less; docs/performance.md
	@scripts/bench $(ARGS)

bench-games:     ## the benchmarks of games as processes alone
	@scripts/bench --only start,rate,memory,ticks,confinement,stall $(ARGS)

bench-smoke:     ## all benchmarks in under a minute, to check that they work; the numbers mean nothing
	@scripts/bench --smoke $(ARGS)

soak:            ## 19,000 players for ten minutes: none is lost, memory is flat; ARGS="--players 5000 --duration 2m"
	@scripts/soak $(ARGS)

storm:           ## for STORM_SECONDS (300), crashes, hangs and upgrades: no player is lost; STORM_SEED=7
	@MUSTER_STORM_SECONDS=$(STORM_SECONDS) MUSTER_STORM_SEED=$(STORM_SEED) MUSTER_STORM_ARGS="$(ARGS)" \
		cargo test --locked --quiet -p muster-tests --test storm -- --nocapture

try-systemd:     ## test the units under a real systemd, in separate namespaces; requires root
	cargo build --locked --quiet --workspace --bins
	scripts/try-systemd

try-readme:      ## run every command of README.md, in a fresh clone of the last commit
	scripts/try-readme

try-clocks:      ## run the tests of stored states as if the machine booted a minute ago, and years ago
	scripts/try-clocks

simulate:        ## new simulated worlds around the brain for SIMULATE_SECONDS (300): it keeps its promises
	@MUSTER_SIM_SECONDS=$(SIMULATE_SECONDS) cargo test --locked --quiet --release -p muster-simulation --test seeds \
		new_seeds -- --nocapture

check:           ## check format, lints, docs and systemd units; warnings are errors
	@scripts/check-units
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --quiet

fmt:             ## format the code
	cargo fmt --all

audit:           ## check the dependencies: advisories, licences, bans and sources
	@scripts/audit

fuzz:            ## fuzz every target for FUZZ_SECONDS
	scripts/fuzz $(FUZZ_SECONDS)

build:           ## build the programs as they are installed
	cargo build --locked --release --workspace --bins

man: build       ## build the manual pages, into target/man
	scripts/man $(TARGET)/release $(TARGET)/man

install:         ## install what `make build` built, under PREFIX=/usr/local; DESTDIR= for packages
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install $(TARGET)/release

uninstall:       ## remove it, except a changed configuration
	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) scripts/install $(TARGET)/release --remove

static:          ## build statically linked programs, for any Linux on this processor
	@rustup target add $(STATIC)
	cargo build --locked --release --target $(STATIC) --bins -p muster-orchestrator -p muster-game-child -p muster-client -p muster-harness

deb: build       ## build a Debian package, into target
	scripts/build-deb $(TARGET)/release $(TARGET)

tools:           ## install the programs that the tests need besides Rust
	@scripts/need nc:netcat-openbsd python3:python3 node:nodejs cc:gcc socat:socat

clean:           ## remove everything that was built
	cargo clean
