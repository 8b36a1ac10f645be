# Two commands on a fresh machine with Python 3.11+ and make: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Each test worker starts its own Postgres, Spark and broker: some 3 GB.
WORKERS ?= 2

NBVAL  := WORKBENCH_STATIC=1 $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=300 notebooks

.DEFAULT_GOAL := help
.PHONY: help quickstart test fast lint env lab kafka docs lock clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

quickstart: $(VENV)/.base ## the main job: four definitions, a point-in-time correct training set, the same numbers served
	@$(BIN)/workbench quickstart

test: $(VENV)/.all ## everything the tests need, then all of them
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	@$(NBVAL) || { echo "once more, for a kernel's port may be taken between its choice and its use"; $(NBVAL) --last-failed; }

fast: $(VENV)/.all ## the tests without Spark, Postgres and long runs
	@$(BIN)/python -m pytest -m "not slow" -x -q

lint: $(VENV)/.all ## the linter and the type checker
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check . && $(BIN)/mypy

env: $(VENV)/.all ## .venv with everything

lab: $(VENV)/.all ## JupyterLab on the notebooks
	@$(BIN)/jupyter lab --notebook-dir notebooks $$([ "$$(id -u)" = 0 ] && echo --allow-root)

kafka: $(VENV)/.all ## a real Apache Kafka on a loopback port, for notebook 04 and by hand
	@$(BIN)/python tests/helpers/broker.py

docs: $(VENV)/.all ## docs/reference.md from the docstrings, and the notebooks' outputs
	@$(BIN)/python docs/make_reference.py
	@$(BIN)/python docs/run_notebooks.py

lock: $(VENV)/.all ## requirements.lock anew: the newest versions that the bounds allow
	@$(BIN)/uv pip compile -q --all-extras --no-header --no-annotate --no-emit-index-url --upgrade pyproject.toml -o requirements.lock

clean: ## remove what was made
	rm -rf $(VENV) .workbench .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is older: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made: install the venv module of $(PYTHON) (on Debian: apt install python3-venv) and run this again."; exit 1; }

comma := ,
# uv is several times faster; where it is not to be had, pip does the same.
define install
	@echo "installing $(1) into $(VENV) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv 2>/dev/null || true
	@if [ -x $(BIN)/uv ]; then VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q -c requirements.lock -e "$(2)"; \
	 else $(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e "$(2)"; fi \
	 || { echo "The install failed: see the lines above; it needs a package index in reach (PIP_INDEX_URL, UV_INDEX_URL). Then run this again: it goes on where it stopped."; exit 1; }
endef

$(VENV)/.base: pyproject.toml requirements.lock | $(BIN)/python
	$(call install,the base and the online store and monitoring,.[postgres$(comma)monitoring])
	@touch $@

$(VENV)/.all: pyproject.toml requirements.lock | $(BIN)/python
	$(call install,everything,.[all])
	@touch $@ $(VENV)/.base
