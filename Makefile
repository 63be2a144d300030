# Everything a person or CI does here has one name. Needs Python >= 3.11 with the venv module, and make.

PY     ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV   ?= .venv
PORT   ?= 8070
ARGS   ?=
PYTHON := $(VENV)/bin/python
CORE   := $(VENV)/.core
DEV    := $(VENV)/.dev
PIP    := $(PYTHON) -m pip install --quiet --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all:

# what failed is run once more by itself, so that only a machine under load is forgiven, never a defect
AGAIN  := $(PYTHON) -m pytest -q --last-failed --last-failed-no-failures none

help: ## print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(CORE) ## start the server: migrates, loads the packs, prints an admin key once (PORT=8070)
	PORT=$(PORT) exec $(PYTHON) -m cli serve $(ARGS)

setup: $(DEV) ## install everything that tests and checks need into .venv

test: $(DEV) ## every test but the long ones, on SQLite and on a real PostgreSQL; servers are killed and restarted
	$(PYTHON) -m pytest -q -n auto --dist worksteal -m "not crash" $(ARGS) || $(AGAIN)
	$(PYTHON) -m pytest -q -m crash || $(AGAIN)

test-all: $(DEV) ## every test, also those that kill and restart processes
	$(PYTHON) -m pytest -q $(ARGS)

crash: $(DEV) ## kill, freeze and restart real processes, then a storm of ten minutes (STORM="--seed 7 --engine postgres")
	$(PYTHON) -m pytest -q -m crash $(ARGS)
	$(PYTHON) -m tests.crash $(STORM)

check: $(DEV) ## format, lint, types, imports, dead code, spelling, house limits
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/vulture
	$(VENV)/bin/codespell
	$(PYTHON) -m pytest -q tests/unit/test_house_limits.py

format: $(DEV) ## let the formatter and the safe fixes of the linter change files
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

migrate: $(CORE) ## bring the database of this environment to the newest schema
	$(PYTHON) -m cli migrate

docs: $(DEV) ## write the generated pages of the reference
	$(PYTHON) docs/build.py

demo: $(CORE) ## start a server on a free port, run the example workflows, show what happened
	$(PYTHON) -m bench.demo $(ARGS)

bench: $(DEV) ## measure the workloads of docs/reference/benchmarks.md
	$(PYTHON) -m bench $(ARGS)

conformance: $(DEV) ## run workflow scenarios through the engine in six orders (DIR=folder, default: shared and own)
	$(PYTHON) -m tests.scenarios $(ARGS) $(DIR)

nab: $(DEV) ## score the detectors on labelled series (DATA=folder WINDOWS=file OUT=folder)
	$(PYTHON) -m bench.nab $(if $(DATA),--data $(DATA)) $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(OUT),--out $(OUT)) $(ARGS)

schemathesis: $(DEV) ## fuzz a server with its own OpenAPI document, on both databases (ARGS="--seconds 180")
	$(PYTHON) -m tests.e2e.openapi_fuzz sqlite $(ARGS)
	$(PYTHON) -m tests.e2e.openapi_fuzz postgres $(ARGS)

soak: $(DEV) ## 200,000 executions in a row: memory, descriptors and files (ARGS=executions); 20,000 random workflows
	MILLRACE_EXAMPLES=20000 $(PYTHON) -m pytest -q -o timeout=0 tests/properties
	$(PYTHON) -m bench.soak $(ARGS)

mutation: $(DEV) ## change the engine a little, many times, and see whether the tests notice (ARGS=files)
	$(PYTHON) -m tests.mutation $(ARGS)

lock: pyproject.toml ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements.lock
	uv pip compile pyproject.toml --all-extras --constraints requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate -q -o requirements-dev.lock
	uv pip compile pyproject.toml --extra ai --extra milvus --constraints requirements-dev.lock --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate -q -o requirements-image.lock

clean: ## remove the virtual environment and every cache
	@if [ -e $(VENV)/.made-here ]; then rm -rf $(VENV); fi
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# A virtual environment made here is rebuilt when a lock changes; one that was not is used as it is and never touched.
$(CORE): requirements.lock
	@$(call install,requirements.lock,$(CORE))

$(DEV): requirements.lock requirements-dev.lock
	@$(call install,requirements-dev.lock,$(CORE) $(DEV))

define install
	if [ -d $(VENV) ] && [ ! -e $(VENV)/.made-here ]; then echo 'Using $(VENV) as it is: it was not made here'; exit 0; fi; \
	test -n "$(PY)" || { echo 'Python 3.11 or newer is needed; none was found'; exit 1; }; \
	rm -rf $(VENV) && mkdir -p $(VENV) && touch $(VENV)/.made-here; \
	$(PY) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
		echo 'The venv module is missing: on Debian and Ubuntu run "apt install python3-venv"'; exit 1; }; \
	echo 'Installing $(1) into $(VENV)'; \
	$(PIP) -r $(1) || { rm -rf $(VENV); exit 1; }; \
	touch $(2)
endef

.PHONY: help run setup test test-all crash check format migrate docs demo bench conformance nab schemathesis soak lock clean
.DEFAULT_GOAL := help
