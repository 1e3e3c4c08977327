"""What simulated people say: templates in the shapes of ReDial's openings and reactions, each written here and none copied.

The shares of the shapes are counts over the 979 of 1,000 dialogues of ReDial's validation part in which one of the seeker's first four turns
names a film (a year in brackets), a kind of film or a time: a film alone 342, a kind 289, a kind and a film 109, several kinds 92, a time 31, a
kind without another 25, several kinds and a film 25, a kind and a time 23; of films, one 333, two 146, three or more 27; a greeting opens 842
of 1,000. Shapes below 20 are left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

Key = TypeVar("Key")
COMMON = frozenset(
    ["the", "and", "for", "with", "from", "part", "movie", "film", "not", "you", "your", "who", "that", "this", "its", "are"]
)
SHAPES: Mapping[str, int] = MappingProxyType(
    {
        "likes": 342,
        "kind": 289,
        "kind likes": 109,
        "kinds": 92,
        "time": 31,
        "kind refusal": 25,
        "kinds likes": 25,
        "kind time": 23,
    }
)
LIKES: Mapping[int, int] = MappingProxyType({1: 333, 2: 146, 3: 27})
GREETED = 0.84
GREETINGS = ("Hi! ", "Hello, ", "Hey there. ", "Good evening! ", "Hi, how are you? ")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

OPENINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kind": (
            "I'm looking for {one}",
            "Can you recommend {one}?",
            "I like {many}",
            "Do you know any good {many}?",
            "I'm in the mood for {one}",
            "I want to watch {one}",
            "Could you help me find {one}?",
        ),
        "likes": (
            "I'm looking for something like {likes}",
            "I really enjoyed {likes}. What would you suggest?",
            "Do you know any {things} similar to {likes}?",
            "I loved {likes}, can you recommend anything?",
        ),
        "time": ("I'd like to see something {time}", "Can you suggest a good {thing} {time}?"),
    }
)
ALSO_LIKES = (". I really liked {likes}", ". I loved {likes}", ". Some of my favorites are {likes}", ", something like {likes}")
BUT_NOT = (", but no {many}", ". Not {one} though", ", but I don't want {one}")

CRITIQUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "want": ("{one}, please", "I'd rather have {one}", "maybe {one}", "only {many} please"),
        "also": ("one that is also {one}", "but it should be {one} too", "also {one}, please", "and {one} as well"),
        "refuse": ("not {one}", "no {many}", "no more {many} please", "I don't want {one}", "I'm not in the mood for {one}"),
        "time": ("{time} please", "only {time}", "I'd prefer something {time}", "{things} {time}"),
        "like": ("more like the {nth} one", "something like the {nth} one", "something similar to the {nth}"),
        "topic": (
            "with {value} please",
            "it should be about {value}",
            "and something with {value}",
            "maybe something about {value}",
        ),
        "not by": ("not by {value}", "nothing by {value}"),
        "else": (
            "something else",
            "anything else?",
            "what else do you have?",
            "show me more",
            "any other suggestions?",
            "Do you have another recommendation?",
        ),
    }
)
# Attribute -> what is said for less and for more of it; `{than}` is empty or " than the second one".
COMPARED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "year": (
            ("something older{than}", "older{than}", "do you have anything older{than}?", "these are too new"),
            ("something newer{than}", "newer{than} please", "something more recent{than}", "these are too old"),
        ),
        "price": (("something cheaper{than}", "cheaper{than} please"), ("something more expensive{than}",)),
        "minutes": (("something shorter{than}", "these are too long"), ("something longer{than}", "longer{than} please")),
    }
)
WAYS = MappingProxyType({"year": ("older", "newer"), "price": ("cheaper", "dearer"), "minutes": ("shorter", "longer")})
REMARKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "liked": ("I loved the {nth} one. ", "I liked the {nth} one a lot. ", "The {nth} one was great. "),
        "seen": ("I have seen the {nth} one. ", "I've already seen the {nth}. "),
    }
)
# Values that are a word for the thing itself, or that people say otherwise: value -> (one, many) pairs.
SPOKEN: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "comedy": (("a comedy", "comedies"), ("a funny {thing}", "funny {things}")),
        "drama": (("a drama", "dramas"),),
        "thriller": (("a thriller", "thrillers"), ("a suspenseful {thing}", "suspenseful {things}")),
        "western": (("a western", "westerns"),),
        "musical": (("a musical", "musicals"),),
        "documentary": (("a documentary", "documentaries"),),
        "mystery": (("a mystery", "mysteries"),),
        "romance": (("a romance", "romances"), ("a romantic {thing}", "romantic {things}")),
        "animation": (("an animation", "animations"), ("an animated {thing}", "animated {things}")),
        "horror": (("a horror {thing}", "horror {things}"), ("a scary {thing}", "scary {things}")),
        "sci-fi": (("a sci-fi {thing}", "sci-fi {things}"), ("a science fiction {thing}", "science fiction {things}")),
    }
)


def spoken(value: str, thing: str, rng: random.Random) -> dict[str, str]:
    """A value as one thing and as many: "a comedy" and "comedies", "a war film" and "war films"."""
    low = value.lower()
    one, many = rng.choice(SPOKEN.get(low, ((f"{_article(low)} {low} {{thing}}", f"{low} {{things}}"),)))
    names = {"thing": thing, "things": f"{thing}s"}
    return {"one": one.format(**names), "many": many.format(**names), **names}


def both(values: Sequence[str], thing: str, rng: random.Random) -> dict[str, str]:
    """One value as `spoken`, or two as one thing that is both: "a crime comedy", "a comedy that is also a war film"."""
    # What is a word for the thing itself comes last: "a crime comedy", not "a comedy crime film".
    ordered = sorted(values, key=lambda v: v.lower() in SPOKEN)
    forms = [spoken(v, thing, rng) for v in ordered]
    if len(forms) == 1:
        return forms[0]
    if rng.random() < 0.5:
        return {"one": " that is also ".join(f["one"] for f in forms), "many": " that are also ".join(f["many"] for f in forms)}
    first = ordered[0].lower()
    return {"one": f"{_article(first)} {first} {forms[1]['one'].split(' ', 1)[1]}", "many": f"{first} {forms[1]['many']}"}


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def decade(start: int, rng: random.Random) -> str:
    """ "from the 1990s", "from the 90s" or "from the nineties"; from 2000 on with four digits only."""
    tens = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
    forms = [f"{start}s"]
    if 1920 <= start < 2000:
        forms += [f"{start % 100}s", tens[start // 10 % 10 - 2]]
    return f"from the {rng.choice(forms)}"


def drawn(shares: Mapping[Key, int], rng: random.Random) -> Key:
    """A key, by its share."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def content_words(text: str) -> set[str]:
    """The words of a title or value that tell it from others, without a plural s: from three letters on, no articles, no year in brackets."""
    words = re.findall(r"[^\W_]+", re.sub(r"\(\d{4}\)", " ", text.casefold()))
    return {w.rstrip("s") if len(w) > 3 else w for w in words if len(w) > 2 and w not in COMMON}


def listed(names: Sequence[str]) -> str:
    """ "A", "A and B", "A, B and C"."""
    return " and ".join(p for p in (", ".join(names[:-1]), names[-1]) if p)
