# Shortcuts. `make app` and `make test` need Python 3.11 or 3.12, make and the package index, nothing else.

PYTHON ?= python3.11 python3.12 python3 python
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help env app lab test quick lint notebooks report bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(INSTALLED)  ## create .venv and install the pinned packages and xai

# The first candidate that runs and is new enough makes the environment. xai itself is installed without looking for
# dependencies (all of them are in requirements.txt) and with the pinned build tool (so nothing else is fetched).
$(INSTALLED): requirements.txt pyproject.toml
	@for python in $(PYTHON); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then \
			echo "Creating $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "xai needs Python 3.11 or 3.12, and none of these is it: $(PYTHON). Name yours: make PYTHON=/path/to/python3.11" >&2; exit 1
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

app: env  ## serve the app on this computer
	$(BIN)/xai app

lab: env  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

test: lint  ## lint, types and all tests
	$(PYTEST) --durations=15

quick: env  ## the tests without those marked slow, browser or notebook
	$(PYTEST) -m "not slow and not browser and not notebook"

lint: env  ## style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

notebooks: env  ## execute the notebooks and export them to exported_html/
	$(BIN)/xai notebooks

report: env  ## write the generated parts of the report anew, and grade it
	$(BIN)/xai report build
	$(BIN)/xai report check

bench: env  ## time the methods side by side with other libraries (WEIGHTS=FILE: of the MobileNet-V2 for LIME)
	$(BIN)/python benchmarks/cam.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/lime.py $(if $(WEIGHTS),--weights $(WEIGHTS))

clean:  ## remove .venv and what tools left behind
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
