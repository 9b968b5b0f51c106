# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-ops check bench load wheel clean

demo: $(VENV)/installed
	$(BIN)/dawnchorus demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -q -m 'not ops'

# What takes long: real browsers, databases and proxies, and servers and trainers that are killed.
test-ops: $(VENV)/ready
	$(BIN)/python -m pytest -q -m ops

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

# Measures this machine: speed against the named peers, overhead, memory, agreement. Takes half an hour and 6 GB of disk.
bench: $(VENV)/ready
	$(BIN)/python -m bench

# What the demo needs.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# What tests and checks need besides.
$(VENV)/ready: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[all,track]'
	touch $@

# Locust against one, two and four servers behind nginx with PostgreSQL.
load: $(VENV)/ready
	$(BIN)/python -m bench load

# Builds the wheel and tries it in a fresh environment, away from the sources.
wheel: $(VENV)/installed
	rm -rf dist .venv-wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && ../.venv-wheel/bin/dawnchorus demo

clean:
	rm -rf $(VENV) .venv-* dist build
