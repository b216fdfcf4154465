# PulseTrack's commands. Each installs what it needs into .venv, from a lock, whenever the lock has changed.

.DEFAULT_GOAL := help
.PHONY: help up compose compose-down images soak test check bench load proto postman status rotate-keys audit-verify \
	audit-archive audit-prune synth deploy destroy format lock clean

BIN := .venv/bin
UV := .venv/installer/bin/uv

# What is installed: enough to run the system, to deploy it, or to test it, which is everything.
READY := .venv/.ready
DEPLOY := .venv/.ready-deploy
TEST := .venv/.ready-test

# The first supported Python. It is looked for only when .venv is to be created; PYTHON=... names another.
SUPPORTED := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'
ifneq ($(PYTHON),)
ifneq ($(shell "$(PYTHON)" -c $(SUPPORTED) 2>&1 || echo no),)
$(error PYTHON=$(PYTHON) does not run Python 3.11 to 3.14: give the name or path of one that does)
endif
endif
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do $$p -c $(SUPPORTED) 2>&- && echo $$p && break; done)
NO_PYTHON = $(error PulseTrack needs Python 3.11 to 3.14: install it, or give its path as PYTHON=...)

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(READY) ## Runs the whole system on this machine, without docker, until Ctrl-C
	@$(BIN)/python -m tools.local

compose: ## Runs the whole system in containers, as on a server; needs docker and Python, no packages
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose up

compose-down: ## Stops the containers and keeps their data
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose down

images: ## Builds the images and prints their size and how soon each service is ready
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose images

test: $(TEST) ## Runs every test but those of `make soak`, two files at a time (COVERAGE=1 measures the coverage of services)
	@$(BIN)/python -m pytest -m 'not soak' -n 2 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov)

soak: $(TEST) ## Tests faults under load, which takes minutes: the local system, and with docker compose and a deployment
	@$(BIN)/python -m pytest -m soak -o log_cli=true -o log_cli_level=INFO

check: $(TEST) ## Checks format, lint, types, imports, protos, generated code, Envoy's configuration and CI workflows
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.protos --check
	@$(BIN)/python -m tools.postman --check
	@$(BIN)/python -m envoy --check
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint is not on PATH: the workflows are not checked."; fi

bench: $(TEST) ## Measures CPU and time per call, on a copy of its own
	@$(BIN)/python -m tools.bench

load: $(TEST) ## Puts load on the running system; OPTIONS=--help tells what it can be asked
	@$(BIN)/python -m tools.load $(OPTIONS)

proto: $(TEST) ## Lints and formats the protos, and generates gen/ from them
	@$(BIN)/python -m tools.protos

postman: $(TEST) ## Writes Postman's collection and environment from requests/*.http
	@$(BIN)/python -m tools.postman

status: $(READY) ## Shows the running processes, their ports and what they use
	@$(BIN)/python -m tools.status

rotate-keys: $(READY) ## Rotates the key that signs tokens, while the system runs (NOW=1 revokes the old keys at once)
	@$(BIN)/python -m tools.operate rotate-keys $(if $(NOW),$(if $(filter 1,$(NOW)),--now,$(error NOW must be 1)))

audit-verify: $(READY) ## Proves that no service's access events were changed or removed (SERVICE=..., HEAD=... a hash kept elsewhere)
	@$(BIN)/python -m tools.operate audit-verify $(if $(SERVICE)$(HEAD),'$(or $(SERVICE),patient)') $(if $(HEAD),--head '$(HEAD)')

audit-archive: $(READY) ## Writes access events older than a day (BEFORE=2026-01-31) to files that prove themselves
	@$(BIN)/python -m tools.operate audit-archive $(if $(SERVICE),'$(SERVICE)') --before '$(BEFORE)'

audit-prune: $(READY) ## Deletes the access events that are archived; audit-verify proves the rest
	@$(BIN)/python -m tools.operate audit-prune $(if $(SERVICE),'$(SERVICE)')

synth: $(DEPLOY) ## Writes the CloudFormation templates of every environment, checked for security, without an account
	@$(BIN)/python -m infrastructure synth

ENVIRONMENT ?= localstack
deploy: $(DEPLOY) ## Deploys to LocalStack, or to AWS with ENVIRONMENT=staging or production, and waits until it works
	@$(BIN)/python -m infrastructure deploy $(ENVIRONMENT)

destroy: $(DEPLOY) ## Removes what deploy has made, unless the environment keeps its data
	@$(BIN)/python -m infrastructure destroy $(ENVIRONMENT)

format: $(TEST) ## Formats the code
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras
lock: $(READY) ## Pins the newest versions that pyproject.toml allows, in all locks
	@$(COMPILE) -U --group infrastructure --group local --group dev pyproject.toml -o tests/requirements.lock
	@# The others are parts of that one.
	@$(COMPILE) -U -c tests/requirements.lock --group local pyproject.toml -o requirements.lock
	@$(COMPILE) -U -c tests/requirements.lock --group infrastructure -o infrastructure/requirements.lock
	@$(COMPILE) -U -c tests/requirements.lock pyproject.toml -o services/requirements.lock
	@printf 'pyyaml\nswagger-ui-py\n' | $(COMPILE) -U -c tests/requirements.lock - -o envoy/requirements.lock
	@echo uv | $(COMPILE) -U - -o tools/requirements.lock

clean: ## Removes what these commands have made, but no data
	@rm -rf .venv build third_party .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov

$(READY): requirements.lock tools/requirements.lock tools/environment.py $(BIN)/python
	@rm -f $(DEPLOY) $(TEST)
	@$(or $(PYTHON),$(NO_PYTHON)) tools/environment.py requirements.lock
	@touch $@

$(DEPLOY): infrastructure/requirements.lock $(READY)
	@$(BIN)/python tools/environment.py infrastructure/requirements.lock --keep
	@touch $@

$(TEST): tests/requirements.lock $(READY)
	@$(BIN)/python tools/environment.py tests/requirements.lock --keep
	@touch $@

# Without a recipe: if .venv is gone, or links to a Python that is gone, the rule of $(READY) creates it.
$(BIN)/python:
