# Every verb sets up .venv/ by itself, from a plain Python 3.11 or newer. `make help` lists them.

UV_VERSION := 0.13.8
LOCK := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11
IN := .venv/bin/
DIR ?= .dev
# GNU make 4 keeps the output of parallel checks apart; macOS has 3.81
PARALLEL := $(if $(filter output-sync,$(.FEATURES)),-j2 --output-sync=target)

# a checkout that was moved, or whose Python is gone, needs a new .venv
ifneq ($(shell .venv/bin/python -c '' 2>/dev/null && cat .venv/ready 2>/dev/null),$(CURDIR))
.PHONY: .venv/ready
endif

.DEFAULT_GOAL := help
.PHONY: demo test test-unit test-cluster test-go test-faults check lint format types layers docs bench dev lock clean help

demo: .venv/ready  ## show everything on a free, scripted model; LIVE=1 asks a real one, with your key
	@$(IN)vertebra demo $(if $(LIVE),--live) $(if $(MODEL),--model $(MODEL)) $(if $(ENDPOINT),--endpoint $(ENDPOINT))

test: .venv/ready  ## run every test; what this machine lacks is reported as "not run: no ..."
	@$(IN)python -m pytest

test-unit: .venv/ready  ## run the tests that need no server
	@$(IN)python -m pytest tests/unit tests/test_docs.py

test-cluster: .venv/ready  ## run the integration tests on a real Temporal cluster over Postgres, built with Go where it is missing
	@$(IN)python -m tests.cluster

test-go: .venv/ready  ## build the Go client of docs/other-languages.md, and start a run with it
	@VERTEBRA_TEST_GO=1 $(IN)python -m pytest tests/integration/runs/test_go_client.py

test-faults: .venv/ready  ## kill, cut, stop, fill and soak for a quarter of an hour; SEED=N repeats the moments of an earlier run
	@$(IN)python -m pytest tests/faults -m endurance -s $(if $(SEED),--seed $(SEED))

check: .venv/ready  ## lint, format, types and import contracts
	@$(MAKE) --no-print-directory --keep-going $(PARALLEL) types layers lint format

lint: .venv/ready
	@echo '== lint: ruff check'; $(IN)ruff check vertebra tests bench

format: .venv/ready
	@echo '== format: ruff format --check'; $(IN)ruff format --check vertebra tests bench

types: .venv/ready
	@echo '== types: mypy --strict'; $(IN)mypy

layers: .venv/ready
	@echo '== layers: import contracts'; $(IN)lint-imports --no-logo

docs: .venv/ready  ## write the pages of docs/ that are made from the code
	@$(IN)python -m tests.pages

bench: .venv/bench-ready  ## time vertebra beside hand-written Temporal, LangGraph and DBOS; ONLY="W1 W5" chooses
	@$(IN)python -m compileall -q vertebra bench
	@$(IN)python -m bench $(if $(ONLY),--only $(ONLY))

dev: .venv/ready  ## start everything for the project in DIR (default: .dev, made from the support template)
	@test -d $(DIR) || $(IN)vertebra init $(DIR) --template customer-support
	@cd $(DIR) && exec $(CURDIR)/.venv/bin/vertebra dev

lock: .venv/ready  ## resolve the newest allowed versions into the lock files
	@echo 'uv==$(UV_VERSION)' | $(IN)$(LOCK) --upgrade - -o requirements-bootstrap.lock
	@$(IN)$(LOCK) --upgrade --all-extras pyproject.toml -o requirements.lock
	@sed -nE 's/^([A-Za-z0-9_.-]+==[^ ;]+).*/\1/p' requirements.lock > .venv/locked.txt
	@$(IN)$(LOCK) --upgrade --group bench -c .venv/locked.txt -o requirements-bench.lock

clean:  ## remove .venv/, the demo, .dev/ and every cache in this folder
	@rm -rf .venv .demo .dev .endurance .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find vertebra tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

.venv/bench-ready: .venv/ready requirements-bench.lock
	@echo 'Installing what requirements-bench.lock names'
	@$(IN)uv pip install --quiet --python .venv/bin/python --require-hashes --only-binary :all: -r requirements-bench.lock
	@touch $@

.venv/ready: requirements.lock requirements-bootstrap.lock pyproject.toml
	@.ci/bootstrap
