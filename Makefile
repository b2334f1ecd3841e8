# Two commands for everybody: `make demo` and `make test`. Both need python3 (3.11 or newer), pip and make; all else they
# install into .venv. PYTHON=python3.12 names another interpreter.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The generator that fits the oldest protobuf runtime we support; by itself, for it would drag the runtime down.
PROTOC_TOOLS := grpcio-tools==1.74.0

# It wants openai 2 where the tests have 3. So it has a folder of its own, which its tests put first on Python's path.
LITELLM := litellm==1.106.2

# Some faults take a tool of the system. Without it their tests are skipped, which CI takes for a failure.
TOOLS := for tool in strace:strace ip:iproute2 mkfs.ext4:e2fsprogs prlimit:util-linux faketime:faketime; do \
  command -v $${tool%%:*} >/dev/null || apt-get install -y -qq $${tool\#\#*:} || echo "$${tool%%:*} is missing: its tests are skipped"; \
done

.PHONY: demo test clients collector faults check lint types generated generate format clean help

help:
	@echo "make demo      install, then run the whole product on a local model: no key, no network"
	@echo "make test      install, then run the tests"
	@echo "make faults    kill, starve and damage it for an hour: what make test does, many times over"
	@echo "make collector build the OpenTelemetry Collector of collector/otelcol into build/otelcol (with Go, some seven minutes)"
	@echo "make check     lint, layers, types, generated files up to date"
	@echo "make generate  write the generated files anew"

demo: $(VENV)/.demo
	$(BIN)/ell-otel demo

# What is not Python is tested where its tools are: without Go or npm those tests are skipped, which CI takes for a failure.
HAVE = $(shell command -v $(1) 2>/dev/null)
CLIENTS := build/clients/litellm/.done $(if $(call HAVE,go),build/clients/go build/clients/grafana build/clients/kafka build/clients/compose) \
  $(if $(call HAVE,npm),build/clients/node/.done)
COLLECTOR := $(if $(call HAVE,go),build/otelcol)

clients: $(CLIENTS)

build/clients/go: $(wildcard tests/clients/go/*)
	@mkdir -p build/clients
	CGO_ENABLED=0 go build -C tests/clients/go -trimpath -o $(CURDIR)/$@ .

build/clients/grafana: $(wildcard tests/clients/go/grafana/* tests/clients/go/go.*)
	@mkdir -p build/clients
	CGO_ENABLED=0 go build -C tests/clients/go -trimpath -o $(CURDIR)/$@ ./grafana

build/clients/kafka: $(wildcard tests/clients/go/kafka/* tests/clients/go/go.*)
	@mkdir -p build/clients
	CGO_ENABLED=0 go build -C tests/clients/go -trimpath -o $(CURDIR)/$@ ./kafka

build/clients/compose: $(wildcard tests/clients/compose/*)
	@mkdir -p build/clients
	CGO_ENABLED=0 go build -C tests/clients/compose -trimpath -o $(CURDIR)/$@ .

build/clients/node/.done: $(wildcard tests/clients/node/*)
	@mkdir -p build/clients/node && cp $^ build/clients/node/
	npm ci --prefix build/clients/node --no-audit --no-fund --loglevel=error
	@touch $@

build/clients/litellm/.done: Makefile | $(VENV)/.dev
	rm -rf build/clients/litellm
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/clients/litellm '$(LITELLM)'
	@touch $@

collector: build/otelcol

# The builder's version is that of the components. Its sources go to build/otelcol-source, as its manifest says.
build/otelcol: collector/otelcol/builder-config.yaml
	@mkdir -p build
	CGO_ENABLED=0 go run go.opentelemetry.io/collector/cmd/builder@v0.161.0 --config $<
	mv build/otelcol-source/otelcol $@

test: $(VENV)/.dev $(CLIENTS) $(COLLECTOR)
	@$(TOOLS)
	$(BIN)/python -m pytest -m "not tables" --cov --cov-report=term
	$(BIN)/python -m pytest -m tables

faults: $(VENV)/.dev
	@$(TOOLS)
	FAULT_KILLS=1000 FAULT_POINTS=60 FAULT_OUTAGE_S=20 FAULT_CYCLES=40 FAULT_SOAK_S=180 FAULT_HOGS=4 FAULT_FUZZ_S=120 \
	  $(BIN)/python -m pytest --no-cov --hypothesis-profile=new tests/faults

check: lint types generated

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.dev $(VENV)/protoc
	rm -rf build/generated && mkdir -p build/generated
	PYTHONPATH=$(VENV)/protoc $(BIN)/python -m grpc_tools.protoc -Iproto \
	  --python_out=build/generated --pyi_out=build/generated proto/ell/otel/v1/program.proto
	cp build/generated/ell/otel/v1/program_pb2.py build/generated/ell/otel/v1/program_pb2.pyi ell_otel/
	$(BIN)/python -m ell_otel.cli.reference settings > docs/settings.md
	$(BIN)/python -m ell_otel.cli.reference commands > docs/cli.md
	$(BIN)/python -m ell_otel.dashboards collector/grafana

# Generates in place and complains when that changed anything against what is committed or staged.
GENERATED := ell_otel/program_pb2.py ell_otel/program_pb2.pyi docs/settings.md docs/cli.md \
  $(wildcard collector/grafana/dashboards/*.json collector/grafana/provisioning/alerting/*.json)
generated:
	@mkdir -p build/before && cp $(GENERATED) build/before/
	@$(MAKE) --no-print-directory generate
	@for file in $(GENERATED); do \
	  diff -u build/before/$$(basename $$file) $$file || { echo "$$file was out of date; it is written anew: commit it"; exit 1; }; \
	done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed. Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
	  { echo "$(PYTHON) cannot make virtual environments: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): about a gigabyte (ClickHouse comes as a library), some two minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): about a gigabyte (ClickHouse comes as a library), some two minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/protoc: | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ '$(PROTOC_TOOLS)' setuptools

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
