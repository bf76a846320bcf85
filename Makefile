# Everything sets itself up in .venv: python >= 3.11 with venv and pip, git and make are enough.
#
#   make demo     a server, an agent and a sample site, in one command     make bench    compares Portway with other tunnels
#   make test     the tests (ARGS="tests/mux -k window"; ARGS="-m long")   make lock     pins new versions
#   make test-deps  installs Debian packages of real servers and clients; without them their tests are skipped
#   make check    lint, format, types, import rules: CI's first step       make clean    removes generated files
#   make attack   hostile clients next to an innocent one, half an hour (ARGS="tiny-chunks --rounds 5")
#   make memory   20,000 connects of each kind to one server, whose memory must not grow (ARGS="session --connects 2000")
#   make soak     30 minutes of mixed traffic and faults, then a table of leaks (ARGS="--minutes 5")
#   make fuzz     hostile bytes for every parser, a minute (ARGS="--seconds 600 yamux"; "--costs" for the cost of a byte)

.DEFAULT_GOAL := help
.PHONY: help demo test test-deps check bench attack memory soak fuzz format lock clean

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The tests mostly wait for sockets, and they pass on machines with fewer cores, too.
WORKERS ?= 4

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/.ready-demo
	@$(BIN)/portway demo $(ARGS)

test: .venv/.ready-dev
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-deps:
	@scripts/test-deps

check: .venv/.ready-dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo 'run make format'; exit 1; }
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

# dev.txt contains everything; the smaller sets are derived from it, so that the tested versions are the installed ones.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links pyproject.toml
lock: .venv/.ready-dev
	$(LOCK) --extra demo --extra dns --extra inspect --extra proxy --group dev -o requirements/dev.txt
	$(LOCK) -c requirements/dev.txt --extra demo --group build -o requirements/demo.txt
	$(LOCK) -c requirements/dev.txt --extra server -o requirements/server.txt
	$(LOCK) -c requirements/dev.txt -o requirements/runtime.txt

# Stamps: pip runs again only if a pinned version, the project's metadata or the set-up itself changed.
# Every wheel is checked against its hash; the project is installed last, in place, with the pinned build backend.
.venv/.ready-%: requirements/%.txt pyproject.toml scripts/make-venv
	@scripts/make-venv
	@echo 'Installing requirements/$*.txt'
	@$(PIP) install --require-hashes --no-deps -r $<
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

clean:
	rm -rf .venv .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
