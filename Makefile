# The commands of the house.  Everything happens in .venv; nothing else on the
# machine is touched.  PYTHON chooses the interpreter the venv is made from.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := setup.py pyproject.toml $(wildcard csrc/*.c csrc/*.h csrc/*.map) \
	$(wildcard csrc/include/*.h csrc/include/daxcore/*.h daxcore/*.p[yx][xd])

.PHONY: bench gates test test-vm lint model wheel-test c-test c-test-tsan clean

bench: $(STAMP)
	$(BIN)/daxcore bench hole-read

# Every bar the engine has set itself, measured beside its floor.
gates: $(STAMP)
	$(BIN)/python benchmarks/gates.py

test: $(STAMP)
	$(BIN)/python -m pytest tests -rs

$(STAMP): $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench,test]'
	touch $@

lint: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check ruff mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest daxcore._core daxcore._memmap

# Linux itself as the referee, in a virtual machine; VM_ARGS: docs/testing.md.
test-vm: $(STAMP)
	$(BIN)/python tests/vm/run.py $(VM_ARGS)

# From sdist to wheel to an environment elsewhere, as users get it.
wheel-test: $(STAMP)
	$(BIN)/python -m pytest tests/test_packaging.py -rs

# Every order of steps of the entry lock, by spin: docs/models/README.md.
model:
	$(PYTHON) docs/models/run.py

c-test:
	$(MAKE) -C csrc check

c-test-tsan:
	$(MAKE) -C csrc check-tsan

clean:
	rm -rf build dist $(VENV) *.egg-info csrc/build* daxcore/include daxcore/lib
	rm -f daxcore/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +
