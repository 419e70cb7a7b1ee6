# The one list of commands; `make` alone prints it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
KEEP ?= 1
PEOPLE ?= simulated
RECIPE ?= tiny-cpu
LABELS ?= 1600
BENCH ?=
FUZZ ?= 10000
export LOOP_HOME ?= $(CURDIR)/.loop
export LOOP_LLAMA_CPP ?= $(LOOP_HOME)/llama.cpp
export SOAK_MINUTES ?= 60
export SOAK_TIMES ?= 100
export HF_HUB_OFFLINE := 1

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help
help:  ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18
	@echo
	@echo 'Variables: KEEP=0 (exit with the result of the cycle), PEOPLE=real (a person labels and signs),'
	@echo '  RECIPE=tiny-cpu, LABELS=1600, BENCH="scan intake cycle", LOOP_HOME=.loop (all state), PIP_ARGS=… (package sources),'
	@echo '  PYTHON=…, SOAK_MINUTES=60, SOAK_TIMES=100 (times the expected rate of uploads)'

.PHONY: run
run: ASKED := --ports
run: preflight $(INSTALLED)  ## Run one improvement cycle, then keep everything up until Ctrl-C
	@$(BIN)/python -m deployments.up --keep $(KEEP) --people $(PEOPLE) --recipe $(RECIPE) --labels $(LABELS)

.PHONY: test
test: preflight $(INSTALLED) llama programs  ## Run every test that this machine can
	$(BIN)/python -m pytest $(TESTS)

.PHONY: check
check: $(INSTALLED)  ## Format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

.PHONY: bench
bench: preflight $(INSTALLED) llama  ## Measure privacy rules, intake and a cycle; writes docs/benchmarks.md
	$(BIN)/python -m deployments.bench $(BENCH)

.PHONY: soak
soak: preflight $(INSTALLED)  ## Upload under kills and faults for SOAK_MINUTES=60, then count losses
	$(BIN)/python -m tests.intake.soak

.PHONY: fuzz
fuzz: $(INSTALLED)  ## Try intake with so many bodies of each kind: make fuzz FUZZ=10000
	FUZZ=$(FUZZ) $(BIN)/python -m pytest -q tests/intake/test_fuzz.py

.PHONY: golden
golden: $(INSTALLED)  ## Renew the golden files; read what changed as a diff
	GOLDEN=renew $(BIN)/python -m pytest -q tests -k "golden or kept or file_map"
	git diff --stat tests/golden README.md

.PHONY: import-labelled
import-labelled: $(INSTALLED)  ## Import labelled records: make import-labelled FROM=dir
	@test -n '$(FROM)' || { echo 'which folder? make import-labelled FROM=dir'; exit 2; }
	@$(BIN)/bloxloop import-labelled '$(FROM)'

.PHONY: rescan
rescan: $(INSTALLED)  ## Look through kept sessions with today's privacy rules
	@$(BIN)/bloxloop rescan

.PHONY: clean
clean:  ## Delete the state, the virtual environment and caches, after asking
	@echo 'This deletes $(LOOP_HOME) (store, depot, releases, builds) and $(VENV).'
	@read -r -p 'Type yes: ' answer && test "$$answer" = yes || { echo 'nothing was deleted'; exit 1; }
	rm -rf -- '$(LOOP_HOME)' '$(VENV)' build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.PHONY: python
python:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo 'expected Python 3.11 as $(or $(PYTHON),python3.11); or: make PYTHON=/path/to/python3.11'; exit 1; }

.PHONY: preflight
preflight: python
	@'$(PYTHON)' -m deployments.preflight $(ASKED)

# torch stands on the line itself: where pip is offered a CPU build, it then takes that one
$(INSTALLED): pyproject.toml constraints.txt | python
	@echo 'making the virtual environment (a few minutes, once)'
	@'$(PYTHON)' -m venv $(VENV)
	@$(BIN)/pip install --quiet $(PIP_ARGS) -c constraints.txt torch==2.13.0 -e '.[train,gguf,dev]'
	@PREFECT_HOME='$(CURDIR)/$(VENV)/prefect' $(BIN)/python -c 'import prefect.server.api.server'  # fails where Prefect and FastAPI do not fit
	@touch $@

.PHONY: llama
llama: $(INSTALLED)
	@$(BIN)/python -m deployments.build_llama

# Debian keeps the programs of Postgres away from PATH, and starts nginx and Caddy where it installs
# them: only CI gets those by itself
.PHONY: programs
programs:
	@missing=; PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v initdb >/dev/null || missing="$$missing postgresql"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	if [ "$$CI" = true ]; then \
	  command -v nginx >/dev/null || missing="$$missing nginx"; \
	  command -v caddy >/dev/null || missing="$$missing caddy"; \
	fi; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null; \
	else echo "not installed:$$missing; tests that need them are skipped (as root on Debian they are installed)"; fi
