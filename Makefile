# What a developer or a new user runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/forebay

.PHONY: help setup demo test test-unit test-cluster lint format crds lock bench clean check-drift

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything that development needs (hash-checked)

$(STAMP): requirements/dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" tools/setup-venv $(VENV)
	@touch $@

demo: setup ## Watch Forebay follow a traffic trace on a real API server (TRACE=file, KEEP=1)
	@$(BIN)/python -m demo

test: setup ## Run every test: unit, property, and on a real API server with a real Prometheus
	$(PYTEST) tests/unit tests/property tests/cluster

test-unit: setup ## Run the tests that need no cluster (under a minute)
	$(PYTEST) tests/unit tests/property

test-cluster: setup ## Run the tests on a real API server (FOREBAY_CLUSTER=local|kind|kubeconfig overrides the choice)
	$(PYTEST) tests/cluster -m cluster

lint: setup ## Check style, types and the layers of the pipeline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

format: setup ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: setup ## Generate crds/ and docs/api.md from the pydantic models
	$(BIN)/python -m forebay.api.crd --out crds --docs docs/api.md

check-drift: setup ## Fail if a generated file differs from what its source says
	$(BIN)/python -m forebay.api.crd --out crds --docs docs/api.md --check

lock: ## Renew the hash-pinned requirement files (no index address in them)
	tools/lock

bench: setup ## Measure what docs/benchmarks.md reports
	$(PYTEST) tests/benchmarks -m benchmark -s

clean: ## Remove what the build made here (the cache of built binaries stays in the cache directory)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
