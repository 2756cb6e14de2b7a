# make demo | test | lint | test-slow | benchmarks | lock. Each makes .venv and installs what it needs; quick when nothing changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt
DEMO ?= demo-out
WORKERS ?= 2
MANIFEST_DATE := 2026-11-21
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo croissant test test-slow lint benchmarks lock clean

demo: $(VENV)/.installed
	$(BIN)/popsicle demo --out $(DEMO)

# The manifests in croissant/: the portal tasks, and the project that the demo simulates.
croissant: $(VENV)/.installed
	for task in phantom yeast bacterial motorbench; do \
	  $(BIN)/popsicle manifest build --task $$task --out croissant/$$task --date-published $(MANIFEST_DATE) --overwrite || exit 1; \
	done
	$(BIN)/popsicle simulate phantom --out build/phantom-sim
	$(BIN)/popsicle manifest build -c build/phantom-sim --out croissant/phantom-sim --date-published $(MANIFEST_DATE) \
	  --license CC0-1.0 --cite-as "copick_tools, popsicle simulate phantom" --overwrite
	$(BIN)/popsicle manifest check croissant/*
	$(BIN)/popsicle manifest check croissant/phantom-sim --data build/phantom-sim

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations=12 -m "not slow and not gpu and not network"

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations=12 -m "slow and not gpu and not network"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Measure again what this machine can, into docs/benchmarks.md: all of it (hours), or ONLY="score dice".
# Peers are installed, each in an environment of its own, with PEERS=1 alone; what lacks them is skipped and named. A .venv
# that is there is used as it is.
benchmarks:
	test -x $(BIN)/popsicle || $(MAKE) $(VENV)/.installed-test
	$(if $(PEERS),-$(BIN)/python benchmarks/peers.py)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/document.py $(ONLY)

# torch comes first: the constraint names the build, and a torchvision made for another torch breaks what imports it
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e ".[nnunet,sam,search]"
	$(BIN)/python -c "import torchvision" 2>/dev/null || $(BIN)/pip uninstall -q -y torchvision 2>/dev/null || true
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) -e ".[dev]"
	touch $@

# Freeze a fresh environment that holds everything, every distribution pinned, without local version tags.
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q torch==2.13.0
	.venv-lock/bin/pip install -q torch==2.13.0 -e ".[nnunet,sam,search,test,dev]"
	.venv-lock/bin/pip freeze --exclude-editable | sed 's/+[^ ]*//; / @ /d' > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) $(DEMO)
