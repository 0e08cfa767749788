# make demo: try Brushfire.   make test: every check.   Both make .venv by themselves.
# PYTHON=... names the interpreter, PIP_ARGS=... goes to pip, ARGS=... to the demo or to pytest.
SHELL := /bin/bash
VENV := .venv
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help install demo test format clean

help:
	@echo "make demo    open the sample in napari, paint, train, export (writes demo_output/)"
	@echo "make test    every check: ruff, mypy, import-linter, npe2 and the tests"
	@echo "make install only make .venv"
	@echo "make format  let ruff put the code in order"
	@echo "make clean   remove .venv and everything that tools left behind"

$(STAMP): pyproject.toml constraints.txt tools/venv.sh
	@tools/venv.sh $(VENV)
	@touch $@

install: $(STAMP)

# Without a screen nobody could close the window: the demo then ends by itself.
demo: $(STAMP)
	@if tools/display.sh --has-screen; then headless=; else headless=--headless; fi; \
	tools/display.sh $(VENV)/bin/brushfire demo --out demo_output $$headless $(ARGS)

test: $(STAMP)
	@tools/check.sh $(VENV) $(ARGS)

format: $(STAMP)
	@$(VENV)/bin/ruff check -q --fix . ; $(VENV)/bin/ruff format -q .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
