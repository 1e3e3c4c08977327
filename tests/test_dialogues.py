"""Sixty scripted dialogues, the state asserted after every turn: without a language model in the loop, and (`real`) with it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mmllm import Conversation, Recommender, settings
from mmllm.catalog import matches
from mmllm.dialogue import State
from mmllm.recommend import replace_weight
from tests.conftest import films_index
from tests.dialogues import FILMS, STAMPS

KEPT = ("words", "filters", "avoid", "similar", "liked", "disliked", "known", "wanted")


def snapshot(state):
    """The state in the words of the scripts."""
    filters = [
        f"{f.attribute} {f.op} " + ",".join(map(str, f.value if isinstance(f.value, tuple) else (f.value,)))
        for f in state.filters
    ]
    return {"filters": filters} | {
        name: value if isinstance(value := getattr(state, name), str) else list(value) for name in KEPT if name != "filters"
    }


def resolved(value, listed, items):
    """`@2`, `@2.price` and `@min.price` in a script -> ids and numbers of the list."""
    if isinstance(value, list):
        return [resolved(v, listed, items) for v in value]

    def stands_for(found):
        which, name = found[1], found[2]
        if name is None:
            return listed[int(which) - 1]
        numbers = [items[i].attributes[name] for i in (listed if which == "min" else [listed[int(which) - 1]])]
        return str(min(numbers))

    return re.sub(r"@(\d+|min)(?:\.(\w+))?", stands_for, value)


def titles_in(said, allowed, all_titles):
    """Titles that a text names beside the allowed ones: many stamps are called "A flower", and "A pig" begins "A pigeon"."""
    for title in sorted(allowed, key=len, reverse=True):
        said = said.replace(title, " ")
    return [t for t in all_titles - allowed if re.search(rf"(?<!\w){re.escape(t)}(?!\w)", said)]


def play(script, talk, *, lm=False):
    """Say every turn; the state, the answer and the laws of the house hold after each. With `lm` it words the last answer."""
    items = talk.recommender.schema.items
    expected = snapshot(State())
    for turn in script:
        before, listed = talk.state, talk.state.listed
        response = talk.turn(turn.say)
        shown = [r.id for r in response.recommendations]
        where = f"after {turn.say!r}: {shown}"
        expected["wanted"] = shown if turn.change.get("wanted") is True else []
        expected |= {k: resolved(v, listed, items) for k, v in turn.change.items() if v is not True}
        assert snapshot(talk.state) == expected, where
        for name in ("said", "unclear", "question"):
            given = getattr(response, name)
            text = given if isinstance(given, str) else "; ".join(given)
            pattern = getattr(turn, name)
            assert re.search(pattern, text) if pattern else not text, f"{where}: {name} is {text!r}"
        assert turn.shows is None or len(shown) == turn.shows, where
        if turn.keeps:
            assert list(talk.state.listed) == shown
        else:
            again = set(shown) & {*before.shown, *before.disliked, *before.known, *before.liked}
            assert not again or talk.state.wanted, f"{where}: shown before: {again}"
            met = [i for i in shown if matches(items[i], talk.state.filters)]
            assert met == shown or response.question, f"{where}: breaks a filter"
        talk.reword = lm and turn is script[-1]
        said = "".join(talk.reply(response))
        after = talk.state
        retrieved = {*before.shown, *after.shown, *after.liked, *after.disliked, *after.known, *after.similar, after.focus}
        named = titles_in(said, {items[i].title for i in retrieved if i}, {item.title for item in items.values()})
        examples = "for example" in said or "例如" in said  # requests to try may name any item
        assert said.strip() and (examples or not named), f"{where}: names {named} in {said!r}"


@pytest.fixture(scope="module")
def real_films(tmp_path_factory):
    """The same films through the real encoders and the real language model, which has a share in every ranking: of its first six, for time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PRESETS, "short", replace(settings.preset("mini"), name="short", text_candidates=6))
        opened = Recommender.load(films_index(tmp_path_factory.mktemp("films"), "short"), weight=0.2)
        yield opened
        opened.close()


@pytest.mark.real
@pytest.mark.parametrize("name", FILMS)
def test_films_with_the_real_language_model(real_films, name):
    play(FILMS[name], Conversation(real_films, reword=False), lm=True)


@pytest.mark.parametrize("name", FILMS)
def test_films_without_a_language_model(films, name):
    play(FILMS[name], Conversation(films, reword=False))


@pytest.mark.real
@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("lm", [False, True], ids=["without the LM", "with the LM"])
def test_stamps(stamps, name, lm):
    reranker = replace_weight(stamps.reranker, 0.2 if lm else 0.0)
    talker = Recommender(store=stamps.store, encoders=stamps.encoders, retriever=stamps.retriever, reranker=reranker)
    play(STAMPS[name], Conversation(talker, reword=False), lm=lm)


def test_there_are_sixty_and_eight_in_chinese():
    scripts = FILMS | STAMPS
    assert len(scripts) >= 60 and sum(any("\u3400" <= c <= "\u9fff" for c in script[0].say) for script in scripts.values()) >= 8
