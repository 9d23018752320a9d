# Everything runs from a fresh clone: the first target that needs the environment sets it up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench

# a sanitizer has to be in the process before Python is; what torch and Python leak is not ours; stacks that outlive
# their functions are misaligned for AVX-512 by g++ 13 (GCC's bug 110027)
SANITIZED = LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 CXX=g++ RECURRA_CACHE=$(CURDIR)/$(VENV)/sanitized \
	RECURRA_CXXFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"

# where shapes and types are checked at run time
CHECKED := recurra.backends,recurra.nn,beartype.beartype

.PHONY: demo test check most fast test-slow sanitize bench pictures caption-pictures frame-pictures report-pictures setup lint types clean

setup: $(READY)

# constraints.txt pins every version; torch comes first, so that nothing else pulls another build of it
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps -c constraints.txt aeon  # for its data files alone
	touch $(READY)

demo: $(READY)  ## train on the Python standard library's source for one minute, then sample
	$(BIN)/recurra train lm --out runs/demo-$$(date +%Y%m%d-%H%M%S) --max-minutes 1

test: lint  ## lint, types, and all tests but the slow ones, beside each other
	+$(MAKE) --jobs 2 types most

check: $(READY)  ## under a minute: lint, types, the fast tests, beside each other
	+$(MAKE) --jobs 3 lint types fast

# a half of the tests for each worker, and who has none left takes some from the other: what the tests of a file share
# is made once
most: $(READY)
	$(BIN)/pytest --quiet -n 2 --dist worksteal -m "not slow" --durations 15

# shapes are checked at run time by make test alone: that takes as long again
fast: $(READY)
	$(BIN)/pytest --quiet -n 2 --dist worksteal -m "not slow and not medium" --maxfail 5 --jaxtyping-packages=

test-slow: $(READY)  ## the tests that take minutes, 2,000 random cells among them
	$(BIN)/pytest --quiet -n 2 --dist worksteal -m slow --timeout 3600 --jaxtyping-packages=$(CHECKED) tests/backends
	$(BIN)/pytest --quiet -m slow --timeout 3600 --ignore tests/backends

sanitize: $(READY)  ## compiled loops under AddressSanitizer and UndefinedBehaviorSanitizer
	$(SANITIZED) $(BIN)/pytest --quiet -n 2 --dist worksteal -m "not slow" --timeout 1800 \
		-k "sanitizer or registry or function or compiled or threads or turns or gradients or longest" \
		tests/backends/test_compiler.py tests/backends/test_cpu.py tests/backends/test_crowding.py \
		tests/backends/test_cpu_functions.py tests/backends/test_random_cells.py \
		tests/backends/test_memories_compiled.py tests/backends/test_random_memories.py
	$(SANITIZED) $(BIN)/pytest --quiet -m "not slow" --timeout 1800 -k "largest or chosen or finite or writing" \
		tests/backends/test_steps.py

# torch is there already, so that what it is compared with cannot pull another build of it
$(BENCH_READY): $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	touch $(BENCH_READY)

bench: $(BENCH_READY)  ## every benchmark, in one table; BENCH="torch_nn --quick" for some of it
	$(BIN)/python -m benchmarks $(BENCH)

pictures: $(READY)  ## draw what the pages show of worlds that are made up, and of networks that read them
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.draw_deconvnet
	$(BIN)/python -m benchmarks.draw_alignment

caption-pictures: $(READY)  ## draw what RUN=runs/scenes says of scenes and where it looks; without RUN one is trained, for minutes
	$(BIN)/python -m benchmarks.draw_captions $(RUN)

frame-pictures: $(READY)  ## draw docs/frames.md: curves from its table, and clips of RUN=runs/frames, which the benchmark frames leaves
	$(BIN)/python -m benchmarks.draw_frames $(RUN)

report-pictures: $(READY)  ## photograph a report of fresh cells, or of RUN=runs/first, for README and docs; it takes a Chromium
	$(BIN)/python -m benchmarks.draw_report $(RUN)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
