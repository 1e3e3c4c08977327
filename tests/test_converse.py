"""Turns of several parts, laws of the state, and the operators that a talk needs of the filters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmllm import Conversation, Query
from mmllm.catalog import matches, resolve_filters
from mmllm.dialogue import State, Turn, step
from mmllm.errors import QueryError
from mmllm.fusion import masked_mean
from mmllm.schema import Schema, by_meaning
from mmllm.speech import Heard
from mmllm.types import Filter, Segment, Transcript
from mmllm.understand import understand
from mmllm.vector_store import where

WIDTH = 384  # of the tiny Whisper, by its name


def heard(text):
    rng = np.random.default_rng(len(text))
    state = rng.normal(size=WIDTH).astype(np.float32)
    segments = (Segment(0.0, 1.0, text),) if text else ()
    return Heard(Transcript("en" if text else None, segments), state / np.linalg.norm(state))


def ids(response):
    return [r.id for r in response.recommendations]


# ---- one turn with words, a picture and a voice ------------------------------------------------------------------


def test_words_picture_and_voice_are_one_query_with_shares(recommender, shop):
    talk = Conversation(recommender, k=3, reword=False)
    response = talk.turn("something grey", image=shop / "media" / "wrench.png", audio=heard("a tool please"))
    assert set(response.shares) == {"text", "image", "audio"} and sum(response.shares.values()) == pytest.approx(1)
    assert response.transcript.text == "a tool please"
    said = "".join(talk.reply(response))
    assert "I heard: “a tool please”" in said and "text 33%, image 33%, audio 33%" in said
    assert [str(f.value) for f in talk.state.filters] == ["grey", "tool"]


def test_the_fused_query_is_what_the_fusion_makes_of_the_three(recommender, shop):
    import torch

    query = Query(text="grey things a tool", image=shop / "media" / "wrench.png", audio=heard("a tool"))
    encoded = recommender.retriever.encode(query)
    clip = recommender.encoders.clip
    rows = [clip.encode_texts([query.text])[0], encoded.anchors["image"], clip.encode_texts(["a tool"])[0]]
    mean = masked_mean(torch.from_numpy(np.stack(rows))[None], torch.ones(1, 3, dtype=torch.bool))[0].numpy()
    np.testing.assert_allclose(encoded.pooled, mean / np.linalg.norm(mean), atol=1e-6)


def test_words_that_were_only_spoken_are_the_voices_share(recommender):
    spoken = recommender.retriever.encode(Query(text="a red apple", audio=heard("a red apple")))
    typed = recommender.retriever.encode(Query(text="a red apple"))
    assert spoken.shares == {"audio": 1.0} and typed.shares == {"text": 1.0}
    np.testing.assert_allclose(spoken.pooled, typed.pooled, atol=1e-6)


def test_a_spoken_critique_narrows_as_a_typed_one_does(recommender):
    states = []
    for turn in ({"text": "something cheaper"}, {"audio": heard("Something cheaper.")}):
        talk = Conversation(recommender, k=2, reword=False)
        talk.turn("a tool")
        talk.turn(**turn)
        states.append((talk.state.words, talk.state.filters, talk.state.shown))
    assert states[0] == states[1] and any(f.op == "<" for f in states[0][1])


def test_a_sound_is_searched_by_its_sound_and_forgotten_with_the_next_subject(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    sound = heard("")
    response = talk.turn("a tool", audio=sound)
    assert talk.state.sound is sound and any("no speech" in n for n in response.notes)
    assert not set(ids(talk.turn("something else"))) & set(ids(response)) and talk.state.sound is sound
    talk.turn("a wolf in the snow")
    assert talk.state.sound is None


def test_like_this_beside_a_picture_means_the_picture(recommender, shop):
    talk = Conversation(recommender, k=2, reword=False)
    talk.turn("an animal")
    talk.turn("like this but red", image=shop / "media" / "apple.png")
    assert talk.state.similar == () and talk.state.image is not None
    assert [(f.attribute, f.value) for f in talk.state.filters] == [("colour", "red")]


def test_why_this_is_about_the_list_and_not_about_what_it_was_compared_with(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    for words in ("why this?", "why", "why that one?", "为什么推荐这个？"):
        talk.turn("start over")
        talk.turn("an animal")
        talk.turn("like the second but red")
        listed = talk.state.listed
        assert listed and talk.state.focus not in listed
        said = talk.turn(words).said
        assert said.startswith(recommender.schema.items[listed[0]].title) and "on the list" not in said
    talk.turn("why the second?")
    assert talk.turn("why this?").said.startswith(recommender.schema.items[listed[1]].title)


def test_a_response_as_json_holds_what_the_conversation_said(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    row = json.loads(json.dumps(talk.turn("a red apple under 30 from the nineties").to_dict()))
    assert (
        "colour red" in row["understood"]
        and row["unclear"]
        and row["shares"] == {"text": 1.0}
        and row["lang"] == "en"
        and row["said"] == ""
    )
    assert all({"kind", "colour", "price"} <= set(r["attributes"]) for r in row["recommendations"])
    assert json.loads(json.dumps(talk.turn("why this?").to_dict()))["said"]
    row = json.loads(json.dumps(talk.turn("绿色的动物").to_dict()))
    assert row["question"] and row["lang"] == "zh"


# ---- the state ---------------------------------------------------------------------------------------------------


def test_a_refused_turn_changes_nothing(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    talk.turn("red things")
    before = talk.state
    for turn in (
        {"text": " "},
        {"text": "x", "image": b"no picture"},
        {"text": "x", "where": {"size": 3}},
        {"text": "a " * 2000},
    ):
        with pytest.raises(QueryError if "image" not in turn else Exception, match=r"empty|picture|unknown attribute|characters"):
            talk.turn(**turn)
        assert talk.state is before


def test_every_turn_can_be_taken_back(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    seen = [talk.state]
    for text in ("an animal", "I like the first", "no dogs", "something else", "start over", "a tool under 30"):
        talk.turn(text)
        seen.append(talk.state)
    for earlier in reversed(seen[:-1]):
        response = talk.turn("undo")
        now = talk.state
        assert (now.words, now.filters, now.liked, now.shown) == (earlier.words, earlier.filters, earlier.liked, earlier.shown)
        assert now.listed == earlier.listed == tuple(ids(response))
    assert "nothing to undo" in "".join(talk.turn("undo").unclear)


def test_what_was_named_as_a_model_is_not_shown_later(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    for text in ("something like “A red hammer”", "more like the first one", "something else", "something else"):
        assert "hammer" not in ids(talk.turn(text))


def test_what_is_said_of_the_list_leaves_the_subject(recommender):
    talk = Conversation(recommender, k=2, reword=False)
    talk.turn("a tool")
    talk.turn("something cheaper, with a handle")
    assert [f.attribute for f in talk.state.filters] == ["kind", "price"]


def test_step_is_pure_and_a_question_leaves_the_request_alone():
    state = State(words="a tool", filters=(Filter("price", "<", 30),), liked=("saw",))
    turn = Turn(words="red", filters=(Filter("colour", "=", "red"),), disliked=("saw",))
    first, second = step(state, turn), step(state, turn)
    assert first == second and state.liked == ("saw",) and first.before[-1].liked == ("saw",)
    assert first.words == "a tool red" and first.liked == () and first.disliked == ("saw",)
    asked = step(state, Turn("why", targets=("saw",)))
    assert (asked.words, asked.filters, asked.before) == (state.words, state.filters, ()) and asked.focus == "saw"


def test_where_of_the_caller_is_kept_as_a_filter(recommender):
    talk = Conversation(recommender, k=4, reword=False)
    assert all(r.item.attributes["kind"] == "tool" for r in talk.turn(where={"kind": "tool"}).recommendations)
    talk.turn("red")
    assert {f.attribute for f in talk.state.filters} == {"kind", "colour"}


# ---- the schema and the operators --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        Filter("colour", "!=", ("red", "black")),
        Filter("colour", "all", ("red",)),
        Filter("kind", "!=", ("tool", "fruit")),
        Filter("kind", "all", ("tool", "fruit")),
    ],
)
def test_none_of_and_all_of_mean_the_same_in_chroma(recommender, f):
    store = recommender.store
    (checked,) = resolve_filters({f.attribute: {f.op: list(f.value)}}, store.items)
    assert checked == f and where([checked]) is not None
    vector = store.fused["pooled"][0]
    found = {i for i, _ in recommender.retriever.vectors.query("fused", vector, 12, [f])}
    assert found == {i.id for i in store.items if matches(i, [f])}
    assert all(not {"tool", "fruit"} & {store.items[store.row[i]].attributes["kind"]} for i in found) or f.attribute == "colour"


def test_a_synonym_by_meaning_is_taken_only_when_it_is_near(recommender):
    axes = {"creature": [1.0, 0.0], "animal": [0.9, 0.1], "tool": [0.0, 1.0], "fruit": [-1.0, 0.0], "gizmo": [0.6, 0.6]}

    def encode(texts):
        rows = np.array([axes[t] for t in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    schema = Schema.of(recommender.store.items, near=by_meaning(encode, 0.8))
    assert understand("a creature", schema, State()).filters == (Filter("kind", "=", "animal"),)
    assert understand("a gizmo", schema, State()).filters == ()
