# `make demo` and `make test` need python3 >= 3.10, a package index, and nothing else; both work offline afterwards.

PYTHON ?= python3
BIN := .venv/bin
SECONDS ?= 60

.PHONY: setup demo test slow check fuzz lock release results clean

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

slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: setup
	$(BIN)/python scripts/fuzz.py --seconds $(SECONDS)

results: setup
	$(BIN)/python scripts/readme.py

clean:
	rm -rf .venv out
