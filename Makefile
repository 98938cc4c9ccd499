# Everything a checkout is worked with. `make demo` and `make test` need nothing but a Python >= 3.11.

BIN := .venv/bin
# Processes that tests run in. Slow ones wait more than they work; each process runs neighbours, which share their server.
QUICK := -n 4
SLOW := -n 4 --dist worksteal
# Per cent of lines and branches that all tests together run, at least. Only ever raised.
FLOOR := 90

# Images of containers like to set it: every process that a test starts would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check quick bench docs format clean environment statics lint pyright pytest newest others

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: ## run real work on the embedded default: measure Python's standard library
	@tools/environment demo
	@$(BIN)/longboat demo

test: statics pytest newest ## everything: check, all tests, types; the quick tests on the newest Python beside this one

check: lint quick ## three minutes: format, lint, types, the import order and the quick tests

quick: environment ## while you work: the quick tests, on the memory and SQLite brokers, with no server
	$(BIN)/python -m pytest -m "not slow" -q $(QUICK)

bench: environment ## figures beside a hand-written loop, into bench/results/
	$(BIN)/python -m bench
	$(BIN)/python -m bench.redis
	$(BIN)/python -m bench.waiting
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.real
	$(BIN)/python -m bench.flows
	$(BIN)/python -m bench.events
	$(BIN)/python -m bench.manager
	$(BIN)/python -m bench.pools
	$(BIN)/python -m bench.postgres
	$(BIN)/python -m bench.cost --write
	$(BIN)/python -m bench.rabbitmq

docs: environment ## the documentation site, into site/: fails on a link that leads nowhere and on a page that the menu lacks
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

format: environment ## format and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean: ## delete environments, caches and build results
	rm -rf .venv* .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@tools/environment dev

statics: environment  # side by side
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint pyright

lint: environment
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy --strict

pyright: environment
	$(BIN)/pyright --pythonpath $(BIN)/python

# Whatever folder a program of a test runs in, its figures are written here. One that is killed may leave half a file, which
# is passed over.
pytest: export COVERAGE_FILE := $(CURDIR)/.coverage

pytest: environment
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -m "not slow" $(QUICK)
	$(BIN)/coverage run -m pytest -m slow $(SLOW)
	@$(BIN)/python -W ignore -m coverage combine --quiet
	@$(BIN)/python tools/covered.py --floor $(FLOOR)

newest others: environment
	@found=$$(tools/environment others $(if $(filter newest,$@),| head -n 1)); \
	echo "other Pythons >= 3.11: $$found" | tr '\n' ' '; echo; \
	for version in $$(echo "$$found" | cut -d ' ' -f 1); do \
		python=$$(echo "$$found" | sed -n "s/^$$version //p"); \
		PYTHON=$$python tools/environment quick .venv-$$version || exit 1; \
		echo "quick tests on Python $$version ($$python)"; \
		.venv-$$version/bin/python -m pytest -m "not slow" -q $(QUICK) || exit 1; \
	done
