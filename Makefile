# The front door. Every target installs what it needs (tools/deps.sh) and says so.
#
#   make run                the demo: simulated GPU servers, the gateway, real traffic through it
#   make run ENGINE=ollama  the same with servers of another engine: ollama, comfyui, ...
#   make run CLUSTER=1      the demo with two gateways and a real Redis Cluster of six nodes
#   make build              build/penstock
#   make test               every test but the slow ones; last line: N passed, N failed
#   make test FULL=1        the same, and both compilers and the sanitizer builds (what .ci/run does)
#   make test-slow          the slow ones
#   make bench NAME=proxy   a benchmark beside its peer
#   make pictures           pictures of the live page and the demo in docs/images, by the test itself
#   make loadtest           the four load tests, shortened, against the demo: report, page and JUnit in build/loadtest
#   make soak HOURS=24      a steady load on the demo for so long; goes on where it was interrupted
#   make tier1-report       one trace without and with cache, optimizer and limits: docs/tier1-report.md
#   make gpu-check          what is read from an NVIDIA driver, beside nvidia-smi; says so where there is none
#   make fuzz               every fuzz target for FUZZ_SECONDS (60)
#   make install            PREFIX (/usr/local), DESTDIR
#   make package            a Debian package: build/package/penstock_VERSION_ARCH.deb
#   make format             clang-format on the C files changed since the last commit (ALL=1: on all)

BUILD ?= build
NAME ?= proxy
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
HOURS ?= 24
ARGS ?=

.PHONY: run build test test-slow bench pictures loadtest soak tier1-report gpu-check fuzz install package format format-check clean

run: build
	@$(if $(CLUSTER),tools/deps.sh cluster)
	@exec $(BUILD)/penstock demo $(if $(ENGINE),--engine $(ENGINE)) $(if $(CLUSTER),--cluster) $(ARGS)

build:
	@tools/deps.sh build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD) penstock

test:
	@tools/deps.sh build test
	@python3 tools/test.py --build $(BUILD) $(if $(FULL),--full) $(if $(TOTAL),--total $(TOTAL)) $(ARGS)

test-slow:
	@tools/deps.sh build test system
	@python3 tools/test.py --build $(BUILD) --slow $(ARGS)

bench: build
	@tools/deps.sh build test bench
	@python3 tests/bench/run.py $(NAME) $(ARGS)

pictures: build
	@tools/deps.sh build test
	@cd tests/scenario && test -d node_modules/playwright-core || npm ci --ignore-scripts --no-audit --no-fund
	@cd tests/scenario && PENSTOCK_BIN=$(abspath $(BUILD))/penstock PENSTOCK_PICTURES=1 \
		node --test --test-name-pattern=pictures page.test.mjs

loadtest: build
	@python3 tools/loadtest.py suite --penstock $(BUILD)/penstock --folder $(BUILD)/loadtest $(ARGS)

soak: build
	@python3 tools/loadtest.py soak --hours $(HOURS) --penstock $(BUILD)/penstock --folder $(BUILD)/soak $(ARGS)

tier1-report: build
	@python3 tools/tier1.py --penstock $(BUILD)/penstock $(ARGS)

# A compiler and libc are enough; 77 says that there is no driver to check.
gpu-check:
	@mkdir -p $(BUILD)
	@$(CC) -std=c17 -D_GNU_SOURCE -O2 -Isrc -Iinclude tools/gpu-check/*.c src/gpu/*.c src/base/*.c \
		-o $(BUILD)/gpu-check -lm -ldl -pthread
	@$(BUILD)/gpu-check || test $$? -eq 77

fuzz:
	@tools/deps.sh build test
	@python3 tools/fuzz.py --seconds $(FUZZ_SECONDS) $(ARGS)

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@ninja -C $(BUILD) penstock library
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

package:
	@tools/deps.sh build package
	@tools/package.sh $(BUILD)/package

format:
	@tools/deps.sh format
	@tools/format.sh $(if $(ALL),all,changed)

format-check:
	@tools/deps.sh format
	@tools/format.sh check

clean:
	@rm -rf $(BUILD) build-clang build-asan build-tsan build-fuzz tests/scenario/node_modules
