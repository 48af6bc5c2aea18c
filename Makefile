# What a developer or a new user runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The tests on a cluster mostly wait, so that three workers (each with a cluster of its own) fill two cores.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# What failed beside the others (1 is pytest's status for that) is run once more, alone: journeys on a cluster are
# about time, and a machine that is too busy to keep it says nothing about them. What fails twice has failed.
ALONE := || { [ $$? -eq 1 ] && echo "Once more, alone:" && $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

.PHONY: help setup programs demo test test-faults test-unit test-cluster test-engines test-provisioners lint format crds check-drift image image-test kind-up kind-env kind-test kind-contrast kind-down lock clean \
	pictures bench bench-plan bench-forecast bench-replay bench-policy bench-operator

help: ## List the targets
	@awk -F':.*## ' -v b="$$([ -t 1 ] && tput bold)" -v n="$$([ -t 1 ] && tput sgr0)" '/^[a-z-]+:.*## / {printf "  %s%-15s%s %s\n", b, $$1, n, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything that development needs (hash-checked)

$(STAMP): requirements/dev.txt pyproject.toml
	@PYTHON="$(PYTHON)" tools/setup-venv $(VENV)
	@touch $@

demo: setup ## Watch Forebay follow a traffic trace on a real API server (TRACE=file, KEEP=1)
	@$(BIN)/python -m demo

programs: setup
	@$(BIN)/python -m devcluster build --for-tests

test: programs ## Run every test: unit, property, and on a real API server with a real Prometheus
	$(PYTEST) tests/unit tests/property tests/faults tests/cluster $(ALONE)

test-faults: setup ## Walk through random faults for longer than the tests do (FOREBAY_WALK_ROUNDS, default 5000)
	FOREBAY_WALK_ROUNDS=$${FOREBAY_WALK_ROUNDS:-5000} $(PYTEST) tests/faults

test-unit: setup ## Run the tests that need no cluster (one to three minutes)
	$(PYTEST) tests/unit tests/property

test-cluster: programs ## Run the tests on a real API server (FOREBAY_CLUSTER=local|kind|kubeconfig overrides the choice)
	$(PYTEST) tests/cluster -m cluster $(ALONE)

test-engines: programs ## Read a real gateway (vllm-router, installed in the cache; skipped where it cannot be)
	@timeout 180 tools/setup-engines || echo "The gateways could not be installed: their tests are skipped."
	$(BIN)/python -m pytest tests/engines $(ALONE)

test-provisioners: programs ## Run journeys on the real Karpenter and LeaderWorkerSet (builds them first, once)
	@$(BIN)/python -m devcluster build --provisioners
	$(BIN)/python -m pytest tests/provisioners -n 2 $(ALONE)

lint: setup ## Check style, types and the layers of the pipeline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	tools/check-subjects

format: setup ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: setup ## Generate crds/, docs/api.md, the chart's copies and the dialect tables from their sources
	$(BIN)/python -m forebay.api.crd --out crds --docs docs/api.md
	$(BIN)/python -m chartdocs
	$(BIN)/python -m dialectdocs

check-drift: setup ## Fail if a generated file differs from what its source says
	$(BIN)/python -m forebay.api.crd --out crds --docs docs/api.md --check
	$(BIN)/python -m chartdocs --check
	$(BIN)/python -m dialectdocs --check

image: ## Build the operator's image (DOCKER, BASE_IMAGE, DOCKER_BUILD_FLAGS: see tools/build-image)
	tools/build-image operator

image-test: setup ## Build the image twice, compare the two, and look into it (what a build needs: see tools/build-image)
	$(BIN)/python -m pytest tests/image

kind-up: setup ## A kind cluster with Forebay on it (KIND_NODE_IMAGE; what images need: see tools/build-image)
	@$(BIN)/python -m kindscene up

kind-env: setup ## Print shell lines that let kubectl, helm and forebay use it: eval "$(make -s kind-env)"
	@$(BIN)/python -m kindscene env

kind-test: setup ## The golden journeys on a kind cluster of their own, with real pods (15-20 minutes)
	$(BIN)/python -m pytest tests/kind -m kind
	$(BIN)/python -m pytest tests/getting_started

kind-contrast: kind-up ## The same traffic under Forebay and under a plain HPA, on the kind cluster (15 minutes)
	@$(BIN)/python -m kindscene contrast

kind-down: setup ## Remove the kind cluster
	@$(BIN)/python -m kindscene down

lock: ## Renew the hash-pinned requirement files (no index address in them)
	tools/lock

pictures: setup ## Draw the pictures of docs/concepts.md from a replay (about three minutes)
	$(BIN)/python tools/conceptpictures.py

bench: bench-plan bench-forecast bench-replay bench-policy bench-operator ## Measure a selection of what docs/benchmarks.md reports (traces in FOREBAY_DATA)

bench-plan: setup ## Time and quality of fleet plans, and closed loops over mixed fleets
	$(BIN)/python -m tests.benchmarks.bench_plan
	$(BIN)/python -m tests.benchmarks.bench_nodes
	$(BIN)/python -m tests.benchmarks.bench_fleet

bench-forecast: setup ## Forecasts against persistence and the peers' forecasters (traces in FOREBAY_DATA)
	$(BIN)/python -m tests.benchmarks.bench_forecast

bench-replay: setup ## Speed and memory of the simulator at 10 million requests
	$(BIN)/python -m tests.benchmarks.bench_simulation

bench-policy: setup ## Cost and attainment of the scaling policy on days at four objectives (traces in FOREBAY_DATA)
	$(BIN)/python -m tests.benchmarks.bench_policy

bench-operator: setup ## 2,000 pools on a real API server
	$(BIN)/python -m tests.benchmarks.bench_operator

clean: ## Remove what the build made here (the cache of built binaries stays in the cache directory)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
