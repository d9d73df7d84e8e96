# Two promises: `make lessons` sets everything up and opens the course; `make test` sets everything up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JUPYTER_FLAGS ?=
PYTEST_FLAGS ?=
export OMP_NUM_THREADS ?= 1

.PHONY: env lessons test lint types unit notebooks build-lessons bench experiments api clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ebmlearn needs Python >= 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,browser,images]'
	@touch $@

env: $(VENV)/.stamp  ## build .venv from pyproject.toml and constraints.txt

lessons: env  ## set everything up and open the course in JupyterLab
	$(BIN)/python -m jupyterlab $(JUPYTER_FLAGS) lessons/00_setup_and_tour.ipynb

test: lint types unit  ## set everything up and pass the tests

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

unit: env
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(PYTEST_FLAGS)

notebooks: env  ## only the notebooks, by nbval at smoke size (part of make test)
	$(BIN)/python -m tools.run_nbval

build-lessons: env  ## rebuild every notebook from lessons/source (executes them at full size)
	$(BIN)/python -m tools.build_lessons

bench: env  ## speed beside named peers; tables in benchmarks/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.langevin

experiments: env  ## the long results: tables in data/results/
	$(BIN)/python -m experiments

api: env  ## regenerate docs/api.md from the docstrings
	$(BIN)/python -m tools.api_reference

clean:  ## remove what the commands above made
	rm -rf $(VENV) .mypy_cache .ruff_cache build dist
