"""What a turn is taken for, where it is easy to take too much: mentions, comments, questions, numbers without a unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmllm.catalog_row import parse_item
from mmllm.dialogue import State, as_words, merge, step
from mmllm.schema import Schema
from mmllm.types import Filter
from mmllm.understand import understand

LINES = (Path(__file__).parent / "data" / "films.jsonl").read_text(encoding="utf-8").splitlines()
FILMS = Schema.of(parse_item(json.loads(line)) for line in LINES)


def read(text, schema=FILMS, state=None):
    return understand(text, schema, state or State())


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
        ("今晚想看喜剧", ["genre comedy"]),
    ],
)
def test_filters(text, filters):
    assert [as_words(f) for f in read(text).filters] == filters


@pytest.mark.parametrize(
    "opening",
    [
        "Hi! ",
        "Hello, ",
        "Hey there. ",
        "Good evening! ",
        "Hi, how are you? ",
        "Hello, I loved Red Meridian. ",
        "I have seen Copper Rain. ",
    ],
)
def test_what_stands_before_a_request_hides_nothing_of_it(opening):
    for said in (
        "I want to watch a romance from the 90s",
        "I'm in the mood for a romance from the 90s",
        "Only romances from the 90s please",
    ):
        assert sorted(as_words(f) for f in read(opening + said).filters) == [
            "genre romance",
            "year at least 1990",
            "year at most 1999",
        ]


def after(*turns, schema=FILMS):
    """The state after these turns, nothing being shown."""
    state = State()
    for text in turns:
        state = step(state, understand(text, schema, state))
    return state


@pytest.mark.parametrize(
    ("turns", "filters"),
    [
        # "Also" narrows, another value without it takes the place of the first.
        (("a comedy", "one that is also a romance"), ["genre comedy and romance"]),
        (("a comedy", "but it should be a romance too"), ["genre comedy and romance"]),
        (("a comedy", "and a romance as well"), ["genre comedy and romance"]),
        (("a comedy", "a romance please"), ["genre romance"]),
        (("a comedy", "I also like romances"), ["genre romance"]),
        (("a romantic film that is also a thriller",), ["genre romance and thriller"]),
        # A refusal ends where a wish begins.
        (("not a drama, a comedy please",), ["genre not drama", "genre comedy"]),
        (("no dramas, and a comedy as well",), ["genre not drama", "genre comedy"]),
        (("no dramas, comedies or westerns",), ["genre not drama or comedy or western"]),
        (("not a drama, a comedy or a western",), ["genre not drama or comedy or western"]),
        (("I'm not in the mood for a drama",), ["genre not drama"]),
        # Bounds of one turn all hold, a decade does not widen what was narrowed inside it, a plain bound is the last word.
        (("a film after 1995, from the 90s",), ["year at most 1999", "year above 1995"]),
        (("films before 1995", "from the 90s"), ["year below 1995", "year at least 1990"]),
        (("films before 1995", "from the 80s"), ["year at least 1980", "year at most 1989"]),
        (("under 20 dollars", "under 30 dollars"), ["price below 30"]),
        # What is said of "it" is no new subject.
        (("a comedy", "it should be about a lantern"), ["genre comedy"]),
        (("a comedy", "I liked Copper Rain. And something with a lantern"), ["genre comedy"]),
        (("a comedy", "from the 80s, and something with a lantern"), ["genre comedy", "year at least 1980", "year at most 1989"]),
        (
            ("a comedy", "no westerns, I'd prefer something from the 80s"),
            ["genre comedy", "genre not western", "year at least 1980", "year at most 1989"],
        ),
        (("a comedy", "a film about a lantern"), []),
    ],
)
def test_a_turn_builds_on_the_one_before(turns, filters):
    assert sorted(as_words(f) for f in after(*turns).filters) == sorted(filters)


def test_a_kind_beside_the_word_for_the_thing_is_a_wish_whatever_titles_say():
    rows = [
        {"id": str(n), "title": t, "attributes": {"genre": g}}
        for n, (t, g) in enumerate([("A Story of Children and Film", "documentary"), ("Owl", "children"), ("Star War", "war")])
    ]
    schema = Schema.of(parse_item(row) for row in rows)
    assert [as_words(f) for f in read("a children film", schema).filters] == ["genre children"]
    assert read("star war", schema).filters == ()


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


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("I was hoping to find another film with a lantern", ("lantern",)),
        ("I'm good, just looking for a story about a lantern", ("stori", "lantern")),
        ("Oh boy, what a day! I want a story about a lantern", ("stori", "lantern")),
        ("We talked about lanterns. I like dramas", ()),
        ("I want a drama. Lanterns maybe", ("lantern",)),  # goes on with what asks
        ("I loved Red Meridian. A film with a lantern", ("lantern",)),  # describes a thing
        ("I loved Red Meridian. Lovely lantern scenes there", ()),
        ("Red Meridian was a great lantern film", ()),  # told of the film
        ("Yes! Ana Kowalski is amazing", ("ana", "kowalski")),  # praise of a person, not of what is told of her
        ("the music was awesome, they really should sing even more", ()),
        ("they were there through the night", ()),
        ("driving through the night", ("drive",)),
        ("再来几个", ()),
        ("今晚想看", ()),
    ],
)
def test_of_a_chatty_turn_only_what_asks_is_searched_for(text, content):
    assert read(text).content == content


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("We had popcorn. Comedies!", ["genre comedy"]),  # a fragment that names a value
        ("I even like comedies", ["genre comedy"]),
        ("I am a comedy addict", ["genre comedy"]),
        ("I am seeking a comedy", ["genre comedy"]),
        ("I would really love a comedy", ["genre comedy"]),
        ("we saw a lot and I don't like comedies", ["genre not comedy"]),
        ("a film for a comedy writer", []),
        ("something to watch with comedy fans", []),
        ("dramas. No romance though", ["genre not romance", "genre drama"]),
        ("Bob Keller is hilarious and comedy", []),
    ],
)
def test_a_wish_is_read_however_it_is_opened(text, filters):
    assert [as_words(f) for f in read(text).filters] == filters


def test_whom_a_film_is_for_is_a_value_beside_the_others():
    rows = [("1", ["comedy", "children"]), ("2", ["comedy"]), ("3", ["drama", "horror"])]
    schema = Schema.of(parse_item({"id": i, "title": f"Film {i}", "attributes": {"genre": g}}) for i, g in rows)
    for text in ("a comedy film for kids", "a comedy to watch with my family"):
        assert [as_words(f) for f in read(text, schema).filters] == ["genre comedy and children"], text
    assert [as_words(f) for f in read("a comedy for horror fans", schema).filters] == ["genre comedy"]


def test_what_is_asked_for_before_a_comparison_is_not_used_up_by_it():
    turn = read("Do you know any good romantic films, something like Copper Rain?")
    assert turn.similar == ("copper-rain",) and turn.filters == (Filter("genre", "=", "romance"),)
    for text in ("I'd rather have a red film, these are too long", "I would prefer a red one"):
        assert Filter("colour", "=", "red") in read(text).filters, text


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
