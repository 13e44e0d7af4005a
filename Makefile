# `make demo` and `make test` need Python 3.11 or newer and make; they make .venv first.
PYTHON ?= python3
# On a machine with an NVIDIA GPU: make install EXTRAS=train,gpu,logs,dev
EXTRAS ?= train,cpu,logs,dev
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet

.PHONY: install demo check test test-gpu reproduce docs example go1 build clean   # build and docs are folders, too

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("surefoot needs Python 3.11 or newer, this is %s: make PYTHON=/path/to/a/newer/python" % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@

demo: install
	$(BIN)/pipeline run --preset demo --out runs/demo

check: install docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy docs/hooks
	$(BIN)/lint-imports

# Every link, every page and every docstring is held; the site needs no network and no server.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# In the order of the folders: by their number of tests the longest files would come last, on one core.
test: install
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Some minutes: 20,000 steps of each preset, whose digests docs/results/reproduce.json has.
reproduce: install
	$(BIN)/python benchmarks/reproduce.py

# On a machine with an NVIDIA GPU; docs/hardware.md tells what to install.
test-gpu: install
	SUREFOOT_TEST_GPU=1 NVIDIA_TF32_OVERRIDE=0 $(BIN)/pytest -ra tests/runtime/test_tensorrt.py tests/train/test_gpu.py

# The signed bundle of the README's first minute. It trains nothing: it takes a run, such as the demo's.
# Nobody keeps the private key: the public one shows that a signature is checked, not who we are.
RUN ?= runs/demo
example: install
	rm -rf build/example && mkdir -p build/example
	$(BIN)/pipeline certify $(RUN) --out build/example/certificate.json
	$(BIN)/pipeline keygen --out build/example/hopper
	$(BIN)/pipeline export $(RUN) --certificate build/example/certificate.json --target onnx,c --sign build/example/hopper --out examples/hopper
	cp build/example/hopper.pub examples/hopper.pub && rm build/example/hopper
	$(BIN)/pipeline verify examples/hopper --key examples/hopper.pub
	test $$(cat examples/hopper/* | wc -c) -le 1000000

# The Unitree Go1 of mjlab (Apache-2.0) for examples/go1.py, in a folder of its own: mjlab pins another MuJoCo.
go1: install
	$(PIP_INSTALL) --no-deps --upgrade --target build/mjlab mjlab==1.6.0

build: install
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
