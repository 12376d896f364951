# Two jobs: `make demo` and `make test`. Each sets up what it needs; what is set up is not set up again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
# Every module is compiled once, whatever this shell says: else each of the many processes compiles it again.
export PYTHONDONTWRITEBYTECODE :=
LOCK := uv pip compile pyproject.toml --extra all --group build --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q

.PHONY: help setup demo test lint types imports unit chaos lock bench-demo bench-search bench-startup bench-ledger bench-pipeline bench-score bench-explore bench-card bench-serving bench-overload clean

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# The locks are whole, so nothing is resolved again; a module is compiled where it is first used.
$(VENV)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps --no-compile -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --no-compile -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed ## make .venv with the command `everloop` in it

demo: $(VENV)/.installed ## play a company's three months: the main job
	@$(BIN)/everloop demo $(ARGS)

test: lint imports ## ruff, mypy strict, import-linter, pytest
	@$(MAKE) --no-print-directory --jobs 2 types unit

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

imports: $(VENV)/.installed-dev
	@$(BIN)/lint-imports

# Threads that wait for each other give their core up: there are more of them here than cores. Three processes keep two
# cores busy, as tests wait for processes, servers and time a third of the while; a search of theirs begins one process,
# unless it says how many.
unit: export LOKY_MAX_CPU_COUNT := 1
unit: $(VENV)/.installed-dev
	@OMP_WAIT_POLICY=passive $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not chaos" $(ARGS)

chaos: $(VENV)/.installed-dev ## the long runs: kills at every point, the bench of a training
	@OMP_WAIT_POLICY=passive $(BIN)/pytest -n 3 --dist loadfile -m chaos $(ARGS)

lock: ## renew both lock files (the base one holds the same versions as the development one)
	$(LOCK) --group dev -o requirements-dev.lock
	$(LOCK) -c requirements-dev.lock -o requirements.lock

bench-demo: $(VENV)/.installed ## ten seeds with and without drift
	@$(BIN)/python -m bench.demo --json

bench-search: $(VENV)/.installed ## the search against a grid, FLAML and Optuna, and with two jobs (ARGS="--data DIR")
	@$(BIN)/python -m bench.search --json $(ARGS)

bench-startup: $(VENV)/.installed ## how soon the command answers
	@$(BIN)/python -m bench.startup --json $(ARGS)

bench-ledger: $(VENV)/.installed ## facts written a second, rows verified a second, beside bare SQLite
	@$(BIN)/python -m bench.ledger --json $(ARGS)

bench-pipeline: $(VENV)/.installed-dev ## a training beside a bare script, in time and memory
	@$(BIN)/python -m bench.pipeline --json $(ARGS)

bench-score: $(VENV)/.installed-dev ## batch scoring beside a bare loop, in time and memory (7 GB of disk for a while)
	@$(BIN)/python -m bench.score --json $(ARGS)

bench-explore: $(VENV)/.installed ## how long a first look takes, and in how much memory
	@$(BIN)/python -m bench.explore --json $(ARGS)

bench-card: $(VENV)/.installed ## what a search makes of the card data (ARGS="--data DIR")
	@$(BIN)/python -m bench.card --json $(ARGS)

bench-serving: $(VENV)/.installed ## what an answer costs, beside a bare one, MLflow and BentoML (Debian: wrk)
	@$(BIN)/python -m bench.serving --json $(ARGS)

bench-overload: $(VENV)/.installed ## what three times too much does to the endpoint (ARGS="--minutes 10"; Debian: wrk)
	@$(BIN)/python -m bench.overload --json $(ARGS)

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
