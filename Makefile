# Everything here works on a fresh clone, and needs nothing prepared but Python 3.11 and make:
#
#   make demo     mount a filesystem and see what it does
#   make test     run the whole suite         (make test ARGS="-k interrupt")
#
# Both make .venv on first use, and renew it when pyproject.toml has changed or the checkout has moved.

PYTHON ?= python3
ARGS ?=
N ?= 1000
SEED ?= 0
PLANTED ?=
VENV := .venv
IN_VENV := $(VENV)/bin/python
PIP := $(IN_VENV) -m pip install --quiet --disable-pip-version-check
CHECKED := $(wildcard src tests docs examples benchmarks differential fuzz torture tools)

# An installed environment knows the checkout by its path, and Python by a link.
USABLE := $(shell test -x $(IN_VENV) && $(IN_VENV) -c \
  'import pip, os; print(open("$(VENV)/installed-from").read() == os.getcwd())' 2> /dev/null)

.PHONY: help demo test stress lint types format torture differential bench fuzz pyz clean distclean renew

help:
	@sed -n 's/^#   //p' Makefile
	@echo 'also: make stress lint types format torture differential bench fuzz pyz clean distclean'

demo: $(VENV)/cli
	@$(IN_VENV) -m fusewire demo $(ARGS)

test: $(VENV)/dev
	@$(IN_VENV) -m pytest $(ARGS)

stress: $(VENV)/dev
	@$(IN_VENV) -m pytest -m stress $(ARGS)

lint: $(VENV)/dev
	@$(IN_VENV) -m ruff check $(CHECKED)
	@$(IN_VENV) -m ruff format --check $(CHECKED)

types: $(VENV)/dev
	@$(IN_VENV) -m mypy $(CHECKED)

format: $(VENV)/dev
	@$(IN_VENV) -m ruff check --fix $(CHECKED)
	@$(IN_VENV) -m ruff format $(CHECKED)

torture: $(VENV)/cli
	@$(IN_VENV) torture/run.py $(ARGS)

# Programs by chance on both kernels, and then daemons that answer nonsense: make differential N=10000 SEED=1; the errors planted for it: make differential PLANTED=1
differential: $(VENV)/cli
	@$(IN_VENV) differential/run.py --number $(N) --seed $(SEED) $(if $(PLANTED),--planted) $(ARGS)
	@$(if $(PLANTED),,$(IN_VENV) differential/nonsense.py)

bench: $(VENV)/cli
	@$(IN_VENV) benchmarks/run.py $(ARGS)

fuzz: $(VENV)/dev
	@set -e; for program in fuzz/*.py; do echo "$$program"; $(IN_VENV) "$$program" $(ARGS); done

# One file that runs wherever Python does, with nothing installed: scp dist/fusewire.pyz there; python3 fusewire.pyz doctor
pyz:
	@$(require_python)
	@$(PYTHON) tools/make_pyz.py dist/fusewire.pyz

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# -- the environment, in two stages: what the demo needs, and what development needs as well

ifneq "$(USABLE)" "True"
$(VENV)/cli $(VENV)/dev: renew
endif

$(VENV)/cli: pyproject.toml
	@$(ensure_venv)
	@echo 'Installing fusewire into $(VENV)...'
	@$(PIP) --editable '.[cli]'
	@$(note_installed)

$(VENV)/dev: pyproject.toml
	@$(ensure_venv)
	@echo 'Installing fusewire and the tools of its development into $(VENV)...'
	@$(PIP) --editable '.[dev,cli]'
	@$(note_installed)
	@touch $(VENV)/cli

note_installed = pwd -P | tr -d '\n' > $(VENV)/installed-from && touch $@

# A half made environment is made again; one that works is kept, whoever made it.
define ensure_venv
$(IN_VENV) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
  $(require_python) && $(require_venv) && \
  echo 'Making $(VENV)...' && $(PYTHON) -m venv --clear $(VENV); }
endef

define require_python
{ $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
  echo 'fusewire needs Python 3.11 or later, and $(PYTHON) is' \
    "$$($(PYTHON) --version 2> /dev/null || echo 'not installed')." >&2; \
  echo 'Install it (Debian 12, Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv),' >&2; \
  echo 'or name one that you have: make PYTHON=python3.12 ...' >&2; \
  exit 1; }; }
endef

define require_venv
{ $(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
  echo '$(PYTHON) cannot make virtual environments: its module venv is packaged apart.' >&2; \
  echo 'Install it: sudo apt-get install python3-venv' >&2; \
  exit 1; }; }
endef
