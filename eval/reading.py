"""A catalog as its people see it, read by rules of this file alone, so that the filters of a conversation are judged by somebody else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from eval import phrases
from mmllm.types import Item, Scalar

CHOICE = 40
"""A text attribute of at most so many values is a choice that a person knows; of more, its values are topics, which are asked for but not
held to: what a film is about is not said by its tags alone."""
PEOPLE = ("director", "author", "artist", "writer")


@dataclass(frozen=True)
class Constraint:
    """What an item has to be: relation is "is", "is not", ">=", "<=", ">" or "<"."""

    attribute: str
    relation: str
    value: Scalar

    def holds(self, item: Item) -> bool:
        """True if the item meets it; an item without the attribute meets only "is not"."""
        own = values(item, self.attribute)
        if self.relation in ("is", "is not"):
            there = any(str(v).casefold() == str(self.value).casefold() for v in own)
            return there == (self.relation == "is")
        return any(compared(v, self.relation, self.value) for v in own)


@dataclass(frozen=True)
class Reading:
    """A catalog as its people see it. `items`: id -> item; `choices`, `topics`, `people`, `numbers`: names of attributes of each sort."""

    items: Mapping[str, Item]
    choices: tuple[str, ...]
    topics: tuple[str, ...]
    people: tuple[str, ...]
    numbers: tuple[str, ...]
    thing: str = "film"

    @classmethod
    def of(cls, items: Iterable[Item], *, thing: str = "film") -> Reading:
        """Sort the attributes by their values."""
        found = {i.id: i for i in items}
        kinds: dict[str, set[Scalar]] = {}
        for item in found.values():
            for name in item.attributes:
                kinds.setdefault(name, set()).update(values(item, name))
        numbers = tuple(n for n in kinds if n in phrases.COMPARED)
        texts = [n for n, v in kinds.items() if all(isinstance(x, str) for x in v) and n != "names"]
        people = tuple(n for n in texts if n in PEOPLE)
        choices = tuple(n for n in texts if n not in people and len(kinds[n]) <= CHOICE)
        topics = tuple(n for n in texts if n not in people and n not in choices)
        return cls(found, choices, topics, people, numbers, thing)

    def number(self, id_: str, attribute: str) -> float | None:
        """The item's number, None where it has none."""
        return next((float(v) for v in values(self.items[id_], attribute) if number(v)), None)

    def kinds(self, id_: str) -> set[tuple[str, str]]:
        """(attribute, value) of all choices."""
        return {(a, str(v)) for a in self.choices for v in values(self.items[id_], a)}

    @cached_property
    def choosable(self) -> list[tuple[str, str]]:
        """All choices, those that most items have first."""
        counts = Counter(kind for i in self.items for kind in sorted(self.kinds(i)))
        return [kind for kind, _ in counts.most_common()]

    def likeness(self, a: str, b: str) -> float:
        """Jaccard of the two items' choices, less a tenth for each decade between them."""
        one, two = self.kinds(a), self.kinds(b)
        shared = len(one & two) / (len(one | two) or 1)
        first, second = self.number(a, "year"), self.number(b, "year")
        apart = abs(first - second) / 100 if first is not None and second is not None else 0.0
        return shared - apart

    def named(self, id_: str) -> str:
        """The title with its year, as people write it: without its other names in brackets."""
        title, year = self.items[id_].title, self.number(id_, "year")
        bare = re.sub(r"\s*\([^()]*\)\s*$", "", title) or title
        return title if year is None or title.endswith(f"({year:.0f})") else f"{bare} ({year:.0f})"

    def about(self, id_: str, topic: str) -> bool:
        """True if anything that is written of the item says the topic."""
        item = self.items[id_]
        text = " ".join([item.title, item.text, *(str(v) for a in item.attributes for v in values(item, a))])
        return phrases.content_words(topic) <= phrases.content_words(text)


def values(item: Item, attribute: str) -> tuple[Scalar, ...]:
    """What the catalog says, as a tuple."""
    value = item.attributes.get(attribute)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def number(value: Scalar) -> bool:
    """True for a number that is not a flag."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compared(value: Scalar, relation: str, with_: Scalar) -> bool:
    """value relation with_, of two numbers; False where one is none."""
    if not (number(value) and number(with_)):
        return False
    a, b = float(value), float(with_)
    return {">=": a >= b, "<=": a <= b, ">": a > b, "<": a < b}[relation]
