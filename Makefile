# `make demo` and `make test` need python3 >= 3.10, a package index, and nothing else; both work offline afterwards.

PYTHON ?= python3
BIN := .venv/bin
UV ?= uv
SECONDS ?= 60

.PHONY: setup demo test slow check fuzz lock release results clean

setup: .venv/ready

# On the machines that requirements.lock is for, exactly what CI tests with; elsewhere what constraints.txt allows.
LOCKED = import platform, sys; sys.exit((*sys.version_info[:2], sys.platform, platform.machine()) != (3, 11, "linux", "x86_64"))

.venv/ready: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) scripts/environment.py .venv
	if $(BIN)/python -c '$(LOCKED)'; then \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock && \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	else \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lite,report,dev]'; \
	fi
	touch $@

# Needs uv. Keeps the versions in requirements.lock that still fit; remove the file to raise them all.
lock:
	$(UV) pip compile --quiet --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --constraint constraints.txt \
		--extra lite --extra report --extra dev --extra fuzz --output-file requirements.lock pyproject.toml

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

release: setup
	$(BIN)/python scripts/release.py

results: setup
	$(BIN)/python scripts/readme.py

clean:
	rm -rf .venv out dist build
