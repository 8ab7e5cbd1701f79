# The project's few recipes; `make` alone lists them. Everything runs in .venv, made from the hash-locked requirements.
PY := .venv/bin/python

help:           ## list the recipes
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

.venv/ready: requirements-dev.lock pyproject.toml
	python3 -m venv .venv
	$(PY) -m pip install -q -r requirements-dev.lock
	$(PY) -m pip install -q --no-deps -e .
	touch $@

venv: .venv/ready ## make .venv with everything in it

demo: .venv/ready ## the whole product on this machine, simulated
	.venv/bin/cellherd demo

test: .venv/ready ## all tests
	$(PY) -m pytest

check: .venv/ready ## lint, types, contracts and house rules: what to run before a commit
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m pytest tests/test_house.py

bench: .venv/ready ## figures for the tables of docs/benchmarks.md
	$(PY) -m tests.bench.end_to_end --broker both
	$(PY) -m tests.bench.receiving
	$(PY) -m tests.bench.edges --edges 1000
	$(PY) -m tests.bench.hostile
	$(PY) -m tests.bench.dead_link
	$(PY) -m tests.bench.stores
	$(PY) -m tests.bench.storing --repeat 3
	$(PY) -m tests.bench.nightly --modules 1000
	$(PY) -W ignore -m tests.bench.night_beside --modules 200
	$(PY) -m tests.bench.edge
	$(PY) -m tests.bench.slow_link --days 7 --seconds 120
	$(PY) -m tests.bench.decode

pictures: .venv/ready ## the README's pictures, of a demo (needs chromium)
	.venv/bin/cellherd demo
	$(PY) -m tests.pictures

site: .venv/ready ## the docs as a site in site/, no warning allowed
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

sbom: .venv/ready ## what an edge and a server are made of, as CycloneDX in dist/
	$(PY) deploy/sbom.py dist

lock: ## resolve the requirements anew (needs uv)
	uv pip compile -q --universal --generate-hashes --no-strip-extras --no-header --extra edge pyproject.toml -o requirements-edge.lock
	uv pip compile -q --universal --generate-hashes --no-strip-extras --no-header --all-extras pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-strip-extras --no-header --all-extras --group dev pyproject.toml -o requirements-dev.lock

ci: ## what the build server runs
	bash .ci/run

.PHONY: help venv demo test check bench pictures site sbom lock ci
