"""The simulated user says what is true and never the title; broken systems are measured as broken, sound ones as sound."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as cli
from eval import metrics, phrases, simulation
from eval.reading import Constraint, Reading
from eval.simulation import Played, Shown, against, play, summary, users, went
from eval.simulator import Critique, Said, Simulator, User
from mmllm import catalog
from mmllm.catalog_row import parse_item
from mmllm.interactions import Cases
from mmllm.types import Item
from tests.conftest import FILMS_FILE, make_shop

FILMS = tuple(parse_item(json.loads(line)) for line in FILMS_FILE.read_text(encoding="utf-8").splitlines())
READING = Reading.of(FILMS)
IDS = tuple(i.id for i in FILMS)


def user(target, liked=(), name="1"):
    return User(name, target, tuple(liked), frozenset(liked))


def everybody():
    """A user for every film, who liked four others."""
    rng = random.Random(5)
    return [user(i, rng.sample([j for j in IDS if j != i], 4), name=str(n)) for n, i in enumerate(IDS)]


def lists(seed):
    """A chat that shows anything."""
    rng = random.Random(seed)
    return lambda text: (tuple(rng.sample(IDS, 3)), "", True)


def wise():
    """A chat that reads the simulator's mind: what keeps all that was stated and was not shown, and the target last of it."""

    def chat(text):
        held, me = chat.simulator.constraints, chat.simulator.user.target
        left = [i for i in IDS if all(c.holds(READING.items[i]) for c in held) and i not in chat.shown]
        left.sort(key=lambda i: i == me)
        chat.shown += left[:3]
        return tuple(left[:3]), "", True

    chat.shown = []
    return chat


def talked(chat, who, monkeypatch):
    """`play` with the simulator handed to the chat."""
    made = []

    class Watched(Simulator):
        def __post_init__(self):
            super().__post_init__()
            made.append(self)
            if hasattr(chat, "shown"):
                chat.simulator = self

    monkeypatch.setattr(simulation, "Simulator", Watched)
    return play(who, READING, chat), made[0]


# ---- the user --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_the_title_is_never_said_nor_a_word_of_it(seed):
    for who in everybody():
        film = READING.items[who.target]
        secret = phrases.content_words(film.title)
        told = " ".join(t.said.text for t in play(who, READING, lists(seed), seed=seed).turns)
        assert film.title.casefold() not in told.casefold()
        assert not secret & phrases.content_words(told), (film.title, told)


@pytest.mark.parametrize("seed", [1, 2])
def test_all_that_is_said_is_true_of_the_target_and_tells_it_from_the_list(seed):
    for who in everybody():
        before = ()
        for turn in play(who, READING, lists(seed), seed=seed).turns:
            target = READING.items[who.target]
            assert all(c.holds(target) for c in turn.said.constraints), turn.said
            assert set(turn.said.known) <= set(who.liked)
            for c in turn.said.critiques:
                if c.constraints:
                    assert any(not k.holds(READING.items[i]) for k in c.constraints for i in before), (turn.said, before)
                if c.kind in ("older", "shorter", "cheaper"):
                    (bound,) = c.constraints
                    assert bound.value == min(READING.number(i, bound.attribute) for i in before)
            before = turn.ids


def test_nothing_is_said_twice():
    for who in everybody():
        said = [c for t in play(who, READING, lists(3)).turns for c in t.said.constraints]
        assert len(said) == len(set(said))


def test_one_seed_gives_one_dialogue_and_another_seed_another():
    told = [
        [[t.said.text for t in play(who, READING, lists(4), seed=seed).turns] for who in everybody()] for seed in (17, 17, 18)
    ]
    assert told[0] == told[1] != told[2]


def test_openings_have_the_shapes_of_redials():
    opened = [Simulator(w, READING, str(s)).open() for s in range(30) for w in everybody()]
    likes = np.mean([bool(o.known) for o in opened])
    kinds = np.mean([any(c.relation == "is" for c in o.constraints) for o in opened])
    greeted = np.mean([o.text.startswith(phrases.GREETINGS) for o in opened])
    assert (
        likes == pytest.approx(0.51, abs=0.05)
        and kinds == pytest.approx(0.57, abs=0.06)
        and greeted == pytest.approx(0.84, abs=0.04)
    )
    assert not any("{" in o.text for o in opened)


def test_a_question_is_answered():
    sim = Simulator(user("the-quiet-engine"), READING, "1")
    sim.said.append(Said("hello"))
    asked = sim.react(["lantern-street", "salt-and-thunder"], "There are 9 such. Is there a colour that you would like?")
    assert asked.critiques[0] == Critique("want", "grey", (Constraint("colour", "is", "grey"),))
    assert "grey" in asked.text.lower()


def test_the_target_ends_it_and_what_is_known_is_told():
    sim = Simulator(user("the-quiet-engine", ["lantern-street"]), READING, "1")
    assert sim.react(["salt-and-thunder", "the-quiet-engine"]) is None
    told = []
    while not told:
        told = [n for n in sim.react(["salt-and-thunder", "lantern-street"]).known]
    assert told == ["lantern-street"] and "second" in sim.said[-1].text
    assert not any(sim.react(["lantern-street"]).known for _ in range(20))


def test_topics_are_the_open_values_and_no_words_of_the_title():
    rows = [Item(str(n), f"Film {n}", "", {"tag": tuple(f"tag{n}-{m}" for m in range(3))}) for n in range(20)]
    rows.append(Item("x", "Mafia Nights", "", {"tag": ("mafia", "boxing", "in my queue now")}))
    reading = Reading.of(rows)
    assert (reading.topics, reading.choices) == (("tag",), ())
    assert Simulator(user("x"), reading, "1").topics == ["boxing"]


def test_films_are_named_with_their_year_and_without_other_names():
    rows = (
        Item("a", "Amber (Ambre)", "", {"year": 2001}),
        Item("b", "Blue (1999)", "", {"year": 1999}),
        Item("c", "C (see D)", ""),
    )
    assert [Reading.of(rows).named(i) for i in "abc"] == ["Amber (2001)", "Blue (1999)", "C (see D)"]


# ---- what is measured ------------------------------------------------------------------------------------------------


def test_a_system_without_filters_or_memory_is_measured_as_such(monkeypatch):
    def stubborn(text):
        return IDS[:4], "", True

    played = [talked(stubborn, who, monkeypatch)[0] for who in everybody() if who.target not in IDS[:4]]
    found = summary(played)
    assert found["success"]["5"]["value"] == 0 and found["constraints_satisfied"]["value"] < 0.5
    assert found["repeats"] == 4 * sum(len(p.turns) - 1 for p in played) and found["known_shown"] > 0
    assert found["critiques_go_the_right_way"]["value"] < 0.1


def test_a_system_that_keeps_to_all_is_measured_as_such(monkeypatch):
    played = [talked(wise(), who, monkeypatch)[0] for who in everybody()]
    found = summary(played)
    assert found["constraints_satisfied"]["value"] == 1 and found["repeats"] == 0
    assert found["success"]["5"]["value"] > 0.6 and found["critiques"]["refuse"]["value"] == 1
    broken = [replace(p, turns=tuple(replace(t, kept=0) for t in p.turns)) for p in played]
    assert summary(broken)["constraints_satisfied"]["value"] == 0


def test_an_answer_in_words_is_no_list_and_the_old_one_stands(monkeypatch):
    played, sim = talked(lambda text: (IDS[:3], "", "Hello" in text or "Hi" in text), user(IDS[9]), monkeypatch)
    assert sum(t.ids == () for t in played.turns) >= 4 and summary([played])["repeats"] == 0
    assert summary([played])["turns_without_a_list"] >= 4
    assert played.found == 0 and len(sim.said) == 5


@pytest.mark.parametrize(
    ("kind", "value", "constraints", "before", "after", "right"),
    [
        ("older", "year", [("year", "<", 1994)], ["glass-harbour-1994"], ["lantern-street"], True),
        ("older", "year", [("year", "<", 1987)], ["lantern-street"], ["glass-harbour-1994"], False),
        ("refuse", "drama", [("genre", "is not", "drama")], ["salt-and-thunder"], ["lantern-street"], True),
        ("refuse", "drama", [("genre", "is not", "drama")], ["salt-and-thunder"], ["lantern-street", "the-quiet-engine"], False),
        ("want", "comedy", [("genre", "is", "comedy")], ["salt-and-thunder"], ["salt-and-thunder", "lantern-street"], True),
        ("want", "comedy", [("genre", "is", "comedy")], ["salt-and-thunder"], ["the-quiet-engine"], False),
        ("else", "", [], ["salt-and-thunder"], ["lantern-street"], True),
        ("else", "", [], ["salt-and-thunder"], ["lantern-street", "salt-and-thunder"], False),
        ("like", "glass-harbour-1994", [], ["glass-harbour-1994", "lantern-street"], ["the-quiet-engine"], True),
        ("topic", "robot", [], ["lantern-street"], ["the-quiet-engine"], True),
        ("topic", "robot", [], ["the-quiet-engine"], ["lantern-street"], False),
        ("newer", "year", [("year", ">", 1994)], ["glass-harbour-1994"], [], False),
    ],
)
def test_which_way_a_list_went(kind, value, constraints, before, after, right):
    critique = Critique(kind, value, tuple(Constraint(*c) for c in constraints))
    assert went(READING, critique, before, after) is right


def test_an_item_without_the_attribute_meets_refusals_only():
    bare = Item("x", "X")
    relations = [("is", "a"), ("is not", "a"), ("<", 3), (">=", 3)]
    assert [Constraint("y", r, v).holds(bare) for r, v in relations] == [False, True, False, False]


def test_intervals_resample_people_and_the_ratio_is_of_sums():
    found = metrics.ratio(np.array([1.0, 0.0]), np.array([1.0, 3.0]))
    assert found["value"] == 0.25 and found["interval"] == [0.0, 1.0] and found["of"] == 4
    assert metrics.ratio(np.zeros(2), np.zeros(2))["value"] is None

    def outcomes(*found):
        turn = Shown(Said("x"), ("a",), True, 1, (), (), ())
        return [Played(user("a", name=str(n)), (turn,), f) for n, f in enumerate(found)]

    better = against(outcomes(*[1] * 20), outcomes(*[1] * 10, *[0] * 10))
    assert better["ratio_of_successes"]["value"] == 2 and better["p"] < 0.01
    assert against(outcomes(1, 0, 1), outcomes(1, 0, 1))["p"] == 1
    late = summary(outcomes(1, 3, 0))
    assert [round(late["success"][str(n)]["value"], 2) for n in (1, 2, 3)] == [0.33, 0.33, 0.67]
    assert late["turns_to_success"]["value"] == 2


def test_everybody_is_asked_once_before_anybody_twice():
    targets = (np.array([1, 2, 3]), np.array([4]), np.array([5, 6]))
    rows = tuple(np.array([0]) for _ in targets)
    cases = Cases(7, np.array([0, 1, 2]), rows, targets, rows, np.zeros(3, dtype=bool))
    ids, names = [f"i{n}" for n in range(7)], ["a", "b", "c"]
    drawn = users(cases, ids, names, 5)
    assert sorted(u.name for u in drawn[:3]) == ["a", "b", "c"] and sorted(u.name for u in drawn) == ["a", "a", "b", "c", "c"]
    assert len({(u.name, u.target) for u in drawn}) == 5 and drawn == users(cases, ids, names, 5) and drawn[0].liked == ("i0",)


# ---- the conversation ------------------------------------------------------------------------------------------------


def test_the_conversation_keeps_to_what_was_stated_and_repeats_nothing(films):
    played = [play(who, READING, simulation.conversation(films, 3)) for who in everybody()]
    found = summary(played)
    broken = [
        (t.said.text, t.ids, t.kept)
        for p in played
        for t in p.turns
        if t.kept < len(t.ids) and t.constrained or t.repeated or t.known
    ]
    assert not broken
    assert found["success"]["5"]["value"] > 0.8 and found["critiques"]["refuse"]["value"] == 1


def test_the_command_writes_figures_and_no_titles(tiny, tmp_path):
    from mmllm.build import build_index

    shop = make_shop(tmp_path / "shop")
    items = list(catalog.read(shop).items)
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", items[i].id, 5.0, 100 * n + u) for u in range(12) for n, i in enumerate(rng.permutation(12)[:9])]
    catalog.write_interactions(rows, shop)
    index, out, told = tmp_path / "shop-index", tmp_path / "found.json", tmp_path / "told.jsonl"
    build_index(shop, index, preset="tiny")
    asked = ["simulate", str(index), "-o", str(out), "--split", "leave-last-out", "-k", "2", "--turns", "3"]
    ran = CliRunner().invoke(
        cli.app,
        [*asked, "--count", "6", "--thing", "thing", "--transcripts", str(told), "--systems", ",".join(simulation.SYSTEMS)],
    )
    assert ran.exit_code == 0, ran.output
    text = out.read_text()
    found = json.loads(text)
    assert set(found["systems"]) == {"conversation", "last message", "no memory"} and len(found["cases"]["conversation"]) == 6
    assert {"commit", "versions", "seed", "split_hash"} <= set(found) and set(found["against"]) == {"last message", "no memory"}
    assert not any(re.search(rf"\b{item.title}\b", text) for item in items)
    assert len(told.read_text().splitlines()) == 18
    compared = CliRunner().invoke(cli.app, ["compare", f"{out}:conversation", f"{out}:last message"])
    assert json.loads(compared.output)["metric"] == "success@3"
    many = CliRunner().invoke(cli.app, [*asked, "--count", "600"])
    assert many.exit_code == 1 and "ask for fewer" in many.output
    other = CliRunner().invoke(cli.app, [*asked, "--systems", "oracle"])
    assert other.exit_code == 1 and "oracle" in other.output
