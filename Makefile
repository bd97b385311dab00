.DEFAULT_GOAL := help
PY ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test soak check fix dashboard clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the foreshock command and everything it needs

$(STAMP): pyproject.toml constraints.txt setup.sh
	PY=$(PY) sh ./setup.sh

demo: setup  ## watch one GPU fail, and the training run survive it (no GPU, no broker, no root)
	$(BIN)/foreshock demo

dashboard: setup  ## open the dashboard on what the demo left behind
	$(BIN)/foreshock --config demo-run/foreshock.toml dashboard

check: setup  ## linters and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup check  ## linters, types, and the tests against a real Kafka broker, a real Slurm, a real browser
	sh tests/real/kafka/install.sh
	$(BIN)/pytest

soak: setup  ## the long proofs: kill -9 at fifty moments, ten minutes without a broker, a lake under stress
	sh tests/real/kafka/install.sh
	$(BIN)/pytest -m soak

clean:  ## remove what was built here
	rm -rf .venv .cache demo-run demo/nvml_double/build
