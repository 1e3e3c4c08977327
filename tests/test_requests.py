"""Requests made of items: who answers, and a text adapter trained on them from end to end, with tiny models."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mmllm import Query, Recommender, catalog
from mmllm.build import build_index
from mmllm.data import ListSettings, RankList
from mmllm.lexical import words
from mmllm.lm import WORDS
from mmllm.rank_model import Case, ItemFeatures, RankModel
from mmllm.requests import RequestLists, facets, make, quote
from mmllm.rerank import PASSAGE_WORDS, SEARCHED_CHARS, describe, passage
from mmllm.train import run
from mmllm.types import Item

ITEMS = tuple(
    Item(f"{kind}{n}", f"A {kind}", "", {"kind": kind, "colour": ("red", "blue")[n % 2], "price": n}, None, ())
    for kind in ("cup", "hat", "ball")
    for n in range(8)
)


def test_every_item_that_has_all_that_is_named_answers():
    made = make(ITEMS, count=40, seed=3)
    assert len(made) == 40 == len({m.text for m in made})
    for request in made:
        assert 1 <= len(request.relevant) <= round(0.1 * len(ITEMS)) or len(request.relevant) == 1
        said = {w.strip(",.?!") for w in request.text.split()}
        for row, item in enumerate(ITEMS):
            values = {v for v in facets(item).values() if v in said}
            named = {v for v in ("cup", "hat", "ball", "red", "blue", *map(str, range(8))) if v in said}
            assert (named <= values) == (row in request.relevant)


def test_what_is_quoted_is_said_of_every_item_that_answers():
    foods = ["soup", "bread", "tea", "milk", "rice", "beans", "corn", "fish", "leek", "plum", "salt", "oil"]
    uses = tuple(f"Keeps {food} warm, never hot." for food in foods)
    items = [dataclasses.replace(i, text=f"{i.title}. {uses[n // 2]}") for n, i in enumerate(ITEMS)]
    made = quote(items, count=10, seed=3)
    assert len(made) == 10 == len({m.text for m in made}) and quote(items, count=10, seed=3)[0].text == made[0].text
    for request in made:
        known = set(words(" ".join(uses) + "cup hat ball"))
        asked = set(words(request.text)) & known
        assert asked - set(words("cup hat ball"))
        for row, item in enumerate(items):
            assert (asked <= set(words(f"{item.title} {item.text} red blue"))) == (row in request.relevant), request
    assert quote(ITEMS, count=10, seed=3) == []


def test_a_passage_is_what_the_text_says_of_the_request_and_nothing_else_does():
    text = "A pot. Made by hand in a small town.\nIt keeps soup warm for hours! Not for the oven."
    assert passage(text, "A pot (clay)", "something for soup") == "It keeps soup warm for hours!"
    assert passage(text, "A pot (clay)", "a warm soup in town") == "It keeps soup warm for hours!"
    assert passage(text, "A soup pot (clay)", "soup") == passage(text, "A pot", "a spoon") == passage("", "A pot", "soup") == ""
    assert passage("clay " * SEARCHED_CHARS + "and soup", "A pot", "soup") == ""
    long = " ".join(f"word{n}" for n in range(40)) + " holds soup and bread " + " ".join(f"more{n}" for n in range(40))
    found = passage(long, "A pot", "bread and soup")
    assert len(found.split()) == PASSAGE_WORDS and "holds soup and bread" in found and found in long


def test_the_language_model_is_served_the_passages_that_it_learned_from(tiny, shop, tmp_path):
    items = [
        dataclasses.replace(i, text=f"{i.title}. Rolls far.") if n % 2 else i for n, i in enumerate(catalog.read(shop).items)
    ]
    catalog.write(items, shop)
    build_index(shop, tmp_path / "index", preset="tiny")
    opened = Recommender.load(tmp_path / "index", weight=0.5)
    try:
        reranker, store, query = opened.reranker, opened.store, Query(text="something that rolls")
        rows = list(range(6))
        bare = reranker.score(query, rows)
        config = dataclasses.replace(reranker.adapter.config, passages=True)
        reranker.adapter = dataclasses.replace(reranker.adapter, config=config)
        served = reranker.score(query, rows)
        said = [bool(passage(store.items[r].text, describe(store.items[r]), "something that rolls")) for r in rows]
        assert any(said) and not all(said) and (np.abs(served - bare) > 1e-6).tolist() == said
        features = ItemFeatures.of(store, [i.id for i in store.items], None)
        model = RankModel(reranker.lm, reranker.adapter.fusion, features, form="text", passages=True).eval()
        none = np.zeros(0, dtype=int)
        learned = model([RankList(none, np.array(rows), none, none, request="something that rolls")])[0]
        assert learned.detach().numpy() == pytest.approx(served, abs=1e-4)
    finally:
        opened.close()


def test_a_list_holds_what_answers_and_what_does_not():
    case = Case(np.zeros(0, dtype=int), np.arange(10), np.arange(10.0)[::-1], np.array([2, 5, 30]), "a red cup")
    useless = Case(np.zeros(0, dtype=int), np.arange(3), np.arange(3.0), np.array([7]), "nothing that was found answers")
    lists = RequestLists([case, useless], ListSettings(candidates=6, positives=1))
    assert len(lists) == 1
    for n in range(20):
        one = lists.make(n)
        assert len(one.candidates) == 6 == len(set(one.candidates.tolist())) and one.request == "a red cup"
        assert one.gains.sum() == pytest.approx(1) and set(one.candidates[one.gains > 0].tolist()) <= {2, 5}
        assert np.isin([2, 5], one.candidates[one.gains == 0]).sum() == 0


def test_a_text_adapter_learns_from_requests_and_is_served(shop, shop_index, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(
        f'''
name = "asked"
indexes = ["{shop_index}", "{shop_index}"]
inputs = ["text"]
form = "text"
steps = 4
batch = 2
lora_rank = 2
requests = 30
passages = true
quoted = 0.5
validate_every = 2
validation_cases = 4
validation_candidates = 6
[lists]
candidates = 4
positives = 1
depth = 8
'''
    )
    found = run(file, tmp_path / "adapter")
    assert {"retriever", "lm", "blend", "requests", "catalogs"} <= set(found) and found["share"] == 1
    config = json.loads((tmp_path / "adapter" / "mmllm.json").read_text())
    assert config["passages"] is True
    assert config["form"] == "text" and config["reads"] == ["words"] and config["lora"]
    assert not config["fusion_trained"] and not (tmp_path / "adapter" / "fusion" / "model.safetensors").exists()
    build_index(shop, tmp_path / "served", preset="tiny", adapter=tmp_path / "adapter")
    opened = Recommender.load(tmp_path / "served", weight=0.5)
    try:
        assert "rerank:lm" in opened.recommend(Query(text="something red"), k=3).stages
        # The base model, which is what speaks here, scores otherwise: the LoRA is really on.
        query, ids = Query(text="something red"), [i.id for i in opened.store.items][:4]
        own = {r.id: r.scores["lm"] for r in opened.reranker.rank(query, ids)}
        reranker = opened.reranker
        segments = [reranker.segment(row) for row in opened.store.rows(ids)]
        base = dict(zip(ids, reranker.lm.score(reranker.prefix(query), segments, lora=WORDS).tolist(), strict=True))
        assert own != pytest.approx(base, abs=1e-7)
    finally:
        opened.close()
