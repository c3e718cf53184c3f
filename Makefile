# The plain commands. Each installs what it needs (tools/setup), builds, and does its job.
#
#   make             build/purser and build/ngx_http_purser_module.so
#   make run         the demo on http://127.0.0.1:8080 until Ctrl-C   LISTEN= STATE= ONCE=1
#   make test        every suite; last line "N passed, N failed"
#   make prove       the decisions against the oracle, at full size (half an hour)
#   make mutation    small changes to core, each of which a test must notice
#   make chaos       truth, storms, outages, caps and revocations at full size (about 50 minutes)
#                    CHAOS_CALLS=10000 CHAOS_KILLS=500 CHAOS_AGENT_KILLS=200 CHAOS_NODE_KILLS=30
#                    CHAOS_OUTAGE_S=60 CHAOS_RATE=500 CHAOS_CAPS=60 CHAOS_REVOCATIONS=50
#   make fuzz        FUZZ_SECONDS=60 of every fuzzer
#   make bench       decisions, gateway, starts and store; figures on standard output   FULL=1
#   make format      lay the C sources out as .clang-format says
#   make clean       forget what was built (state and settings stay)

LISTEN ?= 127.0.0.1:8080
STATE ?= ./var
BUILD ?= build
FUZZ_SECONDS ?= 60
CHAOS_CALLS ?= 10000
CHAOS_KILLS ?= 500
CHAOS_AGENT_KILLS ?= 200
CHAOS_NODE_KILLS ?= 30
CHAOS_OUTAGE_S ?= 60
CHAOS_RATE ?= 500
CHAOS_CAPS ?= 60
CHAOS_REVOCATIONS ?= 50

MAKEFLAGS += --no-print-directory
.PHONY: all build run test prove mutation chaos fuzz bench format clean setup-build setup-test

all: build

build: setup-build
	@test -f $(BUILD)/build.ninja || { echo "building purser in $(BUILD)" >&2; \
	    said=$$(meson setup $(BUILD) 2>&1) || { echo "$$said" >&2; exit 1; }; }
	@said=$$(ninja -C $(BUILD) --quiet purser purser-init purser-shim ngx_http_purser_module.so 2>&1) || \
	    { echo "$$said" >&2; exit 1; }

run: build
	@exec ./$(BUILD)/purser up --demo $(if $(filter 1 yes true,$(ONCE)),--once) \
	    --listen "$(LISTEN)" --state "$(STATE)"

test: setup-test
	@tools/run-tests

prove: build setup-test
	@build/venv/bin/python3 tests/oracle/run.py --purser $(BUILD)/purser \
	    --registry registry/providers.yaml --cases 0

mutation: setup-test
	@tools/mutation/run

fuzz: setup-test
	@tools/fuzz $(FUZZ_SECONDS)

chaos: build setup-test
	@ninja -C $(BUILD) --quiet bench/bench-load
	@CHAOS_CALLS=$(CHAOS_CALLS) CHAOS_KILLS=$(CHAOS_KILLS) CHAOS_AGENT_KILLS=$(CHAOS_AGENT_KILLS) \
	    CHAOS_NODE_KILLS=$(CHAOS_NODE_KILLS) CHAOS_OUTAGE_S=$(CHAOS_OUTAGE_S) CHAOS_RATE=$(CHAOS_RATE) \
	    CHAOS_CAPS=$(CHAOS_CAPS) CHAOS_REVOCATIONS=$(CHAOS_REVOCATIONS) \
	    build/venv/bin/pytest -q -s tests/chaos

bench: build setup-test
	@bench/decide
	@bench/drain
	@bench/gateway
	@bench/start
	@bench/tokens
	@bench/store $(if $(filter 1 yes true,$(FULL)),--full)

format:
	@clang-format -i $$(git ls-files -co --exclude-standard 'src/*.[ch]' 'tests/*.[ch]')

clean:
	@rm -rf $(BUILD) build-asan

setup-build:
	@tools/setup build

setup-test:
	@tools/setup test
