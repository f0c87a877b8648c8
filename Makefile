# make demo: from a bare checkout to a trained router and routed prompts.  make test: every test, in every environment.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

# Modules are compiled when they are first imported (see "install"), which must be kept: else every process does it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: docs site-check wheel-check setup-docs setup setup-nat setup-litellm setup-frameworks setup-keys setup-ray setup-supply audit sbom demo notebooks check \
	test test-pipeline test-serving test-nat test-litellm test-ray clean

# $(call install,ENVIRONMENT,ARGUMENTS): make the environment if there is none, and install into it. A recent pip resolves in
# half the time; modules are compiled when they are first imported, since most never are.
define install
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --no-compile --upgrade pip
	$(1)/bin/python -m pip install --quiet --no-compile $(2)
endef

setup: $(VENV)/.ready

# The pipeline alone, which is all that the demo needs; then what tests and checks need.
$(VENV)/.pipeline: requirements.txt constraints.txt pyproject.toml
	$(call install,$(VENV),-r requirements.txt -c constraints.txt)
	touch $@

$(VENV)/.ready: $(VENV)/.pipeline requirements-dev.txt
	$(call install,$(VENV),-r requirements-dev.txt -c constraints.txt)
	touch $@

# Environments of their own: what they serve inside excludes what the pipeline needs, and each other.
setup-nat: .venv-nat/.ready
setup-litellm: .venv-litellm/.ready
setup-frameworks: .venv-frameworks/.ready  # LangChain and LlamaIndex, for test-litellm to ask the server with; it does without

# For test_virtual_keys.py, which test-litellm leaves out without it and Postgres: Prisma's query engine, from npm.
setup-keys:
	npm install --prefix tests/serve/query_engine --ignore-scripts --no-audit --no-fund --no-package-lock

.venv-%/.ready: requirements-%.txt constraints-%.txt pyproject.toml
	$(call install,.venv-$*,-r requirements-$*.txt -c constraints-$*.txt)
	touch $@

# The docs as a site, in build/site. Broken links, missing pages and unknown names end it.
setup-docs: .venv-docs/.ready

docs: setup setup-docs
	$(PY) scripts/build_docs.py
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

# axe-core on every page of the site and on the demo's report, as on a desktop and on a phone. Needs Chromium.
site-check: docs router_artifacts/nn_router.pth
	$(PY) scripts/check_site.py build/site router_artifacts/report.html

# Known flaws of the pinned packages, from PyPI's database: needs the net, fails where a package is unknown there. Part of no
# test. And for a release: all that each environment holds, with versions and licences (CycloneDX), in build/.
setup-supply: .venv-supply/.ready

audit: setup-supply
	for file in constraints*.txt; do .venv-supply/bin/pip-audit --strict --no-deps --disable-pip -r $$file || failed=1; done; exit $${failed:-0}

sbom: setup-supply
	mkdir -p build
	for name in .venv .venv-nat .venv-litellm; do test ! -x $$name/bin/python || .venv-supply/bin/cyclonedx-py environment \
		$$name/bin/python --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom$${name#.venv}.json || exit 1; done

notebooks: setup
	$(PY) notebooks/execute.py

demo: $(VENV)/.pipeline
	$(PY) examples/quickstart/demo.py

router_artifacts/nn_router.pth:
	$(MAKE) demo

# The wheel in clean environments of every Python that is here; PYTHONS="python3.11 python3.13" names others. It routes with the
# router that is there, else with the demo's.
wheel-check: setup router_artifacts/nn_router.pth
	$(PY) scripts/try_wheel.py $(if $(PYTHONS),--python $(PYTHONS))

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .
	$(PY) scripts/readability.py
	for system in darwin win32; do $(VENV)/bin/mypy --platform $$system auto_router *.py || exit 1; done

# The pipeline and the servers can be tested side by side (make -j2), as .ci/run does.
test: test-pipeline test-serving docs

# One worker more than cores: many tests wait for a server or a process.
test-pipeline: check
	$(PY) -m pytest -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) --dist loadfile --no-loadscope-reorder

# Always one after the other: installing this checkout in editable form writes into it.
test-serving:
	$(MAKE) -j1 test-nat test-litellm

test-nat: setup-nat
	.venv-nat/bin/python -m pytest tests/serve/test_nat.py tests/serve/test_nat_load.py

test-litellm: setup-litellm
	.venv-litellm/bin/python -m pytest tests/serve/test_litellm.py tests/serve/test_litellm_conversations.py \
		tests/serve/test_gateway.py tests/serve/test_fault_matrix.py tests/serve/test_virtual_keys.py \
		tests/serve/test_litellm_load.py

# Ray in an environment of its own: half a gigabyte that no one else needs.
setup-ray: .venv-ray/.ready

.venv-ray/.ready: requirements.txt requirements-ray.txt constraints.txt
	$(call install,.venv-ray,-r requirements.txt -r requirements-ray.txt -c constraints.txt)
	touch $@

test-ray: setup-ray
	.venv-ray/bin/python -m pytest --tb=native tests/test_ray.py

clean:
	rm -rf $(VENV) .venv-docs .venv-supply .venv-nat .venv-litellm .venv-frameworks .venv-ray demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
