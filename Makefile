# `make ner` and `make test` do all the set-up on a fresh machine: a virtual environment in .venv, then the work.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: ner test

ner: .venv/installed
	$(BIN)/python -m tasks.ner --arch albert

test: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto --dist loadfile

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e ".[report]"
	touch $@

.venv/installed-for-tests: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e ".[test]"
	touch $@
