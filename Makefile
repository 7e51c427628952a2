# `make ner`, `make check` and `make test` do all the set-up on a fresh machine: a virtual environment in .venv, then the work.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: ner check test lint hooks

ner: .venv/installed
	$(BIN)/python -m tasks.ner --arch albert

check: lint
	$(BIN)/pytest -n auto --dist loadfile -m "not slow"

test: lint
	$(BIN)/pytest -n auto --dist loadfile

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

hooks: .venv/installed-for-tests
	$(BIN)/pip install --quiet pre-commit
	$(BIN)/pre-commit install

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e ".[report]"
	touch $@

.venv/installed-for-tests: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e ".[test]"
	touch $@
