# Everything runs from a fresh clone: the first target that needs the environment sets it up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check test-slow bench setup lint types clean

setup: $(READY)

# constraints.txt pins every version; torch comes first, so that nothing else pulls another build of it
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)  ## train on the Python standard library's source for one minute, then sample
	$(BIN)/recurra train lm --out runs/demo-$$(date +%Y%m%d-%H%M%S) --max-minutes 1

test: lint types  ## lint, types, and all tests but the slow ones
	$(BIN)/pytest --quiet -n 2 -m "not slow"

check: lint types  ## under a minute: lint, types, the fast tests
	$(BIN)/pytest --quiet -n 2 -m "not slow and not medium" --maxfail 5

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/pytest --quiet -m slow --timeout 3600

bench: $(READY)  ## every benchmark, in one table
	$(BIN)/python -m benchmarks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
