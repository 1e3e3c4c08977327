"""What a query and a list of candidates may hold: the rest is refused by its name, and nothing is passed over in silence."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mmllm import Conversation, Query, Recommender, Reranker
from mmllm.adapter import AdapterConfig
from mmllm.errors import QueryError
from mmllm.recommend import LM_NEEDS
from mmllm.texts import say
from tests.conftest import ROOT

WRONG = (
    ({"text": 5}, "text is 5; expected a string"),
    ({"text": b"red"}, "text is of type bytes"),
    ({"image": np.zeros((4, 4, 3), np.uint8)}, "image is of type ndarray; expected a path, bytes or a PIL picture"),
    ({"audio": np.zeros(16000)}, "audio is of type ndarray; expected a path, bytes, or .sample rate"),
    ({"audio": (16000,)}, "audio is of type tuple"),
    ({"where": ["kind", "tool"]}, "where is of type list"),
    ({"text": "x", "lang": "fr"}, "lang is 'fr'; expected 'en' or 'zh'"),
)


@pytest.mark.parametrize(("parts", "word"), WRONG)
def test_a_part_of_another_kind_is_refused_by_its_name(recommender, parts, word):
    talk = Conversation(recommender, reword=False)
    for ask in (lambda: recommender.recommend(Query(**parts)), lambda: talk.turn(**parts)):
        with pytest.raises(QueryError, match=word):
            ask()


@pytest.mark.parametrize("name", ["liked", "disliked", "exclude", "similar"])
def test_one_id_is_no_list_of_ids(recommender, name):
    for ids, word in (
        ("banana", rf"{name} is 'banana'; expected item ids in a list; write \['banana'\]"),
        ([3], f"{name} holds 3"),
    ):
        with pytest.raises(QueryError, match=word):
            recommender.recommend(Query(text="x", **{name: ids}))


def test_k_is_a_whole_number(recommender):
    with pytest.raises(QueryError, match=r"k is 2\.5"):
        recommender.recommend(Query(text="x"), k=2.5)
    assert len(recommender.recommend(Query(text="a red apple"), k=np.int64(2)).recommendations) == 2


def test_the_reranker_refuses_what_it_does_not_read(recommender, shop):
    rank, two = recommender.reranker.rank, ["dog", "saw"]
    for more in (
        {"image": shop / "media" / "apple.png"},
        {"audio": (16000, np.ones(16000))},
        {"where": {"kind": "tool"}},
        {"disliked": ["banana"]},
        {"exclude": ["saw"]},
    ):
        with pytest.raises(QueryError, match=f"does not read {next(iter(more))}; expected text and liked"):
            rank(Query(text="x", **more), two)
    for empty in (Query(), Query(text="  ")):
        with pytest.raises(QueryError, match="the query is empty; expected words or liked items"):
            rank(empty, two)
    with pytest.raises(QueryError, match="candidates is 'dog'; expected item ids in a list"):
        rank(Query(text="x"), "dog")
    with pytest.raises(QueryError, match="liked is 'banana'"):
        rank(Query(liked="banana"), two)
    assert [r.rank for r in rank(Query(liked=["banana"]), two)] == [1, 2]


def test_the_retriever_has_read_what_the_reranker_does_not(recommender, shop):
    query = Query(image=shop / "media" / "apple.png", where={"price": {">=": 20}}, disliked=["dog"])
    found = recommender.recommend(query).recommendations
    assert found[0].id == "apple" and "rerank:retriever" in recommender.recommend(query).stages


def test_a_reranker_is_loaded_with_another_weight(shop_index):
    loaded = Reranker.load(shop_index, weight=0.7)
    assert loaded.weight == 0.7
    with pytest.raises(QueryError, match="LM weight 2"):
        Reranker.load(shop_index, weight=2)


def test_a_weight_of_zero_is_no_note_and_a_query_that_the_lm_cannot_judge_is_one_in_its_language(recommender, shop):
    from mmllm.recommend import replace_weight

    reranker = recommender.reranker
    recommender.reranker = replace_weight(reranker, 0.0)
    plain = recommender.recommend(Query(text="a red apple"))
    assert plain.notes == () and "rerank:retriever" in plain.stages
    recommender.reranker = reranker
    assert "rerank:lm" in recommender.recommend(Query(text="a red apple")).stages
    for lang in ("en", "zh"):
        asked = recommender.recommend(Query(image=shop / "media" / "apple.png", lang=lang))
        assert asked.notes == (say("lm_needs_either", lang),) and "rerank:retriever" in asked.stages
    assert frozenset(AdapterConfig("x", "y", "z", {}).reads) in LM_NEEDS
    # The page and the terminal do not say who ranked: the stages do.
    talk = Conversation(recommender, k=2, reword=False)
    said = "".join(talk.reply(talk.turn(image=shop / "media" / "apple.png", lang="zh")))
    assert "语言模型" not in said


QUIET = """
from mmllm import backbones, settings
from mmllm.settings import Preset
names = dict(text="tiny-text", clip="tiny-clip", whisper="whisper-tiny-none", lm="tiny-lm")
for role, name in names.items():
    backbones.BACKBONES[name] = backbones.Backbone(name, role, "none", ("hub:nobody/nothing@main",))
settings.PRESETS["tiny"] = Preset("tiny", *names.values(), soft_tokens=2, candidates=10)
from mmllm import {name}, Query
opened = {name}.load({index!r})
{use}
"""


@pytest.mark.parametrize(
    ("name", "use"),
    [
        (Recommender.__name__, "opened.recommend(Query(text='red'))"),
        (Reranker.__name__, "opened.rank(Query(text='red'), ['dog', 'saw'])"),
    ],
)
def test_libraries_are_quiet_from_python_too(shop_index, name, use):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TRANSFORMERS_", "HF_HUB_DISABLE_"))}
    code = QUIET.format(name=name, index=str(shop_index), use=use)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
