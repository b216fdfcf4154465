# PulseTrack's commands. They install what they need into .venv, from requirements.lock, whenever that has changed.

.DEFAULT_GOAL := help
.PHONY: help up compose compose-down images soak test check bench load proto postman status rotate-keys audit-verify \
	synth deploy destroy format lock clean

BIN := .venv/bin
READY := .venv/.ready
CDK := .venv/.ready-cdk

# The first Python that is new enough; it is looked for only when .venv is to be made.
NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c $(NEW_ENOUGH) 2>&- && echo $$p && break; done)
NO_PYTHON = $(error PulseTrack needs Python 3.11 or newer: install it, or give its path as PYTHON=...)

help: ## Lists these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(READY) ## Runs the whole system on this machine, without docker, until Ctrl-C
	@$(BIN)/python -m tools.local

compose: ## Runs the whole system in containers, as on a server; needs docker and Python, no packages
	@$(or $(PYTHON),$(NO_PYTHON)) -m tools.compose up

compose-down: ## Stops the containers and keeps their data
	@$(or $(PYTHON),$(NO_PYTHON)) -m tools.compose down

images: ## Builds the images and prints their size and how soon each service is ready
	@$(or $(PYTHON),$(NO_PYTHON)) -m tools.compose images

test: $(CDK) ## Runs every test but those of `make soak`, two files at a time
	@$(BIN)/python -m pytest -m 'not soak' -n 2 --dist loadfile --cov

soak: $(CDK) ## Tests what runs in containers: compose, a deployment, and each container killed under load
	@$(BIN)/python -m pytest -m soak -o log_cli=true -o log_cli_level=INFO

check: $(CDK) ## Checks format, lint, types, import walls, protos, generated code and Envoy's files
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.protos --check
	@$(BIN)/python -m tools.postman --check
	@$(BIN)/python -m envoy --check

bench: $(READY) ## Measures CPU and time per call, on a copy of its own
	@$(BIN)/python -m tools.bench

load: $(READY) ## Puts load on the running system; OPTIONS=--help tells what it can be asked
	@$(BIN)/python -m tools.load $(OPTIONS)

proto: $(READY) ## Lints and formats the protos, and generates gen/ from them
	@$(BIN)/python -m tools.protos

postman: $(READY) ## Writes Postman's collection and environment from requests/*.http
	@$(BIN)/python -m tools.postman

status: $(READY) ## Shows the running processes, their ports and what they use
	@$(BIN)/python -m tools.status

rotate-keys: $(READY) ## Rotates the key that signs tokens, while the system runs (NOW=1 revokes the old keys at once)
	@$(BIN)/python -m tools.operate rotate-keys $(if $(NOW),$(if $(filter 1,$(NOW)),--now,$(error NOW must be 1)))

audit-verify: $(READY) ## Proves that no record of an access was changed or taken out (HEAD=... a hash kept elsewhere)
	@$(BIN)/python -m tools.operate audit-verify $(if $(HEAD),--head '$(HEAD)')

synth: $(CDK) ## Writes the CloudFormation templates of every environment, checked for security, without an account
	@$(BIN)/python -m infrastructure synth

ENVIRONMENT ?= localstack
deploy: $(CDK) ## Deploys to LocalStack, or to AWS with ENVIRONMENT=staging or production, and waits until it works
	@$(BIN)/python -m infrastructure deploy $(ENVIRONMENT)

destroy: $(CDK) ## Removes what deploy has made, unless the environment keeps its data
	@$(BIN)/python -m infrastructure destroy $(ENVIRONMENT)

format: $(READY) ## Formats the code
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(READY) ## Pins the newest versions that pyproject.toml allows in requirements.lock, and in its parts
	@# What the CDK needs is the pickiest, and goes into the same environment; an image needs a part of the packages.
	@$(COMPILE) -U --group infrastructure -o infrastructure/requirements.lock
	@$(COMPILE) -U -c infrastructure/requirements.lock --group local --group dev pyproject.toml -o requirements.lock
	@$(COMPILE) -c requirements.lock pyproject.toml -o services/requirements.lock
	@printf 'pyyaml\nswagger-ui-py\n' | $(COMPILE) -c requirements.lock - -o envoy/requirements.lock

clean: ## Removes what these commands have made, but no data
	@rm -rf .venv build third_party .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov

$(READY): requirements.lock tools/environment.py $(BIN)/python
	@$(or $(PYTHON),$(NO_PYTHON)) tools/environment.py
	@touch $@

# The CDK weighs more than all the rest together: only what needs it waits for it.
$(CDK): infrastructure/requirements.lock $(READY)
	@echo "Installing infrastructure/requirements.lock into .venv; this takes about half a minute"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infrastructure/requirements.lock
	@touch $@

# Gone, or a link to a Python that is gone: then the rule above makes it.
$(BIN)/python:
