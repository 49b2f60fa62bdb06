# make demo: install, then run the quickstart from end to end. make test: install, then all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test proof check bench clean

install: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/python launch.py demo

test: install
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not proof and not slow and not slurm" tests
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not proof and (slow or slurm)" tests

proof: install
	$(BIN)/python -m pytest -q -m proof tests

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) build *.egg-info
