# make demo, make test, make lint, make bench: each makes .venv first, if it is not up to date.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
CHECKED := relay tests bench

# A python of 3.11 or newer that can make environments, with pip in them.
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHONS := $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11

.PHONY: demo test lint bench constraints clean

demo: $(INSTALLED)
	$(BIN)/relay demo

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED_DEV)
	$(BIN)/python bench/postfix.py

# Pins what a new environment gets today; for when dependencies change.
constraints:
	rm -rf build/constraints && mkdir -p build
	python3 -m venv build/constraints
	build/constraints/bin/python -m pip --quiet install --editable '.[dev]'
	build/constraints/bin/python -m pip freeze --exclude-editable > constraints.txt
	rm -rf build/constraints

clean:
	rm -rf $(VENV) build

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[dev]'
	touch $@ $(INSTALLED)

$(BIN)/python:
	@for python in $(PYTHONS); do \
		if $$python -c '$(FITS)' 2>/dev/null; then \
			echo "making $(VENV) with $$python"; exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "No Python of 3.11 or newer with venv was found. On Debian and Ubuntu:" >&2; \
	echo "apt install python3-venv; or say where one is: make PYTHON=/path/to/python3" >&2; \
	exit 1
