# Postbus. `make` alone lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MODULES := $(shell sed -n 's/^\t\.\/\(.*\)/\1/p' go.work)
# One set of flags everywhere, so that the build cache serves: without paths in it, what
# one checkout compiled serves every other. -race for tests, and nothing else that is compiled in.
export GOFLAGS := $(filter-out -trimpath,$(GOFLAGS)) -trimpath
# Tests are linked without debug information, which takes a third of the time (stack traces and
# race reports need none), and vetted by `make build` alone.
# A program with the race detector sleeps for a second at its end, if it is not told otherwise.
export GORACE := atexit_sleep_ms=20 $(GORACE)
TEST := go test -race -ldflags='-s -w' -vet=off -timeout 12m
TESTFLAGS ?=
BIN ?= bin

.PHONY: help
help: ## list the targets
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## start the whole system here, publish first posts, and stay (Ctrl-C ends it)
	@deploy/local/build.sh $(BIN)/postbus
	@exec $(BIN)/postbus

.PHONY: test
test: ## run all tests on throwaway servers, with the race detector
	$(TEST) $(TESTFLAGS) $$(go list work | grep -v -x -e '.*/deploy/e2e' -e '.*/deploy/local')
	$(TEST) -p 1 $(TESTFLAGS) ./deploy/e2e ./deploy/local # whole systems, one package at a time

.PHONY: bench
bench: ## measure the publisher beside what this machine can do (minutes)
	go run ./deploy/e2e/cmd/bench

.PHONY: mutate
mutate: ## remove each guarantee's mechanism in a copy, and see its named test go red (minutes)
	go run ./deploy/e2e/cmd/mutate

.PHONY: nats
nats: ## build the nats CLI into bin/
	@mkdir -p $(BIN)
	GOWORK=off go build -C deploy/tools -o $(abspath $(BIN))/nats github.com/nats-io/natscli/nats

.PHONY: verify
verify: generate tidy build lint ## generate, tidy, build each module alone, lint; fails if that changes a file
	git diff --exit-code

.PHONY: generate
generate: ## rewrite what is made from other files
	cd migrations && GOWORK=off go run ./cmd/schema hash
	cd deploy && GOWORK=off go run ./openapi

.PHONY: tidy
tidy: ## tidy every module and format every file
	@for m in $(MODULES); do echo "tidy $$m"; (cd $$m && GOWORK=off go mod tidy) || exit 1; done
	gofmt -l -w $(MODULES)

.PHONY: build
build: ## build and vet each module alone, as its users would
	@for m in $(MODULES); do echo "build $$m"; (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./...) || exit 1; done

.PHONY: lint
lint: bin/golangci-lint ## run the linters
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(CURDIR)/bin/golangci-lint run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

bin/golangci-lint: deploy/tools/go.mod
	@mkdir -p bin
	GOWORK=off go build -C deploy/tools -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
