"""Recommendation dialogues: what is asked of them, and the training lists made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmllm import interactions, redial
from mmllm.data import DistillSettings, ListSettings
from mmllm.errors import CatalogError, MmllmError
from mmllm.recipe import Recipe
from mmllm.rerank import zscore
from mmllm.train import prepare, run
from tests.test_train import liked, recipe

__all__ = ["liked"]


def lines(folder, rows):
    file = folder / "dialogues.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return file


def talk(number, turns, movies):
    shaped = [{"speaker": s, "text": t, "movies": m} for s, t, m in turns]
    return {"dialog_id": str(number), "movies": movies, "turns": shaped}


def test_dialogues_ask_for_what_was_not_named_and_know_nothing_of_the_answer(tmp_path):
    movies = {"A (1999)": 1, "B (2000)": 2, "C (2001)": 3, "D (2002)": None}
    turns = [
        ("recommender", "Hi, have you seen C?", ["C (2001)"]),
        ("seeker", "I liked A", ["A (1999)"]),
        ("recommender", "A again, or B, or D", ["A (1999)", "B (2000)", "D (2002)"]),
        ("seeker", "B sounds good", ["B (2000)"]),
        ("recommender", "B it is", ["B (2000)"]),
    ]
    read = redial.read(lines(tmp_path, [talk(0, turns, movies)]), ["1", "2", "3"])
    asked = redial.ask(read, 3)
    # The first turn has nothing before it, the last names nothing new, D is not in the catalog.
    assert len(asked.cases) == 1
    assert asked.cases.history[0].tolist() == [2, 0] and asked.cases.targets[0].tolist() == [1]
    assert asked.said[0] == ("Hi, have you seen C?", "I liked A")
    with pytest.raises(CatalogError, match="line 1"):
        redial.read(lines(tmp_path, [{"dialog_id": 3}]), ["1"])


def test_a_dialogue_stands_on_one_side_only(tmp_path):
    rows = [talk(n, [("seeker", "hello", [])], {}) for n in range(400)]
    learned, validation, test = redial.parts(redial.read(lines(tmp_path, rows), ["1"]))
    ids = [{d.id for d in part} for part in (learned, validation, test)]
    assert [len(i) for i in ids] == [50, 150, 200] and not ids[0] & ids[1] and not (ids[0] | ids[1]) & ids[2]
    with pytest.raises(MmllmError, match="stands twice"):
        redial.parts(redial.read(lines(tmp_path, [*rows, rows[0]]), ["1"]))
    with pytest.raises(MmllmError, match="more than 350"):
        redial.parts(redial.read(lines(tmp_path, rows[:100]), ["1"]))


def talks(count, items):
    """Every dialogue names two even or two odd items, and says which."""
    movies = {f"m{n}": f"i{n:02d}" for n in range(items)}
    rows = []
    for n in range(count):
        first, second = n % items, (n + 2) % items
        kind = "even" if n % 2 == 0 else "odd"
        turns = [("seeker", f"I like {kind} ones, m{first}", [f"m{first}"]), ("recommender", f"try m{second}", [f"m{second}"])]
        rows.append(talk(n, turns, movies))
    return rows


def test_lists_of_dialogues_ask_with_what_was_said_and_hold_no_other_film_of_the_dialogue(tmp_path):
    ids = [f"i{n:02d}" for n in range(12)]
    found = redial.read(lines(tmp_path, talks(60, 12)), ids)
    likes = interactions.of_rows([(f"u{n}", ids[n % 12], 5.0, n) for n in range(24)], items=tuple(ids))
    settings = ListSettings(candidates=5, positives=1, depth=8)
    made = redial.TalkLists(found, likes, redial.TalkSettings(), settings)
    assert len(made) == 60
    for n in range(40):
        one, again = made.make(n), made.make(n)
        (target,) = one.candidates[one.gains > 0]
        assert one.history.tolist() == [(target - 2) % 12] and not set(one.history) & set(one.candidates)
        assert f"I like {'even' if target % 2 == 0 else 'odd'} ones" in one.request and "try" not in one.request
        assert len(set(one.candidates)) == 5 and one.gains.sum() == 1 and abs(float(one.retriever.mean())) < 1e-5
        assert one.candidates.tolist() == again.candidates.tolist() and one.request == again.request
    short = redial.TalkLists(found, likes, redial.TalkSettings(), ListSettings(candidates=20, positives=1, depth=60))
    for n in range(20):  # a catalog of twelve: ten of them are nobody's in the dialogue
        one = short.make(n)
        assert len(set(one.candidates)) == 11 and not set(one.history) & set(one.candidates)
    near = DistillSettings(candidates=5, wide=0.0)
    for n in range(40):
        one, again = made.taught(n, near), made.taught(n, near)
        asked = f"I like {'even' if one.history[0] % 2 == 0 else 'odd'} ones" in one.request
        assert asked and len(set(one.candidates)) == 5 and not set(one.history) & set(one.candidates)
        models = [made._models[made._fold[d]] for d in range(60) if found[d].turns[0][1] == one.request]
        scores = [zscore(weight[one.history].sum(axis=0)) + popular for weight, popular in models]
        assert any(np.allclose(one.retriever, zscore(s[one.candidates]), atol=1e-5) for s in scores)
        assert set(one.candidates[one.gains > 0].tolist()) <= {(int(one.history[0]) + 2) % 12}
        assert one.candidates.tolist() == again.candidates.tolist()
    with pytest.raises(MmllmError, match="names an item that was learned"):
        redial.TalkLists([redial.Dialogue("d", (("seeker", "hello", ()),))], likes, redial.TalkSettings(), settings)


def test_a_request_is_the_end_of_what_was_said():
    said = tuple(f"turn {n}  with\nwords" for n in range(9))
    assert redial.request_of(said) == " / ".join(f"turn {n} with words" for n in range(5, 9))
    assert redial.request_of(("x" * 1000,)) == "x" * redial.SAID_CHARS and redial.request_of(()) == ""


def test_mixed_lists_take_their_share_of_each_source():
    class Source:
        def __init__(self, name):
            self.name = name

        def __len__(self):
            return 1

        def make(self, n):
            return self.name

    mixed = redial.MixedLists(Source("likes"), Source("talk"), 0.25, seed=1)
    drawn = [mixed.make(n) for n in range(2000)]
    assert 0.2 < drawn.count("talk") / 2000 < 0.3 and drawn == [mixed.make(n) for n in range(2000)]
    batches = redial.MixedLists(Source("likes"), Source("talk"), 0.25, seed=1, together=4)
    drawn = [{batches.make(n) for n in range(first, first + 4)} for first in range(0, 2000, 4)]
    assert all(len(b) == 1 for b in drawn) and 0.2 < drawn.count({"talk"}) / 500 < 0.3


def test_a_run_learns_from_dialogues_beside_likes_and_never_from_those_that_are_asked(liked, shop_index, tmp_path):
    ids = [i for i in interactions.read(liked).items]
    rows = []
    for n in range(400):
        movies = {"a": ids[n % len(ids)], "b": ids[(n + 1) % len(ids)]}
        rows.append(talk(n, [("seeker", "I liked a", ["a"]), ("recommender", "then b", ["b"])], movies))
    lines(tmp_path, rows)
    file = recipe(tmp_path)
    file.write_text(file.read_text() + '[dialogues]\nfile = "dialogues.jsonl"\nshare = 0.5\n')
    setup = prepare(Recipe.read(file), tmp_path)
    taught, validation, test = redial.parts(redial.read(tmp_path / "dialogues.jsonl", ids))
    assert setup.about["dialogues"] == len(taught) == 50 and setup.about["dialogue_turns"] == 50
    requests = {bool(setup.lists.make(n).request) for n in range(30)}
    assert requests == {True, False}, "both sources"
    assert {"step", "lm", "blend", "dialogues"} <= set(run(file, tmp_path / "adapter"))
    plain = file.read_text()
    file.write_text(plain.replace("steps = 6", "steps = 0") + "[distill]\nsteps = 4\nbatch = 2\ncandidates = 5\n")
    lessons = prepare(Recipe.read(file), tmp_path).taught
    assert {bool(lessons(n).request) for n in range(30)} == {True, False}, "both sources teach"
    assert {"lm", "dialogues"} <= set(run(file, tmp_path / "taught"))
    file.write_text(plain)
    file.write_text(file.read_text().replace("steps = 6", "steps = 0"))
    with pytest.raises(MmllmError, match="packed lists"):
        Recipe.read(file)
