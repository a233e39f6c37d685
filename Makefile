# make demo   the whole story on this machine          make test      the default tests
# make check  format, lint, types, pages of docs       make mutants   break the code, see the tests go red
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo quick test slow browser check format docs mutants clean help
.DEFAULT_GOAL := help

help:
	@sed -n '1,2s/^# //p' Makefile

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (first time: some minutes, mostly torch) …"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/vlfeedback demo --out runs/demo

quick: $(READY)
	$(BIN)/vlfeedback demo --quick --out runs/quick

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

browser: $(READY)
	$(BIN)/python -m pytest -q -m browser

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pyright -p benchmarks
	$(BIN)/python docs/build.py --check

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python docs/build.py

mutants: $(READY)
	$(BIN)/python tests/mutants.py

# ONLY=WORD measures the items whose name has the word, and leaves the other lines of the page
evidence-%: $(READY)
	$(BIN)/python tests/evidence/$*.py $(if $(ONLY),--only '$(ONLY)')

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist
