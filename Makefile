# make demo: from a bare checkout to a trained router and routed prompts.  make test: the whole test suite.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: setup demo notebooks test check record clean

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt constraints.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements.txt -c constraints.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@

notebooks: setup
	$(PY) notebooks/execute.py

demo: setup
	$(PY) examples/quickstart/demo.py

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

test: check
	$(PY) -m pytest -n auto --dist loadfile

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
