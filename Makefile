# Two commands are the whole set-up: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATA ?= ./data
LISTEN ?= 127.0.0.1:8080
FUZZ ?= 5m
export GOFLAGS ?= -buildvcs=false
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X zhizheng/internal/version.Version=$(VERSION)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: run
run: setup build ## Start the whole platform with the demo county (Ctrl-C stops it)
	@exec bin/zhizheng serve --demo --data $(DATA) --listen $(LISTEN)

.PHONY: setup
setup: ## Install what is missing (PostgreSQL's programs, ffmpeg, voice and font of the demo)
	@deploy/setup run

.PHONY: build
build: web/dist/index.html binaries ## Build the console and the five programs into bin/

.PHONY: binaries
binaries: web/dist/index.html
	@echo "building programs"; mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng ./cmd/zhizheng
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-dock ./cmd/dock
	@CGO_ENABLED=0 GOOS=windows go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-dock.exe ./cmd/dock
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-verify ./cmd/verify
	@CGO_ENABLED=0 GOOS=windows go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-verify.exe ./cmd/verify
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-witness ./cmd/witness
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/zhizheng-simcounty ./cmd/simcounty

web/node_modules/.package-lock.json: web/package-lock.json
	@echo "installing the console's packages"; cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/index.html web/vite.config.ts api/openapi.yaml -type f 2>/dev/null)
	@echo "building the console"; cd web && npm run --silent build

.PHONY: test
test: ## Everything: checks, Go on real services, console, browser (installs what it needs)
	@deploy/setup test
	@$(MAKE) --no-print-directory build check test-go test-web test-browser
	@$(MAKE) --no-print-directory fuzz FUZZ=10s IN="devices ingest"

.PHONY: test-go
test-go: web/dist/index.html
	@echo "== Go tests"; go test -count=1 -timeout 20m ./...

.PHONY: test-web
test-web: web/node_modules/.package-lock.json
	@echo "== console tests"; cd web && npm run --silent test

.PHONY: test-browser
test-browser: build
	@echo "== browser tests"; deploy/browser-test

.PHONY: check
check: .cache/golangci-lint web/node_modules/.package-lock.json ## Formatting, vet, import rules, console types and lint, generated code up to date
	@echo "== check"; out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	@go vet ./...
	@.cache/golangci-lint run --allow-parallel-runners ./...
	@$(MAKE) --no-print-directory sqlc gen >/dev/null && git diff --exit-code --stat -- api/gen.go '*/internal/db/*.go' || { echo "generated code is not up to date: run make sqlc gen"; exit 1; }
	@cd web && npm run --silent check

.PHONY: bench
bench: build $(if $(filter messages%,$(or $(ONLY),messages)),.cache/telegraf) ## Figures with targets, tab-separated, and the machine they were taken on (ONLY=docking, messages, log, log:append, … for a part)
	@go run ./cmd/zhizheng/internal/bench $(ONLY)

.PHONY: soak
soak: build ## Hours: every test in its long form (20 kills during docking …), then each parser fuzzed for FUZZ (5m)
	@deploy/setup soak
	@ZZ_SOAK=1 go test -count=1 -timeout 6h ./...
	@$(MAKE) --no-print-directory fuzz

.PHONY: fuzz
fuzz: ## Fuzz each parser for FUZZ (5m), those of the folders IN or all
	@deploy/fuzz $(FUZZ) $(IN)

.PHONY: clean-data
clean-data: ## Remove the demo's data (DATA=./data), the database cluster and locked objects included
	@deploy/clean-data $(DATA)

.cache/sqlc: tools/sqlc.mod
	@echo "building sqlc (once, about a minute)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/sqlc.mod -o $@ github.com/sqlc-dev/sqlc/cmd/sqlc
.cache/oapi-codegen: tools/oapi.mod
	@echo "building oapi-codegen (once)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/oapi.mod -o $@ github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen
.cache/golangci-lint: tools/lint.mod
	@echo "building golangci-lint (once, a few minutes)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/lint.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# The peer of `make bench ONLY=messages`, with the two plugins it is compared by. Nothing else needs it: where it can't be built, its figures are left out.
.cache/telegraf: tools/telegraf.mod
	@echo "building telegraf, for the bench alone (once, a minute)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/telegraf.mod \
	  -tags custom,inputs.mqtt_consumer,outputs.postgresql,parsers.json -ldflags '-s -w' -o $@ github.com/influxdata/telegraf/cmd/telegraf || echo "telegraf can't be built"

.PHONY: sqlc
sqlc: .cache/sqlc ## Generate the query packages (D=evidence for one domain)
	@for f in $(if $(D),$(D)/internal/db/sqlc.yaml,$$(ls */internal/db/sqlc.yaml */*/internal/db/sqlc.yaml)); do \
	  if [ -f $$(dirname $$f)/queries.sql ]; then echo "sqlc $$f"; .cache/sqlc generate -f $$f || exit 1; fi; done

.PHONY: gen
gen: .cache/oapi-codegen ## Generate the server from api/openapi.yaml
	@cd api && ../.cache/oapi-codegen -config gen.yaml openapi.yaml
