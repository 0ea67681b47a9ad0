# The commands that README promises. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test soak test-render test-stack lint fuzz loom bench bench-telemetry bench-isolation bench-index bench-retrieval bench-tokens train-retrieval gate-retrieval backends

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: ## build, start both processes, index ROOT (default: this repository), show an answer, serve until Ctrl-C
	@scripts/run.sh

backends: ## install what the tests run against (Debian packages need root or sudo; Python packages go into target/)
	@scripts/install-test-backends.sh

test: backends ## every test, with real clients and backends on loopback
	cargo build --release --locked --workspace --bins
	cargo test --release --locked --workspace

soak: backends ## a hundred kills of each process, and of both, under load: the figures must stay exact
	cargo build --release --locked --workspace --bins
	cargo test --release --locked -p conexus-tests --test soak -- --test-threads=1 --nocapture

test-render: backends ## draw the dashboards with Grafana's front-end libraries (700 MB of npm packages and Chromium)
	cargo build --release --locked --workspace --bins
	tests/render/run.sh

test-stack: ## build the images, run the compose stack and the Helm chart's pod on a container engine of their own (root or sudo; FROM_SOURCE=1: build in containers too)
	$(if $(FROM_SOURCE),,cargo build --release --locked --workspace --bins)
	FROM_SOURCE=$(FROM_SOURCE) tests/stack/run.sh

lint: ## formatting and clippy (the checks of the tree itself are among the tests)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

fuzz: ## what the processes read from each other, a minute a target (SECONDS_EACH)
	fuzz/run.sh

loom: ## every order in which threads can count and hand over their tables
	cargo test --release --locked --manifest-path tests/loom/Cargo.toml --target-dir target/loom

bench: bench-telemetry bench-isolation bench-index bench-retrieval ## all benchmarks

bench-telemetry: ## what telemetry costs the thread that serves: a fact, a span, a request, and the same through the usual libraries in process
	cargo bench --locked --manifest-path bench/speed/Cargo.toml --target-dir target --bench telemetry -- --warm-up-time 1 --measurement-time 3
	cargo build --release --locked -p conexus-sidecar
	cargo run --release --locked --manifest-path bench/speed/Cargo.toml --target-dir target --bin bench-telemetry
	cargo run --release --locked --manifest-path bench/speed/Cargo.toml --target-dir target --bin throughput -- target/release/conexus-sidecar

bench-isolation: ## whether a broken sidecar or backend slows searches down, fault by fault
	cargo build --release --locked -p conexus-sidecar
	cargo run --release --locked --manifest-path bench/speed/Cargo.toml --target-dir target --bin isolation -- target/release/conexus-sidecar

bench-index: ## what touches every byte while an index is written, and the scan over all vectors (BENCH_SOURCES: of a folder of sources)
	cargo bench --locked --manifest-path bench/speed/Cargo.toml --target-dir target --bench index

bench-retrieval: ## fetch and index the benchmark's repositories, ask its questions, check the bars (CORPORA=folder)
	cargo build --release --locked --workspace --bins --example retrieval
	python3 bench/retrieval/run.py $(if $(CORPORA),--corpora $(CORPORA))

bench-tokens: ## tokens until the right file is read, against ripgrep (after bench-retrieval)
	python3 bench/retrieval/tokens.py $(if $(CORPORA),--corpora $(CORPORA))

train-retrieval: ## train the ranker's weights anew and put them into the source (after bench-retrieval, or with another model)
	cargo build --release --locked --workspace --example retrieval
	python3 bench/retrieval/run.py --train $(if $(CORPORA),--corpora $(CORPORA))
	cargo fmt -p conexusd

gate-retrieval: ## four small repositories of the benchmark and a floor: what CI runs
	cargo build --release --locked --workspace --bins
	python3 bench/retrieval/run.py --gate $(if $(CORPORA),--corpora $(CORPORA))
