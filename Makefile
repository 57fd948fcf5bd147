# `make` lists the targets. The first call of any target creates .venv; later calls update only what has changed.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MANIFEST := dbt_project/target/manifest.json
DBT_SOURCES := $(shell find dbt_project -name target -prune -o -name logs -prune -o -type f -print 2>/dev/null)
# Environment of dg and dagster: the virtual environment, and no telemetry.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export DAGSTER_DISABLE_TELEMETRY := 1
export DG_CLI_TELEMETRY_ENABLED := 0
# Tests start hundreds of processes, which begin sooner with compiled modules.
unexport PYTHONDONTWRITEBYTECODE
READY := $(INSTALLED) $(MANIFEST)
PIN := --generate-hashes --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links --quiet

.PHONY: help install demo dev backfill bench test test-long test-all test-ui test-spark torture check pr-checks format docs pictures lock stop clean

help: ## This list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY) ## Create .venv with everything in it

demo: $(READY) ## Load the sample shop and build the whole lakehouse: make demo, or make demo AS_OF=2018-01-01
	@$(BIN)/lakehouse demo $(if $(AS_OF),--as-of $(AS_OF))

dev: $(READY) ## UI and daemon at http://localhost:3000; another port: make dev PORT=3001
	@$(BIN)/lakehouse dev $(if $(PORT),--port $(PORT))

backfill: $(READY) ## Run a range of dates: make backfill FROM=yesterday TO=today
	@test -n "$(FROM)" && test -n "$(TO)" || { echo "The dates are missing; expected: make backfill FROM=yesterday TO=today"; exit 2; }
	@$(BIN)/lakehouse backfill $(FROM) $(TO) $(addprefix --without ,$(WITHOUT))

bench: $(READY) ## Measure: the year and its rivals, one date, a skewed shop, the daemon, a long history
	@$(BIN)/python -m bench $(if $(COPIES),--copies $(COPIES)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO)) $(if $(RIVALS),--rivals $(RIVALS)) \
		$(if $(HISTORY),--history $(HISTORY)) $(if $(SAVE),--save)

test: $(READY) ## The tests, against real Postgres, Delta and S3
	@$(BIN)/pytest

test-%: $(READY) ## The tests of one folder: make test-unit, make test-sources, make test-delta
	@$(BIN)/pytest $(or $(wildcard tests/$* tests/unit/$* tests/integration/$*),$(error There is no folder of tests named $*))

test-long: $(READY) ## The long tests, which `make test` leaves out
	@$(BIN)/pytest -m "long and not thorough"

test-all: $(READY) ## All tests, with their thorough variants
	@$(BIN)/pytest -m "not ui"

test-ui: $(READY) ## The pages of the UI in headless Chromium; skipped without it (on Debian: apt-get install chromium)
	@$(BIN)/pytest -n 0 -rs -m ui tests/ui

test-spark: $(READY) ## The tests of everything that derives, on a Spark Connect server
	@ENGINE=spark $(BIN)/pytest -n 2 -m "either_engine and not thorough and not long"

torture: $(READY) ## Random histories of a shop, and runs killed at random: make torture N=100 KILLS=50
	@HISTORIES=$(N) KILLS=$(KILLS) $(BIN)/pytest -n 3 -m thorough tests/integration/pipeline/test_{histories,kills}.py

check: check-types check-code check-models ## Static checks: ruff, mypy, import-linter, sqlfluff, dbt parse, dg check defs

.PHONY: check-types check-code check-models
check-types: $(READY)
	@$(BIN)/mypy

check-code: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/lint-imports

check-models: $(READY)
	@$(BIN)/sqlfluff lint dbt_project
	@$(BIN)/dbt parse --quiet --no-partial-parse --project-dir dbt_project --profiles-dir dbt_project
	@$(BIN)/dg check defs

pr-checks: $(READY) ## What the change does to the data, and whether every check holds: make pr-checks BASE=main
	@BASE="$${BASE:-main}"; $(BIN)/python -m pr_checks --base "$$BASE" $(if $(REPORT),--report $(REPORT))

format: $(READY) ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/sqlfluff fix --quiet dbt_project

docs: $(READY) ## Write docs/configuration.md from the settings, docs/dictionary from contracts and dbt
	@$(BIN)/lakehouse config --write-docs
	@$(BIN)/lakehouse dictionary --write

pictures: $(READY) ## Take the screenshots in docs/pictures again (needs Chromium)
	@$(BIN)/python -m docs.screenshots

lock: $(INSTALLED) ## Upgrade the pinned requirements, with the hash of every file
	@$(BIN)/uv pip compile pyproject.toml --extra local --extra spark --extra postgres --extra dev $(PIN) --upgrade -o requirements-dev.txt
	@$(BIN)/uv pip compile pyproject.toml --constraint requirements-dev.txt $(PIN) --upgrade -o requirements.txt
	@echo uv | $(BIN)/uv pip compile - --constraint requirements-dev.txt $(PIN) --upgrade -o requirements-uv.txt

stop: ## Stop the embedded Postgres
	@test ! -x $(BIN)/lakehouse || $(BIN)/lakehouse stop

clean: stop ## Remove .lakehouse, .venv and everything generated
	@test ! -f .lakehouse/postgres.place || rm -rf "$$(cat .lakehouse/postgres.place)"
	rm -rf .lakehouse .make.lock $(VENV) dbt_project/target dbt_project/logs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis

# One at a time, because two calls of make on a fresh clone would install into the same folder.
$(INSTALLED): requirements-dev.txt requirements-uv.txt pyproject.toml
	@flock .make.lock $(MAKE) --no-print-directory venv

.PHONY: venv
venv:
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Found $$($(PYTHON) --version); expected Python 3.11 to 3.13. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "The venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt \
		|| $(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED)

$(MANIFEST): $(DBT_SOURCES) | $(INSTALLED)
	@flock .make.lock $(BIN)/dbt parse --quiet --project-dir dbt_project --profiles-dir dbt_project
	@touch $@
