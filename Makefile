# `make demo` and `make test` need python3 >= 3.10, a package index, and nothing else; both work offline afterwards.

PYTHON ?= python3
BIN := .venv/bin
UV ?= uv
SECONDS ?= 60

.PHONY: setup demo bench test installed slow check docs screenshots tutorial figures forecast fuzz lock release experiments results clean

setup: .venv/ready

# On the machines that requirements.lock is for, exactly what CI tests with; elsewhere what constraints.txt allows.
LOCKED = import platform, sys; sys.exit((*sys.version_info[:2], sys.platform, platform.machine()) != (3, 11, "linux", "x86_64"))

.venv/ready: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) scripts/environment.py .venv
	if $(BIN)/python -c '$(LOCKED)'; then \
		$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock && \
		$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	else \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lite,report,view,dev,docs]'; \
	fi
	touch $@

# Needs uv. Keeps the versions in requirements.lock that still fit; remove the file to raise them all.
lock:
	$(UV) pip compile --quiet --generate-hashes --no-annotate --custom-compile-command 'make lock' \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --constraint constraints.txt \
		--extra lite --extra report --extra view --extra log --extra onnx --extra dev --extra docs --extra fuzz --output-file requirements.lock pyproject.toml

demo: setup
	rm -rf out/demo
	$(BIN)/hello-distill demo --out out/demo

# Two at once, files whole, so that what a file sets up is set up once.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Into an environment from nothing, torch and all.
installed: setup
	$(BIN)/python -m pytest -m slow tests/repo/test_packaging.py -k pip_install

slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Broken links and anchors are errors.
docs: setup
	$(BIN)/zensical build --strict

# Needs chromium and its driver.
screenshots: setup
	$(BIN)/python scripts/screenshots.py

# PHOTOGRAPHS is the folder of Imagenette.
tutorial: setup
	$(BIN)/python scripts/tutorial.py $(PHOTOGRAPHS)

figures: setup
	$(BIN)/python scripts/figures.py

fuzz: setup
	$(BIN)/python scripts/fuzz.py --seconds $(SECONDS)

release: setup
	$(BIN)/python scripts/release.py

forecast: setup
	$(BIN)/python scripts/forecast.py $(PHOTOGRAPHS)

bench: setup
	$(BIN)/hello-distill bench --out results/bench.json

# What results/ was made by, and goes on where it was: days on two cores. Started twice, two share the work. CIFAR10,
# TINY and PHOTOGRAPHS are the folders of the data sets. Recipes have changed since cifar10.json, cifar10-rounds.json,
# tiny.json, tiny-varied.json and photographs.json were made, which go on at their own commits alone; what is made now
# has other names.
CIFAR10 ?= cifar10-jpeg
TINY ?= tiny-imagenet-32
PHOTOGRAPHS ?= imagenette96
RUN := OMP_NUM_THREADS=1 $(BIN)/hello-distill
SMALL := $(RUN) compare $(CIFAR10) --out results/cifar10-varied.json

experiments: setup
	$(SMALL) --ipc 1 10 50 --methods hello rded random --labels projector teacher hard static
	$(SMALL) --ipc 10 --methods hello rded random --labels teacher-int8 projector-int8 stored-1 stored-10 stored-100 \
		--models head projector teacher projector-int8 teacher-int8
	$(SMALL) --ipc 1 10 50 --methods rded-encoder --labels teacher
	$(SMALL) --ipc 1 10 --methods sre2l gvbsm --labels teacher hard static projector
	$(SMALL) --ipc 10 --methods hello rded random sre2l gvbsm --labels pruned quantized
	$(SMALL) --ipc 1 10 50 --methods hello rded random --labels stored
	$(SMALL) --ipc 1 10 --methods sre2l gvbsm --labels stored
	$(RUN) plot results/cifar10-varied.json
	$(BIN)/python scripts/presets.py $(CIFAR10) out/presets results/presets.json
	$(RUN) compare $(TINY) --recipe many --ipc 1 10 --methods hello rded random \
		--labels projector projector-int8 projector-int4 projector-float32 teacher teacher-int8 hard --out results/tiny-muon.json
	$(RUN) compare $(TINY) --recipe many --ipc 10 --methods rded-encoder --labels teacher --out results/tiny-muon.json
	$(RUN) plot results/tiny-muon.json
	$(RUN) compare $(PHOTOGRAPHS) --recipe photographs --methods hello rded random --students resnet18 \
		--labels projector teacher projector-int8 teacher-int8 hard --models head projector teacher \
		--out results/photographs-muon.json
	$(RUN) compare $(PHOTOGRAPHS) --recipe photographs --methods rded-encoder --students resnet18 --labels teacher \
		--out results/photographs-muon.json
	$(RUN) plot results/photographs-muon.json
	test -e results/plan_imagenette96.json || $(BIN)/hello-distill plan $(PHOTOGRAPHS) --ipc 10 --out results/plan_imagenette96.json
	test -e results/plan_tiny.json || $(BIN)/hello-distill plan $(TINY) --ipc 10 --out results/plan_tiny.json
	$(BIN)/python scripts/budgets.py $(TINY) out/budgets results/tiny-budgets.json
	for name in ablation stages ranks architectures choices lengths optimisers students students-hard crops images; do \
		$(RUN) study $(CIFAR10) --recipe $$name --out results/$${name}_cifar10.json || exit; \
	done
	for name in ablation architectures; do \
		$(RUN) study $(TINY):classes=tiny20 --recipe $$name-many --out results/$${name}_tiny20.json || exit; \
	done
	$(RUN) study $(PHOTOGRAPHS) --recipe images-photographs --out results/images_photographs.json
	for count in 500 3000 10000; do \
		$(RUN) study $(PHOTOGRAPHS) --recipe steps-$$count --out results/steps_$$count.json || exit; \
	done
	$(RUN) continual $(CIFAR10) --out results/continual_cifar10.json
	$(RUN) continual $(TINY):classes=tiny20 --recipe many --out results/continual_tiny20.json
	$(MAKE) results

results: setup
	$(BIN)/python scripts/readme.py

clean:
	rm -rf .venv out dist build
