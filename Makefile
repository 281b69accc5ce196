# Everything a newcomer needs: `make demo` and `make test`. Everything a contributor needs: `make check`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Two torch threads spinning on shared cores can make a step 20 times slower; passive waiting cures it.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where this is set, every worker of pytest compiles all tests anew, which takes it five seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install dev demo test test-slow lint check format clean

help:
	@echo "make demo       install, then train and drive on the recording that ships with headway -> runs/demo/"
	@echo "make test       install what tests need, then run the fast tests"
	@echo "make check      what to run before a commit: formatting, lint, types, imports, fast tests"
	@echo "make test-slow  the tests that take longer"
	@echo "make format     let ruff format and mend the sources"
	@echo "make clean      remove the environment and all caches (runs/ stays)"

install: $(VENV)/.installed

# torch first, so that a CPU build offered by pip's configuration is taken before any dependency asks for torch.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "headway needs Python 3.11 or newer; '$(PYTHON)' is not (try: make PYTHON=python3.11)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "headway needs Python's venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@command -v cc >/dev/null \
		|| { echo "headway needs a C compiler named cc (Debian: apt install build-essential)" >&2; exit 1; }
	@echo "Installing headway into $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

dev: $(VENV)/.installed-dev

# aeon alone, for the signals in its wheel: it is not imported, and would ask for an older numba and pandas.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,traffic,pretrain,rl-extra,offline,ray]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps aeon
	@touch $@

demo: install
	$(BIN)/headway demo

test: dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

test-slow: dev
	$(BIN)/python -m pytest -m slow --durations=10

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint test

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
