# Everything here sets itself up: a fresh clone needs git, Python 3.11 or newer, and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
RUN := PYTHONPATH=src $(VENV)/bin/python
# More than two cores: many tests wait for servers.
WORKERS ?= 4

.PHONY: help demo test tools lint types check golden bench bench-analysis lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.runtime  ## run the main job on the embedded world, from an empty directory to the audit
	@$(RUN) -P -m gitops demo

test: tools  ## run all tests, with real Git, Kubernetes and Terraform
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

tools: $(VENV)/.development  ## build and fetch the servers that tests run, once, into the user's cache
	@$(RUN) -m tests.support.tools

lint: $(VENV)/.development  ## check style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.development  ## check types
	$(VENV)/bin/mypy

check: lint types test  ## all that CI does

golden: $(VENV)/.development  ## rewrite the golden files of rendering and views; read the diff before you commit it
	UPDATE_GOLDEN=1 $(RUN) -m pytest -q tests/render tests/view

bench: $(VENV)/.development  ## measure speed, beside the peers that are installed
	$(RUN) -m benchmarks $(ARGS)

bench-analysis: $(VENV)/.development  ## simulate rollouts: false rollbacks and detection, beside the rules of others
	$(RUN) -m benchmarks.analysis $(ARGS)

lock: $(VENV)/.development  ## pin dependencies again, with hashes
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements/runtime.txt
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --group dev pyproject.toml \
	    -o requirements/development.txt
	$(VENV)/bin/python requirements/lock.py $(VENV)/bin/uv

clean:  ## remove the virtual environment and what tools leave behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { echo "Python has no venv module: install python3-venv" >&2; exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python requirements/runtime.txt
	@echo "installing what gitops needs into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements/development.txt
	@echo "installing what tests and checks need into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/development.txt
	@touch $@
