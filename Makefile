# Building and testing need Go and nothing else. `make lint` also builds its tools, pinned in tools/go.mod.

GO      ?= go
GOTEST  ?= $(GO) test
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
DEMO    ?=
TEST    ?=
BENCH   ?=
RUNS    ?= 10000
# The packages whose tests can use a real Apache Kafka. One after the other: each starts a cluster of its own.
KAFKA   := -count 1 -p 1 ./internal/testkafka ./internal/sink/kafka
# The end-to-end tests that do; they wait for most of their time.
E2EKAFKA := -count 1 -parallel 10 ./test/e2e -run '^TestKafka'
# Never from the cache, which does not know that these tests build a program; they wait for most of their time.
E2E     := -count 1 -timeout 15m -parallel 10
# What an event costs on its way, step by step; none of them waits for a disk or a network.
MICRO   := ^Benchmark(Map|Encode|Append|AppendNext|Lanes|AppendStructured|Render|WholeWay)$$
UPDATE  ?=

# No cgo: the same static binary everywhere, and no C compiler needed to make it.
export CGO_ENABLED := 0

.DEFAULT_GOAL := build
.PHONY: build demo test e2e kafka verify bench bench-quick bench-programs bench-micro lint clean help

build: ## Build ./bin/bridge
	$(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bridge ./cmd/bridge

demo: build ## Run everything on this machine and judge it; options: make demo DEMO='--duration 60s --faults'
	./bin/bridge demo $(DEMO)

test: ## Run go vet and all tests but the long end-to-end ones; options of go test: make test TEST=-v
	$(GO) vet ./...
	$(GOTEST) -timeout 10m -parallel 4 $(TEST) $$($(GO) list ./... | grep -v /test/e2e)
	$(GOTEST) -short $(E2E) $(TEST) ./test/e2e

e2e: ## Run all end-to-end tests: every fault of the vendor, crashes, failing disks, a thousand sessions (minutes, 4096 file descriptors)
	$(GOTEST) $(E2E) $(TEST) ./test/e2e

kafka: ## Run the tests against a real Apache Kafka of one broker; the first run fetches it, and needs Java and Maven (three to four minutes)
	scripts/kafka fetch
	BRIDGE_TEST_KAFKA="$$(scripts/kafka home)" $(GOTEST) -timeout 10m $(TEST) $(KAFKA)
	BRIDGE_TEST_KAFKA="$$(scripts/kafka home)" $(GOTEST) -timeout 10m $(TEST) $(E2EKAFKA)

verify: ## Run the end-to-end tests with those that take minutes, those against three Kafka brokers, and 10,000 seeds of the bridge's simulation and of the log's crashes; others: make verify RUNS=100000
	$(GOTEST) -count 1 -timeout 60m -parallel 10 $(TEST) ./test/e2e -e2e.verify
	scripts/kafka fetch
	BRIDGE_TEST_KAFKA="$$(scripts/kafka home)" BRIDGE_TEST_KAFKA_NODES=3 $(GOTEST) -timeout 60m $(TEST) $(KAFKA)
	BRIDGE_TEST_KAFKA="$$(scripts/kafka home)" BRIDGE_TEST_KAFKA_NODES=3 $(GOTEST) -timeout 60m $(TEST) $(E2EKAFKA) -e2e.verify
	$(GOTEST) -count 1 -timeout 0 $(TEST) ./internal/bridge -run '^TestSimulation$$' -sim.runs $(RUNS)
	$(GOTEST) -count 1 -timeout 0 $(TEST) ./internal/spool -run 'DiskModel|DiskPowerCut' -spool.runs $(RUNS)

bench-micro: ## Run the micro-benchmarks beside the committed figures (2 minutes); keep new ones: make bench-micro UPDATE=1
	mkdir -p bin
	$(GO) test -run '^$$' -bench '$(MICRO)' -count 6 ./internal/mapping ./internal/event ./internal/spool ./internal/bridge ./internal/sink/jetstream >bin/micro.txt
	$(if $(UPDATE),cp bin/micro.txt bench/micro.txt,$(GO) tool -modfile=tools/go.mod benchstat committed=bench/micro.txt now=bin/micro.txt)

bench: bench-programs ## Measure speed and memory beside the limit and write bench/RESULTS.md (Linux, an hour, a quiet machine); one part: make bench BENCH='-only flood'; PEER=FILE: beside a Redpanda Connect too
	./bin/bench run -json bin/bench.json $(BENCH)
	./bin/bench page bin/bench.json

bench-quick: bench-programs ## The same in under three minutes: floods and latencies only, with wider error, and no page
	./bin/bench run -quick $(BENCH)

# A module of its own: what is only measured against is no dependency of the bridge.
bench-programs: build
	cd bench && $(GO) build -o ../bin/bench . && $(GO) build -o ../bin/nats-server github.com/nats-io/nats-server/v2

lint: ## Run the linters and check the formatting; the first run builds them (minutes)
	$(GO) tool -modfile=tools/go.mod golangci-lint run

clean: ## Remove what the build has made
	rm -rf bin

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
