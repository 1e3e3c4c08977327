"""Examples of reading: a turn of a chat, words of it, and which of them the person wants searched for.

Labelled turns of people are few. Beside them stand requests made from a catalog, in which all that tells is wanted, and turns put together from
the hand-written sentences of a file, in which a topic is wanted where it is asked for and not where it is told of.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmllm.errors import MmllmError
from mmllm.lexical import GENERIC
from mmllm.lexical import words as stems
from mmllm.requests import PHRASES, facets
from mmllm.spans import WORD
from mmllm.types import Item

LISTS = ("topic", "person", "mood", "series", "whom")
ASKED = 5
"""How many words of a turn are put to the LM in training."""
_SLOT = re.compile(r"\{(\w+)(\|?)\}")


@dataclass(frozen=True)
class Reading:
    """One example: a turn, words of it as they are written, and for each whether it is wanted."""

    text: str
    words: tuple[str, ...]
    wanted: tuple[bool, ...]


@dataclass(frozen=True)
class Chat:
    """The hand-written file: sentences that ask and that tell, noises, and what fills their braces."""

    asks: tuple[str, ...]
    tells: tuple[str, ...]
    noises: tuple[str, ...]
    lists: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, file: Path) -> Chat:
        """Parse the file; a brace that names no list is refused."""
        try:
            row = tomllib.loads(file.read_text(encoding="utf-8"))
            lists = {name: tuple(row[name]) for name in LISTS}
            chat = cls(tuple(row["asks"]), tuple(row["tells"]), tuple(row["noises"]), lists)
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise MmllmError(
                f"{file} cannot be read as chat: {error!r}", expected="TOML with asks, tells, noises and lists"
            ) from None
        for sentence in (*chat.asks, *chat.tells):
            if unknown := {name for name, _ in _SLOT.findall(sentence)} - set(LISTS):
                raise MmllmError(f"{file}: {sorted(unknown)[0]!r} in braces", expected=", ".join(LISTS))
        return chat


def read(file: Path) -> tuple[list[Reading], list[Reading]]:
    """Labelled turns to learn from, and those to validate on with the words alone that are put to the LM when serving.

    JSON lines of text, words, wanted, left (what the rules leave to be searched for) and part, as `python -m eval words` writes them.
    """
    learned: list[Reading] = []
    held: list[Reading] = []
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            words = zip(row["words"], row["wanted"], row["left"], strict=True)
            kept = [(w, bool(wanted)) for w, wanted, left in words if left or row["part"] == "train"]
            one = Reading(row["text"], tuple(w for w, _ in kept), tuple(wanted for _, wanted in kept))
            if kept:
                (learned if row["part"] == "train" else held).append(one)
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise MmllmError(
            f"{file} cannot be read as labelled turns: {error!r}", do="make it with `python -m eval words`"
        ) from None
    return learned, held


def telling(text: str) -> list[str]:
    """The words of a text that tell something, as they are written, each stem once."""
    found: dict[str, str] = {}
    for word in WORD.findall(text):
        for stem in stems(word):
            if stem not in GENERIC:
                found.setdefault(stem, word)
    return list(dict.fromkeys(found.values()))


def make(
    labelled: Sequence[Reading], items: Sequence[Item], chat: Chat, shares: Sequence[float], *, seed: int, n: int
) -> Reading:
    """The n-th example of a seed: labelled, said of an item, or put together, by these shares."""
    rng = random.Random(f"read {seed} {n}")
    while True:
        kind = rng.choices(("labelled", "request", "chat"), shares)[0]
        if kind == "labelled":
            found = rng.choice(labelled)
        elif kind == "request":
            found = _request(items, rng)
        else:
            found = _chat(chat, rng)
        if found.words:
            chosen = sorted(rng.sample(range(len(found.words)), min(ASKED, len(found.words))))
            return Reading(found.text, tuple(found.words[i] for i in chosen), tuple(found.wanted[i] for i in chosen))


def _request(items: Sequence[Item], rng: random.Random) -> Reading:
    """One to three things that an item has, asked for outright."""
    own = facets(rng.choice(items))
    keys = [k for k in sorted(own) if own[k].isascii()]
    chosen = [own[k] for k in rng.sample(keys, min(len(keys), rng.choice((1, 1, 2, 3))))]
    said = rng.choice((" ", " and ", ", ", " with ")).join(chosen)
    text = rng.choice(
        (*PHRASES, "hi, do you have {} please", "a picture of {}", "can you find me {}?", "I want {} today")
    ).format(said)
    text, words = _typed(text, rng), telling(said)
    return Reading(text, tuple(words), (True,) * len(words))


def _chat(chat: Chat, rng: random.Random) -> Reading:
    """One to three sentences, one that asks among them or none, and a noise now and then."""
    parts: list[str] = []
    wanted: set[str] = set()
    asking = rng.random() < 0.55
    for sentence in [
        *([rng.choice(chat.asks)] if asking else []),
        *rng.sample(chat.tells, rng.choice((0, 1, 1, 2)) or (not asking)),
    ]:
        told = sentence
        while (slot := _SLOT.search(told)) is not None:
            value = rng.choice(chat.lists[slot[1]])
            if sentence in chat.asks and not slot[2]:
                wanted |= set(stems(value))
            told = told[: slot.start()] + value + told[slot.end() :]
        parts.append(told)
    if rng.random() < 0.4:
        parts.insert(rng.choice((0, 0, len(parts))), rng.choice(chat.noises))
    elif rng.random() < 0.3:
        rng.shuffle(parts)
    text = "".join(p + (rng.choice((". ", "! ", ", ", " ", "... ")) if not p.endswith("?") else " ") for p in parts).strip()
    text = _typed(text, rng)
    words = telling(text)
    return Reading(text, tuple(words), tuple(bool(set(stems(w)) & wanted) for w in words))


def _typed(text: str, rng: random.Random) -> str:
    """As people type: small letters half of the time, signs left out now and then."""
    if rng.random() < 0.5:
        text = text.lower()
    return re.sub(r"[.,!?']", "", text) if rng.random() < 0.2 else text
