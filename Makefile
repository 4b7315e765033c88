# Two commands are the whole set-up: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATA ?= ./data
LISTEN ?= 127.0.0.1:8080
GOTOOL = CGO_ENABLED=0 go build -o .cache/$@ -modfile=tools/
export GOFLAGS ?= -buildvcs=false
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
COMMANDS := zhizheng zhizheng-dock zhizheng-verify zhizheng-simcounty

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.cache/sqlc: tools/sqlc.mod
	@echo "building sqlc (once, about a minute)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/sqlc.mod -o $@ github.com/sqlc-dev/sqlc/cmd/sqlc
.cache/oapi-codegen: tools/oapi.mod
	@echo "building oapi-codegen (once)"; mkdir -p .cache; CGO_ENABLED=0 go build -modfile=tools/oapi.mod -o $@ github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen

.PHONY: sqlc
sqlc: .cache/sqlc ## Generate the query packages (D=evidence for one domain)
	@for f in $(if $(D),$(D)/internal/db/sqlc.yaml,$$(ls */internal/db/sqlc.yaml */*/internal/db/sqlc.yaml)); do \
	  if [ -f $$(dirname $$f)/queries.sql ]; then echo "sqlc $$f"; .cache/sqlc generate -f $$f || exit 1; fi; done

.PHONY: gen
gen: .cache/oapi-codegen ## Generate the server from api/openapi.yaml
	@cd api && ../.cache/oapi-codegen -config gen.yaml openapi.yaml
