.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
WORKERS ?= auto

# pip of a fresh venv may be too old to know dependency groups, so it is brought up to date first.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'

$(STAMPS)/run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m compileall -q paramcli || true
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: $(STAMPS)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group test
	@touch $@

$(STAMPS)/check: $(STAMPS)/test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group check
	@touch $@

FUZZ_SECONDS ?= 60
PYTHONS ?= python3.12 python3.13
TORCHES ?= 2.6.0 2.14.1
BENCH ?=

.PHONY: help demo test versions property fuzz check fmt bench samples docs dist clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

demo: $(STAMPS)/run ## install into .venv and list a real checkpoint
	$(BIN)/paramcli list sample_models/files/model.pt --format table

test: $(STAMPS)/test ## run all tests
	$(BIN)/python -m pytest -n $(WORKERS)

# The oldest and the newest torch on PYTHON, and the pinned one on every Python.
versions: ## run all tests on other Pythons and torches, each in a venv of its own (downloads gigabytes)
	@set -e; for pair in $(TORCHES:%=$(PYTHON)/%) $(PYTHONS:%=%/$(shell sed -n 's/^torch==//p' constraints.txt)); do \
	  echo "$$pair"; venv=$(VENV)/versions/$$pair; $${pair%/*} -m venv $$venv; \
	  $$venv/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'; \
	  $$venv/bin/python -m pip install --quiet "torch==$${pair#*/}" -e . --group test; \
	  $$venv/bin/python -m pytest -n $(WORKERS); \
	done

property: $(STAMPS)/test ## run the property tests alone, with many more examples
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n $(WORKERS) tests/property

fuzz: $(STAMPS)/test ## spoil files of every format for FUZZ_SECONDS, and hold what is read against torch
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m tests.fuzz

check: $(STAMPS)/check ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: $(STAMPS)/check ## put the code into its form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(STAMPS)/test ## time it against what people do instead (BENCH=--quick: in two minutes)
	$(BIN)/python -m benchmarks.run --write docs/benchmarks.md $(BENCH)

samples: $(STAMPS)/run ## build the sample checkpoints anew
	$(BIN)/python -m sample_models.make

docs: $(STAMPS)/test ## write what every console block of README and docs/ prints, and the pictures
	$(BIN)/python -m tests.documents
	$(BIN)/python -m tests.pictures

dist: $(STAMPS)/test ## build sdist and wheel, and try the wheel in a venv of its own
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	rm -rf dist && $(BIN)/python -m build --outdir dist .
	rm -rf $(VENV)/wheel && $(PYTHON) -m venv $(VENV)/wheel
	$(VENV)/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd dist && ../$(VENV)/wheel/bin/paramcli --version
	cd dist && ../$(VENV)/wheel/bin/paramcli list ../sample_models/files/model.pt
	cd dist && ../$(VENV)/wheel/bin/paramcli init ../sample_models/files/model.pt --scheme kaiming -o smoke.safetensors
	cd dist && ../$(VENV)/wheel/bin/paramcli init --verify smoke.safetensors
	rm -f dist/smoke.safetensors

clean: ## remove what was installed and built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
