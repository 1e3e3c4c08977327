"""Values of the catalog that a text names: where they stand, which attribute they belong to, and which only look like values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from mmllm.lexical import GENERIC
from mmllm.schema import Schema, stems
from mmllm.synonyms import SYNONYMS
from mmllm.texts import CJK
from mmllm.types import Filter, Item, Scalar

WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
THING = re.compile(r"(?:film|movie|one|picture|item)s?")
LONGEST = 4
"""Words in the longest value that is looked for."""
# What is said of something that was seen asks for nothing: "it was really funny", "is it scary?".
TOLD = re.compile(
    r"(?:^|[.,;!?]|\b(?:and|but|because|yes|oh|so|think|thought|though|maybe))\s*(?:it|that|this|he|she|they)"
    r"(?:'?s|\s+is|\s+was|\s+are|\s+were|\s+looks?|\s+sounds?)\s+(?:\w+\s+){0,3}$|\b(?:is|was|are)\s+(?:it|"
    r"that|this|he|she|they)\s+(?:\w+\s+){0,2}$"
)


def values_of(item: Item, attribute: str) -> tuple[Scalar, ...]:
    """The item's values of an attribute, as a tuple."""
    value = item.attributes.get(attribute)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def spans(text: str, schema: Schema) -> list[tuple[int, int, tuple[tuple[str, Scalar], ...]]]:
    """(start, end, pairs) of every value named in the text, the longest at each place, in order."""
    words = list(WORD.finditer(text))
    found: list[tuple[int, int, tuple[tuple[str, Scalar], ...]]] = []
    n = 0
    while n < len(words):
        for size in range(min(LONGEST, len(words) - n), 0, -1):
            start, end = words[n].start(), words[n + size - 1].end()
            phrase = text[start:end]
            if (
                CJK.search(phrase)
                or re.search(r"[^\w\s'’-]", phrase)
                or (size > 1 and not (stems(words[n][0]) and stems(words[n + size - 1][0])))
            ):
                continue
            pairs = _not_people(schema, schema.value(phrase))
            if (
                pairs
                and not TOLD.search(text[:start])
                and not _in_a_title(words[n - 1 : n] + words[n + size : n + size + 1], phrase, start, schema, pairs)
            ):
                found.append((start, end, pairs))
                n += size
                break
        else:
            n += 1
    for run in re.finditer("[\u3400-\u9fff]+", text):
        position = run.start()
        while position < run.end():
            for end in range(min(run.end(), position + 6), position, -1):
                if (len(text[position:end]) > 1 or text[position:end] in SYNONYMS) and (
                    pairs := _not_people(schema, schema.value(text[position:end]))
                ):
                    found.append((position, end, pairs))
                    position = end
                    break
            else:
                position += 1
    return sorted(found)


def _in_a_title(
    beside: list[re.Match[str]], phrase: str, start: int, schema: Schema, pairs: tuple[tuple[str, Scalar], ...]
) -> bool:
    """ "Star wars" is no wish for war: the value stands in a title with the very word beside it. A colour may: "a red hammer".
    "A horror movie" and "a romantic comedy" are wishes, whatever films are called so.
    """
    own = stems(phrase)
    if len(own) != 1 or any(schema.attributes[name].measures == "colour" for name, _ in pairs):
        return False
    for word in (w for w in beside if not THING.fullmatch(w[0])):  # "a children film" is a wish, whatever films are called so
        other = stems(word[0])
        if set(other) <= GENERIC or schema.value(word[0]):
            continue
        pair = (*other, *own) if word.start() < start else (*own, *other)
        if len(pair) == 2 and pair in schema.pairs:
            return True
    return False


def _not_people(schema: Schema, pairs: Iterable[tuple[str, Scalar]]) -> tuple[tuple[str, Scalar], ...]:
    return tuple(p for p in pairs if schema.attributes[p[0]].measures != "person")


def choose(schema: Schema, pairs: tuple[tuple[str, Scalar], ...]) -> tuple[str, Scalar]:
    """Where two attributes have the value, the one that says it of more items."""
    return max(pairs, key=lambda p: sum(p[1] in values_of(i, p[0]) for i in schema.items.values()))


def cut(text: str, start: int, end: int) -> str:
    """The text without that part; a comma keeps its neighbours apart."""
    return text[:start] + " , " + text[end:]


def filter_on(name: str, op: Literal["=", "!="], values: tuple[Scalar, ...]) -> Filter:
    """One filter on one value or several of an attribute."""
    several = tuple(dict.fromkeys(values))
    if len(several) == 1:
        return Filter(name, op, several[0])
    return Filter(name, "in" if op == "=" else op, several)
