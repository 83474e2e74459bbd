# `make demo` and `make test` set everything up first; when nothing has changed they start at once.
#
# make setup TORCH_INDEX=<address of a pip index>   takes torch from there, e.g. a CUDA or CPU index of PyTorch.
# Without it pip decides: a wheel it is set up to find (PIP_FIND_LINKS, pip.conf), else the build of the registry.

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
ifndef PYTHON
PYTHON := $(shell for one in python3.11 python3.12 python3.13 python3; do \
  if $$one -c '$(FITS)' 2>/dev/null; then command -v $$one; exit; fi; done; echo python3.11)
endif
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' constraints.txt)
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
MLFLOW_PORT ?= 5000
RECIPES ?= $(shell grep -l "^\[schedule\]" pipelines/recipes/*.toml)

# No dependency calls its makers. One thread per process in tests: several of them share the cores.
export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = true
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test lint serve schedule mlflow lock bench clean python

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(VENV)/.stamp  ## make .venv with everything in it; TORCH_INDEX=… for a CUDA build of torch

demo: $(VENV)/.stamp  ## the whole flow on real series: train, compare, promote, serve, forecast
	$(BIN)/python -m pipelines.demo

test: $(VENV)/.stamp  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/.stamp  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: $(VENV)/.stamp  ## the HTTP service; HOST=… PORT=…
	$(BIN)/tsforecast serve --host $(HOST) --port $(PORT)

schedule: $(VENV)/.stamp  ## run recipes by their cron lines; RECIPES="a.toml b.toml"
	$(BIN)/tsforecast schedule $(RECIPES)

mlflow: $(VENV)/.stamp  ## the MLflow UI; HOST=… MLFLOW_PORT=…
	$(BIN)/tsforecast mlflow --host $(HOST) --port $(MLFLOW_PORT)

bench: $(VENV)/.stamp  ## the benchmarks of tests/benchmarks, one after the other
	set -e; for file in tests/benchmarks/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$file; done

lock: $(VENV)/.stamp  ## write constraints.txt anew: the newest versions that work together, torch as it is
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet $(TORCH)
	build/lock/bin/pip install --quiet --editable '.[dev]' 'pandas<3'
	build/lock/bin/pip check
	build/lock/bin/pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' \
	  | grep -E '^[A-Za-z0-9._-]+==' | grep -Eiv '^(nvidia|cuda|triton|pip==|setuptools==|wheel==)' > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

clean:  ## remove .venv and what runs and tools have left; mlruns stays
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and alone: its index may not have the rest, and without its dependencies the CUDA packages of a build that
# is not wanted are not fetched. The second step then asks for what the build at hand needs.
$(VENV)/.stamp: $(VENV)/.torch pyproject.toml constraints.txt
	@echo 'installing everything else (a minute or two)'
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.torch: $(VENV)/.made constraints.txt $(VENV)/.torch-index
	@echo 'installing $(TORCH)'
	@$(BIN)/pip install --quiet --no-deps $(if $(TORCH_INDEX),--force-reinstall --index-url $(TORCH_INDEX)) $(TORCH)
	@touch $@

$(VENV)/.made: | python
	@echo 'making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# Changes when TORCH_INDEX is given and is another one than last time.
$(VENV)/.torch-index: $(VENV)/.made $(if $(TORCH_INDEX),$(if $(filter-out $(TORCH_INDEX),$(shell cat $(VENV)/.torch-index 2>/dev/null || echo -)),FORCE))
	@echo '$(or $(TORCH_INDEX),-)' > $@

FORCE:

python:
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { \
	  echo 'Python 3.11, 3.12 or 3.13 is missing. Debian and Ubuntu: apt install python3.11 python3.11-venv (or python3 python3-venv);'; \
	  echo 'Fedora: dnf install python3.11. Elsewhere: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'This Python has no venv. Debian and Ubuntu: apt install python3-venv (or python3.11-venv, as your version is)'; exit 1; }
