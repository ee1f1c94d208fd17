# Everything from a fresh clone: each target sets up what it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SECONDS ?= 600
SMOKE := experiment=digits_resnet limit=4 "method=[ig,saliency,random]" "metric=[completeness,srg,sensitivity_n]"

.PHONY: installed run test slow smoke soak lint docs clean

installed: $(VENV)/installed-dev ## all that the targets below need

run: $(VENV)/installed          ## the default experiment: a real model on real photographs
	$(BIN)/python -m igbench $(ARGS)

test: $(VENV)/installed-dev     ## the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

slow: $(VENV)/installed-dev     ## the long tests
	$(BIN)/python -m pytest -m slow $(ARGS)

smoke: $(VENV)/installed        ## a small run, twice, and the comparison that gates a release
	rm -rf $(VENV)/smoke
	$(BIN)/python -m igbench $(SMOKE) results_dir=$(VENV)/smoke
	$(BIN)/python -m igbench $(SMOKE) results_dir=$(VENV)/smoke overwrite=true
	$(BIN)/python -m igbench compare $(VENV)/smoke/digits_resnet/*

soak: $(VENV)/installed-dev     ## attacks on a tiny run for SECONDS=600; writes docs/attacks.md
	$(BIN)/python -m experiments.soak.attack --seconds $(SECONDS) $(ARGS)

lint: $(VENV)/installed-dev     ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed-dev     ## the documentation as a site, in build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m mkdocs build --quiet --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
