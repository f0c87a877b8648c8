# make demo: from a bare checkout to a trained router and routed prompts.  make test: the whole test suite.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: setup setup-nat setup-litellm setup-ray demo notebooks test test-nat test-litellm test-ray check record clean

setup: $(VENV)/.ready

# The pipeline alone, which is all that the demo needs; then what tests and checks need.
$(VENV)/.pipeline: requirements.txt constraints.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/.ready: $(VENV)/.pipeline requirements-dev.txt
	$(PY) -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@

# Environments of their own: what they serve inside excludes what the pipeline needs, and each other.
setup-nat: .venv-nat/.ready
setup-litellm: .venv-litellm/.ready

.venv-%/.ready: requirements-%.txt constraints-%.txt pyproject.toml
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet -r requirements-$*.txt -c constraints-$*.txt
	touch $@

notebooks: setup
	$(PY) notebooks/execute.py

demo: $(VENV)/.pipeline
	$(PY) examples/quickstart/demo.py

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .

test: check
	$(PY) -m pytest -n auto --dist loadfile

test-nat: setup-nat
	.venv-nat/bin/python -m pytest tests/serve/test_nat.py tests/serve/test_nat_load.py

test-litellm: setup-litellm
	.venv-litellm/bin/python -m pytest tests/serve/test_litellm.py

# Ray in an environment of its own: half a gigabyte that no one else needs.
setup-ray: .venv-ray/.ready

.venv-ray/.ready: requirements.txt requirements-ray.txt constraints.txt
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet -r requirements.txt -r requirements-ray.txt -c constraints.txt
	touch $@

test-ray: setup-ray
	.venv-ray/bin/python -m pytest --tb=native tests/test_ray.py

clean:
	rm -rf $(VENV) .venv-nat .venv-litellm .venv-ray demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
