# The two commands of the README, `make verify` and `make test`, do all the set-up: .venv, the install, the job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: verify test check clean

verify: $(INSTALLED)
	$(BIN)/exactrl verify

test: $(INSTALLED)
	$(BIN)/pytest -n auto

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

# Made anew where what it is made from has changed; the stamp is written last, so that a broken install is no install.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "exactrl needs Python 3.11 or later; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lm,tutorials,test]'
	touch $@
