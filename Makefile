# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Containers often forbid Python to keep compiled modules. Tests start some hundred processes, and each would compile all
# that it imports again, as pytest all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-ops test-often test-lowest check mutants kills fuzz bench load screenshots wheel clean

# On Linux, PyPI's torch brings gigabytes of CUDA, which tests do not need. PyTorch's own index has the CPU build; it is
# asked where pip is told of no other place for packages. TORCH_INDEX= takes what PyPI has.
TORCH_INDEX ?= $(if $(PIP_FIND_LINKS)$(PIP_INDEX_URL),,https://download.pytorch.org/whl/cpu)

# How long `make fuzz` takes, in all.
FUZZ_SECONDS ?= 3600

demo: $(VENV)/installed
	$(BIN)/dawnchorus demo

PYTEST := $(BIN)/python -m pytest -q
QUICK := -m 'not ops' -n auto --dist loadgroup

test: $(VENV)/ready
	$(PYTEST) $(QUICK)

# What takes long: real browsers, databases and proxies, and servers and trainers that are killed.
test-ops: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group ops
	$(PYTEST) -m ops

# The same tests as `make test` in other orders, time zones and languages, beside a busy machine, and as another user.
test-often: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group often
	PYTHON=$(BIN)/python tests/often.sh

# Tests with the oldest versions that pyproject.toml allows.
test-lowest: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group lowest
	PYTHON=$(PYTHON) UV=$(BIN)/uv tests/lowest.sh

check: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/deptry src

# Plants faults one at a time, and counts those that `make test` notices. N and SEED choose the sample.
N ?= 150
SEED ?= 1
mutants: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group mutation
	$(BIN)/python -m bench.mutants --n $(N) --seed $(SEED)

# Kills processes that write an archive in shards N times, and compares its rows with those of an undisturbed run.
kills: N = 200
kills: $(VENV)/ready
	$(BIN)/python -m bench.kills --n $(N) --seed $(SEED)

# Gives damaged files, tables, headers and requests to their readers, guided by coverage. Findings go to fuzz/work/.
fuzz: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group fuzz
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

# Measures this machine: speed against the named peers, overhead, memory, agreement. Takes half an hour and 6 GB of disk.
bench: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group ops
	$(BIN)/python -m bench

# What the demo needs.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# What the quick tests need besides; the other targets install their own.
$(VENV)/ready: $(VENV)/installed
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --constraint constraints.txt --extra-index-url $(TORCH_INDEX) torch)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[all]'
	touch $@

# Locust against one, two and four servers behind nginx with PostgreSQL.
load: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group ops
	$(BIN)/python -m bench load

# Pictures of the pages for the documents, in docs/images/pages.
screenshots: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group ops
	$(BIN)/python -m bench.screenshots

# Builds the wheel and tries it in a fresh environment, away from the sources.
wheel: $(VENV)/installed
	rm -rf dist .venv-wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && ../.venv-wheel/bin/dawnchorus demo

clean:
	rm -rf $(VENV) .venv-* dist build
