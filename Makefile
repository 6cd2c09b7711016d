# make demo    set up, then train the quickstart classifier and print its accuracy and report
# make test    set up, then run the tests
# make check   format, lint, types, import contracts, generated files
# make bench   the measurements of benchmarks/
# make clean   remove what the above made

PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || sysctl -n hw.physicalcpu 2>/dev/null || echo 2)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test check docs bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[4bit,offline,dev]'
	@touch $@

demo: setup
	@rm -rf demo
	@$(BIN)/pennyweight train quickstart --out demo/quickstart

test: setup
	$(BIN)/pytest -q --numprocesses auto --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/make_reference.py --check
	$(BIN)/python tools/make_architectures.py --check

docs: setup
	$(BIN)/python docs/make_reference.py
	$(BIN)/python tools/make_architectures.py

bench: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[4bit,offline,dev,benchmarks]'
	for name in accuracy training time_to_accuracy inference growth startup drawing; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
