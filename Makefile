# `make demo` and `make test` need Python 3.11 and make; everything else they set up themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
SCAN := .venv-scan
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := pyproject.toml setup.py constraints.txt $(wildcard protos/*.proto)
ARGS ?=
# Most tests wait for Envoys most of the time, so more of them run than there are cores; those of a
# file one after the other. SIDE_BY_SIDE= runs all of them so.
SIDE_BY_SIDE ?= -n 3 --dist loadfile
# Debian packages: servers that some tests start on loopback, shells whose completion they try.
SERVERS := prometheus redis-server prometheus-alertmanager victoria-metrics zsh fish

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Weir needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV), once; it takes about a minute"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SOURCES) | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

.PHONY: demo
demo: $(VENV)/.demo ## Real Envoys, real requests, a learned policy, a live view. ARGS="--duration 90 --output json"
	@$(BIN)/weir demo $(ARGS)

.PHONY: install
install: $(VENV)/.dev ## Set up .venv with everything that tests and training need.

.PHONY: servers
servers:
	@if [ "$$(id -u)" = 0 ]; then \
	  missing=""; for p in $(SERVERS); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	  if [ -n "$$missing" ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; \
	else \
	  for p in $(SERVERS); do command -v $$p >/dev/null || echo "left out: tests that need $$p (not installed, and we are not root)"; done; \
	fi

$(VENV)/.tools: tests/kubernetes/tools.py | $(VENV)/.dev
	$(BIN)/python -m tests.kubernetes.tools $(BIN)
	@touch $@

.PHONY: tools
tools: $(VENV)/.tools ## kubectl and helm, the real ones, for the tests that need them.

.PHONY: test
test: $(VENV)/.dev $(VENV)/.tools servers ## Every test, against the real Envoy and the real Prometheus. ARGS="-k guard"
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## ruff, mypy --strict, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## Write the formatting that lint checks.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: protos
protos: $(VENV)/.dev ## Compile protos/ again.
	$(BIN)/python setup.py -q build_protos

.PHONY: dashboards
dashboards: $(VENV)/.dev servers ## Grafana's dashboards from their code, and their pictures from a real run (3 minutes).
	$(BIN)/python -m deploy.grafana
	$(BIN)/python -m deploy.grafana.pictures $(ARGS)

# --- long runs, not part of `make test` ---------------------------------------------------------

.PHONY: demo-seeds
demo-seeds: $(VENV)/.dev ## The demo with five seeds; writes the table into README.md (about 10 minutes).
	$(BIN)/python -m benchmarks.demo_seeds --readme README.md $(ARGS)

.PHONY: bench
bench: bench-loop bench-als bench-xds bench-start ## The costs that the README tells.

.PHONY: bench-loop
bench-loop: $(VENV)/.dev ## Decide and guard for 1,000 services of 100 endpoints.
	$(BIN)/python -m benchmarks.decide_speed $(ARGS)

.PHONY: bench-translate
bench-translate: $(VENV)/.dev ## 1,000 routes cold, and one change of them.
	$(BIN)/python -m benchmarks.translate $(ARGS)

.PHONY: bench-als
bench-als: $(VENV)/.dev ## Access log entries a second on one core.
	$(BIN)/python -m benchmarks.als_ingest $(ARGS)

.PHONY: bench-limits
bench-limits: $(VENV)/.dev ## Decisions a second of the rate limit service on one core, and their latency (wants h2load).
	$(BIN)/python -m benchmarks.rate_limit $(ARGS)

.PHONY: bench-data-path
bench-data-path: $(VENV)/.dev ## Requests for each CPU second of Envoy, beside configurations by hand (about 7 minutes, wants h2load).
	$(BIN)/python -m benchmarks.data_path $(ARGS)

.PHONY: bench-path-parts
bench-path-parts: $(VENV)/.dev ## Instructions of Envoy for a request, with one part of the plain configuration away at a time (wants valgrind, h2load).
	$(BIN)/python -m benchmarks.path_parts $(ARGS)

.PHONY: bench-xds
bench-xds: $(VENV)/.dev ## Server CPU for a push, how it grows, and storms of clients (about 10 minutes).
	$(BIN)/python -m benchmarks.xds_table $(ARGS)

.PHONY: bench-apply
bench-apply: $(VENV)/.dev ## From a change of weights to Envoy having it.
	$(BIN)/python -m benchmarks.xds_apply $(ARGS)

.PHONY: kill-50
kill-50: $(VENV)/.dev ## kill -9 of `weir serve` fifty times under load: no failed request.
	WEIR_KILLS=50 $(BIN)/python -m pytest -q tests/e2e/test_restart.py -k kill_9 $(ARGS)

.PHONY: storms
storms: $(VENV)/.dev ## What hostile or broken clients get, and what they do to the others (about 3 minutes).
	$(BIN)/python -m benchmarks.xds_storms $(ARGS)

.PHONY: soak
soak: $(VENV)/.dev ## An hour of changes, reconnects and refusals: the xDS server stays flat.
	$(BIN)/python -m benchmarks.xds_soak $(ARGS)

.PHONY: bench-start
bench-start: $(VENV)/.dev ## Start to ready with 1,000 endpoints, and memory.
	$(BIN)/python -m benchmarks.startup $(ARGS)

.PHONY: bench-reaction
bench-reaction: $(VENV)/.dev ## From a backend turning slow to changed weights in force in Envoy.
	$(BIN)/python -m benchmarks.reaction $(ARGS)

.PHONY: bench-prometheus
bench-prometheus: $(VENV)/.dev servers ## What numbers from a Prometheus alone cost in quality.
	$(BIN)/python -m benchmarks.prometheus_only $(ARGS)

.PHONY: guard-million
guard-million: $(VENV)/.dev ## The promises of the guard over a million generated vectors.
	$(BIN)/python -m tests.properties.guard_million $(ARGS)

.PHONY: train
train: $(VENV)/.dev ## From its recipe to the release: train, export, evaluate, card (ARGS=--resume goes on where it was stopped).
	$(BIN)/weir train residual-ppo --to policies/released/residual-ppo --logs .training/residual-ppo $(ARGS)

.PHONY: train-smoke
train-smoke: $(VENV)/.dev ## From recipe to release with every algorithm, on the simulator: that it works, not well (minutes).
	$(BIN)/python -m benchmarks.train_smoke $(ARGS)

.PHONY: agents
agents: $(VENV)/.dev ## Learning curves of every algorithm on a toy with a known optimum, three seeds; pictures into docs/agents (minutes).
	$(BIN)/python -m benchmarks.agents $(ARGS)

.PHONY: agents-league
agents-league: $(VENV)/.dev ## Every algorithm trained for as many steps and played in the league; lines into docs/agents (goes on where it stopped).
	$(BIN)/python -m benchmarks.agents_league $(ARGS)

.PHONY: few-shot
few-shot: $(VENV)/.dev ## Policies adapted to new services by minutes of their data; table into docs/agents (goes on where it stopped).
	$(BIN)/python -m benchmarks.few_shot $(ARGS)

.PHONY: curriculum
curriculum: $(VENV)/.dev ## The released recipe with lessons and without, three seeds each; table and curves into docs/agents (about 10 minutes of two cores; goes on where it stopped).
	$(BIN)/python -m benchmarks.curriculum $(ARGS)

.PHONY: league
league: $(VENV)/.dev ## Every policy on the held-out suite; report in benchmarks/results, table in README.md (goes on where it stopped; ARGS=--quick: 2 minutes).
	$(BIN)/weir evaluate --to benchmarks/results/league --readme README.md $(ARGS)

.PHONY: judge
judge: $(VENV)/.dev ## The released policy beside the base and the guard of now: its evaluation, what it goes by and its card, anew (two minutes).
	$(BIN)/python -m policies.training.release policies/released/residual-ppo $(ARGS)

.PHONY: simulator-theory
simulator-theory: $(VENV)/.dev ## The simulator against queueing theory; writes the table into docs/simulator.md.
	$(BIN)/python -m benchmarks.simulator_theory --docs docs/simulator.md $(ARGS)

.PHONY: simulator-algorithms
simulator-algorithms: $(VENV)/.dev ## Balancing algorithms relative to two choices; writes the table into docs/simulator.md.
	$(BIN)/python -m benchmarks.simulator_algorithms --docs docs/simulator.md $(ARGS)

.PHONY: bench-regions
bench-regions: $(VENV)/.dev ## Weights between regions on the simulator; writes the table into docs/regions.md (two minutes).
	$(BIN)/python -m benchmarks.regions --docs docs/regions.md $(ARGS)

.PHONY: region-agents
region-agents: $(VENV)/.dev ## Agents for regions: three seeds of training, and the best against leastTime on held-out cases (about 50 minutes of two cores; ARGS="--steps 7488 --cases 8": minutes; goes on where it stopped).
	$(BIN)/python -m benchmarks.region_agents $(ARGS)

.PHONY: strategies
strategies: $(VENV)/.dev ## Strategies of the hierarchy, each alone and as they are learned, against the served default; tables into docs/agents/hierarchy.md (about 4 minutes of one core; goes on where it stopped).
	$(BIN)/python -m benchmarks.strategies $(ARGS)

.PHONY: calibrate-lab
calibrate-lab: $(VENV)/.dev ## Fit the simulator to real Envoys whose backends are known (about 2 minutes).
	$(BIN)/python -m benchmarks.calibrate_lab $(ARGS)

.PHONY: arena
arena: $(VENV)/.dev ## Policies against Envoy's own balancing on real Envoys, into benchmarks/results and the README (100 minutes on two quiet cores; ARGS=--quick: 2 minutes).
	$(BIN)/weir bench --to benchmarks/results/arena --readme README.md $(ARGS)

.PHONY: fidelity
fidelity: $(VENV)/.dev ## What the arena measured beside what the simulator predicts; writes the table into docs/simulator.md (needs benchmarks/results/arena.json).
	$(BIN)/python -m benchmarks.fidelity --docs docs/simulator.md $(ARGS)

.PHONY: bench-generations
bench-generations: $(VENV)/.dev ## What groups are worth with machines of several generations, on the simulator (a minute).
	$(BIN)/python -m benchmarks.generations $(ARGS)

.PHONY: bench-crowds
bench-crowds: $(VENV)/.dev ## What a sudden crowd costs on the simulator, with many schedules (half a minute).
	$(BIN)/python -m benchmarks.crowds $(ARGS)

.PHONY: simulator-speed
simulator-speed: $(VENV)/.dev ## Requests a second of the simulator, steps a second of the environment.
	$(BIN)/python -m benchmarks.simulator_speed $(ARGS)

.PHONY: bench-kubernetes
bench-kubernetes: $(VENV)/.dev ## What a changed EndpointSlice and a start cost: CPU time by part, and until an Envoy is sent the assignment.
	$(BIN)/python -m benchmarks.kubernetes_cost $(ARGS)
	$(BIN)/python -m benchmarks.kubernetes_endpoints $(ARGS)

.PHONY: features
features: $(VENV)/.dev ## Every feature of the data path, with the tests that send its requests, run.
	$(BIN)/python -m tests.features $(ARGS)

.PHONY: reference
reference: $(VENV)/.dev ## Write docs/reference and the examples in envoy/ from the code that defines them.
	$(BIN)/python -m controlplane.resources.reference > docs/reference/resources.md
	$(BIN)/python -m controlplane.translate.examples

.PHONY: operate-page
operate-page: $(VENV)/.dev $(VENV)/.tools ## The commands of docs/operate.md, typed with requests under way (as root, a minute or two).
	WEIR_OPERATE_PAGE=1 $(BIN)/python -m pytest -q tests/kubernetes/test_pages.py $(ARGS)

.PHONY: kustomize
kustomize: $(VENV)/.tools ## Write deploy/kustomize from the chart.
	$(BIN)/python -m deploy.kustomize

# checkov wants other versions of what we use.
$(SCAN)/.done: deploy/scan.txt
	$(PYTHON) -m venv $(SCAN)
	$(SCAN)/bin/python -m pip --disable-pip-version-check install -q -r deploy/scan.txt
	@touch $@

.PHONY: scan
scan: $(SCAN)/.done ## checkov, zizmor and GitHub's schema over charts, images, workflows and Terraform (wants helm and kubectl).
	$(SCAN)/bin/python -m deploy.scan

# checkov's part of CycloneDX is an older one, so this is apart from it, too.
.venv-sbom/.done:
	$(PYTHON) -m venv .venv-sbom
	.venv-sbom/bin/python -m pip --disable-pip-version-check install -q cyclonedx-bom==7.5.0
	@touch $@

.PHONY: image-rehearsal
image-rehearsal: $(VENV)/.tools .venv-sbom/.done ## Build both images in a fresh Debian, list what is in that of `weir serve`, start it, train a little with the other (as root, wants debootstrap, 10 minutes, 5 GB).
	$(BIN)/python -m deploy.images.rehearse serve --sbom $(VENV)/serve.cdx.json $(ARGS)
	$(BIN)/python -m deploy.images.rehearse train $(ARGS)

.PHONY: compose-rehearsal
compose-rehearsal: $(VENV)/.dev servers ## docker-compose.yml without an engine: its services as processes in networks of their own (as root).
	$(BIN)/python -m deploy.compose.rehearse --profile watch --profile limits $(ARGS)
