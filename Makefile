.DEFAULT_GOAL := help
.PHONY: help setup run compile check test nightly fmt bench bench-overhead bench-settlement bench-pages
.PHONY: bench-partitions bench-agreement bench-batches bench-engine-change rehearse day judge drift chaos sim
.PHONY: docs fresh clean audit sbom

BIN := .venv/bin
UV = $(lastword $(sort $(wildcard .tools/uv-*/bin/uv)))
# Tools that import the settings and connect to nothing.
STATIC := DJANGO_SETTINGS_MODULE=marketplace.config.settings_check
# As in production, whatever stack runs here.
DEPLOYED := WAYPOST_HOME=none WAYPOST_PUBLIC_URL=https://waypost.example.com
ARGS ?=
# A run starts some two hundred Python processes: none must compile what another did before.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## Install everything into this folder: Python packages, front end
	@python3 deploy/bootstrap.py

run: setup ## Run Waypost on this machine; Ctrl-C stops it (ARGS="--port 9000 ...")
	@$(BIN)/python manage.py up $(ARGS)

compile: setup ## Compile the router's hot path, for ROUTER_BUILD=compiled (about five minutes)
	@ROUTER_BUILD=plain $(BIN)/python -m deploy.compiled

CHECKS := check-format check-lint check-imports check-types check-migrations
CHECKS += check-deploy check-templates check-docs check-front-end

check: setup ## Format, lint, import contracts, types, migrations, templates, docs (-k goes on to the next)
	@$(MAKE) --no-print-directory $(CHECKS)

check-format:
	$(BIN)/ruff format --check .
check-lint:
	$(BIN)/ruff check .
check-imports:
	$(BIN)/lint-imports
check-types:
	$(BIN)/mypy marketplace router workers deploy manage.py
	MYPYPATH=deploy/sdk $(BIN)/mypy --config-file= --strict --python-version 3.10 --cache-dir .mypy_cache/sdk -p waypost
check-migrations:
	$(STATIC) $(BIN)/python manage.py makemigrations --check --dry-run
check-deploy:
	$(STATIC) $(DEPLOYED) $(BIN)/python manage.py check --deploy --fail-level WARNING
check-templates:
	git ls-files -z 'frontend/templates/*.html' | xargs -0 -r $(BIN)/djade --target-version 5.2 --check
check-docs:
	$(BIN)/python -m deploy.docs --check
check-front-end:
	$(BIN)/python deploy/bootstrap.py npm run check

test: setup ## Checks and tests, as CI runs them; with ARGS="tests/unit/... -k ..." those tests alone
ifeq ($(strip $(ARGS)),)
	@python3 deploy/bootstrap.py test-programs
	@$(BIN)/python -m tests
else
	$(BIN)/pytest -n 0 $(ARGS)
endif

nightly: setup ## Everything: `test`, long forms, new examples (CHAOS_SCALE=10)
	@python3 deploy/bootstrap.py test-programs
	@$(BIN)/python -m tests --nightly

fmt: setup ## Rewrite the sources the way `check` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files -z 'frontend/templates/*.html' | xargs -0 -r $(BIN)/djade --target-version 5.2

bench: setup ## Measure a scheduling decision, in microseconds (ARGS="--both": plain and compiled)
	@$(BIN)/python -m tests.bench.decision $(ARGS)

bench-overhead: setup ## Measure where the time of one call goes, and write it into the docs
	@$(BIN)/python -m tests.bench.overhead --write docs/explanation/overhead.md $(ARGS)

bench-settlement: setup ## Measure how many calls a second one writer settles
	@$(BIN)/python -m tests.bench.settlement $(ARGS)

bench-pages: setup ## Measure pages over ten million calls, and write it into the docs
	@$(BIN)/python -m tests.bench.pages --write docs/explanation/usage.md $(ARGS)

bench-partitions: setup ## Measure what months and days as partitions cost
	@$(BIN)/python -m tests.bench.partitions

bench-agreement: setup ## Compare what LoadGen and Locust measure of the same load
	@$(BIN)/python -m tests.bench.agreement --write docs/explanation/feedback-loop.md $(ARGS)

bench-batches: setup ## A million rows in one batch, and the same sent directly to Triton (ARGS="--kill 20")
	@$(BIN)/python -m tests.bench.batches $(ARGS)

bench-engine-change: setup ## Engines return as another version, with the loop and without: into the docs
	@$(BIN)/python -m tests.bench.engine_change --write docs/explanation/feedback-loop.md $(ARGS)

rehearse: setup ## Rehearse a day's load by Locust, on a running stack or its own (ARGS="--help")
	@$(BIN)/python -m tests.load $(ARGS)

day: setup ## A company's day: that load while parts are killed, stopped and replaced; a report in HTML
	@$(BIN)/python -m tests.load.company $(ARGS)

judge: setup ## Compare the router with other gateways on emulated workers (ARGS="--help")
	@$(BIN)/python -m tests.judge $(ARGS)

drift: setup ## A fleet drifts from its benchmarks: write what follows into the docs (~8 minutes)
	@$(BIN)/python -m tests.bench.drift --write docs/explanation/feedback-loop.md --chart docs/images/drift.svg $(ARGS)
	@$(BIN)/python -m tests.bench.drift --live --write docs/explanation/feedback-loop.md

chaos: setup ## The promises under faults, ten times longer and larger than in `test`
	CHAOS_SCALE=$${CHAOS_SCALE:-10} $(BIN)/pytest -m chaos -s tests/chaos $(ARGS)

sim: setup ## 10,000 histories of leases, journal and settlement under simulated faults
	@$(BIN)/python -m tests.simulation $(ARGS)

docs: setup ## Build the documentation's site, which the pages' server has at /docs (`setup` does too)
	@$(BIN)/python -m deploy.docs

fresh: ## `run` and `test` in bare Debians, measured; as root, with debootstrap (ARGS="--help")
	@python3 -m tests.fresh $(ARGS)

audit: setup ## Known vulnerabilities of what ships: asks osv.dev and npm's registry
	$(UV) audit --frozen --no-dev --preview-features audit-command
	$(BIN)/python deploy/bootstrap.py npm audit --omit=dev

SBOM ?= sbom
sbom: setup ## What ships, as CycloneDX, into sbom/
	mkdir -p $(SBOM)
	$(UV) export --frozen --no-dev --format cyclonedx1.5 --preview-features sbom-export --quiet -o $(SBOM)/python.cdx.json
	$(BIN)/python deploy/bootstrap.py npm sbom --sbom-format cyclonedx --package-lock-only --omit dev > $(SBOM)/npm.cdx.json

clean: ## Remove what `setup` installed and built; data in .waypost stays
	rm -rf .venv .tools frontend/node_modules frontend/dist frontend/dist-tests site staticfiles
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
