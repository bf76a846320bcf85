# Everything sets itself up in .venv: python >= 3.11 with venv and pip, git and make are enough.
#
#   make demo     a server, an agent and a small site, in one command      make bench    Portway beside its rivals, a table
#   make test     all tests (ARGS="tests/mux -k window" for some)          make lock     new pinned versions
#   make test-deps  the Debian packages of real servers and clients that tests talk to; without them those tests skip
#   make check    lint, format, types, layers: what CI asks first          make clean    remove what was made
#   make attack   hostile clients beside an innocent one, a table; half an hour for all (ARGS="tiny-chunks --rounds 5")
#   make memory   20,000 connects of each kind to one server, which must not grow (ARGS="session --connects 2000")
#   make soak     30 minutes of mixed traffic and faults, then what leaked, a table (ARGS="--minutes 5")
#   make fuzz     hostile bytes for every parser, a minute (ARGS="--seconds 600 yamux", "--costs": what a byte costs)

.DEFAULT_GOAL := help
.PHONY: help demo test test-deps check bench attack memory soak fuzz format lock clean

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two workers: the tests mostly wait for sockets, and machines with fewer cores still pass.
WORKERS ?= 2

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/.ready-demo
	@$(BIN)/portway demo $(ARGS)

test: .venv/.ready-dev
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

test-deps:
	@scripts/test-deps

check: .venv/.ready-dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'make format puts that right'; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@echo 'check: all good'

bench: .venv/.ready-dev
	@$(BIN)/python -m bench $(ARGS)

attack: .venv/.ready-dev
	@$(BIN)/python -m tests.attacks $(ARGS)

memory: .venv/.ready-dev
	@$(BIN)/python -m tests.memory.flat $(ARGS)

soak: .venv/.ready-dev
	@$(BIN)/python -m tests.soak $(ARGS)

fuzz: .venv/.ready-dev
	@$(BIN)/python -m tests.fuzz $(ARGS)

format: .venv/.ready-dev
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

# dev.txt holds everything; the smaller sets are cut from it, so that what is tested is what is installed.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links pyproject.toml
lock: .venv/.ready-dev
	$(LOCK) --extra demo --group dev -o requirements/dev.txt
	$(LOCK) -c requirements/dev.txt --extra demo --group build -o requirements/demo.txt
	$(LOCK) -c requirements/dev.txt --extra server -o requirements/server.txt
	$(LOCK) -c requirements/dev.txt -o requirements/runtime.txt

# Stamps: pip runs again only when a pinned version, the project's own data or the set-up itself changed.
# Every wheel is checked against its hash; the project goes in last, in place, with the pinned build backend.
.venv/.ready-%: requirements/%.txt pyproject.toml scripts/make-venv
	@scripts/make-venv
	@echo 'Installing requirements/$*.txt'
	@$(PIP) install --require-hashes --no-deps -r $<
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

clean:
	rm -rf .venv .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
