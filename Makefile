# `make ner`, `make check` and `make test` do all the set-up on a fresh machine: a virtual environment in .venv, then the work.
PYTHON ?= python3
BIN := .venv/bin

# Compiling everything that is installed costs a minute; what is imported is compiled, and kept, at its first import.
PIP_INSTALL := $(BIN)/pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

.PHONY: ner check test lint fast-tests all-tests hooks

ner: .venv/installed
	$(BIN)/python -m tasks.ner --arch albert

# With -j2, mypy, which has one thread, runs beside the tests.
check: lint fast-tests

test: lint all-tests

fast-tests: .venv/installed-for-tests
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

all-tests: .venv/installed-for-tests
	$(BIN)/pytest -n auto --dist worksteal

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

hooks: .venv/installed-for-tests
	$(PIP_INSTALL) pre-commit
	$(BIN)/pre-commit install

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) -e ".[report]"
	touch $@

.venv/installed-for-tests: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) -e ".[test]"
	touch $@
