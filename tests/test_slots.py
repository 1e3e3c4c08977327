"""Slots of labelled turns: the sample, the context, what counts as right. The dialogues are invented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval import metrics, slots
from mmllm.catalog_row import parse_item
from mmllm.errors import MmllmError
from mmllm.redial import Dialogue, read
from mmllm.schema import Schema
from mmllm.types import Filter

LINES = (Path(__file__).parent / "data" / "films.jsonl").read_text(encoding="utf-8").splitlines()
FILMS = Schema.of(parse_item(json.loads(line)) for line in LINES)
IDS = tuple(FILMS.items)
TALK = (
    ("recommender", "Hi! Have you seen Copper Rain or Moth Season?", ("copper-rain", "moth-season")),
    ("seeker", "I loved the first one", ()),
    ("recommender", "Then perhaps Amber Court.", ("amber-court",)),
    ("seeker", "Any comedy before 1990? That was boring", ()),
    ("recommender", "There is Nowhere to be Found.", ("nowhere",)),
    ("seeker", "that is fine, thank you", ()),
    ("seeker", "ok bye", ()),
)


def talk(tmp_path):
    named = sorted({t for _, _, films in TALK for t in films})
    row = {
        "dialog_id": "d1",
        "movies": {t: t if t in IDS else None for t in named},
        "turns": [{"speaker": s, "text": t, "movies": list(m)} for s, t, m in TALK],
    }
    file = tmp_path / "talk.jsonl"
    file.write_text(json.dumps(row) + "\n")
    return file


def test_a_film_outside_the_catalog_is_kept_where_it_is_asked_for(tmp_path):
    (plain,) = read(talk(tmp_path), IDS)
    (whole,) = read(talk(tmp_path), IDS, missing=True)
    assert plain.turns[4][2] == () and whole.turns[4][2] == (-1,)
    assert plain.turns[0][2] == whole.turns[0][2] == (IDS.index("copper-rain"), IDS.index("moth-season"))


def test_the_sample_is_of_seekers_turns_of_three_words_in_an_order_that_never_changes(tmp_path):
    (dialogue,) = read(talk(tmp_path), IDS, missing=True)
    assert sorted(slots.sample([dialogue])) == [("d1", 1), ("d1", 3), ("d1", 5)]
    many = [Dialogue(f"d{n}", (("seeker", "one two three", ()),)) for n in range(400)]
    order = slots.sample(many)
    assert len(order) == 200  # the test part of a file that is large enough to be split
    others = slots.sample(many, part="others")
    assert others and not {d for d, _ in others} & {d for d, _ in order}
    late = slots.sample(many, after=300)
    assert late == [k for k in order if int(k[0][1:]) >= 300] and 0 < len(late) < 100


def test_the_parser_knows_the_last_list_and_the_film_spoken_of_last(tmp_path):
    (dialogue,) = read(talk(tmp_path), IDS, missing=True)
    first, second, third = (slots.state_before(dialogue, n, FILMS, IDS) for n in (1, 3, 5))
    assert first.listed == ("copper-rain", "moth-season") and first.focus == "moth-season"
    assert second.listed == ("amber-court",) and second.shown == ("copper-rain", "moth-season", "amber-court")
    assert third.listed == () and third.focus == ""  # the film spoken of is not in the catalog


def test_turns_are_counted_against_labels(tmp_path):
    (dialogue,) = read(talk(tmp_path), IDS, missing=True)
    labelled = {
        ("d1", 1): frozenset({("liked", "copper-rain")}),
        ("d1", 3): frozenset({("disliked", "amber-court"), ("filters", "genre + comedy"), ("filters", "year <= 1989")}),
        ("d1", 5): frozenset({("known", "amber-court")}),
    }
    counted, seen = slots.measure([dialogue], labelled, FILMS, IDS)
    found = slots.rows(counted)
    assert found["checked"]["read"] == found["checked"]["right"] == 4 and found["checked"]["precision"] == 1
    assert found["checked"]["recall"] == 4 / 5 and found["known"] == {
        "read": 0, "right": 0, "labelled": 1, "found": 0, "recall": 0.0, "recall_interval": [0.0, 0.0],
    }  # fmt: skip
    assert seen[2][2] == {("known", "amber-court")} and "words" not in found


@pytest.mark.parametrize(
    ("f", "told"),
    [
        (Filter("genre", "in", ("comedy", "drama")), ["genre + comedy", "genre + drama"]),
        (Filter("genre", "!=", "horror"), ["genre - horror"]),
        (Filter("year", "<", 1990), ["year <= 1989"]),
        (Filter("year", ">", 1990), ["year >= 1991"]),
        (Filter("year", ">=", 1990), ["year >= 1990"]),
        (Filter("year", "=", 1999), ["year >= 1999", "year <= 1999"]),
    ],
)
def test_filters_are_told_value_by_value(f, told):
    assert list(slots._filters(f, FILMS)) == told


def test_a_tag_is_right_where_its_words_are_labelled():
    wanted = frozenset({("words", "pirat"), ("words", "ship")})
    good = slots.count(frozenset({("filters", "tags + pirates")}), wanted)
    assert good.right["filters"] == 1 and good.found["words"] == 1 and good.labelled["filters"] == 0
    wrong = slots.count(frozenset({("filters", "tags + pirate queen")}), wanted)
    assert wrong.right["filters"] == 0 and wrong.found["words"] == 0 and wrong.read["filters"] == 1


def test_labels_are_refused_where_they_are_of_other_turns_or_kinds(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text('{"dialogue": "d1", "turn": 3, "liked": ["x"], "words": ["Dinosaurs"]}\n')
    labelled = slots.labels(file)
    assert labelled == {("d1", 3): frozenset({("liked", "x"), ("words", "dinosaur")})}
    slots.check(labelled, [("d1", 1), ("d1", 3)], 1)
    with pytest.raises(MmllmError, match="not of the turns"):
        slots.check(labelled, [("d1", 1), ("d1", 3)], 0)
    file.write_text('{"dialogue": "d1", "turn": 3, "loved": ["x"]}\n')
    with pytest.raises(MmllmError, match="loved"):
        slots.labels(file)


def test_the_committed_labels_hold_ids_and_words_but_no_sentences():
    folder = Path(slots.__file__).parent / "labels"
    files = sorted(folder.glob("slots_*.jsonl"))
    assert len(files) >= 2
    for file in files:
        assert len(slots.labels(file)) in (100, 200)
        for line in file.read_text().splitlines():
            values = [v for kind, some in json.loads(line).items() if isinstance(some, list) for v in some]
            assert all(len(v.split()) <= 3 for v in values), line


def test_the_interval_of_a_ratio_holds_it_and_needs_something_to_divide_by():
    part, whole = np.array([1, 0, 2, 1] * 25), np.array([1, 1, 2, 2] * 25)
    low, high = metrics.ratio(part, whole)["interval"]
    assert low < part.sum() / whole.sum() < high and low > 0.4 and high < 0.9
    assert metrics.ratio(np.zeros(3), np.zeros(3)) == {"value": None, "of": 0.0, "interval": None}
