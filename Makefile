# `make demo` and `make test` need python3 >= 3.10, a package index, and nothing else; both work offline afterwards.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check results clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) scripts/environment.py .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lite,report,dev]'
	touch $@

demo: setup
	rm -rf out/demo
	$(BIN)/hello-distill demo --out out/demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

results: setup
	$(BIN)/python scripts/readme.py

clean:
	rm -rf .venv out
