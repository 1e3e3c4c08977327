"""What a turn is taken for, where it is easy to take too much: mentions, comments, questions, numbers without a unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmllm.catalog import parse_item
from mmllm.dialogue import State, as_words, merge
from mmllm.schema import Schema
from mmllm.types import Filter
from mmllm.understand import understand

LINES = (Path(__file__).parent / "data" / "films.jsonl").read_text(encoding="utf-8").splitlines()
FILMS = Schema.of(parse_item(json.loads(line)) for line in LINES)


def read(text, schema=FILMS, state=None):
    return understand(text, schema, state or State())


@pytest.mark.parametrize(
    ("text", "kind", "ids"),
    [
        ("I loved Red Meridian!", "liked", ["red-meridian"]),
        ("Copper Rain was really great", "liked", ["copper-rain"]),
        (
            "My favourites are Amber Court, Violet Hours and The Last Kite",
            "liked",
            ["amber-court", "violet-hours", "the-last-kite"],
        ),
        ("i enjoyed red meridian (2019)", "liked", ["red-meridian"]),
        ("I liked glass harbour (1994)", "liked", ["glass-harbour-1994"]),
        ("I didn't like Moth Season", "disliked", ["moth-season"]),
        ("wasn't really a fan of it, not a fan of Moth Season", "disliked", ["moth-season"]),
        ("Moth Season was so boring", "disliked", ["moth-season"]),
        ("I have seen Copper Rain already", "known", ["copper-rain"]),
        ("I have seen Copper Rain and I enjoyed that one", "liked", ["copper-rain"]),
        ("I watched Copper Rain so many times", "liked", ["copper-rain"]),
        ("Copper Rain (2021) was a fave of mine", "liked", ["copper-rain"]),
        ("do you know of any film like Copper Rain", "similar", ["copper-rain"]),
        ("Like Copper Rain and Amber Court", "similar", ["copper-rain", "amber-court"]),
        ("I wasn't a big fan of Copper Rain", "disliked", ["copper-rain"]),
        ("we watched Winter Orchard and Amber Court", "known", ["winter-orchard", "amber-court"]),
        ("films like Northern Static", "similar", ["northern-static"]),
        ("something similar to Velvet Radar or Copper Rain", "similar", ["velvet-radar", "copper-rain"]),
        ("我喜欢《Red Meridian》", "liked", ["red-meridian"]),
        ("看过《Copper Rain》", "known", ["copper-rain"]),
    ],
)
def test_what_is_said_of_a_title(text, kind, ids):
    turn = read(text)
    assert list(getattr(turn, kind)) == ids
    others = [k for k in ("liked", "disliked", "known", "similar") if k != kind and getattr(turn, k)]
    assert not others


@pytest.mark.parametrize(
    "text",
    [
        "have you seen Red Meridian?",  # a question
        "did you like Copper Rain?",
        "I haven't seen Winter Orchard",  # a denial
        "I never watched Amber Court",
        "I want to see The Ninth Well",  # a wish
        "I will look into Copper Rain",
        "I heard Copper Rain was good",
        "is it like Copper Rain?",
        "Copper Rain looks good",  # from its poster
        "I loved Red Meridian (1951)",  # another film of that name
        "I loved Red Meridian: The Return",  # part of a longer title
        "I like the winter in an orchard",  # the words, but no title
        "not sure if I have seen Midnight Ledger",
        "I liked the second one",  # nothing is on the list
        "a film about a lantern in a street",
    ],
)
def test_what_is_no_mark(text):
    turn = read(text)
    assert (turn.liked, turn.disliked, turn.known, turn.similar) == ((), (), (), ())


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("it was really funny", []),  # of a film that was seen
        ("is it scary?", []),
        ("a comedy that is not too scary", ["genre not horror", "genre comedy"]),
        ("I love horror but nothing before 1990", ["year at least 1990", "genre horror"]),
        ("comedies and dramas", ["genre comedy and drama"]),
        ("a comedy or a drama", ["genre comedy or drama"]),
        ("a film about the crime of a comedy writer", []),
        ("a musical", []),  # "music" is a stem of it, and no value here anyway
        ("made in 1999", ["year 1999"]),
        ("since 2010", ["year at least 2010"]),
        ("not over 12 dollars", ["price at most 12"]),
        ("I don't want anything longer than 100 minutes", ["minutes at most 100"]),
        ("not from 1999", ["year not 1999"]),
        ("not any films from the 80s", []),  # a span cannot be left out, and that is said
        ("I'm looking for some good comedies", ["genre comedy"]),
        ("That was boring. Any comedy?", ["genre comedy"]),  # each sentence has a head of its own
        ("any good suggestions for horror", ["genre horror"]),
        ("a rom com", ["genre romance and comedy"]),
        ("in 2016 or 2017", ["year at least 2016", "year at most 2017"]),
        ("it came out in 2017", []),  # told of a film
        ("the comedy was pretty bad", []),
        ("do you have any that don't involve horror", ["genre not horror"]),
        ("I tend to watch older films", []),  # a taste compares with nothing
        ("不要2000年以前的", ["year at least 2000"]),
        ("late nineties", ["year at least 1996", "year at most 1999"]),
        ("the 2000s", ["year at least 2000", "year at most 2009"]),
        ("at most two hours", ["minutes at most 120"]),
        ("around 12 dollars", ["price at least 9.6", "price at most 14.4"]),
        ("$8 to $12", []),  # no preposition says that it is a limit
        ("between $8 and $12", ["price at least 8", "price at most 12"]),
        ("no more comedies", ["genre not comedy"]),
        ("less horror please", ["genre not horror"]),
        ("from the 80s or the 90s", ["year at least 1980", "year at most 1999"]),
        ("our budget is 10 dollars", ["price at most 10"]),
        ("price under 10", ["price below 10"]),
        ("a comedy under 10", ["price below 10", "genre comedy"]),
        ("films by Sato", ["director Jun Sato"]),
        ("anything except Ana Roth films", ["director not Ana Roth"]),
        ("2010年以后的喜剧", ["year at least 2010", "genre comedy"]),
        ("不超过100分钟", ["minutes at most 100"]),
        ("10到15元", ["price at least 10", "price at most 15"]),
    ],
)
def test_filters(text, filters):
    assert [as_words(f) for f in read(text).filters] == filters


def test_a_number_that_could_be_two_things_is_asked_about_and_the_answer_is_understood():
    items = [
        parse_item({"id": str(n), "title": f"Box {n}", "attributes": {"width": n * 10, "depth": n * 10}}) for n in range(1, 9)
    ]
    boxes = Schema.of(items)
    turn = read("under 40", boxes)
    assert turn.filters == () and turn.question is not None and "depth or width" in turn.question.text
    answered = read("the depth", boxes, State(question=turn.question))
    assert answered.filters == (Filter("depth", "<", 40),)
    assert read("a red thing", boxes, State(question=turn.question)).words == "a red thing"


def test_what_cannot_be_read_is_told():
    for text, word in (
        ("something lighter", "no weight"),
        ("cheaper", "nothing to compare with"),
        ("not from the nineties", "not leave out a span"),
        ("directed by Steven Nobody", "nobody of that name"),
        ("the seventh one", "nothing is on the list"),
        ("forget the smell", "the attributes here are"),
        ("I liked Glass Harbour", "2 items"),
    ):
        assert word in "; ".join(read(text).unclear), text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "???",
        "🙂🙂",
        "⟨0⟩ ⟨1⟩ than ⟨7⟩",
        "cheaper than ⟨9⟩",
        "some like ⟨0⟩, I love ⟨1⟩",
        "a" * 2000,
        "the " * 500,
        "(((([[[",
        "\u0000",
        "İstanbul ﬁlm",
    ],
)
def test_odd_input_never_fails(text):
    assert read(text).liked == ()


def test_words_of_users_that_most_items_lack_are_searched_and_never_filters():
    free = [{"tags": [f"word {n}", "good"]} for n in range(80)] + [{"genre": "comedy"}] * 100
    items = [parse_item({"id": str(n), "title": f"Film {n}", "attributes": a}) for n, a in enumerate(free)]
    turn = read("a good comedy about word 7", Schema.of(items))
    assert turn.filters == (Filter("genre", "=", "comedy"),) and "word 7" in turn.words


def test_a_title_is_dated_by_the_year_attribute():
    films = [parse_item({"id": str(y), "title": "The Return", "attributes": {"year": y}}) for y in (1984, 2011)]
    assert read("I loved The Return (2011)", Schema.of(films)).liked == ("2011",)
    turn = read("I loved The Return (1951)", Schema.of(films))
    assert turn.liked == () and "no such title" in turn.unclear[0] and not turn.words


@pytest.mark.parametrize(
    "text",
    [
        "I heard of that one, thanks!",
        "sounds great, I will check it out",
        "Have a good night!",
        "it was really well made",
        "never seen it",
    ],
)
def test_what_only_tells_is_not_searched_for(text):
    assert read(text).words == ""


def test_the_last_word_about_an_attribute_counts():
    old = (Filter("year", ">=", 1990), Filter("genre", "=", "drama"), Filter("colour", "!=", "red"))
    assert merge(old, [Filter("year", "<", 1980)]) == (
        old[1],
        old[2],
        Filter("year", "<", 1980),
    )  # a bound that leaves nothing goes
    assert merge(old, [Filter("genre", "!=", "drama")]) == (old[0], old[2], Filter("genre", "!=", "drama"))
    assert merge(old, [Filter("colour", "!=", "blue")])[-1] == Filter("colour", "!=", ("red", "blue"))
    assert merge(old, [Filter("colour", "=", "red")]) == (old[0], old[1], Filter("colour", "=", "red"))
