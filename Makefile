# make demo: from a bare checkout to a trained router and routed prompts.  make test: the whole test suite.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: setup demo test check record clean setup-ray test-ray

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt constraints.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements.txt -c constraints.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@

demo: setup
	$(PY) examples/quickstart/demo.py

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

test: check
	$(PY) -m pytest

# Ray in an environment of its own: half a gigabyte that no one else needs.
setup-ray: .venv-ray/.ready

.venv-ray/.ready: requirements.txt requirements-ray.txt constraints.txt
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet -r requirements.txt -r requirements-ray.txt -c constraints.txt
	touch $@

test-ray: setup-ray
	.venv-ray/bin/python -m pytest --tb=native tests/test_ray.py

clean:
	rm -rf $(VENV) .venv-ray demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
