# make demo   set up .venv, build, install, and show four applications inside their budgets with the model that ships
# make test   the same set-up, then style, types, floors and every test that needs no torch
# make help   the other targets
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src native -type f ! -path '*/__pycache__/*' ! -name '*.so') CMakeLists.txt pyproject.toml

.PHONY: help demo test check unit wheel wheel-test sanitize neon parity client-test page-test gpu-check train openapi bench soak clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --upgrade ".[dev]"
	@touch $@

demo: $(VENV)/.installed  ## build, install, and show the four applications inside their budgets
	$(BIN)/onesec demo

test: check unit  ## style, types, floors and all tests but those that need torch

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check src tests training bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed
	$(BIN)/python -m pytest

wheel: $(VENV)/.installed  ## a wheel that runs on any Linux of its architecture: dist/
	rm -rf dist build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/onesec-*.whl

wheel-test: wheel  ## install the wheel where there is no compiler, and answer
	rm -rf build/wheel-venv && $(PYTHON) -m venv build/wheel-venv
	env -u CC -u CXX PATH=/nowhere build/wheel-venv/bin/python -m pip install --quiet dist/onesec-*.whl
	build/wheel-venv/bin/python -c "from importlib.resources import files; assert (files('onesec.serve') / 'page' / 'index.html').is_file()"
	env -u CC -u CXX PATH=/nowhere build/wheel-venv/bin/python -m onesec.cli.main generate onesec-mini "Hello" --deadline 2s --json

page-test: $(VENV)/.installed build/axe/axe.min.js  ## the page of a server in a real browser (Debian: chromium npm); screenshots: build/page/
	$(BIN)/python -m pip install --quiet "playwright>=1.50"
	$(BIN)/python -m pytest -m browser -rs tests/page

build/axe/axe.min.js:
	mkdir -p build/axe && cd build/axe && npm pack --silent axe-core@4.14.1 && tar xzf axe-core-4.14.1.tgz --strip-components=1 package/axe.min.js

sanitize: $(VENV)/.installed  ## the native tests under ASan + UBSan, then TSan
	$(BIN)/python -m pip install --quiet cmake ninja
	for s in address,undefined thread; do \
	  PATH="$(abspath $(BIN)):$$PATH" cmake -G Ninja -S . -B build/$$s -DONESEC_PYTHON=OFF -DONESEC_TESTS=ON -DONESEC_SANITIZE=$$s && \
	  PATH="$(abspath $(BIN)):$$PATH" ninja -C build/$$s && build/$$s/native_test && build/$$s/cuda_test || exit 1; \
	done

neon: $(VENV)/.installed  ## the native tests for 64-bit ARM, emulated (Debian: g++-aarch64-linux-gnu qemu-user-static)
	$(BIN)/python -m pip install --quiet cmake ninja
	PATH="$(abspath $(BIN)):$$PATH" cmake -G Ninja -S . -B build/neon -DCMAKE_TOOLCHAIN_FILE=native/tests/aarch64.cmake -DONESEC_PYTHON=OFF -DONESEC_TESTS=ON
	PATH="$(abspath $(BIN)):$$PATH" ninja -C build/neon
	qemu-aarch64-static build/neon/native_test brief

parity: $(VENV)/.installed  ## against torch and transformers, live; and a small training
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet "transformers>=5" torch==2.13.0 compressed-tensors==0.20.0
	$(BIN)/python -m pip install --quiet triton==3.6.0
	$(BIN)/python -m pytest -m parity tests/parity
	$(BIN)/python -m pytest tests/gpu
	$(BIN)/python -m pytest tests/training

client-test:  ## other people's clients against `onesec serve`, in a venv of their own
	test -d build/clients || $(PYTHON) -m venv build/clients
	build/clients/bin/python -m pip install --quiet --upgrade pip
	build/clients/bin/python -m pip install --quiet --upgrade ".[dev]" llm langchain-openai "lm_eval[api]" schemathesis websockets
	build/clients/bin/python -m pytest -m clients tests/clients

gpu-check:  ## on a machine with a GPU: correctness, then speed, into $ONESEC_GPU_RESULTS
	PYTHONPATH=src $(PYTHON) -m bench.gpu.check

train: $(VENV)/.installed  ## make the shipped model from nothing (see training/README.md)
	$(BIN)/python -m pip install --quiet -r training/requirements.txt
	$(BIN)/python -m training.make --out out/training

openapi: $(VENV)/.installed  ## write docs/openapi.json anew, after a change of the routes
	$(BIN)/python -c "from onesec.serve.app import written; print(written(), end='')" > docs/openapi.json

bench: $(VENV)/.installed  ## speed of this machine, random weights of a known shape
	$(BIN)/onesec bench --shape qwen2.5-0.5b

soak: $(VENV)/.installed  ## a server under mixed load for long, and stopped in its midst: 15 minutes
	$(BIN)/python bench/soak.py

clean:
	rm -rf $(VENV) build dist
