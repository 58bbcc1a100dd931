# Slipway: build, test, run. Every target installs what it needs; `make setup` alone does only that.
SHELL := /bin/bash
PREFIX ?= /usr/local
RELEASE := .build-release
BINARY := $(RELEASE)/release/slipway
CONNECTOR ?= //connectors/source-faker:test

.PHONY: run build test lint bench bench-remote bench-executor goldens fuzz engine-up engine-down install setup clean

run: build
	$(BINARY) build $(CONNECTOR)

build: setup
	swift build -c release --static-swift-stdlib --scratch-path $(RELEASE) --product slipway \
	  --explicit-target-dependency-import-check error

test: setup
	@.ci/servers
	@.ci/buildgrid
	swift build --build-tests --explicit-target-dependency-import-check error
	@# All at once, each test would end when the last one does, and no clock in it would mean anything.
	swift test --skip-build --experimental-maximum-parallelization-width 2

lint:
	swift format lint --strict --recursive Package.swift Sources Tests
	PYTHONPYCACHEPREFIX=.build/pycache python3 -m compileall -q Sources/Kinds connectors >/dev/null

goldens: setup
	SLIPWAY_RECORD=1 swift test --filter 'EndToEndTests|ManifestsTests'

bench: build
	Tests/Benchmarks/run

bench-remote: build
	Tests/Benchmarks/run-remote

bench-executor: build
	Tests/Benchmarks/run-executor

fuzz: setup
	Tests/Fuzz/run

engine-up: setup
	@.ci/servers
	@.ci/buildgrid
	@.ci/engine-server up

engine-down:
	@.ci/engine-server down

install: build
	install -D -s -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/slipway

setup:
	@.ci/setup

clean:
	rm -rf .build .build-release .build-servers
