# The few verbs that people use. Each makes its own environment, once.
#
#     make test PYTHON=python3.12         choose the interpreter
#     make test ARGS="-k circuit -x"      pass arguments on

PYTHON ?= python3
JOBS ?= 2
ARGS ?=
PROCESSORS ?= plain this

# What goes into each environment.
DEMO := .venv-demo
TEST := .venv-test
QISKIT := .venv-qiskit
BENCH := .venv-bench
OLDEST := .venv-oldest
NEWEST := .venv-newest
DEV := .venv-dev
INSTALL_$(DEMO) := -e ".[train,plot]"
INSTALL_$(TEST) := -e ".[train,plot]" --group tests
INSTALL_$(QISKIT) := -e ".[train,plot,qiskit]" --group tests qiskit-qasm3-import
INSTALL_$(OLDEST) := -e ".[train,plot]" --group tests -c tests/oldest.txt
INSTALL_$(NEWEST) := -e ".[train,plot]" --group tests
INSTALL_$(BENCH) := -e ".[bench]"
INSTALL_$(DEV) := -e ".[train,plot]" --group dev

# The tests of what users see, without the annotation checks: users do not have them. (ARGS may leave
# none of them, which is exit code 5.)
SURFACE = -m pytest -n $(JOBS) --dist worksteal \
	-o addopts="--import-mode=importlib --strict-config --strict-markers -ra" \
	tests/surface $(ARGS) || test $$? -eq 5

.DEFAULT_GOAL := help
.PHONY: help demo test test-surface test-portable test-devices test-qiskit test-oldest test-newest lint format docs notebooks serve bench clean python

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## /  make \1   /p' $(MAKEFILE_LIST)

demo: $(DEMO)/installed  ## train the 4-qubit model on real digits and draw what it did
	$(DEMO)/bin/python examples/demo.py $(ARGS)

test: $(TEST)/installed  ## all tests: laws in float64, what precision changes in float32 too
	env -u JAX_ENABLE_X64 $(TEST)/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	JAX_ENABLE_X64=1 $(TEST)/bin/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)
	$(MAKE) test-surface

test-surface: $(TEST)/installed  ## what users see, as they see it: without annotation checks
	env -u JAX_ENABLE_X64 $(TEST)/bin/python $(SURFACE)
	JAX_ENABLE_X64=1 $(TEST)/bin/python $(SURFACE)

# What passes on one processor only passes by luck.
test-portable: $(TEST)/installed  ## float32 numerics as a plain processor rounds, then as this one
	for processor in $(PROCESSORS); do \
		flags=$$($(TEST)/bin/python tests/_xla_flags.py $$processor); \
		env -u JAX_ENABLE_X64 XLA_FLAGS="$$flags" \
			$(TEST)/bin/python -m pytest -n $(JOBS) --dist worksteal -m portable $(ARGS) || exit; \
	done

test-devices: $(TEST)/installed  ## programs for several devices, on eight virtual ones
	flags=$$($(TEST)/bin/python tests/_xla_flags.py devices); \
		env -u JAX_ENABLE_X64 XLA_FLAGS="$$flags" $(TEST)/bin/python -m pytest -n $(JOBS) --dist worksteal tests/devices $(ARGS) && \
		JAX_ENABLE_X64=1 XLA_FLAGS="$$flags" $(TEST)/bin/python -m pytest -n $(JOBS) --dist worksteal tests/devices $(ARGS)

test-qiskit: $(QISKIT)/installed  ## what needs Qiskit: circuits, OpenQASM, Aer's models and estimators, devices
	JAX_ENABLE_X64=1 $(QISKIT)/bin/python -m pytest --every $(ARGS) \
		tests/circuits/test_qiskit.py tests/circuits/test_openqasm_qiskit.py \
		tests/hardware tests/noise/test_aer.py tests/noise/test_devices.py

test-oldest: $(OLDEST)/installed  ## the core of the tests with the oldest versions that work
	$(OLDEST)/bin/python -m experiments.survival.versions --jobs $(JOBS) $(ARGS)

test-newest: $(NEWEST)/installed  ## the same with the newest: make test-newest PYTHON=python3.13
	$(NEWEST)/bin/python -m experiments.survival.versions --jobs $(JOBS) $(ARGS)

lint: $(DEV)/installed  ## ruff (rules and format) and pyright
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/pyright --pythonpath $(DEV)/bin/python

format: $(DEV)/installed  ## let ruff mend what it can
	$(DEV)/bin/ruff check --fix
	$(DEV)/bin/ruff format

docs: $(DEV)/installed  ## build the site into site/, strictly, and look at it as a reader would
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --strict
	$(DEV)/bin/python -m tests.docs.check_site site

notebooks: $(DEV)/installed  ## the tutorials as executed notebooks, into notebooks/
	$(DEV)/bin/python -m pip install -qq jupytext nbclient ipykernel
	$(DEV)/bin/python -m docs.hooks.notebooks notebooks

serve: $(DEV)/installed  ## the site at http://127.0.0.1:8000, rebuilt on every save
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs serve

bench: $(BENCH)/installed  ## speed and memory against peers, into outputs/benchmarks.json
	env -u JAX_ENABLE_X64 $(BENCH)/bin/python -m benchmarks $(ARGS)

clean:  ## remove the environments and everything built
	rm -rf .venv-* site dist build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(OLDEST)/installed: tests/oldest.txt

# `installed` is written last: an interrupted installation is taken up again.
.venv-%/installed: pyproject.toml | python
	@echo "making $(@D) (a minute or two, once)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -qq --upgrade "pip>=25.1"
	@$(@D)/bin/python -m pip install -qq $(INSTALL_$(@D))
	@touch $@

python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "$(PYTHON) was not found; name your interpreter: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "eqx-qdeq needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) -V`;" \
			"name another: make PYTHON=python3.11" >&2; exit 1; }
