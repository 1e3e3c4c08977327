"""What a catalog lets people ask for: its attributes with their types, ranges and values, and the titles of its items.

Made once from the items. Every slot of a turn is checked against it (`understand.py`), so a filter can only name what is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import numpy as np

from mmllm.catalog import NAMES, attribute_types, attribute_values
from mmllm.lexical import STOPWORDS, words
from mmllm.synonyms import SPELLINGS, SYNONYMS
from mmllm.types import Item, Scalar

# What an attribute measures, by the words its name may hold. A critique ("cheaper") is about one of these.
NUMBERS: dict[str, tuple[str, ...]] = {
    "price": ("price", "cost", "fee", "价格"),
    "year": ("year", "released", "published", "年份", "年"),
    "length": ("minutes", "length", "duration", "runtime", "pages", "时长"),
    "rating": ("rating", "score", "stars", "评分"),
    "size": ("size", "height", "width", "尺寸"),
    "weight": ("weight", "重量"),
}
PEOPLE = (
    "director",
    "author",
    "writer",
    "artist",
    "composer",
    "singer",
    "band",
    "actor",
    "cast",
    "creator",
    "designer",
    "brand",
    "导演",
)
FREE_VALUES = 60
"""An attribute with more values than this that most items lack holds free words (tags of users): as a filter it would hide what nobody
happened to tag, so no word of a turn is one of its values. They are searched as words."""
MANY_VALUES = 400
"""An attribute with more values than this, each on its own item, is a text of the items and not a choice of the person."""

NEAR = {"all-minilm-l6-v2": 0.65}
"""From this cosine on a word counts as another word for a value, by text encoder; chosen for precision. An encoder that is not named here was
not measured: with it, values are found by spelling and synonym alone."""

Near = Callable[[str, Sequence[str]], str | None]
"""(word, options) -> the option that means the same, or None. A pure function of its arguments: the encoder is frozen."""


@dataclass(frozen=True)
class Attribute:
    """One attribute: `kind` is number, text, flag or mixed; `low` and `high` its range where it is a number; `values` what occurs,
    the most frequent first; `measures` a key of NUMBERS, "person", "colour" or ""; `many` whether an item may have several values.
    """

    name: str
    kind: str
    values: tuple[Scalar, ...]
    low: float = 0.0
    high: float = 0.0
    measures: str = ""
    many: bool = False


@dataclass(frozen=True)
class Schema:
    """A catalog as its askers see it.

    `forms`: the plain words of a value, in order -> (attribute, value) pairs; `titles`: title in plain form -> item ids; `stems`: item id ->
    the stems of all it says, to tell a word the catalog knows from one it does not; `pairs`: stems that stand side by side in a title;
    `series`: what several titles begin with, before a subtitle, in plain form; `items`: id -> item.
    """

    attributes: Mapping[str, Attribute]
    items: Mapping[str, Item]
    forms: Mapping[tuple[str, ...], tuple[tuple[str, Scalar], ...]]
    titles: Mapping[str, tuple[str, ...]]
    stems: Mapping[str, frozenset[str]] = field(repr=False, default_factory=dict)
    pairs: frozenset[tuple[str, str]] = field(repr=False, default=frozenset())
    series: frozenset[str] = frozenset()
    near: Near | None = field(repr=False, default=None, compare=False)

    @classmethod
    def of(cls, items: Iterable[Item], *, near: Near | None = None) -> Schema:
        """Read off the items; `near` finds synonyms by embedding where the text encoder is fit for it."""
        items = tuple(items)
        attributes = {n: _attribute(items, n, kind) for n, kind in attribute_types(items).items() if n != NAMES}
        attributes = {n: a for n, a in attributes.items() if a.values}
        forms: dict[tuple[str, ...], list[tuple[str, Scalar]]] = {}
        for a in attributes.values():
            if a.kind == "text" and not _is_free(items, a):
                for value in a.values:
                    forms.setdefault(plain(str(value)), []).append((a.name, value))
        titles: dict[str, list[str]] = {}
        dated = next((a.name for a in attributes.values() if a.measures == "year"), "")
        for item in items:
            year = year_of(item, dated)
            forms_of = (*title_forms(item.title), *(f"{part} {year}" for part in title_parts(item.title) if year is not None))
            for form in forms_of:
                titles.setdefault(key(form), []).append(item.id)
        # A single word is hardly a series: "Mission: Impossible II" makes none of "The Mission".
        begun = Counter(
            key(form) for i in items for part in set(title_parts(i.title)) if len(part.split()) > 1 for form in title_forms(part)
        )
        return cls(
            attributes=attributes,
            items={i.id: i for i in items},
            forms={f: tuple(p) for f, p in forms.items() if f},
            titles={t: tuple(dict.fromkeys(ids)) for t, ids in titles.items()},
            stems={i.id: frozenset(_said(i)) for i in items},
            pairs=frozenset(pair for i in items for pair in pairwise(stems(i.title))),
            series=frozenset(part for part, count in begun.items() if count > 1),
            near=near,
        )

    def measuring(self, what: str) -> Attribute | None:
        """The attribute that measures price, year, length, ...; None where the catalog has none."""
        return next((a for a in self.attributes.values() if a.measures == what), None)

    def named(self, word: str) -> Attribute | None:
        """The attribute that a word names: its own name, what it measures, or a near word."""
        stem = stems(word)
        for a in self.attributes.values():
            if stem == stems(a.name) or (a.measures and word.casefold() == a.measures):
                return a
        wanted = SPELLINGS.get(word.casefold(), "")
        if wanted:
            return self.attributes.get(wanted) or self.measuring(wanted)
        found = self.near(word, tuple(self.attributes)) if self.near and self.attributes else None
        return self.attributes[found] if found else None

    def value(self, word: str) -> tuple[tuple[str, Scalar], ...]:
        """(attribute, value) pairs that a word or phrase names, by spelling, synonym or embedding; () where none does."""
        if pairs := self.forms.get(plain(word)):
            return pairs
        for other in SYNONYMS.get(word.casefold(), ()):
            if pairs := self.forms.get(plain(other)):
                return pairs
        return ()

    def year(self, id_: str) -> int | None:
        """The year of an item: the one in its title, or its attribute."""
        dates = self.measuring("year")
        return year_of(self.items[id_], dates.name if dates else "")

    def knows(self, stem: str) -> bool:
        """True if any item says the word."""
        return any(stem in said for said in self.stems.values())


def singular(word: str) -> str:
    """A word without its plural. Less than a stem: "musical" is not "music", and a value is a filter.

    >>> [singular(w) for w in ("comedies", "cookies", "cookie", "dishes", "houses", "glass", "bus")]
    ['comedy', 'cooky', 'cooky', 'dish', 'house', 'glass', 'bus']
    """
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-2] if re.search(r"(?:ch|sh|x|ss|zz)es$", word) else word[:-1]
    return word[:-2] + "y" if len(word) > 4 and word.endswith("ie") else word


def plain(text: str) -> tuple[str, ...]:
    """The words of a value or of a phrase that may name one, without plurals and stop words."""
    return tuple(singular(w) for w in re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.casefold()) if w not in STOPWORDS)


def by_meaning(encode: Callable[[Sequence[str]], np.ndarray], threshold: float) -> Near:
    """Synonyms by the cosine of a text encoder, texts -> [n, D] of unit rows; options are encoded once."""

    @cache
    def vectors(texts: tuple[str, ...]) -> np.ndarray:
        return encode(texts)

    def near(word: str, options: Sequence[str]) -> str | None:
        similarity = vectors(tuple(options)) @ vectors((word,))[0]
        best = int(similarity.argmax())
        return options[best] if similarity[best] >= threshold else None

    return near


def stems(text: str) -> tuple[str, ...]:
    """Stems of a phrase, in order.

    >>> stems("Science-fiction films") == stems("science fiction film")
    True
    """
    return tuple(words(text))


TOKEN = re.compile(r"\w+(?:['’]\w+)?")


def key(title: str) -> str:
    """A title as its bare letters: people also write "Spiderman", "fast and furious" and "clock work orange".

    >>> key("Fast & Furious (2009)")
    'fastandfurious2009'
    """
    return re.sub(r"[\W_]+", "", title.casefold().replace("&", " and "))


def title_parts(title: str) -> tuple[str, ...]:
    """What a subtitle sets apart: people say one of these with its year.

    >>> title_parts("Kestrel: Episode V - The Long Way Home (1980)")
    ('Kestrel', 'Episode V', 'The Long Way Home')
    >>> title_parts("Clock, The (1994)")
    ()
    """
    parts = re.split(r":\s+|\s+[-–]\s+", re.sub(r"\s*\([^)]*\)", "", title))
    return tuple(parts) if len(parts) > 1 else ()


def year_of(item: Item, attribute: str) -> int | None:
    """The year in an item's title, or its value of that attribute."""
    if found := re.search(r"\((\d{4})\)\s*$", item.title):
        return int(found[1])
    value = item.attributes.get(attribute)
    return int(value) if isinstance(value, (int, float)) else None


def title_forms(title: str) -> tuple[str, ...]:
    """A title as people write it: in small letters, with and without its year, its article in front or left out.

    >>> title_forms("Clock, The (1994)")
    ('the clock (1994)', 'the clock', 'clock (1994)', 'clock')
    >>> title_forms("Clock (Montre, La)")
    ('clock', 'la montre', 'clock (montre, la)')
    """
    plain = re.sub(r"\s+", " ", title).strip().rstrip(".!? ").casefold()
    found = re.fullmatch(r"(.*?)(\s*\(\d{4}\))?", plain)
    name, year = (found[1], (found[2] or "").strip()) if found else (plain, "")
    if turned := re.fullmatch(r"(.*), (the|a|an|le|la|les|der|die|das)", name):
        name = f"{turned[2]} {turned[1]}"
    if other := re.fullmatch(r"(.+?)\s*\((?:a\.?k\.?a\.? )?([^()]*[^\W\d]{3}[^()]*)\)", name):
        # Other names stand in brackets: each is a title too.
        each = (f for n in (other[1], other[2]) for f in title_forms(f"{n} {year}"))
        return tuple(dict.fromkeys((*each, f"{name} {year}".strip(), name)))
    # "Seven (a.k.a. Se7en)": what is no word stands in brackets too, and people say the first name.
    names = (name, re.sub(r"\s*\([^)]*\)", "", name).strip())
    forms = (f for n in names for m in (n, re.sub(r"^(the|a|an) ", "", n)) for f in (f"{m} {year}".strip(), m))
    return tuple(dict.fromkeys(f for f in forms if f))


def _attribute(items: tuple[Item, ...], name: str, kind: str) -> Attribute:
    counts = attribute_values(items, name)
    values = tuple(v for v, _ in sorted(counts.items(), key=lambda p: (-p[1], str(p[0]))))
    if kind == "text" and len(values) > MANY_VALUES and counts.most_common(1)[0][1] == 1:
        values = ()
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return Attribute(
        name,
        kind,
        values,
        min(numbers, default=0.0),
        max(numbers, default=0.0),
        _measures(name, kind),
        any(isinstance(i.attributes.get(name), tuple) and len(i.attributes[name]) > 1 for i in items),  # type: ignore[arg-type]
    )


def _is_free(items: tuple[Item, ...], a: Attribute) -> bool:
    return len(a.values) > FREE_VALUES and 2 * sum(a.name in i.attributes for i in items) < len(items)


def _measures(name: str, kind: str) -> str:
    parts = re.findall(r"\w+", name.casefold().replace("_", " "))
    if kind == "number":
        return next((m for m, names in NUMBERS.items() if any(p in names for p in parts)), "")
    if any(p.rstrip("s") in PEOPLE or p in PEOPLE for p in parts):
        return "person"
    return "colour" if any(p in ("colour", "color", "颜色") for p in parts) else ""


def _said(item: Item) -> list[str]:
    texts = [item.title, item.text]
    for value in item.attributes.values():
        texts += [str(v) for v in value] if isinstance(value, tuple) else [str(value)]
    return words(" ".join(texts))
