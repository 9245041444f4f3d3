# Building and testing need Go and nothing else. `make lint` also builds its tools, pinned in tools/go.mod.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
DEMO    ?=

# No cgo: the same static binary everywhere, and no C compiler needed to make it.
export CGO_ENABLED := 0

.DEFAULT_GOAL := build
.PHONY: build demo test e2e verify lint clean help

build: ## Build ./bin/bridge
	$(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bridge ./cmd/bridge

demo: build ## Run everything on this machine and judge it; options: make demo DEMO='--duration 60s --faults'
	./bin/bridge demo $(DEMO)

test: ## Run go vet and all tests but the long ones of make e2e
	$(GO) vet ./...
	$(GO) test -timeout 5m -parallel 4 $$($(GO) list ./... | grep -v /test/e2e)

e2e: ## Run the long end-to-end test of a thousand sessions (4096 file descriptors)
	$(GO) test -count 1 -timeout 10m -v -run Storm ./test/e2e

verify: ## Run all long end-to-end tests: also the built program against every fault of the simulator (minutes)
	$(GO) test -count 1 -timeout 10m -parallel 6 ./test/e2e

lint: ## Run the linters and check the formatting; the first run builds them (minutes)
	$(GO) tool -modfile=tools/go.mod golangci-lint run

clean: ## Remove what the build has made
	rm -rf bin

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
