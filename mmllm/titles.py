"""Titles of the catalog in a turn: whole, by their year, by a part before a subtitle; and what only spells one.

A title counts only where something is said of it, or where it stands in quotation marks or with its year (`mentions`): "a red apple" is a
request, not a mention.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mmllm.dialogue import State
from mmllm.lexical import GENERIC
from mmllm.schema import TOKEN, Schema, key, plain, stems
from mmllm.texts import say

LONGEST = 16
"""Words in the longest title that is looked for."""
QUOTED = re.compile(r"[\"“”«»]([^\"“”«»]{2,80})[\"“”«»]|《([^》]{1,80})》")
ALL_ABOUT = re.compile(
    r"^\W*(?:/?(?:compare|why|like|dislike|explain|not|hide|seen|similar)\b|比较|对比|为什么)|\bdifferen\w* between\b"
)
Marks = list[tuple[tuple[str, ...], str, bool]]
"""(ids, the words they stand for, whether they are a mention even if nothing is said of them)."""
Mark = Callable[[tuple[str, ...], str, bool], str]


def put_marks(text: str, schema: Schema, state: State, mark: Mark, unclear: list[str]) -> str:
    """The turn with marks in the place of titles; `unclear` gets what names several items or one that the catalog has not."""

    def quoted(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        ids = schema.titles.get(key(name), ())
        return mark(_one_of(ids, name, state, unclear), name, True) if ids else found[0]

    text = QUOTED.sub(quoted, text)
    tokens = list(TOKEN.finditer(text))
    shouted = text.isupper()
    talked_about = bool(ALL_ABOUT.search(text.lower()))
    out, position, n = [], 0, 0
    while n < len(tokens):
        for size in range(min(LONGEST, len(tokens) - n), 0, -1):
            start, end = tokens[n].start(), tokens[n + size - 1].end()
            words, dated = text[start:end], YEAR.match(text[end:])
            ids = _of_year(words, int(dated[1]), schema) if dated and not _dated(words) else schema.titles.get(key(words), ())
            if ids and (dated or _is_title(words, text, start, end, schema, shouted=shouted)):
                end += dated.end() if dated else text[end : end + 1] == ")" and "(" in words
                strong = talked_about or _dated(words) or dated is not None
                out += [text[position:start], mark(_one_of(ids, words, state, unclear), text[start:end], strong)]
                position, n = end, n + size
                break
        else:
            n += 1

    def unknown(found: re.Match[str]) -> str:
        unclear.append(say("no_title", state.lang, words=found[0]))
        return mark((), found[0], True)

    return DATED.sub(unknown, "".join(out) + text[position:])


# What makes a title one of another film: a subtitle, a number of a series.
LONGER = re.compile(r"\s?[:–-]\s?[A-Z0-9]|,? (?i:vol|part|chapter|episode)\b|,? (?:\d{1,2}|II+)\s*(?:$|[(,.;:!?])")
# Before small letters these begin a common noun: "a love story", "the other guys".
ARTICLE = re.compile(r"\b(?:an?|the|my|your|his|her|their|our|this|that|some|any)\s+$", re.IGNORECASE)
# "I loved jaws": all that a clause says was seen is a title, in small letters too.
SEEN = re.compile(
    r"\b(?:i|we|i've|ive|have)\s+(?:\w+ly |also |just |have )?(?:loved|liked|enjoyed|hated|seen|saw|watched)\s+$", re.IGNORECASE
)
ENDS = re.compile(r"\s*(?:$|[.,;!?])|\s+(?:and|but|too|also)\b", re.IGNORECASE)
YEAR = re.compile(r"[.!?]*\s*\((\d{4})\)")
# Words with capitals before a year: a title that the catalog does not have.
DATED = re.compile(
    r"(?:(?:[A-Z0-9][\w'’.:&!,-]*|[Tt]he|of|and|in|an?|to|on|for|with|at|from)\s+){0,11}[A-Z0-9][\w'’.:&!-]*\s*\((?:18|19|20)\d\d\)"
)


def _dated(words: str) -> bool:
    return bool(re.search(r"\(\d{4}$", words))


def _of_year(words: str, year: int, schema: Schema) -> tuple[str, ...]:
    """The items that a title and the year said behind it mean: of that year, or of the one beside it; "Jumanji (2017)" by its part."""
    named = schema.titles.get(key(words), ())
    for years in ((year,), (year - 1, year + 1)):
        parts = (i for y in years for i in schema.titles.get(key(f"{words} {y}"), ()))
        if ids := (*(i for i in named if schema.year(i) in years), *parts):
            return tuple(dict.fromkeys(ids))
    return ()


def _is_title(words: str, text: str, start: int, end: int, schema: Schema, *, shouted: bool) -> bool:
    """Whether words that spell a title are meant as one, where no year says so: several telling words, or a capital of their own."""
    if _dated(words):
        return True
    if schema.forms.get(plain(words)) or key(words) in schema.series or LONGER.match(text[end:]):
        return False
    tokens = TOKEN.findall(words)
    telling = set(stems(words)) - GENERIC
    if len(telling) > 1 or (telling and len(stems(words)) > 1 and words[0].isupper()):
        return words != words.lower() or len(tokens) > 2 or not ARTICLE.search(text[:start])
    last = words[-len(tokens[-1]) :]
    if not words.isascii() and len(words) > 1 and not last[0].isupper():
        return last[0].lower() == last[0].upper()  # a script without capitals
    if telling and SEEN.search(text[:start]) and ENDS.match(text[end:]):
        return True
    # Words that tell little are a title only with a capital that no sentence begins with, and not as part of a longer name.
    before = text[:start].rstrip()
    begins = not before or before[-1] in ".!?"
    previous = re.search(r"(\S+)\s$", text[:start])
    if previous is not None and previous[1] == "I" and len(tokens) == 1:
        return False  # a verb: "I Love that film"
    inner = previous is not None and previous[1][0].isupper() and bool(re.search(r"[^.!?\s]\s+$", text[: previous.start()]))
    longer = inner or bool(re.match(r" (?:(?:in|of|on|at|for|to|with|from|the) )*[A-Z][a-z]", text[end:]))
    return len(last) > 2 and last[0].isupper() and not shouted and not longer and len(tokens) > (begins or not telling)


def _one_of(ids: tuple[str, ...], words: str, state: State, unclear: list[str]) -> tuple[str, ...]:
    """Of items of one name the one on the screen, or spoken of before; several are left open, and that is said."""
    if len(ids) == 1:
        return ids
    for near in (state.listed, state.shown, state.liked, state.known):
        if here := tuple(i for i in ids if i in near):
            return here[:1]
    unclear.append(say("same_name", state.lang, words=words, count=len(ids)))
    return ()
