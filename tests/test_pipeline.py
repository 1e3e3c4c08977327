"""The whole path over tiny models: retrieve, rerank, explain, converse."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from mmllm import Conversation, Query, Recommender, catalog
from mmllm.claims import check
from mmllm.errors import MediaError, QueryError
from mmllm.explain import explain
from mmllm.retrieve import fuse
from mmllm.types import Evidence, Filter
from mmllm.vector_store import where


def ids(response):
    return [r.id for r in response.recommendations]


def test_words_find_and_reasons_come_from_the_catalog(recommender):
    response = recommender.recommend(Query(text="a yellow banana"))
    best = response.recommendations[0]
    assert best.title == recommender.store.items[recommender.store.row[best.id]].title
    assert "banana" in ids(response)
    banana = next(r for r in response.recommendations if r.id == "banana")
    assert {(e.name, e.value) for e in banana.explanation.evidence} >= {("colour", "yellow")}
    assert banana.explanation.source == "template"
    assert sum(banana.shares.values()) == pytest.approx(1, abs=0.01)
    assert "rerank:lm" in response.stages and {"retriever", "lm", "bm25"} <= set(banana.scores)
    json.dumps(response.to_dict())


def test_same_query_same_list(recommender):
    one, two = (recommender.recommend(Query(text="red thing")) for _ in range(2))
    assert ids(one) == ids(two) and [r.score for r in one.recommendations] == [r.score for r in two.recommendations]


def test_a_script_the_encoder_does_not_read_goes_by_words(recommender, monkeypatch):
    monkeypatch.setattr(recommender.encoders, "reads", str.isascii)
    response = recommender.recommend(Query(text="一只猫"))
    assert ids(response) == ["cat"] and "retrieve:text" not in response.stages
    assert any("does not read this script" in n for n in response.notes)
    assert "一只猫" in response.recommendations[0].explanation.text


def test_filters_are_kept_and_counted(recommender):
    response = recommender.recommend(Query(text="something", where={"kind": "tool", "price": {">=": 20}}), k=10)
    assert set(ids(response)) == {"wrench", "saw", "drill"}
    assert any("only 3 items" in n for n in response.notes)
    alone = recommender.recommend(Query(where={"colour": "grey"}), k=5)
    assert set(ids(alone)) == {"wrench", "wolf"}


def test_chroma_where_agrees_with_the_filters_in_code(recommender):
    items = recommender.store.items
    vector = recommender.store.fused["pooled"][0]
    for f in (
        Filter("kind", "=", "tool"),
        Filter("kind", "!=", "tool"),
        Filter("colour", "=", "black"),
        Filter("colour", "!=", "black"),
        Filter("colour", "in", ("red", "blue")),
        Filter("price", ">", 20),
        Filter("price", "in", (10, 40)),
    ):
        got = {i for i, _ in recommender.retriever.vectors.query("fused", vector, 12, [f])}
        assert got == {i.id for i in items if catalog.matches(i, [f])}, f
    assert where([]) is None


def test_liked_alone_is_a_query_and_never_comes_back(recommender):
    response = recommender.recommend(Query(liked=["banana"], disliked=["dog"]), k=12)
    assert "banana" not in ids(response) and "dog" not in ids(response) and len(ids(response)) == 10
    assert any(e.kind == "neighbour" for e in response.recommendations[0].explanation.evidence)


def test_an_item_that_was_only_referred_to_is_not_told_as_liked(recommender, monkeypatch):
    monkeypatch.setattr("mmllm.explain.CLOSE", -1.0)
    talk = Conversation(recommender, k=3, reword=False)
    talk.turn("a tool")
    second = recommender.schema.items[talk.state.listed[1]].title
    reason = talk.more_like(talk.state.listed[1]).recommendations[0].explanation
    assert f"it is like “{second}”, which you asked about" in reason.text and "liked" not in reason.text
    assert check("A saw is like A wrench, which you asked about.", "A saw", [Evidence("similar", "x", "A wrench")])[1] == ""
    talk.like(talk.state.similar[0])
    reason = talk.turn("something else").recommendations[0].explanation
    assert f"it is close to “{second}”, which you liked" in reason.text


@pytest.mark.parametrize("said, named", [("un chat", "un chat"), ("le chat", "un chat"), ("un film", ""), ("黑猫", "一只猫")])
def test_a_name_in_another_language_is_a_reason_only_where_it_was_said(recommender, said, named):
    (cat,) = recommender.present(Query(text=said), ["cat"])
    assert [e.value for e in cat.explanation.evidence if e.name == "names"] == ([named] if named else [])


def test_a_picture_finds_itself(recommender, shop):
    response = recommender.recommend(Query(image=shop / "media" / "hammer.png"))
    found = {r.id: r.scores.get("picture", -1.0) for r in response.recommendations}
    assert max(found, key=found.__getitem__) == "hammer" and found["hammer"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(text="   "),
        Query(disliked=["dog"]),
        Query(text="x", liked=["nobody"]),
        Query(text="x", where={"size": 3}),
        Query(text="x" * 5000),
    ],
)
def test_bad_queries_are_refused(recommender, query):
    with pytest.raises(QueryError):
        recommender.recommend(query)


def test_bad_picture_is_refused(recommender, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    with pytest.raises(MediaError):
        recommender.recommend(Query(image=tmp_path / "bad.png"))
    with pytest.raises(QueryError, match="k is 0"):
        recommender.recommend(Query(text="x"), k=0)


def test_rerank_permutes_with_its_candidates(recommender):
    names = ["dog", "banana", "saw", "cat"]
    one = recommender.reranker.rank(Query(text="an animal"), names)
    two = recommender.reranker.rank(Query(text="an animal"), names[::-1])
    assert [r.id for r in one] == [r.id for r in two]
    assert {r.id: r.scores["lm"] for r in one} == pytest.approx({r.id: r.scores["lm"] for r in two}, abs=1e-4)
    with pytest.raises(QueryError):
        recommender.reranker.rank(Query(text="x"), ["dog", "dog"])


def test_untrained_adapter_scores_as_the_base_model(recommender):
    """Candidates enter as text, so that the score is the base model's own next-token logits for the same prompt."""
    r = recommender.reranker
    query = Query(text="an animal")
    row = recommender.store.row["dog"]
    text = r._prefix.render(request="an animal", liked="") + "Item:" + " A brown dog (animal, 10)"[:32]
    text += "<|im_end|>\n<|im_start|>assistant\n"
    with torch.inference_mode():
        logits = r.lm.model(torch.tensor([r.lm.tokens(text)])).logits[0, -1]
    assert float(r.score(query, [row])[0]) == pytest.approx(float(logits[r.lm.yes] - logits[r.lm.no]), abs=1e-3)


def test_soft_form_packs_and_equals_separate(recommender):
    r = recommender.reranker
    adapter = dataclasses.replace(r.adapter, config=dataclasses.replace(r.adapter.config, form="soft"))
    soft = type(r)(store=r.store, lm=r.lm, adapter=adapter, weight=1.0)
    query = Query(text="an animal", liked=["cat"])
    prefix, segments = soft.prefix(query), [soft.segment(n) for n in range(12)]
    assert {len(s) for s in segments} == {2 + 1}, "soft tokens and one readout"
    packed, separate = r.lm.score(prefix, segments), r.lm.score_separately(prefix, segments)
    assert torch.allclose(packed, separate, atol=1e-3)


def test_scores_fall_with_rank_beyond_what_the_lm_reads(recommender):
    response = recommender.recommend(Query(text="a red animal tool fruit"), k=10)
    assert ["lm" in r.scores for r in response.recommendations] == [True] * 6 + [False] * 4
    scores = [r.score for r in response.recommendations]
    assert scores == sorted(scores, reverse=True) and [r.rank for r in response.recommendations] == list(range(1, 11))


def test_weight_zero_is_the_retriever(recommender):
    from mmllm.recommend import replace_weight

    zero = Recommender(
        store=recommender.store,
        encoders=recommender.encoders,
        retriever=recommender.retriever,
        reranker=replace_weight(recommender.reranker, 0.0),
    )
    response = zero.recommend(Query(text="red apple"), k=12)
    scores = [r.scores["retriever"] for r in response.recommendations]
    assert scores == sorted(scores, reverse=True) and "rerank:retriever" in response.stages


def test_rrf_ties_are_broken_by_id():
    found = fuse({"a": [("y", 1.0)], "b": [("x", 1.0)]} | {}, k=2)
    assert [c.id for c in found] == ["x", "y"]
    assert [c.id for c in fuse({"bm25": [("a", 2.0), ("b", 1.0)]}, k=5, hidden=["a"])] == ["b"]


def test_who_says_what_the_catalog_says_means_it(recommender):
    """Of two items that BM25 finds, the one that has all words of the request gains; one that shares a word by chance hardly does."""
    r = recommender.retriever
    row = recommender.store.row
    whole, chance, none = r.bm25.coverage("a yellow banana", [row["banana"], row["dog"], row["saw"]])
    assert whole == pytest.approx(1.0) and none == 0.0
    half = r.bm25.coverage("a yellow banana zeppelin", [row["banana"]])[0]
    assert chance < half < 1, "a word that nobody has counts against everyone"
    lists = {"text": [("a", 1.0), ("b", 0.9)], "bm25": [("b", 2.0), ("a", 1.0)]}
    assert [c.id for c in fuse(lists, k=2)] == ["a", "b"]
    assert [c.id for c in fuse(lists, k=2, extra={"bm25": {"b": 3.0}})] == ["b", "a"]


# ---- explanations ------------------------------------------------------------------------------------------------

ROWS = (Evidence("attribute", "colour", "yellow"), Evidence("words", "title", "banana"))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A banana is yellow.", True),
        ("Its colour is yellow.", True),
        ("Its colour is yellow, as you asked.", False),
        ("It costs 3 dollars.", False),
        ("It is red.", False),
        ("The banana is not yellow.", False),
        ("It is a great choice.", False),
        ('Its title is "banana".', False),
        ("", False),
    ],
)
def test_only_supported_sentences_stay(text, kept):
    assert bool(check(text, "A banana", ROWS)[0]) is kept


def test_a_title_with_a_full_stop_in_it_is_not_cut():
    rows = (Evidence("attribute", "kind", "faces"),)
    assert check("Mad! is of the kind faces.", "Mad!", rows)[0] == "Mad! is of the kind faces."


def test_unsupported_sentence_is_dropped_and_the_rest_stays():
    kept, reasons = check("A banana is yellow. It won an Oscar.", "A banana", ROWS)
    assert kept == "A banana is yellow." and "oscar" in reasons


class Parrot:
    loras = ()

    def __init__(self, reply):
        self.reply = reply

    def generate(self, prompt, **_):
        assert "yellow" in prompt
        return self.reply


def test_the_template_takes_the_place_and_says_why():
    good, bad = explain("A banana", ROWS, Parrot("This banana is yellow.")), explain("A banana", ROWS, Parrot("Buy it now!"))
    assert (good.source, good.text) == ("lm", "This banana is yellow.")
    assert bad.source == "template" and "not in the evidence" in bad.note and "yellow" in bad.text


# ---- the conversation --------------------------------------------------------------------------------------------


def test_likes_move_the_next_turn_and_something_else_repeats_nothing(recommender):
    talk = Conversation(recommender, k=3)
    first = ids(talk.turn("red things"))
    talk.like(first[0])
    talk.dislike(first[1])
    second = ids(talk.turn("something else"))
    assert not set(first) & set(second)
    assert talk.state.liked == (first[0],) and talk.state.disliked == (first[1],)
    talk.dislike(first[0])
    assert talk.state.liked == () and first[0] in talk.state.disliked
    assert talk.turn("start over").recommendations == () and talk.state.disliked == ()


def test_a_refused_turn_changes_nothing(recommender):
    talk = Conversation(recommender, k=3)
    talk.turn("red things")
    before = talk.state
    with pytest.raises(QueryError):
        talk.turn("")
    with pytest.raises(QueryError):
        talk.like("nobody")
    assert talk.state == before


def test_reply_names_only_what_was_retrieved(recommender):
    talk = Conversation(recommender, k=3)
    response = talk.turn("an animal")
    said = "".join(talk.reply(response))
    others = [i.title for i in recommender.store.items if i.id not in ids(response)]
    assert all(r.title in said for r in response.recommendations) and not any(t in said for t in others)
