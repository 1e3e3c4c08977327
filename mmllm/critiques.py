"""Critiques -> filters: "cheaper", "older than the second", "too long", "not so expensive". The bound is read off the items spoken of."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmllm.measures import Found, whole
from mmllm.schema import Attribute, Schema
from mmllm.texts import say
from mmllm.types import Filter, Item

MARK = r"⟨(?P<mark>\d+)⟩"
BIT = r"(?:\b(?:a (?:bit|little|lot|tad)|much|even|slightly|somewhat|far|something|anything|but|some|way)\s+)*"
# (what is measured, direction, pattern). "too old" wants newer.
CRITIQUES: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (
        measures,
        op,
        re.compile(rf"{BIT}(?:{pattern})(?:\s+(?:ones?|films?|movies?|items?|things?|please))?(?:\s+than\s+(?:the\s+)?{MARK})?"),
    )
    for measures, op, pattern in (
        (
            "price",
            "<",
            r"\b(?:cheaper|less expensive|less pricey|lower priced|lower price|costs? less|not (?:so|as|that|too) (?:expensive|"
            r"dear|pricey)|too (?:expensive|dear|pricey|costly))\b|便宜一?[点些]儿?|更便宜的?|便宜的|太贵了?|贵了",
        ),
        (
            "price",
            ">",
            r"\b(?:more expensive|pricier|dearer|higher priced|more costly|too cheap)\b|更?贵一?[点些]|更贵的?|太便宜了?",
        ),
        (
            "year",
            "<",
            r"\b(?:older|earlier(?=\s*(?:$|[,.!?]|ones?\b|films?\b|movies?\b|than\b|please\b))|less recent|more classic|"
            r"not (?:so|as|that|too) (?:new|recent|modern)|too (?:new|"
            r"recent|modern))\b|(?:更?老|更?旧|更?早)一?[点些]的?|更[老旧早]的?|太新了?",
        ),
        (
            "year",
            ">",
            r"\b(?:newer|more recent|later ones?|more modern|not (?:so|as|that|too) old|too old|too dated)\b|更?新一?[点些]的?|"
            r"更新的?|近一[点些]的?|太[老旧]了?",
        ),
        (
            "length",
            "<",
            r"\b(?:shorter|not (?:so|as|that|too) long|less long|too long|quicker)\b|更?短一?[点些]的?|更短的?|太长了?",
        ),
        ("length", ">", r"\b(?:longer|not (?:so|as|that|too) short|too short)\b|更?长一?[点些]的?|更长的?|太短了?"),
        ("rating", ">", r"\b(?:better rated|higher rated|better reviewed|higher rating)\b|评分高一?[点些]|评分更高"),
        ("size", "<", r"\b(?:smaller|not (?:so|as|that|too) (?:big|large)|too (?:big|large))\b|更?小一?[点些]的?|太大了?"),
        ("size", ">", r"\b(?:bigger|larger|too small)\b|更?大一?[点些]的?|太小了?"),
        ("weight", "<", r"\b(?:lighter|too heavy)\b|更?轻一?[点些]|太重了?"),
        ("weight", ">", r"\b(?:heavier|too light)\b|更?重一?[点些]|太轻了?"),
    )
)


def number(item: Item, attribute: str) -> float | None:
    """The item's value of a numeric attribute."""
    value = item.attributes.get(attribute)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read(found: Found, schema: Schema, marks: Mapping[int, tuple[str, ...]], base: tuple[str, ...]) -> None:
    """Put the filters of all critiques into `found`. `base` are the items that "cheaper" compares with where it stands beside none."""
    for measures, op, pattern in CRITIQUES:
        while (hit := pattern.search(found.text)) is not None:
            said = hit[0].strip()
            taste = TASTE.search(found.text[: hit.start()]) and PLURAL.search(said)
            stated = STATED.search(found.text[: hit.start()]) and PLURAL.search(said)
            if taste or stated or TOLD.search(found.text[: hit.start()]):
                # "I like older films", "they are older films", "it was too old" and "I saw the newer one" tell of what is known, and compare
                # with nothing on the list.
                found.text = found.text[: hit.start()] + " " + found.text[hit.end() :]
                continue
            before, found.text = found.text[: hit.start()], found.text[: hit.start()] + " " + found.text[hit.end() :]
            attribute = schema.measuring(measures) or _by_meaning(schema, measures)
            if attribute is None:
                found.unclear.append(say("lacks", found.lang, said=said, what=say(measures, found.lang)))
                continue
            ids = marks.get(int(hit["mark"]), ()) if hit["mark"] else _beside(before, marks) or base
            numbers = [n for n in (number(schema.items[i], attribute.name) for i in ids) if n is not None]
            if not numbers:
                told = re.sub("⟨.*?⟩", say("that", found.lang), said)
                key = "number_unknown" if ids else "no_comparison"
                found.unclear.append(say(key, found.lang, said=told, name=attribute.name))
                continue
            edge = min(numbers) if op == "<" else max(numbers)
            found.filters.append(Filter(attribute.name, op, whole(edge)))  # type: ignore[arg-type]


TASTE = re.compile(
    r"\b(?:i|we)(?:'m| am)?\b[^.!?;⟨]*\b(?:like|love|enjoy|prefer|watch|watching|tend|into|open to|fans? of)\b[^.!?;⟨]*$"
)
TOLD = re.compile(
    r"\b(?:was|were|felt|wasn't|weren't)\s+(?:\w+\s+)?$|\b(?:seen|saw|watched|heard of|read)\s+(?:the|that|this|his|her|their)\s+$"
)
STATED = re.compile(r"(?:\b(?:they|those|these)|⟨\d+⟩)\s+(?:are|were)\s+(?:all\s+|just\s+)?$")
PLURAL = re.compile(r"\b(?:ones|films|movies|items|things)$")
BESIDE = re.compile(r"⟨(\d+)⟩\s*,?\s*(?:(?:but|only|just|is|was|are|looks|seems|yet|但是?|不过)\s*(?:\w+\s+){0,3})?$")


def _beside(before: str, marks: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """The item that a critique is about: "⟨0⟩ but cheaper", "⟨0⟩ is too long"."""
    found = BESIDE.search(before)
    return marks.get(int(found[1]), ()) if found else ()


def _by_meaning(schema: Schema, measures: str) -> Attribute | None:
    """A numeric attribute whose name means the same, where the encoder can tell."""
    numeric = tuple(a.name for a in schema.attributes.values() if a.kind == "number")
    name = schema.near(measures, numeric) if schema.near and numeric else None
    return schema.attributes[name] if name else None
