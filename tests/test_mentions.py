"""Which items a turn speaks of and what it says of them: titles however they are written, verdicts with and without a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmllm.catalog_row import parse_item
from mmllm.dialogue import State
from mmllm.explain import template
from mmllm.schema import Schema
from mmllm.types import Explanation, Filter, Recommendation, Response
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
    ("text", "similar", "liked"),
    [
        ("Do you know any films similar to Copper Rain (2021) and Red Meridian (2019)?", ("copper-rain", "red-meridian"), ()),
        ("Do you know any good comedies, something like Copper Rain?", ("copper-rain",), ()),
        ("Hi, how are you? I really enjoyed Copper Rain. What would you suggest?", (), ("copper-rain",)),
        ("Do you know Copper Rain?", (), ()),
        ("Have you seen Copper Rain?", (), ()),
    ],
)
def test_a_question_for_something_like_it_is_a_request(text, similar, liked):
    assert (read(text).similar, read(text).liked) == (similar, liked)


def test_a_film_is_known_by_its_year_and_its_other_names():
    rows = [
        {"id": "old", "title": "Heat (Chaleur, La)", "attributes": {"year": 1972}},
        {"id": "new", "title": "Heat", "attributes": {"year": 1995}},
        {"id": "black", "title": "Men in Black (a.k.a. MIB)", "attributes": {"year": 1997}},
        {
            "id": "long",
            "title": "How I Came to Be Lost in a Very Long Corridor and Found the Garden Door",
            "attributes": {"year": 1964},
        },
    ]
    schema = Schema.of(parse_item(row) for row in rows)
    assert read("I loved Heat (1995)", schema).liked == ("new",) and read("I loved Heat (1972)", schema).liked == ("old",)
    assert read("I loved La Chaleur", schema).liked == ("old",) and read("I loved Men in Black (1997)", schema).liked == (
        "black",
    )
    assert read(f"I loved {rows[3]['title']} (1964)", schema).liked == ("long",)


NAMES = Schema.of(
    parse_item({"id": id_, "title": title, "attributes": {"year": year}})
    for id_, title, year in (
        ("it-90", "It", 1990),
        ("it-17", "It", 2017),
        ("thing", "Thing, The", 1982),
        ("kestrel-95", "Kestrel", 1995),
        ("kestrel-17", "Kestrel: The Way Home", 2017),
        ("kestrel-18", "Kestrel & Owl", 2018),
        ("saw-03", "Grinder", 2003),
        ("saw-04", "Grinder", 2004),
        ("mia", "Oh Mia!", 2008),
        ("story", "Love Story", 1970),
        ("beauty", "Beauty and the Wolf", 1991),
        ("spider", "Spider-Fellow", 2002),
        ("orange", "Clockwork Lemon, A", 1971),
        ("love", "Love", 2011),
    )
)


@pytest.mark.parametrize(
    ("named", "id_"),
    [
        ("It (2017)", "it-17"),  # dated, whatever its words say
        ("the thing (1982)", "thing"),
        ("The Thing", "thing"),
        ("Grinder (2004)", "saw-04"),  # the year that is said comes before the one beside it
        ("Kestrel (1995)", "kestrel-95"),
        ("Kestrel (2017)", "kestrel-17"),  # by what stands before the subtitle
        ("The Way Home (2017)", "kestrel-17"),
        ("Kestrel and Owl", "kestrel-18"),
        ("Oh Mia! (2008)", "mia"),
        ("Spiderfellow", "spider"),
        ("spider fellow", "spider"),
        ("a clock work lemon", "orange"),
        ("Love Story", "story"),
        ("the beauty and the wolf", "beauty"),
    ],
)
def test_a_title_is_known_however_it_is_written(named, id_):
    turn = read(f"yes we loved {named}", NAMES)
    assert (turn.liked, turn.unclear) == ((id_,), ())


@pytest.mark.parametrize(
    "text",
    [
        "we loved the love story in that",  # behind an article small letters are a common noun
        "yes I Love that film",  # behind "I" stands a verb
        "we loved Kestrel 3 (2019)",  # another film of the series
        "we loved Kestrel: Volume Two",
        "we loved the thing",
        "we loved It (1971)",
    ],
)
def test_what_only_looks_like_a_title_is_none(text):
    assert read(text, NAMES).liked == ()


def test_a_pronoun_means_what_is_surely_a_title_before_words_that_only_spell_one():
    assert read("I watched Kestrel (1995) and cried at its Love Story, we love that film", NAMES).liked == ("kestrel-95",)


def card(id_, rank):
    item = FILMS.items[id_]
    return Recommendation(id_, item.title, rank, 0.0, {}, {}, Explanation(template(item.title, ()), "template"), item)


def listing(*ids):
    """The state with these items on the list, the last of them spoken of."""
    cards = tuple(card(id_, n) for n, id_ in enumerate(ids, start=1))
    return State(focus=ids[-1], last=Response(cards, (), {}))


BOTH = ["copper-rain", "moth-season"]


@pytest.mark.parametrize(
    ("text", "kind", "ids"),
    [
        ("I don't want anything like Red Meridian", "disliked", ["red-meridian"]),
        ("nothing too slow like Red Meridian", "disliked", ["red-meridian"]),
        ("any films other than Red Meridian", "disliked", ["red-meridian"]),
        ("not sure, maybe something like Red Meridian", "similar", ["red-meridian"]),
        ("I haven't seen anything like Red Meridian", "", []),
        ("Red Meridian was violent but a good one", "liked", ["red-meridian"]),
        ("Red Meridian was slow and boring", "disliked", ["red-meridian"]),
        ("Red Meridian was boring but very good", "liked", ["red-meridian"]),
        ("Red Meridian was good but boring", "disliked", ["red-meridian"]),
        ("Red Meridian was okay", "known", ["red-meridian"]),
        ("I havent seen Red Meridian in years", "known", ["red-meridian"]),
        ("I havent seen Red Meridian yet", "", []),
        ("you should watch Red Meridian", "liked", ["red-meridian"]),
        ("I should watch Red Meridian", "", []),
        ("what is it about? I loved Red Meridian", "liked", ["red-meridian"]),  # a question hides no verdict
        # What is on the list, by what stands for it.
        ("great movie!", "liked", BOTH[1:]),
        ("great idea!", "", []),
        ("any similar films?", "similar", BOTH[1:]),
        ("I loved it when I was young", "liked", BOTH[1:]),
        ("I love it when it rains", "", []),
        ("it sounded like it might rain", "", []),
        ("that is fine", "", []),
        ("They were great!", "liked", BOTH),
        ("your suggestions are too few. They were great!", "", []),
        ("I have seen them all", "known", BOTH),
        ("saw both and I liked them", "liked", BOTH),
        ("I would like to watch them", "", []),
        ("I think I will like that one", "", []),
        ("those are good?", "", []),
        ("I recently watched Red Meridian (2019), one of my favorites", "liked", ["red-meridian"]),
        ("I have seen Red Meridian (2019) it was good", "liked", ["red-meridian"]),
        ("I recently saw Red Meridian (2019) and really like how it was slow", "liked", ["red-meridian"]),
        ("Is it funny or is it similar to Red Meridian?", "", []),
        ("That one reminds me of Red Meridian", "", []),
        ("something that reminds me of Red Meridian", "similar", ["red-meridian"]),
    ],
)
def test_what_is_said_without_a_name_is_said_of_what_was_named(text, kind, ids):
    turn = read(text, state=listing(*BOTH))
    said = {k: list(getattr(turn, k)) for k in ("liked", "disliked", "known", "similar") if getattr(turn, k)}
    assert said == ({kind: ids} if kind else {})


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("these are too old", [Filter("year", ">", 2021)]),
        ("something older", [Filter("year", "<", 2003)]),
        ("it was too old for my taste", []),  # of a film that was seen
        ("I haven't seen the newer one", []),
        ("I liked those but they are older films", []),
        ("they are too old", [Filter("year", ">", 2021)]),
        ("the best comedy I have ever seen was Red Meridian", []),
        ("those two aren't really comedies", []),
        ("a film that isn't a comedy", [Filter("genre", "!=", "comedy")]),
    ],
)
def test_what_is_told_of_films_that_were_seen_holds_no_list_to_it(text, filters):
    assert list(read(text, state=listing("copper-rain", "moth-season")).filters) == filters


def test_praise_without_a_name_is_of_the_title_and_not_of_the_list_before_it():
    turn = read("No, I haven't seen either of those. I have seen Red Meridian. Such a good movie!", state=listing(*BOTH))
    assert turn.liked == ("red-meridian",) and not turn.known


def test_a_series_is_none_of_its_films():
    titles = ("The Ring of Ash", "The Ring of Ash: Night", "The Ring of Ash: Dawn", "The Kite: Return")
    films = Schema.of(parse_item({"id": str(n), "title": t, "attributes": {"year": 1978 + n}}) for n, t in enumerate(titles))
    assert read("I liked The Ring of Ash", films).liked == () and read("I liked The Ring of Ash (1978)", films).liked == ("0",)
    assert read("I liked The Ring of Ash: Dawn", films).liked == ("2",)


def test_what_two_films_have_in_common_asks_for_neither():
    turn = read("Copper Rain is a great one just like Red Meridian")
    assert turn.liked == ("copper-rain",) and turn.similar == ()
    assert read("it has to be something like Red Meridian").similar == ("red-meridian",)


def test_all_that_was_seen_is_a_title_in_small_letters_too():
    films = Schema.of(
        parse_item({"id": t.lower(), "title": t, "attributes": {"genre": g}})
        for t, g in (("Jaws", "horror"), ("It", "horror"), ("Horror", "drama"))
    )
    assert read("i loved jaws", films).liked == ("jaws",) and read("I've seen jaws, and liked it", films).liked == ("jaws",)
    assert (
        read("i want jaws that bite", films).liked == ()
        and read("i loved it", films).liked == ()
        and read("i loved horror", films).liked == ()
    )


def test_a_title_is_dated_by_the_year_attribute():
    films = [parse_item({"id": str(y), "title": "The Return", "attributes": {"year": y}}) for y in (1984, 2011)]
    assert read("I loved The Return (2011)", Schema.of(films)).liked == ("2011",)
    turn = read("I loved The Return (1951)", Schema.of(films))
    assert turn.liked == () and "no such title" in turn.unclear[0] and not turn.words
