# Every step is cached by what goes into it, so each target may be called at any time. See CONTRIBUTING.md.

SHELL := /bin/bash
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help

PYTHON := build/venv/bin/python
# Bytecode of the tests and of what they start is kept, whatever the environment says: compiling takes half of a short run.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(PYTHON) -m pytest
FLAVOUR ?= virt
SIGNING = $(if $(KEY)$(CERT),--key "$(KEY)" --cert "$(CERT)")
export CC := $(if $(filter clang%,$(CC)),$(CC),gcc)

.PHONY: help setup kernel image iso test-image run stop test test-fast test-full crash fuzz bench scaling docs lint hooks changelog clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: ## install missing system packages, make build/venv
	@command -v python3 >/dev/null || { \
	  run=; [ "$$(id -u)" = 0 ] || run=sudo; \
	  $$run apt-get --quiet update; \
	  $$run env DEBIAN_FRONTEND=noninteractive apt-get --quiet install --yes --no-install-recommends python3; }
	@python3 -m nullbox.host.setup

kernel: setup ## build/bzImage (CC=clang: with clang, FLAVOUR=…: another flavour)
	@$(PYTHON) -m kernel.build --flavour $(FLAVOUR) --cc $(firstword $(subst -, ,$(CC))) --output build/bzImage

image: setup kernel ## build/root.squashfs, nullbox.efi, nullbox.img, sbom.json (signed with KEY=… CERT=…; FLAVOUR=…)
	@$(PYTHON) -m image.build $(if $(ON_CORRUPTION),--on-corruption $(ON_CORRUPTION))
	@$(PYTHON) -m image.artefacts disk --kernel build/bzImage --flavour $(FLAVOUR) $(SIGNING)

iso: setup ## build/nullbox.iso, for CD and USB, with the kernel for real machines (KEY=… CERT=…)
	@$(PYTHON) -m kernel.build --flavour hardware --cc $(firstword $(subst -, ,$(CC))) --output build/bzImage-hardware
	@$(PYTHON) -m image.build $(if $(ON_CORRUPTION),--on-corruption $(ON_CORRUPTION))
	@$(PYTHON) -m image.artefacts iso --kernel build/bzImage-hardware --flavour hardware $(SIGNING)

test-image: setup ## build/test.squashfs: with the agents that only the boot tests want; bare.squashfs: without any
	@$(PYTHON) -m image.build --variant test
	@$(PYTHON) -m image.build --variant bare

run: setup kernel image ## boot it in QEMU (DETACH=1: return when it is ready)
	@build/venv/bin/nullbox run $(if $(filter-out 0,$(DETACH)),--detach)

stop: ## power the machine of `make run` off
	@[ ! -x build/venv/bin/nullbox ] || build/venv/bin/nullbox stop

test: setup kernel image test-image ## the test suite, QEMU tests included (what takes longer: test-full)
	@$(PYTEST) -m "not boot and not slow and not alone" -n 2 --dist worksteal
	@$(PYTEST) -m "alone and not boot and not slow" tests/unit
	@$(PYTEST) -m "boot and not slow"

test-fast: setup ## the tests that need no QEMU and no kernel
	@NULLBOX_FAST=1 $(PYTEST) -m "not boot and not slow and not net and not alone" -n 2 --dist worksteal
	@NULLBOX_FAST=1 $(PYTEST) -m "alone and not boot and not slow" tests/unit

test-full: setup kernel image test-image iso build/venv/bench ## all tests at full size
	@NULLBOX_FULL=1 $(PYTEST)

crash: setup ## crash schedules of the actor tree: SEED=… N=…
	@NULLBOX_CRASH_SEED="$(SEED)" NULLBOX_CRASH_RUNS="$(or $(N),200)" $(PYTEST) -s tests/crash tests/model

fuzz: setup ## parsers and protocols against random input, for long
	@NULLBOX_FULL=1 $(PYTEST) tests/fuzz

bench: setup kernel image test-image build/venv/bench ## measure beside baselines: build/bench.json, bench.md (QUICK=1: 5 minutes)
	@$(PYTHON) -m bench $(if $(filter-out 0,$(QUICK)),--quick)

scaling: setup build/venv/bench ## how costs grow with size: build/scaling.md (QUICK=1: smaller sizes)
	@$(PYTHON) -m bench.scaling $(if $(filter-out 0,$(QUICK)),--quick)

docs: setup build/venv/docs ## the documentation as a site: build/docs/index.html
	@$(PYTHON) -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "build/docs/index.html"

build/venv/docs build/venv/release build/venv/bench: pyproject.toml | setup
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[$(notdir $@)]'
	@touch $@

hooks: setup build/venv/release ## check commits before they are made (pre-commit)
	@$(PYTHON) -m pre_commit install

changelog: setup build/venv/release ## gather changelog.d into CHANGELOG.md: VERSION=…
	@$(PYTHON) -m towncrier build --version "$(or $(VERSION),$(error VERSION=… is missing))"

lint: setup ## ruff, mypy, import-linter
	@build/venv/bin/ruff check .
	@build/venv/bin/ruff format --check --quiet . || { build/venv/bin/ruff format --check .; exit 1; }
	@build/venv/bin/mypy
	@build/venv/bin/lint-imports

clean: stop ## remove all that was built; downloads stay in ~/.cache/nullbox
	@rm -rf build
