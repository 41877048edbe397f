# What a newcomer needs: `make demo`, then `make test`.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: help demo demo-secure test fuzz bench fleet soak lint docs clean

help:
	@echo "make demo         set up, start a NATS server and four services, manage them"
	@echo "make demo-secure  the same with certificates: who may do what, what is refused"
	@echo "make test         set up, run all tests"
	@echo "make fuzz         feed all that reads messages and files a million inputs (minutes)"
	@echo "make bench        set up, measure, print one table of ratios"
	@echo "make fleet        command 100, 1,000 and 5,000 services, restart their broker (minutes)"
	@echo "make soak         half an hour of 50 services whose broker and connections break"
	@echo "make lint         format and check the code"
	@echo "make docs         build the manual as a site in build/docs"
	@echo "make clean        remove what make made"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[server]"
	@touch $@

$(VENV)/.test: pyproject.toml setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[test,docs]"
	@touch $@ $(VENV)/.demo $(VENV)/.bench

demo: $(VENV)/.demo
	@$(RUN) examples/demo/fleet.py

demo-secure: $(VENV)/.demo
	@$(RUN) -m examples.demo.secure

test: $(VENV)/.test
	@$(RUN) -m tests

fuzz: $(VENV)/.test
	@$(RUN) -m tests.fuzz --inputs 1000000

$(VENV)/.bench: pyproject.toml setup.py | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[bench]"
	@touch $@ $(VENV)/.demo

bench: $(VENV)/.bench
	@$(RUN) -m benchmarks

fleet: $(VENV)/.demo
	@$(RUN) -m benchmarks.fleet

soak: $(VENV)/.test
	@$(RUN) -m benchmarks.soak

lint: $(VENV)/.test
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/mypy backplane benchmarks tests examples twisted/plugins
	$(VENV)/bin/lint-imports

docs: $(VENV)/.test
	@$(RUN) -m sphinx -W -n -q -d build/doctrees docs build/docs
	@echo "see build/docs/index.html"

clean:
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
