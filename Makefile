# The course's commands. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
LAB_ARGS ?=
PYTEST_ARGS ?=
PORT ?= 8000
# A laptop without a GPU: `make lab CPU=1` takes PyTorch's CPU wheels, gigabytes smaller on Linux.
CPU ?=
TORCH_SOURCE := $(if $(CPU),--index-url https://download.pytorch.org/whl/cpu,)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
LAB_READY := .venv/.lab-ready
DEV_READY := .venv/.dev-ready
# Three workers for two cores: much of the time a test waits for ranks, the scheduler or a browser.
WORKERS := --numprocesses 3 --dist loadscope --no-loadscope-reorder
NBVAL := --nbval --nbval-sanitize-with tests/nbval.cfg --nbval-cell-timeout 540
NOTEBOOKS := notebooks exercises/solutions

# Python reads its own files in the locale's encoding: one without UTF-8 ends at the first umlaut in a path.
ifneq ($(shell locale charmap 2>/dev/null),UTF-8)
export LC_ALL := C.UTF-8
endif

.DEFAULT_GOAL := help
.PHONY: help setup lab check test lint book serve bench gpu outputs clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(LAB_READY) ## install what the lessons need into .venv/

# What JupyterLab, IPython and Matplotlib write goes below .scaleup/, unless these variables say otherwise.
lab: export IPYTHONDIR ?= $(CURDIR)/.scaleup/ipython
lab: export JUPYTER_CONFIG_DIR ?= $(CURDIR)/.scaleup/jupyter/config
lab: export JUPYTER_DATA_DIR ?= $(CURDIR)/.scaleup/jupyter/data
lab: export MPLCONFIGDIR ?= $(CURDIR)/.scaleup/matplotlib
lab: $(LAB_READY) ## open JupyterLab on the first page (LAB_ARGS=--no-browser for a remote machine)
	$(BIN)/jupyter lab $(LAB_ARGS)

check: $(DEV_READY) lint ## while working: every test that starts no process, on both cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not processes" --numprocesses 2 $(PYTEST_ARGS)

test: check ## run every test, and compare every notebook's outputs with nbval
	$(BIN)/python -m pytest -m processes $(WORKERS) $(NBVAL) $(PYTEST_ARGS) tests $(NOTEBOOKS) $$($(BIN)/python -m tools.without_slurm)
	@$(BIN)/python -m tools.run_notebooks --share

lint: $(DEV_READY) ## look over the code's style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

book: $(DEV_READY) ## build the site into _build/html
	$(BIN)/jupyter-book build . -W --keep-going

serve: ## show the built site on this machine (PORT=8000)
	@test -f _build/html/index.html || { echo "There is no site yet. Build it first: make book"; exit 2; }
	@echo "http://127.0.0.1:$(PORT)/ (Control-C stops it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

bench: $(DEV_READY) ## measure against transformers and bare PyTorch, and update the pages
	$(BIN)/python -m tools.bench
	$(BIN)/python -m tools.bench_parallel
	$(BIN)/python -m tools.parallel_sweep --seeds 60:360

gpu: $(LAB_READY) ## run what the lessons do on a GPU, record it in data/measured/, and update the page
	$(BIN)/python -m tools.gpu

outputs: $(DEV_READY) ## run every notebook anew, derive the exercises and the pages made from data
	$(BIN)/python -m tools.run_notebooks
	$(BIN)/python -m tools.machine_pages
	$(BIN)/python -m tools.access_pages
	$(BIN)/python -m tools.picture_gallery
	$(BIN)/python -m tools.failure_page
	$(BIN)/python -m tools.proposal_pages
	$(BIN)/python -m tools.gpu.page
	$(BIN)/python -m scaleup.plan.evidence.validate

clean: ## remove what was generated; your answers and progress stay
	rm -rf _build .scaleup/corpus .scaleup/runs .pytest_cache .ruff_cache .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is older or missing. Install it, or name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "The venv module did not work. On Debian and Ubuntu: sudo apt install python3-venv"; exit 2; }

# PyTorch first: installed last, another package's looser range could bring a different build.
$(LAB_READY): pyproject.toml constraints.txt $(wildcard src/scaleup/lab/*) | .venv/bin/python
	$(PIP) $(TORCH_SOURCE) torch
	$(PIP) --editable '.[lab]'
	$(BIN)/scaleup prepare
	@touch $@

$(DEV_READY): $(LAB_READY)
	$(PIP) --editable '.[lab,dev]'
	@touch $@
