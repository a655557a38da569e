# TabletDB. The two commands to begin with: make demo, make test.
GO ?= go
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -X main.version=$(VERSION)
export GOFLAGS ?= -buildvcs=false

.PHONY: all build demo test race lint fuzz bench proto proto-check minio stack stack-stop e2e soak pauses conformance npm python java compare clean

all: build

build: ## build tabletd, tabletadm and tabletbench into ./bin
	$(GO) build -ldflags "$(LDFLAGS)" -o bin/ ./cmd/tabletd ./cmd/tabletadm ./cmd/tabletbench

demo: ## load real data, kill the server that holds it, read it again
	$(GO) run ./cmd/demo

test: ## everything that needs nothing but Go
	$(GO) vet ./...
	$(GO) test -timeout 8m ./...

race: ## the same with the race detector
	$(GO) test -race -timeout 30m ./...

lint: ## the house rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || (gofmt -l $$(git ls-files '*.go'); exit 1)
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) test -count=1 ./internal/lint

fuzz: ## every fuzz target for FUZZTIME
	scripts/fuzz.sh $(or $(FUZZTIME),10s)

bench: ## the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

proto: ## generate the Go code of proto/
	$(GO) run ./proto/gen

proto-check: proto ## fail where generated code is not current
	git diff --exit-code -- proto

minio: ## build the pinned MinIO into ./bin (some minutes)
	scripts/minio.sh

stack: build ## MinIO, 3 lock servers, 2 masters, 3 tablet servers, a gateway, on loopback
	scripts/stack.sh start

stack-stop:
	scripts/stack.sh stop

e2e: build minio ## faults against real processes and a real MinIO
	E2E_REQUIRE=1 $(GO) test -tags e2e -count=1 -timeout 20m -v ./integration/e2e/...

soak: build minio ## SOAK (30m) of load, splits, merges, moves, drains, restarts and GC on MinIO, all verified
	E2E_REQUIRE=1 E2E_SOAK=$(or $(SOAK),30m) $(GO) test -tags e2e -count=1 -timeout 0 -v -run 'TestSoak$$' ./integration/e2e

pauses: build minio ## PAUSES (1000) splits, merges and moves under load: how long clients wait
	E2E_REQUIRE=1 E2E_PAUSES=$(or $(PAUSES),1000) $(GO) test -tags e2e -count=1 -timeout 60m -v -run 'TestPauses$$' ./integration/e2e

conformance: build ## all of Google's integration tests of its Go client, against tabletd
	$(GO) test -tags conformance -count=1 -timeout 60m -run TestConformance -v ./integration/conformance

npm: ## Google's client for Node.js against tabletd emulator (needs node and npm)
	E2E_REQUIRE=1 $(GO) test -tags e2e -count=1 -timeout 10m -v ./integration/npm

python: ## Google's client for Python against tabletd emulator (needs python3)
	E2E_REQUIRE=1 $(GO) test -tags e2e -count=1 -timeout 10m -v ./integration/python

java: ## Google's client for Java against tabletd emulator (needs a JDK and mvn)
	E2E_REQUIRE=1 $(GO) test -tags e2e -count=1 -timeout 15m -v ./integration/java

compare: build ## TabletDB against Google's emulator, in one run
	bin/tabletbench compare

clean:
	rm -rf bin
