# SPDX-License-Identifier: GPL-2.0-or-later
#
# Thin front for meson and ninja: `make help` says what there is.

BUILD ?= build
GUEST ?= guest
PREFIX ?= /usr/local
MESON_FLAGS ?=
BENCH_FLAGS ?=
RUN_FLAGS ?= --memory 512M

ifdef SANITIZE
override BUILD := $(BUILD)-sanitize
MESON_FLAGS += -Db_sanitize=address,undefined -Db_lundef=false
# Some ten times slower: one kernel stands for all, and everything may take its time.
export BOOT_KERNELS ?= cloud-amd64
export BOOT_CPUS ?= 1 2
export TEST_PATIENCE ?= 20
export TEST_TIMEOUT ?= 1800
export UBSAN_OPTIONS ?= halt_on_error=1:print_stacktrace=1
endif

.NOTPARALLEL:
.PHONY: help build build-tests setup setup-test run guest guests test bench bench-interp install clean

build: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo "make            build $(BUILD)/visor"
	@echo "make run        build, prepare Debian's cloud kernel in $(GUEST)/ and boot it to a shell"
	@echo "make test       all tests, some of them again under AddressSanitizer and UBSan; SANITIZE=1: all there"
	@echo "make bench      speed, compared with the bare host and QEMU without KVM; BENCH_FLAGS=--quick: a smoke run"
	@echo "make bench-interp  the interpreter's speed, compared with Bochs and QEMU"
	@echo "make guests     prepare all stock guests that the tests use in $(GUEST)/"
	@echo "make install    install under PREFIX ($(PREFIX))"
	@echo "make clean      remove the build directories; $(GUEST)/ stays"

# Installs what is missing when run as root, else says what to install.
setup:
	@tools/setup.sh build

setup-test:
	@tools/setup.sh build test

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --prefix=$(PREFIX) -Dtests=false $(MESON_FLAGS)

guest: setup
	@tools/guest.sh -d $(GUEST) cloud-amd64

guests: setup-test
	@tools/guest.sh -d $(GUEST) all

run: build guest
	@$(BUILD)/visor run $(RUN_FLAGS) --kernel $(GUEST)/cloud-amd64/vmlinuz \
		--initrd $(GUEST)/cloud-amd64/initrd.gz --append "console=ttyS0"

# What the tests need is installed and configured only here, so that `make run` gets by with less.
test: build-tests
ifdef SANITIZE
	@tests/run $(BUILD) $(GUEST)
else
	@$(MAKE) --no-print-directory build-tests SANITIZE=1
	@tests/run --sanitized $(BUILD)-sanitize $(BUILD) $(GUEST)
endif

build-tests: setup-test $(BUILD)/build.ninja
	@meson configure $(BUILD) -Dtests=true
	@ninja -C $(BUILD)

bench: bench-interp
	@bench/run $(BUILD) $(GUEST) $(BENCH_FLAGS)

bench-interp: setup build
	@tools/setup.sh interp
	@tools/guest.sh -d $(GUEST) cloud-amd64
	@python3 bench/interp.py $(BUILD)/visor $(GUEST)/cloud-amd64

install: build
	@meson configure $(BUILD) -Dprefix=$(PREFIX) # it may be set up for another
	@meson install -C $(BUILD)

clean:
	@rm -rf build build-sanitize
