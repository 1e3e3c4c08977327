# One command each: make setup, make demo, make test, make check. A second call repeats nothing.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := catalogs/stamps
INDEX := index/stamps/built
export HF_HUB_OFFLINE ?= 1
export GRADIO_ANALYTICS_ENABLED := False
export ANONYMIZED_TELEMETRY := False

.PHONY: setup weights demo stamps test check format bench-rerank bench-turn bench-encode eval-encoders eval clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on this machine: install Python 3.11, or pass PYTHON=python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch torchvision
	$(BIN)/pip install --quiet -c constraints.txt -e '.[hf,langchain,dev]'
	@touch $@

weights: $(VENV)/.installed
	@$(BIN)/mmllm models pull >&2

$(STAMPS)/catalog.jsonl: | $(VENV)/.installed
	$(BIN)/mmllm data import stamps -o $(STAMPS) --cache catalogs

stamps: $(STAMPS)/catalog.jsonl weights
	@$(BIN)/mmllm index build $(STAMPS) --out $(INDEX) --speech-language en >&2

demo: stamps
ifdef CHECK
	@$(BIN)/python -m eval.demo_check $(INDEX)
else
	$(BIN)/mmllm serve $(INDEX)
endif

test: stamps
	$(BIN)/pytest

check: stamps
	$(BIN)/ruff format --check mmllm tests eval app.py
	$(BIN)/ruff check mmllm tests eval app.py
	$(BIN)/mypy
	$(BIN)/pytest

format: setup
	$(BIN)/ruff format mmllm tests eval app.py
	$(BIN)/ruff check --fix mmllm tests eval app.py

bench-rerank: weights
	$(BIN)/python -m eval.bench_rerank

bench-turn: stamps
	$(BIN)/python -m eval.bench_turn $(INDEX)

bench-encode: stamps
	$(BIN)/python -m eval.bench_encode $(STAMPS) --out eval/results/bench_encode.json

# Everything that is claimed of the encoders. Needs npm for the emoji; the parts over private data are left out where it is not.
eval-encoders: stamps
	$(BIN)/pip install --quiet -c constraints.txt -e '.[whisper,denoise,eval]'
	$(BIN)/python -m eval.eval_encoders --work catalogs/train --out eval/results/encoders.json
	$(BIN)/python -m eval.eval_captions $(STAMPS) --out eval/results/captions.json
	$(BIN)/python -m eval.bench_encode $(STAMPS) --out eval/results/bench_encode.json
	test ! -d ../shared/data/speech || $(BIN)/python -m eval.eval_speech

# The harness on public data: its BPR beside the published one (nDCG@10 0.442), EASE, item-item and ALS, all tuned.
eval: setup
	$(BIN)/pip install --quiet -c constraints.txt -e '.[eval]'
	test -f catalogs/ml-100k/interactions.csv || $(BIN)/mmllm data import ml-100k -o catalogs/ml-100k
	$(BIN)/python -m eval rank catalogs/ml-100k --split per-item --systems random,popularity,item-item,ease,als,bpr --out eval/results/ml-100k_per-item.json
	$(BIN)/python -m eval table eval/results/ml-100k_per-item.json

clean:
	rm -rf $(VENV) catalogs $(INDEX) dist build
