SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

ARGS       ?=
RACE_PKGS  ?= ./...
FUZZTIME   ?= 30s
BENCH      ?= .
BENCHCOUNT ?= 6

# What `make chaos` does: so many kills and stalls of workers, so many restarts of Redis
# and as many of Postgres, and so many faults of each other sort. KIND is redis or
# cluster, or nothing for both, which then share the numbers; but each has all RESTARTS,
# which on a cluster hit one node after the other. Redis also stalls for 5 s, once per
# four restarts. All of that has to happen within MINUTES for each kind. SEED repeats a
# run. STEPS are those of the claim protocol in random interleavings.
KILLS    ?= 1000
STALLS   ?= 240
RESTARTS ?= 20
FAULTS   ?= 80
MINUTES  ?= 20
SEED     ?=
KIND     ?=
STEPS    ?= 1000000

# How many streams pass through a worker in `make memory`, and how many events each has.
STREAMS ?= 1000000
EVENTS  ?= 1

# How often `make bench-history` goes through the history of the shop.
HISTORYROUNDS ?= 3

# What `make release` makes, for which PLATFORMS, and where it puts that.
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
DIST      ?= dist

# Tools are pinned here and installed into .bin/, so that go.mod stays free of them.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

.PHONY: help setup build test race chaos memory browser acceptance fuzz bench bench-rebuild bench-history lint release clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 15

setup: ## Install the servers the tests run, unless they are there
	@scripts/setup.sh

build: ## Compile everything
	go build ./...

test: setup ## Vet and test everything; ARGS adds flags, as in ARGS='-run Append -v'
	go vet ./...
	go test -timeout 15m $(ARGS) ./...

race: setup ## Test RACE_PKGS (everything) under the race detector; needs a C compiler
	go test -race -timeout 30m $(ARGS) $(RACE_PKGS)

chaos: setup ## Break workers and servers by the thousand: KILLS, STALLS, RESTARTS, FAULTS, MINUTES, SEED, KIND, STEPS
	PROJECTORD_CHAOS_KILLS=$(KILLS) PROJECTORD_CHAOS_STALLS=$(STALLS) \
	PROJECTORD_CHAOS_RESTARTS=$(RESTARTS) PROJECTORD_CHAOS_FAULTS=$(FAULTS) \
	PROJECTORD_CHAOS_MINUTES=$(MINUTES) PROJECTORD_CHAOS_SEED=$(SEED) PROJECTORD_CHAOS_KIND=$(KIND) \
	go test -v -count 1 -parallel 1 -timeout 2h -run '^TestScenario(25|26|35)_' $(ARGS) ./internal/chaos
	PROJECTORD_LEASE_STEPS=$(STEPS) go test -v -count 1 -timeout 2h -run '^TestProtocol$$' ./projector/lease

memory: setup ## Pass STREAMS through a worker and print its memory; Redis takes 5 KiB for each
	PROJECTORD_TEST_STREAMS=$(STREAMS) PROJECTORD_TEST_EVENTS=$(EVENTS) go test -v -count 1 -timeout 2h -run '^TestScenario34_WorkerMemory$$' $(ARGS) ./projector

# Only packages that have such tests, as in bench.
browser: setup ## Look at the pages of examples with a Chromium, which is installed unless it is there
	browser=$$(scripts/browser.sh) && PROJECTORD_TEST_BROWSER=$$browser \
	go test -v -count 1 -timeout 10m -run '^TestBrowser' $(ARGS) \
	$$(grep -rl '^func TestBrowser' --include='*_test.go' ./examples | xargs -n 1 dirname | sort -u)

acceptance: setup ## Rebuild and trim the carts of a real shop under fire, and restart its workers; needs its data, see examples/cart/README.md
	PROJECTORD_TEST_ACCEPTANCE=1 go test -v -count 1 -timeout 30m -parallel 1 -run '^(TestRebuildUnderFire|TestRemoval|TestRollingRestart)$$/^UCI$$' $(ARGS) ./examples/cart
	PROJECTORD_TEST_ACCEPTANCE=1 go test -v -count 1 -timeout 10m -run '^TestRollingRestart$$' $(ARGS) ./projector/daemon

fuzz: setup ## Run every fuzz target for FUZZTIME (30s) each
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

# Only packages that have benchmarks: those of all others would be compiled for nothing.
bench: setup .bin/benchstat ## Run Go benchmarks that match BENCH, BENCHCOUNT times; compares with bench-base.txt, a copy of an earlier bench-new.txt
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) -timeout 2h $(ARGS) \
	$$(grep -rl '^func Benchmark' --include='*_test.go' --exclude-dir='.?*' . | xargs -n 1 dirname | sort -u) | tee bench-new.txt
	@.bin/benchstat $$(ls bench-base.txt 2>/dev/null) bench-new.txt

bench-rebuild: setup ## Rebuild read models, and read beside that, by projectord bench; ARGS adds flags
	go run ./cmd/projectord bench --only rebuild,reads $(ARGS)

bench-history: setup ## Import and rebuild the carts of a real shop in HISTORYROUNDS rounds, and check what comes out; needs its data, see examples/cart/README.md
	go test -v -run '^$$' -bench '^BenchmarkHistory$$' -benchtime $(HISTORYROUNDS)x -timeout 1h $(ARGS) ./examples/cart | tr '\t' '\n'

lint: .bin/staticcheck ## Check formatting, vet (for macOS too) and staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	go vet ./...
	GOOS=darwin go vet ./...
	.bin/staticcheck ./...

# Nothing of the machine or the time gets into the files: the same sources and the same
# Go make the same bytes. Whatever GOFLAGS says, the revision is in them where there is one:
# release from a clone. Go finds none in a worktree that git worktree added, of which the
# bytes are others, and the bill of materials has (devel) for a version.
# The tag leaves out pages of gRPC that nobody looks at, and with them a third of the program.
release: ## Build static binaries for PLATFORMS into DIST, with VERSION, checksums, licences and a bill of materials each
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@programs=; for platform in $(PLATFORMS); do \
		out=projectord-$(VERSION)-$${platform%/*}-$${platform#*/}; \
		echo "$(DIST)/$$out"; \
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -trimpath -buildvcs=auto -tags grpcnotrace \
			-ldflags '-s -w -X main.version=$(VERSION)' -o $(DIST)/$$out ./cmd/projectord; \
		go run ./scripts/sbom $(DIST)/$$out > $(DIST)/$$out.cdx.json; \
		programs="$$programs $(DIST)/$$out"; \
	done; \
	go run ./scripts/licenses $$programs > $(DIST)/THIRD-PARTY-LICENSES.txt
	@cp LICENSE $(DIST)/LICENSE
	@cd $(DIST) && { command -v sha256sum >/dev/null && sha256sum projectord-* *LICENSE* || shasum -a 256 projectord-* *LICENSE*; } > SHA256SUMS

clean: ## Remove what the other targets left in this directory
	rm -rf .bin bench-new.txt dist
	go clean ./...

# A new version means a changed Makefile, hence the dependency.
.bin/staticcheck: Makefile
	GOBIN=$(CURDIR)/.bin go install $(STATICCHECK)
	@touch $@

.bin/benchstat: Makefile
	GOBIN=$(CURDIR)/.bin go install $(BENCHSTAT)
	@touch $@
