# Every target says what it does: `make` alone prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FAMILY ?= tiny
CHECKPOINTS ?=
CHOSEN = $(foreach pair,$(CHECKPOINTS),--checkpoint "$(pair)")
SPACE := model_repository/space_descriptor/1/space.json
GRPC_PORT ?= 8001
PARTS ?=
PROMTOOL := build/promtool
# Three kinds. Those that wait, for restarts, drains, a browser and deadlines of seconds, share the machine with each
# other, the longest first.
WAITING_TESTS := $(patsubst %,tests/loadtest/test_%.py,chaos ingest fuzz bench_path bench_peers bench_decoding \
	bench_report bench_check) tests/loadtest/gpu_bench tests/clients/explorer \
	$(patsubst %,tests/serving/test_%.py,supervisor dali health server supervisor_gateway) \
	$(patsubst %,tests/serving/gateway/test_%.py,service reading_faults) \
	$(patsubst %,tests/clients/gateway/test_%.py,balancing reconnecting real_gateway live follow_run) tests/clients/test_triton_replicas.py
# Servers under load and stopwatches share it with nobody.
ALONE_TESTS := $(filter-out $(WAITING_TESTS) tests/loadtest/test_films.py,$(wildcard $(patsubst %,tests/%/test_*.py,serving/gateway clients/gateway loadtest)))
# What measures no time runs three at once, as each waits for something now and then; folders with the longest files
# first: one left for the end has no company.
LONG_FIRST := tests/training tests/loadtest tests/export
SHARED_TESTS := $(LONG_FIRST) $(filter-out $(LONG_FIRST),$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py))) \
	$(patsubst %,--ignore=%,$(WAITING_TESTS) $(ALONE_TESTS))
# what builds the programs of docs/languages.md, on Debian 12
LANGUAGES := golang-go protoc-gen-go protoc-gen-go-grpc golang-google-grpc-dev golang-google-genproto-dev \
	golang-google-protobuf-dev golang-github-golang-protobuf-1-5-dev protobuf-compiler protobuf-compiler-grpc-java-plugin \
	libgrpc-java libprotobuf-java libnetty-java libperfmark-java libgoogle-gson-java libguava-java libgeronimo-annotation-1.3-spec-java
# PyTorch with CUDA stands where it was installed for the GPU, not in the environment of `make setup`
GPU_PYTHON ?= python3
# Commands and tests start hundreds of processes. Where Python is told not to keep what it has compiled, as many
# images for CI tell it, each of them compiles all that it imports: half of what a short command takes
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test test-long browser firefox test-firefox promtool serve embed export configs proto proto-check proto-release test-real-size test-languages bench bench-check performance-page bench-peers gpu-bench chaos fuzz gateway-load loadtest ingest-load lint clean train-tiny evaluate-tiny align

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the `resonance` command and everything it needs

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install the system package python3.11 (and python3.11-venv), or name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: install the system package python3.11-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	# torch first and alone: its version decides what everything after it may install
	$(BIN)/pip install --quiet 'torch==2.13.0' 'numpy>=1.26,<2'
	# uv resolves in seconds what takes pip minutes; the system's certificates, as pip's
	$(BIN)/pip install --quiet 'uv>=0.13.9,<0.14'
	$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --editable '.[dev]'
	@touch $@

$(SPACE): $(STAMP) $(wildcard export/*.py export/*/*.py export/families/*.toml export/families/*.safetensors export/families/*.npz) space/descriptor.py space/calibration.py
	$(BIN)/resonance export $(FAMILY) $(CHOSEN)

export: $(STAMP) ## Export a family into model_repository/ (FAMILY=tiny, CHECKPOINTS="MODEL=FOLDER ...", INT8=1 or TARGET=tensorrt, MEDIA=folder to check on)
	$(BIN)/resonance export $(FAMILY) $(CHOSEN) $(if $(INT8),--int8) $(if $(TARGET),--target $(TARGET)) $(if $(MEDIA),--reference-media "$(MEDIA)")

configs: $(STAMP) ## Write Triton's configs again from export/contract.py
	$(BIN)/resonance export --configs-only

proto: $(STAMP) ## Generate the protobuf code again
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto proto/resonance/v1/*.proto
	$(BIN)/python -m grpc_tools.protoc -I proto --grpc_python_out=proto proto/resonance/v1/embedding.proto
	# types of the service, which protoc writes of messages alone; servicers may leave methods out, as in Python
	$(BIN)/python -m grpc_tools.protoc -I proto --plugin=$(BIN)/protoc-gen-mypy_grpc \
		--mypy_grpc_out=generate_concrete_servicer_stubs:proto proto/resonance/v1/embedding.proto

proto-check: $(STAMP) ## Lint the protobuf files and hold them against the last release (proto/released.binpb)
	cd proto && ../$(BIN)/buf format --diff --exit-code && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against released.binpb

proto-release: $(STAMP) ## Make today's protobuf files those that later ones must not break
	cd proto && ../$(BIN)/buf build -o released.binpb

demo: video-there $(SPACE) ## Start a real Triton, stream a video in, print its vectors (VIDEO=path, else a sample of its own)
	$(BIN)/python -m resonance.serving.demo $(if $(VIDEO),"$(VIDEO)")

serve: $(SPACE) ## Serve model_repository/ on the CPU until interrupted (GRPC_PORT=8001)
	$(BIN)/resonance serve --target cpu --grpc-port $(GRPC_PORT)

# before anything is exported or started
.PHONY: video-there video-given media-given
video-there:
	@test -z "$(VIDEO)" || test -f "$(VIDEO)" || { echo "VIDEO=$(VIDEO): no such file; expected a film, or no VIDEO for a sample" >&2; exit 2; }

video-given:
	@test -n "$(VIDEO)" || { echo "make $(MAKECMDGOALS): expected VIDEO=path, what to embed" >&2; exit 2; }

media-given:
	@test -n "$(MEDIA)" || { echo "make $(MAKECMDGOALS): expected MEDIA=folder or manifest, what to align on" >&2; exit 2; }

embed: video-given $(STAMP) ## Embed VIDEO=path against a running server
	$(BIN)/resonance embed "$(VIDEO)" --server localhost:$(GRPC_PORT)

train-tiny: $(STAMP) ## Train the family tiny again and compare with its committed figures (under 40 minutes on two cores)
	$(BIN)/resonance train-tiny $(if $(RECIPE),--recipe $(RECIPE)) --weights build/train/tiny.safetensors
	$(BIN)/resonance evaluate-tiny --weights build/train/tiny.safetensors --against export/families/tiny.figures.json

evaluate-tiny: $(STAMP) ## Measure the committed tiny on titles it was never trained on (about 4 minutes)
	$(BIN)/resonance evaluate-tiny

align: media-given $(STAMP) ## Align a family on your own media (MEDIA=folder or manifest, FAMILY=tiny)
	$(BIN)/resonance align "$(MEDIA)" --family $(FAMILY)

test: $(SPACE) browser promtool ## Run the tests; they start a real Triton, and Chromium
	# a file at a time; one thread each: they would take each other's cores, and threads that spin there make it
	# 10 times as long. Memory that is taken stays: page faults of a virtual machine took a seventh of a test of titles
	# encoded and searched (medians of three pairs: 0.86)
	OMP_NUM_THREADS=1 $(BIN)/python -m resonance.training.tuning $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(SHARED_TESTS)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(WAITING_TESTS)
	$(BIN)/pytest $(ALONE_TESTS)

browser: ## Install the browser that the explorer's tests drive (Debian's chromium; needs root)
	@test -x /usr/bin/chromium || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation; }

firefox: ## Install the browser of `make test-firefox` (Debian's firefox-esr; needs root)
	@test -x /usr/bin/firefox-esr || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends firefox-esr fonts-liberation; }

test-firefox: $(SPACE) firefox ## The tests of the explorer's page, which `make test` runs in Chromium, in Firefox (about 4 minutes)
	RESONANCE_BROWSER=firefox OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest tests/clients/explorer/test_browser.py

promtool: ## Put promtool, which the alerts are tested with, in build/ (of Debian's package prometheus; nothing is installed)
	@command -v promtool >/dev/null || test -x $(PROMTOOL) || { mkdir -p $(PROMTOOL).deb && cd $(PROMTOOL).deb && \
	{ apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
	dpkg -x prometheus_*.deb . && mv usr/bin/promtool ../promtool && cd .. && rm -r promtool.deb; } || \
	echo "promtool cannot be had here (Debian's package prometheus): the tests that ask it are skipped"

test-long: $(SPACE) ## The trainings, kills and samples that `make test` runs in short, whole (about 8 minutes)
	$(BIN)/pytest -m long --timeout 900

test-real-size: $(STAMP) ## Export and check every pretrained architecture at its real size (about 11 minutes)
	$(BIN)/pytest -m real_size --timeout 1800 tests/export/test_real_size.py

test-languages: $(SPACE) ## Build and run the programs in Go, Node and Java of docs/ against a gateway (Debian's packages, needs root the first time; about a minute)
	@command -v node npm javac >/dev/null && test $$(command -v node npm javac | wc -l) = 3 || { echo "node, npm and javac are needed: install the system packages nodejs, npm and openjdk-17-jdk-headless"; exit 1; }
	@dpkg -s $(LANGUAGES) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(LANGUAGES); } || { echo "these system packages are needed: $(LANGUAGES)"; exit 1; }
	@mkdir -p build/languages && npm install --silent --no-save --no-package-lock --prefix build/languages @grpc/grpc-js@1.14 @grpc/proto-loader@0.8
	$(BIN)/pytest -m languages --timeout 600 tests/clients/gateway/test_languages.py

bench: $(SPACE) ## Measure side by side, one table at the end (PARTS="path ...", REPOSITORY=folder, KEEP=1; without PARTS hours)
	$(BIN)/python -m resonance.loadtest.bench $(PARTS) $(if $(REPOSITORY),--family-repository $(REPOSITORY)) $(if $(KEEP),--keep)

bench-check: $(SPACE) ## Fail where a ratio got over 15% worse than the committed one (ACCEPT="why" takes what is measured)
	$(BIN)/python -m resonance.loadtest.bench.check $(if $(ACCEPT),--accept "$(ACCEPT)")

performance-page: $(STAMP) ## Write docs/performance.md from the figures in docs/performance/
	$(BIN)/python -m resonance.loadtest.bench.page

bench-peers: $(STAMP) ## Other servers and libraries on the same weights, each in its own environment (about 4 GB and 10 minutes the first time; PARTS="text images")
	$(BIN)/python -m resonance.loadtest.bench.peers $(PARTS)

gpu-bench: ## Measure the GPU path on this machine: needs an NVIDIA GPU and PyTorch, nothing of ours (GPU_PYTHON=python3, PARTS="peak encoders ...", ENCODERS="siglip-b16 ...", OUT=folder, TUNE=1, QUICK=1 on a CPU)
	PYTHONPATH=src$${PYTHONPATH:+:$$PYTHONPATH} $(GPU_PYTHON) -m resonance.loadtest.gpu_bench $(if $(PARTS),--parts $(PARTS)) $(if $(ENCODERS),--encoders $(ENCODERS)) $(if $(OUT),--out "$(OUT)/gpu_bench.json") $(if $(TUNE),--max-autotune) $(if $(QUICK),--device cpu --quick)

chaos: $(SPACE) ## Kill stubs, Triton, the gateway and clients in the middle of titles, 50 times each (ROUNDS=50)
	$(BIN)/python -m resonance.loadtest.chaos $(if $(ROUNDS),--rounds $(ROUNDS))

fuzz: $(SPACE) ## Mutated media and calls against the gateway, 100,000 of each kind (INPUTS=100000)
	$(BIN)/python -m resonance.loadtest.fuzz $(if $(INPUTS),--inputs $(INPUTS))

gateway-load: $(SPACE) ## Overload, a hundred streams, latency, a three-hour feed and flow control (PARTS="overload ...")
	$(BIN)/python -m resonance.loadtest.gateway $(PARTS)

loadtest: $(SPACE) ## Load with locust, judged by loadtest/slo.toml (SHAPE=ramp|spike|soak|constant, USERS=, SECONDS=, ADDRESS=host:port of a gateway elsewhere)
	$(BIN)/python -m resonance.loadtest.load $(or $(SHAPE),ramp) $(if $(USERS),--users $(USERS)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ADDRESS),--address $(ADDRESS))

ingest-load: $(SPACE) ## Ingestion held to its promises: kills, nodes, memory, cost, capacity (PARTS="kills memory", about 15 minutes)
	@for part in $(or $(PARTS),kills nodes memory cost capacity); do $(BIN)/python -m resonance.loadtest.ingest $$part || exit; done

lint: $(STAMP) proto-check ## Formatting, lint, the arrows between packages and types, protobuf files too
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo --cache-dir build/import-linter
	$(BIN)/mypy

clean: ## Remove the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find model_repository -name 'model.onnx' -o -name 'model.onnx.data' -o -name 'tokenizer.json' -o -name 'space.json' -o -name 'golden.npz' -o -name 'model.tensorrt.onnx*' -o -name 'model.plan' -o -name 'plan.json' -o -name 'artifact.json' -o -name 'model.pt2' -o -name 'artifact.aoti.json' | xargs -r rm -f
