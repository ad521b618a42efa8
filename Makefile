# `make demo` runs the main job, `make test` the tests; each makes .venv and installs on demand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench format constraints clean

demo: $(VENV)/.installed
	$(BIN)/sweeps run examples/digits.yaml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.serial --pairs 5
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.optimizers --markdown --output benchmarks/results/optimizers.json
	$(BIN)/python -m benchmarks.storage --markdown --output benchmarks/results/storage.json
	$(BIN)/python -m benchmarks.side_by_side --markdown --output benchmarks/results/side-by-side.json

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Writes every pin anew from what the newest allowed versions resolve to. torch's own wheel is
# named without its build tag, so that the same pin gives the CPU or the CUDA build.
constraints:
	rm -rf .venv-constraints
	$(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet 'torch==2.13.0' -e '.[dev,ray,bench,examples]'
	(echo "# Every pin. Made by: make constraints"; \
	 .venv-constraints/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//') > constraints.txt
	rm -rf .venv-constraints

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(PIP) -e '.[dev,bench]'
	touch $@

clean:
	rm -rf $(VENV) .environments .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
