# One command each: make setup, make demo, make test, make check. A second call repeats nothing.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := catalogs/stamps
INDEX := index/stamps/built
export HF_HUB_OFFLINE ?= 1
export GRADIO_ANALYTICS_ENABLED := False
export ANONYMIZED_TELEMETRY := False

.PHONY: setup weights demo stamps test check format bench-rerank bench-turn bench-page bench-encode eval-encoders eval clean general
.PHONY: eval-ml100k train-general train-words eval-general movies train-movies eval-movies eval-twins eval-split-twins eval-once eval-cold eval-simulator

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

bench-page: stamps
	$(BIN)/pip install --quiet playwright
	$(BIN)/python -m eval.bench_page $(INDEX)

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

# ml-100k as a second set: leave-last-out, with the language model over it. About half an hour.
eval-ml100k: eval weights
	$(BIN)/mmllm index build catalogs/ml-100k --out index/ml-100k --no-blend
	test -f index/ml-100k_leave-last-out/mmllm.json || $(BIN)/mmllm train eval/recipes/ml-100k_leave-last-out.toml -o index/ml-100k_leave-last-out
	$(BIN)/python -m eval rank catalogs/ml-100k --index index/ml-100k --split leave-last-out --out eval/results/ml-100k_leave-last-out.json --systems popularity,item-item,ease,als,slist --base slist --adapter ml-100k=index/ml-100k_leave-last-out

# adapters/general from nothing: catalogs out of packages (needs apt and npm), their indexes, about 40 minutes of training on two cores.
GENERAL := catalogs/general
general: weights
	test -f $(GENERAL)/emoji/catalog.jsonl || $(BIN)/mmllm data import emoji --style noto -o $(GENERAL)/emoji
	test -f $(GENERAL)/openclipart/catalog.jsonl || $(BIN)/mmllm data import openclipart -o $(GENERAL)/openclipart
	$(BIN)/mmllm index build $(GENERAL)/emoji --out index/general/emoji
	$(BIN)/mmllm index build $(GENERAL)/openclipart --out index/general/openclipart

train-general: stamps general
	$(BIN)/mmllm train adapters/general/recipe.toml -o adapters/general

# adapters/words: about half an hour of training on one core. Turns of people are read out of DIALOGUES (ReDial's validation part), by labels of ours.
DIALOGUES ?= ../shared/data/dialogues/redial_valid.jsonl
READ := words_redial_train slots_redial_third slots_redial_fourth
train-words: general movies
	mkdir -p catalogs/words
	cat $(READ:%=eval/labels/%.jsonl) > catalogs/words/labels.jsonl
	$(BIN)/python -m eval words index/movies $(DIALOGUES) catalogs/words/labels.jsonl -o catalogs/words/read.jsonl --dev eval/labels/slots_redial.jsonl --dev eval/labels/slots_redial_next.jsonl
	$(BIN)/mmllm train adapters/words/recipe.toml -o adapters/words

# adapters/movies and its bench: MOVIELENS is a folder of ml-latest-small, with posters and descriptions where there are some.
MOVIELENS ?= ../shared/data/movielens_small
movies: weights
	test -f catalogs/movies/catalog.jsonl || $(BIN)/mmllm data import movielens $(MOVIELENS) -o catalogs/movies
	$(BIN)/mmllm index build catalogs/movies --out index/movies

# Its dialogues are the training part of DIALOGUES, which the bench of dialogues does not ask for.
catalogs/dialogues.jsonl: $(DIALOGUES)
	mkdir -p catalogs && cp $< $@

train-movies: movies catalogs/dialogues.jsonl
	$(BIN)/mmllm train adapters/movies/recipe.toml -o adapters/movies

# The other splits are asked of adapters that learned from their own training parts, as every baseline does; about a quarter of an hour each.
# One is trained again where its recipe is newer.
MOVIES := --systems slist --base slist
index/movies_%/mmllm.json: eval/recipes/movies_%.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

eval-movies: movies $(patsubst %,index/movies_%/mmllm.json,leave-last-out temporal-user)
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split global-time --out eval/results/movielens_small_global-time.json $(MOVIES) --adapter movies=adapters/movies
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split leave-last-out --out eval/results/movielens_small_leave-last-out.json $(MOVIES) --adapter movies=index/movies_leave-last-out
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split temporal-user --out eval/results/movielens_small_temporal-user.json $(MOVIES) --adapter movies=index/movies_temporal-user

# What the features are worth, by twins of the recipe of that split: of the match alone (a few minutes of training each), and with the language model
# (a quarter of an hour each, with titles 50 minutes); and by taking features away from the adapter of that split.
TWINS := attention mean concat gated content text noise untaught seed-18 seed-19
LM_TWINS := noise frozen moved no-lora titles four-tokens
index/twin_%/mmllm.json: eval/recipes/temporal-user_match/%.toml eval/recipes/movies_temporal-user.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

index/lm_twin_%/mmllm.json: eval/recipes/temporal-user_twins/%.toml eval/recipes/movies_temporal-user.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

eval-twins: movies $(TWINS:%=index/twin_%/mmllm.json) $(LM_TWINS:%=index/lm_twin_%/mmllm.json) index/movies_temporal-user/mmllm.json
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split temporal-user --out eval/results/movielens_small_temporal-user_match.json $(MOVIES) $(foreach t,$(TWINS),--adapter '$(t)$(if $(filter untaught,$(t)),, taught)=index/twin_$(t)')
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split temporal-user --out eval/results/movielens_small_temporal-user.json $(MOVIES) $(foreach t,$(LM_TWINS),--adapter '$(t) twin=index/lm_twin_$(t)')
	$(BIN)/python -m eval ablate catalogs/movies index/movies_temporal-user --index index/movies --split temporal-user --base slist --cases 541 --no-readouts --out eval/results/movies_ablation_match.json
	$(BIN)/python -m eval ablate catalogs/movies index/movies_temporal-user --index index/movies --split temporal-user --base slist --cases 120 --out eval/results/movies_ablation.json
	$(BIN)/python -m eval ablate catalogs/movies index/lm_twin_titles --index index/movies --split temporal-user --base slist --cases 120 --conditions 'titles anonymised' --out eval/results/movies_ablation_titles.json

# A LoRA that reads the films as text (an hour, most of it training), and noise in place of all features, on the splits that are asked first; a match that is fitted again.
index/%_text/mmllm.json: eval/recipes/%_twins/text.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

index/%_noise/mmllm.json: eval/recipes/%_twins/noise.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

index/%_again/mmllm.json: eval/recipes/%_twins/again.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

eval-split-twins: movies $(patsubst %,index/%/mmllm.json,global-time_text global-time_noise leave-last-out_noise leave-last-out_again)
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split global-time --once --out eval/results/movielens_small_global-time_once.json $(MOVIES) --adapter 'text twin=index/global-time_text' --adapter 'noise twin=index/global-time_noise'
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split leave-last-out --out eval/results/movielens_small_leave-last-out.json $(MOVIES) --adapter 'noise twin=index/leave-last-out_noise' --adapter 'fitted again=index/leave-last-out_again'

# Without a second fit for anybody: adapters/movies as it was before its own, and the other splits'.
index/global-time_once/mmllm.json: eval/recipes/global-time_twins/once.toml adapters/movies/recipe.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

ONCE := catalogs/movies --index index/movies --once --systems ease,slist --base slist
eval-once: movies $(patsubst %,index/%/mmllm.json,global-time_once movies_leave-last-out movies_temporal-user twin_seed-18 twin_seed-19)
	$(BIN)/python -m eval rank $(ONCE) --split global-time --out eval/results/movielens_small_global-time_once.json --adapter movies=index/global-time_once
	$(BIN)/python -m eval rank $(ONCE) --split leave-last-out --out eval/results/movielens_small_leave-last-out_once.json --adapter movies=index/movies_leave-last-out
	$(BIN)/python -m eval rank $(ONCE) --split temporal-user --out eval/results/movielens_small_temporal-user_once.json --adapter movies=index/movies_temporal-user --adapter seed-18=index/twin_seed-18 --adapter seed-19=index/twin_seed-19

# A fifth of the films is in no training and asked for: what the fusion learned of text and posters beside what finds them without training.
COLD := --systems random,popularity,bm25,dense-text,clip-image,fused,hybrid --whole
index/cold_%/mmllm.json: eval/recipes/cold/%.toml eval/recipes/movies_temporal-user.toml | movies
	$(BIN)/mmllm train $< -o $(@D)

eval-cold: movies index/cold_global-time/mmllm.json index/cold_temporal-user/mmllm.json
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split global-time+cold-items --out eval/results/movielens_small_global-time-cold-items.json $(COLD) --adapter trained=index/cold_global-time
	$(BIN)/python -m eval rank catalogs/movies --index index/movies --split temporal-user+cold-items --out eval/results/movielens_small_temporal-user-cold-items.json $(COLD) --adapter trained=index/cold_temporal-user
	$(BIN)/python -m eval ablate catalogs/movies index/cold_temporal-user --index index/movies --split temporal-user+cold-items --whole --out eval/results/movies_ablation_cold.json

# 200 simulated users, each after one film that he never names, talk to the conversation and to the same retriever without a memory.
eval-simulator: movies
	$(BIN)/python -m eval simulate index/movies -o eval/results/simulator_movies.json --systems 'conversation,last message,no memory'

# adapters/general: its reasons on the stamps, and requests on a catalog it never saw, where there is one (FASHION, a CSV of products).
FASHION ?= ../shared/data/fashion_products/items.csv
FACETS := gender,master_category,sub_category,article_type,colour,season,year,usage
eval-general: stamps
	$(BIN)/mmllm index build $(STAMPS) --out index/general/stamps --adapter adapters/general --no-blend
	$(BIN)/python -m eval explanations index/general/stamps --count 200 --out eval/results/explanations.json
	test ! -f $(FASHION) || test -f catalogs/fashion/catalog.jsonl || $(BIN)/mmllm data import csv $(FASHION) -o catalogs/fashion --id item --title title --image image --attributes $(FACETS)
	test ! -f $(FASHION) || $(BIN)/mmllm index build catalogs/fashion --out index/general/fashion --no-blend
	test ! -f $(FASHION) || $(BIN)/python -m eval requests index/general/fashion --out eval/results/fashion_requests.json --adapter general=adapters/general
	test ! -f index/movies/manifest.json || $(BIN)/python -m eval requests index/movies --quoted --count 150 --out eval/results/films_quoted.json --adapter general=adapters/general

clean:
	rm -rf $(VENV) catalogs $(INDEX) dist build
