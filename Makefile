# Every target makes the environment it needs, once; only the first run needs the network.
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --quiet install

.DEFAULT_GOAL := help
.PHONY: help demo test check parity clean

help:  ## print the targets
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: .venv/installed  ## install minigte, fetch gte-small, embed four sentences
	@.venv/bin/python examples/demo.py

test: .venv-test/installed  ## run the tests
	@.venv-test/bin/python -m pytest --ignore=tests/parity

check: .venv-check/installed  ## check formatting, style and types
	.venv-check/bin/ruff format --check
	.venv-check/bin/ruff check
	.venv-check/bin/mypy

parity: .venv-parity/installed  ## compare every tensor with transformers and sentence-transformers
	@.venv-parity/bin/python -m pytest tests/parity

clean:  ## remove the environments that the other targets made
	rm -rf .venv .venv-test .venv-check .venv-parity

.venv/installed: pyproject.toml
	@echo "installing minigte into .venv ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) --editable '.[onnx]'
	@touch $@

.venv-test/installed: pyproject.toml
	@echo "installing minigte and what its tests need into .venv-test ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) --editable '.[onnx,parquet,test]'
	@touch $@

.venv-check/installed: pyproject.toml
	@echo "installing the checkers into .venv-check ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) --editable '.[check]'
	@touch $@

# torch is pinned to a build for the CPU alone; a range would bring gigabytes for GPUs.
.venv-parity/installed: pyproject.toml
	@echo "installing torch, transformers and sentence-transformers into .venv-parity ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) torch==2.13.0
	@$(@D)/bin/python $(PIP) --editable '.[onnx,parquet,test,parity]'
	@touch $@
