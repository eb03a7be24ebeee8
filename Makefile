# Everything starts here; the work is done by deploy/ and by the `amends` command.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# embedded (one process, no Kafka) or kafka (Apache Kafka, each worker a process of its own)
BUS ?= embedded
PROFILE ?= release
# Which engine `make bench-peers` measures, with its options
PEER ?= dbos
# How often each failpoint kills its process in `make faults`
TIMES ?= 3
# Where `make run` and `make demo` keep their data
AMENDS_DIR ?= .amends
export AMENDS_CACHE ?= $(HOME)/.cache/amends
# Outside the clone: a fresh clone builds in seconds on a machine that has built one before.
export CARGO_TARGET_DIR ?= $(AMENDS_CACHE)/target
export PATH := $(PATH):$(HOME)/.cargo/bin:$(AMENDS_CACHE)/tools/bin
# The integration tests' stack; not the one of `make run`, whose data is kept in .amends/.
export AMENDS_STACK ?= $(AMENDS_CACHE)/stack

ifeq ($(BUS),kafka)
  purpose := kafka
  dev := dev --bus kafka --processes
else ifeq ($(BUS),embedded)
  purpose := run
  dev := dev
else
  $(error BUS is embedded or kafka, not "$(BUS)")
endif
amends := $(CARGO_TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/amends

.PHONY: help install build run demo bench bench-compare bench-peers bench-spike dashboard-test test check fmt python stack-up stack-down faults finding incident clean clean-data

help: ## this list
	@echo 'Amends: sagas that make amends when a step fails.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)
	@echo
	@echo '  BUS=kafka      run, demo: on a real Apache Kafka, each worker a process of its own'
	@echo '  PROFILE=dev    run, demo: build without optimizations, sooner'

build: ## the amends command, with the dashboard in it
	@deploy/install $(purpose)
	@dashboard/build
	cargo build --locked --profile $(PROFILE) -p amends

run: build ## build and start everything; three demo orders; serves until Ctrl-C, data stays in .amends/
	exec $(amends) $(dev) --dir $(AMENDS_DIR)

demo: build ## the same, and ends with exit code 0 when the three demo sagas ended as expected
	exec $(amends) $(dev) --dir $(AMENDS_DIR) --demo </dev/null

bench: ## how fast, what it costs, and the books; BENCH="--in-flight 64 --runs 3" (see bench --help)
	@deploy/install kafka
	cargo build --locked --profile production -p amends -p bench
	@deploy/bench $(BENCH)

bench-spike: ## the least that this shape can cost on this machine; SPIKE="--in-flight 256" (options of bench but --workload)
	@deploy/install kafka
	cargo build --locked --profile production -p spike
	@bench/spike/run $(SPIKE)

bench-compare: ## this tree beside another commit, by turns; BASE=<commit>, BENCH="--in-flight 64"
	@deploy/install kafka
	@deploy/bench-compare $(or $(BASE),$(error say which commit: make bench-compare BASE=<commit>)) $(BENCH)

bench-peers: ## the same workload on another engine; PEER="dbos" or "restate" and options (see bench/peers/README.md)
	@deploy/install kafka
	@bench/peers/run $(PEER)

dashboard-test: ## the dashboard in a real Chromium, on the command that was built last (PROFILE=dev)
	@deploy/install test
	@dashboard/test

test: ## everything: checks, tests on a real Postgres, Redis and Kafka, the dashboard in a browser, the workers in Python and TypeScript, both demos
	@deploy/install test
	@deploy/test

check: ## format, clippy, documentation, licences and sources of dependencies
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --document-private-items
	cargo deny --locked check licenses bans sources
	@dashboard/check

fmt: ## format the code
	cargo fmt --all

stack-up: ## start the tests' Postgres, Redis and Kafka (deploy/stack env prints where)
	@deploy/install test
	@deploy/stack up

stack-down: ## stop them
	@deploy/stack down

finding: ## how long each filter takes among 10,000,000 sagas while 500 a second run; FINDING="--sagas 1000000" (some GB of disk)
	@deploy/install test
	@deploy/stack up
	eval "$$(deploy/stack env)" && cargo run --locked --release -p amends --example finding -- $(FINDING)

incident: ## an outage leaves SAGAS (5,000) parked and as many compensated; two bulk jobs, killed on the way, bring them home
	@deploy/install test
	tests/faults/run incident --sagas $(or $(SAGAS),5000)

faults: ## hurt a real stack of its own: every fault, and every failpoint TIMES times (default 3)
	@deploy/install test
	tests/faults/run run all
	tests/faults/run kill --times $(TIMES)

clean: ## delete what was built
	cargo clean

clean-data: ## delete what `make run` keeps (.amends/): orders, sagas, everything
	@if [[ -e $(AMENDS_DIR)/postgres ]]; then rm -rf "$$(readlink -f $(AMENDS_DIR)/postgres)"; fi
	rm -rf $(AMENDS_DIR)
