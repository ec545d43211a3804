# `make demo` and `make test` do all of their own set-up; see scripts/setup for what that is.

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak mutants package fmt setup clean

help:                 ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:                 ## two databases are backed up and one is restored, before your eyes; then it runs until Ctrl-C
	@scripts/setup rust python postgres
	@cargo build --locked
	@exec target/sandbox-venv/bin/python scripts/demo

test:                 ## everything that must hold: lints, Rust tests, sandbox, end to end
	@scripts/test

lint:                 ## only what reads the sources: format, dependencies, licences, clippy, docs
	@scripts/test lint

bench:                ## strongroom against pg_dump | zstd | aws s3 cp, medians of three (benches/README.md)
	@scripts/setup rust python postgres bench
	@cargo build --locked --release
	@PATH="$(CURDIR)/target/sandbox-venv/bin:$$PATH" target/sandbox-venv/bin/python benches/pipeline.py

soak:                 ## simulated years on all processors: make soak SEEDS=100..200
	STRONGROOM_SOAK_SEEDS=$(or $(SEEDS),100..110) cargo test --locked --profile soak --lib testing::simulation::soak -- --exact --nocapture

mutants:              ## mutation tests of the layers that decide (an hour); survivors are in target/mutants/mutants.out
	scripts/mutants

package:              ## the Debian package and its SBOM, in target/debian and target/package
	@scripts/setup rust package
	@scripts/package

fmt:                  ## formats the Rust sources
	@cargo fmt

setup:                ## only the set-up
	@scripts/setup

clean:                ## removes everything that was built or brought here
	@rm -rf target
